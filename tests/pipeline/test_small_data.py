"""Experiments with hardly any pictures end well, or in one sentence before the work."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.conftest import experiment
from vox2pix.config import Config
from vox2pix.errors import UserError
from vox2pix.evaluation.transformers_models import find_folder
from vox2pix.pipeline import doubts, run

N_TEST = 2


@pytest.fixture
def small(tmp_path):
    """Return a function that writes a folder of so many training pictures, and its experiment."""

    def write(n_train: int, **tables) -> Config:
        folder, rng = tmp_path / "data", np.random.default_rng(0)
        (folder / "pictures").mkdir(parents=True)
        ids = [f"p{i:02d}" for i in range(n_train + N_TEST)]
        for name in ids:
            picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            picture.resize((64, 64)).save(folder / "pictures" / f"{name}.png")
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
        (0, {}, "has 0 training pictures, and a decoder needs 2 or more; mark fewer"),
        (1, {}, "has 1 training pictures, and a decoder needs 2 or more"),
        (4, {"decode": {"selection": "cv"}}, "has 4 training pictures for 5 folds; give it more"),
        (2, {"protocol": "takagi2023"}, "has 4 training trials for 5 folds; give it more"),
    ],
)
def test_too_few_training_pictures_are_refused_before_the_work(
    small, tmp_path, n_train, tables, sentence
):
    with pytest.raises(UserError, match=sentence):
        run(small(n_train, **tables), tmp_path / "small")


def test_two_test_pictures_are_drawn_scored_and_audited_as_far_as_they_go(small, tmp_path):
    made = run(small(12), tmp_path / "small")
    checks = {c["name"]: c for c in json.loads((made.path / "audit.json").read_text())}
    assert checks["effective rank"]["verdict"] is None
    assert "2 test pictures are too few" in checks["effective rank"]["sentence"]
    assert checks["diversity"]["verdict"]


def test_a_metric_is_named_by_its_encoders_folder_and_not_by_where_that_lies(small, tmp_path):
    encoder = shutil.copytree(find_folder("phantom"), tmp_path / "clip")
    config = small(12, evaluate={"encoder": str(encoder)}, audit={"enabled": False})
    made = run(config, tmp_path / "small")
    records = json.loads((made.path / "metrics.json").read_text())
    assert "two-way clip" in {record["metric"] for record in records}
    assert str(tmp_path) not in json.dumps(records)


def test_a_held_out_cluster_leaves_fewer_pictures_than_folds(small, tmp_path, monkeypatch):
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])  # six of training, two of test
    monkeypatch.setattr(doubts, "clusters", lambda *_: labels)
    config = small(6, decode={"selection": "cv", "alphas": [1.0, 10.0]}, audit={"clusters": 2})
    made = run(config, tmp_path / "small")
    held_out = doubts.doubtful_features(made, "z", "held-out")
    assert np.isfinite(held_out).all()
    assert (held_out[0] != held_out[1]).any()


def test_a_cluster_that_holds_all_of_training_is_refused_and_pictures_are_kept(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr(doubts, "clusters", lambda *_: np.array([0, 0, 0, 0, 0, 0, 0, 1]))
    config = small(6, audit={"clusters": 2})
    sentence = r"audit\.clusters = 2: without one of the clusters 0 training pictures are left"
    with pytest.raises(UserError, match=sentence):
        run(config, tmp_path / "small")
    without = Config.model_validate(raw(config) | {"audit": {"enabled": False}})
    drawn = (tmp_path / "small" / "stages" / "generate.json").read_bytes()
    made = run(without, tmp_path / "small")
    assert (made.path / "stages" / "generate.json").read_bytes() == drawn
