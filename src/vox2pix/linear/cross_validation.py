"""Cross-validation of penalties, with all repeats of a stimulus in the same fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear import arrays
from vox2pix.linear.checks import check_alphas, check_rows
from vox2pix.linear.decomposition import decompose
from vox2pix.linear.normal_equations import NormalEquations, Scaling, sum_by_stimulus
from vox2pix.linear.ridge import TARGET_BLOCK, iter_targets

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


def grouped_folds(
    groups: ArrayLike, n_folds: int = 5, *, stimuli: ArrayLike | None = None
) -> list[Fold]:
    """Divide trials into folds by group.

    The groups, in sorted order, are divided into ``n_folds`` contiguous runs of similar length,
    as scikit-learn's ``KFold`` divides samples: ``groups=np.arange(n_trials)`` gives its folds,
    stimulus indices give folds by stimulus, sessions folds by session.

    Parameters
    ----------
    groups : array_like, shape (n_trials,)
        Group of each trial; trials of one group are held out together.
    n_folds : int
        Number of folds.
    stimuli : array_like, shape (n_trials,), optional
        Stimulus of each trial. Trials of a held-out stimulus are then left out of training, too,
        whatever their group, so that no stimulus is on both sides.

    Returns
    -------
    list of (train, test)
        Indices of trials, ascending.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or a fold has no trial left to train on.
    """
    labels, group = np.unique(np.asarray(groups), return_inverse=True)
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}: cross-validation needs at least 2.")
    if len(labels) < n_folds:
        raise ValueError(
            f"There are {len(labels)} groups for {n_folds} folds: "
            f"give more groups, or at most {len(labels)} folds."
        )
    stimulus = None if stimuli is None else np.asarray(stimuli)
    folds = []
    for k, held_out in enumerate(np.array_split(np.arange(len(labels)), n_folds)):
        is_test = np.isin(group, held_out)
        is_train = ~is_test
        if stimulus is not None:
            is_train &= ~np.isin(stimulus, stimulus[is_test])
        if not is_train.any():
            raise ValueError(
                f"Fold {k + 1} of {n_folds} leaves no trial to train on: every other trial shows "
                "a stimulus that it holds out. Use more folds, or group by stimulus alone."
            )
        folds.append((np.flatnonzero(is_train), np.flatnonzero(is_test)))
    return folds


def cv_errors(
    X: NDArray[Any],
    y: Any,
    stimuli: ArrayLike,
    folds: Sequence[Fold],
    alphas: ArrayLike,
    *,
    weights: NDArray[np.float64] | None = None,
    scaling: Scaling | None = None,
    intercept: bool = True,
    average_repeats: bool = True,
    target_block: int = TARGET_BLOCK,
    device: str | None = None,
) -> NDArray[np.float64]:
    """Return the held-out squared error (n_alphas, n_targets), mean over folds, alphas ascending.

    ``y`` has one row per stimulus, ``stimuli`` its row of each trial; ``weights`` (positive) count
    in training and in the error. The scaling is that of all trials, not of a fold: no target enters
    it, and a penalty means the same in every fold; with an intercept each fold has its own means.
    With ``average_repeats`` a held-out stimulus is predicted from the mean of its held-out trials.

    One eigendecomposition per fold serves all penalties and targets. Equal to a loop over folds and
    penalties that fits ``sklearn.linear_model.Ridge`` on ``(X - offset) / scale``.
    """
    grid = check_alphas(alphas)
    index = check_rows(stimuli, len(X), y.shape[0])
    weight_of = np.ones(len(X)) if weights is None else weights
    errors = np.zeros((len(grid), y.shape[1]))
    for train, test in folds:
        equations = NormalEquations(y.shape[0], device)
        equations.add(X[train], index[train], weight_of[train], copy=False)
        decomposition = decompose(equations, scaling, intercept=intercept, overwrite=True)
        held_out, shown, weight = X[test], index[test], weight_of[test]
        if average_repeats and len(np.unique(shown)) < len(shown):
            _, sums = sum_by_stimulus(held_out * weight[:, None], shown)
            shown, weight = sum_by_stimulus(weight[:, None], shown)
            weight = weight[:, 0]
            held_out = sums / weight[:, None]
        weight = weight / weight.sum() / len(folds)
        scores = decomposition.scores(held_out)
        for part, values in iter_targets(y, target_block):
            projection = decomposition.project(values)
            truth = arrays.like(projection.truth(values[shown]), scores)
            for i, alpha in enumerate(grid):
                residual = truth - scores @ decomposition.shrunk(projection.g, alpha)
                squared = arrays.on_host(arrays.squares(residual))
                errors[i, part] += weight @ squared * projection.scale**2
    return errors
