"""Data of other layouts as a folder of one's own: nothing lost, nothing half written."""

import dataclasses
import json

import h5py
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from data.lab_truth import require_equal, save_rois
from vox2pix.cli import app
from vox2pix.data import open_folder, open_glmsingle, open_nsd, write_folder
from vox2pix.data.names import safe_names
from vox2pix.errors import UserError

MODEL = "TYPED_FITHRF_GLMDENOISE_RR"


@pytest.fixture
def glm(lab, tmp_path):
    """GLMsingle's output of both sessions in HDF5, its table and regions."""
    folder = tmp_path / "sub-01"
    folder.mkdir()
    with h5py.File(folder / f"{MODEL}.hdf5", "w") as file:
        file["betasmd"] = np.concatenate(lab.volumes, axis=-1)
    design = {"stimorder": lab.conditions.tolist(), "numtrialrun": [48, 48],
              "params": {"sessionindicator": [1, 2]}}  # fmt: skip
    np.save(folder / "DESIGNINFO.npy", design)
    table = pd.DataFrame({"condition": range(len(lab.names)), "stimulus_id": lab.names})
    table.to_csv(tmp_path / "stimuli.csv", index=False)
    save_rois(lab, tmp_path / "rois")
    return folder


def command(lab, glm, *more):
    beside = glm.parent
    words = [
        "--stimuli", beside / "stimuli.csv", "--images", lab.images, "--rois", beside / "rois",
        "--captions", lab.captions, "--test", lab.test_file, *more,
    ]  # fmt: skip
    return [str(word) for word in words]


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_command_imports_what_the_reader_reads(lab, glm, tmp_path):
    out = tmp_path / "out"
    done = run("data", "import", glm, "--out", out, *command(lab, glm))
    assert done.exit_code == 0, done.output
    assert "96 trials of 120 voxels" in done.output.replace("\n", " ")
    direct = open_glmsingle(glm, glm.parent / "stimuli.csv", images=lab.images,
                            captions=lab.captions, rois=glm.parent / "rois",
                            test=lab.test_file)  # fmt: skip
    subject = open_folder(out)
    require_equal(subject, direct)
    assert subject.captions(lab.names) == direct.captions(lab.names)
    assert (subject.shape, subject.origin.unit) == (direct.shape, direct.origin.unit)
    np.testing.assert_array_equal(subject.affine, direct.affine)
    assert "When the data were imported: No mask was named" in " ".join(subject.notes)
    again = run("data", "import", glm, "--out", out, *command(lab, glm))
    assert again.exit_code == 0
    checked = run("data", "check", out)
    assert checked.exit_code == 0, checked.output
    assert "a folder of your own data" in checked.output


def test_a_command_checks_a_layout(lab, glm):
    done = run("data", "check", glm, "--json", *command(lab, glm))
    report = json.loads(done.stdout)
    assert (done.exit_code, report["layout"], report["ok"]) == (0, "glmsingle", True)
    assert report["rois"]["early"]["n_voxels"] == 60
    words = run("data", "check", glm, *command(lab, glm)).output
    assert "GLMsingle's output" in words


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--mask", "none.nii.gz"], "none.nii.gz does not exist"),
        (["--maks", "x"], "There is no option data.options.maks of GLMsingle's output; did you"),
        (["--mask"], "--mask has no value"),
        (["more"], "'more' is no option"),
        (["--test", "1.5"], "--test is 1.5: give a share between 0 and 1"),
        (["--subject", "2"], "The setting data.subject is '2' and has no effect on GLMsingle's"),
        (["--source", "glmsingel"], "There is no reader of data 'glmsingel'; did you mean"),
        (["--images", "nowhere"], "nowhere (the setting data.images) does not exist"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(lab, glm, tmp_path, more, sentence):
    out = tmp_path / "out"
    done = run("data", "import", glm, "--out", out, *command(lab, glm, *more))
    assert done.exit_code == 2
    assert sentence in done.stderr.replace("\n", " ")
    assert not out.exists()


def test_what_is_not_ours_is_left_alone(lab, glm, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    done = run("data", "import", glm, "--out", out, *command(lab, glm))
    assert done.exit_code == 2
    assert "holds files that vox2pix did not write" in done.stderr.replace("\n", " ")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["trials.csv", "images/*.png"])
def test_what_was_edited_is_not_imported_over(lab, tmp_path, name):
    out = tmp_path / "out"
    subject = open_folder(lab.folder)
    write_folder(subject, out)
    file = next(out.glob(name))
    file.write_bytes(file.read_bytes() + b"\n")
    edited = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"{file.name} was changed since vox2pix wrote it"):
        write_folder(subject, out)
    # before anything is read: the layout's own path is not there
    done = run("data", "import", tmp_path / "nowhere", "--out", out)
    assert done.exit_code == 2
    assert "was changed since vox2pix wrote it" in done.stderr.replace("\n", " ")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == edited
    file.unlink()  # what is gone can be written again
    (out / "notes.txt").write_text("mine")
    write_folder(subject, out)
    assert file.is_file()
    assert (out / "notes.txt").read_text() == "mine"


def test_nsd_keeps_that_it_is_simulated_and_its_reliability(nsd, tmp_path):
    tree = nsd()
    (tree.root / "simulated.json").write_text("{}")
    subject = open_nsd(tree.root)
    notes = write_folder(subject, tmp_path / "out")
    assert notes == ()
    written = open_folder(tmp_path / "out")
    assert written.origin.dataset.key == "simulated"
    assert written.origin.unit == subject.origin.unit
    np.testing.assert_allclose(written.voxels["ncsnr"], subject.voxels["ncsnr"], rtol=1e-6)
    np.testing.assert_array_equal(written.train.betas(), subject.train.betas())
    ids = list(subject.train.stimulus_ids)
    np.testing.assert_array_equal(written.images(ids), subject.images(ids))
    assert written.captions(ids) == subject.captions(ids)
    assert write_folder(open_nsd(tree.root, rois="V1v"), tmp_path / "out") == ()
    assert open_folder(tmp_path / "out").rois == ("V1v",)
    (tmp_path / "out" / "imported.json").write_text('{"dataset": 3}')
    with pytest.raises(UserError, match=r"imported\.json does not say whose data these are"):
        open_folder(tmp_path / "out")


def test_a_mask_beside_an_array_must_have_its_voxels(nsd, tmp_path):
    write_folder(open_nsd(nsd().root), tmp_path / "out")
    betas = np.load(tmp_path / "out" / "responses.npy")
    np.save(tmp_path / "out" / "responses.npy", betas[:, 1:])
    with pytest.raises(UserError, match=r"mask\.nii\.gz marks \d+ voxels, .* has \d+: give the"):
        open_folder(tmp_path / "out")


def test_names_of_stimuli_become_names_of_files():
    names = ["a/b.png", "a_b", "A_B.jpg", "x:y", ".", "n01518878_5958.JPEG", "e\u0301"]
    safe = safe_names(names)
    assert list(safe.values()) == ["a_b", "a_b_2", "A_B_3", "x_y", "_", "n01518878_5958", "é"]


def test_tasks_and_sets_survive_an_import(folder, tmp_path):
    ids = ["A-a", "B-b", "A-a", "B-b"]
    subject = open_folder(folder(np.random.default_rng(0).normal(size=(4, 3)), ids))
    task = ["vision", "attention-cue", "imagery", "attention-detection"]
    trials = subject.trials.assign(task=task, set=["A", "B", "A", "B"])
    write_folder(dataclasses.replace(subject, trials=trials), tmp_path / "out")
    pd.testing.assert_frame_equal(open_folder(tmp_path / "out").trials, trials)
