"""The choice of a penalty for each target, or one for all, targets in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear.checks import check_alphas, is_finite, listed
from vox2pix.linear.decomposition import Decomposition, Projection
from vox2pix.linear.gcv import gcv_errors

TARGET_BLOCK = 2048


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
    """Choose penalties, targets in blocks; yield a block, its projection, penalties and errors.

    The penalty is the one of least error for each target, or (``per_target=False``) of least mean
    error over the targets; with ``relative`` each counts in units of its variance. ``errors``
    (n_alphas, n_targets) are those of :func:`cv_errors`, else those of :func:`gcv_errors` are
    taken. With a single penalty the error is NaN, unless ``estimate`` asks for it.
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
