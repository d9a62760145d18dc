import numpy as np
import pytest
from scipy.ndimage import convolve1d

from vox2pix.evaluation import pixcorr, resize_pictures, ssim


def pair(n: int = 4, size: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.random((n, size, size, 3), dtype=np.float32)
    return truth, np.clip(truth + rng.normal(0, 0.3, truth.shape), 0, 1).astype(np.float32)


def ssim_by_formula(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. (2004), equation 13, written out with its 11 x 11 Gaussian window."""
    a, b = (p.astype(np.float64) @ [0.2125, 0.7154, 0.0721] for p in (a, b))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def smooth(x: np.ndarray) -> np.ndarray:
        return convolve1d(convolve1d(x, taps, axis=0), taps, axis=1)

    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    covariance = smooth(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    value /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(value[5:-5, 5:-5].mean())


def test_pixcorr_is_numpys_correlation() -> None:
    truth, drawn = pair(n=70)  # more than one block
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(truth, drawn, strict=True)]
    np.testing.assert_allclose(pixcorr(truth, drawn), expected, atol=1e-6)


def test_pixcorr_by_hand() -> None:
    truth, _ = pair()
    np.testing.assert_allclose(pixcorr(truth, truth), 1)
    np.testing.assert_allclose(pixcorr(truth, 1 - truth), -1)
    np.testing.assert_allclose(pixcorr(truth, 0.2 + truth / 2), 1)


@pytest.mark.parametrize("grey", [0.0, 0.1, 0.7, 1.0])
def test_a_constant_picture_has_pixcorr_zero(grey: float) -> None:
    truth, drawn = pair()
    drawn[1] = grey
    values = pixcorr(truth, drawn)
    assert values[1] == 0
    assert (values[[0, 2, 3]] > 0.3).all()


def test_ssim_is_the_published_formula() -> None:
    truth, drawn = pair()
    expected = [ssim_by_formula(a, b) for a, b in zip(truth, drawn, strict=True)]
    np.testing.assert_allclose(ssim(truth, drawn), expected, atol=1e-6)
    np.testing.assert_allclose(ssim(truth, truth), 1)


@pytest.mark.parametrize("metric", [pixcorr, ssim])
def test_size_resizes_both_first(metric) -> None:
    truth, drawn = pair()
    expected = metric(resize_pictures(truth, 31), resize_pictures(drawn, 31))
    np.testing.assert_array_equal(metric(truth, drawn, size=31), expected)
    assert abs(expected - metric(truth, drawn)).max() > 1e-3
    with pytest.raises(ValueError, match="give a size to bring both to"):
        metric(truth, drawn[:, :15])


def test_ssim_needs_room_for_its_window() -> None:
    truth, drawn = pair(size=10)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, not 10 x 10"):
        ssim(truth, drawn)
    assert ssim(truth, drawn, size=11).shape == (4,)
