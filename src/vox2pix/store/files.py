"""Files that appear whole, and checks of what is read back."""

import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.store.owned import partial_name

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a ``UserError`` that names ``path`` and the remedy."""
    try:
        yield
    except Exception as error:  # libraries wrap the system's error in ones of their own
        number = _disk_fault(error)
        if number is None:
            raise
        remedy = "free space" if number in _FULL else "make its folder writable"
        raise UserError(
            f"{path} could not be written ({os.strerror(number)}); {remedy} and rerun: "
            "what is finished is reused."
        ) from error


def _disk_fault(error: BaseException) -> int | None:
    """Return the number of the disk's fault that an error tells of, if it does."""
    faults = (*_FULL, *_CLOSED)
    if isinstance(error, OSError) and error.errno in faults:
        return error.errno
    if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
        # HDF5 and safetensors write the system's message into theirs
        return next((n for n in faults if os.strerror(n) in str(error)), None)
    return None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden name in the same folder; on success the file takes its place at ``path``.

    The hidden name has another suffix: libraries that choose a format by it must be given the
    format.
    """
    partial = partial_name(path)
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
    with replacing(path) as partial:  # bytes of file names that are no UTF-8 become escapes
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


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
    """Read JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; rerun to write it.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and rerun.") from None


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that holds its own checksum, whole or not at all."""
    write_json(path, {**value, _CHECKSUM: _json_checksum(value)})


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """Read what :func:`write_checked_json` wrote; None if it is missing or damaged."""
    try:
        content = read_json(path)
    except UserError:
        return None
    if not isinstance(content, dict) or content.pop(_CHECKSUM, None) != _json_checksum(content):
        return None
    return content


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
    """Read named arrays from safetensors, and compare them with their checksum."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get(_OF_ALL)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; rerun to write it.") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and rerun.") from None
    if expected not in (None, _checksum_of_all(arrays)):
        raise UserError(
            f"{path} is damaged (its values are not those that were written); delete it and rerun."
        )
    return arrays


def holds_arrays(path: Path) -> bool:
    """Return whether named arrays are at a path, as they were written."""
    if not path.exists():
        return False
    try:
        load_arrays(path)
    except UserError:
        return False
    return True


def checksum(array: NDArray[Any]) -> str:
    """Return 16 hex digits of an array's type, shape and values."""
    array = np.ascontiguousarray(array)
    state = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
    state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
