"""Retrieval: whether the right image is among the nearest of many."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.metrics.identification import TIE, Direction

N_CANDIDATES = 300
"""As MindEye 2 reports it."""


def retrieval(
    truth_features: ArrayLike,
    decoded_features: ArrayLike,
    k: int = 1,
    n_candidates: int = N_CANDIDATES,
) -> dict[Direction, NDArray[np.float64]]:
    r"""Return how often each stimulus finds its partner among the k nearest candidates.

    Scotti et al. (2024, MindEye 2) draw 300 of the test stimuli thirty times and report the mean
    top-1 accuracy, nearest by cosine similarity. Here is what it is a mean of: with b of the n - 1
    others nearer than the own partner, and m candidates, the own one among them,

    .. math:: P(\text{top } k) = \sum_{j < k}
              \binom{b}{j} \binom{n - 1 - b}{m - 1 - j} \; / \; \binom{n - 1}{m - 1},

    the hypergeometric chance that fewer than k of these b are drawn: a score for each stimulus,
    without an error of drawing. Partners that are equally near (within 1e-9) are taken in random
    order, and the score is the mean over orders; a vector of zeros has similarity 0 with
    everything.

    Parameters
    ----------
    truth_features, decoded_features : array_like of float, shape (n, d)
        Embeddings of the originals and those decoded from the brain, row by row.
    k : int
        How many of the nearest are examined.
    n_candidates : int
        Stimuli to choose from, the right one among them; all if there are fewer.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        ``original``: the original fixed, its decoded vector searched; MindEye's code calls this
        ``fwd`` and its papers print it as image retrieval, though the text says the reverse (the
        function that fills its matrix of similarities transposes it). ``reconstruction``: the
        decoded vector fixed; there ``bwd``, brain retrieval. Chance is :func:`retrieval_chance`.
    """
    from sklearn.preprocessing import normalize

    truth = np.asarray(truth_features, np.float64)
    decoded = np.asarray(decoded_features, np.float64)
    if truth.ndim != 2 or truth.shape != decoded.shape:
        raise ValueError(
            "Features must have the same shape (n, d) for originals and decoded ones, "
            f"not {truth.shape} and {decoded.shape}."
        )
    if min(len(truth), n_candidates) < 2 or k < 1:
        raise ValueError(
            "Retrieval needs at least two stimuli, two candidates and a k of one, not "
            f"{len(truth)}, {n_candidates} and {k}."
        )
    if not (np.isfinite(truth).all() and np.isfinite(decoded).all()):
        raise ValueError("Features must be finite; some are NaN or infinite.")
    similarity = normalize(truth) @ normalize(decoded).T  # zeros stay
    return {
        "original": _found(similarity, k, n_candidates),
        "reconstruction": _found(similarity.T, k, n_candidates),
    }


def retrieval_chance(k: int, n_stimuli: int, n_candidates: int = N_CANDIDATES) -> float:
    """Return the chance of the right one among the k nearest of the candidates."""
    return min(1.0, k / min(n_candidates, n_stimuli))


def _found(similarity: NDArray[np.float64], k: int, n_candidates: int) -> NDArray[np.float64]:
    """Return for each row the chance that its diagonal entry is among the k largest drawn."""
    from scipy.stats import hypergeom

    n = len(similarity)
    own = np.diag(similarity)[:, None]
    nearer = np.count_nonzero(similarity > own + TIE, axis=1)
    as_near = np.count_nonzero(np.abs(similarity - own) <= TIE, axis=1)  # itself among them
    of_rank = hypergeom.cdf(k - 1, n - 1, np.arange(n), min(n_candidates, n) - 1)
    below = np.concatenate([[0], np.cumsum(of_rank)])
    return (below[nearer + as_near] - below[nearer]) / as_near
