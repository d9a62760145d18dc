import tracemalloc
import warnings

import numpy as np
import pytest
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vox2pix.decoding import DEFAULT_ALPHAS, RidgeDecoder
from vox2pix.linear import pearson_r


def _brain(n_stimuli=60, n_repeats=3, p=25, n_targets=6, noise=2.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.tile(np.arange(n_stimuli), n_repeats))
    Y = rng.standard_normal((n_stimuli, n_targets)) + 3
    X = Y[rows] @ rng.standard_normal((n_targets, p)) + noise * rng.standard_normal((len(rows), p))
    return (X * rng.uniform(0.1, 10, p) + 5).astype(dtype), Y, rows


@pytest.mark.parametrize("p", [25, 300])
def test_fixed_penalty_equals_sklearn_pipeline(p):
    X, Y, rows = _brain(p=p)
    decoder = RidgeDecoder(7.0).fit(X, Y, stimuli=rows)
    expected = make_pipeline(StandardScaler(), Ridge(7.0)).fit(X, Y[rows])
    np.testing.assert_allclose(decoder.predict(X), expected.predict(X), atol=1e-8)
    np.testing.assert_array_equal(decoder.alpha_, np.full(6, 7.0))
    raw = RidgeDecoder(7.0, standardize=False).fit(X, Y, stimuli=rows)
    expected = Ridge(7.0).fit(X, Y[rows])
    np.testing.assert_allclose(raw.coef_, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(raw.intercept_, expected.intercept_, atol=1e-6)


@pytest.mark.parametrize("p", [25, 300])
def test_one_row_per_stimulus_equals_one_row_per_trial_at_a_fixed_penalty(p):
    X, Y, rows = _brain(p=p)
    by_stimulus = RidgeDecoder(50.0).fit(X, Y, stimuli=rows)
    by_trial = RidgeDecoder(50.0).fit(X, Y[rows])
    np.testing.assert_allclose(by_stimulus.coef_, by_trial.coef_, atol=1e-10)
    np.testing.assert_allclose(by_stimulus.intercept_, by_trial.intercept_, atol=1e-8)


@pytest.mark.parametrize("p", [25, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_stream_equals_the_whole(p, dtype):
    X, Y, rows = _brain(p=p, dtype=dtype)
    cuts = [7, 8, 90]
    blocks = zip(np.split(X, cuts), np.split(rows, cuts), strict=True)
    streamed = RidgeDecoder().fit_stream(blocks, Y)
    whole = RidgeDecoder().fit(X, Y, stimuli=rows)
    np.testing.assert_array_equal(streamed.alpha_, whole.alpha_)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(streamed.predict(X), whole.predict(X), atol=tolerance)
    assert streamed.predict(X).dtype == dtype
    assert streamed.n_features_in_ == p


@pytest.mark.parametrize("p", [25, 300])
def test_targets_fitted_in_parts_are_those_fitted_together(p):
    X, Y, rows = _brain(p=p)
    together = RidgeDecoder(target_block=2).fit(X, Y, stimuli=rows)
    decomposition = RidgeDecoder().decompose_stream([(X, rows)], Y)
    for part in (slice(0, 2), slice(2, Y.shape[1])):
        alone = RidgeDecoder(target_block=2).fit_decomposed(decomposition, Y[:, part])
        np.testing.assert_array_equal(alone.coef_, together.coef_[part])
        np.testing.assert_array_equal(alone.alpha_, together.alpha_[part])
        np.testing.assert_array_equal(alone.predict(X), together.predict(X)[:, part])
    assert alone.n_features_in_ == p


@pytest.mark.parametrize("p", [25, 300])
def test_takagi2023_equals_himalaya_on_zscored_voxels(p):
    X, Y, rows = _brain(p=p, noise=6.0)
    for alphas in (None, [1e1, 1e2, 1e3, 1e4]):
        decoder = RidgeDecoder.takagi2023(alphas).fit(X, Y, stimuli=rows)
        grid = [10.0**k for k in range(-6, 1)] if alphas is None else alphas
        Z = (X - X.mean(axis=0)) / X.std(axis=0)
        plain = HimalayaRidgeCV(grid, fit_intercept=False, cv=5, solver_params={"warn": False})
        plain.fit(Z, Y[rows])
        np.testing.assert_allclose(decoder.alpha_, plain.best_alphas_)
        np.testing.assert_allclose(decoder.error_, -plain.cv_scores_, rtol=1e-5)
        np.testing.assert_allclose(decoder.predict(X), plain.predict(Z), atol=1e-5)
        # The fault it is named for: the training mean is lost.
        np.testing.assert_allclose(decoder.predict(X).mean(axis=0), 0, atol=1e-8)


def test_the_default_keeps_the_training_mean():
    X, Y, rows = _brain()
    predicted = RidgeDecoder().fit(X, Y, stimuli=rows).predict(X)
    np.testing.assert_allclose(predicted.mean(axis=0), Y[rows].mean(axis=0))


def test_ungrouped_cross_validation_equals_himalaya_with_intercept():
    X, Y, rows = _brain(noise=6.0)
    alphas = [1.0, 10.0, 100.0, 1000.0]
    decoder = RidgeDecoder(
        alphas, selection="cv", grouped=False, average_repeats=False, standardize=False
    ).fit(X, Y, stimuli=rows)
    plain = HimalayaRidgeCV(alphas, fit_intercept=True, cv=5).fit(X, Y[rows])
    np.testing.assert_allclose(decoder.alpha_, plain.best_alphas_)
    np.testing.assert_allclose(decoder.predict(X), plain.predict(X), atol=1e-5)


def test_honest_rules_shrink_more_than_folds_through_repeats():
    X, Y, rows = _brain(n_stimuli=80, p=60, noise=4.0, n_targets=20)
    # Most of each target cannot be read from responses; repeats let it be learnt by heart.
    Y = Y + 2 * np.random.default_rng(1).standard_normal(Y.shape)
    chosen = {
        "gcv": RidgeDecoder(average_repeats=False),
        "cv": RidgeDecoder(selection="cv", average_repeats=False),
        "ungrouped": RidgeDecoder(selection="cv", grouped=False, average_repeats=False),
    }
    alpha = {k: np.log10(d.fit(X, Y, stimuli=rows).alpha_).mean() for k, d in chosen.items()}
    assert abs(alpha["gcv"] - alpha["cv"]) < 0.5
    assert alpha["ungrouped"] < min(alpha["gcv"], alpha["cv"]) - 0.3


def test_gcv_decodes_new_stimuli_as_well_as_grouped_cross_validation():
    X, Y, rows = _brain(n_stimuli=400, p=80, noise=10.0, n_targets=20, seed=3)
    train = rows < 300
    means = np.array([X[rows == s].mean(axis=0) for s in range(300, 400)])
    r = {}
    for selection in ("gcv", "cv"):
        decoder = RidgeDecoder(selection=selection).fit(X[train], Y[:300], stimuli=rows[train])
        r[selection] = pearson_r(Y[300:], decoder.predict(means)).mean()
    assert r["gcv"] > r["cv"] - 0.005
    assert r["gcv"] > 0.3


def test_sessions_can_be_held_out():
    X, Y, rows = _brain(n_stimuli=90)
    sessions = np.repeat(np.arange(9), 30)
    decoder = RidgeDecoder(selection="cv", n_folds=9).fit(X, Y, groups=sessions, stimuli=rows)
    assert set(decoder.alpha_) <= set(DEFAULT_ALPHAS)
    with pytest.raises(ValueError, match=r"groups has shape \(3,\), but X has 270 rows"):
        RidgeDecoder(selection="cv").fit(X, Y, groups=[1, 2, 3], stimuli=rows)


@pytest.mark.parametrize("p", [25, 300])
def test_constant_voxels_are_dropped_with_a_warning(p):
    X, Y, rows = _brain(p=p)
    X[:, [3, 11]] = [0.1, 1e5]
    with pytest.warns(UserWarning, match="2 of .* voxels are constant and dropped: columns 3, 11"):
        decoder = RidgeDecoder().fit(X, Y, stimuli=rows)
    np.testing.assert_array_equal(decoder.dropped_, [3, 11])
    assert (decoder.coef_[:, [3, 11]] == 0).all()
    without = RidgeDecoder().fit(np.delete(X, [3, 11], axis=1), Y, stimuli=rows)
    np.testing.assert_allclose(
        decoder.predict(X), without.predict(np.delete(X, [3, 11], axis=1)), atol=1e-8
    )


def test_nonfinite_responses_are_named():
    X, Y, rows = _brain()
    X[5, 2] = np.inf
    sentence = r"X holds 1 NaN or infinite \(inf\) values, in rows 5 and columns 2 "
    with pytest.raises(ValueError, match=sentence):
        RidgeDecoder().fit(X, Y, stimuli=rows)
    with pytest.raises(ValueError, match=sentence):
        RidgeDecoder().fit_stream([(X, rows)], Y)
    X[5, 2] = 0
    decoder = RidgeDecoder().fit(X, Y, stimuli=rows)
    X[8, 1] = np.nan
    with pytest.raises(ValueError, match="in rows 8 and columns 1 "):
        decoder.predict(X)


def test_what_does_not_fit_is_refused():
    X, Y, rows = _brain()
    with pytest.raises(ValueError, match="X has 180 rows and y 60"):
        RidgeDecoder().fit(X, Y)
    with pytest.raises(ValueError, match=r"selection is 'loo': choose"):
        RidgeDecoder(selection="loo").fit(X, Y, stimuli=rows)
    with pytest.raises(ValueError, match="reads the trials once per fold"):
        RidgeDecoder(selection="cv").fit_stream([(X, rows)], Y)
    with pytest.raises(ValueError, match="stream holds no trials"):
        RidgeDecoder().fit_stream([], Y)
    with pytest.raises(ValueError, match="dim 3"):
        RidgeDecoder().fit(X, Y.reshape(60, 2, 3), stimuli=rows)


def test_targets_may_be_on_disk(tmp_path):
    import zarr

    X, Y, rows = _brain()
    on_disk = zarr.create_array(tmp_path / "y.zarr", shape=Y.shape, dtype=Y.dtype)
    on_disk[:] = Y
    mapped = np.memmap(tmp_path / "y.dat", Y.dtype, "w+", shape=Y.shape)
    mapped[:] = Y
    expected = RidgeDecoder().fit(X, Y, stimuli=rows).coef_
    for targets in (on_disk, mapped):
        decoder = RidgeDecoder(target_block=4).fit(X, targets, stimuli=rows)
        np.testing.assert_allclose(decoder.coef_, expected, rtol=1e-10)
        chosen = RidgeDecoder(selection="cv", target_block=4).fit(X, targets, stimuli=rows)
        assert chosen.coef_.shape == expected.shape


@pytest.mark.parametrize("flat", [True, False])
def test_a_saved_decoder_predicts_the_same(tmp_path, flat):
    from safetensors.numpy import load_file, save_file

    X, Y, rows = _brain(dtype=np.float32)
    X[:, 4] = 1
    targets = Y[:, 0] if flat else Y
    with pytest.warns(UserWarning, match="constant"):
        decoder = RidgeDecoder(average_repeats=False, n_folds=3).fit(X, targets, stimuli=rows)
    np.savez(tmp_path / "decoder.npz", **decoder.to_arrays())
    save_file(decoder.to_arrays(), tmp_path / "decoder.safetensors")
    with np.load(tmp_path / "decoder.npz", allow_pickle=False) as saved:
        copies = [RidgeDecoder.from_arrays(saved)]
    copies.append(RidgeDecoder.from_arrays(load_file(tmp_path / "decoder.safetensors")))
    for copy in copies:
        np.testing.assert_array_equal(copy.predict(X), decoder.predict(X))
        np.testing.assert_array_equal(copy.alpha_, decoder.alpha_)
        np.testing.assert_array_equal(copy.dropped_, [4])
        assert copy.get_params()["n_folds"] == 3 and not copy.average_repeats
    with pytest.raises(ValueError, match="lacks coef, mean, alpha, error, alphas, offset, dropped"):
        RidgeDecoder.from_arrays({})


def _identification(predicted, patterns, shown):
    """Two-way, original fixed: its own prediction against those of other patterns."""

    def normed(values):
        values = values - values.mean(axis=1, keepdims=True)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    r = normed(predicted) @ normed(patterns).T
    wins = [np.mean(r[i, shown[i]] > r[shown != shown[i], shown[i]]) for i in range(len(shown))]
    return float(np.mean(wins))


def test_real_responses_of_v1_identify_held_out_patterns(miyawaki_dir):
    with np.load(miyawaki_dir / "figures.npz") as figures:
        X, shown = figures["responses"], figures["stimulus_index"]
        patterns = figures["stimuli"].reshape(10, 100).astype(float)
    decoder = RidgeDecoder()
    how = {"X": X, "y": patterns[shown], "cv": LeaveOneGroupOut(), "params": {"stimuli": shown}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new_pattern = cross_val_predict(decoder, groups=shown, **how)
        new_block = cross_val_predict(decoder, groups=np.arange(80), **how)
    assert _identification(new_pattern, patterns, shown) >= 0.82
    assert _identification(new_block, patterns, shown) >= 0.98


@pytest.mark.parametrize("p", [25, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings",
    [{}, {"average_repeats": False}, {"alpha_per_target": False}, {"selection": "cv"}],
    ids=str,
)
def test_torch_computes_what_numpy_computes(p, dtype, settings, torch_device):
    X, Y, rows = _brain(p=p, dtype=dtype)
    X[:, 4] = 1
    with pytest.warns(UserWarning, match="constant"):
        host = RidgeDecoder(**settings).fit(X, Y, stimuli=rows)
        device = RidgeDecoder(**settings, device=torch_device).fit(X, Y, stimuli=rows)
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    np.testing.assert_array_equal(device.alpha_, host.alpha_)
    np.testing.assert_allclose(device.error_, host.error_, rtol=tolerance)
    spread = np.abs(host.coef_).max()
    np.testing.assert_allclose(device.coef_, host.coef_, atol=tolerance * spread)
    assert isinstance(device.coef_, np.ndarray) and device.coef_.dtype == dtype
    # Where it was computed is no part of a saved decoder.
    np.testing.assert_array_equal(device.to_arrays()["settings"], host.to_arrays()["settings"])


def test_without_repeats_torch_computes_what_numpy_computes(torch_device):
    X, Y, _ = _brain(n_repeats=1, p=20)
    host, device = (RidgeDecoder(device=d).fit(X, Y) for d in (None, torch_device))
    np.testing.assert_allclose(device.coef_, host.coef_, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("size", [7, 60, 1000])
@pytest.mark.parametrize("p", [25, 300])
def test_a_stream_in_blocks_of_any_size_is_fitted_as_the_whole(size, p):
    X, Y, rows = _brain(p=p)
    blocks = ((X[lo : lo + size], rows[lo : lo + size]) for lo in range(0, len(X), size))
    streamed = RidgeDecoder(target_block=4).fit_stream(blocks, Y)
    whole = RidgeDecoder().fit(X, Y, stimuli=rows)
    np.testing.assert_array_equal(streamed.alpha_, whole.alpha_)
    np.testing.assert_allclose(streamed.coef_, whole.coef_, rtol=1e-7, atol=1e-10)


def test_memory_holds_neither_the_trials_nor_the_targets():
    n_stimuli, p, n_targets, size = 400, 200, 8000, 100
    rows = np.tile(np.arange(n_stimuli), 30)

    class Targets:
        """Columns that are made when they are asked for."""

        shape, ndim, dtype = (n_stimuli, n_targets), 2, np.dtype(np.float32)

        def __getitem__(self, key):
            lo, hi, _ = key[1].indices(n_targets)
            return np.random.default_rng(lo).standard_normal((n_stimuli, hi - lo), np.float32)

    def blocks():
        for lo in range(0, len(rows), size):
            yield (
                np.random.default_rng(lo).standard_normal((size, p), np.float32),
                rows[lo : lo + size],
            )

    RidgeDecoder().fit_stream([(np.eye(9, 4), np.arange(9))], np.eye(9))  # what is loaded late
    tracemalloc.start()
    decoder = RidgeDecoder(target_block=200).fit_stream(blocks(), Targets())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    trials, targets = 4 * len(rows) * p, 4 * n_stimuli * n_targets
    matrix, block = 8 * p**2, 8 * 200 * (p + n_stimuli)
    assert peak < decoder.coef_.nbytes + 6 * matrix + 6 * block
    assert peak < trials + targets  # so that holding either would have shown
    assert peak - decoder.coef_.nbytes < min(trials, targets)


@pytest.mark.parametrize("p", [3, 300])
def test_two_stimuli_are_enough_for_a_decoder(p):
    X, Y, rows = _brain(n_stimuli=2, p=p)
    decoder = RidgeDecoder().fit(X, Y, stimuli=rows)
    assert np.isfinite(decoder.predict(X)).all() and set(decoder.alpha_) <= set(DEFAULT_ALPHAS)
