"""A person's own data, through every format, against the arrays that were written."""

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vox2pix.data import open_folder
from vox2pix.data.folder_responses import ResponsesFile
from vox2pix.errors import UserError

FORMS = ["npy", "npz", "h5", "zarr", "zarr-group"]
BETAS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
STIMULI = ["a", "b", "a", "007", "NA", "b"]

ids = st.text(st.sampled_from("abc019_- é"), min_size=1, max_size=5).filter(
    lambda name: name.strip() == name
)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read(write_folder, tmp_path_factory, data):
    n_trials, n_voxels = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 5))
    dtype = data.draw(st.sampled_from(["float32", "float64", "int16", "uint8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    betas = (rng.normal(size=(n_trials, n_voxels)) * 50 + 100).astype(dtype)
    stimulus = data.draw(st.lists(ids, min_size=n_trials, max_size=n_trials))
    session = data.draw(st.lists(st.integers(1, 3), min_size=n_trials, max_size=n_trials))
    test = data.draw(st.sets(st.sampled_from(sorted(set(stimulus)))))
    split = ["test" if name in test else "train" for name in stimulus]
    form = data.draw(st.sampled_from(FORMS))
    path = write_folder(
        tmp_path_factory.mktemp("own"), betas, stimulus, form, session=session, split=split
    )
    flags = rng.integers(0, 2, n_voxels)
    flags[0] = 1
    pd.DataFrame({"V1": flags}).to_csv(path / "voxels.csv", index=False)
    subject = open_folder(path)
    assert list(subject.trials["stimulus_id"]) == stimulus
    assert list(subject.trials["session"]) == session
    whole = subject.select(np.ones(n_trials, bool))
    np.testing.assert_array_equal(whole.betas(), betas.astype(np.float32))
    np.testing.assert_array_equal(whole.betas("V1"), betas[:, flags == 1].astype(np.float32))
    for part, rows in (("train", subject.train), ("test", subject.test)):
        in_split = np.array(split) == part
        if in_split.any():
            np.testing.assert_array_equal(rows.betas(), betas[in_split].astype(np.float32))
    names = sorted(set(stimulus))
    images = subject.images(names)
    np.testing.assert_allclose(images[:, 0, 0, 0] * 255, np.arange(len(names)), atol=1e-4)


@pytest.mark.parametrize("extension", [".nii.gz", ".nii"])
def test_images_with_a_mask(folder, extension):
    path = folder(BETAS, STIMULI, "none", session=[1, 1, 2, 2, 1, 2])
    rng = np.random.default_rng(1)
    volumes = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
    mask = rng.random((3, 4, 5)) < 0.4
    affine = np.diag([2.0, 2, 3, 1])
    nib.save(nib.Nifti1Image(volumes, affine), path / f"responses{extension}")
    with pytest.raises(UserError, match=r"needs a mask: add mask\.nii\.gz"):
        open_folder(path)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), path / "mask.nii.gz")
    subject = open_folder(path)
    np.testing.assert_array_equal(subject.voxels[["x", "y", "z"]], np.argwhere(mask))
    np.testing.assert_array_equal(subject.train.betas(), volumes[mask].T)
    np.testing.assert_allclose(subject.affine, affine)
    assert subject.shape == (3, 4, 5)
    assert subject.space == "nifti"
    places = pd.DataFrame(np.argwhere(mask)[::-1], columns=["x", "y", "z"])
    places.to_csv(path / "voxels.csv", index=False)
    with pytest.raises(UserError, match=r"voxels\.csv lists other x, y, z than the mask"):
        open_folder(path)
    nib.save(nib.Nifti1Image(mask[:2].astype(np.uint8), affine), path / "mask.nii.gz")
    with pytest.raises(UserError, match=r"give \(X, Y, Z, n_trials\) and a mask"):
        open_folder(path)


def test_voxel_table(folder):
    path = folder(BETAS, STIMULI)
    (path / "voxels.csv").write_text(
        "V1,hV4,ncsnr,hemi,vertex\n1,FALSE,0.5,lh,3\n0,true,,rh,4\n1,False,0.25,lh,5\n"
        "0,True,nan,rh,6\n"
    )
    subject = open_folder(path)
    assert subject.rois == ("V1", "hV4")
    np.testing.assert_array_equal(subject.voxel_mask("V1"), [True, False, True, False])
    np.testing.assert_array_equal(subject.voxels["ncsnr"], [0.5, np.nan, 0.25, np.nan])
    assert list(subject.voxels["hemi"]) == ["lh", "rh", "lh", "rh"]
    assert list(subject.voxels["vertex"]) == [3, 4, 5, 6]
    np.testing.assert_array_equal(subject.train.betas("hV4"), BETAS[:, [1, 3]])


def test_defaults(folder):
    subject = open_folder(folder(BETAS, STIMULI))
    assert subject.name == "own"
    assert set(subject.trials["session"]) == set(subject.trials["run"]) == {1}
    assert set(subject.trials["split"]) == {"train"}
    assert subject.rois == ()
    assert subject.test.n_trials == 0
    assert not subject.has_captions
    with pytest.raises(UserError, match="own has no trials in this split"):
        subject.test.betas()


def test_opening_reads_the_first_trial_of_each_session(folder, monkeypatch):
    path = folder(BETAS, STIMULI, "npy", session=[1, 1, 2, 2, 2, 1])
    read, original = [], ResponsesFile.read

    def note(file, trials, voxels):
        read.append((trials.start, trials.stop, len(voxels)))
        return original(file, trials, voxels)

    monkeypatch.setattr(ResponsesFile, "read", note)
    open_folder(path)
    assert read == [(0, 1, 4), (2, 3, 4)]


def test_images_in_arrays(folder):
    path = folder(BETAS, ["0", "1", "0", "2", "1", "2"])
    for file in (path / "images").iterdir():
        file.unlink()
    (path / "images").rmdir()
    subject = open_folder(path)
    with pytest.raises(UserError, match=r"own has no images: add images/ID\.png"):
        subject.images(["0"])
    images = np.random.default_rng(0).random((3, 5, 5))
    np.save(path / "stimuli.npy", images)
    expected = np.repeat(images[[2, 0]].astype(np.float32)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(open_folder(path).images(["2", "0"]), expected)
    np.save(path / "stimuli.npy", images[:2])
    with pytest.raises(UserError, match=r"names stimulus '2', but .* holds images 0 to 1: an "):
        open_folder(path)
    (path / "stimuli.npy").unlink()
    np.savez(path / "stimuli.npz", images=images, stimulus_id=["2", "1", "0"])
    np.testing.assert_array_equal(open_folder(path).images(["0", "2"]), expected)
    with pytest.raises(UserError, match=r"stimuli\.npz has no image of stimulus '3'"):
        open_folder(path).images(["3"])
    np.savez(path / "stimuli.npz", images=images, stimulus_id=["2", "1", "1"])
    with pytest.raises(UserError, match="3 images and 2 different stimulus_id"):
        open_folder(path).images(["1"])
    np.savez(path / "stimuli.npz", images=images * 300, stimulus_id=["2", "1", "0"])
    with pytest.raises(UserError, match=r"image 0 is float64 .* save images as uint8"):
        open_folder(path).images(["0"])


def test_captions(folder):
    path = folder(BETAS, STIMULI)
    (path / "captions.csv").write_text(
        'stimulus_id,caption\na,A cat.\n007,"One, two."\na, A feline \nNA,Nothing\n'
    )
    subject = open_folder(path)
    assert subject.has_captions
    assert subject.captions(["007", "a", "NA"]) == [
        ("One, two.",),
        ("A cat.", "A feline"),
        ("Nothing",),
    ]
    with pytest.raises(UserError, match=r"captions\.csv has no caption of stimulus 'b'"):
        subject.captions(["a", "b"])
    (path / "captions.csv").write_text("id,text\n")
    with pytest.raises(UserError, match=r"captions\.csv has no column 'stimulus_id'"):
        open_folder(path).captions(["a"])


def test_tasks_and_sets_are_read(folder):
    path = folder(BETAS, STIMULI)
    assert not {"task", "set"} & set(open_folder(path).trials)
    task = ["vision", "imagery", "attention-cue", "attention-detection", "", "seen"]
    replace(path / "trials.csv", task=task, set=["A", "1", "A", "NA", "1", "1"])
    trials = open_folder(path).trials
    assert list(trials["task"]) == task
    assert list(trials["set"]) == ["A", "1", "A", "NA", "1", "1"]
    assert list(trials["stimulus_id"]) == STIMULI


# Faults, each with its sentence


def replace(path, **columns):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.assign(**columns).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"split": ["train"] * 5 + ["test"]}, "stimulus 'b' is in train and in test"),
        ({"split": ["train"] * 5 + ["val"]}, "line 7: split 'val' is neither train nor test"),
        ({"session": [1, 1, 1, 1, 1, 0]}, "line 7: session '0' is no whole number from 1"),
        ({"run": [1, 1.5, 1, 1, 1, 1]}, r"line 3: run '1\.5' is no whole number"),
        ({"run": [1, "x", 1, 1, 1, 1]}, "line 3: run 'x' is no whole number"),
        ({"session": [1, 1, 2, 2, 3, 3], "trial": [1, 2, 1, 2, 1, 1]},
         "line 7: session 3, trial 1 is there twice; remove the duplicate"),
        ({"stimulus_id": ["a", "", "a", "a", "a", "b"]}, "line 3: stimulus_id is empty"),
        ({"task": ["vision"] * 4 + ["imagry", ""]}, "line 6: task 'imagry' is none of vision,"),
        ({"set": ["A", "B", "A", "A", "", "B"]}, "line 6: set is empty; fill it in"),
        ({"set": ["A", "B", "A", "A", "B", "A"]}, "stimulus 'b' is in 2 sets; choose one"),
    ],
)  # fmt: skip
def test_faults_of_trials(folder, columns, sentence):
    path = folder(BETAS, STIMULI)
    replace(path / "trials.csv", **columns)
    with pytest.raises(UserError, match=r"trials\.csv.*" + sentence):
        open_folder(path)


def test_trials_that_do_not_match(folder):
    path = folder(BETAS, STIMULI)
    table = pd.read_csv(path / "trials.csv", keep_default_na=False)
    table.iloc[:-1].to_csv(path / "trials.csv", index=False)
    with pytest.raises(UserError, match=r"responses\.npy holds 6 trials, .*trials\.csv 5: give"):
        open_folder(path)
    (path / "trials.csv").write_text("stimulus_id\n")
    with pytest.raises(UserError, match=r"trials\.csv has no rows"):
        open_folder(path)
    (path / "trials.csv").write_text("stimulus\na\n")
    with pytest.raises(UserError, match=r"trials\.csv has no column 'stimulus_id'"):
        open_folder(path)
    (path / "trials.csv").write_bytes(b"")
    with pytest.raises(UserError, match=r"trials\.csv is empty"):
        open_folder(path)
    (path / "trials.csv").unlink()
    with pytest.raises(UserError, match=r"trials\.csv does not exist: add it"):
        open_folder(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("V1\n1\n1\n", r"voxels\.csv has 2 rows, .*responses\.npy 4 voxels"),
        ("V1\n1\n1\n2\n0\n", r"voxels\.csv, line 4: '2' in column V1 is no ROI flag; write 0 or 1"),
        ("V1,V2\n0,1\n0,1\n0,1\n0,1\n", "ROI 'V1' is empty: .*flags no voxel"),
        ("ncsnr\n.1\n.1\nx\n.1\n", "line 4: column ncsnr holds 'x', which is no number"),
        ("x\n1\n\n1\n1\n", r"voxels\.csv has 3 rows|column x holds what is no number"),
    ],
)
def test_faults_of_voxels(folder, text, sentence):
    path = folder(BETAS, STIMULI)
    (path / "voxels.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        open_folder(path)


def test_unknown_roi(folder):
    path = folder(BETAS, STIMULI)
    pd.DataFrame({"ventral": [1, 0, 1, 0]}).to_csv(path / "voxels.csv", index=False)
    with pytest.raises(UserError, match=r"own was opened without a ROI 'vental'; did you mean ven"):
        open_folder(path).train.betas("vental")


@pytest.mark.parametrize("form", FORMS)
def test_nan_responses(folder, form):
    betas = BETAS.copy()
    betas[4, 2] = np.nan
    subject = open_folder(folder(betas, STIMULI, form, session=[1, 1, 1, 2, 2, 2]))
    with pytest.raises(
        UserError, match=r"responses.* holds 1 NaN .*trial 2 of session 2, voxel 3 of those"
    ):
        subject.train.betas()


@pytest.mark.parametrize("form", ["npy", "npz", "h5"])
def test_truncated_responses(folder, form):
    path = folder(BETAS, STIMULI, form) / f"responses.{form}"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=rf"responses\.{form} is truncated \("):
        open_folder(path.parent).train.betas()


def test_damaged_zarr(folder):
    path = folder(BETAS, STIMULI, "zarr")
    subject = open_folder(path)
    chunks = [f for f in (path / "responses.zarr").rglob("*") if f.name not in ("zarr.json", "c")]
    for chunk in (file for file in chunks if file.is_file()):
        chunk.write_bytes(chunk.read_bytes()[:10])
    with pytest.raises(UserError, match=r"responses\.zarr is damaged or is no file with an array"):
        subject.train.betas()
    (path / "responses.zarr/zarr.json").write_text("{")
    with pytest.raises(UserError, match=r"zarr\.json is truncated \(Expecting property name"):
        open_folder(path)


def test_wrong_responses(folder):
    path = folder(BETAS, STIMULI)
    np.save(path / "responses.npy", BETAS[0])
    with pytest.raises(UserError, match=r"is float32 of shape \(4,\): save numbers of shape"):
        open_folder(path)
    np.save(path / "responses.npy", BETAS.astype(str))
    with pytest.raises(UserError, match=r"is <U\d+ of shape \(6, 4\): save numbers"):
        open_folder(path)
    np.save(path / "responses.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(UserError, match=r"responses\.npy holds Python objects"):
        open_folder(path)
    np.savez(path / "responses.npz", betas=BETAS)
    with pytest.raises(UserError, match=r"responses\.npy and responses\.npz both hold responses"):
        open_folder(path)
    (path / "responses.npy").unlink()
    with pytest.raises(UserError, match=r"responses\.npz has no array 'responses'"):
        open_folder(path)
    (path / "responses.npz").unlink()
    with h5py.File(path / "responses.h5", "w") as file:
        file["betas"] = BETAS
    with pytest.raises(UserError, match=r"no array 'responses' \(it holds: betas\)"):
        open_folder(path)
    (path / "responses.h5").unlink()
    with pytest.raises(UserError, match=r"own has no responses: add responses\.npy, responses\."):
        open_folder(path)
    with pytest.raises(UserError, match=r"nowhere is no folder|does not exist"):
        open_folder(path / "nowhere")


def test_images_missing_unreadable_or_ambiguous(folder):
    path = folder(BETAS, STIMULI)
    (path / "images/b.png").write_text("no image")
    (path / "images/a.png").unlink()
    subject = open_folder(path)
    with pytest.raises(UserError, match=r"has no image of stimulus 'a': add a\.png"):
        subject.images(["a"])
    with pytest.raises(UserError, match=r"b\.png cannot be read as PNG or JPEG"):
        subject.images(["b"])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path / "images/b.jpg")
    with pytest.raises(UserError, match=r"are both images of stimulus 'b'"):
        open_folder(path)
    np.save(path / "stimuli.npy", np.zeros((3, 2, 2)))
    with pytest.raises(UserError, match=r"images and stimuli\.npy both hold images"):
        open_folder(path)


def test_ids_cannot_leave_the_folder(folder, tmp_path):
    path = folder(BETAS, STIMULI)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "secret.png")
    with pytest.raises(UserError, match="has no image of stimulus"):
        open_folder(path).images(["../../secret"])


def test_real_responses(miyawaki_dir, tmp_path):
    with np.load(miyawaki_dir / "figures.npz") as figures:
        responses, stimuli = figures["responses"], figures["stimuli"]
        index = figures["stimulus_index"]
    np.save(tmp_path / "responses.npy", responses)
    np.save(tmp_path / "stimuli.npy", stimuli.astype(np.float32))
    pd.DataFrame({"stimulus_id": index}).to_csv(tmp_path / "trials.csv", index=False)
    pd.DataFrame({"V1": np.ones(responses.shape[1], int)}).to_csv(
        tmp_path / "voxels.csv", index=False
    )
    subject = open_folder(tmp_path)
    assert (subject.train.n_trials, len(subject.train.stimulus_ids)) == (80, 10)
    assert subject.train.repeats.tolist() == [8] * 10
    np.testing.assert_array_equal(subject.train.betas("V1"), responses)
    means = np.stack([responses[index == i].mean(axis=0) for i in range(10)])
    np.testing.assert_allclose(subject.train.mean_betas(), means, rtol=1e-4, atol=1e-5)
    images = subject.images(subject.train.stimulus_ids)
    np.testing.assert_array_equal(images[..., 0], stimuli)
    left_out = subject.select(subject.trials["stimulus_id"].to_numpy() != "3")
    assert left_out.n_trials == 72
