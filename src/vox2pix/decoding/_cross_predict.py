"""Predictions of every trial by decoders that did not see it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from vox2pix.linear import RidgeEstimator


def cross_predict(
    decoder: RidgeEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    groups: ArrayLike,
    stimuli: ArrayLike | None = None,
) -> NDArray[Any]:
    """Predict every trial by a decoder that was fitted without its group.

    For data too small to be split: ``groups`` the stimuli leaves one out with all its trials,
    ``groups=np.arange(n_trials)`` leaves one trial out (its repeats stay in training).

    Parameters
    ----------
    decoder : RidgeDecoder or EncodingModel
        Settings; it is cloned for each group and left untouched.
    X : array_like, shape (n_trials, n_voxels)
        Responses.
    y : array_like, shape (n_trials, n_targets) or (n_stimuli, n_targets)
        Targets, one row per trial, or with ``stimuli`` one row per stimulus.
    groups : array_like, shape (n_trials,)
        Trials that are held out together.
    stimuli : array_like of int, shape (n_trials,), optional
        Row of y of each trial.

    Returns
    -------
    ndarray, shape (n_trials, n_targets)
        Held-out predictions, in the order of X.

    Raises
    ------
    ValueError
        If there are fewer than two groups, or shapes do not fit.
    """
    responses, targets = np.asarray(X), np.asarray(y)
    labels, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.shape != (len(responses),):
        raise ValueError(f"groups has shape {group.shape}, but X has {len(responses)} trials.")
    if len(labels) < 2:
        raise ValueError("groups holds one group: nothing is left to train on without it.")
    index = np.arange(len(responses)) if stimuli is None else np.asarray(stimuli)
    predictions: NDArray[Any] | None = None
    for k in range(len(labels)):
        test = group == k
        shown, rows = np.unique(index[~test], return_inverse=True)
        fitted = clone(decoder).fit(responses[~test], targets[shown], stimuli=rows)
        predicted = fitted.predict(responses[test])
        if predictions is None:
            predictions = np.empty((len(responses), *predicted.shape[1:]), predicted.dtype)
        predictions[test] = predicted
    assert predictions is not None
    return predictions
