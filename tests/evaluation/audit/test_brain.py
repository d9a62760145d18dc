import json

import numpy as np
import pytest

from vox2pix.evaluation.audit import UnanswerableError
from vox2pix.evaluation.audit.brain import (
    ceiling,
    diversity,
    held_out_clusters,
    null_control,
    swap,
    within_clusters,
)


def around(mean: float, n: int = 100, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """Scores with exactly this mean."""
    noise = np.random.default_rng(seed).normal(size=n)
    return mean + spread * (noise - noise.mean()) / noise.std()


@pytest.mark.parametrize(
    ("real", "null", "verdict", "meaning"),
    [
        (0.9, 0.5, "pass", "not above chance"),
        (0.9, 0.45, "pass", "not above chance"),
        (0.9, 0.53, "warn", "slightly above chance"),
        (0.9, 0.6, "fail", "something else tells the images apart"),
        (0.5, 0.5, "fail", "does not come from them"),
        (0.9, 0.9, "fail", "does not come from them"),
    ],
)
def test_a_null_control_belongs_at_chance(
    real: float, null: float, verdict: str, meaning: str
) -> None:
    found = null_control("shuffled", around(real), around(null, seed=1))
    assert (found.verdict, found.name) == (verdict, "shuffled control")
    assert meaning in found.sentence
    assert found.value == pytest.approx(null)
    assert found.ci[0] < null < found.ci[1]
    assert found.references == pytest.approx({"chance": 0.5, "real responses": real})


def test_chance_is_that_of_the_metric() -> None:
    assert null_control("noise", around(0.5), around(0.2, seed=1), chance=0.2).verdict == "pass"
    assert null_control("noise", around(0.5), around(0.3, seed=1), chance=0.2).verdict == "fail"


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.7, "pass"), (0.5, "fail"), (0.4, "fail"), (1.1, "warn")]
)
def test_the_score_is_a_share_of_the_way_to_the_ceiling(score: float, verdict: str) -> None:
    found = ceiling(around(score), around(0.9, seed=1))
    assert found.value == pytest.approx((score - 0.5) / 0.4)
    assert found.ci[0] < found.value < found.ci[1]
    assert found.verdict == verdict


def test_a_ceiling_at_chance_answers_nothing() -> None:
    with pytest.raises(UnanswerableError, match="the generator or the metric is blind"):
        ceiling(around(0.6), around(0.5, seed=1))


@pytest.mark.parametrize(
    ("held_out", "verdict"), [(0.8, "pass"), (0.6, "warn"), (0.5, "fail"), (0.4, "fail")]
)
def test_new_clusters_should_keep_the_score(held_out: float, verdict: str) -> None:
    found = held_out_clusters(around(0.9), around(held_out, seed=1))
    assert (found.verdict, found.value) == (verdict, pytest.approx(held_out))
    assert json.loads(json.dumps(found.record()))["references"]["ordinary training"] > 0.89


def clustered(n: int = 60, d: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return originals in six clusters, the centres of their clusters, and the labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 6
    centres = 3 * rng.normal(size=(6, d))[labels]
    return centres + rng.normal(size=(n, d)), centres, labels


def test_knowing_the_cluster_alone_is_at_chance_within_it() -> None:
    originals, centres, labels = clustered()
    rng = np.random.default_rng(1)
    painted = centres[:, None] + rng.normal(size=(60, 3, 40))
    found = within_clusters(originals, painted, labels)
    assert found.verdict == "fail"
    assert abs(found.value - 0.5) < 0.06
    assert found.references["among all"] > 0.85
    exact = within_clusters(originals, centres, labels)
    assert (exact.verdict, exact.value) == ("fail", pytest.approx(0.5))


def test_decoding_shows_within_clusters() -> None:
    originals, _, labels = clustered()
    drawn = originals + np.random.default_rng(1).normal(size=originals.shape)
    found = within_clusters(originals, drawn, labels)
    assert found.verdict == "pass"
    assert found.value > 0.9
    perfect = within_clusters(originals, originals, labels)
    assert perfect.value == 1


def test_images_alone_in_their_cluster_are_left_out() -> None:
    originals, _, labels = clustered()
    labels[0] = 77
    found = within_clusters(originals, originals, labels)
    assert len(found.details["within_scores"]) == 59
    with pytest.raises(UnanswerableError, match="no two test images share a cluster"):
        within_clusters(originals, originals, np.arange(60))
    with pytest.raises(ValueError, match="60 originals, 60 reconstructions and 59 labels"):
        within_clusters(originals, originals, labels[1:])


def test_diversity_is_the_ratio_of_mean_distances() -> None:
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(20, 30))
    drawn = rng.normal(size=(20, 2, 30)) + 1.5 * rng.normal(size=30)
    off = ~np.eye(20, dtype=bool)

    def distance(rows: np.ndarray) -> float:
        return float(np.mean(1 - np.corrcoef(rows)[off]))

    found = diversity(originals, drawn)
    expected = np.mean([distance(drawn[:, i]) for i in (0, 1)]) / distance(originals)
    assert found.value == pytest.approx(expected)
    assert found.verdict == "pass"


def test_one_image_for_all_is_no_diversity() -> None:
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(20, 30))
    same = np.repeat(originals[:1], 20, axis=0)
    for drawn in (same, same + 0.05 * rng.normal(size=same.shape), np.full_like(same, 0.5)):
        found = diversity(originals, drawn)
        assert found.verdict == "fail"
        assert found.references["twins"] == 1
    assert diversity(originals, same + 0.6 * rng.normal(size=same.shape)).verdict != "fail"
    warned = diversity(originals, same + 0.35 * rng.normal(size=same.shape))
    assert warned.verdict == "warn"
    twins = originals.copy()
    twins[1] = twins[0]
    assert diversity(originals, twins).verdict == "warn"
    with pytest.raises(UnanswerableError, match="originals do not differ"):
        diversity(same, originals)
    with pytest.raises(ValueError, match="not 20 and 19"):
        diversity(originals, originals[1:])


@pytest.mark.parametrize(
    ("layout", "content", "verdict", "meaning"),
    [
        (0.3, 0.2, "pass", "the layout follows its donor and the content follows its donor"),
        (0.3, 0.0, "warn", ": the layout follows its donor."),
        (-0.1, 0.2, "warn", ": the content follows its donor."),
        (-0.3, -0.2, "fail", "neither follows its donor"),
    ],
)
def test_layout_and_content_follow_their_donors(
    layout: float, content: float, verdict: str, meaning: str
) -> None:
    base = around(0.4, seed=1)
    found = swap(base + around(layout), base, base, base + around(content, seed=2))
    assert found.verdict == verdict
    assert meaning in found.sentence
    assert found.value == pytest.approx(min(layout, content))


def test_scores_must_belong_together() -> None:
    with pytest.raises(ValueError, match="the same two or more stimuli"):
        null_control("mean", [0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="finite"):
        held_out_clusters([0.1, np.nan], [0.1, 0.2])
