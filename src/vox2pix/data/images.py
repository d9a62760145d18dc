"""Images from files and arrays, as float32 in [0, 1]."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vox2pix.errors import UserError
from vox2pix.untrusted.images import open_image

_EXIF_ORIENTATION = 0x0112


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image file as 8-bit RGB (height, width, 3), turned as its EXIF orientation says.

    Refused are files that are transparent anywhere or have more than 8 bits per channel.
    """
    with open_image(path if not isinstance(path, str) else Path(path)) as image:
        turned = ImageOps.exif_transpose(image)
        _require_opaque(turned, path)
        return np.asarray(turned.convert("RGB"))


def _require_opaque(image: Image.Image, path: str | Path) -> None:
    """Raise if something behind the image would be seen."""
    if not image.has_transparency_data:
        return
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    share = float((alpha < 255).mean())
    if share:
        raise UserError(
            f"{path} is transparent in {share:.1%} of its pixels, and what was seen behind it is "
            "unknown: save the image as it was shown, without transparency."
        )


def conversions(path: str | Path) -> tuple[str, ...]:
    """Return what reading a file changes, e.g. ``are turned as their EXIF orientation says``."""
    with open_image(path if not isinstance(path, str) else Path(path)) as image:
        turned = image.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
        mode, frames = image.mode, getattr(image, "n_frames", 1)
    changes = ["are turned as their EXIF orientation says"] if turned else []
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        changes.append(f"are {mode} and are converted to RGB without a colour profile")
    elif mode in ("1", "L", "LA"):
        changes.append("are grey, and their grey is repeated over the three colours")
    if frames > 1:
        changes.append("have several frames, of which the first is taken")
    return tuple(changes)


def as_rgb(array: NDArray[Any], source: str) -> NDArray[Any]:
    """Return an image as (height, width, 3), after checking shape, type and values.

    It may be (height, width) or (height, width, 1 or 3), uint8 or float in [0, 1]; ``source`` names
    it in error messages.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise UserError(
            f"{source} has shape {array.shape}: images are (height, width) or (height, width, 3)."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.float32)
    if array.dtype.kind not in "iuf":
        raise UserError(
            f"{source} is {array.dtype}: save images as uint8 (0 to 255) or as float in [0, 1]."
        )
    if array.dtype != np.uint8:
        if array.dtype.kind != "f" or not (array.min() >= 0 and array.max() <= 1):
            raise UserError(
                f"{source} is {array.dtype} with values from {array.min()} to {array.max()}: "
                "save images as uint8 (0 to 255) or as float in [0, 1]."
            )
        array = array.astype(np.float32)
    return np.broadcast_to(array, (*array.shape[:2], 3))


def unit_image(image: NDArray[Any], size: int | None = None) -> NDArray[np.float32]:
    """Return an image as float32 in [0, 1], shape (size, size, 3).

    An image that is not square is cropped about its centre first. Lanczos resampling is
    Pillow's; 8-bit images are resampled as 8-bit, as the field's pipelines do. Without a size,
    shape and pixels stay as they are.
    """
    if size is not None:
        image = _centre_square(image)
        if image.shape[0] != size:
            image = _resample(image, size)
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    return image.astype(np.float32)


def _centre_square(image: NDArray[Any]) -> NDArray[Any]:
    """Crop to the largest centred square."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _resample(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize a square image by Lanczos, keeping its type and range."""
    shape, lanczos = (size, size), Image.Resampling.LANCZOS
    if image.dtype == np.uint8:
        pil = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(pil.resize(shape, lanczos))
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(image[..., c])).resize(shape, lanczos))
        for c in range(3)
    ]
    # Lanczos overshoots at edges; 8-bit resampling clips inside Pillow, floats do not
    return np.clip(np.stack(channels, axis=-1), 0, 1)
