import numpy as np
import pytest

from vox2pix.evaluation import retrieval, retrieval_chance


def noisy(n: int, d: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n, d))
    return truth, truth + noise * rng.normal(size=(n, d))


def by_loop(queries: np.ndarray, pool: np.ndarray, k: int) -> np.ndarray:
    """Look for each query's partner among the k nearest by cosine similarity."""
    hits = []
    for i, query in enumerate(queries):
        cosine = [query @ other / np.sqrt(query @ query) / np.sqrt(other @ other) for other in pool]
        hits.append(i in np.argsort(cosine)[-k:])
    return np.array(hits, float)


@pytest.mark.parametrize("k", [1, 3])
def test_among_all_it_is_the_naive_loop_in_both_directions(k: int) -> None:
    truth, decoded = noisy(40, 12, 1.5)
    found = retrieval(truth, decoded, k)
    np.testing.assert_allclose(found["reconstruction"], by_loop(decoded, truth, k))
    np.testing.assert_allclose(found["original"], by_loop(truth, decoded, k))
    assert not np.array_equal(found["original"], found["reconstruction"])


@pytest.mark.parametrize("k", [1, 3])
def test_among_some_it_is_the_mean_over_random_draws(k: int) -> None:
    truth, decoded = noisy(40, 12, 2)
    rng = np.random.default_rng(5)
    draws = [rng.choice(40, 15, replace=False) for _ in range(3000)]
    drawn = [by_loop(decoded[draw], truth[draw], k).mean() for draw in draws]
    found = retrieval(truth, decoded, k, n_candidates=15)["reconstruction"].mean()
    assert found == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(3000))
    assert found > retrieval(truth, decoded, k)["reconstruction"].mean()


def test_perfect_decoding_is_found_and_scale_does_not_matter() -> None:
    truth, _ = noisy(30, 8, 0)
    found = retrieval(truth, truth * np.arange(1, 31)[:, None], n_candidates=20)
    for scores in found.values():
        np.testing.assert_allclose(scores, 1)


def test_directions_by_hand() -> None:
    truth = np.array([[1.0, 0], [0, 1]])
    decoded = np.array([[1.0, 0.1], [1, 0]])  # both look like original 0, the second more so
    found = retrieval(truth, decoded)
    np.testing.assert_allclose(found["reconstruction"], [1, 0])
    np.testing.assert_allclose(found["original"], [0, 0])


def test_one_answer_for_all_is_at_chance_exactly() -> None:
    truth, decoded = noisy(25, 6, 1)
    for same in (np.tile(decoded[0], (25, 1)), np.zeros((25, 6))):
        for k in (1, 4):
            for scores in retrieval(truth, same, k, n_candidates=10).values():
                assert scores.mean() == pytest.approx(k / 10)


def test_unrelated_vectors_are_at_chance() -> None:
    rng = np.random.default_rng(1)
    found = retrieval(rng.normal(size=(900, 50)), rng.normal(size=(900, 50)), n_candidates=10)
    for scores in found.values():
        assert abs(scores.mean() - 0.1) < 0.04


def test_chance_counts_the_candidates_that_there_are() -> None:
    assert retrieval_chance(1, 1000) == 1 / 300
    assert retrieval_chance(5, 1000, 100) == 0.05
    assert retrieval_chance(5, 8) == 5 / 8
    assert retrieval_chance(5, 3) == 1


def test_refuses_bad_input() -> None:
    truth, decoded = noisy(5, 3, 1)
    with pytest.raises(ValueError, match=r"same shape \(n, d\)"):
        retrieval(truth, decoded[:4])
    with pytest.raises(ValueError, match="at least two stimuli"):
        retrieval(truth[:1], decoded[:1])
    with pytest.raises(ValueError, match="a k of one, not 5, 300 and 0"):
        retrieval(truth, decoded, 0)
    decoded[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        retrieval(truth, decoded)
