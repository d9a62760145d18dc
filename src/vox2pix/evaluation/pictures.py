"""What this room takes for a picture, and how it resizes one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Pictures = NDArray[np.float32]
Filter = Literal["bilinear", "bicubic"]
Crop = Literal["", "torchvision", "transformers"]

# Decoders and resizing overshoot by a rounding error; more than this is another scale.
_OVERSHOOT = 1e-3


def check_pictures(pictures: ArrayLike, name: str = "pictures") -> Pictures:
    """Return pictures as this package passes them on, or refuse them.

    Parameters
    ----------
    pictures : array_like of float, shape (n, height, width, 3)
        RGB in [0, 1].
    name : str
        What to call them in an error.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)

    Raises
    ------
    ValueError
        For another shape, no picture, integers, values outside [0, 1], NaN or infinity.
    """
    array = np.asarray(pictures)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"{name} must have the shape (n, height, width, 3) with nothing empty, "
            f"not {array.shape}."
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{name} must be floats in [0, 1], not {array.dtype}; divide 8-bit pictures by 255."
        )
    faulty = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2, 3)))
    if len(faulty):
        raise ValueError(f"{name}: picture {faulty[0]} (from 0) holds NaN or infinite values.")
    low, high = float(array.min()), float(array.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(f"{name} must be in [0, 1], not from {low:g} to {high:g}.")
    return array.astype(np.float32, copy=False)


def check_pairs(
    truth: ArrayLike, pictures: ArrayLike, size: int | None = None
) -> tuple[Pictures, Pictures]:
    """Return originals and pictures of them, checked, equal in number and in size.

    Parameters
    ----------
    truth, pictures : array_like of float, shape (n, height, width, 3)
        Row i of one belongs to row i of the other. RGB in [0, 1].
    size : int, optional
        Bring both to this height and width (bilinear). As they are if None.

    Raises
    ------
    ValueError
        As :func:`check_pictures` does; for unequal numbers; for unequal sizes without ``size``.
    """
    truth = check_pictures(truth, "truth")
    pictures = check_pictures(pictures, "pictures")
    if len(truth) != len(pictures):
        raise ValueError(f"There are {len(truth)} originals but {len(pictures)} pictures of them.")
    if size is not None:
        return resize_pictures(truth, size), resize_pictures(pictures, size)
    if truth.shape != pictures.shape:
        raise ValueError(
            f"The originals are {truth.shape[1]} x {truth.shape[2]} pixels and the pictures "
            f"{pictures.shape[1]} x {pictures.shape[2]}; give a size to bring both to."
        )
    return truth, pictures


def resize_pictures(
    pictures: ArrayLike,
    size: int | tuple[int, int],
    filter: Filter = "bilinear",
    antialias: bool = True,
) -> Pictures:
    """Bring pictures to a size.

    Squeezed if they have another aspect. Pictures that have the size already come back as they
    are.

    Parameters
    ----------
    pictures : array_like of float, shape (n, height, width, 3)
        RGB in [0, 1].
    size : int or tuple of two ints
        Height and width in pixels; one number for both.
    filter : {"bilinear", "bicubic"}
        The kernel; the overshoot of the bicubic one is clipped.
    antialias : bool
        Smooth before making smaller, as Pillow does.

    Returns
    -------
    ndarray of float32, shape (n, height, width, 3)
    """
    import torch
    from torch.nn.functional import interpolate

    pictures = check_pictures(pictures)
    shape = (size, size) if isinstance(size, int) else size
    if min(shape) < 1:
        raise ValueError(f"A picture's size is 1 pixel or more, not {size}.")
    if pictures.shape[1:3] == shape:
        return pictures
    resized = interpolate(
        torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))),
        shape,
        mode=filter,
        antialias=antialias,
    )
    return np.ascontiguousarray(resized.clamp(0, 1).numpy().transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class Resizing:
    """How a protocol brings pictures to a metric's size.

    Attributes
    ----------
    filter : {"bilinear", "bicubic"}
        The kernel.
    antialias : bool
        Smooth before making smaller.
    first : int, optional
        Height and width in pixels that pictures are brought to before, by the same kernel.
    eight_bit : bool
        Resize as Pillow does with 8-bit images: values are rounded to 1/255 before and after.
        Pillow always smooths.
    crop : {"", "torchvision", "transformers"}
        Empty: images that are not square are squeezed. Else the shorter edge is brought to
        ``edge``, the longer one in proportion (rounded down), and the centre is cut out. The two
        libraries differ where an odd number of pixels is cut off: torchvision rounds the first
        row to the nearest whole number, halves to even ones, transformers rounds down.
    edge : int, optional
        The length of the shorter edge before the crop; the size itself if None.
    """

    filter: Filter = "bilinear"
    antialias: bool = True
    first: int | None = None
    eight_bit: bool = False
    crop: Crop = ""
    edge: int | None = None

    def __call__(self, pictures: ArrayLike, size: int | tuple[int, int]) -> Pictures:
        """Return pictures at ``size``.

        Parameters
        ----------
        pictures : array_like of float, shape (n, height, width, 3)
            RGB in [0, 1].
        size : int or tuple of two ints
            Height and width in pixels; one number for both.

        Returns
        -------
        ndarray of float32, shape (n, height, width, 3)
        """
        pictures = check_pictures(pictures)
        if self.first is not None:
            pictures = self._resize(pictures, (self.first, self.first))
        shape = (size, size) if isinstance(size, int) else size
        if not self.crop:
            return self._resize(pictures, shape)
        scaled = self._scaled(pictures.shape[1:3], shape)
        return self._cropped(self._resize(pictures, scaled), shape)

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

    def _resize(self, pictures: Pictures, shape: tuple[int, int]) -> Pictures:
        if self.eight_bit:
            return _resize_eight_bit(pictures, shape, self.filter)
        return resize_pictures(pictures, shape, self.filter, self.antialias)

    def _scaled(self, given: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width at which the shorter edge has its length."""
        if shape[0] != shape[1]:
            raise ValueError(f"A centre crop is square, not {shape[0]} x {shape[1]} pixels.")
        height, width = given
        edge = max(self.edge or 0, shape[0])
        long = int(edge * max(height, width) / min(height, width))
        return (edge, long) if height <= width else (long, edge)

    def _cropped(self, pictures: Pictures, shape: tuple[int, int]) -> Pictures:
        starts = []
        for there, asked in zip(pictures.shape[1:3], shape, strict=True):
            margin = there - asked
            starts.append(round(margin / 2) if self.crop == "torchvision" else margin // 2)
        top, left = starts
        return np.ascontiguousarray(pictures[:, top : top + shape[0], left : left + shape[1]])


def _resize_eight_bit(pictures: Pictures, shape: tuple[int, int], filter: Filter) -> Pictures:
    """Resize as 8-bit images by Pillow, which rounds its result to 8 bits."""
    from PIL import Image

    kernel = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[filter]
    resized = np.empty((len(pictures), *shape, 3), np.float32)
    for place, picture in enumerate(pictures):
        image = Image.fromarray(np.round(picture.clip(0, 1) * 255).astype(np.uint8))
        resized[place] = np.asarray(image.resize((shape[1], shape[0]), kernel))
    return resized / np.float32(255)
