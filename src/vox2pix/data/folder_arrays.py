"""Arrays of a person's own folder: npy, npz, HDF5 and zarr, opened lazily."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError
from vox2pix.untrusted.files import READ_ERRORS, damage_named
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.numpy_files import NpzFile, open_npy
from vox2pix.untrusted.zarr_folders import open_zarr


def only_one(places: Sequence[Path], what: str) -> Path | None:
    """Return the one of the places that exists, none if there is none."""
    found = [place for place in places if is_there(place)]
    if len(found) > 1:
        raise UserError(
            f"{found[0]} and {found[1].name} both hold {what}: keep one, so that it is clear "
            "which is meant."
        )
    return found[0] if found else None


@contextmanager
def open_array(path: Path, name: str = "responses") -> Iterator[Any]:
    """Open an array of any format lazily: it has shape, dtype and can be sliced."""
    if path.suffix in (".h5", ".hdf5"):
        with open_hdf5(path, name) as dataset:
            yield dataset
        return
    with damage_named(path, f"no file with an array {name!r}", "save it again", READ_ERRORS):
        if path.suffix == ".npy":
            yield open_npy(path)
        elif path.suffix == ".npz":
            yield _member(path, NpzFile(path), name)
        else:
            yield _zarr_array(path, name)


def _zarr_array(path: Path, name: str) -> Any:
    """Open a zarr array, or one of a zarr group, of which no chunk is missing."""
    opened = open_zarr(path, path.parent)
    array: Any = _member(path, opened, name) if isinstance(opened, Mapping) else opened
    if array.nchunks_initialized < array.nchunks:
        raise UserError(
            f"{path} holds {array.nchunks_initialized} of {array.nchunks} chunks, and those that "
            "are missing would be read as zeros: copy it again, or save it with "
            "write_empty_chunks where zeros are meant."
        )
    return array


def _member(path: Path, arrays: Mapping[str, Any], name: str) -> Any:
    """Return one of several arrays."""
    if name not in arrays:
        names = ", ".join(list(arrays)[:20]) or "nothing"
        raise UserError(f"{path} has no array {name!r} (it holds: {names}): save it again.")
    return arrays[name]
