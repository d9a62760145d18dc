"""Folders of image files: which file is which sample of which stimulus, and which are ignored."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.images import read_image
from vox2pix.errors import UserError
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.store import marker_of
from vox2pix.untrusted.files import require_inside
from vox2pix.untrusted.images import open_image

SUFFIXES = (".png", ".jpg", ".jpeg")
ORIGINAL_NAMES = frozenset(
    (
        *("gt", "groundtruth", "ground_truth", "ground-truth", "true", "truth", "target"),
        *("org", "orig", "original", "originals", "ref", "reference", "real", "input"),
        *("seen", "stim", "stimuli", "stimulus"),
    )
)
"""Sample names that pipelines give to the original, which is no reconstruction."""

_NAMED = 3  # files or samples that a sentence names


@dataclass(frozen=True)
class FilePattern:
    """A pattern of file names such as ``{id}_{sample}.png``."""

    text: str
    has_sample: bool

    def match(self, name: str) -> tuple[str, str] | None:
        """Return the id and the sample (or "") of a path within the folder, or None."""
        escaped = re.escape(self.text)
        for key, part in (("id", "[^/]+"), ("sample", "[^/]+?")):
            escaped = escaped.replace(re.escape(f"{{{key}}}"), f"(?P<{key}>{part})")
        match = re.fullmatch(escaped, name)
        if match is None:
            return None
        return match["id"], match["sample"] if self.has_sample else ""


def samples_pattern(text: str) -> FilePattern:
    """Return the pattern of ``--samples``, which holds ``{id}`` and ``{sample}`` once each."""
    if text.count("{id}") != 1 or text.count("{sample}") != 1:
        raise UserError(
            f"The pattern {text!r} must hold {{id}} and {{sample}} once each, such as "
            "'{id}_{sample}.png'."
        )
    return FilePattern(text, True)


def originals_pattern(text: str) -> FilePattern:
    """Return the pattern of ``--truth-files``, which holds ``{id}`` once."""
    if text.count("{id}") != 1 or "{sample}" in text:
        raise UserError(
            f"The pattern {text!r} of the originals must hold {{id}} once and no {{sample}}, such "
            "as '{id}_org.png'."
        )
    return FilePattern(text, False)


def open_folder(
    folder: Path, pattern: FilePattern | None = None, without: FilePattern | None = None
) -> ImageCollection:
    """Open a folder of PNG or JPEG files in the natural order of their ids (2 before 10).

    ``pattern`` is matched against paths within the folder; without one the folder's own files are
    read, the stem as id. Files that match ``without`` are the originals of the other side and are
    left out. Notes list the samples and count the files that were ignored.
    """
    paths_of: dict[str, dict[str, Path]] = {}
    ignored: dict[str, list[str]] = {}
    for path, name in _files(folder):
        key = None
        why = _why_ignored(path, name, pattern is None)
        if not why and without is not None and without.match(name):
            why = "originals"
        if not why:
            key = pattern.match(name) if pattern else (path.stem, "")
        if key is None:
            ignored.setdefault(why or "images that do not match the pattern", []).append(name)
            continue
        before = paths_of.setdefault(key[0], {}).setdefault(key[1], path)
        if before != path:
            raise UserError(f"{before} and {path} have the same id {key[0]!r}. Remove one of them.")
    if not paths_of:
        asked = f"that match {pattern.text!r}" if pattern else "(.png, .jpg, .jpeg)"
        raise UserError(f"{folder} holds no images {asked}.")
    ids = tuple(sorted(paths_of, key=natural))
    names = {key: tuple(sorted(paths_of[key], key=natural)) for key in ids}
    _check_counts(folder, names)
    samples = names[ids[0]]
    if len(samples) > 1:
        _refuse_mixtures(folder, sorted({s for own in names.values() for s in own}, key=natural))
    paths = [[paths_of[key][sample] for sample in names[key]] for key in ids]
    return ImageCollection(
        folder,
        ids,
        False,
        len(samples),
        lambda row, sample: read_file(paths[row][sample]),
        samples if pattern and pattern.has_sample else (),
        (*_sample_notes(folder, pattern, names), *_ignored_notes(folder, ignored)),
    )


def read_file(path: Path) -> NDArray[Any]:
    """Read an 8-bit PNG or JPEG file as uint8, (height, width, 3), or 4 with its alpha channel."""
    from PIL import ImageOps

    with open_image(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise UserError(
                f"{path} holds {frames} frames: save the one that is meant as an image."
            )
        if image.has_transparency_data:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    return read_image(path)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield all files below a folder, in order, with their paths within it."""
    paths = sorted(folder.rglob("*"))
    require_inside(folder, (path for path in paths if path.suffix.lower() in SUFFIXES))
    for path in paths:
        if not path.is_dir():
            yield path, path.relative_to(folder).as_posix()


def _why_ignored(path: Path, name: str, flat: bool) -> str:
    """Say what kind of file it is, if it is not one to be read."""
    if any(part.startswith(".") for part in name.split("/")):
        return "hidden files"
    below = path.parents[: name.count("/")]
    if any(marker_of(parent) is not None for parent in below):
        return "files that vox2pix wrote"
    if path.suffix.lower() not in SUFFIXES:
        return "files that are not PNG or JPEG"
    return "images in subfolders" if flat and "/" in name else ""


def _check_counts(folder: Path, names: dict[str, tuple[str, ...]]) -> None:
    counts = {len(of_id) for of_id in names.values()}
    if len(counts) > 1:
        few = min(names, key=lambda key: len(names[key]))
        raise UserError(
            f"{folder}: stimuli have from {min(counts)} to {max(counts)} samples, {few!r} has "
            f"{min(counts)} ({_listed(names[few])}). Give all the same number."
        )


def _refuse_mixtures(folder: Path, samples: list[str]) -> None:
    """Refuse samples of which some, by their names, are no reconstruction like the others."""
    originals = [name for name in samples if name.strip("-_. ").casefold() in ORIGINAL_NAMES]
    words = [name for name in samples if not name.isdecimal()]
    odd = originals or (words if len(words) < len(samples) else [])
    if odd and len(odd) < len(samples):
        rest = [name for name in samples if name not in odd]
        meant = "the original" if originals else "another kind of image"
        raise UserError(
            f"{folder}: among the samples {_listed(rest)} is {_listed(odd)}, which seems to be "
            f"{meant}. Name originals with --truth-files, such as '{{id}}_{odd[0]}.png', or move "
            "these files elsewhere."
        )


def _sample_notes(
    folder: Path, pattern: FilePattern | None, names: dict[str, tuple[str, ...]]
) -> Iterator[str]:
    if pattern is None or not pattern.has_sample:
        return
    first = next(iter(names.values()))
    yield f"{folder}: {len(first)} samples per stimulus: {_listed(first, 10)}"
    others = [key for key, own in names.items() if own != first]
    if others:
        yield (
            f"{folder}: {len(others)} of {len(names)} stimuli have samples of other names "
            f"({others[0]!r}: {_listed(names[others[0]])})"
        )


def _ignored_notes(folder: Path, ignored: dict[str, list[str]]) -> Iterator[str]:
    for why, names in ignored.items():
        yield f"{folder}: {len(names)} ignored, {why} ({_listed(names)})"


def _listed(names: list[str] | tuple[str, ...], at_most: int = _NAMED) -> str:
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")
