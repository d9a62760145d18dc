"""Streamed principal components against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from vox2pix.store import ShardedArray, load_arrays
from vox2pix.targets import _reduction as reduction
from vox2pix.targets import fit_pca, reduced


def correlated(n, p, seed=0, rank=None):
    """Return float32 rows with falling variances, far from zero."""
    rng = np.random.default_rng(seed)
    rank = rank or min(n, p)
    weights = rng.standard_normal((rank, p)) * np.linspace(3, 0.5, rank)[:, None]
    return (rng.standard_normal((n, rank)) @ weights + 10).astype(np.float32)


def blocks_of(rows, size=7):
    return lambda: (rows[start : start + size] for start in range(0, len(rows), size))


def fit(rows, k, **options):
    return fit_pca(blocks_of(rows), *rows.shape, k, **options)


@pytest.mark.parametrize(("n", "p"), [(60, 20), (25, 80), (40, 40)])
def test_components_are_those_of_scikit_learn(n, p):
    rows = correlated(n, p)
    ours, theirs = fit(rows, 8), PCA(8, svd_solver="full").fit(rows.astype(np.float64))
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.components, theirs.components_, atol=1e-5)
    np.testing.assert_allclose(ours.explained_variance, theirs.explained_variance_, rtol=1e-6)
    ratio = theirs.explained_variance_ratio_
    np.testing.assert_allclose(ours.explained_variance_ratio, ratio, rtol=1e-6)
    new = correlated(5, p, seed=1)
    np.testing.assert_allclose(ours.transform(new), theirs.transform(new), rtol=1e-4, atol=1e-3)
    assert ours.transform(new).dtype == ours.components.dtype == np.float32


@pytest.mark.parametrize(("n", "p"), [(150, 90), (90, 150)])
def test_the_randomised_way_finds_the_exact_leading_space(n, p):
    rng = np.random.default_rng(0)
    # a spectrum that falls slowly, as of activations, over a basis of its own
    scale = 1 / np.arange(1, p + 1) ** 0.7
    rows = (rng.standard_normal((n, p)) * scale) @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    rows = rows.astype(np.float32)
    exact, fast = fit(rows, 12), fit(rows, 12, largest_gram=50)
    np.testing.assert_allclose(fast.explained_variance, exact.explained_variance, rtol=1e-2)
    np.testing.assert_allclose(fast.explained_variance[:6], exact.explained_variance[:6], rtol=1e-4)
    np.testing.assert_allclose(fast.components[:4], exact.components[:4], atol=0.02)
    cosines = np.linalg.svd(fast.components[:10] @ exact.components.T, compute_uv=False)
    assert cosines.min() > 0.99
    np.testing.assert_array_equal(fit(rows, 12, largest_gram=50).components, fast.components)
    other = fit(rows, 12, largest_gram=50, seed=1)
    assert not np.array_equal(other.components, fast.components)


def test_rows_held_in_several_parts_give_the_same_components(monkeypatch):
    rows = correlated(25, 80)
    whole = fit(rows, 6)
    monkeypatch.setattr(reduction, "_HELD_BYTES", 8 * 80 * 9)
    np.testing.assert_allclose(fit(rows, 6).components, whole.components, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(3, 20),
    p=st.integers(1, 20),
    k=st.integers(1, 25),
    size=st.integers(1, 9),
    largest_gram=st.sampled_from([2, 100]),
)
def test_any_shape_gives_orthonormal_directions_and_scores_without_correlation(
    n, p, k, size, largest_gram
):
    rows = np.random.default_rng([n, p]).standard_normal((n, p)).astype(np.float32)
    found = fit_pca(blocks_of(rows, size), n, p, k, largest_gram=largest_gram)
    expected = min(k, n - 1, p)
    assert found.components.shape == (expected, p)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(expected), atol=1e-4)
    scores = found.transform(rows)
    covariance = np.cov(scores, rowvar=False).reshape(expected, expected)
    np.testing.assert_allclose(covariance, np.diag(found.explained_variance), atol=1e-3)
    assert (np.diff(found.explained_variance) <= 0).all()
    assert found.explained_variance_ratio.sum() <= 1 + 1e-6
    if k >= min(n - 1, p):
        np.testing.assert_allclose(found.inverse_transform(scores), rows, atol=1e-4)
        assert found.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_directions_without_variance_are_left_out(shape):
    assert fit(correlated(*shape, rank=1), 10).explained_variance_ratio[0] > 1 - 1e-6
    rows = np.zeros(shape, np.float32)
    rows[::2, 1], rows[::3, 4] = 3, 5
    assert fit(rows, 10).components.shape == (2, shape[1])


def test_what_cannot_be_reduced_is_said():
    rows = correlated(10, 4)
    with pytest.raises(ValueError, match="hold 10 rows, not 11"):
        fit_pca(blocks_of(rows), 11, 4, 2)
    with pytest.raises(ValueError, match=r"shape \(7, 4\), not \(n, 5\)"):
        fit_pca(blocks_of(rows), 10, 5, 2)
    with pytest.raises(ValueError, match="0 components of 10 rows"):
        fit(rows, 0)
    with pytest.raises(ValueError, match="two rows or more"):
        fit(rows[:1], 1)
    with pytest.raises(ValueError, match="all alike"):
        fit(np.full((9, 4), 0.1), 2)
    rows[8, 3] = np.nan
    with pytest.raises(ValueError, match="in rows 8 and columns 3"):
        fit(rows, 2)


@pytest.fixture
def stored(tmp_path):
    """Twenty-three rows of 30 features in shards of 5, the first 15 and the last for training."""
    rows = correlated(23, 30)
    array = ShardedArray(tmp_path / "rows", rows.shape, np.float32, 5)
    for shard in range(array.n_shards):
        array.write(shard, rows[array.rows(shard)])
    train = np.arange(23) < 15
    train[-1] = True
    return array, rows, train


def test_scores_are_of_all_rows_on_components_of_the_training_rows(stored, tmp_path):
    array, rows, train = stored
    told = []
    scores, found = reduced(array, train, tmp_path / "out", n_components=6, progress=told.append)
    theirs = PCA(6, svd_solver="full").fit(rows[train].astype(np.float64))
    np.testing.assert_allclose(scores.read(), theirs.transform(rows), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.explained_variance, theirs.explained_variance_, rtol=1e-5)
    assert sum(told) == 23
    same, _ = reduced(rows, train, tmp_path / "out", n_components=6, shard_size=9)
    np.testing.assert_allclose(same.read(), scores.read(), rtol=1e-4, atol=1e-4)


def test_what_is_reduced_already_is_not_done_again(stored, tmp_path, monkeypatch):
    array, _, train = stored

    def stop(done, shards=[]):  # noqa: B006
        shards.append(done)
        if len(shards) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reduced(array, train, tmp_path / "out", n_components=6, progress=stop)
    monkeypatch.setattr(reduction, "fit_pca", None)  # a second fit would fail
    scores, found = reduced(array, train, tmp_path / "out", n_components=6)
    assert scores.pending() == []
    monkeypatch.undo()
    fresh, again = reduced(array, train, tmp_path / "other", n_components=6)
    np.testing.assert_array_equal(fresh.read(), scores.read())
    np.testing.assert_array_equal(again.components, found.components)
    [path] = (tmp_path / "out").rglob("pca.safetensors")
    assert load_arrays(path)["components"].shape == (6, 30)


def test_what_is_reduced_already_is_opened_without_reading_the_features(
    stored, tmp_path, monkeypatch
):
    array, _, train = stored
    scores, _ = reduced(array, train, tmp_path / "out", n_components=6)

    def refuse(shard=None):
        raise AssertionError("features were read")

    monkeypatch.setattr(array, "read", refuse)
    again, _ = reduced(array, train, tmp_path / "out", n_components=6)
    np.testing.assert_array_equal(again.read(), scores.read())


def test_other_values_or_training_rows_are_another_reduction(stored, tmp_path):
    array, rows, train = stored
    scores, _ = reduced(array, train, tmp_path / "out", n_components=6)
    others, _ = reduced(array, ~train, tmp_path / "out", n_components=6)
    assert abs(others.read() - scores.read()).max() > 0.1
    array.write(0, rows[:5] + 1)
    changed, _ = reduced(array, train, tmp_path / "out", n_components=6)
    assert abs(changed.read() - scores.read()).max() > 0.1


def test_a_space_that_is_small_enough_passes_through(stored, tmp_path):
    array, rows, train = stored
    scores, found = reduced(array, train, tmp_path / "out", n_components=30)
    assert scores is array
    assert found is None
    images = rows.reshape(23, 5, 6)
    scores, found = reduced(images, train, tmp_path / "out", n_components=30)
    assert found is None
    np.testing.assert_array_equal(scores.read(), rows)


def test_training_rows_must_be_marked_one_by_one(stored, tmp_path):
    array, _, train = stored
    with pytest.raises(ValueError, match=r"train must be 23 truth values, not bool \(22,\)"):
        reduced(array, train[1:], tmp_path)
    with pytest.raises(ValueError, match="truth values, not int64"):
        reduced(array, np.arange(23), tmp_path)
