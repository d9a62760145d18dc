import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from vox2pix.linear import pearson_r, r2_score


@pytest.fixture
def tables() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((40, 11)) * 10.0 ** np.arange(11) + 3
    return Y, Y + rng.standard_normal((40, 11)) * 10.0 ** np.arange(11)


@pytest.mark.parametrize("block", [1, 4, 100])
def test_pearson_r_equals_scipy(tables, block):
    Y, Y_hat = tables
    expected = [scipy.stats.pearsonr(a, b).statistic for a, b in zip(Y.T, Y_hat.T, strict=True)]
    np.testing.assert_allclose(pearson_r(Y, Y_hat, block=block), expected, atol=1e-12)


@pytest.mark.parametrize("block", [1, 4, 100])
def test_r2_score_equals_sklearn(tables, block):
    Y, Y_hat = tables
    expected = sklearn.metrics.r2_score(Y, Y_hat, multioutput="raw_values")
    np.testing.assert_allclose(r2_score(Y, Y_hat, block=block), expected, atol=1e-12)


def test_scores_are_taken_in_float64():
    rng = np.random.default_rng(1)
    Y = (rng.standard_normal((200, 3)) + 1e4).astype(np.float32)
    Y_hat = (Y + rng.standard_normal((200, 3))).astype(np.float32)
    expected = pearson_r(Y.astype(np.float64), Y_hat.astype(np.float64))
    np.testing.assert_array_equal(pearson_r(Y, Y_hat), expected)


def test_constant_columns_score_nan():
    Y = np.array([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]])
    Y_hat = np.array([[0.3, 1.0], [0.3, 2.0], [0.3, 3.0]])
    assert np.isnan(pearson_r(Y, Y_hat)).all()
    r2 = r2_score(Y, Y_hat)
    assert np.isfinite(r2[0]) and np.isnan(r2[1])


@pytest.mark.parametrize("score", [pearson_r, r2_score])
def test_shapes_that_differ_are_refused(score):
    with pytest.raises(ValueError, match=r"Truth has shape \(3, 2\) and prediction \(3, 1\)"):
        score(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="at least 2 rows"):
        score([[1.0]], [[1.0]])
