"""Images from files and arrays."""

import numpy as np
import pytest
from PIL import Image

from vox2pix.data.images import as_rgb, read_image, unit_image
from vox2pix.errors import UserError


def test_files_of_any_mode_become_rgb(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([grey] * 3, -1))
    image = Image.fromarray(np.full((2, 6, 3), 200, np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (6, 2, 3)


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"no\.png does not exist"):
        read_image(tmp_path / "no.png")
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"cut\.png cannot be read as PNG or JPEG"):
        read_image(path)
    path.write_text("no image")
    with pytest.raises(UserError, match=r"cut\.png cannot be read as PNG or JPEG"):
        read_image(path)
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match="more than 8 bits per channel"):
        read_image(tmp_path / "deep.png")


def test_arrays():
    assert as_rgb(np.zeros((3, 4), bool), "a").shape == (3, 4, 3)
    assert as_rgb(np.ones((3, 4, 1)), "a").dtype == np.float32
    for bad in (np.zeros(3), np.zeros((3, 4, 4), np.uint8)):
        with pytest.raises(UserError, match="a has shape"):
            as_rgb(bad, "a")
    for bad in (np.full((3, 4), 1.1), np.full((3, 4), np.nan), np.ones((3, 4), int)):
        with pytest.raises(UserError, match=r"save images as uint8 \(0 to 255\)"):
            as_rgb(bad, "a")


def test_oblong_images_lose_their_sides_not_their_proportions():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 5:15] = 255  # the centred square is white
    np.testing.assert_array_equal(unit_image(image, 10), np.ones((10, 10, 3)))
    np.testing.assert_array_equal(unit_image(image.swapaxes(0, 1), 5), np.ones((5, 5, 3)))
    assert unit_image(image).shape == (10, 20, 3)


def test_floats_and_bytes_are_resampled_alike():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    from_bytes = unit_image(image, 12)
    from_floats = unit_image(image.astype(np.float32) / 255, 12)
    np.testing.assert_allclose(from_bytes, from_floats, atol=2 / 255)  # 8-bit rounds twice
    edges = unit_image((image > 127).astype(np.float32), 70)
    assert edges.min() >= 0
    assert edges.max() <= 1
