"""NSD-Imagery's reader against tables and betas written by hand from the public descriptions."""

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vox2pix.config import DataConfig
from vox2pix.data import open_folder, open_nsd, open_nsd_imagery, source_of, write_folder
from vox2pix.data.faults import Faults
from vox2pix.data.nsd_imagery import NsdImagerySource
from vox2pix.errors import UserError

BETAS = "betas_fithrf_GLMdenoise_RR"
# Ranges of the betas as public loaders have them, 0-based and half open.
RANGES = {
    "visA": (0, 48), "attA": (48, 144), "imgA_1": (144, 192), "visB": (192, 240),
    "attB": (240, 336), "imgB_1": (336, 384), "visC": (384, 432), "attC": (432, 528),
    "imgC_1": (528, 576), "imgA_2": (576, 624), "imgB_2": (624, 672), "imgC_2": (672, 720),
}  # fmt: skip
LETTERS = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
NAMES = {
    "A": {
        "H": "bar_000.0deg_450L_43W", "R": "bar_045.0deg_450L_43W", "V": "bar_090.0deg_450L_43W",
        "L": "bar_135.0deg_450L_43W", "P": "cross_000.0deg", "E": "cross_045.0deg",
    },
    "B": {
        "W": "shared0385_nsd28752", "K": "shared0413_nsd30857", "B": "shared0741_nsd53882",
        "C": "shared0842_nsd61178", "D": "shared0907_nsd65873", "T": "shared0000_nsd00000",
    },
}  # fmt: skip


def table_path(root: Path, run: str) -> Path:
    return root / f"nsddata/bdata/nsdimagery/nsdimagery_subj01_{run}.tsv"


def add_imagery(tree, kind: str = "hdf5") -> dict[str, pd.DataFrame]:
    """Write twelve tables, 720 betas that differ everywhere and the images into a tree."""
    rng = np.random.default_rng(1)
    tables = {}
    for run in RANGES:
        letters = rng.permutation(np.repeat(list(LETTERS[run[3]]), 8))
        tables[run] = pd.DataFrame(
            {
                "SUBJECT": 1,
                "SESSION": 1,
                "RUN": 1,
                "TRIAL": np.arange(48) + 1,
                "CONDITION": letters,
                "CUE": "x",
                "IMAGEFILE": np.nan,
                "BUTTON": rng.integers(1, 5, 48),
            }
        )
        table_path(tree.root, run).parent.mkdir(parents=True, exist_ok=True)
        tables[run].to_csv(table_path(tree.root, run), sep="\t", index=False, na_rep="NaN")
    folder = tree.folder.with_name(f"nsdimagery{BETAS}")
    folder.mkdir()
    betas = rng.normal(0, 600, (720, *tree.mask.shape)).astype(np.int16)
    if kind == "hdf5":
        with h5py.File(folder / "betas_nsdimagery.hdf5", "w") as file:
            file["betas"] = betas.transpose(0, 3, 2, 1)
    else:
        image = nib.Nifti1Image(np.moveaxis(betas, 0, -1), np.diag([1.8, 1.8, 1.8, 1]))
        nib.save(image, folder / "betas_nsdimagery.nii.gz")
    for number, (set_, names) in enumerate(NAMES.items()):
        for letter, name in names.items():
            path = tree.root / f"nsddata/experiments/nsdimagery/rawtargetimages/set{set_}"
            path.mkdir(parents=True, exist_ok=True)
            grey = np.full((9, 9, 3), 10 * ord(letter) % 251 + number, np.uint8)
            Image.fromarray(grey).save(path / f"{name}.png")
    tree.imagery = betas
    return tables


@pytest.mark.parametrize("kind", ["hdf5", "nifti"])
@pytest.mark.parametrize("order", ["interleaved", "cues-first"])
def test_every_beta_has_the_trial_of_its_run(nsd, kind, order) -> None:
    tree = nsd()
    tables = add_imagery(tree, kind)
    subject = open_nsd_imagery(tree.root, attention_order=order)
    trials = subject.trials
    assert len(trials) == 720
    for number, (run, (start, stop)) in enumerate(RANGES.items(), 1):
        letters, buttons = tables[run]["CONDITION"], tables[run]["BUTTON"]
        for row in range(start, stop):
            place = row - start
            if stop - start == 96 and order == "interleaved":
                trial, task = place // 2, ("attention-cue", "attention-detection")[place % 2]
            elif stop - start == 96:
                trial, task = place % 48, ("attention-cue", "attention-detection")[place // 48]
            else:
                trial, task = place, {"vis": "vision", "img": "imagery"}[run[:3]]
            expected = (f"{run[3]}-{letters[trial]}", 1, number, "test", task, run[3], run)
            found = tuple(trials.loc[row])
            assert found[:7] == expected
            assert found[7] == buttons[trial]
    where = subject.voxels[["x", "y", "z"]].to_numpy()
    np.testing.assert_allclose(
        subject.test.betas(), tree.imagery[:, *where.T] / np.float32(300), rtol=1e-6
    )
    assert any(order in note and "unverified" in note for note in subject.notes)


def test_voxels_are_those_of_nsd(nsd) -> None:
    tree = nsd()
    add_imagery(tree)
    rois = ("V1v", "ventral")
    own, core = open_nsd_imagery(tree.root, rois=rois), open_nsd(tree.root, rois=rois)
    pd.testing.assert_frame_equal(own.voxels, core.voxels)
    np.testing.assert_array_equal(own.affine, core.affine)


def test_images_and_captions_are_those_of_the_cue(nsd) -> None:
    tree = nsd()
    add_imagery(tree)
    subject = open_nsd_imagery(tree.root)
    ids = [f"{set_}-{letter}" for set_ in NAMES for letter in LETTERS[set_]]
    for stimulus_id, image in zip(ids, subject.images(ids), strict=True):
        grey = 10 * ord(stimulus_id[2]) % 251 + "AB".index(stimulus_id[0])
        assert (image == np.float32(grey) / np.float32(255)).all()
    with pytest.raises(UserError, match="C-S of NSD-Imagery has no image"):
        subject.images(["C-S"])
    # numbers in names count from 1, rows of the table of stimuli from 0
    assert subject.stimulus_source._nsd_ids == {
        "B-W": "28751", "B-K": "30856", "B-B": "53881", "B-C": "61177", "B-D": "65872",
    }  # fmt: skip
    assert subject.stimulus_source.captioned(["A-H", "B-T", "B-W"]) == ["B-W"]


def test_what_is_missing_is_counted(nsd) -> None:
    tree = nsd()
    tables = add_imagery(tree)
    folder = tree.root / "nsddata/experiments/nsdimagery/rawtargetimages/setA"
    (folder / "cross_045.0deg.png").unlink()
    tables["imgA_1"]["BUTTON"] = ["b", *[3] * 46, np.nan]
    tables["imgA_1"].to_csv(table_path(tree.root, "imgA_1"), sep="\t", index=False, na_rep="NaN")
    subject = open_nsd_imagery(tree.root)
    assert any(note.startswith("11 of 12 images of sets A and B") for note in subject.notes)
    assert any("1 values of BUTTON are no number" in note for note in subject.notes)
    buttons = subject.trials.loc[subject.trials["run_name"] == "imgA_1", "button"].to_numpy()
    np.testing.assert_array_equal(buttons, [np.nan, *[3] * 46, np.nan])
    faults = Faults()
    assert subject.stimulus_source.missing_images(["A-E", "A-H", "C-S"], faults) == ("A-E", "C-S")
    assert "no image of stimulus A-E (1 are missing)" in faults.messages[0]


def test_an_import_keeps_tasks_sets_and_trials_without_an_image(nsd, tmp_path) -> None:
    tree = nsd()
    add_imagery(tree)
    shutil.rmtree(tree.root / "nsddata_stimuli/stimuli/nsd/annotations")
    subject = open_nsd_imagery(tree.root)
    notes = write_folder(subject, tmp_path / "out")
    assert "6 of 18 images are missing: the data have none by design." in notes
    read = open_folder(tmp_path / "out").trials
    columns = ["stimulus_id", "session", "run", "split", "task", "set"]
    pd.testing.assert_frame_equal(read, subject.trials[columns])


def test_captions_are_found_by_nsds_table(nsd) -> None:
    tree = nsd()
    tables = add_imagery(tree)
    folder = tree.root / "nsddata/experiments/nsdimagery/rawtargetimages/setB"
    (folder / "shared0385_nsd28752.png").rename(folder / "shared0001_nsd00004.png")
    tables["visB"]["IMAGEFILE"] = np.where(
        tables["visB"]["CONDITION"] == "W", "stimuli/setB/shared0001_nsd00004.png", "absent.png"
    )
    tables["visB"].to_csv(table_path(tree.root, "visB"), sep="\t", index=False)
    subject = open_nsd_imagery(tree.root)
    captions = [f"A {k} of {1000 + 7 * 3}." for k in range(5)]  # of row 3
    assert subject.captions(["B-W"]) == [tuple(captions)]
    with pytest.raises(UserError, match="A-H of NSD-Imagery has no caption"):
        subject.captions(["A-H"])


def test_voxels_without_data_are_left_out_or_stay(nsd) -> None:
    tree = nsd()
    add_imagery(tree)
    where = tuple(open_nsd_imagery(tree.root).voxels[["x", "y", "z"]].iloc[3])
    with h5py.File(tree.folder.with_name(f"nsdimagery{BETAS}") / "betas_nsdimagery.hdf5", "a") as f:
        x, y, z = where
        f["betas"][:, z, y, x] = 0
    whole = open_nsd_imagery(tree.root, leave_out=False)
    fewer = open_nsd_imagery(tree.root)
    assert len(whole.voxels) - len(fewer.voxels) == 1
    assert where not in {tuple(v) for v in fewer.voxels[["x", "y", "z"]].to_numpy()}
    assert whole.betas_source.no_data(1, np.arange(len(whole.voxels))).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda t: table_path(t.root, "imgB_2").unlink(), r"imgB_2\.tsv does not exist"),
        (
            lambda t: table_path(t.root, "visA").write_bytes(
                table_path(t.root, "imgB_1").read_bytes()
            ),
            r"visA\.tsv, line 2: CONDITION is '.', and the cues of set A are H, R, V",
        ),
        (
            lambda t: table_path(t.root, "attC").write_text("CONDITION\tBUTTON\nS\t1\n"),
            r"attC\.tsv lists 1 trials, not 48",
        ),
        (
            lambda t: table_path(t.root, "attC").write_text("CUE\tBUTTON\nS\t1\n"),
            r"attC\.tsv",
        ),
        (lambda t: short(t), "holds 700 betas, and NSD-Imagery has 720"),
        (
            lambda t: t.folder.with_name(f"nsdimagery{BETAS}").rename(t.root / "elsewhere"),
            "does not exist: download NSD-Imagery's betas of subj01",
        ),
    ],
)
def test_what_is_wrong_is_named(nsd, break_it, message) -> None:
    tree = nsd()
    add_imagery(tree)
    break_it(tree)
    with pytest.raises(UserError, match=message):
        open_nsd_imagery(tree.root)


def short(tree) -> None:
    path = tree.folder.with_name(f"nsdimagery{BETAS}") / "betas_nsdimagery.hdf5"
    with h5py.File(path, "w") as file:
        file["betas"] = tree.imagery[:700].transpose(0, 3, 2, 1)


def test_an_experiment_names_it_with_its_order(nsd) -> None:
    tree, rois = nsd(), ("V1v", "ventral")
    add_imagery(tree)
    data = DataConfig(
        source="nsd-imagery", path=tree.root, options={"attention_order": "cues-first"}
    )
    source = source_of(data, tree.root)
    found = source.open(rois)
    expected = open_nsd_imagery(tree.root, rois=rois, attention_order="cues-first")
    pd.testing.assert_frame_equal(found.trials, expected.trials)
    pd.testing.assert_frame_equal(found.voxels, expected.voxels)
    np.testing.assert_array_equal(found.test.betas(), expected.test.betas())
    assert found.notes == expected.notes
    read = {name for name, *_ in source.listed()}
    assert {f"nsddata/bdata/nsdimagery/nsdimagery_subj01_{run}.tsv" for run in RANGES} <= read
    assert any(name.endswith("betas_nsdimagery.hdf5") for name in read)
    wrong = DataConfig(source="nsd-imagery", path=tree.root, options={"attention_order": "last"})
    with pytest.raises(UserError, match=r"data\.options\.attention_order"):
        source_of(wrong, tree.root)


def test_its_faults_are_gathered(tmp_path) -> None:
    faults = Faults()
    assert NsdImagerySource(root=tmp_path).gather(("early",), faults) is None
    with pytest.raises(UserError, match="download NSD-Imagery's betas"):
        faults.raise_first()
