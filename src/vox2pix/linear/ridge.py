"""Ridge regression, targets in blocks, a penalty chosen for each or for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear.decomposition import Decomposition
from vox2pix.linear.gcv import gcv_errors
from vox2pix.linear.normal_equations import check_finite

TARGET_BLOCK = 2048


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge model.

    Attributes
    ----------
    coef : ndarray, shape (n_targets, n_features)
        Weights for X as it was given; 0 for features that were not used.
    mean : ndarray of float64, shape (n_targets,)
        Mean of each target over trials; zero without an intercept.
    offset : ndarray of float64, shape (n_features,)
        What is subtracted from X. The prediction is ``(X - offset) @ coef.T + mean``: a large
        baseline of a feature is gone before anything is rounded.
    alpha : ndarray of float64, shape (n_targets,)
        Penalty of each target.
    error : ndarray of float64, shape (n_targets,)
        Error estimated for that penalty (mean square), NaN where there was no choice.
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


def _target_blocks(Y: Any, block: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield blocks of target columns, checked."""
    for lo in range(0, Y.shape[1], block):
        part = slice(lo, min(lo + block, Y.shape[1]))
        values = np.asarray(Y[:, part])
        check_finite("Y", values, first_column=lo)
        yield part, values


def fit_ridge(
    decomposition: Decomposition,
    Y: Any,
    alphas: ArrayLike,
    *,
    per_target: bool = True,
    average_repeats: bool = True,
    errors: NDArray[np.float64] | None = None,
    target_block: int = TARGET_BLOCK,
) -> RidgeFit:
    r"""Choose a penalty and solve, targets in blocks.

    Minimises :math:`\sum_t |y_{s(t)} - x_t w - b|^2 + \alpha |w|^2` over all trials t.

    Parameters
    ----------
    decomposition : Decomposition
        Of the trials.
    Y : array, shape (n_stimuli, n_targets)
        One row a stimulus; anything that is sliced by columns (memory map, zarr array).
    alphas : array_like, shape (n_alphas,)
        Penalties to choose from. With one, there is nothing to choose.
    per_target : bool
        A penalty for each target, or one for all (least mean error over targets).
    average_repeats : bool
        See :func:`gcv_errors`.
    errors : ndarray, shape (n_alphas, n_targets), optional
        Errors to choose by, as of :func:`~vox2pix.linear.cv_errors`; by default those of
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
    grid = check_alphas(alphas)
    n_targets = Y.shape[1]
    if errors is None and len(grid) > 1 and not per_target:
        sums = np.zeros((len(grid), 1))
        for _, values in _target_blocks(Y, target_block):
            block_errors = gcv_errors(
                decomposition,
                decomposition.project(values),
                grid,
                average_repeats=average_repeats,
            )
            sums += block_errors.sum(axis=1, keepdims=True)
        errors = np.broadcast_to(sums / n_targets, (len(grid), n_targets))
    elif errors is not None and not per_target:
        errors = np.broadcast_to(errors.mean(axis=1, keepdims=True), errors.shape)
    dtype = decomposition.dtype
    coef = np.empty((n_targets, len(decomposition.kept)), dtype)
    mean = np.empty(n_targets)
    alpha = np.full(n_targets, grid[0])
    error = np.full(n_targets, np.nan)
    for part, values in _target_blocks(Y, target_block):
        projection = decomposition.project(values)
        if len(grid) > 1:
            if errors is None:
                of_block = gcv_errors(
                    decomposition,
                    projection,
                    grid,
                    average_repeats=average_repeats,
                    search=True,
                )
            else:
                of_block = errors[:, part]
            best = np.argmin(of_block, axis=0)
            alpha[part] = grid[best]
            error[part] = np.take_along_axis(of_block, best[None], axis=0)[0]
        coef[part] = decomposition.weights(projection.g, alpha[part])
        if (projection.scale != 1).any():
            coef[part] *= projection.scale[:, None].astype(dtype)
        mean[part] = projection.mean
    return RidgeFit(coef, mean, decomposition.offset, alpha, error)


def check_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """Return penalties as an ascending 1-D float64 array, or say what is wrong with them."""
    grid = np.unique(np.atleast_1d(np.asarray(alphas, np.float64)))
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError("alphas is empty: give at least one penalty.")
    if not (np.isfinite(grid).all() and (grid > 0).all()):
        raise ValueError(
            f"alphas holds {grid[~(grid > 0)].tolist() or grid.tolist()}: give "
            "positive, finite penalties."
        )
    return grid
