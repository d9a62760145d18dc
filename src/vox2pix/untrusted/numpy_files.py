"""npy and npz: numbers and short texts by their header; nothing is unpickled."""

import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.files import DEFLATE_RATIO, damage_named, require_file, require_memory

_LONGEST_HEADER = 10_000  # NumPy's own bound: a header is a literal of Python
_MOST_MEMBERS = 10_000
_SAVE = "save it again"


def open_npy(path: Path) -> NDArray[Any]:
    """Open an npy file as a read-only memory map; Python objects are refused.

    A file in a bucket is copied to this machine.
    """
    require_file(path)
    with damage_named(path, "no npy file", _SAVE):
        here = local_copy(path)
        with here.open("rb") as stream:
            read_npy_header(path, stream)
        return np.lib.format.open_memmap(here, mode="r", max_header_size=_LONGEST_HEADER)


class NpzFile(Mapping[str, "NpzArray"]):
    """The arrays of an npz file by name, each read when its values are asked for.

    Refused are files that are encrypted, or packed otherwise than NumPy does.
    """

    def __init__(self, path: Path) -> None:
        require_file(path)
        self.path = path
        with damage_named(path, "no npz file", _SAVE):
            self._here = local_copy(path)
            with ZipFile(self._here) as archive:
                self._members = {_array_name(path, m): m for m in _members(path, archive)}

    def __getitem__(self, name: str) -> "NpzArray":
        if name not in self._members:
            raise KeyError(name)
        return NpzArray(self.path, self._here, self._members[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class NpzArray:
    """One array of an npz file: shape and type from its header, the whole when it is sliced."""

    def __init__(self, path: Path, here: Path, member: ZipInfo) -> None:
        self._path, self._here, self._member = path, here, member
        with self._damage_named(), ZipFile(here) as archive, archive.open(member) as stream:
            self.shape, self.dtype = read_npy_header(path, stream)
        if prod(self.shape) * self.dtype.itemsize > member.file_size:
            raise UserError(
                f"{path} is damaged: {member.file_size} bytes cannot hold {member.filename} of "
                f"shape {self.shape}: save it again."
            )

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        return np.asarray(self._whole[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._whole if dtype is None else self._whole.astype(dtype)

    @cached_property
    def _whole(self) -> NDArray[Any]:
        """All of it, held as long as this object."""
        remedy = "save the array as npy, which is read in parts"
        require_memory(self._path, self._member.file_size, remedy)
        with (
            self._damage_named(),
            ZipFile(self._here) as archive,
            archive.open(self._member) as stream,
        ):
            array = np.lib.format.read_array(
                stream, allow_pickle=False, max_header_size=_LONGEST_HEADER
            )
            stream.read(1)  # at the end of the member its checksum is compared
            return np.asarray(array)

    def _damage_named(self) -> Any:
        return damage_named(self._path, f"no npz file with a sound {self._member.filename}", _SAVE)


def _members(path: Path, archive: ZipFile) -> list[ZipInfo]:
    """Return the members of an archive after checking how they are packed."""
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise UserError(f"{path} holds {len(members)} files: save at most {_MOST_MEMBERS} arrays.")
    for member in members:
        if member.flag_bits & 1:
            raise UserError(f"{path} is encrypted: save it again without a password.")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise UserError(
                f"{path}: {member.filename!r} is packed by zip method {member.compress_type}, and "
                "npz files are stored or deflated: save it again by numpy.savez."
            )
        if member.file_size > DEFLATE_RATIO * member.compress_size + 64:
            raise UserError(
                f"{path} is damaged: {member.compress_size} bytes cannot unpack to the "
                f"{member.file_size} of {member.filename!r}: save it again."
            )
    return members


def _array_name(path: Path, member: ZipInfo) -> str:
    """Return the name of an array: that of its file, which must be in no folder."""
    name = member.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise UserError(f"{path} holds {name!r}, which is no name of an array: save it again.")
    return name.removesuffix(".npy")


def read_npy_header(
    path: Path, stream: IO[bytes], objects: bool = False
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type by the header of an npy file, which must be short.

    Python objects, which follow as a pickle, are refused unless ``objects`` says otherwise.
    """
    version = np.lib.format.read_magic(stream)
    width, form = (2, "<H") if version == (1, 0) else (4, "<I")
    packed = stream.read(width)
    (length,) = struct.unpack(form, packed)
    if length > _LONGEST_HEADER:
        raise UserError(f"{path} is damaged: its header has {length} bytes: save it again.")
    header = BytesIO(packed + stream.read(length))
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(header, _LONGEST_HEADER)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(header, _LONGEST_HEADER)
    if dtype.hasobject and not objects:
        raise UserError(
            f"{path} holds Python objects, which are programs and are not read: save numbers, "
            "such as array.astype('float32'), or texts, array.astype('U')."
        )
    if dtype.names is not None or dtype.subdtype is not None:
        raise UserError(f"{path} holds records ({dtype}), not numbers: save a plain array.")
    if any(n < 0 for n in shape):
        raise UserError(f"{path} is damaged: its shape is {shape}: save it again.")
    return shape, dtype
