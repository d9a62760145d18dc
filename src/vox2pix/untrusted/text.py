"""JSON, TOML and plain text of bounded size and depth."""

import json
import tomllib
from pathlib import Path
from typing import Any

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_message
from vox2pix.untrusted.files import one_line, require_file

_LARGEST = 64 * 2**20


def read_text(
    path: Path, most_bytes: int = _LARGEST, errors: str = "strict", encoding: str = "utf-8"
) -> str:
    """Read a text file as a whole; one larger than ``most_bytes`` is refused before it is read."""
    return decoded(path, read_bytes(path, most_bytes), errors, encoding)


def decoded(path: Path, content: bytes, errors: str = "strict", encoding: str = "utf-8") -> str:
    """Return the text of a file's bytes."""
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} cannot be read as text in UTF-8 (byte {error.start + 1}): save it as UTF-8."
        ) from error


def read_bytes(path: Path, most_bytes: int = _LARGEST) -> bytes:
    """Read a file as a whole."""
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
    """Read JSON; ``unique`` refuses an object that holds a key twice."""
    return parse_json(path, read_bytes(path, most_bytes), unique)


def parse_json(path: Path, content: bytes, unique: bool = False) -> Any:
    """Return what JSON bytes of a file hold."""
    try:
        return json.loads(content, object_pairs_hook=_once if unique else None)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: replace the file.") from None
    except (ValueError, MemoryError) as error:
        raise UserError(damage_message(path, "no JSON", error, "replace the file")) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are different."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} is there twice")
    return content


def read_toml(path: Path, most_bytes: int = 2**20) -> dict[str, Any]:
    """Read TOML."""
    text = read_text(path, most_bytes)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid TOML: {one_line(error)}.") from None
