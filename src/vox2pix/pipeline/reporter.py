"""Who is told how the work goes: the command line, a test, nobody."""

from typing import Protocol

from vox2pix.store import ShardedArray


class Reporter(Protocol):
    """Takes note of decisions and of progress."""

    def say(self, text: str) -> None:
        """Take one line about what was decided or found."""

    def begin(self, title: str, total: int, unit: str) -> None:
        """Take note that ``total`` units of work begin; what came before is over."""

    def advance(self, n: int) -> None:
        """Take note that ``n`` more units are done."""


class Silent:
    """A reporter that says nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def begin(self, title: str, total: int, unit: str) -> None:
        """Show nothing."""

    def advance(self, n: int) -> None:
        """Count nothing."""


def tell_damage(reporter: Reporter, array: ShardedArray) -> None:
    """Say what of an array was found damaged, and is written again."""
    if array.repaired:
        reporter.say(f"{array.folder.name}: its description was damaged, written again")
    if array.damaged:
        named = ", ".join(str(shard) for shard in array.damaged)
        reporter.say(f"{array.folder.name}: shard {named} was damaged, computed again")
