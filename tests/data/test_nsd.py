"""The NSD reader against a plain one made of h5py, nibabel and scipy, value for value."""

import json
import shutil

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import loadmat

from vox2pix.data import open_nsd, volumes

BETAS = "betas_fithrf_GLMdenoise_RR"


def plain_design(root, subject=1):
    """Return the 1-based 73k ids in time order and the shared ones, by scipy alone."""
    mat = loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")
    order, images = mat["masterordering"][0], mat["subjectim"][subject - 1]
    return [int(images[i - 1]) for i in order], set(mat["sharedix"][0].tolist())


def plain_betas(root, where, sessions=(1, 2), subject=1):
    """Return percent signal change (n_trials, n_voxels) at x, y, z, one voxel after the other."""
    folder = root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/{BETAS}"
    rows = []
    for session in sessions:
        path = folder / f"betas_session{session:02d}.hdf5"
        if path.exists():
            with h5py.File(path) as file:
                volumes = file["betas"][:]
            columns = [volumes[:, z, y, x] for x, y, z in where]
        else:
            volumes = np.asarray(nib.load(path.with_suffix(".nii.gz")).dataobj)
            columns = [volumes[x, y, z, :] for x, y, z in where]
        rows.append(np.stack(columns, axis=1) / 300)
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("volume", "chunks"),
    [
        ("hdf5", (12, 1, 1, 1)),
        ("hdf5", None),
        ("hdf5", (1, 7, 6, 5)),
        ("hdf5", (5, 2, 3, 2)),
        ("nifti", None),
    ],
)
def test_betas_equal_a_plain_reader(nsd, volume, chunks):
    tree = nsd(volume=volume, chunks=chunks)
    subject = open_nsd(tree.root)
    where = subject.voxels[["x", "y", "z"]].to_numpy()
    labels = nib.load(tree.rois / "streams.nii.gz").get_fdata()
    assert {tuple(v) for v in where.tolist()} == {
        tuple(v) for v in np.argwhere((labels == 1) | (labels == 5)).tolist()
    }
    ids, shared = plain_design(tree.root)
    expected = plain_betas(tree.root, where)
    is_test = np.array([i in shared for i in ids[:24]])
    assert 0 < is_test.sum() < 24
    np.testing.assert_allclose(subject.test.betas(), expected[is_test], rtol=1e-6)
    np.testing.assert_allclose(subject.train.betas(), expected[~is_test], rtol=1e-6)
    early = np.array([labels[tuple(v)] == 1 for v in where])
    np.testing.assert_array_equal(subject.voxel_mask("early"), early)
    np.testing.assert_allclose(
        subject.train.betas("early"), expected[~is_test][:, early], rtol=1e-6
    )
    assert subject.train.betas().dtype == np.float32


def test_blocks_smaller_than_a_session(nsd, monkeypatch):
    monkeypatch.setattr("vox2pix.data.volumes._BLOCK_BYTES", 1000)
    for i, options in enumerate([{"chunks": None}, {"volume": "nifti"}, {"chunks": (5, 2, 3, 2)}]):
        tree = nsd(**options)
        subject = open_nsd(tree.root, rois="all")
        where = subject.voxels[["x", "y", "z"]].to_numpy()
        assert len(where) == tree.mask.sum(), i
        whole = subject.select(np.ones(24, bool))
        np.testing.assert_allclose(whole.betas(), plain_betas(tree.root, where), rtol=1e-6)
        shutil.rmtree(tree.root)


def test_trials_are_those_of_the_design(nsd):
    tree = nsd(subject=2)
    subject = open_nsd(tree.root, subject=2)
    ids, shared = plain_design(tree.root, subject=2)
    trials = subject.trials
    assert list(trials["stimulus_id"]) == [f"{i - 1:05d}" for i in ids[:24]]
    assert list(trials["split"]) == ["test" if i in shared else "train" for i in ids[:24]]
    assert list(trials["session"]) == [1] * 12 + [2] * 12
    assert list(trials["run"]) == ([1] * 6 + [2] * 6) * 2
    assert subject.name == "subj02"
    assert subject.sessions == (1, 2)
    assert set(subject.test.stimulus_ids) == {f"{i - 1:05d}" for i in shared}


def test_a_later_session_alone_keeps_its_place_in_the_design(nsd):
    tree = nsd()
    subject = open_nsd(tree.root, sessions=[2])
    ids, _ = plain_design(tree.root)
    assert list(subject.trials["stimulus_id"]) == [f"{i - 1:05d}" for i in ids[12:24]]
    where = subject.voxels[["x", "y", "z"]].to_numpy()
    whole = subject.select(np.ones(12, bool))
    np.testing.assert_allclose(
        whole.betas(), plain_betas(tree.root, where, sessions=[2]), rtol=1e-6
    )
    assert open_nsd(tree.root, sessions=1).sessions == (1,)


def test_without_responses_tsv_the_run_is_unknown(nsd):
    tree = nsd()
    (tree.root / "nsddata/ppdata/subj01/behav/responses.tsv").unlink()
    assert set(open_nsd(tree.root).trials["run"]) == {0}


def test_mean_betas_average_the_repeats(nsd):
    subject = open_nsd(nsd().root)
    for split in (subject.train, subject.test):
        single = split.betas("ventral").astype(float)
        expected = [
            single[(split.trials["stimulus_id"] == i).to_numpy()].mean(axis=0)
            for i in split.stimulus_ids
        ]
        np.testing.assert_allclose(split.mean_betas("ventral"), expected, rtol=1e-5, atol=1e-6)
        assert split.repeats.tolist() == [2] * len(split.stimulus_ids)


def test_iter_betas_goes_session_by_session(nsd):
    subject = open_nsd(nsd().root)
    parts = list(subject.train.iter_betas("early"))
    assert [set(trials["session"]) for trials, _ in parts] == [{1}, {2}]
    np.testing.assert_array_equal(
        np.concatenate([betas for _, betas in parts]), subject.train.betas("early")
    )
    assert [i for trials, _ in parts for i in trials.index] == list(range(subject.train.n_trials))


@pytest.mark.parametrize(
    ("roi", "atlas", "labels"),
    [
        ("V1v", "prf-visualrois", [1]),
        ("V1v+V1d", "prf-visualrois", [1, 2]),
        ("Kastner2015:V1v", "Kastner2015", [1]),
        ("IPS0", "Kastner2015", [3]),
        ("ecc4+", "prf-eccrois", [2]),
        ("FFA-1", "floc-faces", [2]),
        ("nsdgeneral", "nsdgeneral", [1]),
        ("streams", "streams", [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_regions_of_any_atlas(nsd, roi, atlas, labels):
    tree = nsd()
    subject = open_nsd(tree.root, rois=[roi])
    image = np.asarray(nib.load(tree.rois / f"{atlas}.nii.gz").dataobj)
    where = np.argwhere(np.isin(image, labels))
    np.testing.assert_array_equal(subject.voxels[["x", "y", "z"]].to_numpy(), where)
    assert subject.voxel_mask(roi).all()


def test_unions_of_regions(nsd):
    subject = open_nsd(nsd().root, rois=("early", "ventral", "V1v+ecc4+"))
    assert subject.rois == ("early", "ventral", "V1v", "ecc4+")
    either = subject.voxel_mask("early") | subject.voxel_mask("ecc4+")
    np.testing.assert_array_equal(subject.voxel_mask("early+ecc4+"), either)
    np.testing.assert_array_equal(subject.voxel_mask(["early", "ecc4+"]), either)
    np.testing.assert_array_equal(subject.voxel_mask("ecc4++early"), either)
    assert subject.voxel_mask("all").all()


def test_a_mask_of_ones_own_picks_voxels(nsd):
    subject = open_nsd(nsd().root, rois=("early", "ventral"))
    mask = np.arange(len(subject.voxels)) % 3 == 0
    np.testing.assert_array_equal(subject.voxel_mask(mask), mask)
    np.testing.assert_array_equal(
        subject.train.mean_betas(mask), subject.train.mean_betas("all")[:, mask]
    )
    with pytest.raises(ValueError, match="one value per voxel"):
        subject.voxel_mask(mask[:-1])


def test_all_voxels_beside_named_regions(nsd):
    tree = nsd()
    subject = open_nsd(tree.root, rois=("all", "early"))
    union = (tree.mask > 0) | (tree.atlases["streams"] == 1)
    np.testing.assert_array_equal(subject.voxels[["x", "y", "z"]], np.argwhere(union))
    assert subject.rois == ("early",)
    assert subject.voxel_mask("early").sum() == (tree.atlases["streams"] == 1).sum()


def test_ncsnr_and_noise_ceiling(nsd):
    tree = nsd()
    subject = open_nsd(tree.root)
    where = tuple(subject.voxels[["x", "y", "z"]].to_numpy().T)
    ncsnr = nib.load(tree.folder / "ncsnr.nii.gz").get_fdata()[where]
    np.testing.assert_allclose(subject.voxels["ncsnr"], ncsnr, rtol=1e-6)
    expected = 100 * ncsnr**2 / (ncsnr**2 + 1 / 3)
    np.testing.assert_allclose(subject.noise_ceiling("all", 3), expected, rtol=1e-6)
    early = subject.voxel_mask("early")
    by_test_repeats = 100 * ncsnr**2 / (ncsnr**2 + 1 / 2)  # each test stimulus came twice
    np.testing.assert_allclose(subject.noise_ceiling("early"), by_test_repeats[early], rtol=1e-6)


def test_ncsnr_is_nan_without_its_file(nsd):
    tree = nsd()
    (tree.folder / "ncsnr.nii.gz").unlink()
    subject = open_nsd(tree.root)
    assert subject.voxels["ncsnr"].isna().all()
    assert np.isnan(subject.noise_ceiling("early", 3)).all()


def test_space_of_the_volume(nsd):
    subject = open_nsd(nsd().root)
    assert subject.shape == (5, 6, 7)
    assert subject.space == "func1pt8mm"
    np.testing.assert_allclose(subject.affine, np.diag([1.8, 1.8, 1.8, 1]))


def test_surface_equals_a_plain_reader(nsd):
    tree = nsd(surface=True)
    subject = open_nsd(tree.root, space="fsaverage5", rois=("early", "lateral"))
    label = tree.root / "nsddata/freesurfer/fsaverage5/label"
    columns, ncsnr, places, early = [], [], [], []
    for hemi in ("lh", "rh"):
        labels = nib.load(label / f"{hemi}.streams.mgz").get_fdata()[:, 0, 0]
        vertices = np.flatnonzero((labels == 1) | (labels == 6))
        sessions = [
            nib.load(tree.surface / f"{hemi}.betas_session{s:02d}.mgh").get_fdata()[:, 0, 0, :]
            for s in (1, 2)
        ]
        columns += [np.concatenate([s[v] for s in sessions]) for v in vertices]
        ncsnr += nib.load(tree.surface / f"{hemi}.ncsnr.mgh").get_fdata()[vertices, 0, 0].tolist()
        places += [(hemi, v) for v in vertices]
        early += (labels[vertices] == 1).tolist()
    whole = subject.select(np.ones(24, bool))
    np.testing.assert_allclose(whole.betas(), np.stack(columns, axis=1), rtol=1e-6)
    np.testing.assert_allclose(subject.voxels["ncsnr"], ncsnr, rtol=1e-6)
    assert list(subject.voxels[["hemi", "vertex"]].itertuples(index=False, name=None)) == places
    np.testing.assert_array_equal(subject.voxel_mask("early"), early)
    assert subject.shape == (10_242, 10_242)
    assert subject.affine is None


def test_all_vertices(nsd):
    tree = nsd(surface=True)
    subject = open_nsd(tree.root, space="fsaverage5", rois="all", sessions=1)
    assert len(subject.voxels) == 2 * 10_242
    right = nib.load(tree.surface / "rh.betas_session01.mgh").get_fdata()[17, 0, 0]
    betas = subject.select(np.ones(12, bool)).betas()
    np.testing.assert_allclose(betas[:, 10_242 + 17], right, rtol=1e-6)


def test_images(nsd):
    tree = nsd()
    subject = open_nsd(tree.root)
    ids = [subject.test.stimulus_ids[2], subject.train.stimulus_ids[0]]
    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        originals = [file["imgBrick"][int(i)] for i in ids]
    images = subject.images(ids)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, np.stack(originals) / 255, atol=1e-7)
    small = [Image.fromarray(o).resize((9, 9), Image.Resampling.LANCZOS) for o in originals]
    np.testing.assert_allclose(
        subject.images(ids, size=9), np.stack([np.asarray(s) for s in small]) / 255, atol=1e-7
    )
    assert subject.images([], size=9).shape == (0, 9, 9, 3)


def test_captions_come_by_way_of_coco(nsd):
    tree = nsd()
    subject = open_nsd(tree.root)
    ids = subject.train.stimulus_ids
    info = pd.read_csv(tree.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv")
    assert subject.has_captions
    for stimulus_id, captions in zip(ids, subject.captions(ids), strict=True):
        row = info[info["nsdId"] == int(stimulus_id)].iloc[0]
        path = tree.root / f"nsddata_stimuli/stimuli/nsd/annotations/captions_{row.cocoSplit}.json"
        expected = [
            " ".join(a["caption"].split())
            for a in json.loads(path.read_text())["annotations"]
            if a["image_id"] == row.cocoId
        ]
        assert list(captions) == expected
        assert len(captions) == 5


def test_no_captions(nsd):
    tree = nsd()
    shutil.rmtree(tree.root / "nsddata_stimuli/stimuli/nsd/annotations")
    assert not open_nsd(tree.root).has_captions


def test_opening_reads_the_first_trials_alone(nsd, monkeypatch):
    tree = nsd(surface=True)
    read = []

    def note(name):
        original = getattr(volumes, name)

        def reader(path, voxels, *args, **kwargs):
            values = original(path, voxels, *args, **kwargs)
            read.append((path.name, len(values)))
            return values

        return reader

    for name in ("read_hdf5", "read_nifti", "read_mgh"):
        monkeypatch.setattr(f"vox2pix.data.nsd.{name}", note(name))
    open_nsd(tree.root)
    assert read == [("betas_session01.hdf5", 4), ("betas_session02.hdf5", 4)]
    read.clear()
    open_nsd(tree.root, space="fsaverage5")
    assert read == [(f"{h}.betas_session0{s}.mgh", 4) for s in (1, 2) for h in ("lh", "rh")]
