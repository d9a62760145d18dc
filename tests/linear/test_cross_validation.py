import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.normal_equations import Scaling

ALPHAS = np.array([0.3, 30.0, 3000.0])


def _naive(X, Y, rows, folds, intercept, average):
    """Loop over folds and penalties with scikit-learn's Ridge."""
    errors = np.zeros((len(ALPHAS), Y.shape[1]))
    for train, test in folds:
        for i, alpha in enumerate(ALPHAS):
            model = Ridge(alpha, fit_intercept=intercept).fit(X[train], Y[rows[train]])
            of_fold = []
            for s in np.unique(rows[test]):
                trials = X[test][rows[test] == s]
                if average:
                    error = (Y[s] - model.predict(trials.mean(axis=0, keepdims=True))[0]) ** 2
                    of_fold += [error] * len(trials)
                else:
                    of_fold += list((Y[s] - model.predict(trials)) ** 2)
            errors[i] += np.mean(of_fold, axis=0) / len(folds)
    return errors


@pytest.mark.parametrize(("n", "p"), [(90, 20), (50, 70)])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_errors_equal_a_naive_loop(n, p, intercept, average):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 23, n)
    Y = rng.standard_normal((23, 5)) + 2
    X = Y[rows] @ rng.standard_normal((5, p)) + rng.standard_normal((n, p)) * 2 + 1
    folds = grouped_folds(rows, 4)
    errors = cv_errors(
        X, Y, rows, folds, ALPHAS, intercept=intercept, average_repeats=average, target_block=2
    )
    np.testing.assert_allclose(errors, _naive(X, Y, rows, folds, intercept, average), rtol=1e-8)


@pytest.mark.parametrize("n", [90, 30])
def test_scaled_errors_equal_a_naive_loop_on_scaled_columns(n):
    rng = np.random.default_rng(1)
    rows, Y = np.arange(n), rng.standard_normal((n, 3))
    X = rng.standard_normal((n, 40)) * rng.uniform(0.1, 9, 40) + 4
    mean, std = X.mean(axis=0), X.std(axis=0)
    scaling = Scaling(mean, std, np.ones(40, bool))
    folds = grouped_folds(rows, 5)
    for intercept in (True, False):
        errors = cv_errors(X, Y, rows, folds, ALPHAS, intercept=intercept, scaling=scaling)
        expected = _naive((X - mean) / std, Y, rows, folds, intercept, False)
        np.testing.assert_allclose(errors, expected, rtol=1e-8)


def test_single_trials_are_cut_as_by_sklearn():
    for (train, test), (train_too, test_too) in zip(
        grouped_folds(np.arange(17), 5), KFold(5).split(np.zeros(17)), strict=True
    ):
        np.testing.assert_array_equal(train, train_too)
        np.testing.assert_array_equal(test, test_too)


def test_a_repeat_never_stands_on_both_sides():
    rng = np.random.default_rng(0)
    rows, sessions = rng.integers(0, 40, 100), np.repeat(np.arange(10), 10)
    seen = []
    for train, test in grouped_folds(rows, 5):
        assert not set(rows[train]) & set(rows[test])
        assert len(train) + len(test) == 100
        seen += list(test)
    assert sorted(seen) == list(range(100))
    for train, test in grouped_folds(sessions, 5, stimuli=rows):
        assert not set(rows[train]) & set(rows[test])
        assert not set(sessions[train]) & set(sessions[test])
        others = ~np.isin(sessions, sessions[test]) & ~np.isin(rows, rows[test])
        np.testing.assert_array_equal(train, np.flatnonzero(others))


def test_folds_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="There are 3 groups for 5 folds"):
        grouped_folds([0, 1, 2, 2], 5)
    with pytest.raises(ValueError, match="at least 2"):
        grouped_folds([0, 1], 1)
    with pytest.raises(ValueError, match="Fold 1 of 2 leaves no trial to train on"):
        grouped_folds([0, 1], 2, stimuli=[0, 0])
