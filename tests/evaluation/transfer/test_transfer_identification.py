from itertools import permutations, product

import numpy as np
import pytest

from vox2pix.evaluation.transfer import (
    identify,
    largest_share,
    pseudo_values,
    similarities,
    trial_curve,
)

SETS = np.array(["A"] * 4 + ["B"] * 4)


def similar(seed: int, signal: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((8, 8)) + signal * np.eye(8)


def loop_score(r: np.ndarray, own: list[int], pools: list[list[int]], way: str) -> float:
    """Score by loops: stimulus i's own decoded target is ``own[i]``."""
    scores = []
    for pool in pools:
        for i in pool:
            others = [r[i, j] for j in pool if j != own[i]]
            if way == "pairwise":
                scores.append(np.mean([r[i, own[i]] > other for other in others]))
            else:
                scores.append(r[i, own[i]] > max(others))
    return float(np.mean(scores))


@pytest.mark.parametrize("seed", [0, 1])
def test_every_way_is_that_of_loops_over_all_arrangements(seed: int) -> None:
    r = similar(seed)
    found = identify(r, SETS)
    assert [(f.way, f.pool, f.fixed) for f in found] == [
        (way, pool, fixed)
        for fixed in ("true", "decoded")
        for pool in ("set", "all")
        for way in ("pairwise", "k-way")
    ]
    for each in found:
        rows = r if each.fixed == "true" else r.T
        pools = [[0, 1, 2, 3], [4, 5, 6, 7]] if each.pool == "set" else [list(range(8))]
        observed = loop_score(rows, list(range(8)), pools, each.way)
        assert each.score.value == pytest.approx(observed)
        null = np.array([
            loop_score(rows, [*a, *(b + 4 for b in second)], pools, each.way)
            for a, second in product(permutations(range(4)), permutations(range(4)))
        ])  # fmt: skip
        assert each.p == pytest.approx(np.mean(null >= observed - 1e-9))
        assert each.shuffled == pytest.approx(null.mean())
        if each.pool == "set":
            assert each.shuffled == pytest.approx(each.chance)
        assert each.score.ci_low <= each.score.value <= each.score.ci_high
        assert each.n_stimuli == 8


def test_one_set_has_no_pool_of_all() -> None:
    assert {each.pool for each in identify(similar(2)[:4, :4], ["A"] * 4)} == {"set"}


def test_one_prediction_for_all_is_at_chance() -> None:
    r = np.repeat(np.random.default_rng(0).random((6, 1)), 6, axis=1)
    for each in identify(r, ["A"] * 6):
        assert each.score.value == pytest.approx(each.chance)
        assert each.p == (1.0 if each.fixed == "true" else pytest.approx(1.0))
    assert largest_share(r) == 1


def test_without_signal_p_is_uniform() -> None:
    p = [identify(similar(seed, 0), SETS)[0].p for seed in range(100)]
    for level in (0.05, 0.2, 0.5):
        hits = np.mean(np.array(p) <= level)
        assert abs(hits - level) < 3 * np.sqrt(level * (1 - level) / 100) + 0.03


@pytest.mark.parametrize(
    ("r", "sets"),
    [(np.ones((5, 6)), SETS[:5]), (np.full((4, 4), np.nan), SETS[:4]), (np.ones((2, 2)), "AB")],
)
def test_what_cannot_be_identified_is_refused(r, sets) -> None:
    with pytest.raises(ValueError, match=r"must be finite|3 stimuli or more"):
        identify(r, list(sets))


def test_similarities_are_correlations_less_the_training_mean() -> None:
    rng = np.random.default_rng(4)
    true, decoded, mean = rng.random((5, 30)), rng.random((7, 30)), 10 * rng.random(30)
    expected = np.corrcoef(true - mean, decoded - mean)[:5, 5:]
    np.testing.assert_allclose(similarities(true, decoded, mean), expected)
    assert np.abs(expected).max() < 1


def test_more_trials_identify_better_and_all_trials_are_their_mean() -> None:
    rng = np.random.default_rng(5)
    true, mean = rng.standard_normal((12, 200)), np.zeros(200)
    sets = ["A"] * 6 + ["B"] * 6
    stimulus = rng.permutation(np.repeat(np.arange(12), 10))
    decoded = true[stimulus] + 9 * rng.standard_normal((120, 200))
    points = trial_curve(true, decoded, stimulus, sets, mean)
    assert [point.n_trials for point in points] == [1, 2, 4, 8]  # 16 there are not
    values = [point.score.value for point in points]
    assert values == sorted(values)
    assert 0.5 < values[0] < 0.9
    whole = trial_curve(true, decoded, stimulus, sets, mean, counts=(10,))
    means = np.stack([decoded[stimulus == s].mean(axis=0) for s in range(12)])
    best = identify(similarities(true, means, mean), sets)[0].score
    assert whole[0].score.value == pytest.approx(best.value)
    own = np.concatenate(pseudo_values(similarities(true, means, mean), sets))
    assert own.mean() == pytest.approx(best.value)


def test_largest_share() -> None:
    r = np.zeros((4, 4))
    r[0, :3] = r[2, 3] = 1
    assert largest_share(r) == 0.75
