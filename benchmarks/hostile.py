"""Give every reader inputs that somebody wrote to do harm: each must be refused in one sentence.

Files that would run code, read other files or fill the memory, written by the formats' own
libraries: pickles, codecs and plug-ins, links, external storage, bombs, pipes and devices. A
reader may only refuse. Code that ran, a byte of another file, a traceback, more than 20 s or more
than 1 GB of memory are failures.
"""

import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hostile_cases import MARK, SECRET, Hostile
from hostile_inputs import cases
from hostile_readers import read
from malformed import MEGABYTES, SECONDS, Worker
from results import machine, option_parser, show

COLUMNS = ("refused", "read", "executed", "read beyond", "traceback", "memory")


@dataclass(frozen=True)
class Outcome:
    """What became of an input: one of :data:`COLUMNS`, the sentence, and the memory it took."""

    case: Hostile
    how: str
    sentence: str
    megabytes: float


def outcome(case: Hostile, worker: Worker, folder: Path) -> Outcome:
    """Write an input, have it read, and judge what happened."""
    (folder / "secret").write_bytes(SECRET)
    case.write(folder)
    how, sentence, megabytes = worker.ask(case.reader, folder, SECONDS)
    if (folder / MARK).exists():
        how = "executed"
    elif (how == "read" and sentence == "secret") or SECRET[:16].decode() in sentence:
        how = "read beyond"
    elif how == "FAILED" or (how == "refused" and "\n" in sentence):
        how = "traceback"
    elif megabytes > MEGABYTES:
        how = "memory"
    return Outcome(case, how, sentence.replace(f"{folder}/", ""), megabytes)


def main() -> None:
    """Read every input, print a table by kind."""
    parser = option_parser(__doc__)
    parser.add_argument("--all", action="store_true", help="print every sentence")
    parser.add_argument("--only", default="", help="kinds or names that hold this text")
    options = parser.parse_args()
    where, began, worker, outcomes = machine(), time.monotonic(), Worker(read), []
    worker.ask("imports", Path(), 300)
    chosen = [c for c in cases() if options.only in f"{c.kind}: {c.name}"]
    for case in chosen[:: 8 if options.small else 1]:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(outcome(case, worker, Path(folder)))
        last = outcomes[-1]
        if options.all or last.how != "refused":
            print(f"{last.how:<10} {case.kind}: {case.name}: {last.sentence}")
    worker.process.kill()
    kinds = {case.kind: None for case in chosen}
    table = {kind: [o for o in outcomes if o.case.kind == kind] for kind in kinds} | {
        "all": outcomes
    }
    lines = [f"{'kind':<13}{'inputs':>7}" + "".join(f"{c:>12}" for c in COLUMNS) + f"{'MB':>6}"]
    for kind, rows in table.items():
        if not rows:
            continue
        counts = Counter(o.how for o in rows)
        cells = "".join(f"{counts[c]:>12}" for c in COLUMNS)
        most = max(o.megabytes for o in rows)
        lines.append(f"{kind:<13}{len(rows):>7}{cells}{most:>6.0f}")
    seconds = time.monotonic() - began
    lines += [
        "",
        "executed: code of the input ran. read beyond: a byte of another file came back.",
        f"memory: more than {MEGABYTES:.0f} MB. MB: the most that one input took.",
        f"{seconds:.0f} s in all.",
    ]
    figures = {
        "kinds": {k: dict(Counter(o.how for o in rows)) for k, rows in table.items()},
        "megabytes": max(o.megabytes for o in outcomes),
        "seconds": seconds,
        "machine": where,
    }
    show(figures, "\n".join(lines), options, "hostile", page="reliability.md")
    sys.exit(0 if all(o.how == "refused" for o in outcomes) else 1)


if __name__ == "__main__":
    main()
