"""Give every reader inputs that are damaged in 200 ways: it must refuse, or read what was written.

Files of a simulated subject, of folders of one's own data, of image collections, of a model and
of an experiment are cut short, turned bit by bit, emptied, replaced by folders, links that lead
nowhere and other formats, given wrong shapes, types and absurd sizes. A reader may refuse with
one sentence, or return what the undamaged file holds. Where a change makes another sound input
(a bit of a response, without a checksum in its format), nobody can know: these are counted apart.
Tracebacks, more than 20 s, more than 1 GB of memory, and other values where the format could have
shown the damage are failures.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from malformed_inputs import Case, cases, write_inputs
from malformed_readers import consume
from results import machine, option_parser, show

SECONDS, MEGABYTES = 20.0, 1000.0


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a case: how it ended, its sentence, and the memory it took."""

    case: Case
    how: str
    message: str
    megabytes: float = 0.0


def work(connection: Connection, read: Callable[[str, Path], str] = consume) -> None:
    """Read what is asked for, until there is no more."""
    import psutil

    from vox2pix.errors import UserError

    sys.stderr = sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  libraries complain
    process = psutil.Process()
    while True:
        reader, path = connection.recv()
        before = _peak(process)
        try:
            answer = ("read", read(reader, path))
        except UserError as error:
            answer = ("refused", str(error))
        except BaseException as error:
            answer = ("FAILED", f"{type(error).__name__}: {error}"[:200])
        connection.send((*answer, (_peak(process) - before) / 1e6))


def _peak(process: object) -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


class Worker:
    """A process that reads, and is replaced when it hangs or dies."""

    def __init__(self, read: Callable[[str, Path], str] = consume) -> None:
        self.read = read
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.connection, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=work, args=(other, self.read), daemon=True)
        self.process.start()
        other.close()

    def ask(self, reader: str, path: Path, seconds: float) -> tuple[str, str, float]:
        """Read; return how it ended, the digest or sentence, and megabytes."""
        self.connection.send((reader, path))
        began = time.monotonic()
        try:
            if self.connection.poll(seconds):
                answer: tuple[str, str, float] = self.connection.recv()
                return answer
            message = f"no answer after {time.monotonic() - began:.0f} s"
        except EOFError:
            message = "the process died"
        self.process.kill()
        self.process.join()
        self.start()
        return "FAILED", message, 0.0


def judged(case: Case, answer: tuple[str, str, float], expected: str) -> Outcome:
    """Judge what a reader returned."""
    how, message, megabytes = answer
    if how == "refused" and ("\n" in message or not message.strip()):
        how, message = "FAILED", f"not one sentence: {message!r}"
    elif how == "read":
        how = "unharmed" if message == expected else "unknowable" if not case.knowable else "FAILED"
        message = "" if how != "FAILED" else "read without a word, but not what was written"
    if megabytes > MEGABYTES:
        how, message = "FAILED", f"took {megabytes:.0f} MB"
    return Outcome(case, how, message, megabytes)


def mutated(root: Path, case: Case, scratch: Path) -> Path:
    """Return a copy of the inputs, by hard links, in which one file is damaged."""
    shutil.copytree(root / case.tree, scratch / case.tree, copy_function=os.link, symlinks=True)
    target = scratch / case.tree / case.file
    case.damage(target)
    return scratch / case.tree


def outcomes(chosen: list[Case], root: Path) -> Iterator[Outcome]:
    """Read every case."""
    worker = Worker()
    expected: dict[tuple[str, str], str] = {}
    for case in chosen:
        whole = (case.reader, case.tree)
        if whole not in expected:  # imports count here, and not as a case's own
            how, message, _ = worker.ask(case.reader, root / case.tree, 300)
            if how != "read":
                sys.exit(f"The undamaged {case.tree} is not read: {message}")
            expected[whole] = message
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            path = mutated(root, case, Path(scratch))
            outcome = judged(case, worker.ask(case.reader, path, SECONDS), expected[whole])
            yield replace(
                outcome, message=outcome.message.replace(f"{path}/", "").replace(scratch, "")
            )
    worker.process.kill()


def main() -> None:
    """Read every case, print a table by format."""
    parser = option_parser(__doc__)
    parser.add_argument("--all", action="store_true", help="print the message of each reader")
    parser.add_argument("--only", default="", help="formats or files that hold this text")
    options = parser.parse_args()
    where, began = machine(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_inputs(root)
        chosen = [c for c in cases(root) if options.only in f"{c.format} {c.file}"]
        if options.small:
            chosen = chosen[::8]
        results = []
        for outcome in outcomes(chosen, root):
            results.append(outcome)
            if options.all or outcome.how == "FAILED":
                case = outcome.case
                print(f"{outcome.how:<10} {case.tree}/{case.file}: {case.name}: {outcome.message}")
    columns = ("refused", "unharmed", "unknowable", "FAILED")
    formats = sorted({o.case.format for o in results})
    table = {f: Counter(o.how for o in results if o.case.format == f) for f in formats}
    table["all"] = Counter(o.how for o in results)
    lines = [f"{'format':<13}{'inputs':>7}" + "".join(f"{c:>12}" for c in columns)]
    for name, counts in table.items():
        row = "".join(f"{counts[c]:>12}" for c in columns)
        lines.append(f"{name:<13}{sum(counts.values()):>7}{row}")
    seconds = time.monotonic() - began
    lines += [
        "",
        f"refused: with one sentence. unharmed: read as if undamaged. unknowable: other sound "
        f"input.\n{seconds:.0f} s in all; most memory for one input "
        f"{max(o.megabytes for o in results):.0f} MB.",
    ]
    figures = {
        "formats": {name: dict(counts) for name, counts in table.items()},
        "seconds": seconds,
        "megabytes": max(o.megabytes for o in results),
        "machine": where,
    }
    show(figures, "\n".join(lines), options, "malformed", page="reliability.md")
    sys.exit(1 if table["all"]["FAILED"] else 0)


if __name__ == "__main__":
    main()
