import numpy as np
import pytest

from vox2pix.data.reliability import noise_ceiling
from vox2pix.encoding import ncsnr_ceiling, normalised_r, split_half_ceiling


def _trials(repeats, ncsnr, seed=0):
    """Trials of stimuli in random order, with a given signal-to-noise ratio per voxel."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(len(repeats)), repeats))
    signal = ncsnr * rng.standard_normal((len(repeats), len(ncsnr)))
    return signal[rows] + rng.standard_normal((len(rows), len(ncsnr))), rows


@pytest.mark.parametrize("possible", [(3,), (4,), (2, 3), (1, 2, 3, 5)])
def test_split_halves_find_the_ceiling_of_the_formula(possible):
    repeats = np.random.default_rng(1).choice(possible, 4000)
    ncsnr = np.repeat([0.0, 0.3, 0.6, 1.2], 10)
    betas, rows = _trials(repeats, ncsnr)
    estimate = split_half_ceiling(betas, rows, n_splits=5, block=7)
    truth = ncsnr_ceiling(ncsnr, repeats)
    np.testing.assert_allclose(
        estimate.reshape(4, 10).mean(axis=1), truth.reshape(4, 10).mean(axis=1), atol=2
    )


def test_two_repeats_give_spearman_and_browns_own_formula():
    betas, rows = _trials(np.full(40, 2), np.full(3, 0.8))
    order = np.argsort(rows, kind="stable")
    first, second = betas[order[::2]], betas[order[1::2]]
    estimate = split_half_ceiling(betas, rows, n_splits=400)
    for v in range(3):
        rng = np.random.default_rng(v)
        r = []
        for _ in range(400):
            swap = rng.random(40) < 0.5
            halves = (
                np.where(swap, second[:, v], first[:, v]),
                np.where(swap, first[:, v], second[:, v]),
            )
            r.append(np.corrcoef(*halves)[0, 1])
        assert estimate[v] == pytest.approx(100 * 2 * np.mean(r) / (1 + np.mean(r)), abs=0.5)


def test_the_seed_decides_the_splits_and_blocks_do_not():
    betas, rows = _trials(np.full(20, 3), np.full(5, 0.5))
    one = split_half_ceiling(betas, rows, seed=1)
    np.testing.assert_allclose(one, split_half_ceiling(betas, rows, seed=1, block=2))
    assert not np.allclose(one, split_half_ceiling(betas, rows, seed=2))


def test_a_voxel_that_never_varies_has_no_ceiling():
    betas, rows = _trials(np.full(20, 2), np.full(2, 0.5))
    betas[:, 1] = 3
    ceiling = split_half_ceiling(betas, rows)
    assert np.isfinite(ceiling[0]) and np.isnan(ceiling[1])


def test_what_cannot_be_split_is_refused():
    betas, rows = _trials(np.array([1, 1, 1, 2, 2]), np.ones(2))
    with pytest.raises(ValueError, match="2 stimuli were shown more than once"):
        split_half_ceiling(betas, rows)
    with pytest.raises(ValueError, match=r"stimuli has shape \(3,\), but there are 7 trials"):
        split_half_ceiling(betas, [0, 1, 2])


def test_ncsnr_ceiling_takes_the_mean_of_one_over_repeats():
    ceiling = ncsnr_ceiling([0.5, np.nan], [3, 3, 1])
    np.testing.assert_allclose(ceiling[0], 100 * 0.25 / (0.25 + (1 / 3 + 1 / 3 + 1) / 3))
    assert np.isnan(ceiling[1])
    np.testing.assert_allclose(ncsnr_ceiling([0.5], [3, 3]), noise_ceiling([0.5], 3))


def test_normalised_r_is_one_for_a_model_as_good_as_the_signal():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(20_000)
    measured = 0.7 * signal + rng.standard_normal(20_000) / np.sqrt(3)
    r = np.corrcoef(signal, measured)[0, 1]
    assert normalised_r(r, ncsnr_ceiling(0.7, [3])) == pytest.approx(1, abs=0.02)


def test_normalised_r_is_nan_without_a_ceiling():
    np.testing.assert_array_equal(
        normalised_r([0.5, 0.5, 0.5, np.nan, 0.5], [100, 0, np.nan, 50, -3]),
        [0.5, np.nan, np.nan, np.nan, np.nan],
    )
