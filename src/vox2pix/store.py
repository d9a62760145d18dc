"""The run folder: arrays, tables and marks that survive a kill at any moment.

Whatever appears under its own name is complete: files are written beside their place and renamed
into it, and a shard of an array counts only once its mark, with the checksum of its values, is
there. Readers check what they read.
"""

import csv
import errno
import fcntl
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import Any, Self
from uuid import uuid4

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vox2pix.buckets import as_path, is_remote, is_url, local_copy, uploaded, zarr_store
from vox2pix.errors import UserError

# --- files -------------------------------------------------------------------------------------

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, or one that may not be written to, into one sentence.

    Parameters
    ----------
    path : Path
        What is being written, for the sentence.

    Raises
    ------
    UserError
        Naming what could not be written, why, and the remedy.
    """
    try:
        yield
    except Exception as error:  # libraries wrap the system's error in ones of their own
        number = _disk_fault(error)
        if number is None:
            raise
        remedy = "free space" if number in _FULL else "make its folder writable"
        raise UserError(
            f"{path} could not be written ({os.strerror(number)}); {remedy} and run again: what "
            "is finished is kept."
        ) from error


def _disk_fault(error: BaseException) -> int | None:
    """Return the number of the disk's fault that an error tells of, if it does."""
    faults = (*_FULL, *_CLOSED)
    if isinstance(error, OSError) and error.errno in faults:
        return error.errno
    if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
        # HDF5 and safetensors write the system's sentence into theirs
        return next((n for n in faults if os.strerror(n) in str(error)), None)
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to; on success the file takes its place at ``path``.

    Parameters
    ----------
    path : Path
        Where the file shall appear; its folder is made.

    Yields
    ------
    Path
        A hidden name in the same folder, with the same suffix; elsewhere on this machine, if the
        file shall appear in a bucket.

    Raises
    ------
    UserError
        If the disk is full or may not be written to.
    """
    if is_remote(path):
        with uploaded(path) as partial:
            yield partial
        return
    partial = path.with_name(f".{path.stem}.{uuid4().hex}.partial{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys as CSV, whole or not at all."""
    buffer = StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that writes it again.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again.") from None


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that holds its own checksum, whole or not at all."""
    write_json(path, {**value, _CHECKSUM: _json_checksum(value)})


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """Read what :func:`write_checked_json` wrote; None if it is missing or damaged."""
    try:
        told = read_json(path)
    except UserError:
        return None
    if not isinstance(told, dict) or told.pop(_CHECKSUM, None) != _json_checksum(told):
        return None
    return told


_CHECKSUM = "checksum"
_OF_ALL = "checksum of all arrays"


def _json_checksum(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as safetensors with their checksum, whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    with replacing(path) as partial:
        save_file(arrays, partial, metadata={_OF_ALL: _checksum_of_all(arrays)})


def _checksum_of_all(arrays: Mapping[str, NDArray[Any]]) -> str:
    return _json_checksum({name: checksum(array) for name, array in arrays.items()})


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read named arrays from safetensors.

    Raises
    ------
    UserError
        If the file is missing or damaged, or its values are not those that were written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(local_copy(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get(_OF_ALL)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that writes it again.") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again.") from None
    if expected not in (None, _checksum_of_all(arrays)):
        raise UserError(
            f"{path} is damaged (its values are not those that were written); delete it and run "
            "again."
        )
    return arrays


def checksum(array: NDArray[Any]) -> str:
    """Return 16 hex digits of an array's type, shape and values."""
    array = np.ascontiguousarray(array)
    state = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
    state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


# --- arrays that are written piece by piece ------------------------------------------------------


class ShardedArray:
    """An array of a known shape, written shard by shard along its first axis (zarr).

    Parameters
    ----------
    folder : Path
        Where it lies; opened if it is there and fits, made anew otherwise.
    shape : tuple of int
        Of the whole array.
    dtype : dtype
        Of its values.
    shard_size : int
        Rows of a shard, the unit of writing and of resuming, where the array is new.

    Attributes
    ----------
    mended : bool
        Whether the array's description was damaged, and is written again.
    damaged : list of int
        The shards that :meth:`pending` last found other than they were written.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, ...], dtype: DTypeLike, shard_size: int
    ) -> None:
        import zarr

        self.folder, self.shape = folder, shape
        self.damaged: list[int] = []
        self.mended = False
        described, seal = folder / "values" / "zarr.json", folder / "done" / "array"
        if described.exists() and not _is_sealed(described, seal):
            described.unlink()  # shards that are sound under the right description are kept
            self.mended = seal.exists()  # else the process was killed before it wrote it
        with writing(folder):
            self._array = zarr.open_array(
                zarr_store(folder / "values"),
                mode="a",
                shape=shape,
                dtype=np.dtype(dtype),
                chunks=(min(shard_size, shape[0]), *shape[1:]),
            )
        if not seal.exists() or not _is_sealed(described, seal):
            write_text(seal, file_hash(described))
        # What is there already was written in shards of its own size: that is the one to keep.
        self.shard_size = self._array.chunks[0]
        self.n_shards = -(-shape[0] // self.shard_size)

    @classmethod
    def existing(cls, folder: Path) -> Self | None:
        """Open an array that is there; None if there is none.

        Raises
        ------
        UserError
            If its description is damaged.
        """
        import zarr

        described = folder / "values" / "zarr.json"
        if not described.exists():
            return None
        if not _is_sealed(described, folder / "done" / "array"):
            raise UserError(f"{described} is damaged; run again to mend it.")
        array = zarr.open_array(folder / "values", mode="r")
        return cls(folder, array.shape, array.dtype, array.chunks[0])

    def rows(self, shard: int) -> slice:
        """Return the rows of a shard."""
        return slice(shard * self.shard_size, min((shard + 1) * self.shard_size, self.shape[0]))

    def pending(self, among: Iterable[int] | None = None) -> list[int]:
        """List the shards, of all or `among` some, that are not there or not as written."""
        shards = range(self.n_shards) if among is None else among
        found = [shard for shard in shards if not self._sound(shard)]
        self.damaged = [shard for shard in found if self._mark(shard).exists()]
        return found

    def write(self, shard: int, values: NDArray[Any]) -> None:
        """Write a shard, then its mark.

        Raises
        ------
        ValueError
            If ``values`` have another shape than the shard.
        """
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
        """Return a shard, or the whole array.

        Raises
        ------
        UserError
            If a shard is not there or damaged.
        """
        shards = range(self.n_shards) if shard is None else (shard,)
        for each in shards:
            if not self._sound(each):
                raise UserError(
                    f"Shard {each} of {self.folder} is missing or damaged; run again to redo it."
                )
        return np.asarray(self._array[:] if shard is None else self._array[self.rows(shard)])

    def take(self, rows: Sequence[int]) -> NDArray[Any]:
        """Return some rows, reading only the shards that they are in.

        Raises
        ------
        UserError
            If one of these shards is not there or damaged.
        """
        shards = {row // self.shard_size for row in rows}
        read = {shard: self.read(shard) for shard in sorted(shards)}
        return np.stack([read[row // self.shard_size][row % self.shard_size] for row in rows])

    def _mark(self, shard: int) -> Path:
        return self.folder / "done" / f"{shard:05d}"

    def _sound(self, shard: int) -> bool:
        """Tell whether a shard holds what its mark says."""
        mark = self._mark(shard)
        if not mark.exists():
            return False
        try:
            return checksum(np.asarray(self._array[self.rows(shard)])) == mark.read_text()
        except (OSError, ValueError, RuntimeError):
            return False


def _is_sealed(described: Path, seal: Path) -> bool:
    """Tell whether an array's description is the one that was written."""
    return seal.exists() and seal.read_bytes() == file_hash(described).encode()


def damaged_arrays(folder: Path) -> list[Path]:
    """List the sharded arrays below a folder of which a shard is not as its mark says.

    Parameters
    ----------
    folder : Path
        Need not be there.
    """
    found = []
    for place in sorted(path.parent for path in folder.rglob("done")):
        try:
            array = ShardedArray.existing(place)
        except UserError:
            array = None
        if array is not None:
            array.pending()
        if array is None or array.damaged:
            found.append(place)
    return found


class KeyedRows:
    """Rows of numbers, each under a key that names its content; shared by runs and subjects.

    A batch of rows is one safetensors file. Nothing is ever changed, so that any number of
    processes may add at once; the worst they can do is to compute a row twice.

    Parameters
    ----------
    folder : Path
        Where the files lie; made when the first rows are added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int]] = {}
        self._seen: set[Path] = set()
        self._look()

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List the keys without a row, each once, in the order given."""
        if any(key not in self._places for key in keys):
            self._look()  # others may have added what was not there
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def add(self, keys: Sequence[str], rows: NDArray[Any]) -> None:
        """Write rows.

        Raises
        ------
        ValueError
            If there are not as many rows as keys.
        """
        from safetensors.numpy import save_file

        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} keys for {len(rows)} rows.")
        path = self.folder / f"{self._name(keys)}.safetensors"
        # One entry: several are written in an order that differs from process to process.
        told = json.dumps({"keys": list(keys), "checksum": checksum(rows)})
        with replacing(path) as partial:
            save_file({"rows": np.ascontiguousarray(rows)}, partial, metadata={"told": told})
        self._index(path)

    def load(self, keys: Sequence[str]) -> NDArray[Any]:
        """Return the rows of ``keys`` in their order.

        Raises
        ------
        UserError
            If a key has no row.
        """
        absent = self.missing(keys)
        if absent:
            raise UserError(f"{self.folder} lacks {len(absent)} rows; run again to compute them.")
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for position, key in enumerate(keys):
            path, row = self._places[key]
            wanted.setdefault(path, []).append((position, row))
        out: NDArray[Any] | None = None
        for path, pairs in wanted.items():
            rows = load_arrays(path)["rows"]
            if out is None:
                out = np.empty((len(keys), *rows.shape[1:]), rows.dtype)
            positions, places = zip(*pairs, strict=True)
            out[list(positions)] = rows[list(places)]
        if out is None:
            raise ValueError("No keys were given.")
        return out

    def _look(self) -> None:
        """Learn what lies in files that were not looked at yet."""
        found = self.folder.glob("[!.]*.safetensors")  # hidden ones are being written
        for path in sorted(set(found) - self._seen):
            self._index(path)

    def _index(self, path: Path) -> None:
        """Learn the keys of a file; one that is damaged is passed over, and computed again."""
        from safetensors import SafetensorError, safe_open

        self._seen.add(path)
        try:
            with safe_open(local_copy(path), framework="numpy") as file:
                told, rows = json.loads(file.metadata()["told"]), file.get_tensor("rows")
                keys = told["keys"]
                sound = checksum(rows) == told["checksum"] and self._name(keys) == path.stem
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            return
        for row, key in enumerate(keys):
            self._places[key] = (path, row)

    @staticmethod
    def _name(keys: Sequence[str]) -> str:
        return hashlib.blake2b("".join(keys).encode(), digest_size=8).hexdigest()


# --- the run folder ------------------------------------------------------------------------------


class RunFolder:
    """One run's folder: which stages are done, under which settings.

    Parameters
    ----------
    path : Path
        The folder; made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The run folder {path} cannot be made: {error.strerror}.") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder; the lock ends with the process, however it ends.

        Raises
        ------
        UserError
            If another run holds it, or the folder cannot be written to.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written to: {error.strerror}.") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"Another run is at work in {self.path}; wait for it, or name another folder."
                ) from None
            for left in self.path.rglob(".*.partial*"):  # by a run that was killed
                left.unlink(missing_ok=True) if left.is_file() else rmtree(left)
            yield

    def is_done(self, stage: str, key: str) -> bool:
        """Tell whether a stage was finished under this key, and its outputs are as it left them."""
        return self.key(stage) == key and not self.damaged(stage)

    def was_done(self, stage: str) -> bool:
        """Tell whether a stage was ever finished here, under whatever settings."""
        return self._mark(stage).exists()

    def key(self, stage: str) -> str | None:
        """Return the key that a stage was last finished under; None if its mark is not sound."""
        told = read_checked_json(self._mark(stage))
        return None if told is None else str(told["key"])

    def damaged(self, stage: str) -> list[str]:
        """List the outputs of a finished stage that are not as it left them, or else its mark."""
        mark = self._mark(stage)
        if not mark.exists():
            return []
        told = read_checked_json(mark)
        if told is None:
            return [mark.relative_to(self.path).as_posix()]
        return [name for name, digits in told["outputs"].items() if not self._is(name, digits)]

    def _is(self, name: str, digits: str) -> bool:
        """Tell whether an output is as it was; what lies outside, a cache, may be cleared away."""
        path = self._output(name)
        outside = is_url(name) or name.startswith("../")
        return file_hash(path) == digits if path.is_file() else outside

    def mark_done(self, stage: str, key: str, outputs: Sequence[str] = ()) -> None:
        """Record that a stage is finished, with the checksums of the files that it wrote."""
        hashes = {name: file_hash(self._output(name)) for name in outputs}
        write_checked_json(self._mark(stage), {"key": key, "outputs": hashes})

    def files(self, pattern: str) -> list[str]:
        """List the files that match a pattern such as ``gallery/**/*``, by their names here."""
        found = (path for path in self.path.glob(pattern) if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def _output(self, name: str) -> Path:
        """Return where a file that a mark vouches for lies: in the folder, or at its URL."""
        return as_path(name, signed=True) if is_url(name) else self.path / name

    def _mark(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with local_copy(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- provenance ----------------------------------------------------------------------------------

_PACKAGES = ("vox2pix", "torch", "diffusers", "transformers", "numpy", "scipy", "scikit-learn")


def peak_memory() -> float:
    """Return the most bytes of memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def machine() -> dict[str, Any]:
    """Describe the machine and the software: what a figure or a run was made with."""
    import psutil

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
        "command": sys.argv,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the revision of the source tree that this code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
