"""A collection of images by id, read one at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vox2pix.evaluation.inputs.values import unit_values
from vox2pix.vision.images import Images


@dataclass(frozen=True)
class ImageCollection:
    """Images by id, read one at a time.

    Attributes
    ----------
    source : Path
        The folder or the file.
    ids : tuple of str
        One id per stimulus: the names of files, an array's ``ids``, or row numbers from 0.
    numbered : bool
        Whether the ids are only row numbers, which say nothing about the stimulus.
    n_samples : int
        Images per stimulus.
    raw : callable
        Row and sample, from 0, to an array (height, width[, channels]) as it is stored.
    sample_names : tuple of str
        The names of a folder's samples, in the order of their numbers; empty for arrays.
    notes : tuple of str
        What was left out or assumed when the collection was opened.
    """

    source: Path
    ids: tuple[str, ...]
    numbered: bool
    n_samples: int
    raw: Callable[[int, int], NDArray[Any]]
    sample_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def image(self, row: int, sample: int = 0) -> Images:
        """Return an image as float32 RGB in [0, 1], (height, width, 3).

        8-bit values are divided by 255, grey is repeated over the three colours, an opaque alpha
        channel is left out; UserError for what cannot be used.
        """
        return unit_values(self.raw(row, sample), self.named(row, sample))

    def named(self, row: int, sample: int = 0) -> str:
        """Return what an image is called in a message."""
        which = f" (sample {sample})" if self.n_samples > 1 else ""
        return f"{self.source}: image {self.ids[row]!r}{which}"
