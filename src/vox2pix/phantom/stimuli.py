"""The images of a simulated experiment: drawn scenes, or a person's own."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vox2pix.errors import UserError
from vox2pix.phantom import scenes
from vox2pix.phantom.higher import Content, caption_content, scene_content
from vox2pix.seeds import rng_for
from vox2pix.untrusted.images import open_image
from vox2pix.untrusted.text import read_json, read_text

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")


@dataclass(frozen=True)
class Stimuli:
    """The images of an experiment: how to get one, what each shows, what they are called."""

    image: Callable[[int, int], NDArray[np.uint8]]
    captions: tuple[tuple[str, ...], ...]
    content: Content
    names: tuple[str, ...]


def drawn_scenes(n_stimuli: int, scene_seed: int) -> Stimuli:
    """Return drawn scenes; stimulus k is scene k."""
    drawn = [scenes.scene(index, scene_seed) for index in range(n_stimuli)]

    def image(index: int, size: int) -> NDArray[np.uint8]:
        return np.rint(scenes.render(drawn[index], size) * 255).astype(np.uint8)

    return Stimuli(
        image=image,
        captions=tuple(scenes.captions(scene) for scene in drawn),
        content=scene_content(drawn),
        names=tuple(f"scene {index}" for index in range(n_stimuli)),
    )


def own_images(folder: Path, captions: Path, n_stimuli: int, seed: int) -> Stimuli:
    """Return a person's images: as many as the experiment shows, drawn at random."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: images names a folder of images.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_TYPES)
    if len(files) < n_stimuli:
        raise UserError(
            f"{folder} holds {len(files)} images, and the experiment shows "
            f"{n_stimuli}: give more images, fewer sessions or more repeats."
        )
    chosen = rng_for(seed, "pictures").permutation(len(files))[:n_stimuli]
    files = [files[index] for index in sorted(chosen)]
    captions_of = _read_captions(captions)
    lines = []
    for path in files:
        number = path.stem.lstrip("0") or path.stem
        texts = captions_of.get(path.name) or captions_of.get(path.stem) or captions_of.get(number)
        if not texts:
            raise UserError(f"{captions} has no caption of {path.name}: add one, or remove it.")
        lines.append(tuple(texts))
    try:
        content = caption_content(lines)
    except ValueError as error:
        raise UserError(f"{captions}: {error}; write captions that name what is seen.") from error

    def image(index: int, size: int) -> NDArray[np.uint8]:
        return _read_image(files[index], size)

    return Stimuli(image, tuple(lines), content, tuple(path.name for path in files))


def _read_captions(path: Path) -> dict[str, list[str]]:
    """Return the captions in a CSV or COCO file by stimulus id."""
    captions: dict[str, list[str]] = {}
    try:
        if path.suffix.lower() == ".json":
            for note in read_json(path, 2**30)["annotations"]:
                captions.setdefault(str(note["image_id"]), []).append(str(note["caption"]))
        else:
            with StringIO(read_text(path, 2**30, encoding="utf-8-sig"), newline="") as file:
                rows = csv.DictReader(file)
                for row in rows:
                    if row["stimulus_id"] is None or row["caption"] is None:
                        raise UserError(
                            f"{path}, line {rows.line_num}: the row ends before its "
                            f"{'caption' if row['caption'] is None else 'stimulus_id'}: "
                            "complete or remove it."
                        )
                    captions.setdefault(row["stimulus_id"], []).append(row["caption"])
    except (KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is no caption file: write a CSV with columns stimulus_id and caption, or "
            "COCO's JSON with a list of annotations that have image_id and caption."
        ) from error
    return captions


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """Return the square middle of an image at a size, RGB."""
    with open_image(path, _FORMATS) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    middle = upright.crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((size, size), Image.Resampling.LANCZOS))
