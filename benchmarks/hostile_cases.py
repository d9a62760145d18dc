"""What a hostile input is: it runs code, reads other files or fills the memory, if it can.

``MARK`` is a file that code in an input would make, ``SECRET`` what a reader would return that left
its own file. Each input is written by the format's own library where that allows it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MARK = "executed"
SECRET = b"the secret of somebody else that no reader may return, whatever a file says of it."
BETAS = np.arange(24, dtype=np.float32).reshape(6, 4)
HUGE = 200_000_000  # bytes that a few kilobytes unpack to
Write = Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """One hostile input.

    Attributes
    ----------
    kind, name : str
        Its format, and what it tries.
    reader : str
        Which of :func:`read`'s readers reads it.
    write : callable
        Writes it into a folder that holds ``secret``, and from which code would make ``MARK``.
    """

    kind: str
    name: str
    reader: str
    write: Write


class Bomb:
    """An object whose unpickling makes a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / MARK),)


def write_own(folder: Path, responses: bool = True) -> Path:
    """Write a sound folder of one's own data and return it."""
    own = folder / "own"
    (own / "images").mkdir(parents=True)
    if responses:
        np.save(own / "responses.npy", BETAS)
    (own / "trials.csv").write_text("stimulus_id\n" + "a\nb\n" * 3)
    (own / "captions.csv").write_text("stimulus_id,caption\na,a ball\nb,a cube\n")
    for name in "ab":
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(own / "images" / f"{name}.png")
    return own
