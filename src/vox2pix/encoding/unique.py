"""What each feature space explains that the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from vox2pix.encoding.model import EncodingModel
from vox2pix.errors import UserError
from vox2pix.linear import r2_score

LEVELS: tuple[float, ...] = (0, 1e-2, 1e-1, 1)
"""Shares of variance that a feature space may have in a joint model, before scaling."""


@dataclass(frozen=True)
class UniqueVariance:
    """Test R2 of feature spaces together, alone, and of each beyond the others.

    Attributes
    ----------
    joint : ndarray of float64, shape (n_voxels,)
        R2 of the model of all spaces.
    alone : dict of str to ndarray of float64, shape (n_voxels,)
        R2 of the model of one space.
    unique : dict of str to ndarray of float64, shape (n_voxels,)
        ``joint`` less the R2 of the model of all other spaces. May be a little below zero.
    shared : ndarray of float64, shape (n_voxels,)
        ``joint`` less all that is unique: of two spaces a and b, R2_a + R2_b - R2_joint.
    gains : dict of str to ndarray of float32, shape (n_stimuli, n_voxels)
        Part of ``unique`` that each test stimulus adds: the sum over stimuli is ``unique``.
    """

    joint: NDArray[np.float64]
    alone: dict[str, NDArray[np.float64]]
    unique: dict[str, NDArray[np.float64]]
    shared: NDArray[np.float64]
    gains: dict[str, NDArray[np.float32]]


def unique_variance(
    spaces: Mapping[str, tuple[ArrayLike, ArrayLike]],
    Y_train: Any,
    Y_test: Any,
    *,
    model: EncodingModel | None = None,
    levels: Sequence[float] = LEVELS,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> UniqueVariance:
    r"""Divide the variance that feature spaces explain into unique and shared parts.

    The joint model is banded ridge (Nunez-Elizalde, Huth & Gallant 2019, NeuroImage 197, 482-492):
    a penalty for each space, chosen for each voxel. A penalty :math:`\alpha / \gamma_k` on space k
    is the penalty :math:`\alpha` on that space multiplied by :math:`\sqrt{\gamma_k}`, so that each
    ratio of the :math:`\gamma` is one ridge problem, which one eigendecomposition solves for all
    :math:`\alpha` and all voxels. Every combination of ``levels`` is tried whose largest is 1;
    those in which a space has level 0 are the models without it. Models alone, of the others and of
    all spaces are thus chosen from one family, by one criterion, on training stimuli alone.

    Parameters
    ----------
    spaces : mapping of str to (X_train, X_test)
        At least two feature spaces, each (n_stimuli, n_features) for training and test stimuli.
        They are centred on the training stimuli and scaled to a mean squared length of 1.
    Y_train, Y_test : array, shape (n_stimuli, n_voxels)
        Responses, averaged over repeats; anything that is sliced by columns.
    model : EncodingModel, optional
        Settings of the models; cloned. Penalties refer to the scaled spaces.
    levels : sequence of float
        Values of gamma to combine, 0 and 1 among them.
    sample_weight, groups
        As in :meth:`EncodingModel.fit`.

    Returns
    -------
    UniqueVariance

    Raises
    ------
    UserError
        If there are fewer than two spaces, or they differ in their stimuli.
    ValueError
        If 0 or 1 is not among ``levels``.
    """
    if len(spaces) < 2:
        raise UserError("Unique variance needs at least two feature spaces; name another.")
    if not {0, 1} <= set(levels) or min(levels) < 0 or max(levels) > 1:
        raise ValueError(f"levels is {tuple(levels)}: give 0, 1 and values between them.")
    weights = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    scaled = {name: _scaled(*pair, weights) for name, pair in spaces.items()}
    _check_stimuli(scaled)
    everything = frozenset(scaled)
    alone = {name: frozenset({name}) for name in scaled}
    others = {name: everything - {name} for name in scaled}
    best = {
        subset: _Best.empty(Y_test.shape)
        for subset in {everything, *alone.values(), *others.values()}
    }
    for gammas in product(levels, repeat=len(scaled)):
        used = {name: gamma for name, gamma in zip(scaled, gammas, strict=True) if gamma}
        candidate_for = [models for subset, models in best.items() if used.keys() <= subset]
        if max(gammas) < 1 or not candidate_for:
            continue
        X_train, X_test = (
            np.hstack(
                [
                    np.sqrt(g, dtype=scaled[name][k].dtype) * scaled[name][k]
                    for name, g in used.items()
                ]
            )
            for k in range(2)
        )
        fitted = EncodingModel() if model is None else clone(model)
        for part, predicted in fitted.iter_predictions(
            X_train, Y_train, X_test, groups=groups, sample_weight=weights
        ):
            truth = np.asarray(Y_test[:, part], np.float64)
            mean = fitted.mean_[part]
            r2 = r2_score(truth, predicted, origin=mean)
            lost = _lost(truth, predicted + mean)
            for models in candidate_for:
                models.update(part, fitted.error_[part], r2, lost)
    joint = best[everything]
    unique = {name: joint.r2 - best[others[name]].r2 for name in scaled}
    for subset in others.values():  # in place: each of these tables is the largest thing here
        best[subset].lost -= joint.lost
    return UniqueVariance(
        joint=joint.r2,
        alone={name: best[alone[name]].r2 for name in scaled},
        unique=unique,
        shared=joint.r2 - np.sum(list(unique.values()), axis=0),
        gains={name: best[others[name]].lost for name in scaled},
    )


@dataclass
class _Best:
    """The model of least training error for each voxel, among those tried so far."""

    error: NDArray[np.float64]
    r2: NDArray[np.float64]
    lost: NDArray[np.float32]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Self:
        """Return what any model is better than, for responses (n_stimuli, n_voxels)."""
        return cls(
            np.full(shape[1], np.inf),
            np.full(shape[1], np.nan),
            np.full(shape, np.nan, np.float32),
        )

    def update(
        self,
        part: slice,
        error: NDArray[np.float64],
        r2: NDArray[np.float64],
        lost: NDArray[np.float64],
    ) -> None:
        """Store the test results of a model for those voxels whose error it lowers."""
        better = error < self.error[part]
        np.copyto(self.error[part], error, where=better)
        np.copyto(self.r2[part], r2, where=better)
        np.copyto(self.lost[:, part], lost, where=better)


def _check_stimuli(spaces: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
    for k, split in enumerate(("training", "test")):
        lengths = {name: len(pair[k]) for name, pair in spaces.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{n} in {name}" for name, n in lengths.items())
            raise UserError(
                f"The feature spaces differ in their {split} stimuli ({counts}); "
                "compute them for the same stimuli."
            )


def _lost(truth: NDArray[np.float64], predictions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of a voxel's variance that each stimulus leaves unexplained, of 1 - R2."""
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    varied = (np.ptp(truth, axis=0) > 0) & (total > 0)
    lost = np.square(truth - predictions) / np.where(varied, total, np.nan)
    return np.minimum(lost, np.finfo(np.float32).max / 2)  # as it is stored


def _scaled(
    X_train: ArrayLike, X_test: ArrayLike, weights: NDArray[np.float64] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centre a space on the training stimuli and scale it to a mean squared length of 1."""
    train, test = (np.asarray(X, np.result_type(X, np.float32)) for X in (X_train, X_test))
    mean = np.average(train, axis=0, weights=weights).astype(train.dtype)
    train, test = train - mean, test - mean
    squares = np.einsum("ij,ij->i", train, train, dtype=np.float64)
    length = np.sqrt(np.average(squares, weights=weights)).astype(train.dtype) or 1
    return train / length, test / length
