"""Two-way identification: whether an image is nearer to its own original than to another."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["original", "reconstruction"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
CHANCE = 0.5

TIE = 1e-9  # correlations nearer than this are equal: float64 sums in another order
_BLOCK = 256  # originals compared with every reconstruction at once
_ROWS = 16  # rows held in float64 at once: they stay in the cache
_FEW = 2048  # near ties of a block that are worth looking at pair by pair


def two_way(
    truth_features: ArrayLike, features: ArrayLike, direction: Direction = "original"
) -> NDArray[np.float64]:
    """Return the fraction of the other stimuli that each stimulus beats.

    With r(i, j) the Pearson correlation of original i's features with reconstruction j's, the score
    of stimulus i is the mean over j other than i of

    - direction "original": [r(i, i) > r(i, j)], the original fixed, its own reconstruction
      against every other (Takagi & Nishimoto 2023);
    - direction "reconstruction": [r(i, i) > r(j, i)], the reconstruction fixed, its own original
      against every other (Brain-Diffuser, Ozcelik & VanRullen 2023; MindEye, Scotti et al.
      2023).

    A stimulus is never compared with itself; a tie (correlations within 1e-9) counts one half;
    features that are all equal have r = 0 with everything; with several samples per stimulus each
    sample is scored against the same sample of the other stimuli, and the score is the mean over
    samples. Chance is one half: features drawn without regard to the stimulus beat each other one
    as often as not, and an image that is the same for all ties.

    Parameters
    ----------
    truth_features : array_like of float, shape (n, d)
        Features of the originals.
    features : array_like of float, shape (n, d) or (n, n_samples, d)
        Features of the reconstructions, row i of stimulus i.
    direction : {"original", "reconstruction"}
        Which of the two is fixed.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"The direction is one of {', '.join(DIRECTIONS)}, not {direction!r}.")
    return two_way_scores(truth_features, features)[direction]


def two_way_scores(
    truth_features: ArrayLike, features: ArrayLike
) -> dict[Direction, NDArray[np.float64]]:
    """Return :func:`two_way` in both directions from one pass of matrix products.

    The products are float32. Where one comes so near to a stimulus' own correlation that its
    rounding could decide, the correlation is taken again in float64 from the features, so that
    wins and ties are those of float64 throughout. Near means u (4 + sqrt(d)) with u = 2^-24: the
    rounding of a sum of d products stays below sqrt(d) u with high probability (Higham & Mary
    2019, SIAM J. Sci. Comput. 41), that of the two unit vectors below 2 u each.

    Memory beside the features is theirs in float32, one sample at a time, a few blocks of 256 x n
    correlations, and where ties abound some blocks of 256 rows in float64.
    """
    both = two_way_jackknife(truth_features, features)
    return {direction: scores for direction, (scores, _) in both.items()}


def two_way_jackknife(
    truth_features: ArrayLike, features: ArrayLike
) -> dict[Direction, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    r"""Return :func:`two_way_scores`, and the jackknife's pseudo-value of each stimulus, (n,) each.

    A stimulus takes part in its own score and in those of all others. With W comparisons won in
    all, of which stimulus i wins :math:`R_i` itself and :math:`C_i` are won over it, the rate
    without it is :math:`\hat\theta_{-i} = (W - R_i - C_i) / ((n - 1)(n - 2))`, and its pseudo-value
    :math:`n \hat\theta - (n - 1) \hat\theta_{-i}`. Their mean is that of the scores;
    :func:`~vox2pix.evaluation.rate_interval` takes them. Of two stimuli, the scores are
    returned twice.
    """
    truth, samples = _check_features(truth_features, features)
    n, n_samples = len(truth), samples.shape[1]
    unit_truth = single_unit_rows(truth)
    sums = {direction: np.zeros((2, n)) for direction in DIRECTIONS}
    for sample in range(n_samples):
        beaten = _beaten(truth, unit_truth, samples[:, sample])
        for direction in DIRECTIONS:
            sums[direction] += beaten[direction] / n_samples
    return {
        direction: (won / (n - 1), pseudo_values(won, won_over))
        for direction, (won, won_over) in sums.items()
    }


def identify_jackknife(
    correlations: ArrayLike,
) -> dict[Direction, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return what :func:`two_way_jackknife` does, from correlations r (n, n) of original and image.

    For Takagi & Nishimoto, who average r over samples before they compare.
    """
    r = np.asarray(correlations, np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2 or not np.isfinite(r).all():
        raise ValueError(f"Correlations must be finite and (n, n) with n > 1, not {r.shape}.")
    own, n = np.diag(r), len(r)
    r = r.copy()
    np.fill_diagonal(r, np.nan)  # a stimulus is not compared with itself
    won, won_over = _wins(own[:, None] - r)
    over_originals, by_reconstructions = _wins(own - r)
    return {
        "original": (won / (n - 1), pseudo_values(won, won_over)),
        "reconstruction": (
            by_reconstructions / (n - 1),
            pseudo_values(by_reconstructions, over_originals),
        ),
    }


def pseudo_values(won: NDArray[np.float64], won_over: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pseudo-values of :func:`two_way_jackknife`.

    From the comparisons that each stimulus wins, and that others win over it, both (n,).
    """
    n, total = len(won), won.sum()
    if n < 3:
        return won / (n - 1)
    without = (total - won - won_over) / ((n - 1) * (n - 2))
    return np.asarray(total / (n - 1) - (n - 1) * without)


def _beaten(
    truth: NDArray[np.floating], unit_truth: NDArray[np.float32], images: NDArray[np.floating]
) -> dict[Direction, NDArray[np.float64]]:
    """Count the others that each stimulus beats, and that beat others over it, shape (2, n)."""
    own, unit_images = np.empty(len(truth)), np.empty(images.shape, np.float32)
    for start in range(0, len(own), _ROWS):
        rows = slice(start, start + _ROWS)
        unit = unit_rows(images[rows])
        own[rows] = np.einsum("ij,ij->i", unit_rows(truth[rows]), unit)
        unit_images[rows] = unit
    by_original, by_reconstruction = np.zeros((2, 2, len(own)))
    for start in range(0, len(own), _BLOCK):
        rows = slice(start, start + _BLOCK)
        r = (unit_truth[rows] @ unit_images.T).astype(np.float64)
        r[np.arange(len(r)), np.arange(start, start + len(r))] = np.nan  # a stimulus with itself
        _settle_near_ties(r, own, own[rows], truth[rows], images)
        by_original[0, rows], over = _wins(own[rows, None] - r)
        by_original[1] += over
        by_reconstruction[1, rows], won = _wins(own - r)
        by_reconstruction[0] += won
    return {"original": by_original, "reconstruction": by_reconstruction}


def _settle_near_ties(
    r: NDArray[np.float64],
    own: NDArray[np.float64],
    own_of_rows: NDArray[np.float64],
    truth: NDArray[np.floating],
    images: NDArray[np.floating],
) -> None:
    """Replace the correlations that float32 cannot tell from an own one by those of float64."""
    rounding = 2.0**-24 * (4 + np.sqrt(truth.shape[1]))
    i, j = np.nonzero(
        (np.abs(r - own_of_rows[:, None]) <= rounding) | (np.abs(r - own) <= rounding)
    )
    if len(i) <= _FEW:
        for start in range(0, len(i), _ROWS):
            pairs = slice(start, start + _ROWS)
            r[i[pairs], j[pairs]] = rowwise_correlation(truth[i[pairs]], images[j[pairs]])
        return
    itself = np.isnan(r)
    unit_truth = unit_rows(truth)
    for start in range(0, len(images), _BLOCK):
        columns = slice(start, start + _BLOCK)
        r[:, columns] = unit_truth @ unit_rows(images[columns]).T
    r[itself] = np.nan


def _wins(margin: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count by row and by column: 1 where the own leads, 1/2 where they tie, 0 where it trails."""
    ahead, not_behind = margin > TIE, margin >= -TIE
    by_row, by_column = (
        (np.count_nonzero(ahead, axis=axis) + np.count_nonzero(not_behind, axis=axis)) / 2
        for axis in (1, 0)
    )
    return by_row, by_column


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows (n, d) less their mean, scaled to length one, in float64.

    Constant rows become zero. The product of two such rows is their Pearson correlation.
    """
    centred = rows.astype(np.float64)
    highest, lowest = centred.max(axis=1), centred.min(axis=1)
    mean = centred.mean(axis=1)
    # Subtracting a rounded mean leaves a constant row at a rounding error, not at zero.
    constant = highest == lowest
    mean[constant] = highest[constant]
    centred -= mean[:, None]
    # The largest entry first, so that the squares of tiny numbers do not vanish.
    largest = np.maximum(highest - mean, mean - lowest)
    centred /= np.where(constant, 1, largest)[:, None]
    length = np.sqrt(np.einsum("ij,ij->i", centred, centred))
    centred *= (1 / np.where(constant, 1, length))[:, None]
    return centred


def single_unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return :func:`unit_rows` rounded to float32, with a few rows in float64 at a time."""
    unit = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), _ROWS):
        unit[start : start + _ROWS] = unit_rows(rows[start : start + _ROWS])
    return unit


def rowwise_correlation(
    a: NDArray[np.floating], b: NDArray[np.floating], block: int = _ROWS
) -> NDArray[np.float64]:
    """Return Pearson's r of each row of ``a`` (n, d) with the same row of ``b``.

    A constant row has r = 0 by convention; ``block`` rows are in float64 at once.
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
