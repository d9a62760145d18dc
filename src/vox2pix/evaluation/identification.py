"""Two-way identification: whether a picture is nearer to its own original than to another."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["original", "reconstruction"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
CHANCE = 0.5

_TIE = 1e-9  # correlations nearer than this are equal: float64 sums in another order
_BLOCK = 1024  # originals compared with every reconstruction at once


def two_way(
    truth_features: ArrayLike, features: ArrayLike, direction: Direction = "original"
) -> NDArray[np.float64]:
    """Return the fraction of the other stimuli that each stimulus beats.

    With r(i, j) the Pearson correlation of original i's features with reconstruction j's, the
    score of stimulus i is the mean over j other than i of

    - direction "original": [r(i, i) > r(i, j)], the original fixed, its own reconstruction
      against every other (Takagi & Nishimoto 2023);
    - direction "reconstruction": [r(i, i) > r(j, i)], the reconstruction fixed, its own original
      against every other (Brain-Diffuser, Ozcelik & VanRullen 2023; MindEye, Scotti et al.
      2023).

    Conventions: a stimulus is never compared with itself; a tie (correlations within 1e-9)
    counts one half; features that are all equal have r = 0 with everything; with several samples
    a stimulus each sample is scored against the same sample of the other stimuli, and the score
    is the mean over samples. Chance is one half.

    Parameters
    ----------
    truth_features : array_like of float, shape (n, d)
        Features of the originals.
    features : array_like of float, shape (n, d) or (n, n_samples, d)
        Features of the reconstructions, row i of stimulus i.
    direction : {"original", "reconstruction"}
        Which of the two is fixed.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 1].

    Raises
    ------
    ValueError
        For fewer than two stimuli, shapes that do not match, NaN or infinite features, or an
        unknown direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"The direction is one of {', '.join(DIRECTIONS)}, not {direction!r}.")
    return two_way_scores(truth_features, features)[direction]


def two_way_scores(
    truth_features: ArrayLike, features: ArrayLike
) -> dict[Direction, NDArray[np.float64]]:
    """Return :func:`two_way` in both directions from one pass of matrix products.

    Memory is that of the features in float64, one sample at a time, and of 1,024 x n
    correlations.

    Parameters
    ----------
    truth_features, features : array_like of float
        As for :func:`two_way`.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        Keys "original" and "reconstruction".
    """
    truth, samples = _check_features(truth_features, features)
    unit_truth = unit_rows(truth)
    n_samples = samples.shape[1]
    scores = {direction: np.zeros(len(truth)) for direction in DIRECTIONS}
    for sample in range(n_samples):
        beaten = _beaten(unit_truth, unit_rows(samples[:, sample]))
        for direction in DIRECTIONS:
            scores[direction] += beaten[direction] / (n_samples * (len(truth) - 1))
    return scores


def _beaten(
    truth: NDArray[np.float64], pictures: NDArray[np.float64]
) -> dict[Direction, NDArray[np.float64]]:
    """Count the other stimuli that each stimulus beats, from rows of unit length."""
    own = np.einsum("ij,ij->i", truth, pictures)
    by_original = np.empty(len(own))
    by_reconstruction = np.zeros(len(own))
    for rows, r in _correlation_blocks(truth, pictures):
        by_original[rows] = _wins(own[rows, None] - r).sum(axis=1)
        by_reconstruction += _wins(own - r).sum(axis=0)
    # Each has tied with itself once.
    return {"original": by_original - 0.5, "reconstruction": by_reconstruction - 0.5}


def _correlation_blocks(
    truth: NDArray[np.float64], pictures: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the correlations of some originals with every reconstruction, block by block."""
    for start in range(0, len(truth), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, truth[rows] @ pictures.T


def _wins(margin: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return 1 where the own one leads, 1/2 where they tie, 0 where it trails."""
    return ((margin > _TIE) + np.float32(0.5) * (np.abs(margin) <= _TIE)).astype(np.float32)


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows less their mean, scaled to length one; constant rows become zero.

    The product of two such rows is their Pearson correlation.

    Parameters
    ----------
    rows : ndarray of float, shape (n, d)

    Returns
    -------
    ndarray of float64, shape (n, d)
    """
    centred = rows.astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    # Subtracting a rounded mean leaves a constant row at a rounding error, not at zero.
    varies = rows.max(axis=1) > rows.min(axis=1)
    # The largest entry first, so that the squares of tiny numbers do not vanish.
    centred[~varies] = 0
    centred[varies] /= np.abs(centred[varies]).max(axis=1, keepdims=True)
    centred[varies] /= np.linalg.norm(centred[varies], axis=1, keepdims=True)
    return centred


def rowwise_correlation(
    a: NDArray[np.floating], b: NDArray[np.floating], block: int = 64
) -> NDArray[np.float64]:
    """Return the Pearson correlation of each row of ``a`` with the same row of ``b``.

    A constant row has r = 0 by convention.

    Parameters
    ----------
    a, b : ndarray of float, shape (n, d)
    block : int
        Rows held in float64 at once.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    blocks = [slice(start, start + block) for start in range(0, len(a), block)]
    r = [np.einsum("ij,ij->i", unit_rows(a[rows]), unit_rows(b[rows])) for rows in blocks]
    return np.clip(np.concatenate(r), -1, 1)


def _check_features(
    truth_features: ArrayLike, features: ArrayLike
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return features as (n, d) and (n, n_samples, d), or refuse them."""
    truth, samples = np.asarray(truth_features), np.asarray(features)
    if samples.ndim == 2:
        samples = samples[:, None]
    if truth.ndim != 2 or samples.ndim != 3 or 0 in (*truth.shape[1:], *samples.shape[1:]):
        raise ValueError(
            "Features must have the shapes (n, d) for originals and (n, d) or (n, n_samples, d) "
            f"for reconstructions, not {truth.shape} and {np.shape(features)}."
        )
    if len(truth) != len(samples) or truth.shape[1] != samples.shape[2]:
        raise ValueError(
            f"The originals' features {truth.shape} and the reconstructions' "
            f"{np.shape(features)} differ in the number of stimuli or of features."
        )
    if len(truth) < 2:
        raise ValueError(f"Identification needs at least two stimuli, not {len(truth)}.")
    for name, array in (("originals", truth), ("reconstructions", samples)):
        finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"The features of the {name} hold NaN or infinite values, "
                f"first for stimulus {np.flatnonzero(~finite)[0]} (from 0)."
            )
    return truth, samples
