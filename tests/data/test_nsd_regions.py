"""Regions of NSD's tree: where a name comes from, what label images hold, where they lie."""

import nibabel as nib
import numpy as np
import pytest

from vox2pix.data import check, open_nsd
from vox2pix.errors import UserError


def relabel(tree, atlas, lines):
    (tree.lists / f"{atlas}.mgz.ctab").write_text("\n".join(lines) + "\n")


def resave(path, change=lambda values: values, affine=lambda affine: affine, stored=None):
    image = nib.load(path)
    again = nib.Nifti1Image(change(np.asarray(image.dataobj)), affine(image.affine))
    if stored is not None:
        again.header.set_data_dtype(stored)
    nib.save(again, path)


def flipped(affine):
    return affine @ np.diag([-1, 1, 1, 1])


def moved(affine):
    return affine + np.array([[0, 0, 0, 3.6]] + [[0, 0, 0, 0]] * 3)


def notes(tree, rois):
    return open_nsd(tree.root, rois=rois).notes


def test_an_own_label_in_one_atlas_needs_no_note(nsd):
    assert notes(nsd(), ("early", "hV4", "nsdgeneral", "ecc4+")) == ()


def test_a_name_in_two_atlases_is_noted_and_can_be_chosen(nsd):
    tree = nsd()
    own = open_nsd(tree.root, rois="V1v")
    n = int((tree.atlases["prf-visualrois"] == 1).sum())
    assert own.notes == (
        f"ROI 'V1v' is that of prf-visualrois ({n} voxels); there is also Kastner2015:V1v: write "
        "atlas:label to choose.",
    )
    other = open_nsd(tree.root, rois="Kastner2015:V1v")
    assert other.notes == ()
    np.testing.assert_array_equal(
        other.voxels[["x", "y", "z"]], np.argwhere(tree.atlases["Kastner2015"] == 1)
    )


def test_a_group_atlas_is_named_where_the_subject_has_parts_of_its_own(nsd):
    tree = nsd()
    relabel(tree, "Kastner2015", ["0 Unknown", "1 V1", "2 other", "3 IPS0"])
    n = int((tree.atlases["Kastner2015"] == 1).sum())
    assert notes(tree, "V1") == (
        f"ROI 'V1' is that of Kastner2015 ({n} voxels), not one of NSD's own regions; these have "
        "prf-visualrois:V1v, prf-visualrois:V1d.",
    )
    assert notes(tree, "IPS0") == ()
    assert notes(tree, "Kastner2015:V1") == ()
    report = check(tree.root, rois="V1")
    assert any("is that of Kastner2015" in note for note in report.notes)


def test_a_name_with_two_numbers_is_their_union(nsd):
    tree = nsd()
    lines = ["0 Unknown", "1 V1 9 9 9 0", "2 V1 9 9 9 0", "3 area two 1 2 3 0"]
    relabel(tree, "prf-visualrois", lines)
    labels = tree.atlases["prf-visualrois"]
    subject = open_nsd(tree.root, rois=["V1", "area two"])
    np.testing.assert_array_equal(
        subject.voxels.loc[subject.voxels["V1"], ["x", "y", "z"]],
        np.argwhere((labels == 1) | (labels == 2)),
    )
    assert subject.voxels["area two"].sum() == (labels == 3).sum()
    (note,) = subject.notes
    assert note.startswith("ROI 'V1' has 2 numbers in ")
    assert f"1 ({(labels == 1).sum()} voxels), 2 ({(labels == 2).sum()} voxels)" in note
    with pytest.raises(UserError, match="no ROI 'area'"):
        open_nsd(tree.root, rois="area")


def test_the_label_all(nsd):
    tree = nsd()
    relabel(tree, "prf-visualrois", ["0 Unknown", "1 all", "2 V1d"])
    subject = open_nsd(tree.root, rois="all")
    assert len(subject.voxels) == tree.mask.sum()
    assert "write prf-visualrois:all for the label all" in subject.notes[0]
    subject = open_nsd(tree.root, rois="prf-visualrois:all")
    assert len(subject.voxels) == (tree.atlases["prf-visualrois"] == 1).sum()


def test_a_label_with_the_name_of_a_column(nsd):
    tree = nsd()
    relabel(tree, "prf-visualrois", ["0 Unknown", "1 x", "2 ncsnr"])
    with pytest.raises(UserError, match=r"ROI 'x' has the name of a column .* write atlas:x"):
        open_nsd(tree.root, rois="x")
    subject = open_nsd(tree.root, rois="prf-visualrois:x")
    np.testing.assert_array_equal(
        subject.voxels["x"], np.argwhere(tree.atlases["prf-visualrois"] == 1)[:, 0]
    )


def test_names_that_differ_by_case(nsd):
    tree = nsd()
    relabel(tree, "prf-visualrois", ["0 Unknown", "1 v1", "2 V1"])
    subject = open_nsd(tree.root, rois="V1")
    assert len(subject.voxels) == (tree.atlases["prf-visualrois"] == 2).sum()
    assert "names differ by case alone: V1, v1" in subject.notes[0]


def test_label_tables_of_fsaverage_are_read(nsd):
    tree = nsd(surface=True)
    before = {
        space: open_nsd(tree.root, space=space).voxels for space in ("func1pt8mm", "fsaverage5")
    }
    common = tree.root / "nsddata/freesurfer/fsaverage/label"
    common.parent.mkdir(parents=True)
    tree.lists.rename(common)
    for space, voxels in before.items():
        assert open_nsd(tree.root, space=space).voxels.equals(voxels)


def test_no_region_is_named(nsd):
    with pytest.raises(UserError, match="subj01: no ROI is named: name at least one"):
        open_nsd(nsd().root, rois=[])


@pytest.mark.parametrize("stored", ["int16", "uint8", "float32"])
def test_atlases_saved_again_select_the_same_voxels(nsd, stored):
    tree = nsd()
    rois = ("early", "hV4", "nsdgeneral", "all")
    before = open_nsd(tree.root, rois=rois)
    for path in [*tree.rois.glob("*.nii.gz"), tree.rois.parent / "brainmask.nii.gz"]:
        resave(path, lambda values: values.astype(float)[..., None], stored=stored)
    again = open_nsd(tree.root, rois=rois)
    assert again.voxels.equals(before.voxels)
    assert again.notes == before.notes


@pytest.mark.parametrize("name", ["roi/streams.nii.gz", "brainmask.nii.gz"])
def test_flipped_images_are_refused(nsd, name):
    tree = nsd()
    resave(tree.rois.parent / name, lambda values: values[::-1], flipped)
    with pytest.raises(
        UserError, match=r"nii\.gz is turned, flipped or scaled against .*brainmask\.nii\.gz"
    ):
        open_nsd(tree.root)
    (fault,) = check(tree.root, rois="early").faults
    assert "nii.gz is turned" in fault


def test_flipped_ncsnr_and_responses_are_refused(nsd):
    tree = nsd(volume="nifti")
    path = tree.folder / "ncsnr.nii.gz"
    original = path.read_bytes()
    resave(path, lambda values: values[::-1], flipped)
    with pytest.raises(UserError, match=r"ncsnr\.nii\.gz is turned, flipped .*brainmask"):
        open_nsd(tree.root)
    path.write_bytes(original)
    resave(tree.folder / "betas_session02.nii.gz", lambda values: values[::-1], flipped)
    with pytest.raises(UserError, match=r"session02\.nii\.gz is turned, flipped .*brainmask"):
        open_nsd(tree.root)


def test_another_origin_is_noted(nsd):
    tree = nsd()
    before = open_nsd(tree.root)
    resave(tree.rois / "streams.nii.gz", affine=moved)
    subject = open_nsd(tree.root)
    assert subject.voxels.equals(before.voxels)
    (note,) = subject.notes
    assert "streams.nii.gz and " in note
    assert "have origins 3.6 mm apart" in note


def test_an_image_of_another_subject(nsd):
    tree = nsd()
    resave(tree.folder / "ncsnr.nii.gz", lambda values: values[:-1])
    with pytest.raises(UserError, match=r"ncsnr\.nii\.gz has shape \(4, 6, 7\), the betas in"):
        open_nsd(tree.root)


def test_ncsnr_that_is_no_ratio_is_unknown(nsd):
    tree = nsd()
    voxels = open_nsd(tree.root).voxels
    places = voxels[["x", "y", "z"]].to_numpy()

    def spoil(values):
        values = values.copy()
        for value, place in zip((-1, np.nan, np.inf), places, strict=False):
            values[tuple(place)] = value
        return values

    resave(tree.folder / "ncsnr.nii.gz", spoil)
    subject = open_nsd(tree.root)
    expected = voxels["ncsnr"].to_numpy().copy()
    expected[:3] = np.nan
    np.testing.assert_array_equal(subject.voxels["ncsnr"], expected)
    assert subject.notes == (
        f"{tree.folder}/ncsnr.nii.gz holds 2 NaN or infinite and 1 negative values among "
        f"{len(voxels)} voxels: their noise ceiling is unknown.",
    )


def test_a_brain_mask_of_probabilities_or_nothing(nsd):
    tree = nsd()
    path = tree.rois.parent / "brainmask.nii.gz"
    resave(path, lambda values: values * np.float32(0.7))
    with pytest.raises(UserError, match=r"brainmask\.nii\.gz holds \d+ values that are no whole"):
        open_nsd(tree.root, rois="all")
    open_nsd(tree.root)  # its values are not asked for
    resave(path, np.zeros_like)
    with pytest.raises(UserError, match=r"brainmask\.nii\.gz marks no voxel"):
        open_nsd(tree.root, rois="all")
