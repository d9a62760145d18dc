"""No score of voxels depends on the baseline or the scale of their responses.

Responses are multiples of 1/8, baselines whole numbers and scales powers of two, so that shifted
and scaled responses are exact in float32: what changes is the software's own rounding.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.reliability import NcsnrEstimator
from vox2pix.decoding import RidgeDecoder
from vox2pix.encoding import (
    EncodingModel,
    compare,
    encoding_scores,
    permutation_p,
    roi_means,
    split_half_ceiling,
    unique_means,
    unique_variance,
)
from vox2pix.linear.decomposition import decompose
from vox2pix.linear.normal_equations import NormalEquations

N_VOXELS = 6
BASELINES = (0, 1, 100, 1_000, 10_000, 100_000)
EXPONENTS = (-100, -40, -20, -3, 0, 3, 20, 40, 100)  # 1e-12 and 1e12 are 2^-40 and 2^40
units = st.tuples(
    st.lists(st.sampled_from(BASELINES), min_size=N_VOXELS, max_size=N_VOXELS),
    st.lists(st.sampled_from(EXPONENTS), min_size=N_VOXELS, max_size=N_VOXELS),
)
quick = settings(deadline=None, max_examples=12)


def _data(n=40, n_test=12, n_features=15, seed=0):
    """Features, and responses to single trials that are multiples of 1/8."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + n_test, n_features)).astype(np.float32)
    Y = X @ rng.standard_normal((n_features, N_VOXELS)) + 3 * rng.standard_normal(
        (n + n_test, N_VOXELS)
    )
    return X[:n], X[n:], np.round(8 * Y[:n]) / 8, np.round(8 * Y[n:]) / 8


def _in_units(Y, of):
    baselines, exponents = np.array(of[0]), np.array(of[1])
    given = ((Y + baselines) * 2.0**exponents).astype(np.float32)
    np.testing.assert_array_equal(given / 2.0**exponents - baselines, Y)  # exact, as promised
    return given


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"selection": "cv", "n_folds": 3},
        {"alpha_per_target": False},
        {"standardize": True, "target_block": 4},
        {"device": "cpu"},
        {"device": "cpu", "selection": "cv", "n_folds": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_features", [15, 60])
@quick
@given(of=units)
def test_encoding_scores(how, n_features, of):
    X, X_test, Y, Y_test = _data(n_features=n_features)
    weights = np.arange(len(X)) % 3 + 1
    expected = EncodingModel(**how).fit(X, Y.astype(np.float32), sample_weight=weights)
    truth = encoding_scores(Y_test, expected.predict(X_test))
    given_, tested = _in_units(Y, of), _in_units(Y_test, of)
    model = EncodingModel(**how).fit(X, given_, sample_weight=weights)
    np.testing.assert_allclose(model.alpha_, expected.alpha_)
    scale = 2.0 ** np.array(of[1])
    np.testing.assert_allclose(model.error_, expected.error_ * scale**2, rtol=1e-4)
    np.testing.assert_allclose(
        model.coef_ / scale[:, None], expected.coef_, rtol=1e-3, atol=1e-5 * np.ptp(expected.coef_)
    )
    relative = EncodingModel(**how).fit_then_predict(
        X, given_, X_test, sample_weight=weights, relative=True
    )
    assert relative.dtype == np.float32
    for scores in (
        encoding_scores(tested, model.predict(X_test)),
        encoding_scores(
            tested, EncodingModel(**how).fit_then_predict(X, given_, X_test, sample_weight=weights)
        ),
        encoding_scores(tested, relative, model.mean_),
    ):
        np.testing.assert_allclose(scores.r, truth.r, atol=1e-5)
        np.testing.assert_allclose(scores.r2, truth.r2, atol=1e-5)


@quick
@given(of=units)
def test_unique_variance_and_means_of_regions(of):
    X, X_test, Y, Y_test = _data()
    spaces = {"a": (X[:, :6], X_test[:, :6]), "b": (X[:, 6:], X_test[:, 6:])}
    rois = {"all": np.ones(N_VOXELS, bool), "some": np.arange(N_VOXELS) < 2}
    results = []
    for train, test in ((Y.astype(np.float32), Y_test), (_in_units(Y, of), _in_units(Y_test, of))):
        parts = unique_variance(spaces, train, test)
        predictions = {
            name: EncodingModel().fit_then_predict(pair[0], train, pair[1], relative=True)
            for name, pair in spaces.items()
        }
        means = roi_means(test, predictions, rois, n_resamples=100)
        difference = compare(test, *predictions.values(), rois, n_resamples=100)
        p = permutation_p(test, predictions["a"], np.arange(len(test)) // 2, n_permutations=50)
        results.append(
            [
                parts.joint,
                parts.shared,
                *parts.alone.values(),
                *parts.unique.values(),
                *parts.gains.values(),
                unique_means(parts, rois, n_resamples=100)[["value", "low", "high"]],
                means[["value", "low", "high", "n_scored"]],
                difference.rois.drop(columns="roi"),
                difference.ci_low,
                p,
            ]
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(np.asarray(other), np.asarray(one), atol=1e-4)


@quick
@given(of=units)
def test_ceilings_and_reliability(of):
    _, _, Y, _ = _data(n=48)
    rows = np.arange(48) // 4
    given_ = _in_units(Y, of)
    np.testing.assert_allclose(
        split_half_ceiling(given_, rows), split_half_ceiling(Y, rows), atol=1e-6
    )
    results = []
    for betas in (Y.astype(np.float32), given_):
        estimator = NcsnrEstimator(12, N_VOXELS)
        for session in (slice(24), slice(24, 48)):
            estimator.add(rows[session], betas[session])
        results.append(estimator.ncsnr())
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)


@pytest.mark.parametrize("how", [{}, {"selection": "cv", "n_folds": 3}, {"device": "cpu"}], ids=str)
@pytest.mark.parametrize("n", [4, 36])  # fewer trials than voxels, and more
@quick
@given(of=units)
def test_decoded_features(how, n, of):
    features, _, Y, Y_test = _data(n=max(n, 6))
    rows = np.arange(n) // 2 if n > 6 else np.arange(n)
    features, Y = features[: rows[-1] + 1], Y[:n]
    if n < 6 and how.get("selection"):
        how = {**how, "n_folds": 2}
    expected = RidgeDecoder(**how).fit(Y.astype(np.float32), features, stimuli=rows)
    given_ = _in_units(Y, of)
    decoder = RidgeDecoder(**how).fit(given_, features, stimuli=rows)
    tested = _in_units(Y_test, of)
    truth = expected.predict(Y_test.astype(np.float32))
    np.testing.assert_allclose(decoder.alpha_, expected.alpha_)
    np.testing.assert_allclose(decoder.predict(tested), truth, atol=1e-4)
    np.testing.assert_allclose(
        tested.astype(np.float64) @ decoder.coef_.T.astype(np.float64) + decoder.intercept_,
        truth,
        atol=2e-2,  # of the baseline's size times the rounding of the weights
    )
    if "selection" not in how:
        blocks = [(given_[some], rows[some]) for some in np.array_split(np.arange(n), 3)]
        streamed = RidgeDecoder(**how).fit_stream(blocks, features)
        np.testing.assert_allclose(streamed.predict(tested), truth, atol=1e-4)


@quick
@given(of=units)
def test_moments(of):
    _, _, Y, _ = _data()
    rows = np.arange(len(Y)) // 4
    equations = NormalEquations(10)
    for some in np.array_split(np.arange(len(Y)), 4):
        equations.add(_in_units(Y, of)[some], rows[some])
    decomposition = decompose(equations, equations.scaling(centre=True, standardize=True))
    Z = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    expected = np.linalg.eigvalsh(Z.T @ Z)
    np.testing.assert_allclose(decomposition.eigenvalues, expected, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e4, 1e12])
def test_constant_voxels_have_no_score_and_are_counted(value):
    X, X_test, Y, Y_test = _data()
    Y, Y_test = Y.astype(np.float32), Y_test.astype(np.float32)
    Y[:, 0] = Y_test[:, 0] = Y_test[:, 1] = Y[:, 2] = value
    predictions = EncodingModel().fit_then_predict(
        X, Y, X_test, sample_weight=np.arange(len(X)) % 3 + 1
    )
    assert len(set(predictions[:, 2])) == 1
    np.testing.assert_allclose(predictions[:, 2], np.float32(value), rtol=1e-14)
    scores = encoding_scores(Y_test, predictions)
    assert np.isnan(scores.r).tolist() == [True] * 3 + [False] * 3
    assert np.isnan(scores.r2).tolist() == [True] * 2 + [False] * 4
    rois = {"all": np.ones(N_VOXELS, bool)}
    means = roi_means(Y_test, {"z": predictions}, rois, n_resamples=100)
    assert (means["n_voxels"].item(), means["n_scored"].item()) == (6, 3)
    np.testing.assert_allclose(means["value"], scores.r[3:].mean())
    assert np.isnan(split_half_ceiling(Y, np.arange(40) // 3)[[0, 2]]).all()
    parts = unique_variance({"a": (X, X_test), "b": (X, X_test)}, Y, Y_test)
    parts = unique_means(parts, rois, n_resamples=100)
    assert (parts[["n_voxels", "n_scored"]] == [6, 4]).all(axis=None)


def test_huge_and_tiny_responses_are_scored_alike():
    X, X_test, Y, Y_test = _data()
    truth = encoding_scores(Y_test, EncodingModel().fit(X, Y).predict(X_test))
    for factor in (1e-30, 1e30):
        train, test = ((factor * Z).astype(np.float32) for Z in (Y, Y_test))
        scores = encoding_scores(test, EncodingModel().fit(X, train).predict(X_test))
        np.testing.assert_allclose(scores.r, truth.r, atol=1e-5)
        np.testing.assert_allclose(scores.r2, truth.r2, atol=1e-5)
