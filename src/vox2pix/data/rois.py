"""Regions of interest by name, from atlas images and their label lists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vox2pix.data.faults import Faults
from vox2pix.data.labels import GridImage, joined, read_label_image
from vox2pix.data.names import nearest
from vox2pix.errors import UserError
from vox2pix.untrusted.text import read_text

_LARGEST_TABLE = 2**22  # bytes of label names
# NSD's own regions come before ready-made atlases that use the same label names
# (Kastner2015 also has a V1v, for one).
_PREFERRED = ("streams", "prf-visualrois", "prf-eccrois", "floc-", "nsdgeneral")
# Number, name with blanks, colours.
_LABEL_LINE = re.compile(r"\s*([+-]?\d+)\s+(\S.*?)\s*")
_FOUR_COLOURS = re.compile(r"(\s+\d+){4}$")
_THREE_COLOURS = re.compile(r"(\s+\d+){3}$")


def union_parts(roi: str | Sequence[str], whole: Sequence[str] = ()) -> list[str]:
    """Return the regions that a name such as ``"V1v+V1d"`` stands for, each once, in order.

    Names in ``whole`` are not split at a plus sign. One at the end is part of a name (NSD has a
    region ``ecc4+``).
    """
    names = [roi] if isinstance(roi, str) else list(roi)
    parts: list[str] = []
    for name in names:
        pieces = [name] if name in whole else re.split(r"\+(?=[^+])", name)
        parts += [piece.strip() for piece in pieces]
    return list(dict.fromkeys(parts))


def read_labels(path: Path) -> dict[str, tuple[int, ...]]:
    """Read a FreeSurfer colour table (``.ctab``): numbers of each label above 0, ascending.

    Each line holds a number, a name (which may hold blanks) and optionally three or four colour
    components; lines that start with ``#`` are comments. A name on several lines has several
    numbers (hemispheres that are numbered apart); two names with one number are refused.
    """
    text = read_text(path, _LARGEST_TABLE, errors="replace", encoding="utf-8-sig")
    rows: list[tuple[int, int, str]] = []
    for line_number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LABEL_LINE.fullmatch(line)
        if not match:
            raise UserError(
                f"{path}, line {line_number}: {line.strip()!r} is not a label number and its "
                "name: correct the line."
            )
        rows.append((line_number, int(match[1]), match[2]))
    names = _without_colours([name for _, _, name in rows])
    numbers: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    for (line_number, number, _), name in zip(rows, names, strict=True):
        if owner.setdefault(number, name) != name and number > 0:
            raise UserError(
                f"{path}, line {line_number}: number {number} is {name!r} here and "
                f"{owner[number]!r} before: give each label a number of its own."
            )
        if number > 0:
            numbers.setdefault(name, []).append(number)
    return {name: tuple(sorted(set(values))) for name, values in numbers.items()}


def _without_colours(names: list[str]) -> list[str]:
    """Cut off the colour components that end the lines of a label table."""
    cut = [_FOUR_COLOURS.sub("", name) for name in names]
    if cut == names and all(_THREE_COLOURS.search(name) for name in names):
        cut = [_THREE_COLOURS.sub("", name) for name in names]
    return cut


@dataclass(frozen=True)
class Atlas:
    """A labelled image: one volume, or one file per hemisphere."""

    name: str  # file name without hemisphere and extension, e.g. ``streams``
    files: tuple[Path, ...]  # one volume (X, Y, Z), or the left and the right hemisphere
    label_file: Path  # where its ``.ctab`` is, or should be
    labels: dict[str, tuple[int, ...]]  # numbers of each label

    @property
    def is_surface(self) -> bool:
        """Whether the labels belong to vertices."""
        return len(self.files) > 1

    def read(self, faults: Faults) -> GridImage:
        """Return the labels, shape (X, Y, Z) or (vertices of both hemispheres,)."""
        in_table = {number for numbers in self.labels.values() for number in numbers}
        return joined(
            [read_label_image(file, faults, in_table, self.is_surface) for file in self.files]
        )


def find_atlases(
    folder: Path, pattern: str, label_folders: Sequence[Path], hemispheres: Sequence[str] = ()
) -> dict[str, Atlas]:
    """Return the atlases of a folder by name, those of NSD's own regions first.

    ``pattern`` is the extension of label images; label tables ``NAME.mgz.ctab`` are looked for in
    ``label_folders`` in order; ``hemispheres`` are the prefixes that make up one surface atlas.
    """
    prefix = f"{hemispheres[0]}." if hemispheres else ""
    atlases = {}
    for file in folder.glob(f"{prefix}*{pattern}"):
        name = file.name[len(prefix) : -len(pattern)]
        if not hemispheres and name.startswith(("lh.", "rh.")):
            continue  # one hemisphere of an atlas that is there as a whole
        files = tuple(folder / f"{hemi}.{name}{pattern}" for hemi in hemispheres) or (file,)
        candidates = [labels / f"{name}.mgz.ctab" for labels in label_folders]
        label_file = next((path for path in candidates if path.is_file()), candidates[0])
        labels = read_labels(label_file) if label_file.is_file() else {}
        atlases[name] = Atlas(name, files, label_file, labels)
    return dict(sorted(atlases.items(), key=lambda item: (_rank(item[0]), item[0])))


def _rank(atlas: str) -> int:
    """Return the place of an atlas among those that share a label name."""
    return next((i for i, start in enumerate(_PREFERRED) if atlas.startswith(start)), 99)


def roi_mask(
    name: str, atlases: dict[str, Atlas], cache: dict[str, GridImage], faults: Faults
) -> GridImage:
    """Return where a region is: boolean values, (X, Y, Z) or (vertices of both hemispheres,).

    A name is a label of any atlas (``early``), ``atlas:label`` (``Kastner2015:V1v``), or an
    atlas as a whole (``nsdgeneral``: all its labels above 0). A label that several atlases have
    is taken from NSD's own regions first, with a note. ``cache`` holds the label images read so
    far.
    """
    atlas, numbers = _look_up(name, atlases)
    if atlas.name not in cache:
        cache[atlas.name] = atlas.read(faults)
    image = cache[atlas.name]
    mask = image.values > 0 if numbers is None else np.isin(image.values, numbers)
    if not mask.any():
        raise UserError(
            f"ROI {name!r} is empty: {atlas.files[0]} has no voxel of it; choose another ROI."
        )
    if numbers is not None:
        if len(numbers) > 1:
            parts = (f"{n} ({int((image.values == n).sum()):,} voxels)" for n in numbers)
            faults.note(
                f"ROI {name!r} has {len(numbers)} numbers in {atlas.label_file}: "
                f"{', '.join(parts)}; their union is taken."
            )
        _note_source(name, atlas, atlases, int(mask.sum()), faults)
    return GridImage(image.grid, mask)


def _note_source(
    name: str, atlas: Atlas, atlases: dict[str, Atlas], n_voxels: int, faults: Faults
) -> None:
    """Say which atlas a bare name was taken from, where another one could be meant."""
    if ":" in name and name not in atlas.labels:
        return  # the atlas was named
    same = [f"{other}:{name}" for other in atlases if name in atlases[other].labels]
    same = [full for full in same if full != f"{atlas.name}:{name}"]
    same += [f"the atlas {other}" for other in atlases if other == name and other != atlas.name]
    alike = sorted(label for label in atlas.labels if label.lower() == name.lower())
    parts = [] if _is_own(atlas.name) else _parts_of(name, atlases)
    where = f"ROI {name!r} is that of {atlas.name} ({n_voxels:,} voxels)"
    if same:
        faults.note(f"{where}; there is also {', '.join(same)}: write atlas:label to choose.")
    if parts:
        faults.note(f"{where}, not one of NSD's own regions; these have {', '.join(parts)}.")
    if len(alike) > 1:
        faults.note(f"{where}; names differ by case alone: {', '.join(alike)}.")


def _parts_of(name: str, atlases: dict[str, Atlas]) -> list[str]:
    """Return the labels of NSD's own atlases that a name may stand for: V1v and V1d for V1."""
    return [
        f"{atlas.name}:{label}"
        for atlas in atlases.values()
        if _is_own(atlas.name)
        for label in atlas.labels
        if label.lower().startswith(name.lower()) and label.lower() != name.lower()
    ]


def _is_own(atlas: str) -> bool:
    """Return whether an atlas is one of NSD's own, drawn for each subject."""
    return _rank(atlas) < len(_PREFERRED)


def _look_up(name: str, atlases: dict[str, Atlas]) -> tuple[Atlas, tuple[int, ...] | None]:
    """Find the atlas of a region and its numbers (none: all labels)."""
    for atlas in atlases.values():
        if name in atlas.labels:
            return atlas, atlas.labels[name]
    asked_atlas, _, asked_label = name.partition(":")
    if asked_atlas in atlases and asked_label in atlases[asked_atlas].labels:
        return atlases[asked_atlas], atlases[asked_atlas].labels[asked_label]
    if name in atlases:
        return atlases[name], None
    names = [label for atlas in atlases.values() for label in (atlas.name, *atlas.labels)]
    names += [f"{atlas.name}:{label}" for atlas in atlases.values() for label in atlas.labels]
    nameless = [
        str(atlas.label_file)
        for atlas in atlases.values()
        if _rank(atlas.name) < _rank("nsdgeneral") and not atlas.label_file.is_file()
    ]
    hint = f" (label names are missing: {', '.join(nameless)})" if nameless else ""
    if ":" not in name:
        names = [candidate for candidate in names if ":" not in candidate]
    raise UserError(f"There is no ROI {name!r}{hint}; {nearest(name, [*names, 'all'])}")
