"""Voxels weighted by their reliability, against voxels that were multiplied by hand."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from vox2pix.data.reliability import NcsnrEstimator
from vox2pix.decoding import RidgeDecoder
from vox2pix.linear import pearson_r
from vox2pix.linear.reliability import some_columns

POWERS = (0.0, 0.5, 1.0)


def _brain(
    n_stimuli=60, n_voxels=40, n_targets=5, spread=2.5, median=0.3, seed=0, dtype=np.float64
):
    """Simulate voxels with log-normal reliability; return trials, targets, rows, and a test set."""
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((2 * n_stimuli, n_targets))
    reliability = median * spread ** rng.standard_normal(n_voxels)
    signal = Y @ rng.standard_normal((n_targets, n_voxels)) / np.sqrt(n_targets) * reliability
    rows = np.repeat(np.arange(n_stimuli), 3)
    X = signal[rows] + rng.standard_normal((len(rows), n_voxels))
    test = signal[n_stimuli:] + rng.standard_normal((n_stimuli, n_voxels)) / np.sqrt(3)
    return X.astype(dtype), Y[:n_stimuli], rows, test.astype(dtype), Y[n_stimuli:]


def _ncsnr(X, rows):
    """Compute ncsnr by a loop over stimuli."""
    shown = [X[rows == row] for row in np.unique(rows)]
    degrees = sum(len(trials) - 1 for trials in shown)
    noise = sum(((trials - trials.mean(0)) ** 2).sum(0) for trials in shown) / degrees
    return np.sqrt(np.maximum(X.var(0) - noise, 0) / noise)


@pytest.mark.parametrize("n_voxels", [40, 300])  # sums of products, and trials themselves
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reliability_is_ncsnr_of_the_training_repeats(n_voxels, dtype):
    X, Y, rows, *_ = _brain(n_voxels=n_voxels, dtype=dtype)
    X = X * 3 + 1000  # a baseline costs no digits
    decoder = RidgeDecoder(reliability_powers=POWERS).fit(X, Y, stimuli=rows)
    expected = _ncsnr(X.astype(np.float64), rows)
    np.testing.assert_allclose(decoder.reliability_, expected, atol=2e-3)
    of_data = NcsnrEstimator(len(Y), n_voxels)
    of_data.add(rows, X.astype(np.float32))
    np.testing.assert_allclose(decoder.reliability_, of_data.ncsnr(), atol=2e-3)


@pytest.mark.parametrize("n_voxels", [40, 300])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_one_power_equals_ridge_on_voxels_multiplied_by_hand(n_voxels, power):
    X, Y, rows, test, _ = _brain(n_voxels=n_voxels)
    reliability = np.linspace(0, 2, n_voxels)
    decoder = RidgeDecoder(30.0, reliability_powers=power)
    decoder.fit(X, Y, stimuli=rows, reliability=reliability)
    weights = reliability**power
    weights /= np.sqrt((weights[1:] ** 2).mean())  # the first is not used

    def weighted(values):
        return (values - X.mean(0)) / X.std(0) * weights

    expected = Ridge(30.0).fit(weighted(X), Y[rows]).predict(weighted(test))
    np.testing.assert_allclose(decoder.predict(test), expected, atol=1e-8)
    np.testing.assert_array_equal(decoder.coef_[:, 0], 0)
    np.testing.assert_array_equal(decoder.dropped_, [0])
    assert decoder.power_ == power


@pytest.mark.parametrize("n_voxels", [40, 300])
@pytest.mark.parametrize("selection", ["gcv", "cv"])
@pytest.mark.parametrize("per_target", [True, False])
@pytest.mark.parametrize("spread", [1.01, 2.5])
def test_all_targets_take_the_power_of_least_error(n_voxels, selection, per_target, spread):
    X, Y, rows, test, _ = _brain(n_voxels=n_voxels, spread=spread, n_targets=6)
    Y[:, 3] = 7  # no variance, so no error counts
    settings = {"selection": selection, "alpha_per_target": per_target, "target_block": 4}
    single = {
        power: RidgeDecoder(reliability_powers=power, **settings).fit(X, Y, stimuli=rows)
        for power in POWERS
    }
    varied = np.delete(np.arange(6), 3)
    errors = {
        power: (each.error_[varied] / Y[:, varied].var(axis=0)).sum()
        for power, each in single.items()
    }
    best = min(errors, key=errors.get)
    decoder = RidgeDecoder(reliability_powers=POWERS, **settings).fit(X, Y, stimuli=rows)
    assert decoder.power_ == best
    for name in ("coef_", "alpha_", "error_", "mean_", "alphas_"):
        expected = getattr(single[best], name)
        np.testing.assert_allclose(getattr(decoder, name), expected, rtol=1e-9, atol=1e-12)
    again = RidgeDecoder(reliability_powers=POWERS, **settings)
    at_once = again.fit_then_predict(X, Y, test, stimuli=rows)
    np.testing.assert_allclose(at_once, decoder.predict(test), atol=1e-10)
    assert again.power_ == best


def test_a_target_of_large_variance_does_not_decide_alone():
    X, Y, rows, *_ = _brain(n_voxels=300, median=0.1)
    expected = RidgeDecoder(reliability_powers=POWERS).fit(X, Y, stimuli=rows).power_
    noise = 1000 * np.random.default_rng(0).standard_normal((len(Y), 1))  # nothing predicts it
    alone = RidgeDecoder(reliability_powers=POWERS).fit(X, noise, stimuli=rows).power_
    together = RidgeDecoder(reliability_powers=POWERS)
    together.fit(X, np.hstack([Y, noise]), stimuli=rows)
    assert together.power_ == expected != alone


def test_spread_decides_the_power():
    uniform, spread = (
        RidgeDecoder(reliability_powers=POWERS).fit(X, Y, stimuli=rows).power_
        for X, Y, rows, *_ in (_brain(n_voxels=300, spread=by, median=0.1) for by in (1.0, 2.5))
    )
    assert uniform == 0 < spread


def test_streams_and_parts_equal_one_fit():
    X, Y, rows, *_ = _brain()
    together = RidgeDecoder(reliability_powers=POWERS).fit(X, Y, stimuli=rows)
    decoder = RidgeDecoder(reliability_powers=POWERS)
    blocks = [(X[lo : lo + 50], rows[lo : lo + 50]) for lo in range(0, len(X), 50)]
    decomposition = decoder.decompose_stream(blocks, Y)
    for part in (slice(0, 2), slice(2, None)):
        alone = RidgeDecoder(reliability_powers=POWERS).fit_decomposed(decomposition, Y[:, part])
        np.testing.assert_allclose(alone.coef_, together.coef_[part], atol=1e-10)
        assert alone.power_ == together.power_ > 0
        np.testing.assert_allclose(alone.reliability_, together.reliability_, atol=1e-9)


def test_some_of_many_targets_choose_from_all_over():
    y = np.arange(30_000)[None]
    some = some_columns(y)
    assert some.shape == (1, 1024) and some[0, 0] == 0 and some[0, -1] == 29_999
    assert len(np.unique(some)) == 1024 and np.diff(some).max() < 2000
    np.testing.assert_array_equal(some_columns(y[:, :1024]), y[:, :1024])


def test_unreliable_voxels_can_be_left_out():
    X, Y, rows, test, _ = _brain()
    decoder = RidgeDecoder(min_reliability=0.4).fit(X, Y, stimuli=rows)
    kept = _ncsnr(X, rows) >= 0.4
    assert 0 < kept.sum() < len(kept)
    alone = RidgeDecoder().fit(X[:, kept], Y, stimuli=rows)
    np.testing.assert_allclose(decoder.predict(test), alone.predict(test[:, kept]), atol=1e-9)
    np.testing.assert_array_equal(decoder.dropped_, np.flatnonzero(~kept))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_voxels", [40, 300])
@pytest.mark.parametrize("seed", range(4))
def test_a_voxel_without_noise_does_not_take_all_weights(dtype, n_voxels, seed):
    X, Y, rows, *_ = _brain(n_voxels=n_voxels, seed=seed, dtype=dtype)
    X[:, 7] = np.random.default_rng(seed).standard_normal(len(Y))[rows]  # repeats are the same
    X[:, 8] = 3
    fitted = RidgeDecoder(reliability_powers=1.0).fit(X, Y, stimuli=rows)
    others = np.delete(fitted.reliability_, [7, 8])
    assert fitted.reliability_[7] == others.max() < 20 and fitted.reliability_[8] == 0


def test_it_is_saved_and_cloned():
    X, Y, rows, test, _ = _brain()
    decoder = RidgeDecoder(reliability_powers=iter(POWERS)).fit(X, Y, stimuli=rows)
    loaded = RidgeDecoder.from_arrays(decoder.to_arrays())
    np.testing.assert_array_equal(loaded.predict(test), decoder.predict(test))
    np.testing.assert_array_equal(loaded.reliability_, decoder.reliability_)
    assert loaded.power_ == decoder.power_ > 0


@pytest.mark.parametrize(
    ("settings", "fitted_with", "sentence"),
    [
        ({"reliability_powers": ()}, {}, "reliability_powers is"),
        ({"reliability_powers": -1.0}, {}, "finite numbers of 0 or more"),
        ({"reliability_powers": np.nan}, {}, "finite numbers of 0 or more"),
        ({}, {"reliability": np.ones(40)}, "reliability has no effect"),
        ({"reliability_powers": 1.0}, {"stimuli": None}, "No stimulus repeats"),
        ({"reliability_powers": 1.0}, {"reliability": np.ones(3)}, r"has shape \(3,\)"),
        ({"reliability_powers": 1.0}, {"reliability": np.zeros(40)}, "positive for none"),
        ({"min_reliability": 90.0}, {}, "the largest ncsnr is .*, min_reliability 90"),
    ],
)
def test_refuses_what_cannot_be_weighted(settings, fitted_with, sentence):
    X, Y, rows, *_ = _brain()
    trials = {"stimuli": rows} | fitted_with
    y = Y if trials["stimuli"] is not None else Y[rows]
    with pytest.raises(ValueError, match=sentence):
        RidgeDecoder(**settings).fit(X, y, **trials)


@pytest.mark.parametrize(("spread", "least_gain"), [(2.5, 0.02), (1.0, -0.003)])
def test_weights_help_where_reliability_is_spread_and_do_no_harm_where_it_is_not(
    spread, least_gain
):
    gains = []
    for seed in range(2):
        X, Y, rows, test, truth = _brain(100, 400, 10, spread, 0.1, seed, np.float32)
        r = {}
        for powers in (0.0, POWERS):
            with warnings.catch_warnings(action="error"):
                predicted = (
                    RidgeDecoder(reliability_powers=powers).fit(X, Y, stimuli=rows).predict(test)
                )
            r[powers] = pearson_r(truth, predicted).mean()
        gains.append(r[POWERS] - r[0.0])
    assert np.mean(gains) > least_gain
