"""Voxels without data in a session, against trees that do not have these voxels at all."""

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data import check, open_folder, open_nsd
from vox2pix.data.no_data import is_empty
from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError

ROIS = ("early", "hV4")
STIMULI = [f"s{i}" for i in range(6)] * 2
SESSIONS = [1] * 6 + [2] * 6
SPLIT = ["test", "test", "train", "train", "train", "train"] * 2


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_empty_voxels_are_those_of_a_plain_loop(data):
    n_trials, n_voxels = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 6))
    dtype = data.draw(st.sampled_from([np.int16, np.float32]))
    cells = st.sampled_from(
        [0, 0, 0, 1] if dtype == np.int16 else [0, 0, np.nan, np.nan, 1, np.inf]
    )
    values = np.array([[data.draw(cells) for _ in range(n_voxels)] for _ in range(n_trials)], dtype)
    head = data.draw(st.integers(1, n_trials))
    calls = []

    def read(some):
        calls.append(some)
        return values[:, some]

    empty = is_empty(values[:head], n_trials, read)
    for voxel in range(n_voxels):
        column = values[:, voxel].tolist()
        nan = [value != value for value in column]
        zero = [value == 0 for value in column]
        nothing = all(n or z for n, z in zip(nan, zero, strict=True))
        assert empty[voxel] == (all(nan) if n_trials == 1 else nothing)
    assert len(calls) <= 1


def blank_volume(tree, session, places, dtype=np.int16, value=0):
    """Set voxels of a session to a value in HDF5, as that type."""
    path = tree.folder / f"betas_session{session:02d}.hdf5"
    with h5py.File(path) as file:
        values = file["betas"][:].astype(dtype)
    for x, y, z in places:
        values[:, z, y, x] = value
    with h5py.File(path, "w") as file:
        file["betas"] = values


def without(tree, places):
    """Take voxels out of every label image."""
    for file in tree.rois.glob("*.nii.gz"):
        image = nib.load(file)
        values = np.asarray(image.dataobj)
        for x, y, z in places:
            values[x, y, z] = 0
        nib.save(nib.Nifti1Image(values, image.affine), file)


def everything(subject):
    """Return all that depends on voxels."""
    return [
        subject.train.betas(),
        subject.test.betas(),
        subject.train.mean_betas(),
        subject.noise_ceiling(),
        *(subject.voxel_mask(roi) for roi in subject.rois),
        subject.voxels.drop(columns="hemi", errors="ignore").to_numpy(float),
    ]


def same(one, other):
    assert list(one.voxels) == list(other.voxels)
    for a, b in zip(everything(one), everything(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("dtype", "value"), [("int16", 0), ("float32", 0), ("float64", np.nan)])
def test_volumes_equal_those_of_regions_without_the_voxels(nsd, tmp_path, dtype, value):
    tree = nsd()
    full = open_nsd(tree.root, rois=ROIS)
    before = full.train.betas()
    lost = [int(i) for i in (0, 3, 4, len(full.voxels) - 1)]
    places = full.voxels[["x", "y", "z"]].to_numpy()
    blank_volume(tree, 1, places[lost[:2]], dtype, value)
    blank_volume(tree, 2, places[lost[1:]], dtype, value)
    subject = open_nsd(tree.root, rois=ROIS)
    has_data = np.ones(len(full.voxels), bool)
    has_data[lost] = False
    counts = {roi: int(full.voxel_mask(roi)[lost].sum()) for roi in ROIS}
    assert subject.left_out == {**counts, "all": 4}
    (note,) = subject.notes
    assert note.startswith(
        f"4 of {len(full.voxels)} voxels have no data (0 or NaN in every trial) in sessions 1 (2), "
        "2 (3) and are left out of all sessions (early "
    )
    if dtype == "int16":  # else the values of the other voxels are in another unit
        np.testing.assert_array_equal(subject.train.betas(), before[:, has_data])
    without(tree, places[lost])
    oracle = open_nsd(tree.root, rois=ROIS)
    assert oracle.notes == ()
    assert oracle.left_out == {}
    same(subject, oracle)
    report = check(tree.root, rois=ROIS)
    assert report.ok
    assert not any(roi.n_left_out for roi in report.rois.values())
    y = np.random.default_rng(0).normal(size=(len(subject.train.stimulus_ids), 3))
    decoded = [
        RidgeDecoder().fit(one.train.mean_betas(), y).predict(one.test.mean_betas())
        for one in (subject, oracle)
    ]
    np.testing.assert_array_equal(*decoded)


def test_the_set_is_that_of_the_opened_sessions(nsd):
    tree = nsd()
    full = open_nsd(tree.root, rois=ROIS)
    blank_volume(tree, 2, full.voxels[["x", "y", "z"]].to_numpy()[:2])
    assert open_nsd(tree.root, rois=ROIS, sessions=1).left_out == {}
    assert open_nsd(tree.root, rois=ROIS).left_out["all"] == 2
    again = open_nsd(tree.root, rois=ROIS)
    assert len(again.train.betas().T) == len(again.test.betas().T) == len(full.voxels) - 2


def test_nifti_volumes(nsd):
    tree = nsd(volume="nifti")
    full = open_nsd(tree.root, rois=ROIS)
    path = tree.folder / "betas_session02.nii.gz"
    image = nib.load(path)
    values = np.asarray(image.dataobj)
    values[tuple(full.voxels[["x", "y", "z"]].to_numpy()[5])] = 0
    nib.save(nib.Nifti1Image(values, image.affine), path)
    subject = open_nsd(tree.root, rois=ROIS)
    has_data = np.arange(len(full.voxels)) != 5
    np.testing.assert_array_equal(subject.train.betas(), full.train.betas()[:, has_data])


def test_surfaces_equal_those_of_regions_without_the_vertices(nsd):
    tree = nsd(surface=True)
    full = open_nsd(tree.root, rois=ROIS[:1], space="fsaverage5")
    before = full.train.betas()
    lost = [2, len(full.voxels) - 3]
    for row, hemi in zip(lost, ("lh", "rh"), strict=True):
        assert full.voxels["hemi"].iloc[row] == hemi
        vertex = int(full.voxels["vertex"].iloc[row])
        path = tree.surface / f"{hemi}.betas_session02.mgh"
        values = np.asarray(nib.load(path).dataobj).copy()
        values[vertex] = np.nan
        nib.save(nib.MGHImage(values, np.eye(4)), path)
    subject = open_nsd(tree.root, rois=ROIS[:1], space="fsaverage5")
    has_data = np.ones(len(full.voxels), bool)
    has_data[lost] = False
    np.testing.assert_array_equal(subject.train.betas(), before[:, has_data])
    np.testing.assert_array_equal(subject.voxels["vertex"], full.voxels["vertex"][has_data])
    assert subject.left_out == {"early": 2, "all": 2}
    assert "2 of " in subject.notes[0] and "in session 2 (2)" in subject.notes[0]
    whole = open_nsd(tree.root, rois="all", space="fsaverage5")
    assert len(whole.voxels) == 2 * 10_242 - 2
    assert whole.test.betas().shape[1] == 2 * 10_242 - 2


def test_part_of_a_session_is_no_missing_session(nsd):
    """Zeros at the start are responses; a NaN in some trials is a damaged file."""
    tree = nsd()
    full = open_nsd(tree.root, rois=ROIS)
    x, y, z = full.voxels[["x", "y", "z"]].iloc[3]
    path = tree.folder / "betas_session02.hdf5"
    with h5py.File(path, "r+") as file:
        file["betas"][:6, z, y, x] = 0
    subject = open_nsd(tree.root, rois=ROIS)
    assert subject.left_out == {}
    assert not subject.train.betas()[:, 3].all()
    blank_volume(tree, 2, [], np.float32)
    with h5py.File(path, "r+") as file:
        file["betas"][:6, z, y, x] = np.nan
    with pytest.raises(UserError, match=r"session02\.hdf5 holds 6 NaN or infinite responses"):
        open_nsd(tree.root, rois=ROIS).betas_source.read_session(2, np.arange(4))


def test_a_region_without_a_voxel_is_refused(nsd):
    tree = nsd()
    full = open_nsd(tree.root, rois=ROIS)
    places = full.voxels[["x", "y", "z"]].to_numpy()[full.voxel_mask("hV4")]
    blank_volume(tree, 2, places)
    with pytest.raises(
        UserError,
        match=rf"^subj01 has no voxel of ROI 'hV4' with data in every session: session 2 holds 0 "
        rf"or NaN in all trials of all of its {len(places)} voxels; leave session 2 out by",
    ):
        open_nsd(tree.root, rois=ROIS)
    open_nsd(tree.root, rois=ROIS, sessions=1)
    others = full.voxels[["x", "y", "z"]].to_numpy()
    blank_volume(tree, 1, others)
    (fault,) = [one for one in check(tree.root, rois=ROIS).faults if "no voxel" in one]
    assert "session 1 holds 0 or NaN" in fault


def test_a_session_that_costs_most_voxels_is_named(nsd):
    tree = nsd()
    full = open_nsd(tree.root, rois="early")
    n = len(full.voxels)
    places = full.voxels[["x", "y", "z"]].to_numpy()
    blank_volume(tree, 2, places[: n // 2 + 1])
    blank_volume(tree, 1, places[-1:])
    assert open_nsd(tree.root, rois="early").notes[1] == (
        f"{n // 2 + 1} of {n} voxels are left out because of session 2 alone: leave session 2 out "
        "by data.sessions."
    )


@pytest.mark.parametrize("form", ["npy", "npz", "h5", "zarr"])
@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_folders(folder, form, nothing):
    betas = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    betas[np.array(SESSIONS) == 2, 1] = nothing
    betas[:, 4] = nothing
    path = folder(betas, STIMULI, form, session=SESSIONS, split=SPLIT)
    pd.DataFrame({"V1": [1, 1, 0, 0, 1], "V2": [0, 0, 1, 1, 0], "ncsnr": np.arange(5)}).to_csv(
        path / "voxels.csv", index=False
    )
    subject = open_folder(path)
    has_data = [0, 2, 3]
    assert subject.left_out == {"V1": 2, "V2": 0, "all": 2}
    assert subject.notes == (
        "2 of 5 voxels have no data (0 or NaN in every trial) in sessions 1 (1), 2 (2) and are "
        "left out of all sessions (V1 2 of 3).",
    )
    np.testing.assert_array_equal(subject.voxels["ncsnr"], has_data)
    test = np.array(SPLIT) == "test"
    np.testing.assert_array_equal(subject.test.betas(), betas[test][:, has_data])
    np.testing.assert_array_equal(subject.train.betas("V1"), betas[~test][:, [0]])
    assert list(subject.voxels.index) == [0, 1, 2]
    report = check(path)
    assert report.ok
    assert subject.notes[0] in report.notes
    assert {roi: n.n_left_out for roi, n in report.rois.items()} == {"V1": 2, "V2": 0, "all": 2}


def test_a_folder_of_images(folder):
    path = folder(np.zeros((1, 1)), STIMULI, "none", session=SESSIONS, split=SPLIT)
    rng = np.random.default_rng(1)
    volumes = rng.normal(size=(3, 4, 5, 12)).astype(np.float32)
    mask = rng.random((3, 4, 5)) < 0.5
    places = np.argwhere(mask)
    volumes[(*places[2], slice(6, 12))] = 0
    affine = np.diag([2.0, 2, 3, 1])
    nib.save(nib.Nifti1Image(volumes, affine), path / "responses.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.int16), affine), path / "mask.nii.gz")
    subject = open_folder(path)
    has_data = np.arange(len(places)) != 2
    np.testing.assert_array_equal(subject.voxels[["x", "y", "z"]], places[has_data])
    train = np.array(SPLIT) == "train"
    np.testing.assert_array_equal(subject.train.betas(), volumes[mask].T[train][:, has_data])


def test_single_trials_of_zero_are_responses(folder):
    betas = np.array([[0.0, 1], [2, 0]], np.float32)
    subject = open_folder(folder(betas, ["a", "b"], session=[1, 2]))
    np.testing.assert_array_equal(subject.train.betas(), betas)
    assert subject.left_out == {}


def test_nothing_but_zeros_is_refused(folder):
    path = folder(np.zeros((4, 3)), ["a", "b", "c", "d"], session=[1, 1, 2, 2])
    with pytest.raises(
        UserError,
        match=r"own has no voxel with data in every session: sessions 1, 2 hold 0 or NaN in .*"
        r"remove the trials of session 1 from responses\.npy",
    ):
        open_folder(path)


def test_maps_show_no_data(phantom_with_lost_voxels):
    """What is left out is NaN in a map, as what lies outside the regions."""
    from vox2pix.encoding.maps import to_volume

    subject, lost = phantom_with_lost_voxels
    values = np.asarray(to_volume(subject, np.ones(len(subject.voxels))).dataobj)
    assert np.isnan(values[tuple(np.transpose(lost))]).all()
    assert np.nansum(values) == len(subject.voxels)


@pytest.fixture
def phantom_with_lost_voxels(nsd):
    tree = nsd()
    lost = open_nsd(tree.root, rois=ROIS).voxels[["x", "y", "z"]].to_numpy()[[1, 6]]
    blank_volume(tree, 1, lost)
    return open_nsd(tree.root, rois=ROIS), lost


def test_a_plan_reads_no_responses(nsd, monkeypatch):
    tree = nsd()
    monkeypatch.setattr("vox2pix.data.nsd.read_hdf5", lambda *_args, **_kwargs: 1 / 0)
    assert open_nsd(tree.root, rois=ROIS, leave_out=False).left_out == {}
    with pytest.raises(ZeroDivisionError):
        open_nsd(tree.root, rois=ROIS)
