"""Checks of arrays that name what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_N_NAMED = 5


def listed(indices: NDArray[np.intp]) -> str:
    """Write the first few indices, and how many more there are."""
    named = ", ".join(str(i) for i in indices[:_N_NAMED])
    more = len(indices) - _N_NAMED
    return f"{named} and {more} more" if more > 0 else named


def is_finite(values: NDArray[Any]) -> bool:
    """Tell whether all values are finite.

    One sum passes nearly every clean array without a mask of its size; a sum that overflows only
    costs the second look.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def check_finite(name: str, values: NDArray[Any], first_row: int = 0) -> None:
    """Refuse NaN and infinite values, naming their rows and columns.

    Parameters
    ----------
    name : str
        What the message calls the array.
    values : ndarray, shape (n_rows, n_columns)
        The values to check.
    first_row : int
        Index that the message gives to ``values[0]``.

    Raises
    ------
    ValueError
        If any value is NaN or infinite.
    """
    if is_finite(values):
        return
    bad = ~np.isfinite(values)
    rows = np.flatnonzero(bad.any(axis=1)) + first_row
    columns = np.flatnonzero(bad.any(axis=0))
    raise ValueError(
        f"{name} holds {int(bad.sum())} NaN or infinite (inf) values, in rows {listed(rows)} and "
        f"columns {listed(columns)} (counted from 0): remove or repair these rows or columns first."
    )


def check_rows(stimuli: ArrayLike, n_trials: int, n_stimuli: int) -> NDArray[np.intp]:
    """Return ``stimuli`` as one index of an existing row of y per trial, or raise ValueError."""
    given = np.asarray(stimuli)
    if given.shape != (n_trials,):
        raise ValueError(
            f"stimuli has shape {given.shape}, but X has {n_trials} trials: "
            "give the row of y of each trial."
        )
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"stimuli has dtype {given.dtype}: give whole numbers, counted from 0.")
    wrong = np.flatnonzero((given < 0) | (given >= n_stimuli))
    if wrong.size:
        raise ValueError(
            f"stimuli[{wrong[0]}] is {given[wrong[0]]}, but y has {n_stimuli} rows: "
            f"rows are counted from 0 to {n_stimuli - 1}."
        )
    return given.astype(np.intp, copy=False)


def check_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """Return penalties as an ascending 1-D float64 array, or raise ValueError."""
    grid = np.unique(np.atleast_1d(np.asarray(alphas, np.float64)))
    if grid.size == 0:
        raise ValueError("alphas is empty: give at least one penalty.")
    if not (np.isfinite(grid).all() and (grid > 0).all()):
        raise ValueError(
            f"alphas holds {grid[~(grid > 0)].tolist() or grid.tolist()}: give "
            "positive, finite penalties."
        )
    return grid
