"""The check: what is counted, and that every fault is found at once."""

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat

from vox2pix.data import check


def own(folder, rng, **columns):
    """A folder with three repeats of eight stimuli, two sessions, two ROIs."""
    stimulus = [f"s{i}" for i in range(8)] * 3
    signal = rng.normal(size=(8, 6))
    betas = (np.tile(signal, (3, 1)) + rng.normal(size=(24, 6))).astype(np.float32)
    split = ["test" if name in ("s0", "s1") else "train" for name in stimulus]
    columns = {"session": [1] * 12 + [2] * 12, "split": split, **columns}
    path = folder(betas, stimulus, **columns)
    pd.DataFrame({"V1": [1, 1, 1, 0, 0, 0], "V2": [0, 0, 0, 1, 1, 1]}).to_csv(
        path / "voxels.csv", index=False
    )
    return path, betas


def test_counts_of_a_folder(folder):
    path, betas = own(folder, np.random.default_rng(0))
    betas[:, 4] = 7
    np.save(path / "responses.npy", betas)
    report = check(path)
    assert report.ok
    assert (report.layout, report.name, report.space) == ("folder", "own", "array")
    assert report.sessions == (1, 2)
    assert (report.train.n_trials, report.train.n_stimuli) == (18, 6)
    assert report.train.repeats == {3: 6}
    assert report.test.repeats == {3: 2}
    assert {name: (r.n_voxels, r.n_constant) for name, r in report.rois.items()} == {
        "V1": (3, 0),
        "V2": (3, 1),
        "all": (6, 1),
    }
    assert report.ncsnr == "estimated"
    assert 0 < report.rois["V1"].single < report.rois["V1"].averaged < 100
    assert (report.n_images, report.n_captioned) == (8, 0)
    assert "1 of 6 voxels never change." in report.notes
    assert any("captions cannot be decoded" in note for note in report.notes)
    json.dumps(dataclasses.asdict(report))


def test_noise_ceilings_from_the_file(nsd):
    tree = nsd()
    report = check(tree.root)
    assert report.ok
    assert report.layout == "nsd"
    assert report.ncsnr == "file"
    early = tree.ncsnr[tree.atlases["streams"] == 1].astype(float)
    assert report.rois["early"].single == pytest.approx(np.median(100 * early**2 / (early**2 + 1)))
    assert report.rois["early"].averaged == pytest.approx(
        np.median(100 * early**2 / (early**2 + 1 / 2))
    )
    assert report.rois["early"].n_voxels == len(early)
    assert report.train.n_stimuli == report.n_images - report.test.n_stimuli == 8
    assert (report.n_captioned, report.n_captions) == (12, 60)


def test_estimated_ceiling_is_near_the_one_of_the_signal(folder):
    rng = np.random.default_rng(3)
    n_stimuli, n_voxels, ncsnr = 300, 40, 0.8
    signal = ncsnr * rng.normal(size=(n_stimuli, n_voxels))
    betas = np.tile(signal, (3, 1)) + rng.normal(size=(3 * n_stimuli, n_voxels))
    path = folder(betas.astype(np.float32), [str(i % 5) for i in range(3 * n_stimuli)])
    pd.DataFrame({"stimulus_id": np.tile(np.arange(n_stimuli), 3)}).to_csv(
        path / "trials.csv", index=False
    )
    report = check(path)
    assert report.rois["all"].averaged == pytest.approx(100 * ncsnr**2 / (ncsnr**2 + 1 / 3), abs=3)


def test_every_fault_of_a_folder_is_found(folder):
    path, betas = own(folder, np.random.default_rng(0))
    betas[3] = betas[2]
    betas[20, 1] = np.inf
    np.save(path / "responses.npy", betas)
    table = pd.read_csv(path / "trials.csv")
    table.loc[0, "split"] = "train"
    table["trial"] = [*range(23), 22]
    table["trial"] += 1
    table.to_csv(path / "trials.csv", index=False)
    pd.DataFrame({"V1": [1] * 6, "V2": [0] * 6, "V3": [2] * 6}).to_csv(
        path / "voxels.csv", index=False
    )
    (path / "images/s4.png").unlink()
    (path / "images/s5.png").write_text("no image")
    pd.DataFrame({"stimulus_id": [f"s{i}" for i in range(7)], "caption": "A cat."}).to_csv(
        path / "captions.csv", index=False
    )
    report = check(path)
    expected = [
        "line 25: session 2, trial 23 is there twice",
        "stimulus 's0' is in train and in test",
        "ROI 'V2' is empty",
        "'2' in column V3 is no ROI flag",
        "holds 1 NaN or infinite responses (the first in trial 9 of session 2, voxel 2",
        "Trial 4 of session 1 has the same responses as trial 3 of session 1",
        "no image of stimulus 's4'",
        "s5.png cannot be read as PNG or JPEG",
        "no caption of stimulus 's7'",
    ]
    assert len(report.faults) == len(expected), report.faults
    for fault, words in zip(report.faults, expected, strict=True):
        assert words in fault
    assert not report.ok
    assert report.n_images == 6
    assert report.n_captioned == 7
    assert report.rois["V1"].n_voxels == 6


def test_every_fault_of_nsd_is_found(nsd):
    tree = nsd(n_sessions=4)
    (tree.folder / "betas_session02.hdf5").unlink()
    path = tree.folder / "betas_session03.hdf5"
    path.write_bytes(path.read_bytes()[:3000])
    with h5py.File(tree.folder / "betas_session04.hdf5", "a") as file:
        values = file["betas"][:].astype(np.float32)
        del file["betas"]
        values[:] = np.nan
        file["betas"] = values
    (tree.root / "nsddata_stimuli/stimuli/nsd/annotations/captions_val2017.json").unlink()
    report = check(tree.root, rois=("early", "FFA-2", "erly"))
    words = [
        "betas_session02.hdf5 does not exist",
        "betas_session03.hdf5 is truncated",
        "ROI 'FFA-2' is empty",
        "no ROI 'erly'; did you mean early",
        "session 4 holds 0 or NaN in all trials of all of its",
        "have no caption of stimulus",
    ]
    for one in words:
        assert any(one in fault for fault in report.faults), (one, report.faults)
    assert report.sessions == (1,)
    assert report.rois["early"].n_voxels == (tree.atlases["streams"] == 1).sum()
    assert report.rois["early"].n_constant == 0


def test_faults_of_files_that_do_not_need_each_other(nsd):
    tree = nsd()
    design = tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    mat = loadmat(design)
    savemat(design, {"masterordering": mat["masterordering"]})
    report = check(tree.root, rois="nowhere")
    assert len(report.faults) == 2
    assert any("no variable subjectim, sharedix" in fault for fault in report.faults)
    assert any("no ROI 'nowhere'" in fault for fault in report.faults)
    assert report.name == ""


def test_a_split_that_the_table_of_stimuli_contradicts(nsd):
    tree = nsd()
    design = tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    mat = {k: v for k, v in loadmat(design).items() if not k.startswith("__")}
    savemat(design, {**mat, "sharedix": mat["sharedix"] + 1})
    report = check(tree.root)
    assert len(report.faults) == 1
    assert "sharedix or shared1000 is off by one" in report.faults[0]
    assert report.sessions == (1, 2)


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (np.float32(1), "has images of shape (): save an array (n, height, width)"),
        (np.zeros(3), "has images of shape (3,)"),
        (np.zeros((3, 0, 4, 3), np.uint8), "image 0 has shape (0, 4, 3)"),
        (np.zeros((3, 4, 4), "U2"), "image 0 is <U2: save images as uint8"),
        (np.zeros((3, 4, 4), [("a", "f4")]), "not numbers: save a plain array"),
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays_that_are_no_images(folder, images, fault, form):
    path = folder(np.random.default_rng(0).normal(size=(3, 4)), ["0", "1", "2"])
    shutil.rmtree(path / "images")
    if form == "npy":
        np.save(path / "stimuli.npy", images)
    else:
        np.savez(path / "stimuli.npz", images=images, stimulus_id=["0", "1", "2"])
    report = check(path)
    assert any(f"stimuli.{form}" in one and fault in one for one in report.faults), report.faults
    assert report.n_images == 0


def test_a_single_id_is_no_list(folder):
    path = folder(np.random.default_rng(0).normal(size=(2, 4)), ["0", "1"])
    shutil.rmtree(path / "images")
    np.savez(path / "stimuli.npz", images=np.zeros((2, 4, 4)), stimulus_id="0")
    assert "holds 2 images and 1 different stimulus_id" in check(path).faults[0]


def test_responses_beyond_float32(folder):
    betas = np.random.default_rng(0).normal(size=(2, 3))
    betas[1, 2] = 1e39
    report = check(folder(betas, ["a", "b"]))
    (fault,) = report.faults
    assert "holds 1 NaN or infinite responses (the first in trial 2 of session 1, voxel 3" in fault
    assert "float32 ends at 3.4e38" in fault


def test_nothing_can_be_opened(tmp_path):
    report = check(tmp_path / "nowhere")
    assert not report.ok
    assert report.rois == {}
    (tmp_path / "nsddata").mkdir()
    report = check(tmp_path)
    assert report.layout == "nsd"
    assert any("nsddata_betas" in fault for fault in report.faults)


def test_unknown_ceiling_and_dark_images(folder):
    path = folder(np.random.default_rng(0).normal(size=(2, 3)), ["a", "b"])
    report = check(path)
    assert report.ok
    assert report.ncsnr == "unknown"
    assert np.isnan(report.rois["all"].single)
    assert any("brighter than 1 of 255" in note for note in report.notes)
    assert "No trial is marked as test." in report.notes
    shutil.rmtree(path / "images")
    assert any("own has no images" in fault for fault in check(path).faults)


def test_progress_is_told(nsd):
    seen = []
    check(nsd().root, progress=lambda *args: seen.append(args))
    assert ("sessions", 2, 2) in seen
    assert seen[-1] == ("images", 12, 12)
