"""Scores of predicted columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_COLUMNS = 4096


def _checked(Y: Any, Y_hat: Any) -> tuple[Any, Any]:
    """Return both as arrays of equal shape, or raise ValueError."""
    Y, Y_hat = (table if hasattr(table, "shape") else np.asarray(table) for table in (Y, Y_hat))
    if Y.shape != Y_hat.shape or len(Y.shape) != 2:
        raise ValueError(
            f"Truth has shape {tuple(Y.shape)} and prediction {tuple(Y_hat.shape)}: "
            "give two tables (n_stimuli, n_targets) of the same shape."
        )
    if Y.shape[0] < 2:
        raise ValueError("A score of columns needs at least 2 rows.")
    return Y, Y_hat


def pearson_r(Y: Any, Y_hat: Any, *, block: int = _BLOCK_COLUMNS) -> NDArray[np.float64]:
    r"""Pearson correlation of each column.

    .. math:: r_j = \frac{\sum_i (y_{ij} - \bar y_j)(\hat y_{ij} - \bar{\hat y}_j)}
              {\sqrt{\sum_i (y_{ij} - \bar y_j)^2 \sum_i (\hat y_{ij} - \bar{\hat y}_j)^2}}

    Parameters
    ----------
    Y, Y_hat : array, shape (n_stimuli, n_targets)
        Truth and prediction; anything that is sliced by columns (memory map, zarr array).
    block : int
        Columns read at a time.

    Returns
    -------
    ndarray of float64, shape (n_targets,)
        NaN where the truth or the prediction is constant.
    """
    Y, Y_hat = _checked(Y, Y_hat)
    scores = np.empty(Y.shape[1])
    for lo in range(0, Y.shape[1], block):
        true = np.asarray(Y[:, lo : lo + block], np.float64)
        predicted = np.asarray(Y_hat[:, lo : lo + block], np.float64)
        varied = (np.ptp(true, axis=0) > 0) & (np.ptp(predicted, axis=0) > 0)
        true = true - true.mean(axis=0)
        predicted = predicted - predicted.mean(axis=0)
        norm = np.linalg.norm(true, axis=0) * np.linalg.norm(predicted, axis=0)
        varied &= norm > 0
        product = np.einsum("ij,ij->j", true, predicted)
        r = np.divide(product, norm, out=np.full(len(norm), np.nan), where=varied)
        scores[lo : lo + block] = np.clip(r, -1, 1)
    return scores


def r2_score(
    Y: Any,
    Y_hat: Any,
    *,
    origin: NDArray[np.float64] | None = None,
    block: int = _BLOCK_COLUMNS,
) -> NDArray[np.float64]:
    r"""Coefficient of determination of each column.

    .. math:: R^2_j = 1 - \sum_i (y_{ij} - \hat y_{ij})^2 / \sum_i (y_{ij} - \bar y_j)^2

    Parameters
    ----------
    Y, Y_hat : array, shape (n_stimuli, n_targets)
        Truth and prediction; anything that is sliced by columns (memory map, zarr array).
    origin : ndarray, shape (n_targets,), optional
        What the prediction is relative to, such as the training mean; subtracted from the truth.
    block : int
        Columns read at a time.

    Returns
    -------
    ndarray of float64, shape (n_targets,)
        At most 1, negative where the mean would have done better, NaN where the truth is constant.
    """
    Y, Y_hat = _checked(Y, Y_hat)
    scores = np.empty(Y.shape[1])
    for lo in range(0, Y.shape[1], block):
        true = np.asarray(Y[:, lo : lo + block], np.float64)
        predicted = np.asarray(Y_hat[:, lo : lo + block], np.float64)
        total = np.sum((true - true.mean(axis=0)) ** 2, axis=0)
        varied = (np.ptp(true, axis=0) > 0) & (total > 0)
        if origin is not None:
            true = true - origin[lo : lo + block]
        residual = np.sum((true - predicted) ** 2, axis=0)
        ratio = np.divide(residual, total, out=np.full(len(total), np.nan), where=varied)
        scores[lo : lo + block] = 1 - ratio
    return scores
