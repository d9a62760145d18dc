from math import comb

import numpy as np
import pytest
from scipy.stats import beta, bootstrap, t

from vox2pix.evaluation import bootstrap_interval, intervals
from vox2pix.evaluation.intervals import joint_interval, mean_interval, rate_interval


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
        ([1.0, 2.0], {"level": 95}, "between 0 and 1, not 95"),
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


def test_the_mean_of_even_tailed_scores_has_students_interval() -> None:
    values = np.arange(10.0)  # kurtosis 1.78: n / 0.78 is more than n - 1
    half = t.ppf(0.95, 9) * values.std(ddof=1) / np.sqrt(10)
    assert mean_interval(values, 0.9) == pytest.approx((4.5 - half, 4.5 + half))


def test_heavy_tails_leave_fewer_degrees_of_freedom() -> None:
    values = np.array([0.0] * 18 + [1.0, 6.0])
    kurtosis = np.mean((values - 0.35) ** 4) / np.var(values) ** 2
    half = t.ppf(0.975, max(2, 20 / (kurtosis - 1))) * values.std(ddof=1) / np.sqrt(20)
    assert mean_interval(values) == pytest.approx((0.35 - half, 0.35 + half))


@pytest.mark.parametrize("n", [2, 20, 300])
def test_where_all_won_or_lost_it_is_that_of_one_more_failure(n: int) -> None:
    low, high = rate_interval(np.ones(n))
    assert high == 1
    if n > 2:  # Clopper & Pearson's exact end, from n independent trials
        assert low == pytest.approx(0.025 ** (1 / n), abs=0.02)
    assert rate_interval(np.zeros(n)) == pytest.approx((0, 1 - low))


@pytest.mark.parametrize(("n", "hits"), [(2, 1), (20, 1), (20, 10), (60, 35), (300, 290)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_hits_and_misses_have_the_binomial_interval_with_mid_p(n, hits, level) -> None:
    found = rate_interval(np.repeat([1.0, 0.0], [hits, n - hits]), level)
    rates = np.linspace(0, 1, 20_001)
    chance = np.stack([comb(n, k) * rates**k * (1 - rates) ** (n - k) for k in range(n + 1)], 1)
    farther_up = chance[:, hits + 1 :].sum(axis=1) + chance[:, hits] / 2
    inside = rates[(farther_up > (1 - level) / 2) & (farther_up < (1 + level) / 2)]
    assert found == pytest.approx((inside[0], inside[-1]), abs=1e-4)


@pytest.mark.parametrize("failed", [1, 2, 4])
def test_few_large_failures_reach_farther_than_their_number_says(failed: int) -> None:
    scores = np.repeat([0.01, 1.0], [failed, 40 - failed])
    low, high = rate_interval(scores)
    exact = 1 - beta.ppf(0.975, failed + 1, 40 - failed)
    assert exact - 0.12 < low < exact + 0.001
    assert scores.mean() < high < 1


def test_rates_above_and_below_one_half_mirror_each_other() -> None:
    values = np.random.default_rng(0).beta(8, 1, 30)
    low, high = rate_interval(values)
    assert rate_interval(1 - values) == pytest.approx((1 - high, 1 - low))
    assert 0 < low < values.mean() < high < 1


def test_equal_pseudo_values_between_are_sure() -> None:
    assert rate_interval(np.full(8, 0.5)) == (0.5, 0.5)  # one image for all: ties throughout


@pytest.mark.parametrize("interval", [mean_interval, rate_interval])
@pytest.mark.parametrize(
    ("values", "level", "sentence"),
    [
        ([1.0], 0.95, "at least two values"),
        ([[1.0, 2.0]], 0.95, r"not the shape \(1, 2\)"),
        ([1.0, np.nan], 0.95, "finite values"),
        ([1.0, 2.0], 95, "between 0 and 1, not 95"),
    ],
)
def test_both_refuse_bad_input(interval, values: list, level: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        interval(values, level)
