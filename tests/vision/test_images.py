import numpy as np
import pytest
from PIL import Image

from vox2pix.vision.images import (
    Resizing,
    check_images,
    check_pairs,
    resize_images,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def test_images_pass_unchanged() -> None:
    given = images(2, 5, 4)
    assert check_images(given) is given
    assert check_images(given.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (np.zeros((2, 4, 4), np.float32), r"truth must have the shape \(n, height, width, 3\)"),
        (np.zeros((2, 4, 4, 4), np.float32), r"not \(2, 4, 4, 4\)"),
        (np.zeros((0, 4, 4, 3), np.float32), "with nothing empty"),
        (np.zeros((2, 4, 4, 3), np.uint8), "not uint8. Divide 8-bit images by 255"),
        (np.full((2, 4, 4, 3), 7.0), r"truth must be in \[0, 1\], not from 7 to 7"),
        (np.full((2, 4, 4, 3), -0.5), r"not from -0\.5 to -0\.5"),
    ],
)
def test_refuses_what_is_no_image(given: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_images(given, "truth")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_names_the_image_that_is_not_finite(value: float) -> None:
    given = images(3, 4, 4)
    given[1, 2, 2, 0] = value
    with pytest.raises(ValueError, match=r"image 1 \(from 0\) holds NaN or infinite"):
        check_images(given)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="There are 3 originals but 2 images"):
        check_pairs(images(3, 8, 8), images(2, 8, 8))
    with pytest.raises(ValueError, match=r"8 x 8 pixels and the images 6 x 7. Give a size"):
        check_pairs(images(2, 8, 8), images(2, 6, 7))
    truth, other = check_pairs(images(2, 8, 8), images(2, 6, 7), size=5)
    assert truth.shape == other.shape == (2, 5, 5, 3)


@pytest.mark.parametrize("size", [7, 33])
@pytest.mark.parametrize(
    ("name", "kernel"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_resizes_as_pillow_does(size: int, name: str, kernel: Image.Resampling) -> None:
    given = images(1, 16, 20)
    channels = [
        np.asarray(Image.fromarray(given[0, ..., i]).resize((size, size), kernel)) for i in range(3)
    ]
    expected = np.clip(np.stack(channels, axis=-1), 0, 1)
    np.testing.assert_allclose(resize_images(given, size, name)[0], expected, atol=1e-5)  # type: ignore[arg-type]


def test_the_size_that_is_there_changes_nothing() -> None:
    given = images(2, 8, 8)
    assert resize_images(given, 8) is given
    with pytest.raises(ValueError, match="1 pixel or more, not 0"):
        resize_images(given, 0)


def test_without_smoothing_pixels_between_are_left_out() -> None:
    given = np.zeros((1, 8, 8, 3), np.float32)
    given[:, 0] = 1  # in no pair of rows that the kernel touches at a quarter of the size
    assert resize_images(given, 2, antialias=False).max() == 0
    assert resize_images(given, 2).max() > 0


def test_a_size_may_be_no_square() -> None:
    given = images(2, 6, 6)
    assert resize_images(given, (3, 5)).shape == (2, 3, 5, 3)


def test_a_protocol_may_resize_twice() -> None:
    given = images(2, 32, 32)
    twice = Resizing("bilinear", antialias=False, first=12)(given, 20)
    expected = resize_images(resize_images(given, 12, antialias=False), 20, antialias=False)
    np.testing.assert_array_equal(twice, expected)
    assert np.abs(twice - Resizing()(given, 20)).max() > 0.01
