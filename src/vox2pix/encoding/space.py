"""A feature space of stimuli that were shown a number of times each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear import (
    Decomposition,
    NormalEquations,
    Projection,
    arrays,
    decompose,
    gcv_errors,
)


@dataclass(frozen=True)
class WeightedSpace:
    """Weighted, centred features of some stimuli, decomposed.

    The decomposition is that of ``sqrt(w) (X - offset) / scale``, the weights w divided by their
    mean, ``weight``. A penalty alpha of the objective is alpha / weight here.
    """

    decomposition: Decomposition
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: float

    @classmethod
    def of(
        cls,
        X: NDArray[Any],
        weights: NDArray[np.float64],
        scale: NDArray[np.float64],
        stimuli: NDArray[np.intp],
        device: str | None,
    ) -> Self:
        """Decompose the rows ``stimuli`` of X."""
        features, weights = X[stimuli], weights[stimuli]
        offset = np.einsum("i,ij->j", weights, features) / weights.sum()
        counts = weights / weights.mean()
        np.subtract(features, offset, out=features, casting="same_kind")
        features *= np.sqrt(counts)[:, None]
        features /= scale
        equations = NormalEquations(len(features), device)
        equations.add(features, np.arange(len(features)), copy=False)
        decomposition = replace(
            decompose(equations, intercept=False, overwrite=True),
            counts=counts,
            stimuli=stimuli,
            intercept=True,
        )
        return cls(decomposition, offset, scale, float(weights.mean()))

    def scores(self, X: NDArray[Any]) -> Any:
        """Coordinates of new rows, (n_rows, rank)."""
        return self.decomposition.scores((X - self.offset) / self.scale)

    def predict(self, scores: Any, g: Any, alpha: ArrayLike) -> Any:
        """Predictions less the mean, from the coordinates of stimuli and of voxels."""
        g = g if type(g) is type(scores) else arrays.like(g, scores)  # kept ones are on the host
        return scores @ self.decomposition.shrunk(g, np.asarray(alpha) / self.weight)

    def errors(self, projection: Projection, alphas: NDArray[np.float64]) -> NDArray[np.float64]:
        """GCV error of every penalty and voxel."""
        return gcv_errors(self.decomposition, projection, alphas / self.weight)
