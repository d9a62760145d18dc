"""BIDS derivatives: series of trials as LAION-fMRI has them, and what nilearn itself writes."""

import functools
import shutil
import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from data.lab_truth import save_json, save_rois, save_volume
from vox2pix.data import check, open_bids, open_folder, volumes
from vox2pix.data._registry import recognised
from vox2pix.data.bids import BidsSource
from vox2pix.data.bids_files import BidsFile
from vox2pix.errors import UserError

STEM = "sub-01_ses-{}_task-images"
BETAS = "_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
TRIALS = "_desc-SingletrialBetas_trials.tsv"


def write_series(lab, root, sessions=("01", "02"), suffix=".png"):
    """Write series of volumes and tables whose rows stand in another order."""
    for number, (label, volume) in enumerate(zip(sessions, lab.volumes, strict=True), start=1):
        folder = root / "sub-01" / f"ses-{label}" / "func"
        stem = STEM.format(label)
        save_volume(folder / f"{stem}{BETAS}", volume, lab.affine)
        save_volume(folder / f"{stem}_space-T1w_desc-Noiseceiling_statmap.nii.gz",
                    volume[..., 0], lab.affine)  # fmt: skip
        here = lab.session == number
        table = pd.DataFrame(
            {
                "session": f"ses-{label}",
                "run": lab.run[here],
                "beta_index": np.arange(here.sum()),
                "label": [f"{name}{suffix}" for name in np.array(lab.ids)[here]],
            }
        )
        table.sample(frac=1, random_state=0).to_csv(
            folder / f"{stem}{TRIALS}", sep="\t", index=False
        )
    mask = root / "sub-01" / "sub-01_task-images_space-T1w_desc-meanR2gt15mask_mask.nii.gz"
    save_volume(mask, lab.mask.astype(np.uint8), lab.affine)
    save_json(root / "dataset_description.json", {"Name": "Small", "License": "CC0"})
    return root


def opened(lab, root, **options):
    given = {"images": lab.images, "captions": None, "test": lab.split_file}
    return open_bids(root, **{**given, **options})


@pytest.fixture(scope="module")
def lab_with_split(lab):
    lab.split_file = lab.images.parent / "split.json"
    rest = sorted(set(lab.ids) - set(lab.test))
    sides = {"train_ids": [f"{n}.png" for n in rest], "test_ids": [f"{n}.png" for n in lab.test]}
    save_json(lab.split_file, {"variants": [sides, {"test_ids": ["x"]}]})
    return lab


@pytest.fixture
def series(lab_with_split, tmp_path):
    return write_series(lab_with_split, tmp_path / "derivatives")


def test_series_of_trials_equal_the_folder(lab, series, tmp_path):
    rois = save_rois(lab, tmp_path / "atlas")
    subject, reference = opened(lab, series, rois=rois), open_folder(lab.folder)
    assert (subject.name, subject.space) == ("sub-01", "T1w")
    assert subject.origin.dataset.name == "Small"
    assert "'CC0'" in subject.origin.dataset.licence
    named = subject.trials["stimulus_id"].str.removesuffix(".png")
    assert named.tolist() == lab.ids
    assert subject.trials["run"].tolist() == lab.run.tolist()
    assert (subject.trials["split"] == reference.trials["split"]).all()
    np.testing.assert_array_equal(subject.train.betas(), reference.train.betas())
    np.testing.assert_array_equal(subject.test.betas(), reference.test.betas())
    np.testing.assert_array_equal(subject.voxel_mask("early"), reference.voxel_mask("early"))
    np.testing.assert_array_equal(subject.images(["scene000.png"]), reference.images(["scene000"]))
    assert subject.origin.split == "test stimuli are those listed in split.json"
    assert recognised(series) is BidsSource


def test_sessions_are_numbers(lab, tmp_path, lab_with_split):
    root = write_series(lab, tmp_path / "d", ("10", "9"))
    subject = opened(lab, root)
    assert subject.sessions == (9, 10)
    second = lab.session == 2
    expected = [*np.array(lab.ids)[second], *np.array(lab.ids)[~second]]
    assert subject.trials["stimulus_id"].str.removesuffix(".png").tolist() == expected
    whole = subject.select(np.ones(96, bool)).betas()
    betas = np.load(lab.folder / "responses.npy")
    np.testing.assert_array_equal(whole, np.concatenate([betas[second], betas[~second]]))


def test_runs_of_a_session_are_joined_in_the_order_of_numbers(lab, tmp_path, lab_with_split):
    """Each run has a file and a table of its own; run 10 comes after run 9."""
    folder = tmp_path / "d" / "sub-01" / "func"
    for run, volume in zip((9, 10), lab.volumes, strict=True):
        here = lab.session == run - 8
        stem = f"sub-01_task-images_run-{run}"
        save_volume(folder / f"{stem}_stat-effect_statmap.nii.gz", volume, lab.affine)
        table = {"beta_index": range(48), "stim_file": np.array(lab.ids)[here]}
        pd.DataFrame(table).to_csv(folder / f"{stem}_trials.tsv", sep="\t", index=False)
    save_volume(folder / "sub-01_desc-brain_mask.nii.gz", lab.mask.astype(np.uint8), lab.affine)
    subject = opened(lab, tmp_path / "d", test=0.2)
    assert subject.sessions == (1,)
    assert subject.trials["run"].tolist() == [9] * 48 + [10] * 48
    assert subject.trials["stimulus_id"].tolist() == lab.ids
    whole = subject.select(np.ones(96, bool)).betas()
    np.testing.assert_array_equal(whole, np.load(lab.folder / "responses.npy"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda t: t.assign(beta_index=t.beta_index + 1),
            r"volumes 0 to 47: it counts from 1: sub",
        ),
        (lambda t: t.assign(beta_index=t.beta_index + 48), r"volumes 0 to 47: an index is wrong"),
        (lambda t: t.assign(beta_index=3), r"line 3: beta_index 3 is there twice"),
        (lambda t: t.drop(columns="beta_index"), r"has no column beta_index \(it has session,"),
        (lambda t: t.assign(session="ses-07"), r"has no row of session 1"),
        (lambda t: t.rename(columns={"label": "seen"}), r"has none of the columns stimulus_id,"),
        (lambda t: t.assign(label="n/a"), None),
    ],
)
def test_tables_that_do_not_fit_are_refused(lab, series, change, sentence):
    path = series / "sub-01/ses-01/func" / f"{STEM.format('01')}{TRIALS}"
    change(pd.read_csv(path, sep="\t")).to_csv(path, sep="\t", index=False)
    if sentence is None:
        subject = opened(lab, series)
        assert subject.sessions == (2,)
        assert any("48 of 96 trials have no stimulus" in note for note in subject.notes)
        return
    with pytest.raises(UserError, match=sentence):
        opened(lab, series)


def test_a_column_of_the_stimulus_can_be_named(lab, series):
    path = series / "sub-01/ses-02/func" / f"{STEM.format('02')}{TRIALS}"
    table = pd.read_csv(path, sep="\t").assign(stim_file="wrong.png")
    table.iloc[:-1].to_csv(path, sep="\t", index=False)
    subject = opened(lab, series, stimulus_column="label")
    assert len(subject.trials) == 95
    assert any("1 of 48 volumes of" in note for note in subject.notes)
    with pytest.raises(UserError, match=r"has no column 'lable'; did you mean label\?"):
        opened(lab, series, stimulus_column="lable")


def test_noise_ceilings_are_percent_of_the_mean_of_repeats(lab, series):
    rng = np.random.default_rng(0)
    ncsnr = rng.uniform(0.1, 2, lab.mask.shape)
    for n in (4, 12):
        percent = 100 * ncsnr**2 / (ncsnr**2 + 1 / n)
        percent[tuple(np.argwhere(lab.mask)[0])] = np.nan
        name = f"sub-01_task-images_space-T1w_desc-Noiseceiling{n}rep_statmap.nii.gz"
        save_volume(series / "sub-01" / name, percent, lab.affine)
    subject = opened(lab, series)
    read = subject.voxels["ncsnr"].to_numpy()
    assert np.isnan(read[0])
    np.testing.assert_allclose(read[1:], ncsnr[lab.mask][1:], rtol=1e-6)
    assert any("Noiseceiling12rep" in note for note in subject.notes)


def test_regions_of_the_derivative(lab, series):
    """Masks by label, label images with their names; others are on another grid."""
    folder = series / "sub-01" / "anat"
    for hemi, half in (("L", slice(0, 7)), ("R", slice(7, None))):
        part = np.zeros(lab.mask.shape, np.uint8)
        part[half] = lab.regions["early"][half]
        save_volume(folder / f"sub-01_hemi-{hemi}_space-T1w_label-V1_mask.nii.gz", part, lab.affine)
    labels = 1 * lab.regions["early"] + 5 * lab.regions["ventral"]
    save_volume(folder / "sub-01_space-T1w_desc-mine_dseg.nii.gz", labels.astype(np.int16),
                lab.affine)  # fmt: skip
    (folder / "sub-01_space-T1w_desc-mine_dseg.tsv").write_text(
        "index\tname\n0\tnone\n5\tventral\n1\tearly\n"
    )
    save_volume(folder / "sub-01_dseg.nii.gz", np.ones((3, 3, 3), np.uint8), lab.affine)
    save_volume(folder / "sub-01_label-fine_mask.nii.gz", np.ones((4, 4, 4), np.uint8), lab.affine)
    subject, reference = opened(lab, series), open_folder(lab.folder)
    assert set(subject.rois) == {"V1", "early", "ventral"}
    for ours, theirs in (("V1", "early"), ("early", "early"), ("ventral", "ventral")):
        np.testing.assert_array_equal(subject.voxel_mask(ours), reference.voxel_mask(theirs))
    assert any("1 of 4 images of regions are on another grid" in n for n in subject.notes)
    moved = lab.affine.copy()
    moved[0, 3] += 5
    save_volume(folder / "sub-01_label-V2_mask.nii.gz", lab.mask.astype(np.uint8), moved)
    with pytest.raises(UserError, match=r"label-V2_mask\.nii\.gz is shifted"):
        opened(lab, series)


def test_a_table_beside_the_derivative_moves_no_voxel_and_no_region(lab, series, tmp_path):
    path, where = tmp_path / "flags.csv", series / "sub-01" / "anat"
    save_volume(where / "sub-01_space-T1w_label-early_mask.nii.gz",
                lab.regions["early"].astype(np.uint8), lab.affine)  # fmt: skip
    own = pd.read_csv(lab.folder / "voxels.csv")
    half = own.assign(V1=own["early"] * (np.arange(len(own)) < 50))
    half.to_csv(path, index=False)
    subject, reference = opened(lab, series, rois=path), open_folder(lab.folder)
    places = ["x", "y", "z"]
    np.testing.assert_array_equal(subject.voxels[places], reference.voxels[places])
    for roi, flags in {"early": own["early"], "V1": half["V1"]}.items():
        np.testing.assert_array_equal(subject.voxel_mask(roi), flags == 1)
    half.iloc[::-1].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"flags\.csv has other values of x than the data"):
        opened(lab, series, rois=path)
    half.assign(x=half["x"] + 1000).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"of x than the data \(120 voxels\): give one row per"):
        opened(lab, series, rois=path)
    own[["early"]].iloc[::-1].to_csv(path, index=False)
    with pytest.raises(UserError, match=r"of early than the data .* rename the column"):
        opened(lab, series, rois=path)
    other = save_volume(tmp_path / "rois" / "label-early_mask.nii.gz",
                        lab.regions["ventral"].astype(np.uint8), lab.affine)  # fmt: skip
    with pytest.raises(UserError, match=r"ROI 'early' of .* has other voxels than the one of the"):
        opened(lab, series, rois=other.parent)


def test_what_must_be_chosen_is_asked_for(lab, series):
    other = series / "sub-02" / "func"
    other.mkdir(parents=True)
    copied = series / "sub-01/ses-01/func"
    name = f"{STEM.format('01')}{BETAS}"
    shutil.copy(copied / name, other / name.replace("sub-01", "sub-02"))
    with pytest.raises(UserError, match=r"2 participants: choose one of 01, 02 by data\.options"):
        opened(lab, series)
    with pytest.raises(UserError, match=r"no maps of participant '03'"):
        opened(lab, series, participant="sub-03")
    assert opened(lab, series, participant="01").name == "sub-01"
    shutil.copy(copied / name, copied / name.replace("T1w", "MNI"))
    with pytest.raises(UserError, match=r"space-MNI, space-T1w: choose one by .* 'space-MNI'"):
        opened(lab, series, participant="01")
    assert opened(lab, series, participant="01", entities="space-T1w").space == "T1w"
    masks = series / "sub-01"
    save_volume(masks / "sub-01_space-T1w_desc-other_mask.nii.gz", lab.mask.astype(np.uint8),
                lab.affine)  # fmt: skip
    with pytest.raises(UserError, match=r"has masks .*: choose one by data\.options\.mask"):
        opened(lab, series, participant="01", entities="space-T1w")
    named = "sub-01/sub-01_space-T1w_desc-other_mask.nii.gz"
    assert len(opened(lab, series, participant="01", entities="space-T1w", mask=named).voxels)


def test_a_check_and_the_files_that_are_read(lab, series):
    (series / "sub-01/ses-01/func/sub-01_ses-01_task-images_bold.nii.gz").write_bytes(b"x")
    source = BidsSource(root=series, images=lab.images, test=lab.split_file)
    assert not any("_bold" in name for name, _, _ in source.listed())
    report = check(source)
    assert report.ok, report.faults
    assert (report.layout, report.space, report.n_images) == ("bids", "T1w", len(lab.names))
    (lab.images / "scene000.png").rename(lab.images / "hidden")
    try:
        report = check(source)
    finally:
        (lab.images / "hidden").rename(lab.images / "scene000.png")
    assert len(report.faults) == 1
    assert "'scene000.png'" in report.faults[0]


def test_a_session_is_read_in_blocks(tmp_path, monkeypatch):
    """A series of 40 MB through a mask of 100 voxels takes a few blocks of memory."""
    shape, n_trials = (40, 50, 50), 100
    values = np.random.default_rng(0).random((*shape, n_trials), np.float32)
    folder = tmp_path / "sub-01" / "func"
    save_volume(folder / "sub-01_task-a_stat-effect_statmap.nii", values, np.eye(4))
    mask = np.zeros(shape, np.uint8)
    mask[20, :2, :] = 1
    save_volume(folder / "sub-01_desc-brain_mask.nii.gz", mask, np.eye(4))
    table = pd.DataFrame({"beta_index": range(n_trials), "label": ["a", "b"] * (n_trials // 2)})
    table.to_csv(folder / "sub-01_task-a_trials.tsv", sep="\t", index=False)
    subject = open_bids(tmp_path)
    expected = values[mask > 0].T.copy()
    del values
    monkeypatch.setattr(volumes, "_BLOCK_BYTES", 2**20)
    tracemalloc.start()
    betas = subject.train.betas()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(betas, expected)
    assert peak < 4 * 2**20


# --- nilearn -------------------------------------------------------------------------------------


def _save(model, names, folder, prefix):
    """Save by nilearn; its figures and report, which take most of the time, are left out."""
    from nilearn.glm import io

    report = functools.wraps(model.generate_report)(lambda **_: SimpleNamespace(
        save_as_html=lambda path: path.write_text("")))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "generate_report", report)
        patch.setattr(io, "is_matplotlib_installed", lambda: False)
        io.save_glm_to_bids(model, contrasts=names, out_dir=folder, prefix=prefix)


@pytest.fixture(scope="module")
def glm(lab, tmp_path_factory):
    """Fit two sessions by nilearn with one regressor per trial; save them as nilearn does.

    Each trial has one volume, and its regressor is 1 there alone, so that the estimate is the
    volume itself; further volumes leave degrees of freedom.
    """
    from nilearn.glm.first_level import FirstLevelModel

    root, n, extra = tmp_path_factory.mktemp("glm"), 4, 4
    raw = root / "raw" / "sub-01"
    for session, volume in zip((2, 10), lab.volumes, strict=True):
        names = [f"trial_{i:03d}" for i in range(n)]
        here = np.array(lab.ids)[lab.session == (1 if session == 2 else 2)][:n]
        noise = np.random.default_rng(session).normal(size=(*volume.shape[:3], extra))
        series = np.concatenate([volume[..., :n], noise], axis=-1).astype(np.float32)
        design = pd.DataFrame(np.eye(n + extra, n), columns=names)
        mask = nib.Nifti1Image(lab.mask.astype(np.uint8), lab.affine)
        model = FirstLevelModel(
            mask_img=mask, noise_model="ols", signal_scaling=False, minimize_memory=False
        )
        prefix = f"sub-01_ses-{session}_task-images_space-T1w"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(nib.Nifti1Image(series, lab.affine), design_matrices=design)
            maps = root / "derivative" / "sub-01"
            maps.mkdir(parents=True, exist_ok=True)
            _save(model, names, root / "derivative", prefix)
        folder = raw / f"ses-{session}" / "func"
        folder.mkdir(parents=True)
        for run, part in ((2, slice(n // 2, n)), (1, slice(0, n // 2))):
            events = pd.DataFrame({"onset": 4.0 * np.arange(n // 2), "duration": 2.0,
                                   "trial_type": names[part], "stim_file": here[part]})  # fmt: skip
            events.sample(frac=1, random_state=1).to_csv(
                folder / f"sub-01_ses-{session}_task-images_run-{run}_events.tsv",
                sep="\t", index=False,
            )  # fmt: skip
    return root


def test_nilearns_maps_are_joined_with_the_events_by_name(lab, glm):
    subject = open_bids(glm / "derivative", stimuli=glm / "raw", images=lab.images, test=0.3)
    assert subject.sessions == (2, 10)
    assert subject.space == "T1w"
    betas = np.load(lab.folder / "responses.npy")
    first = np.concatenate([np.arange(4), 48 + np.arange(4)])
    assert subject.trials["stimulus_id"].tolist() == list(np.array(lab.ids)[first])
    assert subject.trials["run"].tolist() == [1, 1, 2, 2] * 2
    whole = subject.select(np.ones(8, bool)).betas()
    np.testing.assert_allclose(whole, betas[first], rtol=1e-4, atol=1e-5)
    mask = lab.mask
    for row, (session, trial) in enumerate((s, t) for s in (2, 10) for t in range(4)):
        name = f"sub-01_ses-{session}_task-images_space-T1w_contrast-trial{trial:03d}"
        image = nib.load(glm / "derivative/sub-01" / f"{name}_stat-effect_statmap.nii.gz")
        read = np.asarray(image.dataobj)[mask].astype(np.float32)
        np.testing.assert_array_equal(whole[row], read)
    assert len(set(map(tuple, whole))) == 8


def write_contrasts(lab, root, names, column="trial_type"):
    """Write one map per contrast in the names that nilearn gives, and a table of one's own."""
    folder = root / "sub-01"
    stem = "sub-01_task-images_space-T1w"
    for i, name in enumerate(names):
        entity = "".join(letter for letter in name if letter.isalnum())
        save_volume(folder / f"{stem}_contrast-{entity}_stat-effect_statmap.nii.gz",
                    lab.volumes[0][..., i], lab.affine)  # fmt: skip
    save_volume(folder / f"{stem}_mask.nii.gz", lab.mask.astype(np.uint8), lab.affine)
    table = root / "table.csv"
    pd.DataFrame({column: names, "stimulus_id": lab.ids[: len(names)]}).iloc[::-1].to_csv(
        table, index=False
    )
    return table


def test_contrasts_by_a_table(lab, tmp_path):
    names = [f"Trial_{i:03d}" for i in range(48)]
    table = write_contrasts(lab, tmp_path, names)
    save_rois(lab, tmp_path / "rois")
    subject = open_bids(tmp_path, stimuli=table, images=lab.images, rois=tmp_path / "rois",
                        test=lab.test_file)  # fmt: skip
    assert subject.trials["stimulus_id"].tolist() == lab.ids[:48]
    betas = np.load(lab.folder / "responses.npy")[:48]
    np.testing.assert_array_equal(subject.select(np.ones(48, bool)).betas(), betas)
    reference = open_folder(lab.folder)
    short = reference.select(reference.trials["session"].to_numpy() == 1)
    np.testing.assert_array_equal(short.betas(), betas)
    save_volume(tmp_path / "sub-01/sub-01_task-images_space-T1w_contrast-all_stat-effect_statmap."
                "nii.gz", lab.volumes[0][..., 0], lab.affine)  # fmt: skip
    subject = open_bids(tmp_path, stimuli=table)
    assert len(subject.trials) == 48
    assert any("1 of 49 contrasts of session 1 are no trial_type" in n for n in subject.notes)


def test_contrasts_without_events_are_refused(lab, tmp_path):
    table = write_contrasts(lab, tmp_path, ["a1", "b2"])
    with pytest.raises(UserError, match=r"has no events\.tsv of sub-01_task-images: name the raw"):
        open_bids(tmp_path)
    table.write_text("trial_type,stimulus_id\nx,scene000\n")
    with pytest.raises(UserError, match=r"no trial_type 'a1', .*\(2 such contrasts of ses"):
        open_bids(tmp_path, stimuli=table)
    table.write_text("trial_type,stimulus_id\na1,scene000\nA-1,scene001\nb2,scene000\n")
    with pytest.raises(UserError, match=r"is an event of 'scene000' and of 'scene001'"):
        open_bids(tmp_path, stimuli=table)


def test_names_of_files():
    name = "sub-01_ses-02_task-a_run-3_space-T1w_stat-effect_desc-x_statmap.nii.gz"
    file = BidsFile(Path(name))
    assert file.entities == {"sub": "01", "ses": "02", "task": "a", "run": "3", "space": "T1w",
                             "stat": "effect", "desc": "x"}  # fmt: skip
    assert (file.suffix, file.ending, file.run, file.is_volume) == ("statmap", ".nii.gz", 3, True)
