"""The distance of images in a network's features."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.metrics.identification import rowwise_correlation


def correlation_distance(truth_features: ArrayLike, features: ArrayLike) -> NDArray[np.float64]:
    """Return each image's distance 1 - r (n,) from its original, in a network's features.

    r is the Pearson correlation over the features, as Brain-Diffuser and MindEye report it of
    EfficientNet-B1 and SwAV. Features that are all equal have r = 0, so the distance 1.

    Parameters
    ----------
    truth_features, features : array_like of float, shape (n, d)
        Of originals and images of them, row by row.
    """
    truth, images = np.asarray(truth_features), np.asarray(features)
    if truth.ndim != 2 or truth.shape != images.shape or 0 in truth.shape:
        raise ValueError(
            f"Features must have one shape (n, d), not {truth.shape} and {images.shape}."
        )
    if not (np.isfinite(truth).all() and np.isfinite(images).all()):
        raise ValueError("Features must be finite; some are NaN or infinite.")
    return 1 - rowwise_correlation(truth, images)
