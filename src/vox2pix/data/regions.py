"""Regions beside the data: masks and label images of a folder, or a table of flags."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.folder_voxels import voxel_columns
from vox2pix.data.labels import Grid, GridImage, read_label_image, read_mask, require_same_grid
from vox2pix.data.rois import read_labels
from vox2pix.data.subject import VOXEL_COLUMNS
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError
from vox2pix.untrusted.files import files_below, require_inside

_VOLUMES = (".nii.gz", ".nii")
_LABEL = re.compile(r"(?:^|_)label-([A-Za-z0-9]+)")
# What names the subject, the space and the kind of an image, not the region.
_ENTITY = re.compile(r"(?:^|_)(?:sub|ses|task|acq|run|space|res|den|desc|hemi|from|mode)-[^_]+")
_SUFFIX = re.compile(r"_?(?:mask|roi|dseg|probseg)$")


@dataclass(frozen=True, eq=False)
class Regions:
    """Where regions are, in a volume."""

    masks: dict[str, NDArray[np.bool_]]  # (X, Y, Z) each
    grid: Grid | None  # of the first image that has an affine; None if none has


def volumes_of(folder: Path) -> list[Path]:
    """List the images below a folder, sorted; links that lead out of it are refused."""
    files = [path for path in files_below(folder) if path.name.endswith(_VOLUMES)]
    require_inside(folder, files)
    return sorted(path for path in files if path.is_file())


def read_regions(
    files: Sequence[Path], shape: tuple[int, ...], grid: Grid | None, faults: Faults
) -> Regions:
    """Read regions from masks and label images on the grid of the responses.

    A label image has its names in a table of the same name: ``.tsv`` with ``index`` and ``name``
    (BIDS), or ``.ctab`` (FreeSurfer). Any other image is a mask, named by its entity ``label-`` or
    its file. Labels of one name (of two hemispheres), and images of one name, are joined, with a
    note. An image of another shape is a fault; one without an affine is paired by index, with a
    note.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    for path in files:
        with faults.gathered():
            names = _names(path)
            in_table = {number for numbers in names.values() for number in numbers}
            image = read_label_image(path, faults, in_table) if names else read_mask(path, faults)
            grid = _on_grid(image, shape, grid, faults)
            if not names:
                _add(masks, region_name(path), image.values > 0, path, faults)
            _note_unions(names, path, faults)
            for name, numbers in names.items():
                _add(masks, name, np.isin(image.values, numbers), path, faults)
    return Regions(masks, grid)


def read_flags(path: Path, n_voxels: int, faults: Faults) -> dict[str, NDArray[np.generic]]:
    """Read a table with one row per voxel: regions as 0 or 1, reliability and places."""
    table = read_table(path)
    if len(table) != n_voxels:
        raise UserError(
            f"{path} has {len(table)} rows, the responses {n_voxels} voxels: give one row per "
            "voxel, in their order."
        )
    return dict(voxel_columns(path, table, faults))


def region_name(path: Path) -> str:
    """Return the name of a region by its file: the entity ``label-``, else what is its own."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    if match := _LABEL.search(stem):
        return match[1]
    return _SUFFIX.sub("", _ENTITY.sub("", stem)).strip("_") or stem


def _note_unions(names: Mapping[str, Sequence[int]], path: Path, faults: Faults) -> None:
    several = {name: numbers for name, numbers in names.items() if len(numbers) > 1}
    for name, numbers in list(several.items())[:1]:
        others = f" (and {len(several) - 1} more)" if several.keys() - {name} else ""
        faults.note(
            f"ROI {name!r}{others} has several numbers in the table of {path} "
            f"({', '.join(map(str, numbers))}): their union is taken."
        )


def _names(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the numbers of each label by the table beside a label image; none for a mask."""
    stem = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii"))
    tsv, ctab = stem.with_name(f"{stem.name}.tsv"), stem.with_name(f"{stem.name}.ctab")
    if tsv.is_file():
        table = read_table(tsv, ("index", "name"))
        numbers: dict[str, tuple[int, ...]] = {}
        for line, index, name in zip(table.index, table["index"], table["name"], strict=True):
            if not index.isdecimal() or not name:
                raise UserError(f"{tsv}, line {line}: give each label an index and a name.")
            if int(index) > 0:
                numbers[name] = (*numbers.get(name, ()), int(index))
        return numbers
    if ctab.is_file():
        return read_labels(ctab)
    if path.name.removesuffix(".gz").removesuffix(".nii").endswith("dseg"):
        raise UserError(f"{path} has no names of its labels: add {tsv.name} with index and name.")
    return {}


def _on_grid(
    image: GridImage, shape: tuple[int, ...], grid: Grid | None, faults: Faults
) -> Grid | None:
    """Raise if an image is not on the grid of the responses; return the first with an affine."""
    if image.grid.shape != shape:
        raise UserError(
            f"{image.grid.path} has shape {image.grid.shape}, the responses have {shape}: the "
            "files belong to different spaces or subjects."
        )
    if grid is None or image.grid.affine is None:
        if image.grid.affine is None:
            faults.note(f"{image.grid.path} has no affine: its voxels are paired by index.")
        return grid or (image.grid if image.grid.affine is not None else None)
    require_same_grid(image.grid, grid, faults)
    return grid


def _add(
    masks: dict[str, NDArray[np.bool_]],
    name: str,
    mask: NDArray[np.bool_],
    path: Path,
    faults: Faults,
) -> None:
    """Add a region, joined with what has the same name; one without voxels is noted."""
    if name.casefold() == "all" or name in VOXEL_COLUMNS:
        raise UserError(f"{path}: a region cannot be called {name!r}: rename it.")
    if not mask.any():
        faults.note(f"ROI {name!r} of {path} has no voxel and is left out.")
    elif name in masks:
        faults.note(f"ROI {name!r} is in several images ({path} is one): their union is taken.")
        masks[name] = masks[name] | mask
    else:
        masks[name] = mask
