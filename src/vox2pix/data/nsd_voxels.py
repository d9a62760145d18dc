"""Which voxels of the Natural Scenes Dataset are opened: regions, places, reliability."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.labels import (
    Grid,
    GridImage,
    joined,
    read_grid,
    read_map,
    read_mask,
    require_same_grid,
)
from vox2pix.data.nsd_layout import HEMISPHERES, NsdLayout
from vox2pix.data.rois import Atlas, find_atlases, roi_mask, union_parts
from vox2pix.data.subject import VOXEL_COLUMNS
from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError


def voxel_table(
    layout: NsdLayout,
    rois: str | Sequence[str],
    shape: tuple[int, ...],
    responses: Sequence[Grid],
    faults: Faults,
) -> tuple[pd.DataFrame, NDArray[np.float64] | None] | None:
    """Return the voxels of a union of regions and their affine; None if each region has a fault.

    The table has one row per voxel: ``x, y, z`` or ``hemi, vertex``, a boolean column per region,
    ``ncsnr`` as in the file. ``shape`` is (X, Y, Z), or the vertices of the left and the right
    hemisphere. ``responses`` are the grids of sessions that are NIfTI images (HDF5 has no affine).
    The affine, (4, 4), maps voxel indices to millimetres; it is None on a surface.
    """
    grids = _Grids(layout, shape, faults)
    for grid in _brain_mask_grid(layout, faults):
        grids.compare(grid, str(grid.path))
    for grid in responses:
        grids.compare(grid, str(grid.path))
    masks = _masks(layout, rois, grids, faults)
    if not masks:
        if not union_parts(rois):
            raise UserError(f"{layout.name}: no ROI is named: name at least one, or 'all'.")
        return None
    union = np.logical_or.reduce(list(masks.values()))
    table = _places(union, layout, shape)
    for name, mask in masks.items():
        if name != "all":
            table[name] = mask[union]
    table["ncsnr"] = np.nan
    with faults.gathered():
        table["ncsnr"] = _ncsnr(layout, union, grids, faults)
    return table, grids.affine


def valid_ncsnr(
    ncsnr: NDArray[np.float64], layout: NsdLayout, faults: Faults
) -> NDArray[np.float64]:
    """Return ncsnr, NaN (with a note) where a file's value is no ratio of standard deviations."""
    if not any(is_there(file) for file in layout.ncsnr):
        return ncsnr
    negative, lost = ncsnr < 0, ~np.isfinite(ncsnr)
    if (negative | lost).any():
        faults.note(
            f"{layout.ncsnr[0]} holds {int(lost.sum()):,} NaN or infinite and "
            f"{int(negative.sum()):,} negative values among {len(ncsnr):,} voxels: their noise "
            "ceiling is unknown."
        )
    return np.where(negative | lost, np.nan, ncsnr)


class _Grids:
    """The grid of the first image that has an affine; others are compared with it."""

    def __init__(self, layout: NsdLayout, shape: tuple[int, ...], faults: Faults) -> None:
        self._layout, self._faults = layout, faults
        self._shape = (sum(shape),) if layout.is_surface else shape
        self._first: Grid | None = None
        self._elsewhere: list[Grid] = []

    @property
    def shape(self) -> tuple[int, ...]:
        """(X, Y, Z), or (vertices of both hemispheres,)."""
        return self._shape

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Of the first image that has one."""
        return None if self._first is None else self._first.affine

    def compare(self, grid: Grid, source: str) -> None:
        """Raise if an image does not fit the betas, or is in another place than the first one."""
        if grid.shape != self._shape:
            raise UserError(
                f"{source} has shape {grid.shape}, the betas in {self._layout.betas_folder} have "
                f"{self._shape}: the files belong to different spaces or subjects."
            )
        if self._first is None:
            self._first = grid if grid.affine is not None else None
            return
        # images in the same place as one at fault have the same cause
        if any(_agree(grid, other) for other in self._elsewhere):
            return
        try:
            require_same_grid(grid, self._first, self._faults, by_index=True)
        except UserError:
            self._elsewhere.append(grid)
            raise


def _agree(one: Grid, other: Grid) -> bool:
    """Return whether two images are in the same place."""
    try:
        require_same_grid(one, other, Faults(), by_index=True)
    except UserError:
        return False
    return True


def _brain_mask_grid(layout: NsdLayout, faults: Faults) -> list[Grid]:
    """Return the brain mask's grid if there is one: it is the one that others are compared with."""
    if layout.is_surface or not layout.brain_mask.is_file():
        return []
    return [read_grid(layout.brain_mask, faults)]


def _masks(
    layout: NsdLayout, rois: str | Sequence[str], grids: _Grids, faults: Faults
) -> dict[str, NDArray[np.bool_]]:
    """Return where each region is, ``all`` among them if it is asked for."""
    extension = ".mgz" if layout.is_surface else ".nii.gz"
    hemispheres = HEMISPHERES if layout.is_surface else ()
    atlases = find_atlases(layout.rois, extension, layout.label_folders, hemispheres)
    cache: dict[str, GridImage] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for name in union_parts(rois):
        with faults.gathered():
            if name == "all":
                masks[name] = _everywhere(layout, grids, atlases, faults)
                continue
            if name in VOXEL_COLUMNS:
                raise UserError(
                    f"ROI {name!r} has the name of a column of the voxel table: write atlas:{name}."
                )
            image = roi_mask(name, atlases, cache, faults)
            source = f"the label image of ROI {name!r} ({image.grid.path})"
            grids.compare(image.grid, source)
            masks[name] = image.values
    return masks


def _everywhere(
    layout: NsdLayout, grids: _Grids, atlases: dict[str, Atlas], faults: Faults
) -> NDArray[np.bool_]:
    """Return every vertex, or the brain mask."""
    others = [f"{name}:all" for name, atlas in atlases.items() if "all" in atlas.labels]
    if others:
        what = "every vertex" if layout.is_surface else f"the voxels of {layout.brain_mask}"
        faults.note(f"ROI 'all' is {what}; write {' or '.join(others)} for the label all.")
    if layout.is_surface:
        return np.ones(grids.shape, bool)
    mask = read_mask(layout.brain_mask, faults)
    grids.compare(mask.grid, str(layout.brain_mask))
    if not mask.values.any():
        raise UserError(f"{layout.brain_mask} marks no voxel: replace the file.")
    return mask.values > 0


def _places(union: NDArray[np.bool_], layout: NsdLayout, shape: tuple[int, ...]) -> pd.DataFrame:
    """Return the indices of the voxels in a mask."""
    if not layout.is_surface:
        return pd.DataFrame(np.argwhere(union), columns=["x", "y", "z"])
    vertex = np.flatnonzero(union)
    right = vertex >= shape[0]
    hemi = np.where(right, HEMISPHERES[1], HEMISPHERES[0])
    return pd.DataFrame({"hemi": hemi, "vertex": np.where(right, vertex - shape[0], vertex)})


def _ncsnr(
    layout: NsdLayout, union: NDArray[np.bool_], grids: _Grids, faults: Faults
) -> NDArray[np.float64] | float:
    """Return ncsnr of the voxels in a mask; NaN if there is no such file."""
    if not any(is_there(file) for file in layout.ncsnr):
        return np.nan
    image = joined([read_map(file, faults, layout.is_surface) for file in layout.ncsnr])
    grids.compare(image.grid, str(layout.ncsnr[0]))
    values: NDArray[np.float64] = image.values[union]
    return values
