"""Faults and notes of a data set, gathered so that a check can name them all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from vox2pix.errors import UserError

T = TypeVar("T")


class Faults:
    """Faults and notes of data that are opened or read, one message each.

    A fault is wrong and refused. A note says what was coerced, cut, dropped, defaulted or chosen,
    with its count.

    Opening and checking share one path through the code: both gather, then the one raises the
    first message and the other lists every one.
    """

    def __init__(self) -> None:
        self._messages: list[str] = []
        self._notes: list[str] = []

    @property
    def messages(self) -> tuple[str, ...]:
        """The messages in the order found, each once."""
        return tuple(dict.fromkeys(self._messages))

    def add(self, message: str) -> None:
        """Note a fault."""
        self._messages.append(message)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes in the order found, each once."""
        return tuple(dict.fromkeys(self._notes))

    def note(self, message: str) -> None:
        """Add what a person should know, though nothing is wrong."""
        self._notes.append(message)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Run a step; a ``UserError`` in it is noted and ends the step, not the work."""
        try:
            yield
        except UserError as error:
            self.add(str(error))

    def raise_first(self) -> None:
        """Raise the first fault as a ``UserError``, if there is one."""
        if self._messages:
            raise UserError(self._messages[0])

    def require(self, opened: T | None) -> T:
        """Return what was opened; raise the first fault if there is one."""
        self.raise_first()
        if opened is None:
            raise AssertionError("What cannot be opened has a fault.")
        return opened
