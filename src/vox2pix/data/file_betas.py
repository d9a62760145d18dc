"""Responses in files: blocks of trials of the voxels that are asked for, whatever the layout."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.no_data import is_empty
from vox2pix.data.volumes import require_finite


class TrialArray(Protocol):
    """Trials x voxels on disk."""

    @property
    def path(self) -> Path:
        """The file, or the folder of several."""
        ...

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read consecutive trials of some columns, (n_trials, n_voxels), in the file's own type."""
        ...


@dataclass(frozen=True, eq=False)
class Part:
    """One session: an array, and its rows there."""

    array: TrialArray
    rows: NDArray[np.intp]  # (n_trials,), in the order of the trial table


def parts_of(array: TrialArray, sessions: NDArray[np.integer]) -> dict[int, Part]:
    """Return the sessions of one array that holds all trials; ``sessions`` is that of each."""
    return {int(s): Part(array, np.flatnonzero(sessions == s)) for s in np.unique(sessions)}


@dataclass(frozen=True, eq=False)
class FileBetas:
    """Responses of files, a session at a time."""

    parts: Mapping[int, Part]  # by session
    # (n_voxels,): column of the arrays that each row of the voxel table stands for
    columns: NDArray[np.intp]

    def take(self, voxels: NDArray[np.intp]) -> "FileBetas":
        """Return the source of some rows of the voxel table."""
        return replace(self, columns=self.columns[voxels])

    def read_session(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read one session as float32 (n_trials, n_voxels); NaN and infinite values raise."""
        part = self.parts[session]
        with np.errstate(over="ignore"):
            values = self._read(part, part.rows, voxels).astype(np.float32, copy=False)
        require_finite(values, part.array.path, session)
        return values

    def no_data(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which voxels are 0 or NaN in every trial of a session, shape (n_voxels,)."""
        part = self.parts[session]
        head = self._read(part, part.rows[:1], voxels)
        return is_empty(
            head, len(part.rows), lambda some: self._read(part, part.rows, voxels[some])
        )

    def _read(self, part: Part, rows: NDArray[np.intp], voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read some trials in the file's own type."""
        first, last = int(rows.min()), int(rows.max())
        values = part.array.read(slice(first, last + 1), self.columns[voxels])
        in_order = len(rows) == len(values) and (np.diff(rows) == 1).all()
        return values if in_order else values[rows - first]
