"""Point every command at folders and files of a person's own: none may be changed or lost.

The names resemble those that vox2pix gives (gallery/, metrics.json, thesis.partial/, .lock, links).
Everything is compared before and after, byte for byte: content, time of change, target of links. A
command may refuse with one sentence, or do its work and leave what is not its own as it was.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from results import machine, option_parser, show
from user_files_inputs import Case, cases, snapshot

EXPERIMENT = """
name = "small"
[data]
source = "phantom"
[data.phantom]
sessions = 2
trials_per_session = 60
n_shared = 8
n_early = 60
n_ventral = 60
[generate]
samples = 2
steps = 3
[evaluate]
per_group = 1
[compute]
device = "cpu"
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a case: how the command ended, and the files of others that changed."""

    case: Case
    how: str
    message: str
    changed: tuple[str, ...]


def tried(case: Case, finished: Path, scratch: Path) -> Outcome:
    """Carry a case out in an empty folder.

    Parameters
    ----------
    case : Case
        What to try.
    finished : Path
        A folder with a finished run ``run`` and the cache beside it.
    scratch : Path
        An empty folder.
    """
    from typer.testing import CliRunner

    from vox2pix.cli import app

    shutil.copytree(finished, scratch, dirs_exist_ok=True)
    with contextlib.chdir(scratch):
        arguments = case.build(scratch)
        before = snapshot(scratch, case.theirs)
        result = CliRunner().invoke(app, arguments)
    after = snapshot(scratch, case.theirs)
    changed = tuple(n for n in sorted(before | after) if before.get(n) != after.get(n))
    message = result.stderr.strip() if result.exit_code else ""
    how = {0: "done", 2: "refused"}.get(result.exit_code, "FAILED")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        how, message = "FAILED", f"{type(result.exception).__name__}: {result.exception}"
    if how == "refused" and len(message.splitlines()) != 1:
        how = "FAILED"
    return Outcome(case, how, message, changed)


def main() -> None:
    """Try every case, print a table by kind."""
    parser = option_parser(__doc__, has_small=False)
    parser.add_argument("--all", action="store_true", help="print the message of each command")
    parser.add_argument("--only", default="", help="kinds or names that hold this text")
    options = parser.parse_args()
    where = machine()
    os.environ["COLUMNS"] = "200"
    from vox2pix.config import load_config
    from vox2pix.pipeline.commands import run

    outcomes = []
    with tempfile.TemporaryDirectory() as root:
        finished = Path(root) / "finished"
        finished.mkdir()
        config = Path(root) / "small.toml"
        config.write_text(EXPERIMENT)
        run(load_config(config), finished / "run")
        for number, case in enumerate(cases()):
            if options.only not in f"{case.kind}: {case.name}":
                continue
            scratch = Path(root) / f"case{number}"
            scratch.mkdir()
            outcome = tried(case, finished, scratch)
            message = outcome.message.replace(f"{scratch}/", "").replace(str(scratch), ".")
            if options.all or outcome.changed or outcome.how == "FAILED":
                print(f"{outcome.how}: {case.kind}: {case.name}: {message}", *outcome.changed[:5])
            outcomes.append(outcome)
            shutil.rmtree(scratch)
    kinds = Counter(outcome.case.kind for outcome in outcomes)
    lines = [f"{'kind':<36}{'tried':>7}{'refused':>9}{'done':>6}{'lost':>6}"]
    for kind, n in [*kinds.items(), ("all", len(outcomes))]:
        of_kind = [o for o in outcomes if kind in (o.case.kind, "all")]
        how = Counter(outcome.how for outcome in of_kind)
        lost = sum(len(outcome.changed) for outcome in of_kind)
        lines.append(f"{kind:<36}{n:>7}{how['refused']:>9}{how['done']:>6}{lost:>6}")
    failed = [outcome for outcome in outcomes if outcome.how == "FAILED"]
    lost = sum(len(outcome.changed) for outcome in outcomes)
    lines.append(f"{lost} files lost or changed, {len(failed)} tracebacks")
    figures = {"tried": len(outcomes), "lost": lost, "failed": len(failed), "machine": where}
    show(figures, "\n".join(lines), options, "user-files", page="reliability.md")
    sys.exit(1 if lost or failed else 0)


if __name__ == "__main__":
    main()
