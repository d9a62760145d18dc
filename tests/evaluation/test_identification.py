import numpy as np
import pytest

from vox2pix.evaluation import two_way, two_way_jackknife, two_way_scores
from vox2pix.evaluation.metrics import identification
from vox2pix.evaluation.metrics.identification import DIRECTIONS, Direction, unit_rows


def by_double_loop(truth: np.ndarray, drawn: np.ndarray, direction: str) -> np.ndarray:
    n = len(truth)
    scores = np.zeros(n)
    for i in range(n):
        own = np.corrcoef(truth[i], drawn[i])[0, 1]
        for j in range(n):
            if j != i:
                pair = (truth[i], drawn[j]) if direction == "original" else (truth[j], drawn[i])
                other = np.corrcoef(*pair)[0, 1]
                scores[i] += 1.0 if own > other else 0.5 if own == other else 0.0
    return scores / (n - 1)


def noisy(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, d))
    return truth, truth + 3 * rng.normal(size=(n, d))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(2, 5), (3, 2), (40, 30)])
def test_is_the_double_loop(direction: Direction, dtype: type, n: int, d: int) -> None:
    truth, drawn = (a.astype(dtype) for a in noisy(n, d))
    expected = by_double_loop(truth.astype(float), drawn.astype(float), direction)
    # Two features correlate by 1 or -1 only: ties, which numpy's rounding hides from the loop.
    if d > 2:
        np.testing.assert_allclose(two_way(truth, drawn, direction), expected, atol=1e-12)
    rounded = np.round(np.corrcoef(truth, drawn)[:n, n:], 9)
    rounded = rounded if direction == "original" else rounded.T
    own = np.diag(rounded)[:, None]
    by_rank = ((own > rounded) + 0.5 * (own == rounded)).sum(axis=1) - 0.5
    np.testing.assert_allclose(two_way(truth, drawn, direction), by_rank / (n - 1), atol=1e-12)


def test_the_two_directions_by_hand() -> None:
    # Reconstruction 0 is right. Reconstruction 1 looks like original 0, more so than its own.
    truth = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    drawn = np.array([[1.0, 0, 0, 0], [0.9, 0.2, 0, 0], [0, 0, 1, 0]])
    # Original 1 is nearest to its own reconstruction (it is in no other) ...
    np.testing.assert_allclose(two_way(truth, drawn, "original"), [1, 1, 1])
    # ... but reconstruction 1 is nearer to original 0 than to original 1.
    np.testing.assert_allclose(two_way(truth, drawn, "reconstruction"), [1, 0.5, 1])


def test_permutations_by_hand() -> None:
    truth = np.eye(4)  # every two originals correlate alike, by -1/3
    np.testing.assert_allclose(two_way(truth, truth), 1)
    # A cyclic shift: each loses to the one that took its place and ties with the other two.
    shifted = truth[[1, 2, 3, 0]]
    for direction in DIRECTIONS:
        np.testing.assert_allclose(two_way(truth, shifted, direction), 1 / 3)
    # A swap of two leaves the others right.
    swapped = truth[[1, 0, 2, 3]]
    for direction in DIRECTIONS:
        np.testing.assert_allclose(two_way(truth, swapped, direction), [1 / 3, 1 / 3, 1, 1])


def test_two_stimuli_exchanged_are_both_wrong() -> None:
    truth = np.array([[1.0, 0, 0], [0, 1, 0]])
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(two_way(truth, truth, direction), [1, 1])
        np.testing.assert_array_equal(two_way(truth, truth[::-1], direction), [0, 0])


@pytest.mark.parametrize("n", [2, 7, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_image_for_all_ties_with_itself(n: int, dtype: type) -> None:
    truth, drawn = noisy(n, 101)
    same = np.repeat(drawn[:1], n, axis=0).astype(dtype)
    np.testing.assert_array_equal(two_way(truth, same, "original"), 0.5)
    np.testing.assert_allclose(two_way(truth, same, "reconstruction").mean(), 0.5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_constant_features_correlate_by_zero(value: float) -> None:
    truth, drawn = noisy(10, 7)
    drawn[:] = value
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(two_way(truth, drawn, direction), 0.5)


def test_chance_is_one_half() -> None:
    truth, _ = noisy(200, 20, seed=1)
    _, other = noisy(200, 20, seed=2)
    for scores in two_way_scores(truth, other).values():
        assert abs(scores.mean() - 0.5) < 0.06


def test_samples_are_scored_one_by_one_and_averaged() -> None:
    truth, first = noisy(12, 9, seed=1)
    second = noisy(12, 9, seed=1)[0] + np.random.default_rng(5).normal(size=(12, 9))
    both = np.stack([first, second], axis=1)
    for direction in DIRECTIONS:
        expected = (two_way(truth, first, direction) + two_way(truth, second, direction)) / 2
        np.testing.assert_allclose(two_way(truth, both, direction), expected)


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, drawn = noisy(23, 11)
    whole = two_way_scores(truth, drawn)
    monkeypatch.setattr(identification, "_BLOCK", 5)
    for direction, scores in two_way_scores(truth, drawn).items():
        np.testing.assert_array_equal(scores, whole[direction])


@pytest.mark.parametrize("scale", [1e-160, 1e150])
def test_units_of_the_features_do_not_matter(scale: float) -> None:
    truth, drawn = noisy(8, 6)
    np.testing.assert_allclose(unit_rows(truth * scale), unit_rows(truth), atol=1e-12)
    np.testing.assert_array_equal(two_way(truth * scale, drawn), two_way(truth, drawn))


def test_refuses_bad_input() -> None:
    truth, drawn = noisy(4, 3)
    with pytest.raises(ValueError, match="at least two stimuli, not 1"):
        two_way(truth[:1], drawn[:1])
    with pytest.raises(ValueError, match="differ in the number of stimuli or of features"):
        two_way(truth, drawn[:3])
    with pytest.raises(ValueError, match="differ in the number of stimuli or of features"):
        two_way(truth, drawn[:, :2])
    with pytest.raises(ValueError, match=r"must have the shapes \(n, d\)"):
        two_way(truth[0], drawn)
    with pytest.raises(ValueError, match="one of original, reconstruction, not 'both'"):
        two_way(truth, drawn, "both")  # type: ignore[arg-type]
    drawn[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"reconstructions hold NaN .* stimulus 2 \(from 0\)"):
        two_way(truth, drawn)


@pytest.mark.parametrize("n_fixed", [0, 1, 5, 12])
def test_a_permutation_scores_what_theory_says(n_fixed: int) -> None:
    # Of originals that all correlate alike, one that lost its place loses to the image of
    # itself and ties with the other n - 2.
    n = 12
    order = np.arange(n)
    order[n_fixed:] = np.roll(order[n_fixed:], 1)
    drawn = np.eye(n)[order]
    expected = np.where(order == np.arange(n), 1, (n - 2) / 2 / (n - 1))
    for scores in two_way_scores(np.eye(n), drawn).values():
        np.testing.assert_allclose(scores, expected)


def test_float32_products_decide_as_float64_does() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(300, 500)).astype(np.float32) + 20
    drawn = truth[:, None] + 30 * rng.normal(size=(300, 2, 500)).astype(np.float32)
    for direction in DIRECTIONS:
        expected = []
        for sample in range(2):
            r = np.corrcoef(truth.astype(float), drawn[:, sample].astype(float))[:300, 300:]
            r = r if direction == "original" else r.T
            expected.append((np.diag(r)[:, None] > r).sum(axis=1) / 299)
        scores = two_way(truth, drawn, direction)
        np.testing.assert_allclose(scores, np.mean(expected, axis=0), atol=1e-6)


@pytest.mark.parametrize("few", [0, 10_000])
@pytest.mark.parametrize(("lead", "score"), [(1e-8, 1), (-1e-8, 0), (1e-11, 0.5)])
def test_near_ties_are_those_of_float64(
    few: int, lead: float, score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each reconstruction holds all originals alike but for its own, which leads or trails by less
    # than float32 resolves.
    monkeypatch.setattr(identification, "_FEW", few)
    n = 20
    rows = np.random.default_rng(0).normal(size=(n, 400))
    truth = np.linalg.qr((rows - rows.mean(axis=1, keepdims=True)).T)[0].T
    drawn = truth.sum(axis=0) + lead * np.sqrt(n) * truth
    for scores in two_way_scores(truth, drawn).values():
        np.testing.assert_allclose(scores, score)


def test_pairs_and_whole_blocks_settle_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (60, 8)).astype(np.float32)  # ties abound
    drawn = rng.integers(0, 2, (60, 8)).astype(np.float32)
    by_pairs = two_way_scores(truth, drawn)
    monkeypatch.setattr(identification, "_FEW", -1)
    by_blocks = two_way_scores(truth, drawn)
    r = np.round(unit_rows(truth) @ unit_rows(drawn).T, 9)
    for direction, table in (("original", r), ("reconstruction", r.T)):
        own = np.diag(table)[:, None]
        by_rank = ((own > table) + 0.5 * (own == table)).sum(axis=1) - 0.5
        for scores in (by_pairs, by_blocks):
            np.testing.assert_allclose(scores[direction], by_rank / 59, atol=1e-12)


@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_pseudo_values_are_those_of_leaving_each_stimulus_out(
    direction: Direction, n_samples: int
) -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=(9, 6))
    drawn = truth[:, None] + 1.5 * rng.normal(size=(9, n_samples, 6))
    drawn[3] = drawn[5]  # ties
    scores, pseudo = two_way_jackknife(truth, drawn)[direction]
    np.testing.assert_array_equal(scores, two_way(truth, drawn, direction))
    whole = two_way(truth, drawn, direction).mean()
    for i in range(9):
        rest = np.arange(9) != i
        without = two_way(truth[rest], drawn[rest], direction).mean()
        assert pseudo[i] == pytest.approx(9 * whole - 8 * without)
    assert pseudo.mean() == pytest.approx(whole)


def test_pseudo_values_of_two_stimuli_are_their_scores() -> None:
    scores, pseudo = two_way_jackknife(np.eye(2), np.eye(2)[::-1])["original"]
    np.testing.assert_array_equal(scores, pseudo)
