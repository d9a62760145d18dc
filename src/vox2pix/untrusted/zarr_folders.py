"""Zarr, versions 2 and 3: arrays of numbers by a fixed list of codecs.

A zarr document names the codecs that unpack its chunks, and one of them (``pickle``) runs code.
The documents are therefore read and checked here first, and only then given to zarr.
"""

import os
import stat
from pathlib import Path
from typing import Any

from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.storage import LocalStore, WrapperStore

from vox2pix.buckets import is_remote, zarr_store
from vox2pix.errors import UserError
from vox2pix.untrusted.files import damage_named, require_inside
from vox2pix.untrusted.text import read_json
from vox2pix.untrusted.zarr_chunks import exceeds
from vox2pix.untrusted.zarr_metadata import ChunkRule, check_v2, check_v3

_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
_LARGEST_DOCUMENT = 16 * 2**20
_MOST_MEMBERS = 1000
_SLACK = 2**20  # bytes that a packed chunk may hold beyond its values


def is_zarr(path: Path) -> bool:
    """Return whether a folder holds a zarr array or group."""
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def open_zarr(path: Path, folder: Path | None = None) -> Any:
    """Open a zarr array, or the arrays of a zarr group by name.

    Consolidated metadata are not used: each array's own document is read and checked, and
    refused if it asks for a codec, a type or a layout that is not allowed. Links may not leave
    ``folder``, the data folder that it belongs to (by default itself).
    """
    if not path.is_dir():
        raise UserError(f"{path} is no zarr folder: copy the whole folder again.")
    if not is_remote(path):
        _require_plain(path, folder or path)
    with damage_named(path, "no zarr folder", "save it again"):
        rule = _check(path)
        if rule is not None:
            return _open(path, "", rule)
        members = {}
        for place in _members(path):
            inner = _check(place)
            if inner is not None:
                members[place.name] = _open(path, place.name, inner)
        return members


def _members(path: Path) -> list[Path]:
    """Return the folders of a group's members."""
    arrays = [p for p in sorted(path.iterdir(), key=lambda p: p.name) if is_zarr(p)]
    if len(arrays) > _MOST_MEMBERS:
        raise UserError(
            f"{path} holds {len(arrays)} arrays, and at most {_MOST_MEMBERS} are read: name the "
            "folder of one array."
        )
    return arrays


def _check(path: Path) -> tuple[int, ChunkRule] | None:
    """Check the document of an array and return its version; None for a group."""
    for name in ("zarr.json", ".zarray", ".zgroup"):
        place = path / name
        if not place.exists():
            continue
        document = read_json(place, _LARGEST_DOCUMENT)
        if not isinstance(document, dict):
            raise UserError(f"{place} holds no JSON object: save the array again.")
        version = 3 if name == "zarr.json" else 2
        if document.get("zarr_format") != version:
            raise UserError(f"{place} is not of zarr version {version}: save the array again.")
        for other in (".zattrs",):
            if version == 2 and (path / other).exists():
                read_json(path / other, _LARGEST_DOCUMENT)
        if name == ".zgroup" or document.get("node_type") == "group":
            return None
        try:
            return version, (check_v3 if version == 3 else check_v2)(document)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{place} is not read, as {error}: save plain numbers with zarr's default codecs."
            ) from error
    raise UserError(f"{path} is no zarr folder: copy the whole folder again.")


def _open(path: Path, name: str, checked: tuple[int, ChunkRule]) -> Any:
    """Open an array whose document was checked."""
    import zarr

    version, rule = checked
    inner = zarr_store(path) if is_remote(path) else LocalStore(path, read_only=True)
    store = _GuardedStore(inner, rule, str(path / name) if name else str(path))
    return zarr.open_array(store, path=name, mode="r", zarr_format=version)  # type: ignore[arg-type]


class _GuardedStore(WrapperStore[Any]):
    """A store that gives no chunk that unpacks to more than its document says."""

    def __init__(self, store: Any, rule: ChunkRule | None = None, place: str = "") -> None:
        super().__init__(store)
        self._rule, self._place = rule, place

    def _with_store(self, store: Any) -> "_GuardedStore":
        return type(self)(store, self._rule, self._place)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a chunk or a document."""
        value = await self._store.get(key, prototype, byte_range)
        is_chunk = key.rpartition("/")[2] not in _DOCUMENTS
        if value is not None and is_chunk and self._rule is not None:
            for data in self._parts(value.to_bytes(), byte_range, self._rule):
                if exceeds(data, self._rule.packer, 4 * self._rule.n_bytes + _SLACK):
                    raise UserError(
                        f"{self._place}: the chunk {key} unpacks to more than the "
                        f"{self._rule.n_bytes} bytes of its values: save the array again."
                    )
        return value

    def _parts(self, data: bytes, byte_range: Any, rule: ChunkRule) -> list[bytes]:
        """Return the packed chunks in what was read: one, or those of a whole shard."""
        if not rule.n_inner:
            return [data]
        if isinstance(byte_range, SuffixByteRequest):
            return []  # the index
        if isinstance(byte_range, RangeByteRequest):
            is_index = rule.index_first and byte_range.start == 0
            return [] if is_index and byte_range.end == rule.index_bytes else [data]
        index = data[: rule.index_bytes] if rule.index_first else data[-rule.index_bytes :]
        numbers = memoryview(index[: 16 * rule.n_inner])
        pairs = [
            (
                int.from_bytes(numbers[i : i + 8], "little"),
                int.from_bytes(numbers[i + 8 : i + 16], "little"),
            )
            for i in range(0, len(numbers), 16)
        ]
        return [data[start : start + size] for start, size in pairs if start < len(data)]


def _require_plain(path: Path, folder: Path) -> None:
    """Raise if a link below a zarr folder leads outside, or a file is a pipe or a device."""
    pending = [str(path)]
    links: list[Path] = []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.append(Path(entry.path))
                elif entry.is_dir():
                    pending.append(entry.path)
                elif not entry.is_file():
                    _refuse(Path(entry.path))
    require_inside(folder, links)
    for link in links:
        if link.exists() and not (link.is_file() or link.is_dir()):
            _refuse(link)


def _refuse(path: Path) -> None:
    mode = path.stat().st_mode
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "no plain file"
    raise UserError(f"{path} is {kind}: replace it by the file.")
