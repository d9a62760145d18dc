"""Which stimuli are for test: shares, lists, tables, JSON; and images by name."""

import json
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vox2pix.data.faults import Faults
from vox2pix.data.held_out import with_split
from vox2pix.data.named_stimuli import NamedStimuli, image_files
from vox2pix.data.names import ByName
from vox2pix.errors import UserError

NAMES = [f"image{i}" for i in range(20)]


def trials(names=NAMES, **columns):
    return pd.DataFrame({"stimulus_id": [*names] * 2, **columns})


def held(table, test, faults=None):
    made, _ = with_split(table, test, "stimuli.csv", faults or Faults())
    return sorted(set(made["stimulus_id"][made["split"] == "test"]))


def test_a_share_depends_on_the_names_alone():
    chosen = held(trials(), 0.25)
    assert len(chosen) == 5
    assert held(trials(NAMES[::-1]), 0.25) == chosen
    more = held(trials([*NAMES, "another"]), 0.25)
    assert len(set(more) - set(chosen)) <= 2
    made, words = with_split(trials(), 0.25, "stimuli.csv", Faults())
    assert made.groupby("stimulus_id")["split"].nunique().eq(1).all()
    assert words == "a share of 0.25 of the stimuli is held out"


@pytest.mark.parametrize(
    ("share", "n", "n_test"), [(0.07, 100, 7), (0.07, 101, 8), (0.29, 100, 29), (0.01, 3, 1)]
)
def test_a_share_is_rounded_up(share, n, n_test):
    assert len(held(trials([f"image{i}" for i in range(n)]), share)) == n_test


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "image3\n\nimage1\n"),
        ("list.csv", "stimulus_id\nimage1\nimage3\n"),
        ("list.tsv", "stimulus_id\tsplit\nimage1\ttest\nimage3\tTest\nimage5\ttrain\n"),
        ("list.json", json.dumps({"test_ids": ["image1", "image3"]})),
        ("laion.json", json.dumps({"variants": [
            {"train_ids": ["image5"], "test_ids": ["image3", "image1"]},
            {"train_ids": ["image1"], "test_ids": ["image5"]}]})),
    ],
)  # fmt: skip
def test_files_that_list_stimuli(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    faults = Faults()
    made, words = with_split(trials(), path, "stimuli.csv", faults)
    assert held(trials(), path) == ["image1", "image3"]
    assert words == f"test stimuli are those listed in {name}"
    has_train = "train" in content
    assert len(made) == (6 if has_train else 40)
    left_out = [n for n in faults.notes if "34 trials of stimuli that" in n]
    assert len(left_out) == has_train
    assert faults.messages == ()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "imag1\n", "imag1"),
        ("a.txt", "\n", "lists no stimulus for test"),
        ("a.csv", "stimulus_id,split\nimage1,val\n", "line 2: split 'val' is neither train nor"),
        ("a.json", '{"train_ids": ["image1"]}', "has no list test_ids"),
        ("a.json", '{"test_ids": ["image1"], "train_ids": 5}', "has train_ids that are no list"),
        ("a.json", '{"test_ids": ["image1"], "train_ids": ["image1"]}', "in train and in test"),
    ],
)
def test_files_that_cannot_be_are_refused(tmp_path, name, content, sentence):
    path, faults = tmp_path / name, Faults()
    path.write_text(content)
    with faults.gathered():
        with_split(trials(), path, "stimuli.csv", faults)
    assert len(faults.messages) == 1
    assert sentence in faults.messages[0]


def test_names_may_differ_by_folder_and_extension(tmp_path):
    """As in lists of stimuli that name files, where the trials do not."""
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"test_ids": ["coco/image1.jpg"], "train_ids": ["image2.JPEG"]}))
    made, _ = with_split(trials(), path, "stimuli.csv", Faults())
    assert sorted(set(zip(made["stimulus_id"], made["split"], strict=True))) == [
        ("image1", "test"), ("image2", "train"),
    ]  # fmt: skip
    captions = tmp_path / "captions.csv"
    captions.write_text("stimulus_id,caption\nimage1,One.\nimage1,Two.\n")
    stimuli = NamedStimuli(tmp_path, table=captions)
    assert stimuli.captions(["coco/image1.png", "image1"]) == [("One.", "Two.")] * 2


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("cat/1.png", True),
        ("1.png", True),
        ("1", True),
        ("/data/images/cat/1.jpg", True),
        ("images\\cat\\1", True),
        ("./cat/1.png", True),
        ("dog/1.png", False),
        ("images/dog/1.png", False),
        ("cat/images/1.png", False),
        ("tomcat/1.png", False),
        ("cat/11.png", False),
    ],
)
def test_the_shorter_path_is_the_end_of_the_longer(name, same):
    for key in ("cat/1.png", "images/cat/1.jpg"):
        assert (name in ByName([(key, 5)])) == (key in ByName([(name, 5)])) == same


def test_a_file_name_in_another_folder_is_another_stimulus(tmp_path):
    names, path = ["cat/001.png", "dog/001.png"], tmp_path / "test.txt"
    path.write_text("dog/001.png\n")
    assert held(trials(names), path) == ["dog/001.png"]
    (tmp_path / "images/cat").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "images/cat/001.png")
    (tmp_path / "captions.csv").write_text("stimulus_id,caption\ncat/001.png,A cat.\n")
    stimuli = NamedStimuli(tmp_path, tmp_path / "images", tmp_path / "captions.csv")
    faults = Faults()
    assert stimuli.missing_images(names, faults) == ("dog/001.png",)
    assert stimuli.missing_captions(names, faults) == ("dog/001.png",)
    assert "stimulus_id is 'dog/001.png', the same name in another folder" in faults.messages[0]


def test_a_split_of_the_table_is_checked():
    sides = ["Test"] * 3 + ["train"] * 17
    made, words = with_split(trials(split=sides * 2), None, "stimuli.csv", Faults())
    assert held(made, None) == sorted(NAMES[:3])
    assert words == "column split of stimuli.csv"
    with pytest.raises(UserError, match=r"split 'val' of stimulus 'image0' is neither train"):
        held(trials(split=["val"] * 40), None)
    with pytest.raises(UserError, match=r"is in train and in test \(20 such stimuli\)"):
        held(trials(split=["train"] * 20 + ["test"] * 20), None)
    faults = Faults()
    assert held(trials(), None, faults) == []
    assert len(faults.notes) == 1


# --- images by name ------------------------------------------------------------------------------


@pytest.fixture
def pixels(tmp_path):
    """Images in folders, each of another grey."""
    cafe = unicodedata.normalize("NFD", "café")
    for grey, name in enumerate(["a.png", "deep/b.JPG", "deep/c.png", "x/c.png", f"x/{cafe}.png"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 50 * grey, np.uint8)).save(path, format="PNG")
    (tmp_path / "images" / "notes.txt").write_text("none")
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a", "a.png"),
        ("a.png", "a.png"),
        ("a.jpeg", "a.png"),
        ("b", "deep/b.JPG"),
        ("deep/b", "deep/b.JPG"),
        ("deep\\b.tif", "deep/b.JPG"),
        ("shown/a.png", "a.png"),
        ("deep/c", "deep/c.png"),
        ("c", None),
        ("café", "x/café.png"),
    ],
)
def test_images_by_path_name_and_stem(pixels, name, file):
    files = image_files(pixels)
    if file is None:
        with pytest.raises(UserError, match=r"'c' could be 'deep/c\.png' or 'x/c\.png'"):
            files[name]
        return
    found = files[name].relative_to(pixels).as_posix()
    assert unicodedata.normalize("NFC", found) == file


def test_images_that_are_missing_are_named_once(pixels):
    stimuli = NamedStimuli(pixels.parent, pixels)
    faults = Faults()
    assert stimuli.missing_images(["a", "d", "e", "b"], faults) == ("d", "e")
    assert len(faults.messages) == 1
    (image,) = stimuli.iter_pictures(["b"])
    assert (image == 50).all()
    assert len(image_files(pixels)) == 5
    with pytest.raises(UserError, match="was opened without images: name their folder"):
        next(NamedStimuli(pixels.parent).iter_pictures(["a"]))
    with pytest.raises(UserError, match=r"nowhere \(the setting captions\) does not exist"):
        NamedStimuli(pixels.parent, table=pixels / "nowhere").require_sound(["a"])
