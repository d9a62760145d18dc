"""Made-up images with structure, and folders and arrays of them."""

from pathlib import Path

import numpy as np
from PIL import Image


def scenes(n: int = 12, size: int = 24, seed: int = 0) -> np.ndarray:
    """Coloured blobs, uint8 (n, size, size, 3): no image resembles its mirror or its negative."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 1, size)
    found = np.empty((n, size, size, 3))
    for image in found:
        image[:] = rng.uniform(20, 120, 3)
        for _ in range(4):
            x, y, width = *rng.uniform(0.1, 0.9, 2), rng.uniform(0.05, 0.2)
            blob = np.exp(-((across[:, None] - y) ** 2 + (across - x) ** 2) / (2 * width**2))
            image += blob[..., None] * rng.uniform(-80, 160, 3)
    return found.clip(0, 255).astype(np.uint8)


def noisy(images: np.ndarray, n_samples: int = 1, noise: float = 40.0) -> np.ndarray:
    """Reconstructions, uint8 (n, n_samples, size, size, 3)."""
    rng = np.random.default_rng(7)
    shape = (len(images), n_samples, *images.shape[1:])
    return (images[:, None] + rng.normal(0, noise, shape)).clip(0, 255).astype(np.uint8)


def save_files(folder: Path, names: list[str], images: np.ndarray) -> Path:
    """Save images under names within a folder."""
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder
