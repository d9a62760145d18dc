import numpy as np
import pytest

from vox2pix.evaluation.retrieval import retrieval
from vox2pix.seeds import rng_for


def noisy(n: int, d: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n, d))
    return truth, truth + noise * rng.normal(size=(n, d))


def by_loop(queries: np.ndarray, pool: np.ndarray) -> float:
    """Look for each query's partner by cosine similarity."""
    hits = 0
    for i, query in enumerate(queries):
        cosine = [query @ other / np.sqrt(query @ query) / np.sqrt(other @ other) for other in pool]
        hits += int(np.argmax(cosine)) == i
    return hits / len(queries)


def test_is_the_naive_loop_in_both_directions() -> None:
    truth, decoded = noisy(40, 12, 1.5)
    found = retrieval(truth, decoded, n_candidates=15, n_draws=4, seed=3)
    rng = rng_for(3, "retrieval")
    draws = [rng.choice(40, 15, replace=False) for _ in range(4)]
    images = [by_loop(decoded[draw], truth[draw]) for draw in draws]
    brains = [by_loop(truth[draw], decoded[draw]) for draw in draws]
    np.testing.assert_allclose(found.per_draw["image_from_brain"], images)
    np.testing.assert_allclose(found.per_draw["brain_from_image"], brains)
    assert found.image_from_brain == pytest.approx(np.mean(images))
    assert found.brain_from_image == pytest.approx(np.mean(brains))
    assert images != brains
    assert found.chance == 1 / 15


def test_perfect_decoding_is_found_and_scale_does_not_matter() -> None:
    truth, _ = noisy(30, 8, 0)
    found = retrieval(truth, truth * np.arange(1, 31)[:, None], n_candidates=20)
    assert found.image_from_brain == found.brain_from_image == 1


def test_directions_by_hand() -> None:
    truth = np.array([[1.0, 0], [0, 1]])
    decoded = np.array([[1.0, 0.1], [1, 0]])  # both look like original 0, the second more so
    found = retrieval(truth, decoded)
    assert found.image_from_brain == 0.5
    assert found.brain_from_image == 0
    assert found.n_candidates == 2
    assert found.chance == 0.5


def test_one_answer_for_all_is_at_chance_exactly() -> None:
    truth, decoded = noisy(25, 6, 1)
    for same in (np.tile(decoded[0], (25, 1)), np.zeros((25, 6))):
        found = retrieval(truth, same, n_candidates=10)
        assert found.image_from_brain == pytest.approx(0.1)
        assert found.brain_from_image == pytest.approx(0.1)


def test_unrelated_vectors_are_at_chance() -> None:
    rng = np.random.default_rng(1)
    found = retrieval(rng.normal(size=(900, 50)), rng.normal(size=(900, 50)), n_candidates=10)
    assert abs(found.image_from_brain - 0.1) < 0.04
    assert abs(found.brain_from_image - 0.1) < 0.04


def test_seed_decides_the_draws() -> None:
    truth, decoded = noisy(60, 12, 2)
    first = retrieval(truth, decoded, n_candidates=30, seed=1)
    again = retrieval(truth, decoded, n_candidates=30, seed=1)
    other = retrieval(truth, decoded, n_candidates=30, seed=2)
    for direction, accuracies in first.per_draw.items():
        np.testing.assert_array_equal(accuracies, again.per_draw[direction])
        assert not np.array_equal(accuracies, other.per_draw[direction])


def test_refuses_bad_input() -> None:
    truth, decoded = noisy(5, 3, 1)
    with pytest.raises(ValueError, match=r"same shape \(n, d\)"):
        retrieval(truth, decoded[:4])
    with pytest.raises(ValueError, match="at least two stimuli"):
        retrieval(truth[:1], decoded[:1])
    with pytest.raises(ValueError, match="one draw, not 5, 300 and 0"):
        retrieval(truth, decoded, n_draws=0)
    decoded[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        retrieval(truth, decoded)
