"""Faults and notes of a data set, gathered so that a check can name them all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from vox2pix.errors import UserError

T = TypeVar("T")


class Faults:
    """Faults and notes of data that are opened or read, one sentence each.

    A fault is wrong and refused. A note says what was coerced, cut, dropped, defaulted or chosen,
    with its count.

    Opening and checking share one path through the code: both gather, then the one raises the
    first sentence and the other lists every one.
    """

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._notes: list[str] = []

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences in the order found, each once."""
        return tuple(dict.fromkeys(self._sentences))

    def add(self, sentence: str) -> None:
        """Note a fault."""
        self._sentences.append(sentence)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes in the order found, each once."""
        return tuple(dict.fromkeys(self._notes))

    def note(self, sentence: str) -> None:
        """Add what a person should know, though nothing is wrong."""
        self._notes.append(sentence)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Run a step; a ``UserError`` in it is noted and ends the step, not the work."""
        try:
            yield
        except UserError as error:
            self.add(str(error))

    def raise_first(self) -> None:
        """Raise the first fault as a ``UserError``, if there is one."""
        if self._sentences:
            raise UserError(self._sentences[0])

    def require(self, opened: T | None) -> T:
        """Return what was opened; raise the first fault if there is one."""
        self.raise_first()
        if opened is None:
            raise AssertionError("What cannot be opened has a fault.")
        return opened
