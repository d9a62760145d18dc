"""Single-trial responses from HDF5, NIfTI and MGH files, only the voxels asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.volumes import reading_volume, require_numbers, volume_header

# Bytes of one read: large enough to be fast, small beside one session's volume.
_BLOCK_BYTES = 64 * 2**20
# Unwanted voxels along x that one read may span rather than start another.
_MAX_GAP = 4
# Voxels of a list that is not chunked, of which all trials are read at once.
_VOXELS_AT_ONCE = 64


def hdf5_shape(path: Path, dataset: str) -> tuple[int, ...]:
    """Return the shape of an array of numbers in an HDF5 file without reading it."""
    with open_hdf5(path, dataset) as array:
        require_numbers(path, array.dtype)
        return tuple(array.shape)


def read_hdf5(
    path: Path,
    voxels: NDArray[np.integer],
    dataset: str = "betas",
    trials: slice | None = None,
    *,
    trials_last: bool = False,
) -> NDArray[Any]:
    """Read trials of some voxels from an HDF5 array (n_trials, Z, Y, X): (n_trials, n_voxels).

    ``voxels`` holds indices x, y, z, shape (n_voxels, 3), or of a list of voxels, (n_voxels, 1).
    With ``trials_last`` the array is (X, Y, Z, n_trials), or (n_voxels, n_trials). Only chunks that
    hold one of the voxels are read, whichever way the file is chunked; NSD stores all trials of one
    voxel together.
    """
    with open_hdf5(path, dataset) as array:
        trial_axis = array.ndim - 1 if trials_last else 0
        first, stop, _ = (trials or slice(None)).indices(array.shape[trial_axis])
        out = np.empty((stop - first, len(voxels)), array.dtype)
        chunk = list(array.chunks or _contiguous_chunk(array.shape, trials_last))
        trials_a_chunk = chunk.pop(trial_axis)
        places = np.asarray(voxels) if trials_last else np.asarray(voxels)[:, ::-1]
        for members in _boxes(places, tuple(chunk)):
            inside = places[members]
            low, high = inside.min(axis=0), inside.max(axis=0) + 1
            box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            where = tuple((inside - low).T)
            bytes_a_trial = int(np.prod(high - low)) * array.dtype.itemsize
            for rows in _trial_blocks(stop - first, bytes_a_trial, trials_a_chunk):
                span = slice(first + rows.start, first + rows.stop)
                if trials_last:
                    out[rows, members] = array[(*box, span)][where].T
                else:
                    out[rows, members] = array[(span, *box)][(slice(None), *where)]
        return out


def _contiguous_chunk(shape: tuple[int, ...], trials_last: bool) -> tuple[int, ...]:
    """Return what of an array that is not chunked is next to each other on disk."""
    if not trials_last:
        return (1, *shape[1:])
    line = shape[-2] if len(shape) > 2 else _VOXELS_AT_ONCE
    return (*(1 for _ in shape[:-2]), line, 1)


def _boxes(places: NDArray[np.integer], chunk: tuple[int, ...]) -> Iterator[NDArray[np.intp]]:
    """Group voxels into boxes that are read at once: one row of chunks, without large gaps.

    ``places`` are indices in the order of the array's axes, the last one the nearest on disk.
    """
    if not len(places):
        return
    tile = places // np.asarray(chunk)
    before = [tile[:, axis] for axis in range(len(chunk) - 1)]
    order = np.lexsort((places[:, -1], *reversed(before)))
    rows, along = tile[order][:, :-1], tile[order][:, -1] * chunk[-1]
    new = np.any(np.diff(rows, axis=0) != 0, axis=1)
    new |= np.diff(along) > max(chunk[-1], 1) + _MAX_GAP
    if len(chunk) == 1:  # a list of voxels has no rows to end a box
        new |= np.diff(along // (_VOXELS_AT_ONCE * max(chunk[-1], 1))) > 0
    yield from np.split(order, np.flatnonzero(new) + 1)


def _trial_blocks(n_trials: int, bytes_a_trial: int, multiple: int = 1) -> Iterator[slice]:
    """Cut trials into blocks of bounded size, whole chunks each."""
    step = max(_BLOCK_BYTES // max(bytes_a_trial, 1), 1)
    step = max(step - step % multiple, multiple)
    for start in range(0, n_trials, step):
        yield slice(start, min(start + step, n_trials))


def image_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a NIfTI or MGH image from its header."""
    return tuple(int(n) for n in volume_header(path).get_data_shape())


@dataclass(frozen=True, eq=False)
class Place:
    """Where an image is in space."""

    # (4, 4), voxel indices to millimetres; None where the header has none
    affine: NDArray[np.float64] | None
    # whether qform and sform claim the same space and differ; the sform is used
    two_affines: bool = False


@dataclass(frozen=True, eq=False)
class Image:
    """A whole image: labels, a mask, a map."""

    path: Path
    values: NDArray[Any]  # in the file's own type, scaled if its header says so
    place: Place
    # step between neighbouring values of an integer type with a scale; 0 for other types
    slope: float


def image_place(path: Path) -> Place:
    """Return where an image is in space, from its header."""
    return _place(path, volume_header(path))


def load_image(path: Path) -> Image:
    """Read a whole NIfTI or MGH image."""
    with reading_volume(path) as image:
        slope = abs(float(image.dataobj.slope)) if image.get_data_dtype().kind in "iu" else 0.0
        return Image(path, np.asarray(image.dataobj), _place(path, image.header), slope)


def _place(path: Path, header: Any) -> Place:
    """Return the affine that nibabel prefers, and whether the other one contradicts it."""
    affine = np.asarray(header.get_best_affine(), float)
    if not isinstance(header, nib.Nifti1Header):
        return Place(affine)
    codes = int(header["qform_code"]), int(header["sform_code"])
    if not any(codes):
        return Place(None)  # nibabel makes one up from the voxel size
    two = codes[0] == codes[1] and not np.allclose(
        header.get_qform(), header.get_sform(), atol=1e-2
    )
    if not np.isfinite(affine).all() or np.linalg.det(affine) == 0:
        raise UserError(
            f"{path} has an affine that places no voxels (its determinant is 0 or not finite): "
            "write the image again with the affine of the functional images."
        )
    return Place(affine, two)


def read_nifti(
    path: Path, voxels: NDArray[np.integer], trials: slice | None = None
) -> NDArray[Any]:
    """Read trials of some voxels from a NIfTI image (X, Y, Z, n_trials): (n_trials, n_voxels).

    ``voxels`` holds indices x, y, z, shape (n_voxels, 3). The file is read once, front to back,
    some trials at a time, and scaled if its header says so.
    """
    x, y, z = np.asarray(voxels).T
    return _read_trials(path, lambda block: block[x, y, z].T, trials)


def read_mgh(
    path: Path, vertices: NDArray[np.integer], trials: slice | None = None
) -> NDArray[Any]:
    """Read trials of some vertices from an MGH file (n_vertices, 1, 1, n_trials)."""
    return _read_trials(path, lambda block: block[vertices, 0, 0].T, trials)


def _read_trials(
    path: Path, pick: Callable[[NDArray[Any]], NDArray[Any]], trials: slice | None = None
) -> NDArray[Any]:
    """Read an image some trials at a time and keep what ``pick`` takes of each block.

    An image of three axes is one trial.
    """
    with reading_volume(path) as image:
        if len(image.shape) == 3:
            return pick(np.asarray(image.dataobj)[..., None])
        start, stop, _ = (trials or slice(None)).indices(image.shape[3])
        bytes_a_trial = int(np.prod(image.shape[:3])) * image.get_data_dtype().itemsize
        out: NDArray[Any] | None = None
        for rows in _trial_blocks(stop - start, bytes_a_trial):
            block = pick(np.asarray(image.dataobj[..., start + rows.start : start + rows.stop]))
            if out is None:  # one array, filled in place: joining blocks would double it
                out = np.empty((stop - start, block.shape[1]), block.dtype)
            out[rows] = block
        return np.empty((0, 0)) if out is None else out


def is_there(path: Path) -> bool:
    """Return whether something has this name, be it a link that leads nowhere."""
    return path.exists() or path.is_symlink()


class NonFiniteError(UserError):
    """Responses of a session are NaN or infinite."""

    def __init__(self, message: str, session: int, voxels: tuple[int, ...]) -> None:
        super().__init__(message)
        self.session, self.voxels = session, voxels


def require_finite(betas: NDArray[Any], path: Path, session: int) -> None:
    """Raise if a response (n_trials, n_voxels) of one session is NaN or infinite.

    Responses are those that will be used: float64 beyond float32 is infinite only once cast.
    """
    if betas.dtype.kind != "f":
        return
    # the sum is finite for finite responses and needs no second array of their size
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(betas.sum(dtype=np.float64)):
            return
    trial, voxel = np.nonzero(~np.isfinite(betas))
    if len(trial):
        raise NonFiniteError(
            f"{path} holds {len(trial)} NaN or infinite responses (the first in trial "
            f"{trial[0] + 1} of session {session}, voxel {voxel[0] + 1} of those asked for; "
            "float32 ends at 3.4e38): correct the file, or leave out the session or the voxels.",
            session,
            tuple(int(column) for column in np.unique(voxel)),
        )
