"""What a report shows of the stimuli: originals, captions and the nearest training images.

The run folder holds all of it, so that the report needs neither the data nor the model:

    gallery/
      gallery.json          stimulus ids, captions, and of the nearest: ids, distances, how measured
      originals/            (n_stimuli, height, width, 3) uint8, a ShardedArray
      nearest/              (n_stimuli, k, height, width, 3) uint8, a ShardedArray; may be missing
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vox2pix.errors import UserError
from vox2pix.store import ShardedArray, read_json, swapped_in, write_json

_SHARD = 25  # stimuli


@dataclass(frozen=True, eq=False)
class Nearest:
    """The training images that are nearest to each test image, the nearest first.

    Stimulus ids and distances are (n_stimuli, k), thumbnails uint8 (n_stimuli, k, height, width,
    3); ``measure`` says how distance is measured, e.g. ``1 - Pearson r of CLIP image embeddings``.
    """

    stimulus_ids: Sequence[Sequence[str]]
    distances: NDArray[np.floating]
    measure: str
    images: NDArray[np.uint8]


class NearestTable(BaseModel):
    """The nearest training images as ``gallery.json`` names them, row by row as the ids."""

    model_config = ConfigDict(frozen=True)

    stimulus_ids: list[list[str]]
    distances: list[list[float]]
    measure: str


class Gallery(BaseModel):
    """The content of ``gallery.json``; captions are None where the data have none."""

    model_config = ConfigDict(frozen=True)

    stimulus_ids: list[str]
    captions: list[list[str]] | None = None
    nearest: NearestTable | None = None


def save_gallery(
    folder: Path,
    stimulus_ids: Sequence[str],
    originals: NDArray[np.uint8],
    *,
    captions: Sequence[Sequence[str]] | None = None,
    nearest: Nearest | None = None,
) -> None:
    """Write what the report shows of the test stimuli; an earlier gallery is replaced.

    ``originals`` are uint8 (n_stimuli, height, width, 3); the report shows no more than 320 pixels
    per side. Captions are one or several for each stimulus.
    """
    n = len(stimulus_ids)
    counts = {"originals": len(originals)}
    counts |= {"captions": len(captions)} if captions is not None else {}
    if nearest is not None:
        counts |= {f"nearest {k}": len(getattr(nearest, k)) for k in ("distances", "images")}
        counts |= {"nearest stimulus_ids": len(nearest.stimulus_ids)}
    for name, count in counts.items():
        if count != n:
            raise ValueError(f"There are {n} stimulus ids, but {count} in {name}.")
    table = None
    if nearest is not None:
        table = NearestTable(
            stimulus_ids=[list(row) for row in nearest.stimulus_ids],
            distances=np.asarray(nearest.distances, float).tolist(),
            measure=nearest.measure,
        )
    gallery = Gallery(
        stimulus_ids=list(stimulus_ids),
        captions=None if captions is None else [list(own) for own in captions],
        nearest=table,
    )
    with swapped_in(folder, "gallery") as new:
        _save_images(new / "originals", originals)
        if nearest is not None:
            _save_images(new / "nearest", nearest.images)
        write_json(new / "gallery.json", gallery.model_dump())


def load_gallery(folder: Path) -> Gallery | None:
    """Read what :func:`save_gallery` wrote, without its images; None if it was not finished."""
    path = folder / "gallery.json"
    if not path.exists():
        return None
    try:
        return Gallery.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({error}). Rerun to write it again.") from None


def _save_images(folder: Path, images: NDArray[np.uint8]) -> None:
    """Write images shard by shard."""
    if images.dtype != np.uint8 or images.shape[-1] != 3:
        raise ValueError(f"Images are 8-bit RGB, not {images.dtype} of {images.shape}.")
    out = ShardedArray(folder, images.shape, np.uint8, _SHARD)
    for shard in range(out.n_shards):
        out.write(shard, images[out.rows(shard)])
