import numpy as np
import pytest
import scipy.stats

from vox2pix.encoding import compare, roi_means, unique_means, unique_variance
from vox2pix.encoding.comparison import _BLOCK_NUMBERS
from vox2pix.errors import UserError
from vox2pix.linear import pearson_r
from vox2pix.seeds import rng_for


def _two_models(n=50, n_voxels=8, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, n_voxels))
    Y = signal + rng.standard_normal((n, n_voxels)) + 100
    a = signal + 0.7 * rng.standard_normal((n, n_voxels))
    b = signal + 2 * rng.standard_normal((n, n_voxels)) - 40
    rois = {"early": np.arange(n_voxels) < 3, "late": np.arange(n_voxels) >= 2}
    return Y, a, b, rois


def test_intervals_equal_a_naive_loop(monkeypatch):
    from vox2pix.encoding import comparison

    Y, a, b, rois = _two_models()
    draws = rng_for(5, "bootstrap").multinomial(50, np.full(50, 1 / 50), 300)
    resampled = []
    for counts in draws:
        rows = np.repeat(np.arange(50), counts)
        resampled.append(pearson_r(Y[rows], a[rows]) - pearson_r(Y[rows], b[rows]))
    low, high = np.quantile(resampled, [0.05, 0.95], axis=0)
    for numbers in (_BLOCK_NUMBERS, 1000):
        monkeypatch.setattr(comparison, "_BLOCK_NUMBERS", numbers)
        result = compare(Y, a, b, rois, n_resamples=300, level=0.9, seed=5)
        np.testing.assert_allclose(result.ci_low, low, atol=1e-5)
        np.testing.assert_allclose(result.ci_high, high, atol=1e-5)
        for (_, row), mask in zip(result.rois.iterrows(), rois.values(), strict=True):
            means = np.array(resampled)[:, mask].mean(axis=1)
            np.testing.assert_allclose(
                [row.ci_low, row.ci_high], np.quantile(means, [0.05, 0.95]), atol=1e-5
            )


def test_the_table_holds_mean_correlations():
    Y, a, b, rois = _two_models()
    table = compare(Y, a, b, rois, n_resamples=50).rois.set_index("roi")
    r_a, r_b = pearson_r(Y, a), pearson_r(Y, b)
    assert list(table.columns) == [
        "n_voxels", "mean_r_a", "mean_r_b", "difference", "ci_low", "ci_high",
    ]  # fmt: skip
    for name, mask in rois.items():
        row = table.loc[name]
        np.testing.assert_allclose(row.mean_r_a, r_a[mask].mean())
        np.testing.assert_allclose(row.mean_r_b, r_b[mask].mean())
        np.testing.assert_allclose(row.difference, (r_a - r_b)[mask].mean())
        assert row.n_voxels == mask.sum() and row.ci_low < row.difference < row.ci_high


def test_intervals_agree_with_scipys_bootstrap():
    Y, a, b, _ = _two_models(n_voxels=1)

    def difference(y, x_a, x_b):
        return np.corrcoef(y, x_a)[0, 1] - np.corrcoef(y, x_b)[0, 1]

    expected = scipy.stats.bootstrap(
        (Y[:, 0], a[:, 0], b[:, 0]),
        difference,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=3000,
        rng=0,
    ).confidence_interval
    result = compare(Y, a, b, {}, n_resamples=3000)
    assert result.ci_low[0] == pytest.approx(expected.low, abs=0.03)
    assert result.ci_high[0] == pytest.approx(expected.high, abs=0.03)
    assert len(result.rois) == 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    # Two models equally good: the difference is zero for every voxel.
    rng = np.random.default_rng(0)
    n, n_voxels = 200, 1500
    Y = rng.standard_normal((n, n_voxels))
    a, b = Y + rng.standard_normal((2, n, n_voxels))
    result = compare(Y, a, b, {}, n_resamples=400)
    covered = ((result.ci_low <= 0) & (result.ci_high >= 0)).mean()
    assert 0.92 < covered < 0.97


def test_voxels_without_a_correlation_take_no_part():
    Y, a, b, rois = _two_models()
    Y[:, 0] = 0.1
    a[:, 4] = 7
    result = compare(Y, a, b, rois | {"silent": np.arange(8) == 0}, n_resamples=50)
    for values in (result.difference, result.ci_low, result.ci_high):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(values)), [0, 4])
    assert result.rois.n_voxels.tolist() == [2, 5, 0]
    assert result.rois.iloc[:2].notna().all(axis=None)
    assert result.rois.iloc[2][["difference", "ci_low", "ci_high"]].isna().all()


def test_what_cannot_be_compared_is_refused():
    Y, a, b, rois = _two_models()
    with pytest.raises(UserError, match="region 'nowhere' has no voxels"):
        compare(Y, a, b, rois | {"nowhere": np.zeros(8, bool)})
    with pytest.raises(ValueError, match=r"mask of 'early' has shape \(3,\)"):
        compare(Y, a, b, {"early": np.ones(3, bool)})
    with pytest.raises(ValueError, match="of the same shape"):
        compare(Y, a[:4], b, rois)
    with pytest.raises(ValueError, match="level"):
        compare(Y, a, b, rois, level=95)


def test_a_resample_without_variation_is_left_out():
    rng = np.random.default_rng(0)
    Y = np.zeros((4, 1))
    Y[0] = 1  # every third draw of four stimuli or so lacks the first
    result = compare(Y, Y, rng.standard_normal((4, 1)), {"one": np.ones(1, bool)}, n_resamples=99)
    assert np.isfinite([result.ci_low, result.ci_high]).all()


def test_means_of_regions_and_their_intervals_equal_a_naive_loop():
    Y, a, b, rois = _two_models()
    a[:, 2] = 1.0  # without a correlation
    table = roi_means(Y, {"z": a, "c": b}, rois, n_resamples=300, level=0.9, seed=5)
    draws = rng_for(5, "bootstrap").multinomial(50, np.full(50, 1 / 50), 300)
    for latent, predicted in (("z", a), ("c", b)):
        for roi, mask in rois.items():
            used = mask & np.isfinite(pearson_r(Y, predicted))
            means = []
            for counts in draws:
                rows = np.repeat(np.arange(50), counts)
                means.append(pearson_r(Y[rows], predicted[rows])[used].mean())
            row = table[(table["roi"] == roi) & (table["latent"] == latent)].iloc[0]
            assert row["n_voxels"] == mask.sum()
            np.testing.assert_allclose(row["value"], pearson_r(Y, predicted)[used].mean())
            np.testing.assert_allclose(
                [row["low"], row["high"]], np.quantile(means, [0.05, 0.95]), atol=1e-5
            )


def test_unique_variance_of_regions_equals_the_mean_and_a_resampled_sum():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 160, 5))
    Y = a @ rng.standard_normal((5, 6)) + b @ rng.standard_normal((5, 6))
    Y += rng.standard_normal(Y.shape)
    Y[:, 4] = 2.0  # no variance, no share of it
    train, test = slice(0, 120), slice(120, 160)
    spaces = {"a": (a[train], a[test]), "b": (b[train], b[test])}
    parts = unique_variance(spaces, Y[train], Y[test])
    rois = {"all": np.ones(6, bool), "few": np.arange(6) > 3}
    table = unique_means(parts, rois, n_resamples=200, seed=1)
    draws = rng_for(1, "bootstrap").multinomial(40, np.full(40, 1 / 40), 200)
    for latent in "ab":
        np.testing.assert_allclose(parts.gains[latent].sum(axis=0), parts.unique[latent], atol=1e-5)
        for roi, mask in rois.items():
            row = table[(table["roi"] == roi) & (table["latent"] == latent)].iloc[0]
            np.testing.assert_allclose(
                row["value"], np.nanmean(parts.unique[latent][mask]), atol=1e-6
            )
            of_draws = np.nanmean(draws @ parts.gains[latent][:, mask].astype(float), axis=1)
            np.testing.assert_allclose(
                [row["low"], row["high"]], np.quantile(of_draws, [0.025, 0.975]), atol=1e-5
            )
