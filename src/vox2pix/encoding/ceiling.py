"""Noise ceilings of test responses, and scores relative to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from vox2pix.data.reliability import effective_repeats, noise_ceiling
from vox2pix.linear import pearson_r
from vox2pix.seeds import rng_for

FEWEST_REPEATED = 3
"""Repeated stimuli that a ceiling from split repeats needs for a meaningful correlation."""


def ncsnr_ceiling(ncsnr: ArrayLike, repeats: ArrayLike) -> NDArray[np.float64]:
    """Return the noise ceiling of averaged test responses from ``ncsnr``, percent of variance.

    Allen et al. (2022), Nature Neuroscience 25, 116-126, methods, "Noise ceiling estimation".

    Parameters
    ----------
    ncsnr : array_like, shape (n_voxels,)
        Noise-ceiling signal-to-noise ratio; NaN where it could not be computed.
    repeats : array_like of int, shape (n_stimuli,)
        Repeats averaged for each test stimulus.
    """
    return noise_ceiling(ncsnr, effective_repeats(repeats))


def split_half_ceiling(
    betas: Any, stimuli: ArrayLike, *, n_splits: int = 20, seed: int = 0, block: int = 2048
) -> NDArray[np.float64]:
    r"""Estimate the noise ceiling of averaged test responses from the repeats themselves.

    The repeats of each stimulus are split at random into two halves of equal size (of an odd
    number one is left out), and the two means correlated over stimuli. The mean correlation
    :math:`\bar r` over splits is the reliability of a mean of k repeats; that of all m repeats
    follows from Spearman (1910) and Brown (1910),

    .. math:: NC = 100 \, \frac{(m / k) \bar r}{1 + (m / k - 1) \bar r}.

    Where stimuli differ in their repeats, 1/k and 1/m are means over stimuli; those shown once
    count in m alone.

    Parameters
    ----------
    betas : array, shape (n_trials, n_voxels)
        Responses to single test trials; anything that is sliced by columns.
    stimuli : array_like, shape (n_trials,)
        Stimulus of each trial.
    n_splits : int
        Number of random splits.
    seed : int
        Seed of the splits.
    block : int
        Voxels in memory at a time.

    Returns
    -------
    ndarray of float64, shape (n_voxels,)
        Percent of variance; negative where the halves disagree, NaN where a voxel never varies.

    Raises
    ------
    ValueError
        If fewer than three stimuli were repeated, or ``stimuli`` does not fit.
    """
    stimulus = np.unique(np.asarray(stimuli), return_inverse=True)[1]
    if stimulus.shape != (betas.shape[0],):
        raise ValueError(
            f"stimuli has shape {stimulus.shape}, but there are {betas.shape[0]} trials."
        )
    repeats = np.bincount(stimulus)
    half = repeats // 2
    repeated = half > 0
    if repeated.sum() < FEWEST_REPEATED:
        raise ValueError(
            f"{repeated.sum()} stimuli were shown more than once: a ceiling from split repeats "
            f"needs at least {FEWEST_REPEATED}."
        )
    rng = rng_for(seed, "split-half")
    splits = [_halves(stimulus, half, rng) for _ in range(n_splits)]
    reliability = np.empty(betas.shape[1])
    for lo in range(0, betas.shape[1], block):
        values = np.asarray(betas[:, lo : lo + block], np.float64)
        # Less the first trial, so that a voxel that never varies is zero to the last bit.
        values = values - values[0]
        reliability[lo : lo + block] = np.mean(
            [pearson_r(first @ values, second @ values) for first, second in splits], axis=0
        )
    factor = effective_repeats(repeats) / effective_repeats(half[repeated])
    return 100 * factor * reliability / (1 + (factor - 1) * reliability)


def _halves(
    stimulus: NDArray[np.intp], half: NDArray[np.intp], rng: np.random.Generator
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
    """Return two matrices that average a random half of the repeats of each stimulus."""
    order = np.lexsort((rng.random(len(stimulus)), stimulus))
    starts = np.cumsum(np.bincount(stimulus)) - np.bincount(stimulus)
    place = np.empty(len(stimulus), np.intp)
    place[order] = np.arange(len(stimulus)) - starts[stimulus[order]]
    row = np.cumsum(half > 0) - 1
    of_half = half[stimulus]

    def mean_of(chosen: NDArray[np.bool_]) -> scipy.sparse.csr_array:
        trials = np.flatnonzero(chosen)
        return scipy.sparse.csr_array(
            (1 / of_half[trials], (row[stimulus[trials]], trials)),
            shape=(row[-1] + 1, len(stimulus)),
        )

    return mean_of(place < of_half), mean_of((place >= of_half) & (place < 2 * of_half))


def normalised_r(r: ArrayLike, ceiling: ArrayLike) -> NDArray[np.float64]:
    r"""Return correlations in units of the largest that noise allows, :math:`r / \sqrt{NC / 100}`.

    They may exceed 1, as the ceiling is an estimate, and are NaN where it is NaN or not positive.

    Parameters
    ----------
    r : array_like, shape (n_voxels,)
        Pearson correlation of predicted and measured responses.
    ceiling : array_like, shape (n_voxels,)
        Noise ceiling, percent of variance.
    """
    percent = np.asarray(ceiling, np.float64)
    share = np.where(percent > 0, percent, np.nan) / 100
    return np.asarray(np.asarray(r, np.float64) / np.sqrt(share))
