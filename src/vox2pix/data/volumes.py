"""Single-trial responses from HDF5, NIfTI and MGH files, only the voxels asked for."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from vox2pix.buckets import is_remote, local_copy, open_binary
from vox2pix.data.damage import damage_sentence
from vox2pix.errors import UserError

# Bytes of one read: large enough to be fast, small beside one session's volume.
_BLOCK_BYTES = 64 * 2**20
# Unwanted voxels along x that one read may span rather than start another.
_MAX_GAP = 4
# Deflate packs no tighter: a header that promises more is damaged, whatever else it says.
_TIGHTEST = 1032


def hdf5_shape(path: Path, dataset: str) -> tuple[int, ...]:
    """Return the shape of an array of numbers in an HDF5 file without reading it.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        Name of the array in it.

    Raises
    ------
    UserError
        If the file is missing or truncated, or has no such array, or one of something else.
    """
    with open_hdf5(path, dataset) as array:
        _require_numbers(path, array.dtype)
        return tuple(array.shape)


@contextmanager
def open_hdf5(path: Path, dataset: str) -> Iterator[h5py.Dataset]:
    """Open one array of an HDF5 file.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str
        Name of the array in it.

    Raises
    ------
    UserError
        If the file is missing or truncated, or has no such array.
    """
    _require_file(path)
    try:
        # HDF5's own driver is faster than Python's files, where it can be had
        source = open_binary(path) if is_remote(path) else nullcontext(path)
        with source as opened, h5py.File(opened, "r") as file:
            array = file.get(dataset)
            if not isinstance(array, h5py.Dataset) or array.shape is None:
                raise UserError(
                    f"{path} has no array {dataset!r} (it holds: {', '.join(file) or 'nothing'}): "
                    "replace the file."
                )
            yield array
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError, OverflowError) as error:
        raise UserError(
            damage_sentence(path, "no HDF5 file", error, "copy or download it again")
        ) from error


def read_hdf5(
    path: Path,
    voxels: NDArray[np.integer],
    dataset: str = "betas",
    trials: slice | None = None,
) -> NDArray[Any]:
    """Read trials of some voxels from an HDF5 array.

    Only chunks that hold a voxel asked for are read, whichever way the file is chunked; NSD
    keeps all trials of one voxel together.

    Parameters
    ----------
    path : Path
        File with an array (n_trials, Z, Y, X).
    voxels : ndarray of int, shape (n_voxels, 3)
        Indices x, y, z.
    dataset : str
        Name of the array.
    trials : slice, optional
        Consecutive trials; all by default.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels)
        In the file's own type.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    with open_hdf5(path, dataset) as array:
        first, stop, _ = (trials or slice(None)).indices(array.shape[0])
        out = np.empty((stop - first, len(voxels)), array.dtype)
        chunks = array.chunks or (1, *array.shape[1:])
        zyx = np.asarray(voxels)[:, ::-1]
        for members in _boxes(zyx, chunks[1:]):
            inside = zyx[members]
            low, high = inside.min(axis=0), inside.max(axis=0) + 1
            (z0, y0, x0), (z1, y1, x1) = low.tolist(), high.tolist()
            z, y, x = (inside - low).T
            bytes_a_trial = int(np.prod(high - low)) * array.dtype.itemsize
            for rows in _trial_blocks(stop - first, bytes_a_trial, chunks[0]):
                block = array[first + rows.start : first + rows.stop, z0:z1, y0:y1, x0:x1]
                out[rows, members] = block[:, z, y, x]
        return out


def _boxes(zyx: NDArray[np.integer], chunk: tuple[int, ...]) -> Iterator[NDArray[np.intp]]:
    """Group voxels into boxes that are read at once: one row of chunks, without large gaps."""
    if not len(zyx):
        return
    tile = zyx // np.asarray(chunk)
    order = np.lexsort((zyx[:, 2], tile[:, 1], tile[:, 0]))
    rows, along = tile[order][:, :2], tile[order][:, 2] * chunk[2]
    new = np.any(np.diff(rows, axis=0) != 0, axis=1)
    new |= np.diff(along) > max(chunk[2], 1) + _MAX_GAP
    yield from np.split(order, np.flatnonzero(new) + 1)


def _trial_blocks(n_trials: int, bytes_a_trial: int, multiple: int = 1) -> Iterator[slice]:
    """Cut trials into blocks of bounded size, whole chunks each."""
    step = max(_BLOCK_BYTES // max(bytes_a_trial, 1), 1)
    step = max(step - step % multiple, multiple)
    for start in range(0, n_trials, step):
        yield slice(start, min(start + step, n_trials))


def image_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a NIfTI or MGH image from its header.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, ``.mgh`` or ``.mgz``.

    Raises
    ------
    UserError
        If the file is missing or damaged, or too short for its shape.
    """
    header = _header(path) if is_remote(path) else _load(path).header
    return tuple(int(n) for n in header.get_data_shape())


@dataclass(frozen=True, eq=False)
class Place:
    """Where an image lies.

    Attributes
    ----------
    affine : ndarray or None
        (4, 4), voxel indices to millimetres; None where the header has none.
    two_affines : bool
        Whether qform and sform claim the same space and differ; the sform is used.
    """

    affine: NDArray[np.float64] | None
    two_affines: bool = False


@dataclass(frozen=True, eq=False)
class Image:
    """A whole image: labels, a mask, a map.

    Attributes
    ----------
    path : Path
        The file.
    values : ndarray
        In the file's own type, scaled if its header says so.
    place : Place
        Where it lies.
    slope : float
        Step between neighbouring values of an integer type with a scale; 0 for other types.
    """

    path: Path
    values: NDArray[Any]
    place: Place
    slope: float


def image_place(path: Path) -> Place:
    """Return where an image lies, from its header.

    Parameters
    ----------
    path : Path
        The image.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its affine is no transformation.
    """
    header = _header(path) if is_remote(path) else _load(path).header
    return _place(path, header)


def load_image(path: Path) -> Image:
    """Read a whole NIfTI or MGH image.

    Parameters
    ----------
    path : Path
        The image.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its affine is no transformation.
    """
    with _reading(path) as image:
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


def read_image(path: Path) -> NDArray[Any]:
    """Read a whole NIfTI or MGH image: labels, a mask, a map.

    Parameters
    ----------
    path : Path
        The image.

    Returns
    -------
    ndarray
        In the file's own type, scaled if its header says so.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    with _reading(path) as image:
        return np.asarray(image.dataobj)


def read_nifti(
    path: Path, voxels: NDArray[np.integer], trials: slice | None = None
) -> NDArray[Any]:
    """Read trials of some voxels from a NIfTI image (X, Y, Z, n_trials).

    The file is read once, front to back, some trials at a time.

    Parameters
    ----------
    path : Path
        The image.
    voxels : ndarray of int, shape (n_voxels, 3)
        Indices x, y, z.
    trials : slice, optional
        Consecutive trials; all by default.

    Returns
    -------
    ndarray, shape (n_trials, n_voxels)
        In the file's own type, scaled if its header says so.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    x, y, z = np.asarray(voxels).T
    return _read_trials(path, lambda block: block[x, y, z].T, trials)


def read_mgh(
    path: Path, vertices: NDArray[np.integer], trials: slice | None = None
) -> NDArray[Any]:
    """Read trials of some vertices from an MGH file (n_vertices, 1, 1, n_trials).

    Parameters
    ----------
    path : Path
        The file.
    vertices : ndarray of int, shape (n_vertices_wanted,)
        Indices of vertices.
    trials : slice, optional
        Consecutive trials; all by default.

    Returns
    -------
    ndarray, shape (n_trials, n_vertices_wanted)
        In the file's own type.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    return _read_trials(path, lambda block: block[vertices, 0, 0].T, trials)


def _read_trials(
    path: Path, pick: Callable[[NDArray[Any]], NDArray[Any]], trials: slice | None = None
) -> NDArray[Any]:
    """Read an image some trials at a time and keep what ``pick`` takes of each block."""
    with _reading(path) as image:
        start, stop, _ = (trials or slice(None)).indices(image.shape[3])
        bytes_a_trial = int(np.prod(image.shape[:3])) * image.get_data_dtype().itemsize
        blocks = [
            pick(np.asarray(image.dataobj[..., start + block.start : start + block.stop]))
            for block in _trial_blocks(stop - start, bytes_a_trial)
        ]
        return np.concatenate(blocks)


def _load(path: Path) -> Any:
    """Open an image lazily; its file stays open so that blocks are read in one pass."""
    _require_file(path)
    with _damage_named(path):
        image: Any = nib.load(local_copy(path), keep_file_open=True)
        _require_whole(path, image.header, image.dataobj.offset)
        return image


def _header(path: Path) -> Any:
    """Read the header of a remote image, and nothing else of it."""
    _require_file(path)
    kind = MGHHeader if path.suffix in (".mgh", ".mgz") else nib.Nifti1Header
    with _damage_named(path), open_binary(path) as stream:
        header = kind.from_fileobj(gzip.GzipFile(fileobj=stream) if _is_packed(path) else stream)
    _require_whole(path, header, int(header.get_data_offset()))
    return header


def _require_numbers(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise if an array holds text, records, colours or complex numbers."""
    if dtype.kind not in "iuf":
        raise UserError(f"{path} holds values of type {dtype}, not numbers: replace the file.")


def _require_whole(path: Path, header: Any, offset: int) -> None:
    """Raise if a file holds no numbers or is too short for what its header promises."""
    _require_numbers(path, header.get_data_dtype())
    needed = offset + _data_bytes(header)
    if needed > path.stat().st_size * (_TIGHTEST if _is_packed(path) else 1):
        packed = "packed " if _is_packed(path) else ""
        raise UserError(
            f"{path} is truncated ({path.stat().st_size} {packed}of {needed} bytes): copy or "
            "download it again."
        )


def _data_bytes(header: Any) -> int:
    shape = header.get_data_shape()
    return prod(int(n) for n in shape) * int(header.get_data_dtype().itemsize)


def _is_packed(path: Path) -> bool:
    return path.suffix in (".gz", ".mgz")


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Open an image; the checksum of a packed one is looked at where it was read to its end."""
    with _damage_named(path):
        image = _load(path)
        if not _is_packed(path):
            yield image
            return
        with gzip.open(local_copy(path)) as stream:
            image = type(image).from_file_map(type(image).make_file_map({"image": stream}))
            yield image
            end = image.dataobj.offset + _data_bytes(image.header)
            while stream.tell() >= end and stream.read(2**20):
                pass


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, for a sentence; its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def is_there(path: Path) -> bool:
    """Tell whether something has this name, be it a link that leads nowhere."""
    return path.exists() or path.is_symlink()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged image raises into one sentence."""
    try:
        yield
    except _IMAGE_DAMAGE as error:
        raise UserError(
            damage_sentence(path, "no image", error, "copy or download it again")
        ) from error


_IMAGE_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    MGHError,
)


def _require_file(path: Path) -> None:
    """Raise if there is no such file."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: add the file or ask for less.")


class NonFiniteError(UserError):
    """Responses of a session are NaN or infinite.

    Attributes
    ----------
    session : int
        Which.
    voxels : tuple of int
        Columns that hold such values.
    """

    def __init__(self, sentence: str, session: int, voxels: tuple[int, ...]) -> None:
        super().__init__(sentence)
        self.session, self.voxels = session, voxels


def require_finite(betas: NDArray[Any], path: Path, session: int) -> None:
    """Raise if a response is NaN or infinite.

    Parameters
    ----------
    betas : ndarray, shape (n_trials, n_voxels)
        One session, as it will be used: float64 beyond float32 is infinite only once cast.
    path : Path
        Where it was read, for the sentence.
    session : int
        Which session it is.

    Raises
    ------
    UserError
        Naming the file, the number of bad responses, and trial and voxel of the first.
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
            "float32 ends at 3.4e38): mend the file, or leave out the session or the voxels.",
            session,
            tuple(int(column) for column in np.unique(voxel)),
        )
