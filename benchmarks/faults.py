"""Damage every kind of file of a run, fill the disk, take it away, turn the clock back.

After each fault the run is started again; its results must equal those of a run that was left
alone, and one line must have stated what was wrong.
"""

import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

from kill import SMALLEST, digests, run_command
from results import machine, option_parser, show
from vox2pix.config import load_config
from vox2pix.pipeline.commands import encode, run
from vox2pix.store import MARKER, read_checked_json, read_json

DISK_FULL = ("could not be written", "free space or name another folder")
# Below the run folder: `vox2pix report` writes these again from the rest.
OF_A_PAGE = ("report.html", "figures", "dataset_description.json")
PER_KIND = 1  # files of a kind that are damaged, in a small size


class Listener:
    """A reporter that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def begin(self, title: str, total: int, unit: str) -> None:
        """Show nothing."""

    def advance(self, n: int) -> None:
        """Count nothing."""


def carry_out(config: Path, folder: Path) -> list[str]:
    """Do what is left of a run and of its encoding analysis; return the messages."""
    listener = Listener()
    run(load_config(config), folder, listener)
    encode(load_config(config), folder, listener)
    return listener.lines


def kind(name: str) -> str:
    """Return what sort of artefact a file is: its name without digests, numbers and conditions."""
    name = re.sub(r"[0-9a-f]{16}|phantom-[0-9a-f]{8}", "*", name)
    name = re.sub(r"values/c/.*", "values/c/chunk", name)
    name = re.sub(r"(images|latents/trace-\*|cache/features|stages|maps)/[^/]*", r"\1/*", name)
    name = re.sub(r"(audit|encoding/figures|figures|scores-\*|unique-\*)/[^/]*\.", r"\1/*.", name)
    return re.sub(r"done/\d+", "done/mark", name)


def by_kind(root: Path) -> dict[str, list[Path]]:
    """Group the files of a run and its cache."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        of_page = name.parts[1:2] and name.parts[1] in OF_A_PAGE
        if path.is_file() and path.name not in (".lock", MARKER) and not of_page:
            found.setdefault(kind(name.as_posix()), []).append(name)
    return found


def flip(path: Path, chance: random.Random) -> None:
    """Turn one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    """Cut a file short."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def sound(folder: Path) -> bool:
    """Tell whether what carries times, and is no result, is readable and agrees with itself."""
    copy = read_checked_json(folder / "stages" / "provenance.json")
    return bool(copy == read_json(folder / "provenance.json"))


def damage(
    base: Path, config: Path, options: argparse.Namespace
) -> Iterator[tuple[str, str, str, str]]:
    """Damage files one after another; yield kind, damage, outcome and the message."""
    expected = digests(base)
    chance = random.Random(options.seed)
    kinds = by_kind(base)
    chosen = [k for k in kinds if re.search(options.only, k)]
    for name in chosen:
        for path in chance.sample(kinds[name], min(options.per_kind, len(kinds[name]))):
            for how in (flip, truncate):
                with tempfile.TemporaryDirectory(dir=base.parent) as scratch:
                    root = Path(scratch) / "root"
                    shutil.copytree(base, root)
                    how(root / path, chance)
                    try:
                        lines = carry_out(config, root / "small")
                    except (Exception, SystemExit) as error:
                        yield name, how.__name__, f"FAILED: {type(error).__name__}", str(error)
                        continue
                    found = digests(root)
                    messages = [n for n in lines if "damaged" in n]
                    if not messages:
                        outcome = "NOT TOLD"
                    elif expected != found or not sound(root / "small"):
                        other = {n for n in expected | found if expected.get(n) != found.get(n)}
                        outcome = f"OTHER RESULT: {sorted(other)[:3]}"
                    else:
                        outcome = "repaired"
                    yield name, how.__name__, outcome, messages[0] if messages else ""


# --- disk, folders, clock ------------------------------------------------------------------------


@contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[str]:
    """Mount a file system in memory at a folder, where that is permitted."""
    root.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield "a full tmpfs" if mounted else ""
    finally:
        if mounted:
            subprocess.run(["umount", str(root)], check=True)


def ended(config: Path, folder: Path, limit: int | None = None) -> tuple[int, str]:
    """Start `vox2pix run`; return its exit status and its last line on stderr."""

    def no_larger_files() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        run_command(config, folder),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=no_larger_files,
    )
    lines = done.stderr.strip().splitlines() or [""]
    return done.returncode, lines[-1] if "Traceback" not in done.stderr else "TRACEBACK"


def full_disk(drawn: Path, config: Path, scratch: Path) -> Iterator[tuple[str, str, str, str]]:
    """Fill the disk before a run and at several of its stages, then free it and resume."""
    expected = digests(drawn / "small")
    whole = sum(p.stat().st_size for p in drawn.rglob("*") if p.is_file())
    for share in (0.3, 0.65, 0.8, 0.9):  # at the first it is reported before anything is written
        with small_disk(scratch / f"disk{share}", max(1, int(2 * whole / 2**20))) as how:
            root = scratch / f"disk{share}"
            ballast = root / "ballast"
            if how:
                free = shutil.disk_usage(root).free
                ballast.write_bytes(bytes(max(0, free - int(share * whole))))
                status, line = ended(config, root / "small")
            else:
                how = "files limited in size"
                status, line = ended(config, root / "small", int(share * 1e6))
            ballast.unlink(missing_ok=True)
            refused = status == 2 and any(message in line for message in DISK_FULL)
            again, _ = ended(config, root / "small")
            same = again == 0 and digests(root / "small") == expected
            outcome = "repaired" if refused and same else f"FAILED: {status}, {again}, same: {same}"
            yield f"disk full at {share:.0%}", how, outcome, line


def read_only(drawn: Path, config: Path, scratch: Path) -> Iterator[tuple[str, str, str, str]]:
    """Take away the right to write to a run folder, then give it back."""
    root = scratch / "closed"
    shutil.copytree(drawn, root)
    command = ["mount", "--bind", str(root), str(root)]
    how = ""
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        how = "a read-only mount"
        subprocess.run(["mount", "-o", "remount,ro,bind", str(root)], check=True)
    elif os.getuid():
        how = "folders without the right to write"
        for folder in [root, *(p for p in root.rglob("*") if p.is_dir())]:
            folder.chmod(0o555)
    if not how:
        yield "read-only folder", "not possible here", "skipped", ""
        return
    status, line = ended(config, root / "small")
    if how == "a read-only mount":
        subprocess.run(["umount", str(root)], check=True)
    else:
        for folder in [root, *(p for p in root.rglob("*") if p.is_dir())]:
            folder.chmod(0o755)
    again, _ = ended(config, root / "small")
    fine = status == 2 and "cannot be written to" in line and again == 0
    same = digests(root) == digests(drawn)
    yield "read-only folder", how, "repaired" if fine and same else f"FAILED: {status}", line


def two_at_once(drawn: Path, config: Path, scratch: Path) -> Iterator[tuple[str, str, str, str]]:
    """Start a run where another is at work; the second refuses, the first is not disturbed."""
    folder = scratch / "twice" / "small"
    first = subprocess.Popen(
        run_command(config, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while first.poll() is None and not (folder / "config.toml").exists():
        time.sleep(0.05)
    status, line = ended(config, folder)
    first.wait()
    same = first.returncode == 0 and digests(folder) == digests(drawn / "small")
    refused = status == 2 and "Another run is at work" in line
    outcome = "refused" if refused and same else f"FAILED: {status}, same: {same}"
    yield "two runs at once", "a second process", outcome, line


def clocks(base: Path, config: Path, scratch: Path) -> Iterator[tuple[str, str, str, str]]:
    """Turn the clock back while a run is at work, and give its files other times."""
    folder = scratch / "clock" / "small"
    real, began = time.time, time.time()
    with mock.patch("time.time", lambda: 2 * began - real() - 86400):  # a second back a second
        carry_out(config, folder)
    stages = read_json(folder / "provenance.json").values()
    forward = all(stage["seconds"] >= 0 for stage in stages)
    same = digests(folder) == digests(base / "small")
    outcome = "the same" if same and forward else f"FAILED: same {same}, durations {forward}"
    yield "clock runs backwards", "time.time", outcome, ""
    for what, moment in (("the future", real() + 1e8), ("1980", 3.2e8)):
        root = scratch / f"times-{moment:.0f}"
        shutil.copytree(base, root)
        for path in root.rglob("*"):
            os.utime(path, (moment, moment))
        lines = [n for n in carry_out(config, root / "small") if not n.endswith("already done")]
        same = digests(root) == digests(base) and not lines
        yield "times of files", what, "the same" if same else "FAILED", "; ".join(lines)


def main() -> None:
    """Make a run, then every fault."""
    parser = option_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-kind", type=int, default=3, help="files of a kind to damage")
    parser.add_argument("--only", default="", help="kinds of files that match this pattern")
    options = parser.parse_args()
    if options.small:
        options.per_kind = PER_KIND
    where = machine()
    rows: list[tuple[str, str, str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.toml"
        config.write_text(SMALLEST)
        base, drawn = Path(scratch) / "base", Path(scratch) / "drawn"
        run(load_config(config), base / "small")
        shutil.copytree(base, drawn)
        encode(load_config(config), base / "small")
        n_kinds = len(by_kind(base))
        faults: list[Callable[[], Iterator[tuple[str, str, str, str]]]] = [
            partial(damage, base, config, options)
        ]
        if not options.only:
            others = (full_disk, read_only, two_at_once)
            faults += [partial(each, drawn, config, Path(scratch)) for each in others]
            faults.append(partial(clocks, base, config, Path(scratch)))
        for fault in faults:
            for row in fault():
                rows.append(row)
                print("  ".join((f"{row[0]:<60}", f"{row[1]:<10}", row[2], row[3])), flush=True)
    bad = [row for row in rows if row[2] not in ("repaired", "refused", "the same", "skipped")]
    damaged = [row for row in rows if row[1] in ("flip", "truncate")]
    repaired = sum(row[2] == "repaired" for row in damaged)
    text = [
        f"{repaired} of {len(damaged)} damaged files ({n_kinds} kinds, one bit turned or cut "
        "short): found, reported,",
        "made again; the results equal those of a run that was left alone.",
        "",
        f"{'fault':<24}{'how':<28}outcome",
    ]
    text += [f"{r[0]:<24}{r[1]:<28}{r[2]}" for r in rows if r[1] not in ("flip", "truncate")]
    text += [f"FAILED {row}" for row in bad]
    figures = {"rows": rows, "failed": len(bad), "machine": where}
    show(figures, "\n".join(text), options, "faults", page="reliability.md")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
