"""Whether responses hold anything to decode: split-half reliability of patterns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.transfer.intervals import Estimate, mean_over_sets
from vox2pix.evaluation.transfer.permutation import permutation_p
from vox2pix.seeds import rng_for

N_SPLITS = 20  # ways of choosing the trials of both halves, averaged
_FEWEST_STIMULI = 3  # of which one can be left out and two still differ


@dataclass(frozen=True)
class Trials:
    """Responses to the stimuli of one set in one task.

    ``stimulus`` numbers them from 0, the same in all tasks of the set.
    """

    patterns: NDArray[np.float32]  # (n_trials, n_voxels)
    stimulus: NDArray[np.intp]  # (n_trials,)
    run: NDArray[np.intp]  # (n_trials,): runs of different numbers were measured apart

    @property
    def n_stimuli(self) -> int:
        """Stimuli of the set, from the largest number."""
        return int(self.stimulus.max()) + 1

    def of(self, voxels: NDArray[np.bool_]) -> "Trials":
        """Return the same trials in some of the voxels."""
        return Trials(self.patterns[:, voxels], self.stimulus, self.run)


@dataclass(frozen=True)
class Reliability:
    """How alike two halves of the trials of the same stimuli are.

    ``correlations`` holds for each set r(i, j), (n_stimuli, n_stimuli), of stimulus i in one half
    with stimulus j in the other; ``pseudo_values`` the jackknife's, (n_stimuli,), whose mean is the
    mean over i of r(i, i).
    """

    mean: Estimate
    p: float  # of the exact test of :func:`permutation_p`, not corrected over regions
    n_half: int  # trials of each stimulus in each half
    across_runs: bool  # whether the halves come from different runs in every set
    correlations: tuple[NDArray[np.float64], ...]
    pseudo_values: tuple[NDArray[np.float64], ...]


def trials_per_half(trials: Trials) -> int:
    """Return how many trials of every stimulus both halves can have, see :func:`reliability`."""
    counts = _counts(trials)
    if len(counts) == 1:
        return int(counts[0].min() // 2)
    return int(min(half.sum(axis=0).min() for half in (counts[::2], counts[1::2])))


def reliability(sets: Sequence[Trials], n_half: int | None = None, seed: int = 0) -> Reliability:
    r"""Return the split-half reliability of patterns, averaged over the stimuli of all sets.

    Trials are parted into two halves of different runs (every other run in each), less the mean
    of their run; trials of one run alone are parted at random. Each half's pattern of a stimulus
    is the mean of ``n_half`` of its trials. With u_i and v_i the patterns of both halves, less
    the half's mean over stimuli, the reliability of stimulus i is Pearson's

    .. math:: r_{ii} = \operatorname{corr}(u_i, v_i)

    across voxels, averaged over 20 choices of trials. With a signal of variance s^2 in noise of
    variance :math:`\sigma^2` that is :math:`s^2 / (s^2 + \sigma^2 / n)`: it grows with the trials
    n, so that two tasks are compared with equal ``n_half``. Since the mean over the set is
    subtracted, stimuli are not independent; the interval is of the jackknife's pseudo-values,
    the set's mean taken again without each stimulus.

    Parameters
    ----------
    sets : sequence of Trials
        One for each set of stimuli.
    n_half : int, optional
        Trials of each stimulus in each half; as many as the set with the fewest has if None.
    seed : int
        Of the choice of trials.

    Raises
    ------
    ValueError
        If there is no set, a set has fewer than three stimuli, or trials are too few.
    """
    possible = min((trials_per_half(trials) for trials in sets), default=0)
    n_half = possible if n_half is None else n_half
    if not 1 <= n_half <= possible:
        raise ValueError(
            f"Halves of {n_half} trials of every stimulus cannot be made: there are {possible}."
        )
    correlations, pseudo = [], []
    for number, trials in enumerate(sets):
        if trials.n_stimuli < _FEWEST_STIMULI:
            raise ValueError(f"A set needs {_FEWEST_STIMULI} stimuli or more.")
        grams = list(_grams(trials, n_half, rng_for(seed, "halves", number)))
        everything = np.arange(trials.n_stimuli)
        r = _mean_correlations(grams, everything)
        without = np.array([
            np.diag(_mean_correlations(grams, np.delete(everything, i))).mean()
            for i in everything
        ])  # fmt: skip
        n = len(everything)
        correlations.append(r)
        # Centred at the mean itself, so that value and interval belong to one number.
        deviation = (n - 1) * (without.mean() - without)
        pseudo.append(np.diag(r).mean() + deviation)
    return Reliability(
        mean_over_sets(pseudo),
        permutation_p(correlations, seed),
        n_half,
        all(len(np.unique(trials.run)) > 1 for trials in sets),
        tuple(correlations),
        tuple(pseudo),
    )


def equal_reliability(
    tasks: Mapping[str, Sequence[Trials]], seed: int = 0
) -> dict[str, Reliability]:
    """Return :func:`reliability` of several tasks at the number of trials that all of them have."""
    n_half = min(trials_per_half(trials) for sets in tasks.values() for trials in sets)
    return {name: reliability(sets, n_half, seed) for name, sets in tasks.items()}


def _counts(trials: Trials) -> NDArray[np.intp]:
    """Return how many trials each run has of each stimulus, shape (n_runs, n_stimuli)."""
    runs = np.unique(trials.run)
    return np.array(
        [np.bincount(trials.stimulus[trials.run == r], minlength=trials.n_stimuli) for r in runs]
    )


def _grams(
    trials: Trials, n_half: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Return for each choice of trials the products of both halves' patterns: uv', uu', vv'.

    Patterns are less their mean over voxels, so that centring over stimuli is all that is left to
    do for correlations, and any of the stimuli can be left out without the voxels.
    """
    patterns = _without_run_means(trials)
    patterns -= patterns.mean(axis=1, keepdims=True)
    gram = patterns @ patterns.T  # of trials: voxels are needed once
    out = []
    for _ in range(N_SPLITS):
        first, second = _half_weights(trials, n_half, rng)
        out.append((first @ gram @ second.T, first @ gram @ first.T, second @ gram @ second.T))
    return out


def _without_run_means(trials: Trials) -> NDArray[np.float64]:
    """Return patterns less the mean of their run, each stimulus of the run counting alike."""
    patterns = trials.patterns.astype(np.float64)
    for run in np.unique(trials.run):
        here = np.flatnonzero(trials.run == run)
        shown, place = np.unique(trials.stimulus[here], return_inverse=True)
        weight = 1 / np.bincount(place)[place] / len(shown)
        patterns[here] -= weight @ patterns[here]
    return patterns


def _half_weights(
    trials: Trials, n_half: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the trials of both halves; return weights (n_stimuli, n_trials) of their means."""
    runs, place = np.unique(trials.run, return_inverse=True)
    weights = np.zeros((2, trials.n_stimuli, len(trials.stimulus)))
    for stimulus in range(trials.n_stimuli):
        own = rng.permutation(np.flatnonzero(trials.stimulus == stimulus))
        if len(runs) == 1:
            halves = own[:n_half], own[n_half : 2 * n_half]
        else:
            halves = tuple(own[place[own] % 2 == half][:n_half] for half in (0, 1))
        for half, chosen in enumerate(halves):
            weights[half, stimulus, chosen] = 1 / n_half
    return weights[0], weights[1]


def _mean_correlations(
    grams: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    stimuli: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return r(i, j) of some of the stimuli, centred over these, averaged over choices."""
    n = len(stimuli)
    centring = np.eye(n) - 1 / n
    total = np.zeros((n, n))
    for grams_of_choice in grams:
        across, first, second = (
            centring @ gram[np.ix_(stimuli, stimuli)] @ centring for gram in grams_of_choice
        )
        length = np.sqrt(np.outer(np.diag(first), np.diag(second)))
        total += np.divide(across, length, out=np.zeros_like(across), where=length > 0)
    return total / len(grams)
