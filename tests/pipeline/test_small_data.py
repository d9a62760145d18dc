"""Experiments with hardly any images end well, or in one sentence before the work."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.conftest import experiment
from vox2pix.config import Config
from vox2pix.errors import UserError
from vox2pix.pipeline.commands import encode, plan, plan_encoding, run
from vox2pix.pipeline.drawings import drawings_of
from vox2pix.pipeline.reconstruct import _4_controls, _5_draw
from vox2pix.store import MARKER
from vox2pix.vision.transformers_models import find_folder

N_TEST = 2


@pytest.fixture
def small(tmp_path):
    """Return a function that writes a folder of so many training images, and its experiment."""

    def write(n_train: int, **tables) -> Config:
        folder, rng = tmp_path / "data", np.random.default_rng(0)
        (folder / "images").mkdir(parents=True)
        ids = [f"p{i:02d}" for i in range(n_train + N_TEST)]
        for name in ids:
            image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            image.resize((64, 64)).save(folder / "images" / f"{name}.png")
        shown = np.tile(np.arange(len(ids)), 2)
        trials = {
            "stimulus_id": [ids[i] for i in shown],
            "session": np.repeat([1, 2], len(ids)),
            "split": np.where(shown < N_TEST, "test", "train"),
        }
        pd.DataFrame(trials).to_csv(folder / "trials.csv", index=False)
        np.save(folder / "responses.npy", rng.standard_normal((len(shown), 20), np.float32))
        pd.DataFrame({"early": np.ones(20, int)}).to_csv(folder / "voxels.csv", index=False)
        source = {"source": "folder", "path": str(folder)}
        return experiment(data=source, generate={"samples": 1, "steps": 2}, **tables)

    return write


def raw(config: Config) -> dict:
    return config.model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize(
    ("n_train", "tables", "sentence"),
    [
        (0, {}, "has 0 training images, and a decoder needs 2 or more; mark fewer"),
        (1, {}, "has 1 training images, and a decoder needs 2 or more"),
        (4, {"decode": {"selection": "cv"}}, "has 4 training images for 5 folds; give it more"),
        (2, {"protocol": "takagi2023"}, "has 4 training trials for 5 folds; give it more"),
    ],
)
def test_too_few_training_images_are_refused_before_the_work(
    small, tmp_path, n_train, tables, sentence
):
    config = small(n_train, **tables)
    for command in (run, lambda config, path: plan(config, path, 1e9)):
        with pytest.raises(UserError, match=sentence):
            command(config, tmp_path / "small")
    assert not (tmp_path / "cache").exists()


def test_two_test_images_are_drawn_scored_and_audited_as_far_as_they_go(small, tmp_path):
    made = run(small(12), tmp_path / "small")
    checks = {c["name"]: c for c in json.loads((made.path / "audit.json").read_text())}
    assert checks["effective rank"]["verdict"] is None
    assert "2 test images are too few" in checks["effective rank"]["sentence"]
    assert checks["diversity"]["verdict"]


def test_a_metric_is_named_by_its_encoders_folder_and_not_by_where_that_lies(small, tmp_path):
    encoder = shutil.copytree(find_folder("phantom"), tmp_path / "clip")
    config = small(12, evaluate={"encoder": str(encoder)}, audit={"enabled": False})
    made = run(config, tmp_path / "small")
    records = json.loads((made.path / "metrics.json").read_text())
    assert "two-way clip" in {record["metric"] for record in records}
    assert str(tmp_path) not in json.dumps(records)


def test_a_held_out_cluster_leaves_fewer_images_than_folds(small, tmp_path, monkeypatch):
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])  # six of training, two of test
    monkeypatch.setattr(_4_controls, "clusters", lambda *_: labels)
    config = small(6, decode={"selection": "cv", "alphas": [1.0, 10.0]}, audit={"clusters": 2})
    made = run(config, tmp_path / "small")
    (drawing,) = (d for d in drawings_of(made) if d.source == "held-out")
    held_out = _5_draw.values_of(made, drawing)["z"]
    assert np.isfinite(held_out).all()
    assert (held_out[0] != held_out[1]).any()


def test_a_cluster_that_holds_all_of_training_is_a_check_that_is_not_computed(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr(_4_controls, "clusters", lambda *_: np.array([0, 0, 0, 0, 0, 0, 0, 1]))
    made = run(small(6, audit={"clusters": 2}), tmp_path / "small")
    checks = {c["name"]: c for c in json.loads((made.path / "audit.json").read_text())}
    assert checks["held-out clusters"]["verdict"] is None
    assert (
        "0 training images are left, and a decoder needs 3"
        in (checks["held-out clusters"]["sentence"])
    )
    assert not list((made.path / "images").glob("held-out-*"))
    assert checks["mean control"]["verdict"]


def changed(config, change) -> None:
    """Change responses, trials and the first image of a folder."""
    folder = Path(config.data.path)
    responses, trials = np.load(folder / "responses.npy"), pd.read_csv(folder / "trials.csv")
    trials.loc[trials["stimulus_id"] == "p02", "split"] = "test"  # encoding needs three
    responses = change(responses, trials, folder)
    np.save(folder / "responses.npy", responses.astype(np.float32))
    trials.to_csv(folder / "trials.csv", index=False)


def no_split(responses, trials, folder):
    del trials["split"]
    return responses


def huge(responses, trials, folder):
    return 1e30 * responses


def constant(responses, trials, folder):
    return 0 * responses + 3


def no_image(responses, trials, folder):
    (folder / "images" / "p05.png").unlink()
    return responses


def transparent(responses, trials, folder):
    Image.new("RGBA", (64, 64)).save(folder / "images" / "p05.png")
    return responses


@pytest.mark.parametrize(
    ("change", "sentence", "is_planned"),
    [
        (no_split, "has 0 test images", False),
        (no_image, "no image of stimulus 'p05'", False),
        (huge, "Responses reach", True),
        (constant, "None of the 20 voxels of data ever changes", True),
        (transparent, "p05.png is transparent in 100.0% of its pixels", True),
    ],
)
def test_what_cannot_work_is_refused_before_the_work_by_every_command(
    small, tmp_path, change, sentence, is_planned
):
    config = small(12, encode={"rois": ["all"]})
    changed(config, change)
    commands = [run, encode]
    if not is_planned:
        commands += [lambda c, p: plan(c, p, 1e9), lambda c, p: plan_encoding(c, p, 1e9)]
    for number, command in enumerate(commands):
        with pytest.raises(UserError, match=sentence):
            command(config, tmp_path / f"run{number}")
    assert not (tmp_path / "cache").exists()


def test_too_few_training_images_for_the_folds_of_encoding_are_refused(small, tmp_path):
    config = small(5, encode={"rois": ["all"], "selection": "cv"})
    changed(config, lambda responses, trials, folder: responses)
    with pytest.raises(UserError, match="has 4 training images for 5 folds; mark fewer"):
        encode(config, tmp_path / "small")


def test_a_uniform_test_image_is_scored_and_noted(small, tmp_path):
    def uniform(responses, trials, folder):
        Image.new("RGB", (64, 64), (128, 128, 128)).save(folder / "images" / "p00.png")
        return responses

    config = small(12)
    changed(config, uniform)
    made = run(config, tmp_path / "small")
    scores = pd.read_csv(made.path / "scores.csv")
    own = scores[(scores["stimulus_id"] == "p00") & (scores["metric"] == "pixcorr")]
    assert len(own)
    assert (own["score"] == 0).all()
    assert np.isfinite(scores["score"]).all()
    record = json.loads((made.path / "data.json").read_text())
    assert (record["subject"], record["dataset"]) == ("data", "own")
    (note,) = (n for n in record["notes"] if "one colour" in n)
    assert note.startswith("1 of 14 images is of one colour throughout (p00)")
    assert note in (made.path / "report.html").read_text()


def test_two_repeated_test_images_and_unplaced_vertices_are_encoded(small, tmp_path):
    config = small(12, encode={"rois": ["all"], "latents": ["z"], "steps": 2, "strengths": [],
                               "moments": [], "layers": [], "resamples": 100})  # fmt: skip

    def few_repeats(responses, trials, folder):
        voxels = {"hemi": ["lh"] * 10 + ["rh"] * 10, "vertex": [*range(10)] * 2, "V1": 1}
        pd.DataFrame(voxels).to_csv(folder / "voxels.csv", index=False)
        trials.drop(index=range(16, len(trials)), inplace=True)
        return responses[:16]

    changed(config, few_repeats)
    made = encode(config, tmp_path / "small")
    means = pd.read_csv(made.path / "encoding" / "roi_means.csv")
    assert means["ceiling"].isna().all()
    assert means["value"].notna().all()
    assert [path.name for path in (made.path / "encoding" / "maps").iterdir()] == [MARKER]
    record = json.loads((made.path / "encoding" / "data.json").read_text())
    assert record["n_voxels"] == {"V1": 20, "all": 20}
    page = (made.path / "report.html").read_text()
    assert "Responses of a person&#39;s own data (data) were modelled" in page
    assert "subj01" not in page
