"""Statistics of single images, and of their features."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.identification import Direction, pseudo_values, rowwise_correlation
from vox2pix.evaluation.images import check_pairs

Windows = Literal["square", "columns"]
Filter = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_TIE = 1e-9  # as identification takes it

SSIM_WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma
_SIGMA = 1.5  # pixels
_C1, _C2 = 0.01**2, 0.03**2  # for a data range of 1
_LUMA = np.array([0.2125, 0.7154, 0.0721])  # Rec. 709, as scikit-image rounds it


def pixcorr(truth: ArrayLike, images: ArrayLike, size: int | None = None) -> NDArray[np.float64]:
    """Return each image's pixel correlation (PixCorr) with its original.

    Pearson r over all height x width x 3 numbers of the two images, as Brain-Diffuser
    (Ozcelik & VanRullen 2023) and MindEye (Scotti et al. 2023) report it, there at 425 pixels.
    An image of one value throughout has no correlation: its r is 0 by convention.

    Parameters
    ----------
    truth, images : array_like of float, shape (n, height, width, 3)
        Originals and images of them, RGB in [0, 1], row by row.
    size : int, optional
        Bring both to this height and width first; as they are if None.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1].

    Raises
    ------
    ValueError
        For images of another shape or scale, of unequal number, or of unequal size.
    """
    truth, images = check_pairs(truth, images, size)
    return rowwise_correlation(truth.reshape(len(truth), -1), images.reshape(len(truth), -1))


def ssim(
    truth: ArrayLike,
    images: ArrayLike,
    size: int | None = None,
    windows: Windows = "square",
) -> NDArray[np.float64]:
    """Return each image's structural similarity (SSIM) with its original.

    Wang et al. (2004), on grey images (Rec. 709 luma), with Gaussian weights of sigma 1.5
    pixels, data range 1 and no sample covariance: the settings of Brain-Diffuser and MindEye,
    there at 425 pixels. The value depends on the size.

    The scripts of both call scikit-image with ``multichannel=True`` on a grey image. Up to
    version 0.19 its columns are then taken as channels, and the windows are one-dimensional, down
    each column; from 0.20 on the word is ignored, and the windows are square. The two values
    differ (.419 and .326 on the same images).

    Parameters
    ----------
    truth, images : array_like of float, shape (n, height, width, 3)
        Originals and images of them, RGB in [0, 1], row by row.
    size : int, optional
        Bring both to this height and width first; as they are if None.
    windows : {"square", "columns"}
        The shape of the Gaussian windows.

    Returns
    -------
    ndarray of float64, shape (n,)
        At most 1, which is reached by equal images.

    Raises
    ------
    ValueError
        For images of another shape or scale, of unequal number or size, or smaller than the
        window of 11 x 11 pixels.
    """
    truth, images = check_pairs(truth, images, size)
    if min(truth.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not "
            f"{truth.shape[1]} x {truth.shape[2]}; give a size to bring them to."
        )
    windowed = _WINDOWED[windows]
    values = [_ssim(_luma(a), _luma(b), windowed) for a, b in zip(truth, images, strict=True)]
    return np.array(values, np.float64)


def _luma(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Rec. 709 luma of an image."""
    return image.astype(np.float64) @ _LUMA


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64], windowed: Filter) -> float:
    """Return the mean over all whole windows of Wang et al. (2004), equation 13.

    scikit-image's number from four filters in the place of its five: the two variances are only
    ever needed as their sum.
    """
    mean_a, mean_b = windowed(a), windowed(b)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = windowed(a * b) - product
    variances = windowed(a**2 + b**2) - squares
    similarity = (2 * product + _C1) * (2 * covariance + _C2)
    return float(np.mean(similarity / ((squares + _C1) * (variances + _C2))))


def _square(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Gaussian-weighted means over each window that lies within the image."""
    from scipy.ndimage import gaussian_filter

    radius = SSIM_WINDOW // 2
    means: NDArray[np.float64] = gaussian_filter(values, _SIGMA, radius=radius)
    return means[radius:-radius, radius:-radius]


def _columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Gaussian-weighted means down each column, over each window that lies within it."""
    from scipy.ndimage import gaussian_filter1d

    radius = SSIM_WINDOW // 2
    means: NDArray[np.float64] = gaussian_filter1d(values, _SIGMA, axis=0, radius=radius)
    return means[radius:-radius]


_WINDOWED: dict[Windows, Filter] = {"square": _square, "columns": _columns}


def correlation_distance(truth_features: ArrayLike, features: ArrayLike) -> NDArray[np.float64]:
    """Return each image's distance 1 - r from its original, in a network's features.

    r is the Pearson correlation over the features, as Brain-Diffuser and MindEye report it of
    EfficientNet-B1 and SwAV. Features that are all equal have r = 0, so the distance 1.

    Parameters
    ----------
    truth_features, features : array_like of float, shape (n, d)
        Of originals and images of them, row by row.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [0, 2]; 0 is best.

    Raises
    ------
    ValueError
        For other or unequal shapes, NaN or infinite features.
    """
    truth, images = np.asarray(truth_features), np.asarray(features)
    if truth.ndim != 2 or truth.shape != images.shape or 0 in truth.shape:
        raise ValueError(
            f"Features must have one shape (n, d), not {truth.shape} and {images.shape}."
        )
    if not (np.isfinite(truth).all() and np.isfinite(images).all()):
        raise ValueError("Features must be finite; some are NaN or infinite.")
    return 1 - rowwise_correlation(truth, images)


def identify(correlations: ArrayLike) -> dict[Direction, NDArray[np.float64]]:
    """Return two-way identification from correlations that are at hand.

    The scores of :func:`~vox2pix.evaluation.identification.two_way`, by the same conventions. For
    Takagi & Nishimoto's, who average r over the samples of a reconstruction before they compare.

    Parameters
    ----------
    correlations : array_like of float, shape (n, n)
        r(i, j) of original i with reconstruction j.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        Keys "original" and "reconstruction".

    Raises
    ------
    ValueError
        For another shape, fewer than two stimuli, NaN or infinity.
    """
    found = identify_jackknife(correlations)
    return {direction: scores for direction, (scores, _) in found.items()}


def identify_jackknife(
    correlations: ArrayLike,
) -> dict[Direction, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return :func:`identify`, and the jackknife's pseudo-value of each stimulus.

    As :func:`~vox2pix.evaluation.identification.two_way_jackknife` returns both.

    Parameters
    ----------
    correlations : array_like of float, shape (n, n)
        As for :func:`identify`, which raises the same errors.

    Returns
    -------
    dict of str to (ndarray, ndarray), float64, shape (n,) each
    """
    r = np.asarray(correlations, np.float64)
    if r.ndim != 2 or r.shape[0] != r.shape[1] or len(r) < 2 or not np.isfinite(r).all():
        raise ValueError(f"Correlations must be finite and (n, n) with n > 1, not {r.shape}.")
    return {"original": _wins(r), "reconstruction": _wins(r.T)}


def _wins(r: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fraction of each row's other entries that its diagonal one beats, and so on."""
    margin = np.diag(r)[:, None] - r
    wins = (margin > _TIE) + 0.5 * (np.abs(margin) <= _TIE)
    np.fill_diagonal(wins, 0)
    won = wins.sum(axis=1)
    return won / (len(r) - 1), pseudo_values(won, wins.sum(axis=0))
