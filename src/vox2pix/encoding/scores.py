"""How well an encoding model predicts new stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.linear import pearson_r, r2_score


@dataclass(frozen=True)
class EncodingScores:
    """How well responses to ``n_stimuli`` test stimuli were predicted.

    ``r`` (n_voxels,) is Pearson's correlation, NaN where response or prediction is constant; ``r2``
    (n_voxels,) the coefficient of determination, NaN where the response is constant.
    """

    r: NDArray[np.float64]
    r2: NDArray[np.float64]
    n_stimuli: int


def encoding_scores(
    Y_test: Any, predictions: Any, origin: NDArray[np.float64] | None = None
) -> EncodingScores:
    """Score predictions of test stimuli; independent of the baseline and scale of the responses.

    Parameters
    ----------
    Y_test : array, shape (n_stimuli, n_voxels)
        Responses, averaged over repeats; anything that is sliced by columns.
    predictions : array, shape (n_stimuli, n_voxels)
        From :meth:`EncodingModel.predict`.
    origin : ndarray, shape (n_voxels,), optional
        What predictions are relative to: ``model.mean_`` for those of
        :meth:`EncodingModel.fit_then_predict` with ``relative=True``.
    """
    r2 = r2_score(Y_test, predictions, origin=origin)
    return EncodingScores(pearson_r(Y_test, predictions), r2, len(predictions))
