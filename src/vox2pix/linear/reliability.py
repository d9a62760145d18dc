"""How much of each column of X repeats with the stimulus, and weights made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear.normal_equations import NormalEquations, Scaling

CHOOSING_TARGETS = 1024
"""So many targets, at most, choose a power."""
_RUNS = 16  # of neighbours, as what is on disk is read in slices


def ncsnr(equations: NormalEquations) -> NDArray[np.float64]:
    r"""Return the noise-ceiling signal-to-noise ratio of every column, from repeats of stimuli.

    The variance within the repeats of a stimulus is noise; what the variance of all trials exceeds
    it by is signal:

    .. math:: ncsnr = \sqrt{\max(0, \sigma^2 - \sigma^2_{noise})} / \sigma_{noise}

    (Allen et al. 2022, Nature Neuroscience 25, 116-126, methods, "Noise ceiling estimation"; here
    of responses as they are given). With weights, the noise is that of a trial of weight 1.

    Parameters
    ----------
    equations : NormalEquations
        Of the training trials, with the stimulus of each.

    Returns
    -------
    ndarray of float64, shape (n_features,)
        Zero for columns that are constant.

    Raises
    ------
    ValueError
        If no stimulus repeats.
    """
    noise = equations.variance_within
    if noise is None:
        raise ValueError(
            "No stimulus repeats among the training trials, so that the reliability of voxels "
            "cannot be estimated: give stimuli, or reliability from elsewhere, or leave "
            "reliability_powers at 0 and min_reliability out."
        )
    signal = equations.variance - noise * equations.n_trials / equations.weight
    # Without noise, but for rounding, there is no ratio: the largest that is known stands for it.
    rounding = equations.n_trials * np.finfo(equations.dtype).eps * equations.variance
    is_noiseless = (noise <= rounding) & (equations.variance > 0)
    ratio = np.maximum(signal, 0) / np.where(noise > rounding, noise, 1)
    ratio[is_noiseless] = ratio[~is_noiseless].max(initial=1)
    return np.asarray(np.sqrt(ratio))


def check_reliability(reliability: ArrayLike, n_features: int) -> NDArray[np.float64]:
    """Return reliabilities as float64, unknown ones (NaN) and negative ones as 0."""
    given = np.asarray(reliability, np.float64)
    if given.shape != (n_features,):
        raise ValueError(
            f"reliability has shape {given.shape}, but X has {n_features} columns: give one number "
            "for each."
        )
    if np.isinf(given).any() or not (given > 0).any():
        raise ValueError("reliability is infinite for a column, or positive for none.")
    return np.where(given > 0, given, 0)


def weighted(
    scaling: Scaling,
    variance: NDArray[np.float64],
    reliability: NDArray[np.float64],
    powers: Sequence[float],
    minimum: float | None,
) -> list[Scaling]:
    r"""Return the scalings that multiply each column by its reliability to a power.

    The weights :math:`r_v^g` are brought to the mean square 1, weighted by the variance that the
    columns have as scaled, so that a penalty means the same for every power: X'X keeps its trace.

    Parameters
    ----------
    scaling : Scaling
        Of columns without weights.
    variance, reliability : ndarray, shape (n_features,)
        Of the columns as given.
    powers : sequence of float
        Each g. Columns of reliability 0 are left out unless g is 0.
    minimum : float, optional
        Columns of less reliability are left out.

    Returns
    -------
    list of Scaling
        One for each power that leaves any column.

    Raises
    ------
    ValueError
        If no power leaves any.
    """
    used = scaling.used if minimum is None else scaling.used & (reliability >= minimum)
    found = []
    for power in powers:
        chosen = used & ((reliability > 0) | (power == 0))
        if not chosen.any():
            continue
        weights = np.ones(len(chosen))
        if power:
            weights[chosen] = reliability[chosen] ** power
            as_scaled = variance[chosen] / scaling.scale[chosen] ** 2
            weights[chosen] /= np.sqrt(np.average(weights[chosen] ** 2, weights=as_scaled))
        scale = scaling.scale / weights
        found.append(Scaling(scaling.offset, scale, chosen, power, reliability))
    if not found:
        best = reliability.max(initial=0)
        raise ValueError(
            f"No voxel is reliable enough: the largest ncsnr is {best:.3g}"
            + (f", min_reliability {minimum:g}." if minimum else ".")
            + " Lower min_reliability, or have 0 among reliability_powers."
        )
    return found


def some_columns(y: Any) -> NDArray[Any]:
    """Return columns of a table from all over it, enough to judge a choice that all share."""
    n = y.shape[1]
    if n <= CHOOSING_TARGETS:
        return np.asarray(y[:, :n])
    width = CHOOSING_TARGETS // _RUNS
    starts = np.linspace(0, n - width, _RUNS).astype(int)
    return np.concatenate([np.asarray(y[:, lo : lo + width]) for lo in starts], axis=1)
