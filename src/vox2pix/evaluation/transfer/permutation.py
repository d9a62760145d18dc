"""Exact tests that permute which stimulus is which, within each set of stimuli."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.seeds import rng_for

_ALL_OF = 7  # stimuli whose 5,040 arrangements are all tried
_DRAWN = 9_999  # arrangements drawn beyond, the true one added
_HELD = 4_000_000  # sums of several sets held at once
_SAME = 1e-12  # relative: sums nearer than this differ by rounding only


@lru_cache(maxsize=16)
def label_permutations(n: int, seed: int = 0) -> NDArray[np.intp]:
    """Return arrangements of n labels, the true one first, shape (n_arrangements, n).

    All n! of them up to seven labels (720 of six); beyond, 9,999 drawn at random.
    """
    if n <= _ALL_OF:
        arranged = np.array(list(permutations(range(n))), np.intp)
    else:
        rng = rng_for(seed, "label permutations", n)
        arranged = np.stack([np.arange(n), *(rng.permutation(n) for _ in range(_DRAWN))])
    arranged.setflags(write=False)
    return arranged


def null_sums(weights: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    r"""Return a statistic of one set under every arrangement of its labels, the true one first.

    .. math:: T(\pi) = \sum_i W_{i, \pi(i)}

    with W(i, j) what stimulus i contributes when response j is taken for its own: a correlation
    of two halves, or the share of comparisons that j would win.

    Parameters
    ----------
    weights : array_like of float, shape (n_stimuli, n_stimuli)
        W.
    seed : int
        Of arrangements that are drawn, where there are more than 5,040.

    Returns
    -------
    ndarray of float64, shape (n_arrangements,)
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or len(w) < 2 or not np.isfinite(w).all():
        raise ValueError(f"Weights must be finite and (n, n) with n > 1, not {w.shape}.")
    return np.asarray(w[np.arange(len(w)), label_permutations(len(w), seed)].sum(axis=1))


def permutation_p(sets: Sequence[ArrayLike], seed: int = 0) -> float:
    r"""Return the one-sided p of a sum over stimuli, labels permuted separately in each set.

    Stimuli of a set share a run and a task, those of two sets do not, so labels are exchangeable
    within a set alone. Trials are never permuted: those of one stimulus belong together. With
    T_s the sums of :func:`null_sums`,

    .. math:: p = P\Bigl(\sum_s T_s(\pi_s) \ge \sum_s T_s(\mathrm{id})\Bigr)

    over all combinations of arrangements: 720 of a set of six, 720^3 of three sets, counted
    exactly by sorting the sums of all sets but one. Where these are more than four million, or a
    set has more than seven stimuli, combinations are drawn and the true one counts as one of them
    (Phipson & Smyth 2010).

    Parameters
    ----------
    sets : sequence of array_like of float, shape (n_stimuli, n_stimuli)
        The weights of each set, see :func:`null_sums`.
    seed : int
        Of what is drawn.

    Raises
    ------
    ValueError
        If there is no set, or weights are not square and finite.
    """
    if not sets:
        raise ValueError("A permutation test needs at least one set of stimuli.")
    weights = [np.asarray(w, np.float64) for w in sets]
    sums = [null_sums(w, seed) for w in sorted(weights, key=len)]
    observed = sum(float(each[0]) for each in sums)
    least = observed - _SAME * sum(float(np.abs(w).sum()) for w in weights)
    held, last = sums[:-1], sums[-1]
    is_whole = all(len(w) <= _ALL_OF for w in weights)
    if not is_whole or prod(len(each) for each in held) > _HELD:
        rng = rng_for(seed, "combinations of arrangements")
        drawn = sum(each[rng.integers(0, len(each), _DRAWN)] for each in sums)
        return float((np.count_nonzero(drawn >= least) + 1) / (_DRAWN + 1))
    rest = np.zeros(1)
    for each in held:
        rest = np.add.outer(rest, each).ravel()
    rest.sort()
    reached = len(rest) - np.searchsorted(rest, least - last, side="left")
    return float(reached.sum() / (len(rest) * len(last)))
