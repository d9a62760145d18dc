"""JSON, TOML and plain text of bounded size and depth."""

import json
import tomllib
from pathlib import Path
from typing import Any

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_sentence
from vox2pix.untrusted.files import one_line, require_file

_LARGEST = 64 * 2**20


def read_text(
    path: Path, most_bytes: int = _LARGEST, errors: str = "strict", encoding: str = "utf-8"
) -> str:
    """Read a text file as a whole.

    Parameters
    ----------
    path : Path
        On this machine or in a bucket.
    most_bytes : int
        A larger file is refused before it is read.
    errors : {"strict", "replace"}
        What to do with bytes that are not of the encoding.
    encoding : str
        ``utf-8``, or ``utf-8-sig`` where a byte order mark may stand.

    Raises
    ------
    UserError
        If the file is missing, no file, too large or no text.
    """
    return decoded(path, read_bytes(path, most_bytes), errors, encoding)


def decoded(path: Path, content: bytes, errors: str = "strict", encoding: str = "utf-8") -> str:
    """Return the text of a file's bytes.

    Raises
    ------
    UserError
        If they are not of the encoding.
    """
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read as text in UTF-8 (byte {error.start + 1}): save it as UTF-8."
        ) from error


def read_bytes(path: Path, most_bytes: int = _LARGEST) -> bytes:
    """Read a file as a whole.

    Raises
    ------
    UserError
        If the file is missing, no file, or larger than ``most_bytes``.
    """
    require_file(path)
    try:
        # a file may grow, and those of the system state no size
        with local_copy(path).open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}): replace the file.") from error
    if len(content) > most_bytes:
        raise UserError(
            f"{path} is larger than {most_bytes / 2**20:,.0f} MB, which is more than such a file "
            "holds: replace it."
        )
    return content


def read_json(path: Path, most_bytes: int = _LARGEST, unique: bool = False) -> Any:
    """Read JSON.

    Parameters
    ----------
    path : Path
        On this machine or in a bucket.
    most_bytes : int
        A larger file is refused before it is read.
    unique : bool
        Refuse an object that holds a key twice.

    Raises
    ------
    UserError
        If the file is missing, no file, too large, nested too deeply, or no JSON.
    """
    return parse_json(path, read_bytes(path, most_bytes), unique)


def parse_json(path: Path, content: bytes, unique: bool = False) -> Any:
    """Return what JSON bytes of a file hold.

    Raises
    ------
    UserError
        If they are nested too deeply, or no JSON.
    """
    try:
        return json.loads(content, object_pairs_hook=_once if unique else None)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: replace the file.") from None
    except (ValueError, MemoryError) as error:
        raise UserError(damage_sentence(path, "no JSON", error, "replace the file")) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return found


def read_toml(path: Path, most_bytes: int = 2**20) -> dict[str, Any]:
    """Read TOML.

    Raises
    ------
    UserError
        If the file is missing, no file, too large, nested too deeply, or no TOML.
    """
    text = read_text(path, most_bytes)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {one_line(error)}.") from None
