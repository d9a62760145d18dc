import numpy as np
import pytest

from vox2pix.evaluation.transfer import identify_words, word_targets

WORDS = ("dog", "tree", "car", "sea")


def dreams(seed: int, right: float, n: int = 80):
    """Return decoded targets of dreams whose reports are right so often, and words' targets."""
    rng = np.random.default_rng(seed)
    targets = {word: rng.standard_normal(50) for word in WORDS}
    content = rng.integers(0, 4, n)
    is_right = rng.random(n) < right
    told_of = np.where(is_right, content, rng.integers(0, 4, n))
    decoded = np.stack([targets[WORDS[k]] for k in content]) + rng.standard_normal((n, 50))
    return decoded, [(WORDS[k],) for k in told_of], targets


def test_is_the_share_of_pairs_won_in_a_loop() -> None:
    decoded, reports, targets = dreams(0, 0.5, 20)
    reports[3] = ("dog", "tree")
    found = identify_words(decoded, reports, targets, np.zeros(50))
    scores = []
    for row, report in zip(decoded, reports, strict=True):
        r = {word: np.corrcoef(row, target)[0, 1] for word, target in targets.items()}
        pairs = [(own, other) for own in report for other in WORDS if other not in report]
        scores.append(np.mean([r[own] > r[other] for own, other in pairs]))
    np.testing.assert_allclose(found.per_trial, scores)
    assert len(set(scores)) > 2
    assert found.score.value == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("right", [0.0, 0.4, 1.0])
def test_words_identify_at_the_planted_rate(right: float) -> None:
    """A right report wins every pair here, a random one half of them."""
    found = [identify_words(*dreams(seed, right), np.zeros(50)).score for seed in range(3)]
    planted = right + (1 - right) / 2
    assert np.mean([score.value for score in found]) == pytest.approx(planted, abs=0.07)


def test_right_reports_are_significant_and_shuffled_ones_are_not() -> None:
    decoded, reports, targets = dreams(1, 0.7)
    assert identify_words(decoded, reports, targets, np.zeros(50)).p < 0.001
    decoded, reports, targets = dreams(2, 0.0)
    assert identify_words(decoded, reports, targets, np.zeros(50)).p > 0.05


def test_a_word_stands_for_the_stimuli_whose_captions_have_it() -> None:
    rows = np.arange(12.0).reshape(4, 3)
    texts = [("A dog, by a tree.",), ("two cars", "a Dog"), ("a doghouse",), ("a tree",)]
    found = word_targets(rows, texts, ["dog", "tree", "whale", "dog"])
    assert list(found) == ["dog", "tree"]
    np.testing.assert_array_equal(found["dog"], rows[[0, 1]].mean(axis=0))
    np.testing.assert_array_equal(found["tree"], rows[[0, 3]].mean(axis=0))


def test_reports_that_tell_nothing_apart_are_refused() -> None:
    targets = {"dog": np.arange(5.0)}
    with pytest.raises(ValueError, match="identify nothing"):
        identify_words(np.ones((3, 5)), [("dog",)] * 3, targets, np.zeros(5))
    with pytest.raises(ValueError, match="identify nothing"):
        identify_words(np.ones((3, 5)), [("cat",)] * 3, targets, np.zeros(5))
