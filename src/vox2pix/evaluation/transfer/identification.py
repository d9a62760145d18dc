"""Which of the known stimuli a decoded target belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.intervals import rate_interval
from vox2pix.evaluation.metrics.identification import TIE, identify_jackknife, unit_rows
from vox2pix.evaluation.transfer.intervals import Estimate
from vox2pix.evaluation.transfer.permutation import permutation_p
from vox2pix.seeds import rng_for

Way = Literal["pairwise", "k-way"]
Pool = Literal["set", "all"]
Fixed = Literal["true", "decoded"]

N_DRAWS = 20  # choices of trials, of each number that is averaged
COUNTS = (1, 2, 4, 8, 16)
_FEWEST = 3  # stimuli of a set whose six arrangements say anything


@dataclass(frozen=True)
class Identification:
    """One way of identifying, over the stimuli of all sets.

    "pairwise" is the share of other stimuli that the own one beats, "k-way" the share of stimuli
    whose own one beats all others. Others are those of the same set, or of all sets. Either the
    true target is fixed and decoded ones compete, or the other way round.
    """

    way: Way
    pool: Pool
    fixed: Fixed
    score: Estimate
    chance: float
    # mean over all arrangements of the labels of each set: above chance over all sets where
    # decoded targets tell the sets apart, and not the stimuli
    shuffled: float
    p: float  # exact, labels permuted in each set
    n_stimuli: int


def similarities(true: ArrayLike, decoded: ArrayLike, mean: ArrayLike) -> NDArray[np.float64]:
    """Return Pearson's r of true targets with decoded ones, less a mean target.

    What all stimuli have in common says nothing about which one it is, and would dominate r.

    Parameters
    ----------
    true : array_like of float, shape (n_true, n_values)
    decoded : array_like of float, shape (n_decoded, n_values)
    mean : array_like of float, shape (n_values,)
        Mean target of the training stimuli.

    Returns
    -------
    ndarray of float64, shape (n_true, n_decoded)
    """
    centre = np.asarray(mean, np.float64)
    first, second = (unit_rows(np.asarray(rows, np.float64) - centre) for rows in (true, decoded))
    return np.clip(first @ second.T, -1, 1)


def identify(r: ArrayLike, sets: ArrayLike, seed: int = 0) -> list[Identification]:
    """Identify stimuli in every way, see :class:`Identification`.

    The test permutes the labels of the stimuli of each set (:func:`permutation_p`); the interval
    is of other stimuli, by :func:`~vox2pix.evaluation.rate_interval`. Ties count one half, or
    their share of the first place. Over all sets there is nothing new where there is one.

    Parameters
    ----------
    r : array_like of float, shape (n_stimuli, n_stimuli)
        Similarity of true target i with decoded target j, from :func:`similarities`.
    sets : array_like, shape (n_stimuli,)
        The set of each stimulus; each needs three or more.
    seed : int
        Of arrangements that are drawn, where not all are tried.

    Raises
    ------
    ValueError
        If shapes differ, similarities are not finite, or a set has fewer than three stimuli.
    """
    similarity, groups = np.asarray(r, np.float64), _groups(sets)
    if similarity.shape != (len(np.asarray(sets)),) * 2 or not np.isfinite(similarity).all():
        raise ValueError(
            f"Similarities must be finite, one row and column per stimulus, not "
            f"{similarity.shape} of {len(np.asarray(sets))} stimuli."
        )
    found = []
    for fixed in get_args(Fixed):
        rows = similarity if fixed == "true" else similarity.T
        for pool in get_args(Pool)[: 2 if len(groups) > 1 else 1]:
            pools = groups if pool == "set" else [np.arange(len(rows))]
            for way in get_args(Way):
                weights = np.zeros_like(rows)
                for members in pools:
                    square = np.ix_(members, members)
                    weights[square] = _weights(rows[square], way)
                blocks = [weights[np.ix_(members, members)] for members in groups]
                found.append(
                    Identification(
                        way,
                        pool,
                        fixed,
                        _rate(rows, weights, pools, way),
                        _chance(pools, way),
                        sum(float(block.sum() / len(block)) for block in blocks) / len(rows),
                        permutation_p(blocks, seed),
                        len(rows),
                    )
                )
    return found


def pseudo_values(r: ArrayLike, sets: ArrayLike) -> list[NDArray[np.float64]]:
    """Return the jackknife's pseudo-values of pairwise identification, true targets fixed, by set.

    Their mean over all stimuli is the score within sets; ratios of tasks are taken of them.
    """
    similarity = np.asarray(r, np.float64)
    return [
        identify_jackknife(similarity[np.ix_(members, members)])["original"][1]
        for members in _groups(sets)
    ]


@dataclass(frozen=True)
class CurvePoint:
    """Pairwise identification within sets from the mean of so many trials."""

    n_trials: int
    score: Estimate


def trial_curve(
    true: ArrayLike,
    decoded: ArrayLike,
    stimulus: ArrayLike,
    sets: ArrayLike,
    mean: ArrayLike,
    counts: Sequence[int] = COUNTS,
    seed: int = 0,
) -> list[CurvePoint]:
    """Identify from means of 1, 2, 4, 8 and 16 trials of each stimulus, as far as there are.

    A linear decoder's prediction from a mean response is the mean of its predictions, so that
    single trials are decoded once. Scores are averaged over 20 choices of trials.

    Parameters
    ----------
    true : array_like of float, shape (n_stimuli, n_values)
    decoded : array_like of float, shape (n_trials, n_values)
        Decoded from single trials.
    stimulus : array_like of int, shape (n_trials,)
        Row of ``true`` that each trial belongs to.
    sets : array_like, shape (n_stimuli,)
    mean : array_like of float, shape (n_values,)
        Mean target of the training stimuli.
    counts : sequence of int
        Numbers of trials.
    seed : int
        Of the choices.
    """
    fewest = int(np.bincount(np.asarray(stimulus), minlength=len(np.asarray(true))).min())
    points = []
    for n in (n for n in counts if n <= fewest):
        of_sets = averaged_pseudo_values(true, decoded, stimulus, sets, mean, n, seed)
        pseudo = np.concatenate(of_sets)
        points.append(CurvePoint(n, Estimate(float(pseudo.mean()), *rate_interval(pseudo))))
    return points


def averaged_pseudo_values(
    true: ArrayLike,
    decoded: ArrayLike,
    stimulus: ArrayLike,
    sets: ArrayLike,
    mean: ArrayLike,
    n_trials: int,
    seed: int = 0,
) -> list[NDArray[np.float64]]:
    """Return :func:`pseudo_values` from means of so many trials, over 20 choices of trials.

    Two tasks are compared at equal ``n_trials``. Arguments are those of :func:`trial_curve`.
    """
    values, shown = np.asarray(decoded, np.float64), np.asarray(stimulus)
    own = [np.flatnonzero(shown == s) for s in range(len(np.asarray(true)))]
    rng = rng_for(seed, "averaged trials", n_trials)
    drawn = []
    for _ in range(N_DRAWS):
        chosen = [rng.choice(trials, n_trials, replace=False) for trials in own]
        means = np.stack([values[trials].mean(axis=0) for trials in chosen])
        drawn.append(pseudo_values(similarities(true, means, mean), sets))
    return [np.mean(each, axis=0) for each in zip(*drawn, strict=True)]


def largest_share(r: ArrayLike) -> float:
    """Return the largest share of decoded targets that are most similar to one true target.

    1 / n_true if none is preferred, 1 if every prediction looks the same; ``r`` is
    (n_true, n_decoded).
    """
    nearest = np.asarray(r).argmax(axis=0)
    return float(np.bincount(nearest).max() / len(nearest))


def _groups(sets: ArrayLike) -> list[NDArray[np.intp]]:
    """Return the stimuli of each set."""
    labels = np.asarray(sets)
    groups = [np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist())]
    if not groups or min(map(len, groups)) < _FEWEST:
        raise ValueError(
            f"Each set needs {_FEWEST} stimuli or more: fewer have no null to speak of."
        )
    return groups


def _weights(rows: NDArray[np.float64], way: Way) -> NDArray[np.float64]:
    """Return what fixed stimulus i wins if j is taken for its own, among all j."""
    if way == "pairwise":
        margin = rows[:, :, None] - rows[:, None, :]  # i, own j, other j
        won = (margin > TIE) + 0.5 * (np.abs(margin) <= TIE)
        return np.asarray((won.sum(axis=2) - 0.5) / (rows.shape[1] - 1))  # itself, a tie, left out
    first = rows >= rows.max(axis=1, keepdims=True) - TIE
    return np.asarray(first / first.sum(axis=1, keepdims=True))


def _rate(
    rows: NDArray[np.float64],
    weights: NDArray[np.float64],
    pools: Sequence[NDArray[np.intp]],
    way: Way,
) -> Estimate:
    scores = np.diag(weights)
    if way == "pairwise":
        pseudo = [identify_jackknife(rows[np.ix_(m, m)])["original"][1] for m in pools]
        return Estimate(float(scores.mean()), *rate_interval(np.concatenate(pseudo)))
    return Estimate(float(scores.mean()), *rate_interval(scores))


def _chance(pools: Sequence[NDArray[np.intp]], way: Way) -> float:
    if way == "pairwise":
        return 0.5
    return len(pools) / sum(map(len, pools))
