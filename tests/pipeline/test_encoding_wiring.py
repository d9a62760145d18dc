"""What the stages of an encoding analysis pass to each other, built again independently."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import Ridge

from pipeline.conftest import experiment
from vox2pix.config import EncodeConfig
from vox2pix.encoding import EncodingModel
from vox2pix.pipeline import Run
from vox2pix.pipeline.encode import _4_average, _5_fit, _7_maps
from vox2pix.pipeline.encoding import analyses, stored_responses
from vox2pix.store import RunFolder
from vox2pix.targets import Latent, TracePlan

ENCODE = {
    "rois": ["early"],
    "strength": 0.8,
    "strengths": [0.4, 0.6],
    "moments": [0.25, 0.5],
    "layers": ["mid_block", "up_blocks.0"],
    "layer_moments": [0.5, 1.0],
    "steps": 10,
    "guidance": 3.0,
}


def opened(tmp_path, subject, keys=None, **tables):
    """Return a run of a subject that stands in for the one that would be simulated."""
    run = Run(experiment(**tables), RunFolder(tmp_path), keys=keys or {})
    run.__dict__["subject"] = subject
    return run


def test_each_latent_is_taken_at_its_own_moments(tmp_path):
    run = opened(tmp_path, SimpleNamespace(has_captions=True), encode=ENCODE)
    found = analyses(run)  # 8 of 10 steps are run
    assert found.alone == (Latent("z"), Latent("c"), Latent("z_c", 0.8))
    assert found.strengths == (Latent("z_c", 0.4), Latent("z_c", 0.6))
    assert found.moments == (Latent("z_c", 0.8, 1), Latent("z_c", 0.8, 3))
    assert found.layers == tuple(
        Latent(module, 0.8, step) for module in ("mid_block", "up_blocks.0") for step in (3, 7)
    )
    assert found.trace == TracePlan(
        strengths=(0.8, 0.4, 0.6),
        strength=0.8,
        latent_steps=(1, 3),
        modules=("mid_block", "up_blocks.0"),
        module_steps=(3, 7),
        steps=10,
        guidance=3.0,
        schedule="diffusers",
    )
    # every space that is modelled is one that the denoising writes
    assert set(found.denoised) <= set(found.trace.latents)


def test_means_of_all_voxels_are_stored_whatever_the_blocks(small_run, tmp_path):
    made, _ = small_run
    compute = {"device": "cpu", "voxel_block": 50}
    run = opened(tmp_path, made.subject, {"responses": "key"}, compute=compute)
    _4_average._average(run)
    stored = stored_responses(run)
    assert stored["train"].n_shards == 3
    for name, split in (("train", made.subject.train), ("test", made.subject.test)):
        ids, shown = np.array(split.stimulus_ids), split.trials["stimulus_id"].to_numpy()
        betas = split.betas().astype(float)
        expected = np.array([betas[shown == i].mean(axis=0) for i in ids])
        np.testing.assert_allclose(stored[name].read().T, expected, rtol=1e-4, atol=1e-4)
        voxels = expected.T
        assert np.abs(voxels[:, None] - voxels[None]).max(axis=2)[
            ~np.eye(len(voxels), dtype=bool)
        ].min() > 1e-2  # fmt: skip


def test_every_result_of_a_model_is_that_of_scikit_learn_and_scipy():
    rng = np.random.default_rng(0)
    X_train, X_test = rng.standard_normal((30, 4)), rng.standard_normal((24, 4))
    weights = rng.standard_normal((4, 6))
    y_train, y_test = (5 + x @ weights + 3 * rng.standard_normal((len(x), 6))
                       for x in (X_train, X_test))  # fmt: skip
    repeats = rng.integers(1, 4, 30)
    alphas = [0.1, 10.0, 1000.0]
    found = _5_fit.compute(
        EncodingModel(alphas), X_train, y_train, X_test, y_test, repeats, EncodeConfig(),
        np.arange(24), 0,
    )  # fmt: skip
    assert set(found["alpha"]) <= set(alphas) and len(set(found["alpha"])) > 1
    models = Ridge(found["alpha"]).fit(X_train, y_train, sample_weight=repeats)
    predicted = models.predict(X_test)
    mean = np.average(y_train, axis=0, weights=repeats)
    expected = {
        "mean": mean,
        "predictions": predicted - mean,
        "r": [np.corrcoef(y_test[:, k], predicted[:, k])[0, 1] for k in range(6)],
        "r2": 1 - ((y_test - predicted) ** 2).sum(0) / ((y_test - y_test.mean(0)) ** 2).sum(0),
        "p": [
            scipy.stats.pearsonr(y_test[:, k], predicted[:, k], alternative="greater").pvalue
            for k in range(6)
        ],
        "alpha": found["alpha"],
    }
    expected["q"] = scipy.stats.false_discovery_control(expected["p"], method="bh")
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    assert not np.allclose(expected["q"], expected["p"], rtol=0.1)


@pytest.mark.parametrize("null", ["gaussian", "permutation"])
def test_permutations_keep_similar_test_stimuli_together(monkeypatch, null):
    rng = np.random.default_rng(0)
    rows = np.repeat(10 * rng.standard_normal((12, 5)), 3, axis=0)
    rows += 0.1 * rng.standard_normal(rows.shape)
    asked = []
    monkeypatch.setattr(_5_fit, "targets", lambda run: {})
    monkeypatch.setattr(_5_fit, "content_target", lambda targets: "content")
    monkeypatch.setattr(_5_fit, "features", lambda run, *what: asked.append(what) or rows)
    run = SimpleNamespace(
        config=experiment(encode=ENCODE | {"null": null}),
        test_ids=tuple(map(str, range(36))),
        cached=lambda slot, name, make: make(),
    )
    labels = _5_fit._blocks(run)
    if null == "gaussian":
        np.testing.assert_array_equal(labels, np.arange(36))
        return
    assert asked == [("content", run.test_ids)]
    assert len(set(labels)) == 12
    assert all(len(set(labels[i : i + 3])) == 1 for i in range(0, 36, 3))


def test_a_ceiling_is_that_of_the_means_over_repeats():
    ncsnr, repeats = np.array([0.2, 1.0, np.nan]), np.array([1, 2, 3, 3])
    run = SimpleNamespace(
        subject=SimpleNamespace(
            voxels=pd.DataFrame({"ncsnr": ncsnr}), test=SimpleNamespace(repeats=repeats)
        ),
        test_ids=("a", "b", "c"),
    )
    noise = np.mean(1 / repeats[:3])  # the fourth is not scored
    expected = 100 * ncsnr**2 / (ncsnr**2 + noise)
    np.testing.assert_allclose(_7_maps._ceiling(run), expected)


def test_means_of_regions_are_shares_of_their_ceiling():
    means = pd.DataFrame(
        {
            "roi": ["early", "ventral", "early", "silent"],
            "value": [0.3, 0.2, 0.6, 0.1],
            "low": [0.2, 0.1, 0.5, 0.0],
            "high": [0.4, 0.4, 0.7, 0.2],
        }
    )
    found = _7_maps.with_ceiling(means, {"ventral": 0.5, "silent": 0.0, "early": 0.8})
    np.testing.assert_allclose(found["ceiling"], [0.8, 0.5, 0.8, 0.0])
    np.testing.assert_allclose(found["r_normalised"], [0.375, 0.4, 0.75, np.nan])
    np.testing.assert_allclose(found["r_normalised_low"], [0.25, 0.2, 0.625, np.nan])
    np.testing.assert_allclose(found["r_normalised_high"], [0.5, 0.8, 0.875, np.nan])
    pd.testing.assert_frame_equal(found[means.columns], means)
