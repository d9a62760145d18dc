"""The target image through everything, without captions and with them."""

import json
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tomli_w

from diffusion.conftest import save_adapter
from pipeline.conftest import Recorder, experiment
from vox2pix.config import Config, load_config
from vox2pix.diffusion import Architecture
from vox2pix.errors import UserError
from vox2pix.evaluation import image_encoder
from vox2pix.phantom import simulate
from vox2pix.pipeline import Run
from vox2pix.pipeline.commands import encode, plan, plan_encoding, run
from vox2pix.pipeline.drawings import drawings_of
from vox2pix.pipeline.reconstruct import STAGES
from vox2pix.pipeline.reconstruct._5_draw import values_of
from vox2pix.pipeline.stage import stage_keys
from vox2pix.pipeline.transfer import _4_draw as transfer_drawing
from vox2pix.report import write_report
from vox2pix.store import RunFolder, load_arrays
from vox2pix.targets import Condition
from vox2pix.targets.image import ImageEmbedding
from vox2pix.vision.transformers_models import find_folder

TABLES = {
    "decode": {
        "z": ["early"],
        "image": {"rois": ["ventral"], "encoder": "clip"},
        "c": ["ventral"],
    },
    "generate": {"samples": 1, "steps": 3, "ip_adapter": "adapter.safetensors"},
    "audit": {"clusters": 2},
    "encode": {
        "rois": ["early"], "latents": ["z", "image"], "strengths": [0.8], "moments": [],
        "layers": [], "steps": 2, "resamples": 100,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with data without captions, an encoder, an adapter and an experiment file."""
    root = tmp_path_factory.mktemp("project")
    sizes = {"sessions": 2, "trials_per_session": 60, "n_shared": 8, "n_early": 60}
    simulate(root / "data", **sizes, n_ventral=60)
    for file in (root / "data").rglob("captions_*.json"):
        file.rename(root / file.name)
    shutil.copytree(find_folder("phantom"), root / "clip")
    save_adapter(Architecture.from_pretrained("phantom").networks.unet, 64, root / ADAPTER)
    write_experiment(root / "experiment.toml")
    return root


ADAPTER = "adapter.safetensors"


def write_experiment(path: Path, **tables) -> Path:
    config = experiment(data={"source": "nsd", "path": "data", "phantom": {}}, **TABLES | tables)
    path.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    return path


@pytest.fixture(scope="module")
def made(project) -> tuple[Run, Recorder]:
    told = Recorder()
    config = load_config(project / "experiment.toml")
    finished = run(config, project / "runs" / "small", told)
    encode(config, project / "runs" / "small", told)
    return finished, told


def test_without_captions_it_is_decoded_drawn_and_judged(made):
    done, told = made
    assert "No captions: c is left out of this run." in told.lines
    table = pd.read_json(done.path / "metrics.json")
    assert list(table["condition"].unique()) == [
        "z-decode", "z", "image", "z+image", "true-z", "true-image", "true-z+image",
        "shuffled", "mean-response", "noise-response", "retrieval", "decoded z", "decoded image",
    ]  # fmt: skip
    findings = json.loads((done.path / "audit.json").read_text())
    assert any("swap" in f["name"] and f["verdict"] for f in findings)
    assert all(f["verdict"] for f in findings)


def test_true_values_are_the_encoders_and_decoding_is_scored_as_it_is(made):
    done, _ = made
    images = done.subject.images(done.test_ids)
    truth = image_encoder(done.config.decode.targets["image"].settings["encoder"])(images)
    arrays = load_arrays(done.path / "decoded" / "image.safetensors")
    predicted = arrays["predicted"]
    r = [np.corrcoef(truth[:, k], predicted[:, k])[0, 1] for k in range(truth.shape[1])]
    np.testing.assert_allclose(arrays["r"], r, atol=1e-4)
    assert np.linalg.norm(predicted, axis=1).std() > 1e-3  # not yet brought to one length


def test_decoded_embeddings_are_drawn_at_the_length_of_the_training_ones(made):
    done, _ = made
    training = done.subject.images(done.subject.train.stimulus_ids)
    truth = image_encoder(done.config.decode.targets["image"].settings["encoder"])(training)
    length = np.linalg.norm(truth, axis=1).mean()
    done.keys |= stage_keys(STAGES, done)
    predicted = load_arrays(done.path / "decoded" / "image.safetensors")["predicted"]
    by_name = {drawing.name: values_of(done, drawing) for drawing in drawings_of(done)}
    for name in ("z+image", "shuffled", "mean-response", "noise-response", "swapped"):
        drawn = np.linalg.norm(by_name[name]["image"], axis=1)
        np.testing.assert_allclose(drawn, length, rtol=1e-4)
    scaled = predicted * length / np.linalg.norm(predicted, axis=1, keepdims=True)
    np.testing.assert_allclose(by_name["z+image"]["image"], scaled, rtol=1e-4, atol=1e-5)
    true = by_name["true-z+image"]["image"]
    assert np.linalg.norm(true, axis=1).std() > 1e-3  # true ones as they are
    z = load_arrays(done.path / "decoded" / "z.safetensors")["predicted"]
    np.testing.assert_array_equal(by_name["z+image"]["z"], z)


def test_a_transfer_draws_them_at_that_length_too(made, monkeypatch):
    done, _ = made
    rng = np.random.default_rng(0)
    monkeypatch.setattr(transfer_drawing, "transfer_of", lambda run: SimpleNamespace(source=done))
    shapes = {"z": done.architecture.latent_shape, "image": (64,)}
    decoded = {name: rng.standard_normal((3, *shape)) for name, shape in shapes.items()}
    monkeypatch.setattr(
        transfer_drawing, "mean_decoded", lambda run, name, task: decoded[name].reshape(3, -1)
    )
    values = transfer_drawing.values_of(done, Condition(("z", "image")), "imagery")
    statistics = load_arrays(done.path / "decoders" / "image.safetensors")
    lengths = np.linalg.norm(values["image"], axis=1)
    np.testing.assert_allclose(lengths, statistics["mean_norm"].item(), rtol=1e-5)
    np.testing.assert_array_equal(values["z"], decoded["z"])


def test_the_report_names_the_encoder_and_the_hashes_of_what_drew(made):
    done, _ = made
    page = write_report([done.path], done.path / "report.html").read_text()
    assert f"{ImageEmbedding.description[1:]} (encoder clip)" in page
    assert "IP-Adapter/adapter.safetensors" in page
    assert "decode.image/model.safetensors" in page
    assert str(done.path.parents[1]) not in page


def test_it_is_a_feature_space_beside_the_denoised_latent(made):
    done, _ = made
    table = pd.read_csv(done.path / "encoding" / "results.csv.gz")
    assert list(table["latent"].unique()) == ["z", "image"]
    unique = pd.read_csv(done.path / "encoding" / "unique_variance.csv")
    assert {"z", "z_c"} <= set(unique.iloc[:, :4].astype(str).stack())


def test_a_project_that_is_moved_computes_nothing_again(made, project, tmp_path):
    moved = shutil.copytree(project, tmp_path / "moved")
    for file in (moved / "experiment.toml", moved / "runs" / "small" / "config.toml"):
        told = Recorder()
        run(load_config(file), moved / "runs" / "small", told)
        encode(load_config(file), moved / "runs" / "small", told)
        assert not [line for line in told.lines if "again" in line or "Extracting" in line]
    settings = tomllib.loads((moved / "runs" / "small" / "config.toml").read_text())
    assert settings["generate"]["ip_adapter"] == str(moved / ADAPTER)
    assert settings["decode"]["image"]["encoder"] == str(moved / "clip")


@pytest.mark.parametrize(
    ("change", "first"),
    [("adapter", "generate"), ("scale", "generate"), ("encoder", "features")],
)
def test_other_weights_are_noticed_by_the_first_stage_that_reads_them(
    made, project, tmp_path, change, first
):
    root = shutil.copytree(project, tmp_path / "other")
    config = load_config(root / "experiment.toml")

    def keys(config: Config) -> dict[str, str]:
        return stage_keys(STAGES, Run(config, RunFolder(root / "runs" / "small")))

    before = keys(config)
    if change == "scale":
        generate = config.generate.model_copy(update={"ip_adapter_scale": 0.5})
        config = config.model_copy(update={"generate": generate})
    else:
        file = root / (ADAPTER if change == "adapter" else "clip/model.safetensors")
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    after = keys(config)
    assert next(name for name in before if before[name] != after[name]) == first


def test_a_scale_without_an_adapter_is_refused(project):
    with pytest.raises(ValueError, match=r"ip_adapter_scale is 0\.5, but no generate\.ip_adapter"):
        experiment(generate={"ip_adapter_scale": 0.5})


def test_another_adapter_in_one_folder_of_run_and_encode_is_refused(made, project, tmp_path):
    root = shutil.copytree(project, tmp_path / "other")
    config = load_config(root / "experiment.toml")
    generate = config.generate.model_copy(update={"ip_adapter_scale": 0.5})
    with pytest.raises(UserError, match=r"which differs in generate\.ip_adapter_scale;"):
        encode(config.model_copy(update={"generate": generate}), root / "runs" / "small")


def test_it_is_planned(project):
    config = load_config(project / "experiment.toml")
    stages = {s.name: s for s in plan(config, project / "planned", 1e12).stages}
    assert stages["features"].what == "z and image of 40 images"
    assert "64 values of image" in stages["decode"].what
    assert plan_encoding(config, project / "planned", 1e12).stages
    no_captions = " ".join(plan(config, project / "planned", 1e12).facts)
    assert "no captions, so no c" in no_captions


def test_without_an_adapter_it_is_refused_before_the_work(project):
    file = write_experiment(project / "plain.toml", generate={"samples": 1, "steps": 3})
    for command in (run, encode):
        with pytest.raises(
            UserError, match=r"port 'image', .* Name an IP-Adapter .*ip_adapter\), take"
        ):
            command(load_config(file), project / "plain" / "small")
    assert not (project / "plain" / "cache" / "features").exists()


def test_an_adapter_that_is_not_there_is_refused_before_the_work(project):
    generate = {"samples": 1, "steps": 3, "ip_adapter": "absent.safetensors"}
    file = write_experiment(project / "absent.toml", generate=generate)
    with pytest.raises(UserError, match=r"There is no IP-Adapter .*absent\.safetensors"):
        run(load_config(file), project / "absent" / "small")


@pytest.mark.slow
def test_with_captions_it_is_drawn_beside_text(made, project, tmp_path):
    root = shutil.copytree(project, tmp_path / "project", ignore=shutil.ignore_patterns("runs"))
    annotations = next((root / "data").rglob("annotations"))
    for file in root.glob("captions_*.json"):
        file.rename(annotations / file.name)
    generate = {
        **TABLES["generate"],
        **{"conditions": ["image+c", "z+image+c"], "ceilings": ["z+image+c"], "shuffled": False},
    }
    file = write_experiment(root / "all.toml", generate=generate, audit={"enabled": False})
    done = run(load_config(file), root / "runs" / "all")
    table = pd.read_json(done.path / "metrics.json")
    assert list(table["condition"].unique()) == [
        "image+c", "z+image+c", "true-z+image+c", "decoded z", "decoded image", "decoded c",
    ]  # fmt: skip
