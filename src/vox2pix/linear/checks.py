"""Checks of what a model is fitted on; they name what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_array

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
    """Raise ValueError that names the rows and columns of NaN and infinite values, if any.

    The message calls the array ``name``, and its first row ``first_row``.
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


@dataclass(frozen=True)
class Trials:
    """Training data after :func:`check_trials`: all trials have a positive weight."""

    X: NDArray[Any]
    y: Any  # one row per stimulus
    rows: NDArray[np.intp]  # of y, one per trial
    weights: NDArray[np.float64] | None
    groups: NDArray[Any] | None
    reliability: ArrayLike | None = None  # of the columns of X


def check_trials(
    X: NDArray[Any],
    y: Any,
    groups: ArrayLike | None,
    sample_weight: ArrayLike | None,
    stimuli: ArrayLike | None,
) -> Trials:
    """Return what an estimator is fitted on, X and y being tables; raise ValueError."""
    targets, rows = _pair(y, stimuli, len(X))
    labels = None if groups is None else np.asarray(groups)
    if labels is not None and labels.shape != (len(X),):
        raise ValueError(f"groups has shape {labels.shape}, but X has {len(X)} rows.")
    if sample_weight is None:
        return Trials(X, targets, rows, None, labels)
    weights = np.asarray(sample_weight, np.float64)
    is_valid = weights.shape == (len(X),) and np.isfinite(weights).all()
    if not is_valid or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight has shape {weights.shape} for {len(X)} rows of X, holds negative, NaN "
            "or infinite values, or only zeros: give the repeats of each row."
        )
    used = weights > 0
    if used.all():
        return Trials(X, targets, rows, weights, labels)
    labels = None if labels is None else labels[used]
    return Trials(X[used], targets, rows[used], weights[used], labels)


def as_table(y: Any) -> tuple[Any, bool]:
    """Return targets as a table that is sliced by columns, and whether they were one column."""
    if y is None:
        raise ValueError("The estimator requires y to be passed, but the target y is None.")
    # What is on disk slices by columns, and is neither an array nor a data frame.
    on_disk = hasattr(y, "shape") and not isinstance(y, np.ndarray) and not hasattr(y, "iloc")
    if on_disk and len(y.shape) == 2:
        return y, False
    table = check_array(y, dtype="numeric", ensure_2d=False, ensure_all_finite=False)
    if table.ndim > 2:
        raise ValueError(f"y has shape {table.shape}: give a table (n_rows, n_targets).")
    return (table[:, None], True) if table.ndim == 1 else (table, False)


def _pair(y: Any, stimuli: ArrayLike | None, n_trials: int) -> tuple[Any, NDArray[np.intp]]:
    """Return targets with one row per stimulus, and the row of each trial."""
    if stimuli is None:
        if y.shape[0] != n_trials:
            raise ValueError(
                f"X has {n_trials} rows and y {y.shape[0]}: these are inconsistent numbers of "
                "samples. Where y has one row per stimulus, give stimuli, the row of y of each "
                "trial."
            )
        return y, np.arange(n_trials)
    labels = np.asarray(stimuli)
    if not isinstance(y, np.ndarray) or len(y) != n_trials or labels.shape != (n_trials,):
        return y, check_rows(labels, n_trials, y.shape[0])
    present, first, rows = np.unique(labels, return_index=True, return_inverse=True)
    if np.issubdtype(labels.dtype, np.integer) and np.array_equal(present, np.arange(n_trials)):
        return y, labels  # every stimulus once, in any order
    if not np.array_equal(y[first][rows], y, equal_nan=True):
        raise ValueError(
            f"y has one row per trial ({n_trials}), but its rows differ among trials of one "
            "stimulus. If they are rows of stimuli, remove those that stimuli does not name."
        )
    return y[first], rows
