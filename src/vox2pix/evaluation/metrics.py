"""Metrics of single pictures that need no network."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.identification import rowwise_correlation
from vox2pix.evaluation.pictures import check_pairs

_SSIM_WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma


def pixcorr(truth: ArrayLike, pictures: ArrayLike, size: int | None = None) -> NDArray[np.float64]:
    """Return each picture's pixel correlation (PixCorr) with its original.

    Pearson r over all height x width x 3 numbers of the two pictures, as Brain-Diffuser
    (Ozcelik & VanRullen 2023) and MindEye (Scotti et al. 2023) report it, there at 425 pixels.
    A picture of one value throughout has no correlation: its r is 0 by convention.

    Parameters
    ----------
    truth, pictures : array_like of float, shape (n, height, width, 3)
        Originals and pictures of them, RGB in [0, 1], row by row.
    size : int, optional
        Bring both to this height and width first; as they are if None.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1].

    Raises
    ------
    ValueError
        For pictures of another shape or scale, of unequal number, or of unequal size.
    """
    truth, pictures = check_pairs(truth, pictures, size)
    return rowwise_correlation(truth.reshape(len(truth), -1), pictures.reshape(len(truth), -1))


def ssim(truth: ArrayLike, pictures: ArrayLike, size: int | None = None) -> NDArray[np.float64]:
    """Return each picture's structural similarity (SSIM) with its original.

    Wang et al. (2004), on grey pictures (Rec. 709 luma), with Gaussian weights of sigma 1.5
    pixels, data range 1 and no sample covariance: the settings of Brain-Diffuser and MindEye,
    there at 425 pixels. The value depends on the size.

    Parameters
    ----------
    truth, pictures : array_like of float, shape (n, height, width, 3)
        Originals and pictures of them, RGB in [0, 1], row by row.
    size : int, optional
        Bring both to this height and width first; as they are if None.

    Returns
    -------
    ndarray of float64, shape (n,)
        At most 1, which is reached by equal pictures.

    Raises
    ------
    ValueError
        For pictures of another shape or scale, of unequal number or size, or smaller than the
        window of 11 x 11 pixels.
    """
    from skimage.color import rgb2gray
    from skimage.metrics import structural_similarity

    truth, pictures = check_pairs(truth, pictures, size)
    if min(truth.shape[1:3]) < _SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs pictures of at least {_SSIM_WINDOW} x {_SSIM_WINDOW} pixels, not "
            f"{truth.shape[1]} x {truth.shape[2]}; give a size to bring them to."
        )
    values = [
        structural_similarity(
            rgb2gray(original.astype(np.float64)),
            rgb2gray(picture.astype(np.float64)),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
        )
        for original, picture in zip(truth, pictures, strict=True)
    ]
    return np.array(values, np.float64)
