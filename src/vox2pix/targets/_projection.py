"""Random projections of rows that are too long to keep, and what they do to distances."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.random_projection import SparseRandomProjection

from vox2pix.seeds import seed_for

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Distortion:
    """What a projection does to the Euclidean distances between rows.

    Of the ratio, distance after by distance before, the mean is 1 but for chance, and the sd near
    ``sqrt(1 / (2 * n_kept))``, or more where few features carry the distance.
    """

    n_features: int  # before
    n_kept: int  # after
    mean: float
    sd: float
    n_pairs: int  # of rows that differ


def random_projection(n_features: int, n_kept: int, seed: int) -> SparseRandomProjection:
    """Return a fitted sparse random projection, the same for the same arguments.

    Its matrix has density ``1 / sqrt(n_features)`` (Li, Hastie & Church, KDD 2006), and so
    ``n_kept * sqrt(n_features)`` entries: 19 million for 1.3 million features in 16,384, which
    take 150 MB, and some 40 s to draw.
    """
    state = seed_for(seed, "projection", n_features, n_kept) % 2**32  # as NumPy's old generator
    projection = SparseRandomProjection(n_kept, random_state=state)
    return projection.fit(np.zeros((1, n_features), np.float32))


def measure_distortion(rows: FloatArray, projected: FloatArray) -> Distortion:
    """Compare distances between rows (n, n_features) with those of projections (n, n_kept)."""
    before, after = pdist(rows), pdist(projected)
    differ = before > 0
    if not differ.any():
        raise ValueError("No two rows differ: there is no distance to measure.")
    ratio = after[differ] / before[differ]
    return Distortion(
        rows.shape[1], projected.shape[1], float(ratio.mean()), float(ratio.std()), len(ratio)
    )
