"""The voxel table of a person's own folder: places, reliability, regions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.folder_responses import ResponsesFile
from vox2pix.data.subject import VOXEL_COLUMNS
from vox2pix.data.tables import read_table
from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError

_FLAGS = {"0": False, "false": False, "1": True, "true": True}
_HEMISPHERES = {"lh": "lh", "l": "lh", "left": "lh", "rh": "rh", "r": "rh", "right": "rh"}
_INDICES = ("x", "y", "z")
# NIfTI stores the size of an axis in 16 bits; meshes have fewer vertices than 32 bits count.
_LAST = {"x": 2**15 - 1, "y": 2**15 - 1, "z": 2**15 - 1, "vertex": 2**31 - 1}


def read_voxels(folder: Path, responses: ResponsesFile, faults: Faults) -> pd.DataFrame:
    """Read and check ``voxels.csv``; without one, a table of places alone."""
    path = folder / "voxels.csv"
    places = pd.DataFrame(index=range(responses.n_voxels))
    if responses.mask is not None:
        places = pd.DataFrame(np.argwhere(responses.mask), columns=["x", "y", "z"])
    if not is_there(path):
        return places.assign(ncsnr=np.nan)
    table = read_table(path)
    if len(table) != responses.n_voxels:
        raise UserError(
            f"{path} has {len(table)} rows, {responses.path} {responses.n_voxels} voxels: "
            "give one row per voxel."
        )
    columns = voxel_columns(path, table, faults)
    voxels = pd.DataFrame({"ncsnr": np.nan, **dict(places), **columns}, index=places.index)
    if not voxels[list(places)].equals(places):
        faults.add(
            f"{path} lists other x, y, z than the mask of {responses.path}: order the rows by x, "
            "then y, then z, or leave these columns out."
        )
    return voxels


def voxel_columns(path: Path, table: pd.DataFrame, faults: Faults) -> dict[str, NDArray[Any]]:
    """Return the sound columns of ``voxels.csv`` in their own types; faults and notes are added.

    Regions are boolean, ``ncsnr`` float (NaN where unknown), ``x, y, z`` and ``vertex`` whole
    numbers from 0, ``hemi`` is ``lh`` or ``rh``. The index of ``table`` holds the lines of the
    file.
    """
    columns: dict[str, NDArray[Any]] = {}
    for name in table:
        with faults.gathered():
            _require_name(path, str(name))
            columns[str(name)] = _column(path, table[name], str(name), faults)
    with faults.gathered():
        _require_places(path, table, columns)
    regions = [str(name) for name in table if name not in VOXEL_COLUMNS]
    folded = [name.casefold() for name in regions]
    alike = [name for name, key in zip(regions, folded, strict=True) if folded.count(key) > 1]
    if alike:
        faults.note(f"{path} has regions that differ by case alone: {', '.join(alike)}.")
    return columns


def _require_name(path: Path, name: str) -> None:
    """Refuse names that mean something else, or nearly so."""
    if name.casefold() == "all":
        raise UserError(
            f"{path}: column {name!r} has the name that stands for all voxels: rename this region."
        )
    if name not in VOXEL_COLUMNS and name.casefold() in VOXEL_COLUMNS:
        raise UserError(
            f"{path}: column {name!r} differs from {name.casefold()!r} by case alone: write "
            f"{name.casefold()}, or rename the region."
        )


def _column(path: Path, text: pd.Series, name: str, faults: Faults) -> NDArray[Any]:
    """Return one column in its own type."""
    if name == "hemi":
        return _hemispheres(path, text, faults)
    if name == "ncsnr":
        return _ratios(path, text)
    if name in VOXEL_COLUMNS:
        return _indices(path, text, name)
    flags = text.str.lower().map(_FLAGS)
    wrong = np.flatnonzero(flags.isna())
    if wrong.size:
        raise UserError(
            f"{_at(path, text, wrong)}: {text.iloc[wrong[0]]!r} in column {name} is no ROI "
            "flag; write 0 or 1."
        )
    if not flags.any():
        raise UserError(f"ROI {name!r} is empty: {path} flags no voxel; remove the column.")
    return flags.to_numpy(bool)


def _hemispheres(path: Path, text: pd.Series, faults: Faults) -> NDArray[Any]:
    """Return lh and rh."""
    sides = text.str.lower().map(_HEMISPHERES)
    wrong = np.flatnonzero(sides.isna())
    if wrong.size:
        raise UserError(
            f"{_at(path, text, wrong)}: hemi is {text.iloc[wrong[0]]!r}; write lh or rh."
        )
    changed = int((sides != text).sum())
    if changed:
        faults.note(f"{path}: {changed:,} of {len(text):,} cells of hemi are read as lh or rh.")
    return sides.to_numpy(object)


def _numbers(path: Path, text: pd.Series, name: str) -> NDArray[np.float64]:
    """Return a column as floats, NaN where it is empty."""
    values = pd.to_numeric(text.replace("", "nan"), errors="coerce")
    wrong = np.flatnonzero(values.isna() & ~text.str.lower().isin(["", "nan", "na"]))
    if wrong.size:
        raise UserError(
            f"{_at(path, text, wrong)}: column {name} holds {text.iloc[wrong[0]]!r}, which is "
            "no number; correct it."
        )
    return values.to_numpy(float)


def _ratios(path: Path, text: pd.Series) -> NDArray[np.float64]:
    """Return ncsnr, NaN where it is unknown."""
    values = _numbers(path, text, "ncsnr")
    wrong = np.flatnonzero((values < 0) | np.isinf(values))
    if wrong.size:
        raise UserError(
            f"{_at(path, text, wrong)}: ncsnr is {text.iloc[wrong[0]]} ({_such(wrong)}), "
            "but a ratio of two standard deviations is finite and not negative: leave "
            "the cell empty where it is unknown."
        )
    return values


def _indices(path: Path, text: pd.Series, name: str) -> NDArray[np.int64]:
    """Return voxel or vertex indices."""
    values = _numbers(path, text, name)
    # NaN compares as false
    sound = (values >= 0) & (values <= _LAST[name]) & (values == np.floor(values))
    wrong = np.flatnonzero(~sound)
    if wrong.size:
        what = "voxel" if name in _INDICES else "vertex"
        remedy = "number vertices from 0"
        if name in _INDICES:
            remedy = (
                "convert millimetres with nibabel.affines.apply_affine(numpy.linalg.inv(affine), "
                "xyz), or leave the columns x, y and z out"
            )
        raise UserError(
            f"{_at(path, text, wrong)}: {name} is {text.iloc[wrong[0]]!r} ({_such(wrong)}), "
            f"which is no {what} index (a whole number from 0): {remedy}."
        )
    return values.astype(np.int64)


def _at(path: Path, text: pd.Series, rows: NDArray[np.intp]) -> str:
    """Return file and line of the first of some rows: the index of a column has the lines."""
    return f"{path}, line {text.index[rows[0]]}"


def _such(rows: NDArray[np.intp]) -> str:
    return f"{rows.size:,} such value{'s' if rows.size > 1 else ''}"


def _require_places(path: Path, table: pd.DataFrame, columns: dict[str, NDArray[Any]]) -> None:
    """Refuse half a place, and two voxels in one place."""
    for group in (_INDICES, ("hemi", "vertex")):
        present = [name for name in group if name in table]
        missing = [name for name in group if name not in table]
        if present and missing and present != ["hemi"]:
            raise UserError(
                f"{path} has {', '.join(present)} but no {', '.join(missing)}: add the column, or "
                "leave the others out."
            )
        if missing or any(name not in columns for name in group):
            continue
        places = pd.DataFrame({name: columns[name] for name in group})
        doubled = np.flatnonzero(places.duplicated(keep=False))
        if doubled.size:
            same = (places == places.iloc[doubled[0]]).all(axis=1)
            first, second = table.index[np.flatnonzero(same)[:2]]
            where = ", ".join(f"{name} {places[name].iloc[doubled[0]]}" for name in group)
            raise UserError(
                f"{path}, lines {first} and {second}: both voxels are at {where} "
                f"({doubled.size:,} voxels share a place): give each voxel its own place, or "
                f"leave the columns {', '.join(group)} out."
            )
