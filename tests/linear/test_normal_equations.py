import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.linear import check_finite
from vox2pix.linear.normal_equations import NormalEquations, Scaling


def _accumulate(X, rows, n_stimuli, cuts):
    equations = NormalEquations(n_stimuli)
    for block, of_block in zip(np.split(X, cuts), np.split(rows, cuts), strict=True):
        equations.add(block, of_block)
    return equations


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(12, 60),
    p=st.integers(1, 10),
    m=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_blocks_give_the_moments_of_the_whole(seed, n, p, m, cuts):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * 3 + 7
    rows = rng.integers(0, m, n)
    equations = _accumulate(X, rows, m, sorted(min(c, n) for c in cuts))
    offset, scale = rng.standard_normal(p), rng.uniform(0.5, 2, p)
    used = rng.random(p) < 0.8
    Z = ((X - offset) / scale)[:, used]
    P = np.eye(m)[rows]
    np.testing.assert_allclose(equations.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(equations.variance, X.var(axis=0), rtol=1e-10)
    np.testing.assert_array_equal(equations.counts, P.sum(axis=0))
    assert not equations.is_dual
    gram = np.tril(equations.gram(Scaling(offset, scale, used)))
    np.testing.assert_allclose(gram, np.tril(Z.T @ Z), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        equations.sums(np.arange(m), Scaling(offset, scale, used)), P.T @ Z, rtol=1e-9, atol=1e-9
    )


def test_trials_are_stored_while_fewer_than_features():
    rng = np.random.default_rng(0)
    X, rows = rng.standard_normal((9, 8)), np.arange(9) % 4
    equations = _accumulate(X[:8], rows[:8], 4, [3, 5])
    assert equations.is_dual
    np.testing.assert_array_equal(equations.trials()[0], X[:8])
    np.testing.assert_array_equal(equations.trials()[1], rows[:8])
    with pytest.raises(ValueError, match="not formed"):
        equations.gram(Scaling(np.zeros(8), np.ones(8), np.ones(8, bool)))
    equations.add(X[8:], rows[8:])
    assert not equations.is_dual
    with pytest.raises(ValueError, match="summed already"):
        equations.trials()


def test_stored_blocks_do_not_follow_a_reused_buffer():
    buffer = np.ones((2, 5))
    equations = NormalEquations(2)
    equations.add(buffer, [0, 1])
    buffer[:] = 9
    equations.add(buffer, [0, 1])
    np.testing.assert_array_equal(equations.trials()[0][:, 0], [1, 1, 9, 9])


def test_large_means_cost_no_digits():
    rng = np.random.default_rng(2)
    deviations = rng.integers(-8, 9, (500, 3)).astype(np.float64)
    equations = _accumulate(deviations + 2.0**40, np.zeros(500, int), 1, [100, 250])
    np.testing.assert_allclose(equations.variance, deviations.var(axis=0), rtol=1e-12)
    # What the raw moments would have given:
    raw = ((deviations + 2.0**40) ** 2).mean(axis=0) - (deviations + 2.0**40).mean(axis=0) ** 2
    assert not np.allclose(raw, deviations.var(axis=0), rtol=1e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_columns_have_variance_zero_exactly(dtype):
    X = np.random.default_rng(0).standard_normal((700, 3)).astype(dtype)
    X[:, 1] = 0.1
    X[:, 2] = 1e6 + np.arange(700) % 2
    variance = _accumulate(X, np.zeros(700, int), 1, [10]).variance
    assert variance[1] == 0
    np.testing.assert_allclose(variance[2], 0.25, rtol=1e-6)


def test_nonfinite_values_are_named_in_the_rows_of_the_stream():
    X = np.ones((6, 9), np.float32)
    equations = NormalEquations(1)
    equations.add(X, np.zeros(6, int))
    X[1, 2], X[4, 7] = np.nan, -np.inf
    with pytest.raises(
        ValueError,
        match=r"X holds 2 NaN or infinite \(inf\) values, in rows 7, 10 and columns 2, 7 \(counted",
    ):
        equations.add(X, np.zeros(6, int))


def test_check_finite_names_a_few_and_lets_overflowing_sums_pass():
    check_finite("X", np.full((4, 4), 3e38, np.float32))
    bad = np.zeros((3, 9))
    bad[2] = np.nan
    with pytest.raises(ValueError, match="rows 12 and columns 0, 1, 2, 3, 4 and 4 more"):
        check_finite("X", bad, first_row=10)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([0, 1], r"stimuli has shape \(2,\), but X has 3 trials"),
        ([0, 1, 2], r"stimuli\[2\] is 2, but y has 2 rows: rows are counted from 0 to 1"),
        ([0, -1, 1], r"stimuli\[1\] is -1"),
        ([0.0, 1.0, 1.0], "stimuli has dtype float64: give whole numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        NormalEquations(2).add(np.ones((3, 2)), rows)


def test_blocks_that_do_not_fit_are_refused():
    equations = NormalEquations(2)
    equations.add(np.ones((3, 2)), [0, 1, 1])
    equations.add(np.ones((0, 2)), np.zeros(0, int))
    assert equations.n_trials == 3
    with pytest.raises(ValueError, match="has 4 columns, but the first had 2"):
        equations.add(np.ones((1, 4)), [0])
    with pytest.raises(ValueError, match=r"X has shape \(3,\)"):
        equations.add(np.ones(3), [0, 1, 1])
    with pytest.raises(ValueError, match="no target"):
        NormalEquations(0)
