"""Copies on this machine of what was read from a bucket: whole files, or blocks of large ones.

A copy is named by URL, size and ETag of its original, appears whole, and may be removed any time.
"""

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase, UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO

from vox2pix.buckets.paths import bucket_errors, is_remote, size_and_version
from vox2pix.errors import UserError

# NSD's betas keep all trials of one voxel in a chunk of 1.5 kB, and a row of 81 voxels along x in
# 121 kB: a block holds two rows, and an early visual region fills most of those it touches. One
# of NSD's images has 542 kB: two to four blocks, which one request fetches together.
BLOCK_BYTES = 256 * 1024
# Blocks fetched by one request: of those asked for, and ahead where reading is sequential.
_MOST_AT_ONCE, _MOST_AHEAD = 32, 4
_BLOCKS_IN_MEMORY = 64


def cache_folder() -> Path:
    """Return the folder of copies: ``VOX2PIX_CACHE``, or ``vox2pix`` in the user's cache folder."""
    folder = os.environ.get("VOX2PIX_CACHE")
    if folder:
        return Path(folder).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "vox2pix"


def local_copy(path: Path) -> Path:
    """Return a file on this machine with the content of a path: itself, where it is local."""
    if not is_remote(path):
        return path
    size, version = size_and_version(path)
    copy = _copy_folder(path, size, version, "files") / path.name
    if copy.is_file() and copy.stat().st_size == size:
        return copy
    with _write_whole(copy) as partial, partial.open("wb") as file:
        step = _MOST_AT_ONCE * BLOCK_BYTES
        for start in range(0, size, step):
            file.write(_fetch(path, start, min(start + step, size)))
    return copy


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading at any place; of a remote one only the blocks read are fetched."""
    if not is_remote(path):
        return path.open("rb")
    return BufferedReader(BlockFile(path), buffer_size=1)


def zarr_store(folder: Path) -> Any:
    """Return what zarr opens: the folder itself, or a store over its bucket."""
    if not is_remote(folder):
        return folder
    from zarr.storage import FsspecStore

    options = folder.storage_options  # type: ignore[attr-defined]
    return FsspecStore.from_url(str(folder), storage_options={**options, "asynchronous": True})


class BlockFile(RawIOBase):
    """A remote file, read in blocks which are cached on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._at, self._ahead = path, 0, 1
        self._size, version = size_and_version(path)
        self._folder = _copy_folder(path, self._size, version, "blocks")
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetched = -1  # the last block that a request brought

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move to a position and return it."""
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._size}.get(whence)
        if start is None or start + offset < 0:
            raise UnsupportedOperation(f"seek to {offset} from {whence}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read as much as the buffer holds, or the rest of the file."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        stop = min(self._at + len(view), self._size)
        if stop <= self._at:
            return 0
        first, last = self._at // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        done = 0
        for number in range(first, last + 1):
            block = self._block(number, last)
            begin = self._at - number * BLOCK_BYTES
            piece = block[begin : begin + stop - self._at]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _block(self, number: int, last: int) -> bytes:
        """Return a block from memory, disk or the bucket; ``last`` is read with it."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        block = self._from_disk(number)
        if block is None:
            block = self._fetch_run(number, last)
        self._hold(number, block)
        return block

    def _from_disk(self, number: int) -> bytes | None:
        """Return a block from the disk, if it is there and whole."""
        try:
            block = (self._folder / f"{number:07d}").read_bytes()
        except FileNotFoundError:
            return None
        whole = min(BLOCK_BYTES, self._size - number * BLOCK_BYTES)
        return block if len(block) == whole else None

    def _fetch_run(self, first: int, last: int) -> bytes:
        """Fetch a block, those read with it, and some ahead where reading is sequential."""
        in_order = first == self._fetched + 1
        self._ahead = min(2 * self._ahead, _MOST_AHEAD) if in_order else 1
        end = min(max(last + 1, first + self._ahead), first + _MOST_AT_ONCE, self._n_blocks)
        stop = first + 1
        while stop < end and not (self._folder / f"{stop:07d}").exists():
            stop += 1
        data = _fetch(self._path, first * BLOCK_BYTES, min(stop * BLOCK_BYTES, self._size))
        for number in range(first, stop):
            start = (number - first) * BLOCK_BYTES
            block = data[start : start + BLOCK_BYTES]
            with _write_whole(self._folder / f"{number:07d}") as partial:
                partial.write_bytes(block)
            self._hold(number, block)
        self._fetched = stop - 1
        return self._blocks[first]

    def _hold(self, number: int, block: bytes) -> None:
        """Keep a block in memory, and no more than a few."""
        self._blocks[number] = block
        while len(self._blocks) > _BLOCKS_IN_MEMORY:
            self._blocks.popitem(last=False)

    @property
    def _n_blocks(self) -> int:
        return -(-self._size // BLOCK_BYTES)


def _copy_folder(path: Path, size: int, version: str, kind: str) -> Path:
    """Return the folder of a file's copies."""
    name = hashlib.blake2b(f"{path}|{size}|{version}".encode(), digest_size=16).hexdigest()
    return cache_folder() / kind / name[:2] / name


def _fetch(path: Path, start: int, stop: int) -> bytes:
    """Return bytes of a remote file, all of them."""
    try:
        with bucket_errors(path):
            data: bytes = path.fs.cat_file(path.path, start=start, end=stop)  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise UserError(f"{path} was removed while it was read.") from None
    if len(data) != stop - start:
        raise UserError(
            f"{path} gave {len(data)} of {stop - start} bytes: it changed while it was read; rerun."
        )
    return data


@contextmanager
def _write_whole(copy: Path) -> Iterator[Path]:
    """Yield a hidden name in the same folder; on success the file takes its place, whole."""
    partial = None
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=copy.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.replace(copy)
    except OSError as error:
        raise UserError(
            f"{copy.parent} cannot hold copies of what is read from buckets ({error.strerror}): "
            "make room, or name another folder by VOX2PIX_CACHE."
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
