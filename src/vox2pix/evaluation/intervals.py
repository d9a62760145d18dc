"""How sure a mean over stimuli is."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1_000_000  # resampled values held at once


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic over stimuli.

    Stimuli are drawn with replacement and the statistic taken of each draw; the interval lies
    between the (1 - level) / 2 and (1 + level) / 2 quantiles (Efron & Tibshirani 1993, ch. 13).

    It answers how the figure would vary with other stimuli from the same population, for the
    same subject and the same decoder. Identification scores share a pool: each stimulus is
    scored against all the others, so their scores depend on each other, and resampling them
    keeps the pool as it was. Read the interval of an identification score as one for new stimuli
    against this pool; it is somewhat too narrow for a new pool.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        One score a stimulus.
    statistic : callable
        Taken along the last axis, by ``axis=-1``, like :func:`numpy.mean`.
    n_resamples : int
        How many draws.
    level : float
        Coverage aimed at, in (0, 1).
    seed : int
        Of the draws.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        For fewer than two values, values that are not finite, or a level outside (0, 1).
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise ValueError(
            f"An interval needs at least two values in one row, not the shape {sample.shape}."
        )
    if not np.isfinite(sample).all():
        raise ValueError("An interval needs finite values; some are NaN or infinite.")
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval lies between 0 and 1, not at {level}.")
    if n_resamples < 1:
        raise ValueError(f"An interval needs at least one resample, not {n_resamples}.")
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // len(sample))
    estimates = [
        statistic(sample[rng.integers(0, len(sample), (count, len(sample)))], axis=-1)
        for count in _counts(n_resamples, at_once)
    ]
    low, high = np.quantile(np.concatenate(estimates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def joint_interval(
    statistic: Callable[..., Any], *columns: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic of several scores of the same stimuli.

    Whole stimuli are drawn, with all of their scores, as :func:`bootstrap_interval` draws them.

    Parameters
    ----------
    statistic : callable
        Takes as many arrays of shape (n_draws, n) as there are columns and returns (n_draws,).
    *columns : array_like of float, shape (n,)
        Row i of each belongs to stimulus i.
    n_resamples, seed : int
        As for :func:`bootstrap_interval`.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        For columns of unequal length, or as :func:`bootstrap_interval` does.
    """
    arrays = [np.asarray(column, np.float64) for column in columns]
    if len({array.shape for array in arrays}) != 1:
        raise ValueError(f"Columns differ in shape: {[array.shape for array in arrays]}.")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("An interval needs finite values; some are NaN or infinite.")

    def of_rows(rows: NDArray[np.float64], axis: int) -> Any:
        picked = rows.astype(np.intp)
        return statistic(*(array[picked] for array in arrays))

    return bootstrap_interval(
        np.arange(len(arrays[0])), of_rows, n_resamples=n_resamples, seed=seed
    )


def _counts(total: int, at_once: int) -> list[int]:
    """Split ``total`` into parts of ``at_once`` and a rest."""
    return [min(at_once, total - start) for start in range(0, total, at_once)]
