"""THINGS-fMRI's tables, with pandas' HDF5 written as it stores a frame, against the folder."""

import h5py
import numpy as np
import pandas as pd
import pytest

from data.lab_truth import require_equal
from vox2pix.data import check, open_folder, open_things
from vox2pix.data._registry import recognised
from vox2pix.data.things import ThingsSource
from vox2pix.errors import UserError


@pytest.fixture
def things(lab, tmp_path):
    """Write the three files of one participant."""
    root = tmp_path / "betas_csv"
    root.mkdir()
    betas = np.load(lab.folder / "responses.npy").T  # one row per voxel
    ids = np.arange(len(betas)) * 3 + 7
    with h5py.File(root / "sub-01_ResponseData.h5", "w") as file:
        group = file.create_group("ResponseData")
        group["axis0"] = [b"voxel_id", *[str(i).encode() for i in range(betas.shape[1])]]
        group.create_dataset("block0_values", data=betas, chunks=(20, 96), compression="gzip")
        group["block1_values"] = ids[:, None]
    trials = pd.DataFrame(
        {
            "trial_type": lab.split, "session": lab.session, "run": lab.run,
            "concept": [f"concept{c % 10}" for c in lab.conditions],
            "stimulus": [f"{name}.jpg" for name in lab.ids], "subject_id": 1,
        }
    )  # fmt: skip
    trials.to_csv(root / "sub-01_StimulusMetadata.csv")
    nc = np.linspace(0, 60, len(betas))
    voxels = pd.DataFrame(np.argwhere(lab.mask), columns=["voxel_x", "voxel_y", "voxel_z"])
    voxels.insert(0, "voxel_id", ids)
    voxels = voxels.assign(
        subject_id=1.5, nc_singletrial=nc, nc_testset=90.0, **{"prf-size": 2.5},
        early=lab.regions["early"][lab.mask].astype(int),
        ventral=lab.regions["ventral"][lab.mask].astype(float), lFFA=0,
    )  # fmt: skip
    voxels.to_csv(root / "sub-01_VoxelMetadata.csv", index=False)
    (root / "sub-01_other.csv").write_text("not read")
    return root


def test_the_tables_equal_the_folder(lab, things):
    subject, reference = open_things(things, images=lab.images), open_folder(lab.folder)
    stripped = subject.trials["stimulus_id"].str.removesuffix(".jpg")
    subject.trials["stimulus_id"] = stripped
    require_equal(subject, reference)
    nc = np.linspace(0, 60, len(subject.voxels))
    np.testing.assert_allclose(subject.noise_ceiling(n_repeats=1), nc, rtol=1e-9)
    assert subject.origin.dataset.name == "THINGS-fMRI"
    assert any("1 regions of" in note and "lFFA" in note for note in subject.notes)
    assert recognised(things) is ThingsSource
    assert [name for name, _, _ in ThingsSource(root=things).listed()] == [
        f"./sub-01_{name}"
        for name in ("ResponseData.h5", "StimulusMetadata.csv", "VoxelMetadata.csv")
    ]
    report = check(ThingsSource(root=things, images=lab.images))
    assert report.ok, report.faults


def test_concepts_of_the_test_set_can_be_left_out(lab, things):
    subject = open_things(things, zero_shot=True)
    concept = lab.conditions % 10
    is_test = lab.split == "test"
    remain = is_test | ~np.isin(concept, concept[is_test])
    assert 0 < remain.sum() < 96
    assert subject.trials["stimulus_id"].tolist() == [
        f"{name}.jpg" for name in np.array(lab.ids)[remain]
    ]
    whole = subject.select(np.ones(len(subject.trials), bool)).betas()
    np.testing.assert_array_equal(whole, np.load(lab.folder / "responses.npy")[remain])


def test_files_that_do_not_fit_are_refused(things):
    with pytest.raises(UserError, match=r"participants 01: choose one by data\.options"):
        open_things(things, "sub-02")
    path = things / "sub-01_VoxelMetadata.csv"
    table = pd.read_csv(path)
    table.iloc[::-1].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"has voxel_id 7 where .*, line 2, has 364 \(120 such"):
        open_things(things)
    table.iloc[1:].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"VoxelMetadata\.csv 119 voxels .* 96 trials: download"):
        open_things(things)
    table.to_csv(path, index=False)
    trials = things / "sub-01_StimulusMetadata.csv"
    pd.read_csv(trials).assign(trial_type="catch").to_csv(trials, index=False)
    with pytest.raises(UserError, match=r"split 'catch' of stimulus .* is neither train nor test"):
        open_things(things)
