"""HDF5: one array of numbers, stored in the file itself, packed by HDF5's own filters.

HDF5 can name other files (external storage, external links, virtual data sets) and load shared
libraries (filter plug-ins). All of that is refused before a byte of the array is read.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5p, h5pl, h5s, h5z
from numpy.typing import NDArray

from vox2pix.buckets import is_remote, open_binary
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_message
from vox2pix.untrusted.files import DEFLATE_RATIO, READ_ERRORS, require_file, require_memory

FILTERS = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    h5z.FILTER_SZIP: "szip",
    h5z.FILTER_NBIT: "nbit",
    h5z.FILTER_SCALEOFFSET: "scaleoffset",
    h5z.FILTER_LZF: "lzf",
}
"""HDF5's own filters and h5py's, by number."""

# HDF5 unpacks a chunk as a whole, however few of its values are asked for.
_LARGEST_CHUNK = 2**30
_LARGEST_VALUE = 64  # bytes of one value: no number and no id is longer
_MOST_TEXTS, _LONGEST_TEXT = 1_000_000, 100_000
_LISTED = 20  # members that a message lists
_ONE_AT_A_TIME = threading.Lock()
Taken = TypeVar("Taken")


@contextmanager
def open_hdf5(path: Path, dataset: str) -> Iterator[h5py.Dataset]:
    """Open one array of an HDF5 file; ``/`` in its name separates groups.

    Refused are arrays that are stored in other files, reached by a link, packed by a filter that is
    not HDF5's own, or hold what is neither number nor short text.
    """
    with _opened(path, lambda file: _checked(path, file, dataset)) as array:
        yield array


def read_whole(path: Path, dataset: str) -> NDArray[Any]:
    """Read an array as a whole, such as a table of labels.

    Refused is what :func:`open_hdf5` refuses, and what :func:`require_stored` does.
    """
    with open_hdf5(path, dataset) as array:
        require_stored(path, array)
        return np.asarray(array)


def require_stored(path: Path, array: h5py.Dataset) -> None:
    """Raise if an array is larger than what is stored of it can unpack to, or than free memory.

    HDF5 stores nothing of values that were never written, so that a small file can ask for any
    amount of memory.
    """
    if array.nbytes > DEFLATE_RATIO * array.id.get_storage_size():
        raise UserError(
            f"{path}: {array.name.strip('/')!r} has shape {array.shape}, and few or none of its "
            "values were written: replace the file."
        )
    require_memory(path, array.nbytes, "use a machine with more memory")


def read_texts(path: Path, dataset: str) -> list[str]:
    """Read a text, or a list of texts of any length, from an HDF5 file; bytes are UTF-8.

    Refused is what :func:`open_hdf5` refuses, numbers, references to other parts of the file, and
    more or longer texts than tables have.
    """

    def texts(file: h5py.File) -> list[Any]:
        array = _find(path, file, dataset)
        _require_own_bytes(path, dataset, array.get_create_plist())
        _require_small_chunks(path, dataset, array)
        values = h5py.Dataset(array)
        if h5py.check_string_dtype(values.dtype) is None or values.size is None:
            raise UserError(f"{path}: {dataset!r} holds {values.dtype}, not texts: replace it.")
        if values.size > _MOST_TEXTS:
            raise UserError(f"{path}: {dataset!r} holds {values.size} texts: replace the file.")
        require_stored(path, values)
        read = np.asarray(values[()], object).ravel().tolist()
        if any(len(text) > _LONGEST_TEXT for text in read):
            raise UserError(f"{path}: a text of {dataset!r} is too long: replace the file.")
        return read

    with _opened(path, texts) as read:
        return [text.decode() if isinstance(text, bytes) else str(text) for text in read]


def names_in(path: Path, group: str = "/") -> tuple[str, ...]:
    """Return what a group of an HDF5 file holds, sorted; nothing if there is no such group."""

    def names(file: h5py.File) -> tuple[str, ...]:
        here = _follow(path, file, group)
        if not isinstance(here, h5g.GroupID):
            return ()
        if here.get_num_objs() > _MOST_TEXTS:
            raise UserError(f"{path}: {group!r} holds too many parts: replace the file.")
        return tuple(sorted(name.decode(errors="replace") for name in here))

    with _opened(path, names) as found:
        return found


@contextmanager
def _opened(path: Path, take: Callable[[h5py.File], Taken]) -> Iterator[Taken]:
    """Open a file and yield what is taken from it; a file of which that fails is closed."""
    require_file(path)
    try:
        # HDF5's own driver is faster than Python's files, where it can be had
        source = open_binary(path) if is_remote(path) else nullcontext(path)
        with source as opened:
            with _without_plugins():
                file = h5py.File(opened, "r")
                try:
                    taken = take(file)
                except BaseException:
                    file.close()
                    raise
            with file:
                yield taken
    except READ_ERRORS as error:
        message = damage_message(path, "no HDF5 file", error, "copy or download it again")
        raise UserError(message) from error


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Let HDF5 look for no plug-in: names in a group can be packed by a filter, too."""
    with _ONE_AT_A_TIME:
        places = [h5pl.get(i) for i in range(h5pl.size())]
        for _ in places:
            h5pl.remove(0)
        try:
            yield
        finally:
            for place in places:
                h5pl.append(place)


def _checked(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return an array after checking it."""
    array = _find(path, file, name)
    # before its shape is asked for, which may open the files of a virtual data set
    _require_own_bytes(path, name, array.get_create_plist())
    _require_values(path, name, array)
    return h5py.Dataset(array)


def _find(path: Path, file: h5py.File, name: str) -> h5d.DatasetID:
    """Return an array by its name, which no link may lead to."""
    here = _follow(path, file, name)
    if not isinstance(here, h5d.DatasetID):
        names = ", ".join(sorted(file)[:_LISTED]) or "nothing"
        raise UserError(f"{path} has no array {name!r} (it holds: {names}): replace the file.")
    return here


def _follow(path: Path, file: h5py.File, name: str) -> Any:
    """Return an array or a group by its name, None if there is none; links are refused."""
    here: Any = h5g.open(file.id, b"/")
    for part in filter(None, name.strip("/").split("/")):
        encoded = part.encode()
        if not isinstance(here, h5g.GroupID) or not here.links.exists(encoded):
            return None
        kind = here.links.get_info(encoded).type
        if kind != h5l.TYPE_HARD:
            how = {h5l.TYPE_SOFT: "a link", h5l.TYPE_EXTERNAL: "a link to another file"}
            raise UserError(
                f"{path}: {name!r} is {how.get(kind, 'a link of an unknown kind')}, which is not "
                f"followed: save the array itself as {name!r}."
            )
        here = h5o.open(here, encoded)
    return here


def _require_own_bytes(path: Path, name: str, stored: h5p.PropDCID) -> None:
    """Raise if an array is stored in other files, or packed by what HDF5 does not bring."""
    other = None
    if stored.get_external_count():
        other = f"in another file, {stored.get_external(0)[0].decode(errors='replace')!r}"
    elif stored.get_layout() == h5d.VIRTUAL:
        other = "in other data sets (it is virtual)"
    if other:
        raise UserError(
            f"{path}: the values of {name!r} are {other}, which is not read: save the array "
            "itself in the file."
        )
    numbers = []
    for i in range(stored.get_nfilters()):
        number, _, _, label = stored.get_filter(i)
        numbers.append(number)
        if number not in FILTERS or numbers.count(number) > 1:
            words = "twice " if number in FILTERS else ""
            raise UserError(
                f"{path}: {name!r} is packed {words}by HDF5 filter {number} "
                f"({label.decode(errors='replace') or 'without a name'}), and vox2pix reads "
                f"{', '.join(FILTERS.values())}, each once: save the array again, "
                "compression='gzip'."
            )


def _require_values(path: Path, name: str, array: h5d.DatasetID) -> None:
    """Raise if the values are no numbers or short texts, or a chunk of them is too large."""
    if array.get_space().get_simple_extent_type() == h5s.NULL:
        raise UserError(f"{path} has no array {name!r} with values: replace the file.")
    dtype = array.dtype
    plain = dtype.kind in "biufc" or dtype.kind in "SU"
    if not plain or dtype.itemsize > _LARGEST_VALUE:
        raise UserError(f"{path} holds values of type {dtype}, not numbers: replace the file.")
    _require_small_chunks(path, name, array)


def _require_small_chunks(path: Path, name: str, array: h5d.DatasetID) -> None:
    """Raise if a chunk of an array is too large to be unpacked as a whole."""
    stored = array.get_create_plist()
    if stored.get_layout() != h5d.CHUNKED:
        return
    chunk = prod(stored.get_chunk()) * array.dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise UserError(
            f"{path}: {name!r} has chunks of {chunk / 1e9:,.1f} GB, and each is unpacked as a "
            f"whole: save the array with chunks below {_LARGEST_CHUNK / 1e9:.1f} GB."
        )
