"""Noise ceilings against the formula written out, and against simulated truth."""

import numpy as np
import pytest

from vox2pix.data.reliability import NcsnrEstimator, add_rows, effective_repeats, noise_ceiling


def test_noise_ceiling_is_the_share_of_signal_variance():
    assert noise_ceiling(1.0, 1) == pytest.approx(50)
    assert noise_ceiling(0.5, 3) == pytest.approx(100 * 0.25 / (0.25 + 1 / 3))
    np.testing.assert_allclose(noise_ceiling([0, np.inf], 2), [0, 100])
    assert np.isnan(noise_ceiling(np.nan, 2))


def test_effective_repeats_weigh_stimuli():
    a, b, c = 5, 3, 2
    repeats = [1] * a + [2] * b + [3] * c
    assert 1 / effective_repeats(repeats) == pytest.approx((a / 1 + b / 2 + c / 3) / (a + b + c))


def simulate(rng, true, repeats, n_sessions=4):
    """Trials of stimuli with unit noise and signal of standard deviation `true`, in sessions."""
    stimulus = rng.permutation(np.repeat(np.arange(len(repeats)), repeats))
    signal = rng.normal(size=(len(repeats), len(true))) * true
    betas = signal[stimulus] + rng.normal(size=(len(stimulus), len(true)))
    session = np.sort(np.arange(len(stimulus)) % n_sessions)
    return stimulus, session, betas


def test_estimate_recovers_the_truth():
    rng = np.random.default_rng(0)
    true = np.repeat([0.2, 0.5, 1.0], 40)
    repeats = rng.integers(1, 4, 900)
    stimulus, session, betas = simulate(rng, true, repeats)
    estimator = NcsnrEstimator(900, len(true))
    for one in range(4):
        here = session == one
        shifted = 3 * betas[here] + 7 * one  # scale and shift of a session do not count
        estimator.add(stimulus[here], shifted.astype(np.float32))
    estimated = estimator.ncsnr().reshape(3, 40)
    np.testing.assert_allclose(np.median(estimated, axis=1), [0.2, 0.5, 1.0], rtol=0.1)


def test_estimate_is_the_formula_of_three_repeats():
    rng = np.random.default_rng(1)
    stimulus, _, betas = simulate(rng, np.array([0.5, 1.0]), np.full(30, 3), 1)
    estimator = NcsnrEstimator(30, 2)
    estimator.add(stimulus, betas.astype(np.float32))
    z = (betas - betas.mean(0)) / betas.std(0)
    variances = [z[stimulus == s].var(axis=0, ddof=1) for s in range(30)]
    noise = np.mean(variances, axis=0)
    np.testing.assert_allclose(estimator.ncsnr(), np.sqrt((1 - noise) / noise), rtol=1e-4)


def test_no_estimate_without_repeats_or_variance():
    estimator = NcsnrEstimator(4, 2)
    estimator.add(np.arange(4), np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    assert np.isnan(estimator.ncsnr()).all()
    estimator = NcsnrEstimator(2, 2)
    betas = np.array([[1, 5], [2, 5], [1, 5], [2, 5]], np.float32)
    estimator.add(np.array([0, 1, 0, 1]), betas)
    ncsnr = estimator.ncsnr()
    assert ncsnr[0] > 100  # repeats agree perfectly
    assert np.isnan(ncsnr[1])


def test_add_rows_repeats_targets():
    rng = np.random.default_rng(0)
    targets, rows = rng.integers(0, 5, 20), rng.normal(size=(20, 3)).astype(np.float32)
    sums, expected = np.ones((6, 3), np.float32), np.ones((6, 3))
    add_rows(sums, targets, rows)
    for target, row in zip(targets, rows, strict=True):
        expected[target] += row
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
