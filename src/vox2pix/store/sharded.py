"""Arrays that are written piece by piece."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vox2pix.errors import UserError
from vox2pix.store.files import checksum, file_hash, write_text, writing


class ShardedArray:
    """An array of a known shape, written shard by shard along its first axis (zarr).

    Opened if it is there and fits, made anew otherwise. ``shard_size`` is the number of rows in a
    shard, the unit of writing and of resuming, where the array is new.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, ...], dtype: DTypeLike, shard_size: int
    ) -> None:
        import zarr

        self.folder, self.shape = folder, shape
        self.damaged: list[int] = []
        self.repaired = False
        described, checksum_file = folder / "values" / "zarr.json", folder / "done" / "array"
        if described.exists() and not _is_as_written(described, checksum_file):
            described.unlink()  # shards that are sound under the right description stay
            self.repaired = checksum_file.exists()  # else the process was killed before it wrote it
        with writing(folder):
            self._array = zarr.open_array(
                folder / "values",
                mode="a",
                shape=shape,
                dtype=np.dtype(dtype),
                chunks=(min(shard_size, shape[0]), *shape[1:]),
            )
        if not checksum_file.exists() or not _is_as_written(described, checksum_file):
            write_text(checksum_file, file_hash(described))
        # What is there already was written in shards of its own size: that is the one to keep.
        self.shard_size = self._array.chunks[0]
        self.n_shards = -(-shape[0] // self.shard_size)

    @classmethod
    def existing(cls, folder: Path) -> Self | None:
        """Open an array that is there; None if there is none."""
        from vox2pix.untrusted.zarr_folders import open_zarr

        described = folder / "values" / "zarr.json"
        if not described.exists():
            return None
        if not _is_as_written(described, folder / "done" / "array"):
            raise UserError(f"{described} is damaged; rerun to repair it.")
        array = open_zarr(folder / "values")
        return cls(folder, array.shape, array.dtype, array.chunks[0])

    def rows(self, shard: int) -> slice:
        """Return the rows of a shard."""
        return slice(shard * self.shard_size, min((shard + 1) * self.shard_size, self.shape[0]))

    def pending(self, among: Iterable[int] | None = None) -> list[int]:
        """List the shards, of all or `among` some, that are not there or not as written."""
        shards = range(self.n_shards) if among is None else among
        pending = [shard for shard in shards if self._as_marked(shard) is None]
        self.damaged = [shard for shard in pending if self._mark(shard).exists()]
        return pending

    def checksums(self) -> list[str]:
        """Return the checksum of every shard from its mark; no values are read."""
        try:
            return [self._mark(shard).read_text() for shard in range(self.n_shards)]
        except FileNotFoundError:
            raise self._lacking(self.pending()[0]) from None

    def write(self, shard: int, values: NDArray[Any]) -> None:
        """Write a shard, then its mark."""
        rows = self.rows(shard)
        expected = (rows.stop - rows.start, *self.shape[1:])
        if values.shape != expected:
            raise ValueError(f"Shard {shard} has shape {expected}, not {values.shape}.")
        values = values.astype(self._array.dtype, copy=False)
        with writing(self.folder):
            self._mark(shard).unlink(missing_ok=True)
            self._array[rows] = values
        write_text(self._mark(shard), checksum(values))

    def read(self, shard: int | None = None) -> NDArray[Any]:
        """Return a shard, or the whole array."""
        if shard is not None:
            return self._read(shard)
        values = np.empty(self.shape, self._array.dtype)
        for each in range(self.n_shards):
            values[self.rows(each)] = self._read(each)
        return values

    def take(self, rows: Sequence[int]) -> NDArray[Any]:
        """Return some rows, reading only the shards that they are in."""
        shards = {row // self.shard_size for row in rows}
        read = {shard: self.read(shard) for shard in sorted(shards)}
        return np.stack([read[row // self.shard_size][row % self.shard_size] for row in rows])

    def _read(self, shard: int) -> NDArray[Any]:
        """Read a shard once, and refuse it if it is not what was written."""
        values = self._as_marked(shard)
        if values is None:
            raise self._lacking(shard)
        return values

    def _lacking(self, shard: int) -> UserError:
        return UserError(
            f"Shard {shard} of {self.folder} is missing or damaged; rerun to compute it again."
        )

    def _mark(self, shard: int) -> Path:
        return self.folder / "done" / f"{shard:05d}"

    def _as_marked(self, shard: int) -> NDArray[Any] | None:
        """Return a shard; None if it does not hold what its mark says."""
        mark = self._mark(shard)
        if not mark.exists():
            return None
        try:
            values = np.asarray(self._array[self.rows(shard)])
            return values if checksum(values) == mark.read_text() else None
        except (OSError, ValueError, RuntimeError):
            return None


def _is_as_written(described: Path, checksum_file: Path) -> bool:
    """Return whether an array's description is the one that was written."""
    return checksum_file.exists() and checksum_file.read_bytes() == file_hash(described).encode()


def damaged_arrays(folder: Path) -> list[Path]:
    """List the sharded arrays below a folder of which a shard is not as its mark says."""
    damaged = []
    for place in sorted(path.parent for path in folder.rglob("done")):
        try:
            array = ShardedArray.existing(place)
        except UserError:
            array = None
        if array is not None:
            array.pending()
        if array is None or array.damaged:
            damaged.append(place)
    return damaged
