"""Faults of NSD's tree, each with its sentence."""

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from vox2pix.data import check, open_nsd
from vox2pix.errors import UserError

BETAS = "betas_fithrf_GLMdenoise_RR"


def test_missing_session(nsd):
    tree = nsd(n_sessions=3)
    (tree.folder / "betas_session02.hdf5").unlink()
    with pytest.raises(UserError, match=r"betas_session02\.hdf5 does not exist"):
        open_nsd(tree.root)
    with pytest.raises(UserError, match=r"betas_session04\.hdf5 does not exist"):
        open_nsd(tree.root, sessions=[1, 4])
    assert open_nsd(tree.root, sessions=[1, 3]).sessions == (1, 3)


def test_no_session(nsd):
    tree = nsd()
    for file in tree.folder.glob("betas_session*"):
        file.unlink()
    with pytest.raises(UserError, match=r"has no session file \(betas_session01"):
        open_nsd(tree.root)


@pytest.mark.parametrize("sessions", [0, [], [0, 1], [1, 1]])
def test_senseless_sessions(nsd, sessions):
    with pytest.raises(UserError, match="names no sessions"):
        open_nsd(nsd().root, sessions=sessions)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_truncated_hdf5(nsd, keep):
    tree = nsd()
    path = tree.folder / "betas_session02.hdf5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"session02\.hdf5 is (truncated \(|empty \(0 bytes\))"):
        open_nsd(tree.root)


def test_truncated_nifti_is_found_on_reading(nsd):
    tree = nsd(volume="nifti")
    path = tree.folder / "betas_session02.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"betas_session02\.nii\.gz is truncated \("):
        open_nsd(tree.root).train.betas()


def test_empty_nifti(nsd):
    tree = nsd(volume="nifti")
    (tree.folder / "betas_session01.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"betas_session01\.nii\.gz is empty \(0 bytes\)"):
        open_nsd(tree.root)


def test_truncated_mgh(nsd):
    tree = nsd(surface=True)
    path = tree.surface / "rh.betas_session02.mgh"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"rh\.betas_session02\.mgh is truncated \(5000 of "):
        open_nsd(tree.root, space="fsaverage5")


def rewrite_hdf5(path, change, name="betas"):
    with h5py.File(path) as file:
        values = file["betas"][:]
    with h5py.File(path, "w") as file:
        file[name] = change(values)


def test_wrong_shapes(nsd):
    tree = nsd(n_sessions=3)
    path = tree.folder / "betas_session02.hdf5"
    rewrite_hdf5(path, lambda b: b[:-1])
    with pytest.raises(
        UserError, match=r"betas_session02\.hdf5 holds 11 trials of 5 x 6 x 7 voxels, the other "
        "sessions 12 trials",
    ):  # fmt: skip
        open_nsd(tree.root)
    rewrite_hdf5(path, lambda b: b[0])
    with pytest.raises(UserError, match=r"has shape \(7, 6, 5\), not \(n_trials, Z, Y, X\)"):
        open_nsd(tree.root)
    rewrite_hdf5(path, lambda b: b, name="data")
    with pytest.raises(UserError, match=r"has no array 'betas' \(it holds: data\)"):
        open_nsd(tree.root)


def test_volumes_in_another_order_of_axes(nsd):
    tree = nsd()
    for session in (1, 2):
        rewrite_hdf5(
            tree.folder / f"betas_session{session:02d}.hdf5", lambda b: b.transpose(0, 3, 2, 1)
        )
    with pytest.raises(UserError, match=r"has shape \(5, 6, 7\), the betas in .* \(7, 6, 5\)"):
        open_nsd(tree.root)


def test_all_sessions_cut_short_contradict_the_design(nsd):
    tree = nsd()
    for session in (1, 2):
        rewrite_hdf5(tree.folder / f"betas_session{session:02d}.hdf5", lambda b: b[:-1])
    with pytest.raises(UserError, match="orders 36 trials, which does not fit session 2 with 11"):
        open_nsd(tree.root)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_responses(nsd, value):
    tree = nsd()
    subject = open_nsd(tree.root)
    x, y, z = subject.voxels[["x", "y", "z"]].iloc[3]

    def spoil(betas):
        betas = betas.astype(np.float32)
        betas[7, z, y, x] = value
        return betas

    rewrite_hdf5(tree.folder / "betas_session02.hdf5", spoil)
    with pytest.raises(
        UserError,
        match=r"session02\.hdf5 holds 1 NaN or infinite responses \(the first in trial 8 of "
        r"session 2, voxel 4 ",
    ):
        subject.train.betas()
    others = [roi for roi in subject.rois if not subject.voxels[roi].iloc[3]]
    subject.train.betas(others)  # the bad voxel is not asked for


def test_responses_beyond_float32(nsd):
    tree = nsd()
    rewrite_hdf5(tree.folder / "betas_session02.hdf5", lambda b: np.full(b.shape, 1e39))
    with pytest.raises(UserError, match=r"02\.hdf5 holds \d+ NaN or infinite .*float32 ends at"):
        open_nsd(tree.root).train.betas()


@pytest.mark.parametrize("dtype", ["S4", complex, bool, [("a", "f4")]])
def test_betas_that_are_no_numbers(nsd, dtype):
    tree = nsd()
    rewrite_hdf5(tree.folder / "betas_session01.hdf5", lambda b: np.zeros(b.shape, dtype))
    with pytest.raises(UserError, match=r"01\.hdf5 holds values of type .*, not numbers"):
        open_nsd(tree.root)


def test_images_that_are_no_numbers(nsd):
    tree = nsd(volume="nifti")
    path = tree.folder / "betas_session01.nii.gz"
    colours = np.zeros(tree.mask.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), path)
    with pytest.raises(UserError, match=r"01\.nii\.gz holds values of type .*, not numbers"):
        open_nsd(tree.root)


def test_float_volumes_are_percent_already(nsd):
    tree = nsd()
    before = open_nsd(tree.root).train.betas()
    for session in (1, 2):
        rewrite_hdf5(
            tree.folder / f"betas_session{session:02d}.hdf5", lambda b: b.astype(np.float32) / 300
        )
    np.testing.assert_allclose(open_nsd(tree.root).train.betas(), before, rtol=1e-6)


def test_unknown_roi(nsd):
    tree = nsd()
    with pytest.raises(UserError, match="There is no ROI 'erly'; did you mean early"):
        open_nsd(tree.root, rois="erly")
    with pytest.raises(UserError, match=r"'V1'; did you mean .*V1[dv]"):
        open_nsd(tree.root, rois="early+V1")
    with pytest.raises(UserError, match=r"without a ROI 'Ventrl'; did you mean ventral\?"):
        open_nsd(tree.root).voxel_mask("Ventrl")
    with pytest.raises(UserError, match=r"'qqq'; known: all, early, ventral\."):
        open_nsd(tree.root).train.betas("qqq")


def test_missing_label_names(nsd):
    tree = nsd()
    (tree.lists / "streams.mgz.ctab").unlink()
    with pytest.raises(UserError, match=r"label names are missing: .*streams\.mgz\.ctab"):
        open_nsd(tree.root)
    (tree.lists / "streams.mgz.ctab").write_text("0 Unknown\none early\n")
    with pytest.raises(UserError, match=r"ctab, line 2: 'one early' is not a label number"):
        open_nsd(tree.root)


def test_empty_roi(nsd):
    tree = nsd()
    with pytest.raises(UserError, match=r"ROI 'FFA-2' is empty: .*floc-faces\.nii\.gz"):
        open_nsd(tree.root, rois=("early", "FFA-2"))


def test_unknown_subject_space_and_betas(nsd):
    tree = nsd()
    with pytest.raises(UserError, match="has no subject 'subj09'; there is: subj01"):
        open_nsd(tree.root, subject=9)
    with pytest.raises(UserError, match="has no space 'func1mm'; there is: func1pt8mm"):
        open_nsd(tree.root, space="func1mm")
    with pytest.raises(UserError, match=f"no version of the betas 'b4'; there is: {BETAS}"):
        open_nsd(tree.root, betas="b4")
    with pytest.raises(UserError, match="does not exist: name the folder that holds NSD"):
        open_nsd(tree.root / "nowhere")


def change_design(root, **changes):
    path = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    mat = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    savemat(path, {k: changes[k](v) if k in changes else v for k, v in mat.items()})


def test_indices_off_by_one(nsd):
    tree = nsd()
    change_design(tree.root, masterordering=lambda order: order - 1)
    with pytest.raises(UserError, match="masterordering holds 0, but its numbers count from 1"):
        open_nsd(tree.root)
    change_design(tree.root, masterordering=lambda order: order + 2)
    with pytest.raises(UserError, match=r"masterordering holds 13, but .* and at most 12"):
        open_nsd(tree.root)
    change_design(tree.root, masterordering=lambda order: order - 1)
    open_nsd(tree.root)
    change_design(tree.root, subjectim=lambda images: images - images[0].min())
    with pytest.raises(UserError, match="subjectim holds 0, but its numbers count from 1"):
        open_nsd(tree.root)


def test_shared_stimuli_off_by_one(nsd):
    tree = nsd()
    info = tree.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    shared = set(tree.design.shared - 1)
    change_design(tree.root, sharedix=lambda shared: shared + 1)
    with pytest.raises(
        UserError,
        match=r"nsd_\w+\.\w+ shares stimulus \d+ \(counted from 0\) among all subjects, "
        r".*nsd_\w+\.\w+ does not \(\d+ such stimuli\): sharedix or shared1000 is off by one",
    ) as error:
        open_nsd(tree.root)
    assert f"{info} shares stimulus {min(shared)} " in str(error.value)
    # without the table, or its column, there is nothing to hold the design against
    table = pd.read_csv(info, index_col=0)
    table.drop(columns="shared1000").to_csv(info)
    open_nsd(tree.root)
    info.unlink()
    open_nsd(tree.root)
    # the table may be at fault, or another's
    change_design(tree.root, sharedix=lambda shared: shared - 1)
    table.assign(shared1000=table["shared1000"].astype(int)).to_csv(info)
    open_nsd(tree.root)
    table.assign(shared1000=table["nsdId"] == max(shared) + 1).to_csv(info)
    with pytest.raises(UserError, match=rf"nsd_expdesign\.mat shares stimulus {min(shared)} "):
        open_nsd(tree.root)
    table.assign(nsdId="seven").to_csv(info)
    with pytest.raises(UserError, match=r"merged\.csv has no readable columns nsdId, shared1000"):
        open_nsd(tree.root)


@pytest.mark.parametrize("name", ["masterordering", "subjectim", "sharedix"])
@pytest.mark.parametrize(
    "value",
    [
        "text",
        {"a": 1},
        np.array([{"a": 1}, "b"], object),
        np.array([1.5, 2]),
        np.array([np.nan, 1]),
        np.array([np.inf, 1]),
        np.array([1j, 1]),
        np.ones((2, 2, 2)),
        csc_array(np.eye(3)),
    ],
    ids=["text", "struct", "cell", "half", "NaN", "infinite", "complex", "cube", "sparse"],
)
def test_designs_that_hold_no_whole_numbers(nsd, name, value):
    tree = nsd()
    change_design(tree.root, **{name: lambda _: value})
    with pytest.raises(UserError, match=rf"mat: {name} is no matrix of .*numbers.*: rep"):
        open_nsd(tree.root)


def test_stimuli_beyond_the_images(nsd):
    tree = nsd()
    change_design(tree.root, subjectim=lambda images: images + 20)
    (tree.root / "nsddata/ppdata/subj01/behav/responses.tsv").unlink()
    with pytest.raises(UserError, match=r"names stimulus \d+ .* holds 40: an index is off by one"):
        open_nsd(tree.root)


def change_responses(tree, change):
    path = tree.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)


def test_responses_that_contradict_the_design(nsd):
    tree = nsd()
    change_responses(tree, lambda t: t.assign(**{"73KID": t["73KID"] - 1}))
    with pytest.raises(UserError, match=r"says that trial 1 of session 1 showed stimulus \d+ "):
        open_nsd(tree.root)


def test_responses_cut_short_doubled_or_damaged(nsd):
    tree = nsd()
    path = tree.root / "nsddata/ppdata/subj01/behav/responses.tsv"
    original = path.read_text()
    change_responses(tree, lambda t: t.iloc[:-1])
    with pytest.raises(UserError, match="lists 11 trials of session 2, its betas hold 12"):
        open_nsd(tree.root)
    path.write_text(original)
    change_responses(tree, lambda t: pd.concat([t, t.iloc[[4]]]))
    with pytest.raises(UserError, match="lists session 1, run 1, trial 5 twice"):
        open_nsd(tree.root)
    path.write_text("SESSION\tRUN\n1\t1\n")
    with pytest.raises(UserError, match=r"(has no integer columns|cannot be read)"):
        open_nsd(tree.root)


def test_damaged_design(nsd):
    tree = nsd()
    path = tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    original = path.read_bytes()
    path.write_bytes(original[:150])
    with pytest.raises(UserError, match=r"nsd_expdesign\.mat is truncated \("):
        open_nsd(tree.root)
    savemat(path, {"masterordering": [[1]]})
    with pytest.raises(UserError, match="has no variable subjectim, sharedix"):
        open_nsd(tree.root)
    path.unlink()
    with pytest.raises(UserError, match=r"nsd_expdesign\.mat does not exist"):
        open_nsd(tree.root)


@pytest.mark.parametrize("brick", [7, np.zeros(40, np.uint8), h5py.Empty("u1"), "text"])
def test_bricks_that_hold_no_images(nsd, brick):
    tree = nsd()
    with h5py.File(tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = brick
    sentence = r"nsd_stimuli\.hdf5 (has shape|has no array|holds values)"
    with pytest.raises(UserError, match=sentence):
        open_nsd(tree.root)
    assert not check(tree.root).ok


def test_missing_images_and_captions(nsd):
    tree = nsd()
    subject = open_nsd(tree.root)
    with pytest.raises(UserError, match="has no image of stimulus '00040': ids go from 0 to 39"):
        subject.images(["00040"])
    annotations = tree.root / "nsddata_stimuli/stimuli/nsd/annotations"
    (annotations / "captions_val2017.json").unlink()
    with pytest.raises(UserError, match="have no caption of stimulus"):
        subject.captions(subject.select(np.ones(24, bool)).stimulus_ids)
    (annotations / "captions_train2017.json").write_text('{"annotations": [{')
    with pytest.raises(UserError, match=r"captions_train2017\.json is truncated"):
        open_nsd(tree.root).captions(subject.train.stimulus_ids)
    (tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5").unlink()
    with pytest.raises(UserError, match=r"nsd_stimuli\.hdf5 does not exist"):
        subject.images(subject.train.stimulus_ids)
