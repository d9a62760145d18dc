import numpy as np
import pytest
from scipy.ndimage import convolve1d
from scipy.spatial.distance import correlation

from vox2pix.evaluation import (
    correlation_distance,
    identify_jackknife,
    pixcorr,
    resize_images,
    ssim,
    two_way_jackknife,
    two_way_scores,
)


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
def test_a_constant_image_has_pixcorr_zero(grey: float) -> None:
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
    expected = metric(resize_images(truth, 31), resize_images(drawn, 31))
    np.testing.assert_array_equal(metric(truth, drawn, size=31), expected)
    assert abs(expected - metric(truth, drawn)).max() > 1e-3
    with pytest.raises(ValueError, match="Give a size to bring both to"):
        metric(truth, drawn[:, :15])


def test_ssim_needs_room_for_its_window() -> None:
    truth, drawn = pair(size=10)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, not 10 x 10"):
        ssim(truth, drawn)
    assert ssim(truth, drawn, size=11).shape == (4,)


def test_the_distance_is_scipys() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 5, 40)).astype(np.float32)
    expected = [correlation(x.astype(float), y.astype(float)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(correlation_distance(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(correlation_distance(a, -3 * a + 1), 2, atol=1e-6)
    np.testing.assert_array_equal(correlation_distance(a, np.ones_like(b)), 1)


def test_the_distance_refuses_what_has_none() -> None:
    a = np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"one shape \(n, d\), not \(3, 4\) and \(3, 5\)"):
        correlation_distance(a, np.zeros((3, 5)))
    with pytest.raises(ValueError, match="some are NaN or infinite"):
        correlation_distance(a, np.full((3, 4), np.nan))


def test_identification_from_correlations_worked_by_hand() -> None:
    r = [[0.5, 0.6, 0.1], [0.5, 0.4, 0.4], [0.0, 0.2, 0.3]]
    scores = {name: found[0] for name, found in identify_jackknife(r).items()}
    np.testing.assert_allclose(scores["original"], [0.5, 0.25, 1.0])
    np.testing.assert_allclose(scores["reconstruction"], [0.75, 0.5, 0.5])


def test_identification_from_correlations_is_that_from_features() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 12, 30))
    r = np.corrcoef(a, a + 2 * b)[:12, 12:]
    expected = two_way_scores(a, a + 2 * b)
    both = two_way_jackknife(a, a + 2 * b)
    for direction, (scores, _) in identify_jackknife(r).items():
        np.testing.assert_allclose(scores, expected[direction])
        np.testing.assert_allclose(identify_jackknife(r)[direction], both[direction])
    for bad in (np.zeros((2, 3)), np.zeros((1, 1)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="must be finite and"):
            identify_jackknife(bad)
