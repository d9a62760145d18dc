import numpy as np
import pytest

from vox2pix.errors import UserError
from vox2pix.report import Nearest, load_gallery, save_gallery
from vox2pix.store import ShardedArray


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_what_is_saved_is_read_back(tmp_path):
    originals, thumbnails = images(30, 8, 8), images(30, 2, 4, 4)
    ids = [str(i) for i in range(30)]
    near = [[f"{i}a", f"{i}b"] for i in range(30)]
    distances = np.random.default_rng(1).random((30, 2))
    save_gallery(
        tmp_path / "gallery",
        ids,
        originals,
        captions=[["a", "b"]] * 30,
        nearest=Nearest(near, distances, "1 - r", thumbnails),
    )
    read = load_gallery(tmp_path / "gallery")
    assert read.stimulus_ids == ids
    assert read.captions == [["a", "b"]] * 30
    assert read.nearest.stimulus_ids == near
    assert read.nearest.measure == "1 - r"
    np.testing.assert_array_equal(read.nearest.distances, distances)
    np.testing.assert_array_equal(
        ShardedArray.existing(tmp_path / "gallery/originals").read(), originals
    )
    np.testing.assert_array_equal(
        ShardedArray.existing(tmp_path / "gallery/nearest").read(), thumbnails
    )


def test_a_second_gallery_replaces_the_first(tmp_path):
    first = Nearest([["t"]] * 3, np.zeros((3, 1)), "d", images(3, 1, 4, 4))
    save_gallery(tmp_path, ["a", "b", "c"], images(3, 8, 8), nearest=first)
    save_gallery(tmp_path, ["d"], images(1, 16, 16))
    assert load_gallery(tmp_path).stimulus_ids == ["d"]
    assert load_gallery(tmp_path).nearest is None
    assert ShardedArray.existing(tmp_path / "originals").shape == (1, 16, 16, 3)
    assert ShardedArray.existing(tmp_path / "nearest") is None


def test_a_gallery_that_was_not_finished_is_none(tmp_path):
    save_gallery(tmp_path, ["a"], images(1, 8, 8))
    (tmp_path / "gallery.json").unlink()
    assert load_gallery(tmp_path) is None


def test_a_damaged_gallery_is_named(tmp_path):
    (tmp_path / "gallery.json").write_text('{"captions": 3}')
    with pytest.raises(UserError, match=r"gallery\.json is damaged"):
        load_gallery(tmp_path)


@pytest.mark.parametrize("wrong", ["originals", "captions", "nearest"])
def test_unequal_numbers_are_refused(tmp_path, wrong):
    n = {"originals": 2, "captions": 2, "nearest": 2} | {wrong: 3}
    near = n["nearest"]
    nearest = Nearest([["t"]] * near, np.zeros((near, 1)), "d", images(near, 1, 4, 4))
    with pytest.raises(ValueError, match=f"2 stimulus ids, but 3 in {wrong}"):
        save_gallery(
            tmp_path,
            ["a", "b"],
            images(n["originals"], 8, 8),
            captions=[["c"]] * n["captions"],
            nearest=nearest,
        )


def test_images_of_another_type_are_refused(tmp_path):
    with pytest.raises(ValueError, match="8-bit RGB"):
        save_gallery(tmp_path, ["a"], np.zeros((1, 8, 8, 3), np.float32))
