"""A run under the protocol takagi2023, whose responses are raw integers in every stage."""

import json

import numpy as np
import pytest

from pipeline.conftest import experiment
from vox2pix.pipeline.commands import run
from vox2pix.pipeline.experiment import features, make_decoder
from vox2pix.pipeline.reconstruct import _5_draw
from vox2pix.seeds import rng_for
from vox2pix.store import load_arrays

RAW = 300  # integers per percent signal change, as released
ROIS = {"z": "early", "c": "ventral"}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A finished run, and the seeds that its images were drawn from."""
    seeds, real = [], _5_draw.reconstruct
    config = experiment(
        protocol="takagi2023",
        decode={"alphas": [1e-6, 1e-3, 1.0], "selection": "cv"},
        generate={
            "samples": 2, "steps": 4, "schedule": "takagi2023", "conditions": ["z-decode", "z+c"],
            "ceilings": ["z+c"],
        },
        audit={"clusters": 2},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _5_draw, "reconstruct", lambda *a, **k: seeds.append(k["seeds"]) or real(*a, **k)
        )
        return run(config, tmp_path_factory.mktemp("runs") / "small"), seeds


def decoder_of(made, name):
    """Return the prediction of a stored decoder from responses as it was fitted on them."""
    stored = load_arrays(made.path / f"decoders/{name}.safetensors")
    return lambda X: (X - stored["offset"]) @ stored["coef"].T + stored["mean"]


def test_all_images_are_drawn_from_one_noise(released):
    _, seeds = released
    assert len(np.unique(np.concatenate([given[:, 0] for given in seeds]))) == 1


def test_test_responses_are_scaled_as_training_responses(released):
    made, _ = released
    predict = decoder_of(made, "z")
    mean = RAW * made.subject.train.betas("early").mean(0)
    # without an intercept the mean response predicts nothing, whatever the targets' mean
    np.testing.assert_allclose(predict(mean), 0, atol=1e-3)
    expected = predict(RAW * made.subject.test.mean_betas("early"))
    stored = load_arrays(made.path / "decoded/z.safetensors")["predicted"]
    np.testing.assert_allclose(stored.reshape(expected.shape), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["z", "c"])
def test_null_responses_are_scaled_as_training_responses(released, name):
    made, _ = released
    predict = decoder_of(made, name)
    train, test = (RAW * s.mean_betas(ROIS[name]) for s in (made.subject.train, made.subject.test))
    noise = rng_for(made.config.seed, "noise brain", name).standard_normal(test.shape)
    noise = test.mean(0, dtype=float) + test.std(0, dtype=float) * noise
    stored = load_arrays(made.path / f"decoded/{name}-controls.safetensors")
    for control, responses in (("mean", train.mean(0)[None]), ("noise", noise)):
        expected = predict(responses).reshape(stored[control].shape)
        np.testing.assert_allclose(stored[control], expected, rtol=1e-2, atol=2e-3)
    assert np.abs(stored["noise"][0] - stored["noise"][1]).max() > 0.1


@pytest.mark.parametrize("name", ["z", "c"])
def test_responses_of_held_out_clusters_are_scaled_as_training_responses(released, name):
    made, _ = released
    train, test = made.subject.train, made.subject.test
    labels = load_arrays(made.path / "decoded/clusters.safetensors")
    kept = labels["train"][train.stimulus_rows] != labels["test"][0]
    y = features(made, name, train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
    decoder = make_decoder(made.config)
    decoder.fit(RAW * train.betas(ROIS[name])[kept], y, stimuli=train.stimulus_rows[kept])
    expected = decoder.predict(RAW * test.mean_betas(ROIS[name])[:1])[0]
    stored = load_arrays(made.path / f"decoded/{name}-controls.safetensors")["held_out"][0]
    np.testing.assert_allclose(stored.ravel(), expected, rtol=1e-2, atol=1e-2)
    assert np.abs(expected).max() > 0.1


def test_it_is_scored_and_audited_whole(released):
    made, _ = released
    records = json.loads((made.path / "metrics.json").read_text())
    assert {r["protocol"] for r in records} == {"takagi2023"}
    # identification compares correlations that were averaged over the samples, as the paper did
    joined = {r["samples"] for r in records if r["metric"] == "two-way phantom"}
    assert joined == {"correlations of 1", "correlations of 2", "best of 2"}
    findings = json.loads((made.path / "audit.json").read_text())
    assert len(findings) == 14
    assert [f["name"] for f in findings if f["verdict"] is None] == []
