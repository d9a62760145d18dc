"""How a transformers vision model wants its images: the settings saved beside its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.untrusted.models import check_settings
from vox2pix.vision.images import Filter, Resizing

FILES = ("preprocessor_config.json", "processor_config.json")
"""What transformers saves: an image processor alone, or nested in the processor of a model."""

_FILTERS: dict[Any, Filter] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_UNITS = 255.0  # image processors count from 0 to 255 before they rescale
_CROPPED_BELOW = 384  # pixels; larger ConvNeXt inputs are squeezed


@dataclass(frozen=True)
class ImageProcessor:
    """The settings of an image processor: an image in [0, 1] goes in as (image - mean) / std.

    ``size`` is height and width that the model gets, None where the settings name none.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    size: int | None
    resizing: Resizing

    def resizing_to(self, size: int) -> Resizing:
        """Return how images are brought to another size: the crop keeps its proportion."""
        edge = self.resizing.edge
        if edge is None or self.size is None:
            return self.resizing
        return Resizing(
            self.resizing.filter, crop=self.resizing.crop, edge=round(edge * size / self.size)
        )


def read_processor(folder: Path) -> ImageProcessor:
    """Read the image processor of a model's folder.

    ``preprocessor_config.json``, or ``processor_config.json`` with the settings under
    ``image_processor`` as current releases of transformers save them. With f the rescale factor
    (1/255 if none is named; 1 without ``do_rescale``) and o = 1 with ``rescale_offset`` (else 0), a
    processor computes (255 f x - o - mean) / std of an image x in [0, 1]. What cannot be guessed
    (mean, standard deviation, filter) and files that disagree are refused.
    """
    files = [(path, settings) for path in _paths(folder) if (settings := _settings(path))]
    if not files:
        raise UserError(
            f"{folder} says nothing about the normalisation of its images: it holds no "
            f"{' and no '.join(FILES)} with image settings. Save the model's image processor "
            "beside it (save_pretrained), or copy the file from where the model came from."
        )
    read = [_processor(path, settings) for path, settings in files]
    described = {_described(each) for each in read}
    if len(described) > 1:
        raise UserError(
            f"{files[0][0]} and {files[1][0].name} disagree about size or normalisation. Remove "
            "the one that does not belong to the model."
        )
    return read[0]


def has_processor(folder: Path) -> bool:
    """Tell whether a folder holds the settings of an image processor."""
    return bool(_paths(folder))


def read_settings(path: Path) -> dict[str, Any]:
    """Return a JSON object from a model's folder."""
    content = check_settings(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object. Fetch or save the model again.")
    return content


def _paths(folder: Path) -> list[Path]:
    return [folder / name for name in FILES if (folder / name).is_file()]


def _settings(path: Path) -> dict[str, Any]:
    """Return the image settings of a file; none where it speaks of text only."""
    content = read_settings(path)
    nested = content.get("image_processor", {})
    if not isinstance(nested, dict):
        raise UserError(f"{path}: image_processor is {nested!r}, and must be a JSON object.")
    if nested or path.name == FILES[1]:
        return nested or {k: v for k, v in content.items() if k.startswith(("image_", "do_"))}
    return content


def _processor(path: Path, settings: dict[str, Any]) -> ImageProcessor:
    mean, std = _normalisation(path, settings)
    size, resizing = _sizes(path, settings)
    return ImageProcessor(mean, std, size, resizing)


def _normalisation(
    path: Path, settings: dict[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation for images in [0, 1], rescaling taken in."""
    mean, std = np.zeros(3), np.ones(3)
    if _flag(path, settings, "do_normalize", True):
        mean, std = (_colours(path, settings, key) for key in ("image_mean", "image_std"))
        if not (std > 0).all():
            raise UserError(f"{path}: image_std is {settings['image_std']}, and must be positive.")
    factor = settings.get("rescale_factor", 1 / _UNITS)
    if not isinstance(factor, int | float) or not 0 < factor <= 1:
        raise UserError(f"{path}: rescale_factor is {factor!r}, and must be a number in (0, 1].")
    scale = _UNITS * (factor if _flag(path, settings, "do_rescale", True) else 1)
    if abs(scale - 1) < 1e-4:  # 1/255, printed with few digits
        scale = 1.0
    offset = 1.0 if _flag(path, settings, "rescale_offset", False) else 0.0
    return ((mean + offset) / scale).astype(np.float32), (std / scale).astype(np.float32)


def _colours(path: Path, settings: dict[str, Any], key: str) -> NDArray[np.float64]:
    value = settings.get(key)
    if value is None:
        raise UserError(
            f"{path} names no {key}, and how images are normalised cannot be guessed. Copy the "
            "file from where the model came from, or add the three numbers."
        )
    numbers = isinstance(value, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in value
    )
    if not numbers or len(value) != 3 or not np.isfinite(value).all():
        raise UserError(f"{path}: {key} is {value!r}, and must be a list of three numbers.")
    return np.array(value, np.float64)


def _sizes(path: Path, settings: dict[str, Any]) -> tuple[int | None, Resizing]:
    """Return the size that the model gets, and how images are brought to it."""
    if _flag(path, settings, "do_pad", False):
        raise UserError(f"{path}: do_pad is true, and images cannot be padded here.")
    crop = (
        _side(path, settings, "crop_size")
        if _flag(path, settings, "do_center_crop", False)
        else None
    )
    if not _flag(path, settings, "do_resize", True):
        return crop, Resizing("bicubic")
    edge = _side(path, settings, "size")
    if edge is None:
        return crop, Resizing(_filter(path, settings) if "resample" in settings else "bicubic")
    part = settings.get("crop_pct")
    if part is not None and edge < _CROPPED_BELOW:
        if not isinstance(part, int | float) or not 0 < part <= 1:
            raise UserError(f"{path}: crop_pct is {part!r}, and must be a number in (0, 1].")
        crop, edge = edge, int(edge / part)
    filter = _filter(path, settings)
    if crop is None:
        return edge, Resizing(filter)
    if crop > edge:
        raise UserError(
            f"{path}: images are brought to {edge} pixels, and {crop} pixels cannot be cut out."
        )
    return crop, Resizing(filter, crop="transformers", edge=edge)


def _filter(path: Path, settings: dict[str, Any]) -> Filter:
    value = settings.get("resample")
    if not isinstance(value, int) or isinstance(value, bool) or value not in _FILTERS:
        raise UserError(
            f"{path}: resample is {value!r}, and must be 2 (bilinear) or 3 (bicubic) for images "
            "to be resized as the model was trained."
        )
    return _FILTERS[value]


def _side(path: Path, settings: dict[str, Any], key: str) -> int | None:
    """Return a side in pixels: a number, {"shortest_edge": n} or {"height": n, "width": n}."""
    value = settings.get(key)
    if value is None:
        return None
    sides = list(value.values()) if isinstance(value, dict) else [value]
    understood = not isinstance(value, dict) or set(value) in (
        {"shortest_edge"},
        {"height", "width"},
    )
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not understood or not whole or len(set(sides)) != 1 or sides[0] < 1:
        raise UserError(
            f"{path}: {key} is {json.dumps(value)}, and must be one number of pixels, of the "
            "shorter edge or of height and width alike."
        )
    return int(sides[0])


def _flag(path: Path, settings: dict[str, Any], key: str, default: bool) -> bool:
    value = settings.get(key, default)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise UserError(f"{path}: {key} is {value!r}, and must be true or false.")
    return value


def _described(processor: ImageProcessor) -> tuple[Any, ...]:
    numbers = (*processor.mean.tolist(), *processor.std.tolist())
    return (processor.size, processor.resizing, *(round(number, 5) for number in numbers))
