"""Who receives messages and progress: the command line, a test, nobody."""

from collections.abc import Callable
from typing import Protocol

from vox2pix.store import ShardedArray


class Reporter(Protocol):
    """Receives messages and progress."""

    def say(self, text: str) -> None:
        """Take one line about what was decided or found."""

    def begin(self, title: str, total: int, unit: str) -> None:
        """Begin ``total`` units of work; what came before is over."""

    def advance(self, n: int) -> None:
        """Count ``n`` more units as done."""


class Silent:
    """A reporter that shows nothing."""

    def say(self, text: str) -> None:
        """Ignore a message."""

    def begin(self, title: str, total: int, unit: str) -> None:
        """Ignore the work."""

    def advance(self, n: int) -> None:
        """Ignore progress."""


def stepwise(
    reporter: Reporter, title: Callable[[str], str], unit: Callable[[str], str]
) -> Callable[[str, int, int], None]:
    """Return a callback ``(step, done, total)`` that begins each step and advances in it."""
    current, reported = "", 0

    def progress(step: str, done: int, total: int) -> None:
        nonlocal current, reported
        if step != current:
            reporter.begin(title(step), total, unit(step))
            current, reported = step, 0
        reporter.advance(done - reported)
        reported = done

    return progress


def report_damage(reporter: Reporter, array: ShardedArray) -> None:
    """Report which parts of an array were damaged and are written again."""
    if array.repaired:
        reporter.say(f"{array.folder.name}: its metadata was damaged, written again")
    if array.damaged:
        shards = ", ".join(str(shard) for shard in array.damaged)
        reporter.say(f"{array.folder.name}: shard {shards} was damaged, computed again")
