"""The settings of image processors, with transformers' own processors as the oracle."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluation.images import scenes
from vox2pix.errors import UserError
from vox2pix.vision.image_processors import read_processor

PROCESSORS = {
    "clip": ("CLIPImageProcessorPil", {}),
    "clip, small": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": 32}),
    "vit": ("ViTImageProcessorPil", {"size": {"height": 32, "width": 32}}),
    "bit": ("BitImageProcessorPil", {"size": {"shortest_edge": 256}, "crop_size": 224}),
    "convnext": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 224}, "resample": 3}),
    "siglip": ("SiglipImageProcessorPil", {}),
    "vit, offset": (
        "ViTImageProcessorPil",
        {"size": {"height": 32, "width": 32}, "do_rescale": False},
    ),
}


def processor(name: str) -> Any:
    kind, settings = PROCESSORS[name]
    model = name.split(",")[0]
    module = importlib.import_module(f"transformers.models.{model}.image_processing_pil_{model}")
    return getattr(module, kind)(**settings)


@pytest.mark.parametrize("shape", [(300, 300), (300, 411)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_images_go_in_as_transformers_own_processor_gives_them(
    name: str, shape: tuple[int, int], tmp_path: Path
) -> None:
    own = processor(name)
    own.save_pretrained(tmp_path)
    found = read_processor(tmp_path)
    if not found.resizing.crop:  # an image that is not square is squeezed by both
        shape = (300, 300)
    image = scenes(1, 420)[0][: shape[0], : shape[1]]
    expected = own(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    assert found.size == expected.shape[-1]
    # Pillow rounds what it has resized to 8 bits; vox2pix does not.
    resized = replace(found.resizing, eight_bit=True)(image[None] / np.float32(255), found.size)
    got = np.moveaxis((resized[0] - found.mean) / found.std, -1, 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())
    unrounded = found.resizing(image[None] / np.float32(255), found.size)
    assert np.abs(unrounded - resized).max() < 1.5 / 255  # it rounds after each of two passes


def write(folder: Path, name: str = "preprocessor_config.json", **settings: object) -> Path:
    (folder / name).write_text(json.dumps(settings))
    return folder


FULL: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}


def test_the_settings_may_be_nested_in_a_processor(tmp_path: Path) -> None:
    write(tmp_path, "processor_config.json", image_processor=FULL, processor_class="CLIPProcessor")
    found = read_processor(tmp_path)
    np.testing.assert_allclose(found.mean, FULL["image_mean"])
    np.testing.assert_allclose(found.std, FULL["image_std"])
    assert (found.size, found.resizing.filter) == (32, "bilinear")


def test_a_processor_of_text_only_is_not_one_of_images(tmp_path: Path) -> None:
    write(tmp_path, "processor_config.json", processor_class="CLIPProcessor")
    with pytest.raises(UserError, match=r"says nothing about the normalisation of its images"):
        read_processor(tmp_path)
    write(tmp_path, **FULL)
    assert read_processor(tmp_path).size == 32


def test_two_files_that_disagree_are_refused(tmp_path: Path) -> None:
    write(tmp_path, **FULL)
    write(tmp_path, "processor_config.json", image_processor=FULL)
    assert read_processor(tmp_path).size == 32
    other = FULL | {"image_mean": [0.5, 0.5, 0.5]}
    write(tmp_path, "processor_config.json", image_processor=other)
    with pytest.raises(UserError, match=r"processor_config\.json and .* disagree about size or"):
        read_processor(tmp_path)


def test_no_settings_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no preprocessor_config\.json and no processor_config"):
        read_processor(tmp_path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image_mean": None}, "names no image_mean, and how images are normalised cannot be"),
        ({"image_std": None}, "names no image_std"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0\.5, 0\.5\], and must be a list of three"),
        ({"image_std": [0.5, 0, 0.5]}, "must be positive"),
        ({"image_mean": [float("nan")] * 3}, "must be a list of three numbers"),
        ({"image_mean": [True] * 3}, "must be a list of three numbers"),
        ({"resample": None}, r"resample is None, and must be 2 \(bilinear\) or 3"),
        ({"resample": 0}, "resample is 0"),
        ({"rescale_factor": "1/255"}, r"rescale_factor is '1/255', and must be a number"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"do_normalize": "yes"}, "do_normalize is 'yes', and must be true or false"),
        ({"do_pad": True}, "do_pad is true"),
        ({"size": {"height": 32, "width": 48}}, "size is .* and must be one number of pixels"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "must be one number of pixels"),
        ({"size": -3}, "must be one number of pixels"),
        ({"do_center_crop": True, "crop_size": 48}, "48 pixels cannot be cut out"),
        ({"crop_pct": 3}, "crop_pct is 3"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write(tmp_path, **FULL | changed)
    with pytest.raises(UserError, match=words):
        read_processor(tmp_path)


def test_rescaling_is_part_of_the_normalisation(tmp_path: Path) -> None:
    write(tmp_path, **FULL, rescale_factor=1 / 127.5, rescale_offset=True)
    found = read_processor(tmp_path)
    x = np.linspace(0, 1, 7)[:, None]
    expected = (x * 255 / 127.5 - 1 - FULL["image_mean"]) / FULL["image_std"]
    np.testing.assert_allclose((x - found.mean) / found.std, expected, atol=1e-6)


def test_another_size_keeps_the_proportion_of_the_crop(tmp_path: Path) -> None:
    settings = FULL | {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32}
    found = read_processor(write(tmp_path, **settings))
    assert found.resizing_to(64).edge == 80
    assert found.resizing_to(32) == found.resizing
    assert read_processor(write(tmp_path, **FULL)).resizing_to(64).edge is None


ODD = (None, True, False, 0, -1, 2, 3, 32, 0.5, float("nan"), float("inf"), "x", [], [1], {},
       [0.5] * 3, ["a"] * 3, {"height": 32}, {"height": 32, "width": 32}, {"shortest_edge": "x"},
       [[1]] * 3)  # fmt: skip
KEYS = (*FULL, "do_rescale", "rescale_factor", "crop_size", "do_center_crop", "crop_pct",
        "do_normalize")  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ODD)))
def test_any_settings_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("settings")
    try:
        found = read_processor(write(folder, **FULL | changed))
    except UserError as error:
        assert str(folder) in str(error)
    else:
        assert np.isfinite(found.mean).all()
        assert (found.std > 0).all()
