"""An experiment on data of any layout: its settings, its files, where it may not write."""

import h5py
import numpy as np
import pandas as pd
import pytest
import tomli_w
from PIL import Image

from vox2pix.config import load_config
from vox2pix.errors import UserError
from vox2pix.pipeline import Run
from vox2pix.pipeline.inputs import input_files, require_outside_data
from vox2pix.pipeline.run import _as_toml, open_subject
from vox2pix.pipeline.sizes import experiment_sizes
from vox2pix.store import RunFolder


@pytest.fixture
def experiment(tmp_path):
    """Write an experiment on GLMsingle's output, with everything beside it."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "out"
    folder.mkdir(parents=True)
    with h5py.File(folder / "TYPED_FITHRF_GLMDENOISE_RR.hdf5", "w") as file:
        file["betasmd"] = rng.normal(size=(30, 1, 1, 24)).astype(np.float32)
    np.save(folder / "DESIGNINFO.npy", {"stimorder": [*range(8)] * 3, "numtrialrun": [12, 12]})
    names = [f"image{i}" for i in range(8)]
    pd.DataFrame({"condition": range(8), "stimulus_id": names}).to_csv(
        tmp_path / "data" / "stimuli.csv", index=False
    )
    pd.DataFrame({"V1": [1] * 20 + [0] * 10}).to_csv(tmp_path / "data" / "rois.csv", index=False)
    (tmp_path / "data" / "images").mkdir()
    for name in names:
        pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{name}.png")
    settings = {
        "name": "small",
        "data": {
            "source": "glmsingle", "path": "data/out", "stimuli": "data/stimuli.csv",
            "images": "data/images", "rois": "data/rois.csv", "test": 0.25,
        },
        "decode": {"z": ["V1"]},
    }  # fmt: skip
    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(settings))
    return path


def made(experiment, **data):
    config = load_config(experiment)
    config = config.model_copy(update={"data": config.data.model_copy(update=data)})
    return Run(config, RunFolder(experiment.parent / "runs" / "small"))


def test_the_subject_and_its_sizes_come_from_the_layout(experiment):
    run = made(experiment)
    subject = open_subject(run.config, run.path)
    assert len(subject.test.stimulus_ids) == 2
    assert subject.voxel_mask("V1").sum() == 20
    sizes = experiment_sizes(run.config, run.path, {"z": ("V1",)}, "run")
    assert (sizes.n_train_trials, sizes.n_train, sizes.n_test) == (18, 6, 2)
    assert sizes.n_voxels == {"z": 20}


def test_every_file_that_is_read_is_hashed(experiment):
    run, data = made(experiment), experiment.parent / "data"
    (data / "out" / "notes.txt").write_text("not read")
    before = input_files(run)
    assert set(before) == {
        "./DESIGNINFO.npy", "./TYPED_FITHRF_GLMDENOISE_RR.hdf5", "stimuli:", "rois:",
        *(f"images:image{i}.png" for i in range(8)),
    }  # fmt: skip
    for changed in ("stimuli.csv", "rois.csv", "images/image3.png", "out/DESIGNINFO.npy"):
        path = data / changed
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        after = input_files(run)
        assert [name for name in before if before[name] != after[name]] != []
        path.write_bytes(content)
    assert input_files(run) == before


def test_a_run_folder_among_the_images_is_refused(experiment):
    run, data = made(experiment), experiment.parent / "data"
    require_outside_data(run.config.data, data / "out" / "run")
    with pytest.raises(UserError, match="is among the files that are read as data"):
        require_outside_data(run.config.data, data / "images" / "run")


def test_an_unknown_layout_is_refused_before_the_work(experiment):
    run = made(experiment, source="glmsingel")
    with pytest.raises(UserError, match="There is no reader of data 'glmsingel'; did you mean"):
        require_outside_data(run.config.data, run.path)


def test_everything_may_move_together(experiment):
    """Settings that a run saved name each place also from the run's own folder."""
    run = made(experiment)
    run.path.mkdir(parents=True)
    (run.path / "config.toml").write_text(_as_toml(run.config, run.path))
    moved = experiment.parent.with_name(f"{experiment.parent.name}-moved")
    experiment.parent.rename(moved)
    config = load_config(moved / "runs" / "small" / "config.toml")
    for name in ("path", "stimuli", "images", "rois"):
        assert getattr(config.data, name).is_relative_to(moved)
    assert config.data.test == 0.25
    assert len(open_subject(config, run.path).trials) == 24
