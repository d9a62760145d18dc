from itertools import permutations

import numpy as np
import pytest

from evaluation.transfer.imagined import expected, simulate
from vox2pix.evaluation.transfer import (
    Reliability,
    Trials,
    equal_reliability,
    exceeds_p,
    judge,
    ratio_over_sets,
    reliability,
    trials_per_half,
)


def naive(trials: Trials, n_half: int) -> np.ndarray:
    """Correlate two runs' mean patterns stimulus by stimulus, all trials in."""
    assert trials_per_half(trials) == n_half  # no choice of trials is left
    halves = []
    for run in np.unique(trials.run):
        here = trials.run == run
        patterns = trials.patterns[here].astype(float)
        mean = np.stack(
            [patterns[trials.stimulus[here] == s].mean(axis=0) for s in range(trials.n_stimuli)]
        )
        halves.append(mean - mean.mean(axis=0))
    n = trials.n_stimuli
    return np.array([[np.corrcoef(halves[0][i], halves[1][j])[0, 1] for j in range(n)]
                     for i in range(n)])  # fmt: skip


def test_is_the_correlation_of_two_runs() -> None:
    trials = simulate(0)["imagery"][0]
    found = reliability([trials])
    matrix = naive(trials, 8)
    np.testing.assert_allclose(found.correlations[0], matrix, atol=1e-6)
    assert found.mean.value == pytest.approx(np.diag(matrix).mean())
    assert found.n_half == 8
    assert found.across_runs
    null = [np.diag(matrix[:, list(p)]).mean() for p in permutations(range(6))]
    assert found.p == pytest.approx(np.mean(np.array(null) >= np.diag(matrix).mean() - 1e-12))


def test_pseudo_values_leave_a_stimulus_out_from_the_start() -> None:
    trials = simulate(1)["imagery"][0]
    found = reliability([trials])
    whole = np.diag(naive(trials, 8)).mean()
    without = []
    for left in range(6):
        keep = trials.stimulus != left
        stimulus = np.unique(trials.stimulus[keep], return_inverse=True)[1]
        fewer = Trials(trials.patterns[keep], stimulus, trials.run[keep])
        without.append(np.diag(naive(fewer, 8)).mean())
    deviation = 5 * (np.mean(without) - np.array(without))
    np.testing.assert_allclose(found.pseudo_values[0], whole + deviation, atol=1e-6)


def test_one_run_is_split_in_itself_and_offsets_of_runs_do_not_count() -> None:
    tasks = simulate(2)
    vision = reliability(tasks["vision"])
    assert (vision.n_half, vision.across_runs) == (4, False)
    assert vision.mean.value == pytest.approx(expected(1.0), abs=0.06)
    moved = [
        Trials(x.patterns + (100 * (x.run[:, None] % 2)).astype(np.float32), x.stimulus, x.run)
        for x in tasks["imagery"]
    ]
    before, after = reliability(tasks["imagery"]), reliability(moved)
    assert after.mean.value == pytest.approx(before.mean.value, abs=1e-4)


def test_tasks_are_compared_at_the_trials_that_all_have() -> None:
    found = equal_reliability(simulate(3, cue=0.5))
    assert {name: each.n_half for name, each in found.items()} == dict.fromkeys(found, 4)
    assert found["vision"].mean.value > found["imagery"].mean.value > found["cue"].mean.value


def test_halves_that_cannot_be_made_are_refused() -> None:
    vision = simulate(0)["vision"]
    with pytest.raises(ValueError, match="Halves of 5 trials"):
        reliability(vision, 5)
    few = Trials(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), np.zeros(4, int))
    with pytest.raises(ValueError, match="3 stimuli or more"):
        reliability([few])
    with pytest.raises(ValueError, match="there are 0"):
        reliability([])


def verdict_of(seed: int, imagery: float, cue: float):
    tasks = [equal_reliability(simulate(10_000 + 2 * seed + k, imagery, cue)) for k in range(2)]
    regions = ("early", "ventral")
    return judge(
        dict(zip(regions, (each["imagery"] for each in tasks), strict=True)),
        dict(zip(regions, (each["cue"] for each in tasks), strict=True)),
    )


def test_imagery_above_the_cue_is_decodable() -> None:
    verdict = verdict_of(0, 0.9, 0.2)
    assert (verdict.answer, verdict.reason) == ("decodable", "exceeds the cue")
    assert all(region.is_decodable for region in verdict.regions.values())


def test_without_control_nothing_is_claimed() -> None:
    imagery = {"early": equal_reliability(simulate(5))["imagery"]}
    verdict = judge(imagery, None)
    assert (verdict.answer, verdict.reason) == ("open", "no control")
    assert verdict.regions["early"].p_cue is None
    assert not verdict.regions["early"].is_decodable


def test_p_are_corrected_over_regions() -> None:
    tasks = [equal_reliability(simulate(20 + k, 0.35, 0.0)) for k in range(3)]
    names = ["a", "b", "c"]
    imagery, cue = (
        dict(zip(names, (t[what] for t in tasks), strict=True)) for what in ("imagery", "cue")
    )
    verdict = judge(imagery, cue)
    for attribute, p in (
        ("p_signal", [imagery[n].p for n in names]),
        ("p_cue", [exceeds_p(imagery[n].pseudo_values, cue[n].pseudo_values) for n in names]),
    ):
        order, running = np.argsort(p), 0.0
        for rank, i in enumerate(order):
            running = max(running, min(1, (3 - rank) * p[i]))
            assert getattr(verdict.regions[names[i]], attribute) == pytest.approx(running)


def test_other_regions_or_trials_are_refused() -> None:
    found = equal_reliability(simulate(0))
    with pytest.raises(ValueError, match="same regions"):
        judge({"a": found["imagery"]}, {"b": found["cue"]})
    more: Reliability = reliability(simulate(0)["imagery"])
    with pytest.raises(ValueError, match="same trials per half"):
        judge({"a": more}, {"a": found["cue"]})


def binomial_range(rate: float, n: int) -> tuple[float, float]:
    from scipy.stats import binom

    return binom.ppf(0.005, n, rate) / n, binom.ppf(0.995, n, rate) / n


def covered(n_seeds: int) -> float:
    """Return how often the interval of the ratio holds the true one."""
    truth, hits = expected(0.7) / expected(1.0), 0
    for seed in range(n_seeds):
        found = equal_reliability(simulate(seed))
        ratio = ratio_over_sets(found["imagery"].pseudo_values, found["vision"].pseudo_values)
        hits += ratio is not None and ratio.ci_low <= truth <= ratio.ci_high
    return hits / n_seeds


def test_the_ratio_to_vision_is_recovered() -> None:
    assert covered(25) >= binomial_range(0.95, 25)[0]


@pytest.mark.slow
def test_the_ratio_is_covered_at_the_nominal_rate() -> None:
    low, high = binomial_range(0.95, 500)
    assert low <= covered(500) <= high


@pytest.mark.slow
@pytest.mark.parametrize(("imagery", "cue", "reason"), [(0.0, 0.0, "no signal"), (0.0, 0.7, "cue")])
def test_no_signal_and_cue_alone_stay_open(imagery: float, cue: float, reason: str) -> None:
    verdicts = [verdict_of(seed, imagery, cue) for seed in range(500)]
    is_open = np.mean([v.answer == "open" for v in verdicts])
    assert is_open >= binomial_range(0.95, 500)[0]
    assert np.mean([v.reason == reason for v in verdicts]) >= binomial_range(0.95, 500)[0]
