"""Features in the cache, read whole or a block of columns at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.store import KeyedRows

FloatArray = NDArray[np.float32]
_ROWS_AT_ONCE = 250
HELD_BYTES = 2**30
"""What columns of features take in memory at a time."""


@dataclass
class StoredFeatures:
    """Features of stimuli in the cache: a table (n_stimuli, n_features) sliced by columns.

    Files hold whole rows. Columns are therefore read in windows of `held_bytes`, each in one pass
    over the files; slices that come in order cost ``n_stimuli * n_features * 4 / held_bytes``
    passes in all, and no more than a window is in memory.

    Parameters
    ----------
    rows : KeyedRows
        The cache.
    keys : sequence of str, shape (n_stimuli,)
        The row of each stimulus.
    held_bytes : int
        Size of a window, in bytes.
    """

    rows: KeyedRows
    keys: Sequence[str]
    held_bytes: int = HELD_BYTES
    row_shape: tuple[int, ...] = field(init=False)
    _start: int = field(init=False, default=0, repr=False)
    _window: FloatArray | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Read the shape of a row."""
        self.row_shape = self.rows.load(self.keys[:1]).shape[1:]

    @property
    def shape(self) -> tuple[int, int]:
        """Stimuli and features, a row flattened in C order."""
        return len(self.keys), prod(self.row_shape)

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def read(self) -> FloatArray:
        """Return all of it, shape ``(n_stimuli, *row_shape)``."""
        return self.rows.load(self.keys)

    def __getitem__(self, key: tuple[slice, slice]) -> FloatArray:
        """Return some columns, ``features[:, 10:20]``."""
        n, width = self.shape
        lo, hi, step = key[1].indices(width)
        held = self._window
        if held is None or lo < self._start or hi > self._start + held.shape[1]:
            self._window = None  # one at a time
            n_columns = max(hi - lo, self.held_bytes // (n * self.dtype.itemsize))
            self._start, held = lo, self._columns(slice(lo, min(lo + n_columns, width)))
            self._window = held
        return held[key[0], lo - self._start : hi - self._start : step]

    def _columns(self, part: slice) -> FloatArray:
        n = len(self.keys)
        columns = np.empty((n, part.stop - part.start), np.float32)
        for start in range(0, n, _ROWS_AT_ONCE):
            keys = self.keys[start : start + _ROWS_AT_ONCE]
            columns[start : start + len(keys)] = self.rows.load(keys).reshape(len(keys), -1)[
                :, part
            ]
        return columns
