"""What the decoder and the encoding model share, as seen by scikit-learn."""

import traceback
import warnings

import numpy as np
import pytest
import scipy.linalg
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from vox2pix.decoding import RidgeDecoder
from vox2pix.encoding import EncodingModel

BOTH = pytest.mark.parametrize("Estimator", [RidgeDecoder, EncodingModel])
CHOOSING = [
    Estimator(selection=selection, n_folds=2)
    for Estimator in (RidgeDecoder, EncodingModel)
    for selection in ("gcv", "cv")
]
# Without `stimuli` repeated rows are different stimuli, and leaving one out leaves its copies in
# training. With `stimuli` they are equivalent: test_weights_equal_repeats.
NEEDS_STIMULI = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a penalty is chosen by leaving out a stimulus with all its repeats, which only `stimuli` "
        "tells from new stimuli"
    )
}


@parametrize_with_checks([RidgeDecoder(1.0), EncodingModel(1.0)])
def test_a_fixed_penalty_passes_all_sklearn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@parametrize_with_checks(
    CHOOSING, expected_failed_checks=lambda _: NEEDS_STIMULI, xfail_strict=True
)
def test_a_chosen_penalty_passes_sklearn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def _trials(n_stimuli=40, p=20, n_targets=3, seed=0):
    """Stimuli shown one to three times in random order: X, y (one row per stimulus), rows."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(n_stimuli), np.arange(n_stimuli) % 3 + 1))
    y = rng.standard_normal((n_stimuli, n_targets))
    X = y[rows] @ rng.standard_normal((n_targets, p)) + 2 * rng.standard_normal((len(rows), p))
    return X, y, rows


@pytest.mark.parametrize("p", [6, 200])
@pytest.mark.parametrize("estimator", CHOOSING, ids=str)
def test_weights_equal_repeats(estimator, p):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((30, 4))
    X = y @ rng.standard_normal((4, p)) + 4 * rng.standard_normal((30, p))
    y[:, 2:] += 2 * rng.standard_normal((30, 2))
    weights = np.arange(30) % 4
    copies = np.repeat(np.arange(30), weights)
    one = clone(estimator).fit(X, y, sample_weight=weights)
    other = clone(estimator).fit(X[copies], y, stimuli=copies)
    np.testing.assert_allclose(one.alphas_, other.alphas_)
    np.testing.assert_allclose(one.alpha_, other.alpha_)
    np.testing.assert_allclose(one.error_, other.error_, rtol=1e-3)  # of small differences
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-9)
    assert len(set(one.alpha_)) > 1


@pytest.mark.parametrize("p", [8, 90])
@BOTH
def test_weights_and_repeats_together_equal_sklearn(Estimator, p):
    X, y, rows = _trials(p=p)
    weights = np.random.default_rng(1).uniform(0, 3, len(rows))
    weights[:5] = 0
    model = Estimator(3.0, standardize=False).fit(X, y, sample_weight=weights, stimuli=rows)
    expected = Ridge(3.0).fit(X, y[rows], sample_weight=weights)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-8)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), atol=1e-8)


@BOTH
def test_stimuli_may_be_labels_of_targets_with_one_row_per_trial(Estimator):
    X, y, rows = _trials()
    expected = Estimator().fit(X, y, stimuli=rows)
    for labels in (rows, rows + 100, np.array([f"image-{row:03}" for row in rows])):
        model = Estimator().fit(X=X, y=y[rows], stimuli=labels)
        np.testing.assert_allclose(model.alpha_, expected.alpha_)
        np.testing.assert_allclose(model.coef_, expected.coef_)
    # Every stimulus once: the row of y, as ever.
    order = np.random.default_rng(0).permutation(40)
    once = Estimator(5.0).fit(X[:40], y, stimuli=order)
    np.testing.assert_allclose(once.coef_, Estimator(5.0).fit(X[:40], y[order]).coef_)
    targets = y[rows]
    targets[np.flatnonzero(rows == rows[0])[-1]] += 1
    if (rows == rows[0]).sum() < 2:
        targets[np.flatnonzero(rows == 2)[0]] += 1
    with pytest.raises(ValueError, match="its rows differ among trials of one stimulus"):
        Estimator().fit(X, targets, stimuli=rows)


@BOTH
def test_repeats_go_through_cross_validation_and_pipelines(Estimator):
    X, y, rows = _trials()
    targets, folds = y[rows], list(GroupKFold(3).split(X, groups=rows))
    expected = [
        Estimator().fit(X[train], y, stimuli=rows[train]).score(X[test], targets[test])
        for train, test in folds
    ]
    how = {"cv": folds, "params": {"stimuli": rows}}
    np.testing.assert_allclose(cross_val_score(Estimator(), X, targets, **how), expected)
    scores = cross_validate(
        make_pipeline(StandardScaler(), Estimator()),
        X,
        targets,
        cv=folds,
        params={f"{Estimator.__name__.lower()}__stimuli": rows},
    )
    assert np.isfinite(scores["test_score"]).all()
    search = GridSearchCV(Estimator(), {"standardize": [True, False]}, cv=folds)
    search.fit(X, targets, stimuli=rows)
    tried = search.cv_results_["mean_test_score"][
        list(search.cv_results_["param_standardize"]).index(Estimator().standardize)
    ]
    np.testing.assert_allclose(tried, np.mean(expected))
    with config_context(enable_metadata_routing=True):
        routed = Estimator().set_fit_request(stimuli=True, sample_weight=True)
        weights = np.ones(len(rows))
        how["params"]["sample_weight"] = weights
        scored = routed.set_score_request(sample_weight=False)
        np.testing.assert_allclose(cross_val_score(scored, X, targets, **how), expected)


@BOTH
def test_a_generator_of_penalties_is_an_array_of_them(Estimator):
    X, y, rows = _trials()
    grid = [1.0, 10.0, 100.0, 1000.0]
    model = Estimator(alpha for alpha in grid)
    expected = Estimator(grid).fit(X, y, stimuli=rows)
    for fitted in (model.fit(X, y, stimuli=rows), clone(model).fit(X, y, stimuli=rows)):
        np.testing.assert_array_equal(fitted.alphas_, grid)
        np.testing.assert_array_equal(fitted.coef_, expected.coef_)


@BOTH
def test_arguments_without_effect_are_refused(Estimator):
    X, y, rows = _trials()
    with pytest.raises(ValueError, match="groups has no effect"):
        Estimator().fit(X, y, stimuli=rows, groups=rows)
    with pytest.raises(ValueError, match="reads the trials once per fold"):
        Estimator(selection="cv").fit_stream([(X, rows)], y)
    with pytest.raises(ValueError, match=r"stimuli has shape \(3,\)"):
        Estimator().fit(X, y, stimuli=[0, 1, 2])


@pytest.mark.parametrize(
    "setting", [{"n_folds": 1}, {"n_folds": 2.5}, {"target_block": 0}, {"alphas": []}], ids=str
)
@BOTH
def test_settings_of_no_meaning_are_refused(Estimator, setting):
    X, y, rows = _trials()
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name} is .*: give"):
        Estimator(**setting).fit(X, y, stimuli=rows)


def test_a_decoder_refuses_settings_without_effect():
    X, y, rows = _trials()
    with pytest.raises(ValueError, match="grouped=False has no effect"):
        RidgeDecoder(grouped=False).fit(X, y, stimuli=rows)
    for decoder in (RidgeDecoder(2.0, selection="cv"), RidgeDecoder.takagi2023()):
        with pytest.raises(ValueError, match="groups has no effect"):
            decoder.fit(X, y, stimuli=rows, groups=rows)


@pytest.mark.parametrize("flat", [True, False])
@BOTH
def test_a_saved_estimator_predicts_the_same(Estimator, flat, tmp_path):
    X, y, rows = _trials()
    model = Estimator(n_folds=3).fit(X, y[:, 0] if flat else y, stimuli=rows)
    np.savez(tmp_path / "model.npz", **model.to_arrays())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as saved:
        copy = Estimator.from_arrays(saved)
    assert copy.get_params() == {**model.get_params(), "alphas": copy.alphas}
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    np.testing.assert_array_equal(copy.alphas_, model.alphas_)


@BOTH
def test_two_frames_lie_between_fit_and_the_decomposition(Estimator, monkeypatch):
    def fail(*args, **settings):
        raise RuntimeError("in the solver")

    monkeypatch.setattr(scipy.linalg, "eigh", fail)
    X, y, rows = _trials()
    with pytest.raises(RuntimeError, match="in the solver") as raised:
        Estimator().fit(X, y, stimuli=rows)
    names = [
        frame.name
        for frame in traceback.extract_tb(raised.value.__traceback__)
        if "vox2pix" in frame.filename and "tests" not in frame.filename
    ]
    assert names == ["fit", "decompose", "eigh"]
