"""What counts as an image, and how one is resized."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Images = NDArray[np.float32]
Filter = Literal["bilinear", "bicubic"]
Crop = Literal["", "torchvision", "transformers"]

# Decoders and resizing overshoot by a rounding error; more than this is another scale.
_OVERSHOOT = 1e-3


def check_images(images: ArrayLike, name: str = "images") -> Images:
    """Return images as float32 (n, height, width, 3), or refuse what is not float RGB in [0, 1]."""
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"{name} must have the shape (n, height, width, 3) with nothing empty, "
            f"not {array.shape}."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{name} must be floats in [0, 1], not {array.dtype}. Divide 8-bit images by 255."
        )
    faulty = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))
    if len(faulty):
        raise ValueError(f"{name}: image {faulty[0]} (from 0) holds NaN or infinite values.")
    low, high = float(array.min()), float(array.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(f"{name} must be in [0, 1], not from {low:g} to {high:g}.")
    return array.astype(np.float32, copy=False)


def check_pairs(
    truth: ArrayLike, images: ArrayLike, size: int | None = None
) -> tuple[Images, Images]:
    """Return originals and images of them, checked, equal in number, at ``size`` if given."""
    truth = check_images(truth, "truth")
    images = check_images(images, "images")
    if len(truth) != len(images):
        raise ValueError(f"There are {len(truth)} originals but {len(images)} images of them.")
    if size is not None:
        return resize_images(truth, size), resize_images(images, size)
    if truth.shape != images.shape:
        raise ValueError(
            f"The originals are {truth.shape[1]} x {truth.shape[2]} pixels and the images "
            f"{images.shape[1]} x {images.shape[2]}. Give a size to bring both to."
        )
    return truth, images


def resize_images(
    images: ArrayLike,
    size: int | tuple[int, int],
    filter: Filter = "bilinear",
    antialias: bool = True,
) -> Images:
    """Bring images (n, height, width, 3) in [0, 1] to a size, squeezed if they have another aspect.

    ``size`` is (height, width) or one number for both; images that have it come back as they are.
    ``antialias`` smooths before making smaller, as Pillow does; the overshoot of the bicubic filter
    is clipped.
    """
    import torch
    from torch.nn.functional import interpolate

    images = check_images(images)
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 1:
        raise ValueError(f"An image's size is 1 pixel or more, not {size}.")
    if images.shape[1:3] == shape:
        return images
    resized = interpolate(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        shape,
        mode=filter,
        antialias=antialias,
    )
    return np.ascontiguousarray(resized.clamp(0, 1).numpy().transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Resizing:
    """How a protocol brings images to a metric's size.

    Attributes
    ----------
    filter, antialias
        The kernel, and whether it smooths before making smaller.
    first : int, optional
        Height and width in pixels that images are brought to before, by the same kernel.
    eight_bit : bool
        Resize as Pillow does with 8-bit images, rounded to 1/255 before and after, always smoothed.
    crop : {"", "torchvision", "transformers"}
        Empty: images that are not square are squeezed. Else the shorter edge is brought to
        ``edge`` (the size itself if None), the longer one in proportion (rounded down), and the
        centre is cut out. Where an odd number of pixels is cut off, torchvision rounds the first
        row to the nearest whole number, halves to even ones, transformers rounds down.
    """

    filter: Filter = "bilinear"
    antialias: bool = True
    first: int | None = None
    eight_bit: bool = False
    crop: Crop = ""
    edge: int | None = None

    def __call__(self, images: ArrayLike, size: int | tuple[int, int]) -> Images:
        """Return images at ``size``, (height, width) or one number for both."""
        images = check_images(images)
        if self.first is not None:
            images = self._resize(images, (self.first, self.first))
        shape = (size, size) if isinstance(size, int) else size
        if not self.crop:
            return self._resize(images, shape)
        scaled = self._scaled(images.shape[1:3], shape)
        return self._cropped(self._resize(images, scaled), shape)

    def describe(self) -> str:
        """Return the settings in words, for records and tables."""
        words: list[str] = [self.filter]
        if not self.antialias:
            words.append("without antialiasing")
        if self.first is not None:
            words.append(f"{self.first} px first")
        if self.eight_bit:
            words.append("8-bit")
        if self.crop:
            edge = f" of {self.edge} px" if self.edge else ""
            words.append(f"centre crop{edge} ({self.crop})")
        return ", ".join(words)

    def _resize(self, images: Images, shape: tuple[int, int]) -> Images:
        if self.eight_bit:
            return _resize_eight_bit(images, shape, self.filter)
        return resize_images(images, shape, self.filter, self.antialias)

    def _scaled(self, given: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width at which the shorter edge has its length."""
        if shape[0] != shape[1]:
            raise ValueError(f"A centre crop is square, not {shape[0]} x {shape[1]} pixels.")
        height, width = given
        edge = max(self.edge or 0, shape[0])
        long = int(edge * max(height, width) / min(height, width))
        return (edge, long) if height <= width else (long, edge)

    def _cropped(self, images: Images, shape: tuple[int, int]) -> Images:
        starts = []
        for there, asked in zip(images.shape[1:3], shape, strict=True):
            margin = there - asked
            starts.append(round(margin / 2) if self.crop == "torchvision" else margin // 2)
        top, left = starts
        return np.ascontiguousarray(images[:, top : top + shape[0], left : left + shape[1]])


def _resize_eight_bit(images: Images, shape: tuple[int, int], filter: Filter) -> Images:
    """Resize as 8-bit images by Pillow, which rounds its result to 8 bits."""
    from PIL import Image

    kernel = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[filter]
    resized = np.empty((len(images), *shape, 3), np.float32)
    for place, image in enumerate(images):
        resized_image = Image.fromarray(np.round(image.clip(0, 1) * 255).astype(np.uint8))
        resized[place] = np.asarray(resized_image.resize((shape[1], shape[0]), kernel))
    return resized / np.float32(255)
