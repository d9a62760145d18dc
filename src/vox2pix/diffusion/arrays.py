"""Checks of the arrays that enter the model, and noise that belongs to its row."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

# 8 bit to float and back, or a filter that overshoots, may leave [0, 1] by this much
_OVERSHOOT = 1e-3


def as_floats(array: ArrayLike, name: str, n_dimensions: int) -> FloatArray:
    """Return an array as float32, refusing other dimensions, NaN and infinite values."""
    floats = np.asarray(array, dtype=np.float32)
    if floats.ndim != n_dimensions:
        raise ValueError(f"{name} must have {n_dimensions} dimensions, not shape {floats.shape}.")
    bad = np.flatnonzero([not np.isfinite(row).all() for row in floats])
    if len(bad):
        raise ValueError(f"{name} hold NaN or infinite values in rows {bad[:10].tolist()}.")
    return floats


def as_pixels(images: ArrayLike) -> FloatArray:
    """Return images (n, height, width, 3) in [0, 1] as float32, refusing any others."""
    pixels = as_floats(images, "images", 4)
    if pixels.shape[-1] != 3:
        raise ValueError(f"images must have shape (n, height, width, 3), not {pixels.shape}.")
    if pixels.size and (pixels.min() < -_OVERSHOOT or pixels.max() > 1 + _OVERSHOOT):
        raise ValueError(
            f"images must be in [0, 1], and these range from {pixels.min():.4g} to "
            f"{pixels.max():.4g}; divide 8-bit images by 255."
        )
    return pixels


def as_seeds(seeds: ArrayLike, n: int | None = None) -> NDArray[np.int64]:
    """Return seeds as one integer per row."""
    array = np.asarray(seeds)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"seeds must be a row of integers, not {array.dtype} {array.shape}.")
    if n is not None and len(array) != n:
        raise ValueError(f"There are {len(array)} seeds for {n} images.")
    return array.astype(np.int64)


def as_rows(array: FloatArray, n: int, name: str) -> FloatArray:
    """Return n rows of an array of n rows or one, as a view."""
    if len(array) not in (1, n):
        raise ValueError(f"{name} has {len(array)} rows for {n} seeds; give {n} rows or one.")
    return np.broadcast_to(array, (n, *array.shape[1:]))


def generators(seeds: NDArray[np.int64]) -> list[torch.Generator]:
    """Return one CPU generator per seed: the same numbers for any device and batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def draw(sources: Sequence[torch.Generator], shape: Sequence[int]) -> torch.Tensor:
    """Return standard normal noise (n, *shape), each row from its own generator."""
    return torch.stack([torch.randn(tuple(shape), generator=each) for each in sources])


def to_device(array: FloatArray, device: torch.device) -> torch.Tensor:
    """Return an array as a float32 tensor on a device."""
    # a copy: torch shares no memory with read-only, broadcast or reversed arrays
    return torch.from_numpy(np.array(array, order="C")).to(device)
