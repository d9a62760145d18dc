import numpy as np
import pytest
from scipy.stats import bootstrap

from vox2pix.evaluation import bootstrap_interval, intervals
from vox2pix.evaluation.intervals import joint_interval


@pytest.mark.parametrize("statistic", [np.mean, np.median])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_is_scipys_percentile_interval(statistic, level: float) -> None:
    values = np.random.default_rng(1).exponential(size=60)
    expected = bootstrap(
        (values,),
        statistic,
        n_resamples=6000,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    low, high = bootstrap_interval(values, statistic, n_resamples=6000, level=level, seed=4)
    width = expected.high - expected.low
    assert abs(low - expected.low) < 0.06 * width
    assert abs(high - expected.high) < 0.06 * width


def test_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(size=50), n_resamples=300, level=0.8, seed=seed)
        hits += low <= 0 <= high
    assert 0.7 < hits / 200 < 0.88


def test_seed_decides() -> None:
    values = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_equal_values_leave_no_doubt() -> None:
    assert bootstrap_interval(np.full(5, 0.75)) == (0.75, 0.75)


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=30)
    whole = bootstrap_interval(values, n_resamples=100)
    monkeypatch.setattr(intervals, "_BLOCK", 210)
    assert bootstrap_interval(values, n_resamples=100) == whole


@pytest.mark.parametrize(
    ("values", "settings", "sentence"),
    [
        ([1.0], {}, "at least two values"),
        ([[1.0, 2.0]], {}, r"not the shape \(1, 2\)"),
        ([1.0, np.nan], {}, "finite values"),
        ([1.0, 2.0], {"level": 95}, "between 0 and 1, not at 95"),
        ([1.0, 2.0], {"n_resamples": 0}, "at least one resample, not 0"),
    ],
)
def test_refuses_bad_input(values: list, settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bootstrap_interval(values, **settings)


def test_joint_draws_keep_the_scores_of_a_stimulus_together() -> None:
    a = np.random.default_rng(0).normal(size=40)
    b = a + 0.1 * np.random.default_rng(1).normal(size=40)
    expected = bootstrap_interval(a - b, seed=3)
    found = joint_interval(lambda x, y: x.mean(axis=1) - y.mean(axis=1), a, b, seed=3)
    assert found == pytest.approx(expected)


def test_the_interval_of_a_ratio_is_scipys() -> None:
    rng = np.random.default_rng(2)
    a = rng.normal(1, 0.5, 50)
    b = a + rng.normal(1, 0.5, 50)
    expected = bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis) / y.mean(axis),
        paired=True,
        n_resamples=6000,
        method="percentile",
        rng=np.random.default_rng(9),
    ).confidence_interval
    found = joint_interval(lambda x, y: x.mean(1) / y.mean(1), a, b, n_resamples=6000)
    assert found == pytest.approx((expected.low, expected.high), abs=0.01)


def test_joint_interval_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        joint_interval(np.add, [1.0, 2], [1.0, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        joint_interval(np.add, [1.0, 2], [1.0, np.nan])
