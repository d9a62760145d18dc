"""Random projections and the distances they keep."""

import numpy as np
import pytest

from vox2pix.targets._projection import measure_distortion, random_projection


def test_distances_are_kept_as_the_lemma_says():
    rows = np.random.default_rng(0).standard_normal((16, 6000)).astype(np.float32)
    projected = random_projection(6000, 500, seed=0).transform(rows)
    assert projected.shape == (16, 500)
    assert projected.dtype == np.float32
    found = measure_distortion(rows, projected)
    assert (found.n_features, found.n_kept, found.n_pairs) == (6000, 500, 120)
    assert found.mean == pytest.approx(1, abs=0.03)
    assert found.sd == pytest.approx(np.sqrt(1 / (2 * 500)), rel=0.5)


def test_the_ratio_is_that_of_a_naive_loop():
    rng = np.random.default_rng(0)
    rows, projected = rng.standard_normal((5, 9)), rng.standard_normal((5, 3))
    rows[1] = rows[0]  # a pair without distance is left out
    ratios = [
        np.linalg.norm(projected[i] - projected[j]) / np.linalg.norm(rows[i] - rows[j])
        for i in range(5)
        for j in range(i)
        if (j, i) != (0, 1)
    ]
    found = measure_distortion(rows, projected)
    assert found.n_pairs == 9
    assert (found.mean, found.sd) == pytest.approx((np.mean(ratios), np.std(ratios)))
    with pytest.raises(ValueError, match="No two rows differ"):
        measure_distortion(rows[:2], projected[:2])


def test_the_matrix_belongs_to_seed_and_size():
    def matrix(*settings):
        return random_projection(*settings).components_.toarray()

    np.testing.assert_array_equal(matrix(400, 20, 3), matrix(400, 20, 3))
    assert not np.array_equal(matrix(400, 20, 3), matrix(400, 20, 4))
    assert np.mean(matrix(400, 20, 3) != 0) == pytest.approx(1 / 20, rel=0.2)
