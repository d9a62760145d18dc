"""How far other responses are from those that a decoder was trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Standardisation = Literal["none", "run", "session"]

_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Shift:
    """Voxels' means and spreads against training; 5, 50 and 95 % quantiles over voxels.

    ``mean`` is the voxel's mean less that of training, in its standard deviations over training
    trials; ``spread`` the ratio of standard deviations over trials. Without a shift they are about
    0 and 1; voxels that are constant in training are left out.
    """

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    n_voxels: int


def shift(patterns: ArrayLike, train_mean: ArrayLike, train_sd: ArrayLike) -> Shift:
    """Compare single trials (n_trials, n_voxels) with the training trials' moments (n_voxels,)."""
    x = np.asarray(patterns, np.float64)
    mean, sd = np.asarray(train_mean, np.float64), np.asarray(train_sd, np.float64)
    used = sd > 0
    if len(x) < 2 or not used.any():
        raise ValueError("A shift needs two trials and a voxel that varied in training.")
    moved = (x.mean(axis=0) - mean)[used] / sd[used]
    ratio = x.std(axis=0)[used] / sd[used]
    low, middle, high = np.quantile(moved, _QUANTILES)
    least, usual, most = np.quantile(ratio, _QUANTILES)
    return Shift(
        (float(low), float(middle), float(high)),
        (float(least), float(usual), float(most)),
        int(used.sum()),
    )


def restandardise(
    patterns: ArrayLike,
    by: Standardisation,
    group: ArrayLike,
    reference: ArrayLike,
    train_mean: ArrayLike,
    train_sd: ArrayLike,
) -> NDArray[np.float32]:
    r"""Give responses the mean and the spread that the training responses had.

    .. math:: x' = \mu_{train} + \sigma_{train} \frac{x - m}{s}

    with m and s of each voxel over the trials of the same run (MIRAGE, arXiv 2605.17198), or over
    the seen trials of the same session, so that nothing is taken from the responses that are asked
    about. "none" leaves them as they are: what a frozen decoder meets. A voxel with s = 0 gets
    its training mean.

    Parameters
    ----------
    patterns : array_like of float, shape (n_trials, n_voxels)
    by : {"none", "run", "session"}
    group : array_like of int, shape (n_trials,)
        The run, or the session, of each trial; runs of different sessions have different numbers.
    reference : array_like of bool, shape (n_trials,)
        Trials over which m and s are taken: all by run, those in which a stimulus was seen by
        session.
    train_mean, train_sd : array_like of float, shape (n_voxels,)
        Over the training trials.

    Raises
    ------
    ValueError
        If a run or a session has fewer than two trials of reference.
    """
    x = np.asarray(patterns, np.float32)
    if by == "none":
        return x
    mean, sd = np.asarray(train_mean, np.float64), np.asarray(train_sd, np.float64)
    groups, is_reference = np.asarray(group), np.asarray(reference, bool)
    out = np.empty_like(x)
    for number in np.unique(groups):
        own = groups == number
        chosen = x[own & is_reference]
        if len(chosen) < 2:
            raise ValueError(f"Standardising by {by} needs two or more trials in each {by}.")
        centre, spread = (
            chosen.mean(axis=0, dtype=np.float64),
            chosen.std(axis=0, dtype=np.float64),
        )
        scale = np.divide(sd, spread, out=np.zeros_like(spread), where=spread > 0)
        out[own] = mean + (x[own] - centre) * scale
    return out
