"""Noise statistics against the stated covariance, ncsnr against a plain computation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from vox2pix.phantom import noise
from vox2pix.seeds import rng_for


def chain_smoothing(n_voxels):
    weights = np.exp(-0.5 * np.subtract.outer(np.arange(n_voxels), np.arange(n_voxels)) ** 2 / 4)
    weights[weights < 0.01] = 0
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return sparse.csr_matrix(weights.astype(np.float32))


def plain_ncsnr(betas, stimulus, session):
    """NSD's formula in loops."""
    scored = np.empty_like(betas)
    for name in np.unique(session):
        part = betas[session == name]
        scored[session == name] = (part - part.mean(axis=0)) / part.std(axis=0)
    variances = [
        scored[stimulus == name].var(axis=0, ddof=1)
        for name in np.unique(stimulus)
        if (stimulus == name).sum() > 1
    ]
    noise_variance = np.mean(variances, axis=0)
    return np.sqrt(np.maximum(1 - noise_variance, 0)) / np.sqrt(noise_variance)


def test_covariance_over_voxels_is_the_stated_one():
    sd = np.linspace(0.5, 2, 12).astype(np.float32)
    model = noise.NoiseModel(sd, chain_smoothing(12))
    rng = rng_for(1, "noise")
    draws = np.concatenate([model.draw_session((1,), rng) for _ in range(4000)])
    expected = model.covariance(np.arange(12))
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(np.cov(draws.T) / scale, expected / scale, atol=0.07)
    np.testing.assert_allclose(np.diag(expected), (1 + 0.3**2) * sd**2, rtol=1e-4)
    correlation = expected / scale
    assert correlation[5, 6] > 0.3 > correlation[5, 11] > 0.04


def test_trials_correlate_within_runs_only():
    model = noise.NoiseModel(np.ones(400, np.float32), sparse.eye(400, format="csr"),
                             common=0.0, independent=0.6, session_shift=0.0)  # fmt: skip
    draws = np.stack([model.draw_session((5, 5), rng_for(2, s)) for s in range(60)])
    r = np.corrcoef(draws.transpose(1, 0, 2).reshape(10, -1))
    np.testing.assert_allclose(np.diag(r, 1)[[0, 1, 2, 3, 5, 6, 7, 8]], 0.2, atol=0.03)
    assert abs(r[4, 5]) < 0.03
    np.testing.assert_allclose(np.diag(r, 2)[:3], 0.04, atol=0.03)
    np.testing.assert_allclose(draws.var(), 1, atol=0.02)


def test_sessions_shift():
    model = noise.NoiseModel(np.full(500, 2.0, np.float32), sparse.eye(500, format="csr"),
                             common=0.0, independent=0.6, ar1=0.0, session_shift=0.5)  # fmt: skip
    means = np.stack([model.draw_session((200,), rng_for(3, s)).mean(axis=0) for s in range(40)])
    # Shift of 0.5 * sd, and the mean of 200 independent trials.
    assert means.std() == pytest.approx(2 * np.sqrt(0.25 + 1 / 200), rel=0.05)


def test_meter_follows_the_plain_formula():
    rng = rng_for(4, "meter")
    stimulus = rng.permutation(np.repeat(np.arange(60), 3))
    signal = rng.normal(size=(60, 7)) * np.linspace(0, 1.5, 7)
    betas = (signal[stimulus] + rng.normal(size=(180, 7)) + 3).astype(np.float32)
    session = np.repeat([0, 1], 90)
    betas[90:] += 5
    meter = noise.NcsnrMeter(60, 7)
    for name in (0, 1):
        meter.add_session(stimulus[session == name], betas[session == name])
    np.testing.assert_allclose(
        meter.result(), plain_ncsnr(betas, stimulus, session), rtol=1e-3, atol=1e-3
    )


def test_meter_without_repeats_or_signal():
    rng = rng_for(5, "meter")
    once = noise.NcsnrMeter(20, 3)
    once.add_session(np.arange(20), rng.normal(size=(20, 3)).astype(np.float32))
    assert np.isnan(once.result()).all()
    flat = noise.NcsnrMeter(5, 2)
    flat.add_session(np.repeat(np.arange(5), 2), np.zeros((10, 2), np.float32))
    assert not flat.result().any()


@pytest.mark.parametrize("area", noise.NCSNR_QUANTILES)
def test_measured_ncsnr_has_the_quantiles_of_nsd(area):
    """With 3 repeats of 2,000 images in 8 sessions the measured quantiles are NSD's to 0.05."""
    n_voxels, n_images = 300, 2000
    smoothing = chain_smoothing(n_voxels)
    rng = rng_for(6, area)
    true = noise.draw_ncsnr([area] * n_voxels, smoothing, rng)
    model = noise.NoiseModel(np.full(n_voxels, 1.3, np.float32), smoothing)
    signal = rng.standard_normal((n_images, n_voxels), np.float32) * model.sd * true
    order = rng.permutation(np.repeat(np.arange(n_images), 3))
    meter = noise.NcsnrMeter(n_images, n_voxels)
    for trials in np.split(order, 8):
        meter.add_session(trials, signal[trials] + model.draw_session((len(trials),), rng))
    measured = np.quantile(meter.result(), noise.QUANTILE_LEVELS)
    np.testing.assert_allclose(measured, noise.NCSNR_QUANTILES[area], atol=0.05)
    assert np.quantile(true, 0.5) == pytest.approx(noise.NCSNR_QUANTILES[area][2], abs=0.01)


@given(st.sampled_from([*noise.NCSNR_QUANTILES, *noise.NEAREST_AREA]))
def test_quantile_function_meets_the_table_and_rises(area):
    levels = np.linspace(0, 1, 101)
    values = noise.ncsnr_quantile(area, levels)
    assert (np.diff(values) > 0).all() and values[0] > 0
    table = noise.NCSNR_QUANTILES[noise.NEAREST_AREA.get(area, area)]
    np.testing.assert_allclose(noise.ncsnr_quantile(area, np.array(noise.QUANTILE_LEVELS)), table)


def test_voxels_without_an_area_have_no_signal():
    ncsnr = noise.draw_ncsnr(["", "V1", "", "V1"], chain_smoothing(4), rng_for(7, "n"))
    assert ncsnr[0] == ncsnr[2] == 0
    assert (ncsnr[[1, 3]] > 0).all()
