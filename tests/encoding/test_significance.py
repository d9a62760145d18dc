import numpy as np
import pytest
import scipy.stats

from vox2pix.encoding import EncodingModel, fdr, gaussian_p, permutation_p
from vox2pix.linear import pearson_r


def _rate_bounds(rate, n):
    """Four standard errors round a rate."""
    return rate - 4 * np.sqrt(rate * (1 - rate) / n), rate + 4 * np.sqrt(rate * (1 - rate) / n)


def test_gaussian_p_equals_scipy():
    rng = np.random.default_rng(0)
    for n in (3, 10, 982):
        x, y = rng.standard_normal((2, n))
        expected = scipy.stats.pearsonr(x, y, alternative="greater")
        np.testing.assert_allclose(gaussian_p(expected.statistic, n), expected.pvalue, rtol=1e-8)


def test_gaussian_p_equals_monte_carlo():
    rng = np.random.default_rng(0)
    r = pearson_r(rng.standard_normal((20, 40_000)), rng.standard_normal((20, 40_000)))
    for threshold in (-0.2, 0.1, 0.4):
        p = float(gaussian_p(threshold, 20))
        low, high = _rate_bounds(p, len(r))
        assert low < (r >= threshold).mean() < high


def test_gaussian_p_at_its_ends():
    np.testing.assert_array_equal(gaussian_p([1, -1, 0], 9), [0, 1, 0.5])
    assert np.isnan(gaussian_p([np.nan], 9)).all()
    with pytest.raises(ValueError, match="at least 3 stimuli, not 2"):
        gaussian_p(0.5, 2)


def _naive_permutation_p(Y, predictions, blocks, n_permutations, rng):
    """Exchange blocks one order and one voxel at a time."""
    labels = np.unique(blocks)
    members = [np.flatnonzero(blocks == label) for label in labels]
    r = pearson_r(Y, predictions)
    count = np.zeros(Y.shape[1])
    for _ in range(n_permutations):
        order = rng.permutation(len(labels))
        laid = np.empty_like(Y)
        for place, source in enumerate(order):
            for j, i in enumerate(members[place]):
                laid[i] = Y[members[source][j % len(members[source])]]
        count += pearson_r(laid, predictions) >= r
    return (1 + count) / (1 + n_permutations)


@pytest.mark.parametrize("sizes", [[4] * 8, [1, 2, 3, 4, 5, 6], [1] * 15])
def test_permutation_p_equals_a_naive_loop(sizes, monkeypatch):
    from vox2pix.encoding import significance
    from vox2pix.seeds import rng_for

    rng = np.random.default_rng(0)
    blocks = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    Y = rng.standard_normal((len(blocks), 5))
    predictions = Y + 2 * rng.standard_normal(Y.shape)
    expected = _naive_permutation_p(Y, predictions, blocks, 200, rng_for(3, "permutation"))
    p = permutation_p(Y, predictions, blocks, n_permutations=200, seed=3)
    np.testing.assert_allclose(p, expected)
    assert p.min() < 0.1 < p.max()
    monkeypatch.setattr(significance, "_TABLE", 1)
    np.testing.assert_allclose(permutation_p(Y, predictions, blocks, n_permutations=200, seed=3), p)


def test_orders_that_tie_with_the_given_one_count():
    from vox2pix.seeds import rng_for

    # Of three blocks every sixth order is the given one: only there r is reached, by a tie.
    Y = np.random.default_rng(0).standard_normal((12, 4))
    blocks = np.arange(12) // 4
    rng = rng_for(3, "permutation")
    n_same = sum((rng.permutation(3) == np.arange(3)).all() for _ in range(100))
    assert n_same > 5
    p = permutation_p(Y, Y + 0.1, blocks, n_permutations=100, seed=3)
    np.testing.assert_array_equal(p, (1 + n_same) / 101)


def test_without_signal_five_percent_of_voxels_pass_each_test():
    rng = np.random.default_rng(0)
    n_voxels = 3000
    X = rng.standard_normal((160, 30))
    Y = rng.standard_normal((160, n_voxels))
    predictions = EncodingModel([10.0]).fit_then_predict(X[:60], Y[:60], X[60:])
    r = pearson_r(Y[60:], predictions)
    low, high = _rate_bounds(0.05, n_voxels)
    assert low < (gaussian_p(r, 100) < 0.05).mean() < high
    # One set of features and of orders serves all voxels, so voxels share a little chance.
    blocks = np.repeat(np.arange(20), 5)
    p = permutation_p(Y[60:], predictions, blocks, n_permutations=999)
    assert 0.6 * 0.05 < (p < 0.05).mean() < 1.4 * 0.05
    assert (fdr(gaussian_p(r, 100)) < 0.05).mean() < 0.002


@pytest.mark.parametrize("sizes", [[10] * 30, [4, 6, 10, 14, 16] * 6])
def test_blocks_that_hang_together_fool_the_gaussian_null_and_not_the_permutation(sizes):
    rng = np.random.default_rng(0)
    blocks = np.repeat(np.arange(30), sizes)
    n_voxels = 2000

    def clustered():
        shared = rng.standard_normal((30, n_voxels))
        return shared[blocks] + 0.5 * rng.standard_normal((len(blocks), n_voxels))

    Y, predictions = clustered(), clustered()
    gaussian = (gaussian_p(pearson_r(Y, predictions), len(blocks)) < 0.05).mean()
    permuted = (permutation_p(Y, predictions, blocks, n_permutations=500) < 0.05).mean()
    assert gaussian > 0.2
    assert 0.03 < permuted < 0.07


def test_permutation_p_finds_a_signal_and_passes_constant_voxels():
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((60, 3))
    predictions = Y + 0.5 * rng.standard_normal(Y.shape)
    Y[:, 1] = 0.1
    p = permutation_p(Y, predictions, np.arange(60) // 5, n_permutations=300)
    assert np.isnan(p[1])
    np.testing.assert_allclose(p[[0, 2]], 1 / 301)


def test_permutation_p_refuses_what_does_not_fit():
    Y = np.zeros((6, 2))
    with pytest.raises(ValueError, match="one label"):
        permutation_p(Y, Y, np.zeros(6))
    with pytest.raises(ValueError, match=r"blocks has shape \(5,\), but there are 6 stimuli"):
        permutation_p(Y, Y, np.arange(5))
    with pytest.raises(ValueError, match="of the same shape"):
        permutation_p(Y, Y[:5], np.arange(6))


def test_fdr_equals_a_hand_loop_and_passes_nan():
    p = np.random.default_rng(0).uniform(size=40) ** 3
    ranked = np.argsort(p)
    expected = np.empty(40)
    least = 1.0
    for rank in range(40, 0, -1):
        least = min(least, p[ranked[rank - 1]] * 40 / rank)
        expected[ranked[rank - 1]] = least
    np.testing.assert_allclose(fdr(p), expected)
    np.testing.assert_allclose(fdr(np.r_[np.nan, p, np.nan]), np.r_[np.nan, expected, np.nan])
    assert np.isnan(fdr([np.nan, np.nan])).all()


def test_fdr_holds_false_discoveries_under_five_percent():
    rng = np.random.default_rng(0)
    false = []
    for _ in range(20):
        r = rng.standard_normal(3000) / 10
        r[:1000] += 0.4
        significant = fdr(gaussian_p(np.clip(r, -1, 1), 100)) < 0.05
        assert significant[:1000].mean() > 0.8
        false.append(significant[1000:].sum() / significant.sum())
    assert np.mean(false) < 0.05
