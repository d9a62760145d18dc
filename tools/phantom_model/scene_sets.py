"""The scenes that the networks are trained on and measured on, cached on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vox2pix.phantom import scenes
from vox2pix.phantom.scenes import Scene, render, scene

Number = TypeVar("Number", bound=np.generic)

IMAGE_SIZE = 64
TRAINING_SEED = 71  # of the endless set that networks are trained on ...
HELD_OUT_SEED = 72  # ... and of the one that they are measured on
TRAINING_SCENES = 40_000
SEVERAL_WEIGHT = 3.0  # how much more often a scene of several objects is drawn


def training_scene(index: int) -> Scene:
    """Return scene ``index`` of the training set."""
    return scene(index, TRAINING_SEED)


def held_out_scenes(n: int, n_objects: Sequence[int] = (1, 2, 3)) -> list[Scene]:
    """Return the first ``n`` held-out scenes with one of these numbers of objects."""
    found: list[Scene] = []
    index = 0
    while len(found) < n:
        candidate = scene(index, HELD_OUT_SEED)
        if len(candidate.objects) in n_objects:
            found.append(candidate)
        index += 1
    return found


def rendered(some: Sequence[Scene]) -> Tensor:
    """Render scenes: float32 in [-1, 1], shape (n, 3, height, width)."""
    return to_tensor(np.stack([render(s, IMAGE_SIZE) for s in some])) * 2 - 1


def to_tensor(images: NDArray[np.float32]) -> Tensor:
    """Move channels of (n, height, width, 3) to the second axis."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def coverage(shown: Scene, size: int = IMAGE_SIZE) -> NDArray[np.bool_]:
    """Return which pixels any object covers by half or more, shape (size, size)."""
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(ticks, ticks)
    covered = np.zeros((size, size), bool)
    for thing in shown.objects:
        covered |= scenes.cover(thing, x, y, size) >= 0.5
    return covered


class Renders:
    """The training scenes, rendered once into the cache folder."""

    def __init__(self, folder: Path, n: int = TRAINING_SCENES) -> None:
        def draw(index: int) -> NDArray[np.uint8]:
            shown = training_scene(index)
            image = np.round(255 * render(shown, IMAGE_SIZE)).astype(np.uint8)
            return np.concatenate([image, coverage(shown)[..., None].astype(np.uint8)], axis=-1)

        array = cached(
            folder / f"renders-{n}.npy",
            n,
            lambda start, stop: np.stack([draw(i) for i in range(start, stop)]),
        )
        self.images = array[..., :3]
        self.inside = array[..., 3]

    def batch(self, indices: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return images in [-1, 1], (n, 3, height, width), and coverage, (n, 1, height, width)."""
        images = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        inside = torch.from_numpy(self.inside[indices])[:, None]
        return (images.to(device).float() / 127.5 - 1).contiguous(), inside.to(device).float()


def cached(
    path: Path, n: int, rows: Callable[[int, int], NDArray[Number]], block: int = 200
) -> NDArray[Number]:
    """Return rows of a file of ``n`` rows, computed in blocks on first use.

    The file is written under another name and renamed when it is whole.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        first = rows(0, min(block, n))
        array = np.lib.format.open_memmap(
            partial, mode="w+", dtype=first.dtype, shape=(n, *first.shape[1:])
        )
        array[: len(first)] = first
        for start in range(len(first), n, block):
            stop = min(start + block, n)
            array[start:stop] = rows(start, stop)
        array.flush()
        del array
        partial.replace(path)
    found: NDArray[Number] = np.load(path, mmap_mode="r")
    return found


def object_counts(n: int = TRAINING_SCENES) -> NDArray[np.int64]:
    """Return how many objects each training scene shows."""
    return np.array([len(training_scene(i).objects) for i in range(n)])


def draw_indices(
    counts: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw training scenes, those of several objects ``SEVERAL_WEIGHT`` times as often."""
    totals = np.cumsum(np.where(counts > 1, SEVERAL_WEIGHT, 1.0))
    return np.searchsorted(totals, rng.random(size) * totals[-1], side="right")
