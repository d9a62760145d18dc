import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, ttest_1samp

from vox2pix.evaluation.comparison import (
    compare,
    compare_scores,
    holm,
    over_samples,
    pool_records,
    pool_subjects,
    sign_flip_p,
)
from vox2pix.evaluation.records import MetricRecord


@pytest.mark.parametrize("n", [1, 2, 7, 14])
def test_small_samples_are_tested_exactly(n: int) -> None:
    d = np.random.default_rng(n).normal(0.4, 1, n)
    if n == 1:
        assert sign_flip_p(d) == 1
        return
    expected = permutation_test(
        (d, np.zeros(n)),
        lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        alternative="two-sided",
    ).pvalue
    assert sign_flip_p(d) == pytest.approx(expected, abs=1e-12)


def test_signs_by_hand() -> None:
    assert sign_flip_p([1, 1, 1]) == 2 / 8
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1  # the sum is zero but for rounding
    assert sign_flip_p([0.0, 0.0]) == 1


def test_larger_samples_are_drawn_and_agree_with_the_t_test() -> None:
    d = np.random.default_rng(1).normal(0.25, 1, 80)
    assert sign_flip_p(d, 20_000) == pytest.approx(ttest_1samp(d, 0).pvalue, abs=0.006)
    assert sign_flip_p(np.ones(40), 999) == 1 / 1000
    assert sign_flip_p(d, 500, seed=1) == sign_flip_p(d, 500, seed=1)


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(5)
    p = np.array([sign_flip_p(rng.normal(size=10)) for _ in range(400)])
    assert abs(np.mean(p <= 0.05) - 0.05) < 0.033
    assert abs(np.mean(p <= 0.5) - 0.5) < 0.08


def holm_by_loop(p: list[float]) -> list[float]:
    """Reject one after the other; the corrected p is the least level at which each falls."""
    corrected = [0.0] * len(p)
    highest = 0.0
    remaining = sorted(range(len(p)), key=lambda i: p[i])
    while remaining:
        i = remaining[0]
        highest = max(highest, min(1.0, len(remaining) * p[i]))
        corrected[i] = highest
        remaining = remaining[1:]
    return corrected


def test_holm_is_the_loop() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    for seed in range(20):
        p = list(np.random.default_rng(seed).random(6) ** 3)
        np.testing.assert_allclose(holm(p), holm_by_loop(p))
    np.testing.assert_array_equal(holm([0.8, 0.9]), [1, 1])


def test_compares_all_pairs_and_corrects_over_them() -> None:
    rng = np.random.default_rng(0)
    stimuli = rng.normal(size=60)  # shared by all: pairing takes it out
    scores = {
        "z+c": stimuli + 0.3 + 0.2 * rng.normal(size=60),
        "z": stimuli + 0.2 * rng.normal(size=60),
        "c": stimuli + 0.2 * rng.normal(size=60),
    }
    found = {(c.first, c.second): c for c in compare(scores, n_resamples=2000)}
    assert list(found) == [("z+c", "z"), ("z+c", "c"), ("z", "c")]
    better, same = found["z+c", "z"], found["z", "c"]
    assert better.difference == pytest.approx(np.mean(scores["z+c"] - scores["z"]))
    assert 0 < better.ci_low < better.difference < better.ci_high
    assert better.p_holm == pytest.approx(3 * better.p)
    assert better.p_holm < 0.01
    assert same.ci_low < 0 < same.ci_high
    assert same.p_holm >= same.p > 0.05
    (alone,) = compare(scores, [("z+c", "z")], n_resamples=2000)
    assert alone.p_holm == alone.p == better.p


def scores_table(values: dict[tuple[str, str, str], dict[str, float]]) -> pd.DataFrame:
    """Return a table as ``scores.csv`` has it."""
    return pd.DataFrame(
        [
            {"stimulus_id": s, "condition": c, "metric": m, "direction": d, "score": score}
            for (c, m, d), of_stimulus in values.items()
            for s, score in of_stimulus.items()
        ]
    )


def test_tables_are_compared_where_stimuli_conditions_and_metrics_meet() -> None:
    rng = np.random.default_rng(3)
    first, second, third = (
        {f"{i:02d}": float(x) for i, x in enumerate(rng.normal(0.2 * k, 1, 30), start)}
        for k, start in enumerate((0, 5, 3))
    )
    key, alone = ("z", "pixcorr", ""), ("c", "pixcorr", "")
    other = {name: score**2 for name, score in first.items()}
    tables = [
        scores_table({alone: first, key: first, ("z", "ssim", ""): other}),
        scores_table({key: dict(reversed(second.items())), ("z", "ssim", ""): second}),
        scores_table({key: third, ("z", "ssim", ""): third}),
    ]
    rows = compare_scores(tables, n_resamples=500)
    assert [(r.condition, r.metric) for r in rows] == [("z", "pixcorr"), ("z", "ssim")]
    shared = [name for name in first if name in second and name in third]
    expected = compare(
        {str(k): [of[name] for name in shared] for k, of in enumerate((first, second, third))},
        [("1", "0"), ("2", "0")],
        n_resamples=500,
    )
    assert rows[0].means == pytest.approx([np.mean([t[s] for s in shared])
                                           for t in (first, second, third)])  # fmt: skip
    for found, one in zip(rows[0].comparisons, expected, strict=True):
        assert found.difference == pytest.approx(one.difference)
        assert (found.ci_low, found.p, found.n_stimuli) == (one.ci_low, one.p, len(shared))
    corrected = [each.p_holm for row in rows for each in row.comparisons]
    np.testing.assert_array_equal(
        corrected, holm([each.p for row in rows for each in row.comparisons])
    )
    assert compare_scores([tables[0], scores_table({alone: {"x": 1.0}})]) == []


def test_comparison_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="needs the same stimuli in both"):
        compare({"a": [1.0, 2, 3], "b": [1.0, 2]})
    with pytest.raises(ValueError, match="no scores of 'x', only of a, b"):
        compare({"a": [1.0, 2], "b": [1.0, 2]}, [("a", "x")])
    with pytest.raises(ValueError, match="finite"):
        compare({"a": [1.0, np.nan], "b": [1.0, 2]})


def test_mean_and_best_are_both_named() -> None:
    scores = [[1.0, 2, 6], [0, 0, 3]]
    joined = over_samples(scores)
    assert list(joined) == ["mean of 3", "best of 3"]
    np.testing.assert_array_equal(joined["mean of 3"], [3, 1])
    np.testing.assert_array_equal(joined["best of 3"], [6, 3])
    np.testing.assert_array_equal(over_samples(scores, False)["best of 3"], [1, 0])
    with pytest.raises(ValueError, match="shape"):
        over_samples([1.0, 2])


def test_subjects_are_pooled_by_their_means() -> None:
    scores = {"subj01": [1.0, 3], "subj02": [5.0, 5, 5, 5], "subj05": [0.0, 2]}
    pooled = pool_subjects(scores)
    assert pooled.subject_means == {"subj01": 2, "subj02": 5, "subj05": 1}
    expected = ttest_1samp([2, 5, 1], 0).confidence_interval(0.95)
    assert (pooled.ci_low, pooled.ci_high) == pytest.approx((expected.low, expected.high))
    assert pooled.mean == pytest.approx(8 / 3)


def test_the_populations_mean_is_covered_where_naive_pooling_fails() -> None:
    rng = np.random.default_rng(0)
    covered, naive = 0, 0
    for _ in range(600):
        subjects = 0.5 * rng.normal(size=4)
        scores = {str(k): subjects[k] + rng.normal(size=100) for k in range(4)}
        pooled = pool_subjects(scores)
        covered += pooled.ci_low <= 0 <= pooled.ci_high
        together = np.concatenate(list(scores.values()))
        naive += abs(together.mean()) <= 1.96 * together.std(ddof=1) / np.sqrt(len(together))
    assert 0.93 < covered / 600 < 0.975
    assert naive / 600 < 0.6


def test_pooling_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="at least two subjects, not 1"):
        pool_subjects({"subj01": [1.0, 2]})
    with pytest.raises(ValueError, match="finite"):
        pool_subjects({"subj01": [1.0, np.nan], "subj02": [1.0]})
    with pytest.raises(ValueError, match="between 0 and 1, not 95"):
        pool_subjects({"a": [1.0], "b": [2.0]}, 95)


def test_records_are_pooled_where_all_subjects_have_them() -> None:
    def record(subject: str, value: float, n: int, **other: object) -> MetricRecord:
        given = {"condition": "z", "metric": "pixcorr", "direction": None, "protocol": "default"}
        given |= {"samples": "mean of 2", "ci_low": value, "ci_high": value, "chance": value / 2}
        return MetricRecord(**given | {"subject": subject, "value": value, "n_stimuli": n} | other)

    values = {"subj01": 0.2, "subj02": 0.5, "subj05": 0.4}
    subjects = {name: [record(name, value, 90)] for name, value in values.items()}
    subjects["subj01"].insert(0, record("subj01", 0.9, 90, samples="best of 2"))
    subjects["subj05"][0] = record("subj05", 0.4, 80)
    (found,) = pool_records(subjects)
    expected = ttest_1samp(list(values.values()), 0).confidence_interval()
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(1.1 / 3)
    assert found.chance == pytest.approx(1.1 / 6)
    assert (found.subject, found.n_stimuli) == ("subj01+subj02+subj05", 80)
    assert found.samples == "mean of 2"
