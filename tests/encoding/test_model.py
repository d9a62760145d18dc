import pickle

import numpy as np
import pytest
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge

from vox2pix.encoding import EncodingModel, encoding_scores
from vox2pix.linear import gcv_errors, pearson_r
from vox2pix.linear.decomposition import decompose
from vox2pix.linear.normal_equations import NormalEquations


def _brain(n=60, p=20, n_voxels=7, n_test=30, noise=2.0, seed=0, dtype=np.float64):
    """Features of unequal scale, responses to the training and test stimuli."""
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n + n_test, p)) * rng.uniform(0.1, 3, p) + 5).astype(dtype)
    Y = (X - 5) @ rng.standard_normal((p, n_voxels)) / np.sqrt(p) + 1
    Y += noise * rng.standard_normal(Y.shape)
    return X[:n], Y[:n], X[n:], Y[n:]


@pytest.mark.parametrize("p", [20, 200])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_fixed_penalty_with_weights_equals_sklearn(p, standardize):
    X, Y, X_test, _ = _brain(p=p)
    weights = np.random.default_rng(1).integers(1, 4, len(X))
    mean = np.average(X, axis=0, weights=weights)
    std = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights)) if standardize else 1
    model = EncodingModel(5.0, standardize=standardize, target_block=3)
    expected = Ridge(5.0).fit((X - mean) / std, Y, sample_weight=weights)
    model.fit(X, Y, sample_weight=weights)
    truth = expected.predict((X_test - mean) / std)
    np.testing.assert_allclose(model.predict(X_test), truth, atol=1e-9)
    np.testing.assert_allclose(model.coef_ * std, expected.coef_, atol=1e-9)
    np.testing.assert_allclose(X_test @ model.coef_.T + model.intercept_, truth, atol=1e-8)
    np.testing.assert_allclose(
        model.fit_then_predict(X, Y, X_test, sample_weight=weights), truth, atol=1e-9
    )


@pytest.mark.parametrize("p", [20, 200])
def test_gcv_of_unweighted_stimuli_is_the_criterion_of_the_linear_room(p):
    X, Y, _, _ = _brain(p=p)
    alphas = np.logspace(-1, 5, 12)
    model = EncodingModel(alphas).fit(X, Y)
    equations = NormalEquations(len(X))
    equations.add(X, np.arange(len(X)))
    decomposition = decompose(equations)
    errors = gcv_errors(decomposition, decomposition.project(Y), alphas)
    np.testing.assert_allclose(model.alpha_, alphas[errors.argmin(axis=0)])
    np.testing.assert_allclose(model.error_, errors.min(axis=0), rtol=1e-8)


@pytest.mark.parametrize("p", [20, 200])
def test_weighted_gcv_equals_its_definition(p):
    X, Y, _, _ = _brain(p=p)
    weights = np.random.default_rng(1).integers(1, 4, len(X)).astype(float)
    alphas = [3.0, 30.0, 300.0]
    model = EncodingModel(alphas).fit(X, Y, sample_weight=weights)
    # The hat matrix of rows multiplied by the roots of their weights, the intercept unpenalised.
    root = np.sqrt(weights)[:, None]
    A, B = root * np.c_[np.ones(len(X)), X], root * Y
    errors = []
    for alpha in alphas:
        penalty = alpha * np.eye(A.shape[1])
        penalty[0, 0] = 0
        hat = A @ np.linalg.solve(A.T @ A + penalty, A.T)
        rest = ((B - hat @ B) ** 2).sum(axis=0) / weights.sum()
        errors.append(rest / (1 - np.trace(hat) / len(X)) ** 2)
    errors = np.array(errors)
    np.testing.assert_allclose(model.alpha_, np.array(alphas)[errors.argmin(axis=0)])
    np.testing.assert_allclose(model.error_, errors.min(axis=0), rtol=1e-6)


def test_cross_validation_equals_himalaya():
    X, Y, X_test, _ = _brain()
    alphas = np.logspace(0, 4, 9)
    for per_voxel in (True, False):
        model = EncodingModel(alphas, selection="cv", alpha_per_target=per_voxel).fit(X, Y)
        plain = HimalayaRidgeCV(
            alphas,
            fit_intercept=True,
            cv=5,
            solver_params={"local_alpha": per_voxel, "warn": False},
        ).fit(X, Y)
        np.testing.assert_allclose(model.alpha_, plain.best_alphas_)
        np.testing.assert_allclose(model.predict(X_test), plain.predict(X_test), atol=1e-5)


def test_weighted_cross_validation_by_group_equals_a_loop():
    X, Y, _, _ = _brain(p=80)
    weights = np.random.default_rng(1).integers(0, 4, len(X))
    groups = np.random.default_rng(2).permutation(np.repeat(np.arange(6), 10))
    alphas = [1.0, 10.0, 100.0, 1000.0]
    model = EncodingModel(alphas, selection="cv", n_folds=3).fit(
        X, Y, sample_weight=weights, groups=groups
    )
    errors = np.zeros((4, Y.shape[1]))
    for held in ((0, 1), (2, 3), (4, 5)):
        test = np.isin(groups, held)
        for i, alpha in enumerate(alphas):
            plain = Ridge(alpha).fit(X[~test], Y[~test], sample_weight=weights[~test])
            squares = (Y[test] - plain.predict(X[test])) ** 2
            errors[i] += np.average(squares, axis=0, weights=weights[test]) / 3
    np.testing.assert_allclose(model.error_, errors.min(axis=0), rtol=1e-8)
    np.testing.assert_array_equal(model.alpha_, np.array(alphas)[errors.argmin(axis=0)])


def test_the_default_penalties_follow_the_scale_of_the_features():
    X, Y, X_test, _ = _brain(p=100)
    small, large = EncodingModel().fit(X, Y), EncodingModel().fit(1000 * X, Y)
    np.testing.assert_allclose(large.alphas_, 1e6 * small.alphas_)
    np.testing.assert_allclose(large.predict(1000 * X_test), small.predict(X_test), rtol=1e-6)
    trebled = EncodingModel().fit(X, Y, sample_weight=np.full(len(X), 3))
    np.testing.assert_allclose(trebled.alphas_, 3 * small.alphas_)
    np.testing.assert_allclose(trebled.predict(X_test), small.predict(X_test))


def test_one_penalty_for_all_voxels_has_the_least_mean_error():
    X, Y, _, _ = _brain()
    alphas = [1.0, 30.0, 1000.0]
    model = EncodingModel(alphas, alpha_per_target=False, target_block=2).fit(X, Y)
    mean_error = [EncodingModel(alpha).fit(X, Y).error_.mean() for alpha in alphas]
    assert set(model.alpha_) == {alphas[int(np.argmin(mean_error))]}


def test_weights_that_follow_repeats_help():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((450, 40))
    signal = X @ rng.standard_normal((40, 50)) / 6
    repeats = rng.choice([1, 20], 450)
    Y = signal + 3 * rng.standard_normal(signal.shape) / np.sqrt(repeats)[:, None]
    test = slice(150, None)
    r = {}
    for name, weights in {"weighted": repeats[:150], "plain": None}.items():
        predicted = EncodingModel().fit_then_predict(
            X[:150], Y[:150], X[test], sample_weight=weights
        )
        r[name] = pearson_r(signal[test], predicted).mean()
    assert r["weighted"] > r["plain"] + 0.02


@pytest.mark.parametrize("selection", ["gcv", "cv"])
def test_voxels_may_be_on_disk_and_blocks_change_nothing(tmp_path, selection):
    import zarr

    X, Y, X_test, _ = _brain(p=90, dtype=np.float32)
    stored = zarr.create_array(tmp_path / "y.zarr", shape=Y.shape, dtype=Y.dtype)
    stored[:] = Y
    mapped = np.memmap(tmp_path / "y.dat", Y.dtype, "w+", shape=Y.shape)
    mapped[:] = Y
    expected = EncodingModel(selection=selection).fit(X, Y).predict(X_test)
    assert expected.dtype == np.float64  # float32 has no digits for a baseline
    for responses in (stored, mapped):
        model = EncodingModel(selection=selection, target_block=2)
        np.testing.assert_allclose(
            model.fit_then_predict(X, responses, X_test), expected, rtol=1e-4, atol=1e-5
        )


def test_single_precision_agrees_with_double():
    X, Y, X_test, _ = _brain(p=300)
    double = EncodingModel(20.0).fit(X, Y).predict(X_test)
    single = EncodingModel(20.0).fit(X.astype(np.float32), Y).predict(X_test.astype(np.float32))
    np.testing.assert_allclose(single, double, atol=1e-4)


def test_a_constant_voxel_scores_nan_and_harms_no_other():
    X, Y, X_test, Y_test = _brain()
    with_constant = np.c_[Y, np.full(len(Y), 0.1)]
    model = EncodingModel().fit(X, with_constant)
    predicted = model.predict(X_test)
    np.testing.assert_allclose(predicted[:, :-1], EncodingModel().fit(X, Y).predict(X_test))
    scores = encoding_scores(np.c_[Y_test, np.full(len(Y_test), 0.1)], predicted)
    assert np.isnan(scores.r[-1]) and np.isnan(scores.r2[-1])
    assert np.isfinite(scores.r[:-1]).all() and scores.n_stimuli == 30
    np.testing.assert_allclose(
        scores.r[0], np.corrcoef(Y_test[:, 0], predicted[:, 0])[0, 1], rtol=1e-10
    )


def test_a_constant_feature_is_without_effect():
    X, Y, X_test, _ = _brain()
    for standardize in (False, True):
        model = EncodingModel(standardize=standardize, alphas=3.0)
        expected = model.fit_then_predict(X, Y, X_test)
        predicted = model.fit_then_predict(
            np.c_[X, np.full(len(X), 0.1)], Y, np.c_[X_test, np.full(len(X_test), 0.1)]
        )
        np.testing.assert_allclose(predicted, expected)


def test_voxels_that_are_not_finite_are_named():
    X, Y, _, _ = _brain()
    Y[3, [1, 4]] = np.nan
    Y[9, 6] = np.inf
    sentence = r"3 of 7 targets hold NaN .* \(columns 1, 4, 6 of y, .*: leave these targets out"
    for selection in ("gcv", "cv"):
        with pytest.raises(ValueError, match=sentence):
            EncodingModel(selection=selection, target_block=2).fit(X, Y)


def test_what_does_not_fit_is_refused():
    X, Y, X_test, _ = _brain()
    with pytest.raises(ValueError, match="2 training stimuli, but EncodingModel needs at least 3"):
        EncodingModel().fit(X[:2], Y[:2])
    with pytest.raises(ValueError, match="n_samples = 1"):
        EncodingModel().fit(X, Y, sample_weight=np.eye(len(X))[0])
    with pytest.raises(ValueError, match="There are 4 groups for 5 folds"):
        EncodingModel(selection="cv").fit(X[:4], Y[:4])
    with pytest.raises(ValueError, match="X has 60 rows and y 59"):
        EncodingModel().fit(X, Y[1:])
    with pytest.raises(ValueError, match="give the repeats of each row"):
        EncodingModel().fit(X, Y, sample_weight=-np.ones(len(X)))
    with pytest.raises(ValueError, match=r"groups has shape \(2,\)"):
        EncodingModel(selection="cv").fit(X, Y, groups=[0, 1])
    with pytest.raises(ValueError, match="selection is 'loo'"):
        EncodingModel(selection="loo").fit(X, Y)
    X_test[2, 3] = np.nan
    with pytest.raises(ValueError, match="in rows 2 and columns 3 "):
        EncodingModel().fit(X, Y).predict(X_test)


def test_a_pickled_model_predicts_the_same_and_a_streamed_one_says_it_cannot():
    X, Y, X_test, _ = _brain()
    model = EncodingModel().fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X_test), model.predict(X_test))
    model.fit_then_predict(X, Y, X_test)
    with pytest.raises(ValueError, match="not fitted"):
        model.predict(X_test)


@pytest.mark.parametrize("p", [20, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings", [{}, {"selection": "cv"}, {"alpha_per_target": False}], ids=str
)
def test_torch_computes_what_numpy_computes(p, dtype, settings, torch_device):
    X, Y, X_test, _ = _brain(p=p)
    X, X_test = X.astype(dtype), X_test.astype(dtype)
    repeats = np.arange(len(X)) % 3 + 1
    host = EncodingModel(**settings).fit(X, Y, sample_weight=repeats)
    device = EncodingModel(**settings, device=torch_device, target_block=3).fit(
        X, Y, sample_weight=repeats
    )
    tolerance = 1e-9 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(device.alpha_, host.alpha_, rtol=1e-9)
    expected = host.predict(X_test)
    np.testing.assert_allclose(device.predict(X_test), expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(device.coef_, host.coef_, rtol=tolerance, atol=tolerance)
    again = device.fit_then_predict(X, Y, X_test, sample_weight=repeats)
    assert isinstance(again, np.ndarray) and again.dtype == np.float64
    np.testing.assert_allclose(again, expected, rtol=tolerance, atol=tolerance)
