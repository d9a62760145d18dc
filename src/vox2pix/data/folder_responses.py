"""Responses of a person's own folder: an array, or a NIfTI image and its mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.folder_arrays import only_one, open_array
from vox2pix.data.labels import read_grid, read_mask, require_same_grid
from vox2pix.data.volumes import image_shape, read_nifti
from vox2pix.errors import UserError

_RESPONSES = (".npy", ".npz", ".h5", ".hdf5", ".zarr", ".nii.gz", ".nii")


@dataclass(frozen=True, eq=False)
class ResponsesFile:
    """An array (n_trials, n_voxels) on disk, or an image and its mask."""

    path: Path
    n_trials: int
    n_voxels: int
    mask: NDArray[np.bool_] | None = None  # (X, Y, Z), for an image, or beside an array
    # (4, 4), voxel indices to millimetres, where image or mask have one
    affine: NDArray[np.float64] | None = None

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read consecutive trials of some voxels, shape (n_trials, n_voxels)."""
        if self.mask is not None and ".nii" in self.path.suffixes:
            return read_nifti(self.path, np.argwhere(self.mask)[voxels], trials)
        with open_array(self.path) as array:
            return np.asarray(array[trials])[:, voxels]


def find_responses(folder: Path, faults: Faults) -> ResponsesFile:
    """Find the responses and their shape, without reading them."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds trials.csv.")
    path = only_one([folder / f"responses{extension}" for extension in _RESPONSES], "responses")
    if path is None:
        raise UserError(
            f"{folder} has no responses: add responses{', responses'.join(_RESPONSES)}."
        )
    mask_path = only_one([folder / "mask.nii.gz", folder / "mask.nii"], "a mask")
    if ".nii" in path.suffixes:
        shape = image_shape(path)
        if mask_path is None:
            raise UserError(f"{path} needs a mask: add mask.nii.gz.")
        image = read_mask(mask_path, faults)
        mask = image.values > 0
        if len(shape) != 4 or mask.shape != shape[:3] or not mask.any():
            raise UserError(
                f"{path} has shape {shape} and {mask_path} {mask.shape} with {mask.sum()} voxels: "
                "give (X, Y, Z, n_trials) and a mask (X, Y, Z) that is not empty."
            )
        grid = read_grid(path, faults)
        require_same_grid(image.grid, grid, faults)
        affine = image.grid.affine if grid.affine is None else grid.affine
        if grid.affine is None or image.grid.affine is None:
            faults.note(
                f"{path if grid.affine is None else mask_path} has no affine in its header "
                "(qform and sform codes are 0): voxels of responses and mask are paired by index."
            )
        return ResponsesFile(path, shape[3], int(mask.sum()), mask, affine)
    with open_array(path) as array:
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu":
        raise UserError(
            f"{path} is {dtype} of shape {shape}: save numbers of shape (n_trials, n_voxels)."
        )
    if mask_path is None:
        return ResponsesFile(path, *shape)
    image = read_mask(mask_path, faults)
    mask = image.values > 0
    if mask.sum() != shape[1]:
        raise UserError(
            f"{mask_path} marks {mask.sum()} voxels, {path} has {shape[1]}: give the mask of these "
            "voxels, or remove it."
        )
    return ResponsesFile(path, *shape, mask, image.grid.affine)
