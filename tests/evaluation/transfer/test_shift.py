import numpy as np
import pytest
from scipy.stats import zscore

from vox2pix.evaluation.transfer import restandardise, shift

RNG = np.random.default_rng(6)
MEAN, SD = RNG.normal(1, 1, 40), RNG.uniform(0.5, 2, 40)


def test_a_shift_is_measured_in_training_deviations() -> None:
    x = MEAN + SD * (0.5 + 0.25 * RNG.standard_normal((4000, 40)))
    found = shift(x, MEAN, SD)
    np.testing.assert_allclose(found.mean, 0.5, atol=0.02)
    np.testing.assert_allclose(found.spread, 0.25, atol=0.02)
    assert found.n_voxels == 40
    z = (x.mean(axis=0) - MEAN) / SD
    np.testing.assert_allclose(found.mean, np.quantile(z, [0.05, 0.5, 0.95]))


def test_constant_voxels_are_left_out() -> None:
    sd = np.where(np.arange(40) < 3, 0, SD)
    assert shift(RNG.random((5, 40)), MEAN, sd).n_voxels == 37
    with pytest.raises(ValueError, match="a voxel that varied"):
        shift(RNG.random((5, 40)), MEAN, np.zeros(40))


def test_by_run_every_run_has_the_moments_of_training() -> None:
    x = 3 + 2 * RNG.standard_normal((30, 40))
    run = np.repeat([1, 2, 3], 10)
    found = restandardise(x, "run", run, np.ones(30), MEAN, SD)
    for r in (1, 2, 3):
        expected = MEAN + SD * zscore(x.astype(np.float32)[run == r], axis=0)
        np.testing.assert_allclose(found[run == r], expected, rtol=1e-4, atol=1e-4)


def test_by_session_only_its_own_seen_trials_decide() -> None:
    x = 3 + 2 * RNG.standard_normal((30, 40)) + np.repeat([0, 5], 15)[:, None]
    session, seen = np.repeat([1, 2], 15), np.arange(30) % 15 < 6
    found = restandardise(x, "session", session, seen, MEAN, SD)
    for s in (1, 2):
        own, shown = x[session == s], x[(session == s) & seen]
        expected = MEAN + SD * (own - shown.mean(axis=0)) / shown.std(axis=0)
        np.testing.assert_allclose(found[session == s], expected, rtol=1e-3, atol=1e-4)
    other = np.where(seen[:, None], x, 7 * x)
    changed = restandardise(other, "session", session, seen, MEAN, SD)
    np.testing.assert_array_equal(changed[seen], found[seen])
    assert np.abs(changed - found)[~seen].max() > 1


@pytest.mark.parametrize("by", ["run", "session"])
def test_a_group_of_one_trial_has_no_spread(by) -> None:
    x, group = RNG.random((5, 40)), [1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match=f"two or more trials in each {by}"):
        restandardise(x, by, group, [True, True, False, False, True], MEAN, SD)


def test_none_changes_nothing_and_constant_voxels_get_their_training_mean() -> None:
    x = RNG.random((6, 40)).astype(np.float32)
    assert (restandardise(x, "none", np.ones(6), np.ones(6), MEAN, SD) == x).all()
    x[:, 0] = 4
    found = restandardise(x, "run", np.ones(6), np.ones(6, bool), MEAN, SD)
    np.testing.assert_allclose(found[:, 0], MEAN[0], rtol=1e-6)
