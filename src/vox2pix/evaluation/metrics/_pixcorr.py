"""PixCorr: the correlation of pixels."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.metrics.identification import rowwise_correlation
from vox2pix.vision.images import check_pairs


def pixcorr(truth: ArrayLike, images: ArrayLike, size: int | None = None) -> NDArray[np.float64]:
    """Return each image's pixel correlation (PixCorr) with its original, (n,) in [-1, 1].

    Pearson r over all height x width x 3 values of the two images, as Brain-Diffuser (Ozcelik &
    VanRullen 2023) and MindEye (Scotti et al. 2023) report it, there at 425 pixels. An image of one
    value throughout has no correlation: its r is 0 by convention.

    Parameters
    ----------
    truth, images : array_like of float, shape (n, height, width, 3)
        Originals and images of them, RGB in [0, 1], row by row.
    size : int, optional
        Bring both to this height and width first; as they are if None.
    """
    truth, images = check_pairs(truth, images, size)
    return rowwise_correlation(truth.reshape(len(truth), -1), images.reshape(len(truth), -1))
