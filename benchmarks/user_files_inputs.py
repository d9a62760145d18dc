"""Folders and files that people have, and commands that are pointed at them.

Names resemble those that vox2pix gives. Each case builds a small world in an empty folder and names
a command; nothing in that world that vox2pix did not write may change.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

Arguments = list[str]

FILES = (
    *("report.html", "metrics.json", "scores.csv", "config.toml", "audit.json", "comparison.csv"),
    *("model.json", "provenance.json", "pooled.json", "contact_sheet.png", "notes.partial.md"),
    *("dataset_description.json", "figures.json", ".lock", "thesis.md", "x.safetensors"),
    *(".vox2pix.json", ".vox2pix", "table.tex", "model_index.json", "index.html"),
    f".thesis.md.{'0a' * 16}.partial",
    f".metrics.json.{'0b' * 16}.partial",
    f"0.{'0c' * 16}.partial",
)
FOLDERS = (
    *("gallery", "audit", "decoded/parts-x", "decoded/parts-0123456789abcdef", "figures", "stages"),
    *("encoding/figures", "encoding/maps", "thesis.partial", ".thesis.partial", "images/values"),
    *("report_assets", "report_assets-0123abcd", "cache/features", "phantom-0123abcd", "nsddata"),
    f".gallery.{'0d' * 16}.partial",
    f".recons-evaluation.{'0e' * 16}.partial",
)


@dataclass(frozen=True)
class Case:
    """A command and the files of a person that it meets.

    Attributes
    ----------
    kind, name : str
        What is tried.
    build : callable
        Makes the files in a folder that holds the finished run ``run``, and returns the command.
    theirs : callable
        Tells of a path below that folder whether vox2pix may not change it.
    """

    kind: str
    name: str
    build: Callable[[Path], Arguments]
    theirs: Callable[[str], bool] = lambda name: True


def snapshot(root: Path, theirs: Callable[[str], bool] = lambda name: True) -> dict[str, str]:
    """Describe every file, folder and link below a folder, following none."""
    entries = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not theirs(name):
            continue
        if path.is_symlink():
            entries[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            entries[name] = "folder"
        else:
            digits = hashlib.sha256(path.read_bytes()).hexdigest()
            entries[name] = f"{digits} {path.stat().st_mtime_ns}"
    return entries


def own_tree(folder: Path, seed: int) -> None:
    """Fill a folder with files whose names resemble ours."""
    chance = random.Random(seed)
    places = ["", *chance.sample(FOLDERS, chance.randint(1, len(FOLDERS)))]
    for place in places:
        (folder / place).mkdir(parents=True, exist_ok=True)
        names = FILES if chance.random() < 0.1 else chance.sample(FILES, chance.randint(1, 6))
        for name in names:
            if not (folder / place / name).exists():
                content = chance.choice((b"", b"{}", b'{"kind": "run"}', chance.randbytes(20)))
                (folder / place / name).write_bytes(content)
    if chance.random() < 0.5:
        (folder / "link").symlink_to(folder.parent)
    if chance.random() < 0.5:
        (folder / "broken").symlink_to("nowhere")


def images(folder: Path, seed: int, n: int = 4) -> None:
    """Write small images, named by their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i:02d}.png")


def experiment(root: Path, **data: object) -> str:
    """Write the experiment of the finished run, or one of other data; return its path."""
    path = root / "experiment.toml"
    text = (root / "run" / "config.toml").read_text()
    if data:
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in data.items())
        text = f'name = "small"\n[data]\n{settings}\n'
    path.write_text(text)
    return str(path)


# --- an output folder of one's own ---------------------------------------------------------------


def commands_into(root: Path, out: str) -> dict[str, Arguments]:
    """Return every command that writes a folder, with that folder."""
    images(root / "seen", 1)
    images(root / "recons", 2)
    config = experiment(root)
    scored = ["evaluate", "--truth", "seen", "--reconstructions", "recons"]
    return {
        "run": ["run", config, "--out", out],
        "encode": ["encode", config, "--out", out],
        "evaluate": [*scored, "--protocol", "default", "--out", out],
        "compare": ["compare", "run", "run", "--out", out],
        "phantom": ["phantom", out, "--sessions", "1", "--trials", "30"],
        "fetch nsd": ["fetch", "nsd", "--accept-terms", "--out", out],
        "plan": ["plan", config, "--out", out],
        "report": ["report", out],
        "audit": ["audit", out],
        "plot encoding": ["plot", "encoding", out],
        "explore": ["explore", out, "--no-browser"],
        "data check": ["data", "check", out],
    }


COMMANDS = (
    *("run", "encode", "evaluate", "compare", "phantom", "fetch nsd"),
    *("plan", "report", "audit", "plot encoding", "explore", "data check"),
)
N_WRITING = 6


def _into_own_folder(command: str, seed: int, root: Path) -> Arguments:
    own_tree(root / "mine", seed)
    return commands_into(root, "mine")[command]


def _into_parent(command: str, root: Path) -> Arguments:
    own_tree(root, 5)
    return commands_into(root, ".")[command]


def _into_file(command: str, root: Path) -> Arguments:
    (root / "mine").write_text("thesis")
    return commands_into(root, "mine")[command]


def _into_url(command: str, root: Path) -> Arguments:
    return commands_into(root, "s3://lab/mine")[command]


def _into_marked(command: str, kind: str, root: Path) -> Arguments:
    """Give a command a folder that another command made."""
    from vox2pix.store import claim

    own_tree(root / "mine" / "below", 3)
    below = root / "mine" / "below"
    below.rename(root / "aside")
    claim(root / "mine", kind)
    shutil.copytree(root / "aside", root / "mine" / "below", symlinks=True)
    return commands_into(root, "mine")[command]


def _into_default(command: str, root: Path) -> Arguments:
    """Leave --out away where one's own files have the default's name."""
    own_tree(root / "recons-evaluation", 7)
    own_tree(root / "runs" / "small", 8)
    own_tree(root / "run-run2-comparison", 9)
    own_tree(root / "nsd", 10)
    shutil.copytree(root / "run", root / "run2")
    arguments = commands_into(root, "x")[command]
    if command == "compare":
        return ["compare", "run", "run2"]
    return [each for each in arguments if each not in ("--out", "x")]


# --- an output file of one's own -----------------------------------------------------------------


def _over_file(command: str, name: str, root: Path) -> Arguments:
    """Name a file of one's own as the file to write."""
    content = {
        "notes.html": "<p>Mine.</p>",
        "page.html": "<html>\n<meta name='generator' content='other'>\n",
        "pooled.json": "[]",
        "numbers.json": '[{"subject": "anna+bert", "value": 1}]',
        "thesis.md": "thesis",
    }
    (root / "mine.txt").write_text("thesis")
    if name in content:
        (root / name).write_text(content[name])
    elif name == "link.html":
        (root / name).symlink_to("mine.txt")
    elif name == "broken.html":
        (root / name).symlink_to("elsewhere.txt")
    elif name == "folder":
        own_tree(root / name, 4)
    if command == "report":
        return ["report", "run", "--out", name]
    second = root / "run2"
    shutil.copytree(root / "run", second)
    records = (second / "metrics.json").read_text().replace('"subj01"', '"subj02"')
    (second / "metrics.json").write_text(records)
    return ["pool", "run", "run2", "--out", name]


# --- links in a run folder -----------------------------------------------------------------------


def _linked(name: str, command: str, hard: bool, root: Path) -> Arguments:
    """Put a link to one's own file or folder into a finished run."""
    (root / "thesis.txt").write_text("thesis")
    (root / "chapters").mkdir()
    (root / "chapters" / "one.txt").write_text("chapter")
    place = root / "run" / name
    is_folder = place.is_dir() or (not place.suffix and name != ".lock")
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if hard:
        os.link(root / "thesis.txt", place)
    else:
        place.symlink_to(root / ("chapters" if is_folder else "thesis.txt"))
    config = experiment(root)
    return {
        "run": ["run", config, "--out", "run"],
        "encode": ["encode", config, "--out", "run"],
        "report": ["report", "run"],
        "audit": ["audit", "run"],
        "plot encoding": ["plot", "encoding", "run"],
    }[command]


LINKS = (
    *(".lock", "figures", "gallery", "stages", "decoded/z.safetensors", "metrics.json", "audit"),
    *("report.html", "encoding", "images", "features", "notes", "decoders/mine.txt"),
    *("dataset_description.json", "config.toml", "../cache/features/mine"),
)


# --- files of one's own in a run folder ----------------------------------------------------------

OWN_IN_RUN = (
    *("notes.md", "thesis.partial/one.txt", "mine/gallery/one.png", "gallery/mine.png"),
    *("gallery/originals/mine.txt", "figures/mine.svg", "audit/mine.png", "stages.txt"),
    *("decoded/parts-x/one.txt", "decoded/mine.npy", "images/mine/one.png", "cache.md"),
    *("encoding/figures.md", "../cache/notes.md", "../cache/features.md", "report_assets/a.jpg"),
    f".thesis.md.{'0a' * 16}.partial",
    f"mine/.metrics.json.{'0b' * 16}.partial",
    f"0.{'0c' * 16}.partial",
    f".gallery.{'0d' * 16}.partial/one.txt",
)


def _beside_ours(command: str, root: Path) -> Arguments:
    """Put files of one's own into a finished run."""
    for name in OWN_IN_RUN:
        path = root / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
    config = Path(experiment(root))
    if command == "run again":
        text = config.read_text()
        config.write_text(text.replace("per_group = 1", "per_group = 2", 1))
    return {
        "report": ["report", "run"],
        "audit": ["audit", "run"],
        "run": ["run", str(config), "--out", "run"],
        "run again": ["run", str(config), "--out", "run"],
    }[command]


def _is_own_in_run(name: str) -> bool:
    own = {os.path.normpath(f"run/{each}") for each in OWN_IN_RUN}
    return name in own


def _outside_mark(name: str, root: Path) -> Arguments:
    """Let a mark of a colleague's run vouch for a file that is not the run's."""
    from vox2pix.store import read_checked_json, write_checked_json

    (root / "thesis.txt").write_text("thesis")
    (root / "run" / "mine.txt").write_text("mine")
    mark = root / "run" / "stages" / "sheet.json"
    content = read_checked_json(mark)
    assert content is not None
    write_checked_json(mark, {**content, "outputs": {name.format(root=root): "00"}})
    return ["run", experiment(root), "--out", "run"]


# --- runs among the data -------------------------------------------------------------------------


def own_data(root: Path) -> None:
    """Write a small folder of one's own data."""
    rng = np.random.default_rng(0)
    images(root, 3, 0)
    images(root / "images", 3, 8)
    np.save(root / "responses.npy", rng.normal(size=(24, 6)).astype(np.float32))
    rows = [f"{i % 8:02d},{'test' if i % 8 > 5 else 'train'}" for i in range(24)]
    (root / "trials.csv").write_text("\n".join(["stimulus_id,split", *rows]) + "\n")


def _among_data(out: str, root: Path) -> Arguments:
    own_data(root / "data")
    return ["run", experiment(root, source="folder", path="data"), "--out", out]


# --- all -----------------------------------------------------------------------------------------


def _not_of_run(name: str) -> bool:
    return not (name == "run" or name.startswith(("run/", "cache")))


def cases() -> Iterator[Case]:
    """Yield every case."""
    for command in COMMANDS:
        for seed in range(3 if COMMANDS.index(command) < N_WRITING else 1):
            name = f"{command}, tree {seed}"
            yield Case("a folder of one's own", name, partial(_into_own_folder, command, seed))
    for command in COMMANDS[:N_WRITING]:
        yield Case("the folder that one is in", command, partial(_into_parent, command))
        yield Case("a file where a folder is named", command, partial(_into_file, command))
        yield Case("a URL", command, partial(_into_url, command))
    for command in ("run", "evaluate", "compare", "fetch nsd"):
        yield Case("a name by default", command, partial(_into_default, command))
    kinds = {"run": "evaluation", "encode": "comparison", "evaluate": "run", "compare": "run"}
    kinds |= {"phantom": "run", "fetch nsd": "features"}
    for command, kind in kinds.items():
        name = f"{command} into {kind}"
        yield Case("a result of another kind", name, partial(_into_marked, command, kind))
    yield from _cases_of_files()
    yield from _cases_in_runs()


def _cases_of_files() -> Iterator[Case]:
    pages = ("notes.html", "page.html", "link.html", "broken.html", "folder", "run/metrics.json")
    for name in (*pages, "thesis.md"):
        yield Case(
            "a file of one's own", f"report over {name}", partial(_over_file, "report", name)
        )
    for name in ("pooled.json", "numbers.json", "thesis.md", "run/metrics.json", "folder"):
        build = partial(_over_file, "pool", name)
        yield Case("a file of one's own", f"pool over {name}", build)


def _cases_in_runs() -> Iterator[Case]:
    for name in LINKS:
        build = partial(_linked, name, "run", False)
        yield Case("a link in a run folder", f"run, {name}", build)
    for command in ("encode", "report", "audit", "plot encoding"):
        build = partial(_linked, "figures", command, False)
        yield Case("a link in a run folder", f"{command}, figures", build)
    for command in ("run", "encode", "audit", "plot encoding"):
        build = partial(_linked, ".lock", command, True)
        yield Case("a hard link as the lock", command, build)
    for command in ("report", "audit", "run", "run again"):
        build = partial(_beside_ours, command)
        yield Case("files of one's own in a run folder", command, build, _is_own_in_run)
    for name in ("../thesis.txt", "{root}/thesis.txt", "../run/../thesis.txt", "mine.txt"):
        build = partial(_outside_mark, name)
        own = _not_of_run if name != "mine.txt" else lambda each: each == "run/mine.txt"
        yield Case("a mark that names other files", name, build, own)
    for out in ("data/images/small", "data/images", "data/stimuli/small", "data/responses"):
        yield Case("a run folder among the data", out, partial(_among_data, out))


def chosen(every: int) -> Sequence[Case]:
    """Return one case in so many of each kind, the first of each kind always."""
    counts: dict[str, int] = {}
    entries = []
    for case in cases():
        counts[case.kind] = counts.get(case.kind, -1) + 1
        if counts[case.kind] % every == 0:
            entries.append(case)
    return entries
