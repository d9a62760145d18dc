"""Retrieval: whether the right picture is the nearest among many."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.seeds import rng_for

_TIE = 1e-9  # similarities nearer than this are equal: float64 sums in another order


@dataclass(frozen=True)
class Retrieval:
    """Top-1 retrieval among ``n_candidates`` stimuli.

    Attributes
    ----------
    image_from_brain, brain_from_image : float
        Mean over draws of the fraction of stimuli whose own partner is the nearest.
    per_draw : dict of str to ndarray of float64, shape (n_draws,)
        The same for each draw, keys ``image_from_brain`` and ``brain_from_image``.
    chance : float
        1 / n_candidates.
    n_candidates : int
    """

    image_from_brain: float
    brain_from_image: float
    per_draw: dict[str, NDArray[np.float64]]
    chance: float
    n_candidates: int


def retrieval(
    truth_features: ArrayLike,
    decoded_features: ArrayLike,
    *,
    n_candidates: int = 300,
    n_draws: int = 30,
    seed: int = 0,
) -> Retrieval:
    """Return the top-1 accuracy of retrieval in both directions, as MindEye 2 reports it.

    Each draw takes ``n_candidates`` test stimuli without replacement. *Image from brain* looks
    for each decoded vector's nearest original, *brain from image* for each original's nearest
    decoded vector, nearest by cosine similarity (Scotti et al. 2024: top-1 of 300, 30 draws).

    Conventions: the own partner is among the candidates, so that chance is 1 / n_candidates; of
    k partners that are equally near (within 1e-9), the own one among them, each counts 1 / k; a
    vector of zeros has similarity 0 with everything. Where there are no more stimuli than
    candidates, all are taken, and every draw is the same.

    Parameters
    ----------
    truth_features, decoded_features : array_like of float, shape (n, d)
        Embeddings of the originals and those decoded from the brain, row by row.
    n_candidates, n_draws : int
    seed : int
        Of the draws.

    Returns
    -------
    Retrieval

    Raises
    ------
    ValueError
        For shapes that do not match, fewer than two stimuli or candidates, no draw, or features
        that are not finite.
    """
    truth = np.asarray(truth_features, np.float64)
    decoded = np.asarray(decoded_features, np.float64)
    if truth.ndim != 2 or truth.shape != decoded.shape:
        raise ValueError(
            "Features must have the same shape (n, d) for originals and decoded ones, "
            f"not {truth.shape} and {decoded.shape}."
        )
    if min(len(truth), n_candidates) < 2 or n_draws < 1:
        raise ValueError(
            "Retrieval needs at least two stimuli, two candidates and one draw, not "
            f"{len(truth)}, {n_candidates} and {n_draws}."
        )
    if not (np.isfinite(truth).all() and np.isfinite(decoded).all()):
        raise ValueError("Features must be finite; some are NaN or infinite.")
    n_candidates = min(n_candidates, len(truth))
    similarity = _unit_length(decoded) @ _unit_length(truth).T
    rng = rng_for(seed, "retrieval")
    draws = [rng.choice(len(truth), n_candidates, replace=False) for _ in range(n_draws)]
    per_draw = {
        name: np.array([_top1(table[np.ix_(draw, draw)]).mean() for draw in draws])
        for name, table in (
            ("image_from_brain", similarity),
            ("brain_from_image", similarity.T),
        )
    }
    return Retrieval(
        image_from_brain=float(per_draw["image_from_brain"].mean()),
        brain_from_image=float(per_draw["brain_from_image"].mean()),
        per_draw=per_draw,
        chance=1 / n_candidates,
        n_candidates=n_candidates,
    )


def _top1(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each row 1 if its diagonal entry is the largest, 1/k if it shares that place."""
    largest = similarity >= similarity.max(axis=1, keepdims=True) - _TIE
    return np.diag(largest) / largest.sum(axis=1)


def _unit_length(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to length one; zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
