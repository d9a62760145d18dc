"""Regions of interest by name, from atlas images and their label lists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.buckets import local_copy
from vox2pix.data.names import nearest
from vox2pix.data.volumes import read_image
from vox2pix.errors import UserError

# NSD's own regions come before ready-made atlases that use the same label names
# (Kastner2015 also has a V1v, for one).
_PREFERRED = ("streams", "prf-visualrois", "prf-eccrois", "floc-", "nsdgeneral")


def union_parts(roi: str | Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """Return the regions that a name stands for.

    Parameters
    ----------
    roi : str or sequence of str
        A name, a union such as ``"V1v+V1d"``, or several of them.
    known : sequence of str
        Names that are not cut at a plus sign. One at the end is part of a name (NSD has a region
        ``ecc4+``).

    Returns
    -------
    list of str
        Each once, in order.
    """
    names = [roi] if isinstance(roi, str) else list(roi)
    parts: list[str] = []
    for name in names:
        pieces = [name] if name in known else re.split(r"\+(?=[^+])", name)
        parts += [piece.strip() for piece in pieces]
    return list(dict.fromkeys(parts))


def read_labels(path: Path) -> dict[str, int]:
    """Read a FreeSurfer colour table (``.ctab``): label names and their numbers.

    Parameters
    ----------
    path : Path
        Text file, a line a label: number, name and optionally four colour components. Lines that
        start with ``#`` are comments.

    Returns
    -------
    dict
        Number of each label above 0 (0 and below stand for no region).

    Raises
    ------
    UserError
        If a line does not start with a number and a name.
    """
    labels: dict[str, int] = {}
    lines = local_copy(path).read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            value, name = int(words[0]), words[1]
        except (ValueError, IndexError):
            raise UserError(
                f"{path}, line {number}: {line.strip()!r} is not a label number and its name: "
                "mend the line."
            ) from None
        if value > 0:
            labels[name] = value
    return labels


@dataclass(frozen=True)
class Atlas:
    """A labelled image: one volume, or one file a hemisphere.

    Attributes
    ----------
    name : str
        File name without hemisphere and extension, e.g. ``streams``.
    files : tuple of Path
        One volume (X, Y, Z), or the left and the right hemisphere.
    label_file : Path
        Where its ``.ctab`` is, or should be.
    labels : dict
        Number of each label.
    """

    name: str
    files: tuple[Path, ...]
    label_file: Path
    labels: dict[str, int]

    def read(self) -> NDArray[Any]:
        """Return the labels, shape (X, Y, Z) or (vertices of both hemispheres,)."""
        if len(self.files) == 1:
            return read_image(self.files[0])
        return np.concatenate([read_image(file).ravel(order="F") for file in self.files])


def find_atlases(
    folder: Path, pattern: str, label_folders: Sequence[Path], hemispheres: Sequence[str] = ()
) -> dict[str, Atlas]:
    """Find the atlases of a folder.

    Parameters
    ----------
    folder : Path
        Where label images lie.
    pattern : str
        Their extension, ``".nii.gz"`` or ``".mgz"``.
    label_folders : sequence of Path
        Where label lists ``NAME.mgz.ctab`` are looked for, the first one found counts.
    hemispheres : sequence of str
        Prefixes that make up one atlas (``lh``, ``rh``); none for volumes.

    Returns
    -------
    dict
        Atlases by name, those of NSD's own regions first.
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


def roi_mask(name: str, atlases: dict[str, Atlas], cache: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return where a region is.

    Parameters
    ----------
    name : str
        A label of any atlas (``early``), ``atlas:label`` (``Kastner2015:V1v``), or an atlas as a
        whole (``nsdgeneral``: all its labels above 0). A label that several atlases have is
        taken from NSD's own regions first.
    atlases : dict
        Atlases by name, in order of preference.
    cache : dict
        Label images read so far, by atlas; added to.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z) or (vertices of both hemispheres,)

    Raises
    ------
    UserError
        If there is no such region (the nearest names are named) or it has no voxel.
    """
    atlas, value = _look_up(name, atlases)
    if atlas.name not in cache:
        cache[atlas.name] = atlas.read()
    labels = cache[atlas.name]
    mask = labels > 0 if value is None else labels == value
    if not mask.any():
        raise UserError(
            f"ROI {name!r} is empty: {atlas.files[0]} has no voxel of it; choose another ROI."
        )
    return np.asarray(mask)


def _look_up(name: str, atlases: dict[str, Atlas]) -> tuple[Atlas, int | None]:
    """Find the atlas of a region and its label (none: all labels)."""
    asked_atlas, _, asked_label = name.rpartition(":")
    for atlas in atlases.values():
        if asked_label in atlas.labels and asked_atlas in ("", atlas.name):
            return atlas, atlas.labels[asked_label]
    if name in atlases:
        return atlases[name], None
    known = [label for atlas in atlases.values() for label in (atlas.name, *atlas.labels)]
    nameless = [
        str(atlas.label_file)
        for atlas in atlases.values()
        if _rank(atlas.name) < _rank("nsdgeneral") and not atlas.label_file.is_file()
    ]
    hint = f" (label names are missing: {', '.join(nameless)})" if nameless else ""
    raise UserError(f"there is no ROI {name!r}{hint}; {nearest(name, [*known, 'all'])}")
