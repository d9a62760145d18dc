from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from vox2pix.linear import gcv_errors
from vox2pix.linear.decomposition import decompose
from vox2pix.linear.normal_equations import NormalEquations, Scaling
from vox2pix.linear.ridge import iter_fits

ALPHAS = np.logspace(-1, 4, 6)


def _problem(n, p, m, n_targets=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.arange(min(m, n)), rng.integers(0, m, max(n - m, 0))])
    Y = rng.standard_normal((m, n_targets)) + 5
    X = Y[rows] @ rng.standard_normal((n_targets, p)) + 3 * rng.standard_normal((n, p)) + 2
    return X.astype(dtype), Y, rows


def _fit(decomposition, Y, alphas, **choice):
    """Fit all blocks of targets; the prediction is ``X @ coef.T + intercept``."""
    blocks = list(iter_fits(decomposition, Y, alphas, **choice))
    coef = [
        decomposition.weights(projection.g, alpha) * projection.scale[:, None]
        for _, projection, alpha, _ in blocks
    ]
    coef = np.concatenate(coef).astype(decomposition.dtype)
    mean = np.concatenate([projection.mean for _, projection, _, _ in blocks])
    return SimpleNamespace(
        coef=coef,
        intercept=mean - coef @ decomposition.scaling.offset,
        alpha=np.concatenate([alpha for _, _, alpha, _ in blocks]),
        error=np.concatenate([error for _, _, _, error in blocks]),
    )


def _equations(X, rows, m):
    equations = NormalEquations(m)
    equations.add(X, rows)
    return equations


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 40),
    p=st.integers(1, 30),
    m=st.integers(2, 30),
    intercept=st.booleans(),
    alpha=st.floats(0.01, 1e4),
)
def test_any_shape_equals_sklearn_ridge_on_repeated_targets(seed, n, p, m, intercept, alpha):
    X, Y, rows = _problem(n, p, m, seed=seed)
    fit = _fit(decompose(_equations(X, rows, m), intercept=intercept), Y, alpha)
    expected = Ridge(alpha, fit_intercept=intercept, solver="svd").fit(X, Y[rows])
    np.testing.assert_allclose(fit.coef, expected.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.intercept, expected.intercept_ * np.ones(4), atol=1e-6)
    assert (fit.alpha == alpha).all() and np.isnan(fit.error).all()


@pytest.mark.parametrize(("n", "p"), [(60, 12), (25, 40)])
def test_one_penalty_per_target_equals_sklearn(n, p):
    X, Y, rows = _problem(n, p, n)
    alpha = np.array([0.5, 3.0, 100.0, 7.0])
    decomposition = decompose(_equations(X, rows, n))
    coef = decomposition.weights(decomposition.project(Y).g, alpha)
    np.testing.assert_allclose(coef, Ridge(alpha).fit(X, Y[rows]).coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [60, 25])
def test_offset_scale_and_used_mean_ridge_on_the_scaled_columns(n):
    X, Y, rows = _problem(n, 30, 20)
    offset, scale = X.mean(axis=0), X.std(axis=0)
    used = np.arange(30) % 3 > 0
    fit = _fit(
        decompose(_equations(X, rows, 20), Scaling(offset, scale, used), intercept=False),
        Y,
        5.0,
    )
    Z = ((X - offset) / scale)[:, used]
    expected = Ridge(5.0, fit_intercept=False).fit(Z, Y[rows]).predict(Z)
    assert (fit.coef[:, ~used] == 0).all()
    np.testing.assert_allclose(X @ fit.coef.T + fit.intercept, expected, atol=1e-8)


@pytest.mark.parametrize(("n", "p"), [(60, 12), (25, 40), (30, 29)])
def test_gcv_without_repeats_is_the_textbook_criterion(n, p):
    X, Y, rows = _problem(n, p, n)
    decomposition = decompose(_equations(X, rows, n))
    errors = gcv_errors(decomposition, decomposition.project(Y), ALPHAS)
    Xc, Yc = X - X.mean(axis=0), Y[rows] - Y[rows].mean(axis=0)
    for alpha, error in zip(ALPHAS, errors, strict=True):
        H = Xc @ np.linalg.solve(Xc.T @ Xc + alpha * np.eye(p), Xc.T)
        rss = ((Yc - H @ Yc) ** 2).mean(axis=0)
        np.testing.assert_allclose(error, rss / (1 - (1 + np.trace(H)) / n) ** 2, rtol=1e-8)


@pytest.mark.parametrize(
    ("n", "p", "m"), [(90, 12, 30), (60, 80, 20), (70, 40, 30), (35, 12, 30), (90, 30, 30)]
)
@pytest.mark.parametrize("average", [True, False])
def test_gcv_with_repeats_splits_the_hat_matrix_by_stimulus(n, p, m, average):
    X, Y, rows = _problem(n, p, m)
    decomposition = decompose(_equations(X, rows, m))
    errors = gcv_errors(decomposition, decomposition.project(Y), ALPHAS, average_repeats=average)
    Xc, Yc = X - X.mean(axis=0), Y[rows] - Y[rows].mean(axis=0)
    P = np.eye(m)[rows]
    between = P @ np.diag(1 / P.sum(axis=0)) @ P.T
    within = np.eye(n) - between
    for alpha, error in zip(ALPHAS, errors, strict=True):
        H = Xc @ np.linalg.solve(Xc.T @ Xc + alpha * np.eye(p), Xc.T)
        residual = Yc - H @ Yc
        H = H + 1 / n
        expected = ((between @ residual) ** 2).sum(axis=0) / n
        expected /= (1 - np.trace(between @ H) / m) ** 2
        if not average:
            expected += (
                ((within @ residual) ** 2).sum(axis=0)
                / n
                / (1 - np.trace(within @ H) / (n - m)) ** 2
            )
        np.testing.assert_allclose(error, expected, rtol=1e-7)


def test_gcv_with_repeats_follows_leaving_stimuli_out_and_plain_gcv_does_not():
    n_stimuli, n_repeats, p = 80, 3, 40
    rng = np.random.default_rng(3)
    Y = rng.standard_normal((n_stimuli, 30))
    rows = np.tile(np.arange(n_stimuli), n_repeats)
    X = 0.3 * Y[rows] @ rng.standard_normal((30, p)) + rng.standard_normal((len(rows), p)) * 3
    alphas = np.array([10.0, 100.0, 1000.0])
    exact = np.zeros((3, 2, 30))
    for s in range(n_stimuli):
        train, test = rows != s, rows == s
        for i, alpha in enumerate(alphas):
            model = Ridge(alpha).fit(X[train], Y[rows[train]])
            mean = model.predict(X[test].mean(axis=0, keepdims=True))[0]
            exact[i, 0] += (Y[s] - mean) ** 2 / n_stimuli
            exact[i, 1] += ((Y[s] - model.predict(X[test])) ** 2).mean(axis=0) / n_stimuli
    decomposition = decompose(_equations(X, rows, n_stimuli))
    projection = decomposition.project(Y)
    for j, average in enumerate([True, False]):
        errors = gcv_errors(decomposition, projection, alphas, average_repeats=average)
        np.testing.assert_allclose(errors.mean(axis=1), exact[:, j].mean(axis=1), rtol=0.02)
    naive = decompose(_equations(X, np.arange(len(X)), len(X)))
    optimistic = gcv_errors(naive, naive.project(Y[rows]), alphas).mean(axis=1)
    assert optimistic[0] < 0.95 * exact[0, 1].mean()


@pytest.mark.parametrize("average", [True, False])
def test_the_search_reaches_the_least_error_with_few_evaluations(average):
    X, Y, rows = _problem(240, 60, 80, n_targets=200)
    Y = Y + 2 * np.random.default_rng(1).standard_normal(Y.shape)
    grid = np.logspace(-2, 8, 31)
    decomposition = decompose(_equations(X, rows, 80))
    projection = decomposition.project(Y)
    whole = gcv_errors(decomposition, projection, grid, average_repeats=average)
    searched = gcv_errors(decomposition, projection, grid, average_repeats=average, search=True)
    is_evaluated = np.isfinite(searched)
    np.testing.assert_allclose(searched[is_evaluated], whole[is_evaluated])
    assert is_evaluated.mean() < 0.4
    # Few targets have a second, lower minimum elsewhere.
    assert (searched.argmin(axis=0) == whole.argmin(axis=0)).mean() > 0.97
    assert searched.min(axis=0).mean() < 1.001 * whole.min(axis=0).mean()


def test_choice_of_penalty_equals_sklearn_leave_one_out_up_to_gcv():
    X, Y, rows = _problem(600, 20, 600, seed=5)
    fit = _fit(decompose(_equations(X, rows, 600)), Y, ALPHAS)
    expected = RidgeCV(ALPHAS, alpha_per_target=True).fit(X, Y[rows])
    np.testing.assert_allclose(fit.error, -expected.best_score_, rtol=0.005)
    # Neighbouring penalties may tie within that tolerance.
    assert (np.abs(np.log10(fit.alpha / expected.alpha_)) <= 1).all()
    assert (fit.alpha == expected.alpha_).sum() >= 3


def test_one_penalty_for_all_has_the_least_mean_error():
    X, Y, rows = _problem(90, 15, 30, n_targets=7)
    decomposition = decompose(_equations(X, rows, 30))
    # Noise, whose error counts most unless errors are relative.
    Y[:, 0] = 100 * np.random.default_rng(1).standard_normal(30)
    errors = gcv_errors(decomposition, decomposition.project(Y), ALPHAS)
    fit = _fit(decomposition, Y, ALPHAS, per_target=False, target_block=2)
    best = np.argmin(errors.mean(axis=1))
    assert (fit.alpha == ALPHAS[best]).all()
    np.testing.assert_allclose(fit.error, errors[best])
    variance = np.var(Y[rows], axis=0)
    fit = _fit(decomposition, Y, ALPHAS, per_target=False, relative=True, target_block=2)
    assert (fit.alpha == ALPHAS[np.argmin((errors / variance).mean(axis=1))]).all()
    assert fit.alpha[0] != ALPHAS[best]


def test_given_errors_decide():
    X, Y, rows = _problem(40, 5, 40)
    errors = np.ones((3, 4))
    errors[[0, 1, 2, 0], np.arange(4)] = 0
    decomposition = decompose(_equations(X, rows, 40))
    fit = _fit(decomposition, Y, [1, 10, 100], errors=errors)
    np.testing.assert_array_equal(fit.alpha, [1, 10, 100, 1])
    shared = _fit(decomposition, Y, [1, 10, 100], errors=errors, per_target=False)
    np.testing.assert_array_equal(shared.alpha, [1, 1, 1, 1])


@pytest.mark.parametrize("n", [120, 30])
def test_blocks_of_targets_and_the_order_of_penalties_do_not_matter(n):
    X, Y, rows = _problem(n, 40, 20, n_targets=9)
    decomposition = decompose(_equations(X, rows, 20))
    whole = _fit(decomposition, Y, ALPHAS)
    parts = _fit(decomposition, Y, ALPHAS[::-1], target_block=2)
    np.testing.assert_array_equal(whole.alpha, parts.alpha)
    np.testing.assert_allclose(whole.coef, parts.coef, rtol=1e-10, atol=1e-12)


def test_targets_are_read_by_columns(tmp_path):
    class Columns:
        """Stands for an array on disk: gives columns only, a few at a time."""

        shape, ndim, dtype = (20, 9), 2, np.dtype(np.float32)

        def __getitem__(self, key):
            everything, columns = key
            assert everything == slice(None) and columns.stop - columns.start <= 4
            return Y[:, columns]

    X, Y, rows = _problem(60, 10, 20, n_targets=9)
    decomposition = decompose(_equations(X, rows, 20))
    fit = _fit(decomposition, Columns(), ALPHAS, target_block=4)
    np.testing.assert_allclose(fit.coef, _fit(decomposition, Y, ALPHAS).coef, rtol=1e-10)


@pytest.mark.parametrize(("n", "p"), [(400, 50), (60, 90)])
def test_float32_stays_within_its_precision(n, p):
    X, Y, rows = _problem(n, p, 30, dtype=np.float32)
    X += 100
    single = _fit(decompose(_equations(X, rows, 30)), Y, ALPHAS)
    double = _fit(decompose(_equations(X.astype(np.float64), rows, 30)), Y, ALPHAS)
    assert single.coef.dtype == np.float32
    np.testing.assert_array_equal(single.alpha, double.alpha)
    spread = np.abs(double.coef).max()
    np.testing.assert_allclose(single.coef, double.coef, atol=2e-5 * spread)


@pytest.mark.parametrize("n", [80, 12])
def test_collinear_columns_share_the_weight(n):
    X, Y, rows = _problem(n, 10, 10)
    X = np.hstack([X, X])
    fit = _fit(decompose(_equations(X, rows, 10)), Y, 4.0)
    np.testing.assert_allclose(fit.coef[:, :10], fit.coef[:, 10:], atol=1e-9)
    alone = _fit(decompose(_equations(X[:, :10], rows, 10)), Y, 2.0)
    np.testing.assert_allclose(fit.coef[:, :10] * 2, alone.coef, atol=1e-9)


def test_without_any_varied_column_the_mean_is_predicted():
    X, Y = np.ones((6, 3)), np.arange(12.0).reshape(6, 2)
    for columns in (3, 8):
        X = np.ones((6, columns))
        fit = _fit(decompose(_equations(X, np.arange(6), 6)), Y, ALPHAS)
        assert (fit.coef == 0).all()
        np.testing.assert_allclose(fit.intercept, Y.mean(axis=0))


@pytest.mark.parametrize("alphas", [[0.0, 1.0], [-1.0], [np.nan], [np.inf, 1.0]])
def test_penalties_that_are_not_positive_are_refused(alphas):
    X, Y, rows = _problem(9, 3, 9)
    with pytest.raises(ValueError, match="positive, finite penalties"):
        _fit(decompose(_equations(X, rows, 9)), Y, alphas)
    with pytest.raises(ValueError, match="alphas is empty"):
        _fit(decompose(_equations(X, rows, 9)), Y, [])


def test_targets_that_are_not_finite_are_named():
    X, Y, rows = _problem(9, 3, 9)
    Y[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4 targets hold NaN .* \(columns 3 of y,"):
        _fit(decompose(_equations(X, rows, 9)), Y, 1.0, target_block=2)


def test_one_trial_is_too_few():
    with pytest.raises(ValueError, match="n_samples = 1: ridge needs at least 2 trials"):
        decompose(_equations(np.ones((1, 2)), [0], 1))
