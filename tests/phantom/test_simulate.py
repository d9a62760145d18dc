"""The one public function: the same bytes again, nothing half-written, clear refusals."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from vox2pix.errors import UserError
from vox2pix.phantom import simulate
from vox2pix.phantom import simulate as simulate_function
from vox2pix.phantom.early import IMAGE_SIZE
from vox2pix.phantom.experiment import resize_images
from vox2pix.seeds import rng_for
from vox2pix.store.owned import Marker

SMALL = {
    "sessions": 2,
    "trials_per_session": 30,
    "n_early": 40,
    "n_ventral": 40,
    "image_size": 64,
}
WORDS = ("dog", "car", "tree", "house", "boat")


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def album(tmp_path):
    """30 images of a person, not square, with captions in both forms."""
    folder = tmp_path / "album"
    folder.mkdir()
    rng = rng_for(1, "album")
    lines = ["stimulus_id,caption"]
    notes = []
    for k in range(30):
        pixels = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:04d}.png")
        text = f"a {WORDS[k % 5]}, by a {WORDS[k % 3]}"
        lines += [f'{k:04d}.png,"{text}"', f"{k:04d},one {WORDS[k % 5]}"]
        notes.append({"image_id": k, "id": k, "caption": text})
    (folder / "notes.txt").write_text("no image")
    table = tmp_path / "captions.csv"
    table.write_text("\n".join(lines))
    annotations = tmp_path / "captions.json"
    annotations.write_text(json.dumps({"annotations": notes}))
    return folder, table, annotations


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    one = simulate(tmp_path / "one", seed=5, space="both", **SMALL)
    two = simulate(tmp_path / "two", seed=5, space="both", **SMALL)
    assert hashes(one) == hashes(two)
    assert len(hashes(one)) > 25


def test_another_seed_gives_another_experiment(tmp_path):
    one = hashes(simulate(tmp_path / "one", seed=5, **SMALL))
    two = hashes(simulate(tmp_path / "two", seed=6, **SMALL))
    same = {name for name in one if one[name] == two[name]}
    assert {name.rsplit(".", 1)[1] for name in same} <= {
        "ctab",
        "json",
    }  # names of regions, and of files


def test_space_does_not_change_the_volume(tmp_path):
    one = hashes(simulate(tmp_path / "one", **SMALL))
    both = hashes(simulate(tmp_path / "two", space=["fsaverage5", "func1pt8mm"], **SMALL))
    betas = [name for name in one if "func1pt8mm" in name]
    assert len(betas) >= 7 and all(one[name] == both[name] for name in betas)


def test_a_second_subject_does_not_change_the_first_brain(tmp_path):
    one = simulate(tmp_path / "one", **SMALL)
    two = simulate(tmp_path / "two", subjects=2, **SMALL)
    name = "nsddata/ppdata/subj01/func1pt8mm/roi/streams.nii.gz"
    assert (one / name).read_bytes() == (two / name).read_bytes()
    assert (two / "truth/subj02.h5").exists()


def test_progress_is_told(tmp_path):
    events = []
    simulate(tmp_path / "out", progress=lambda *event: events.append(event), **SMALL)
    assert events[-1] == ("subject 1: func1pt8mm betas", 2, 2)
    assert {what for what, _, _ in events} >= {"images", "subject 1: early responses"}
    assert all(done <= total for _, done, total in events)


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def stop(what, done, total):
        if "betas" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "out", progress=stop, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_remains_of_a_killed_run_are_cleared(tmp_path):
    remains = tmp_path / f".out.{32 * 'a'}.partial"
    theirs = tmp_path / f".out.{32 * 'b'}.partial"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for folder in (remains, theirs):
        folder.mkdir()
        (folder / "half").write_text("x")
    Marker("simulation", process=ended.pid, host=platform.node()).write(remains)
    simulate(tmp_path / "out", **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"out", theirs.name}
    assert (theirs / "half").read_text() == "x"
    assert not (tmp_path / "out/half").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"out exists: name a folder that does not"):
        simulate(tmp_path / "out", **SMALL)
    assert not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"subjects": 0}, "subjects is 0: give 1 or more."),
        ({"sessions": -1}, "sessions is -1: give 1 or more."),
        ({"n_early": 5}, "n_early is 5: give 20 or more."),
        ({"image_size": 8}, "image_size is 8: give 16 or more."),
        ({"space": "MNI"}, "must not be 'MNI': choose 'func1pt8mm' or 'fsaverage5'"),
        ({"space": []}, "The space must not be empty"),
        ({"n_shared": 20}, "20 shared images are not possible with 20 images per subject"),
        ({"n_shared": 0}, "give n_shared between 1 and 19"),
        ({"space": "both", "n_early": 30_000}, "which has 10242: ask for fewer, or for space func"),
        ({"images": "album"}, "images were given without captions"),
        ({"captions": "a.csv"}, "captions were given without images"),
    ],
)
def test_impossible_requests_are_refused(tmp_path, change, sentence):
    with pytest.raises(UserError) as error:
        simulate(tmp_path / "out", **{**SMALL, **change})
    assert sentence in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [1, 2])
def test_own_images(tmp_path, album, form):
    out = simulate(tmp_path / "out", images=album[0], captions=album[form], **SMALL)
    with h5py.File(out / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"][:]
    with h5py.File(out / "truth/subj01.h5") as truth:
        names = [name.decode() for name in truth["stimulus_name"][:]]
        nsd_id = truth["nsd_id"][:]
        words = [name.decode() for name in truth["content/names"][:]]
        content = truth["content/values"][:]
        responses = truth["func1pt8mm/responses"][:]
    assert len(set(names)) == 20 and set(names) <= {f"{k:04d}.png" for k in range(30)}
    assert {f"word {word}" for word in WORDS} <= set(words)
    assert responses.std(axis=0).min() > 0
    for row, name in enumerate(names[:5]):
        with Image.open(album[0] / name) as image:
            middle = image.crop((5, 0, 25, 20)).resize((64, 64), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(brick[nsd_id[row]], np.asarray(middle))
        spoken = words.index(f"word {WORDS[int(name[:4]) % 5]}")
        assert content[row, spoken] > 0


def test_too_few_images_are_refused(tmp_path, album):
    settings = {**SMALL, "sessions": 4}
    with pytest.raises(UserError, match="holds 30 images, and the experiment shows 40: give"):
        simulate(tmp_path / "out", images=album[0], captions=album[1], **settings)


def test_faults_of_captions_are_named(tmp_path, album):
    folder, table, _ = album
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"no\.csv does not exist"):
        simulate(out, images=folder, captions=tmp_path / "no.csv", **SMALL)
    table.write_text("image,text\n1,a dog\n")
    with pytest.raises(UserError, match=r"captions\.csv is no caption file: write a CSV"):
        simulate(out, images=folder, captions=table, **SMALL)
    table.write_text("stimulus_id,caption\n0001,a dog\n")
    with pytest.raises(UserError, match=r"captions\.csv has no caption of \d{4}\.png"):
        simulate(out, images=folder, captions=table, **SMALL)
    table.write_text("stimulus_id,caption\n0000,a dog\n0001\n0002,a cat\n")
    with pytest.raises(UserError, match=r"captions\.csv, line 3: the row ends before its caption"):
        simulate(out, images=folder, captions=table, **SMALL)
    table.write_text("caption,stimulus_id\na dog,0000\na cat\n")
    with pytest.raises(UserError, match=r"captions\.csv, line 3: .* before its stimulus_id: comp"):
        simulate(out, images=folder, captions=table, **SMALL)
    table.write_text("stimulus_id,caption\n0000," + 200_000 * "a dog")
    with pytest.raises(UserError, match=r"captions\.csv is no caption file"):
        simulate(out, images=folder, captions=table, **SMALL)
    lines = [f"{k:04d},the of" for k in range(30)]
    table.write_text("\n".join(["stimulus_id,caption", *lines]))
    with pytest.raises(UserError, match="no word to be tuned to"):
        simulate(out, images=folder, captions=table, **SMALL)
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(UserError, match=r"bad\.json is truncated"):
        simulate(out, images=folder, captions=bad, **SMALL)
    with pytest.raises(UserError, match=r"nowhere is no folder"):
        simulate(out, images=tmp_path / "nowhere", captions=table, **SMALL)
    assert not out.exists()


def test_an_unreadable_image_is_named(tmp_path, album):
    folder, table, _ = album
    for path in folder.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"\d{4}\.png cannot be read as PNG"):
        simulate(tmp_path / "out", images=folder, captions=table, **SMALL)
    assert not (tmp_path / "out").exists()


def test_images_that_would_be_clipped_or_are_too_large_are_refused(tmp_path, album, monkeypatch):
    folder, table, _ = album
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 20 * 30 // 3)
    with pytest.raises(UserError, match=r"\d{4}\.png has more than 89 million pixels"):
        simulate(tmp_path / "out", images=folder, captions=table, **SMALL)
    monkeypatch.undo()
    for path in folder.glob("*.png"):
        Image.fromarray(np.full((20, 30), 1000, np.uint16)).save(path)
    with pytest.raises(
        UserError, match=r"\d{4}\.png has more than 8 bits per channel \(mode I;16\)"
    ):
        simulate(tmp_path / "out", images=folder, captions=table, **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    deeper, long = tmp_path / "file/deeper/out", tmp_path / ("n" * 300)
    for out in (tmp_path / "file/out", deeper, long, Path("/proc/x/y")):
        with pytest.raises(UserError, match=r"(out|n|/proc/x/y) cannot be made \(.+\): name"):
            simulate(out, **SMALL)


def test_resize_keeps_plain_colour_and_averages():
    plain = np.full((2, 425, 425, 3), 51, np.uint8)
    np.testing.assert_allclose(resize_images(plain, IMAGE_SIZE), 0.2, atol=1e-6)
    rng = rng_for(1, "pictures")
    fine = rng.integers(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    halves = (fine[:, ::2] / 4 + fine[:, 1::2] / 4).astype(float)
    expected = (halves[:, :, ::2] + halves[:, :, 1::2]) / 255
    np.testing.assert_allclose(resize_images(fine, 64), expected, atol=1e-6)
    np.testing.assert_allclose(resize_images(fine, 128), fine / 255, atol=1e-6)


def test_the_package_exports_the_function():
    assert callable(simulate_function) and simulate_function.__name__ == "simulate"


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"has 1\.0 MB free, and simulating takes .* MB more"):
        simulate(tmp_path / "brain", sessions=1, trials_per_session=30, n_early=20, n_ventral=20)
    assert list(tmp_path.iterdir()) == []
