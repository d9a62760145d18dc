from itertools import permutations, product

import numpy as np
import pytest

from vox2pix.evaluation.transfer import label_permutations, null_sums, permutation_p


def test_all_720_arrangements_of_six_labels_the_true_one_first() -> None:
    arranged = label_permutations(6)
    assert arranged.shape == (720, 6)
    assert (arranged[0] == np.arange(6)).all()
    assert {tuple(row) for row in arranged.tolist()} == set(permutations(range(6)))


def test_more_than_seven_labels_are_drawn() -> None:
    arranged = label_permutations(10)
    assert arranged.shape == (10_000, 10)
    assert (arranged[0] == np.arange(10)).all()
    assert (np.sort(arranged, axis=1) == np.arange(10)).all()
    assert len(np.unique(arranged, axis=0)) > 9_900


def test_null_sums_are_those_of_a_loop() -> None:
    weights = np.random.default_rng(0).random((4, 4))
    loop = [sum(weights[i, p[i]] for i in range(4)) for p in permutations(range(4))]
    np.testing.assert_allclose(null_sums(weights), loop)


def test_p_over_sets_counts_every_combination() -> None:
    rng = np.random.default_rng(1)
    sets = [rng.random((3, 3)) + 0.3 * np.eye(3), rng.random((4, 4)), rng.random((3, 3))]
    observed = sum(np.trace(w) for w in sets)
    null = [
        sum(w[np.arange(len(w)), list(p)].sum() for w, p in zip(sets, arrangement, strict=True))
        for arrangement in product(*(permutations(range(len(w))) for w in sets))
    ]
    expected = np.mean(np.array(null) >= observed - 1e-9)
    assert 0.05 < expected < 0.6
    assert permutation_p(sets) == pytest.approx(expected, abs=1e-12)
    assert permutation_p(sets[::-1]) == pytest.approx(expected, abs=1e-12)


def test_the_least_p_of_two_sets_of_six_is_one_in_720_squared() -> None:
    assert permutation_p([np.eye(6)]) == pytest.approx(1 / 720)
    assert permutation_p([np.eye(6), np.eye(6)]) == pytest.approx(1 / 720**2)


def test_ties_count_as_reached() -> None:
    assert permutation_p([np.full((6, 6), 0.1)] * 2) == 1


def test_drawn_combinations_agree_with_all() -> None:
    """Sets too large to enumerate give what a normal approximation of the same null gives."""
    from scipy.stats import norm

    w = np.random.default_rng(2).standard_normal((12, 12)) + 0.45 * np.eye(12)
    centred = w - w.mean(0) - w.mean(1)[:, None] + w.mean()
    z = (np.trace(w) - w.mean() * 12) / np.sqrt((centred**2).sum() / 11)  # Hoeffding 1951
    assert 0.01 < norm.sf(z) < 0.2
    assert permutation_p([w]) == pytest.approx(norm.sf(z), abs=0.02)


@pytest.mark.parametrize("weights", [np.ones((2, 3)), np.ones((1, 1)), np.full((3, 3), np.nan)])
def test_weights_that_are_no_square_are_refused(weights) -> None:
    with pytest.raises(ValueError, match="Weights must be finite"):
        null_sums(weights)


def test_no_set_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one set"):
        permutation_p([])
