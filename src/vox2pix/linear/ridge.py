"""Ridge regression of many targets in blocks, with a penalty chosen for each or for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear.checks import check_alphas, is_finite, listed
from vox2pix.linear.decomposition import Decomposition, Projection
from vox2pix.linear.gcv import gcv_errors

TARGET_BLOCK = 2048


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge model; it predicts ``(X - offset) @ coef.T + mean``.

    Attributes
    ----------
    coef : ndarray, shape (n_targets, n_features)
        Weights for X as it was given; 0 for features that were not used.
    mean : ndarray of float64, shape (n_targets,)
        Mean of each target over trials; zero without an intercept.
    offset : ndarray of float64, shape (n_features,)
        What is subtracted from X, so that a large baseline of a feature costs no digits.
    alpha : ndarray of float64, shape (n_targets,)
        Penalty of each target.
    error : ndarray of float64, shape (n_targets,)
        Mean squared error estimated for that penalty, NaN where there was no choice.
    """

    coef: NDArray[Any]
    mean: NDArray[np.float64]
    offset: NDArray[np.float64]
    alpha: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def intercept(self) -> NDArray[np.float64]:
        """What is added to ``X @ coef.T``, shape (n_targets,)."""
        return np.asarray(self.mean - self.coef @ self.offset)


def iter_targets(y: Any, block: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield blocks of target columns; raise ValueError that names all columns with NaN."""
    parts = [slice(lo, min(lo + block, y.shape[1])) for lo in range(0, y.shape[1], block)]
    for part in parts:
        values = np.asarray(y[:, part])
        if not is_finite(values):
            finite = [np.isfinite(np.asarray(y[:, some])).all(axis=0) for some in parts]
            bad = np.flatnonzero(~np.concatenate(finite))
            raise ValueError(
                f"{len(bad)} of {y.shape[1]} targets hold NaN or infinite (inf) values (columns "
                f"{listed(bad)} of y, counted from 0): leave these targets out or repair them."
            )
        yield part, values


def iter_fits(
    decomposition: Decomposition,
    y: Any,
    alphas: ArrayLike,
    *,
    per_target: bool = True,
    relative: bool = False,
    estimate: bool = False,
    average_repeats: bool = True,
    errors: NDArray[np.float64] | None = None,
    target_block: int = TARGET_BLOCK,
) -> Iterator[tuple[slice, Projection, NDArray[np.float64], NDArray[np.float64]]]:
    """Choose a penalty for each target; yield targets in blocks.

    Parameters are those of :func:`fit_ridge`.

    Yields
    ------
    part : slice
        The targets of the block.
    projection : Projection
        The targets in the basis of the decomposition.
    alpha, error : ndarray of float64, shape (n_targets of the block,)
        Penalties, and the mean squared errors estimated for them.
    """
    grid = check_alphas(alphas)

    def of_block(part: slice, projection: Projection, *, search: bool) -> NDArray[np.float64]:
        if errors is not None:
            return errors[:, part]
        return gcv_errors(
            decomposition, projection, grid, average_repeats=average_repeats, search=search
        )

    estimate = estimate or len(grid) > 1
    if len(grid) > 1 and not per_target:
        sums = np.zeros(len(grid))
        for part, values in iter_targets(y, target_block):
            projection = decomposition.project(values)
            variance = projection.total * projection.scale**2 / decomposition.counts.sum()
            unit = np.where(variance > 0, variance, np.inf) if relative else 1
            sums += (of_block(part, projection, search=False) / unit).sum(axis=1)
        best = [np.argmin(sums)]
        grid, errors = grid[best], None if errors is None else errors[best]
    for part, values in iter_targets(y, target_block):
        projection = decomposition.project(values)
        alpha, error = np.full(values.shape[1], grid[0]), np.full(values.shape[1], np.nan)
        if estimate:
            estimated = of_block(part, projection, search=True)
            chosen = np.argmin(estimated, axis=0)
            alpha = grid[chosen]
            error = np.take_along_axis(estimated, chosen[None], axis=0)[0]
        yield part, projection, alpha, error


def fit_ridge(decomposition: Decomposition, y: Any, alphas: ArrayLike, **choice: Any) -> RidgeFit:
    r"""Choose penalties and solve, targets in blocks.

    Minimises :math:`\sum_t w_t |y_{s(t)} - x_t \beta - b|^2 + \alpha |\beta|^2` over all trials t.

    Parameters
    ----------
    decomposition : Decomposition
        Of the trials.
    y : array, shape (n_stimuli, n_targets)
        One row per stimulus; anything that is sliced by columns (memory map, zarr array).
    alphas : array_like, shape (n_alphas,)
        Penalties to choose from. With one, there is nothing to choose.
    per_target : bool
        A penalty for each target, or one for all (least mean error over targets).
    relative : bool
        Whether that mean is of errors divided by the variance of each target.
    estimate : bool
        Whether the error is estimated even where there is nothing to choose.
    average_repeats : bool
        See :func:`gcv_errors`.
    errors : ndarray, shape (n_alphas, n_targets), optional
        Errors to choose by, as from :func:`~vox2pix.linear.cv_errors`; by default those of
        :func:`gcv_errors`.
    target_block : int
        Targets in memory at a time.

    Returns
    -------
    RidgeFit

    Raises
    ------
    ValueError
        If a penalty is not positive and finite, or a target is not finite.
    """
    n_targets, dtype = y.shape[1], decomposition.dtype
    coef = np.empty((n_targets, len(decomposition.used)), dtype)
    mean, alpha, error = np.empty((3, n_targets))
    for part, projection, chosen, estimated in iter_fits(decomposition, y, alphas, **choice):
        coef[part] = decomposition.weights(projection.g, chosen)
        if (projection.scale != 1).any():
            coef[part] *= projection.scale[:, None].astype(dtype)
        mean[part], alpha[part], error[part] = projection.mean, chosen, estimated
    return RidgeFit(coef, mean, decomposition.offset, alpha, error)
