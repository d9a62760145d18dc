"""A target that the package does not know goes through everything without a change elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.conftest import experiment
from targets.test_own_target import Tint
from vox2pix.errors import UserError
from vox2pix.pipeline.commands import encode, plan, plan_encoding, run
from vox2pix.store import load_arrays
from vox2pix.targets import TARGETS, register

TABLES = {
    "decode": {"tint": ["early"], "c": ["ventral"]},
    "encode": {
        "rois": ["early"], "strengths": [0.8], "moments": [1.0], "layers": [], "steps": 2,
        "resamples": 100,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tinted(tmp_path_factory):
    """A run and an encoding analysis with the mean colour of the image in place of z."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vox2pix.targets._registry.TARGETS", dict(TARGETS))
        register(Tint)
        config = experiment(**TABLES)
        folder = tmp_path_factory.mktemp("runs") / "small"
        made = run(config, folder)
        encode(config, folder)
        yield made


def test_it_is_decoded_from_its_regions(tinted):
    arrays = load_arrays(tinted.path / "decoded" / "tint.safetensors")
    images = tinted.subject.images(tinted.test_ids, size=16)
    truth = images.mean((1, 2))
    assert arrays["predicted"].shape == truth.shape == (8, 3)
    r = [np.corrcoef(truth[:, k], arrays["predicted"][:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(arrays["r"], r, atol=1e-4)
    assert not (tinted.path / "decoded" / "z.safetensors").exists()


def test_conditions_ceilings_and_controls_follow_from_it(tinted):
    table = pd.read_json(tinted.path / "metrics.json")
    assert list(table["condition"].unique()) == [
        "tint-decode", "tint", "c", "tint+c", "true-tint", "true-c", "true-tint+c",
        "shuffled", "mean-response", "noise-response", "retrieval", "decoded tint", "decoded c",
    ]  # fmt: skip
    findings = {f["name"]: f for f in json.loads((tinted.path / "audit.json").read_text())}
    assert any("swap" in name and findings[name]["verdict"] for name in findings)


def test_the_report_describes_it(tinted):
    page = (tinted.path / "report.html").read_text()
    assert "tint + c" in page
    assert Tint.description[1:] in page  # it begins a sentence


def test_it_is_a_feature_space_for_encoding(tinted):
    table = pd.read_csv(tinted.path / "encoding" / "results.csv.gz")
    assert list(table["latent"].unique()) == ["tint", "c", "z_c@0.8"]
    unique = pd.read_csv(tinted.path / "encoding" / "unique_variance.csv")
    assert {"tint", "z_c"} <= set(unique.iloc[:, :4].astype(str).stack())


def test_it_is_planned(tinted, tmp_path):
    stages = {s.name: s for s in plan(tinted.config, tmp_path / "run", 1e12).stages}
    assert stages["decode"].what.startswith("3 values of tint and ")
    assert stages["features"].what == "tint and c of 40 images"
    assert plan_encoding(tinted.config, tmp_path / "run", 1e12).stages


def test_a_port_that_the_model_lacks_is_refused_before_the_work(tmp_path, monkeypatch):
    class Elsewhere(Tint):
        port = "image"

    monkeypatch.setattr("vox2pix.targets._registry.TARGETS", dict(TARGETS))
    register(Elsewhere)
    for command in (run, encode):
        with pytest.raises(UserError, match="at the port 'image', and this model has start, text"):
            command(experiment(**TABLES), tmp_path / "small")
    assert not (tmp_path / "cache").exists()
