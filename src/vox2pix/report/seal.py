"""A page that vouches for itself and for the files that were written with it."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from vox2pix.store import file_hash

_BEGIN, _END = "\n<!-- checksums: ", " -->\n"


def sealed(html: str, folder: Path, files: Iterable[Path]) -> str:
    """Return a page with the checksums of itself and of files in a comment at its end.

    Parameters
    ----------
    html : str
        The page.
    folder : Path
        Where it will lie; files that do not lie below are left out.
    files : iterable of Path
        What was written with it.
    """
    below = sorted(file for file in files if file.is_relative_to(folder))
    told = {file.relative_to(folder).as_posix(): file_hash(file) for file in below}
    told[""] = sha256(html.encode()).hexdigest()
    return f"{html}{_BEGIN}{json.dumps(told)}{_END}"


def is_page(path: Path) -> bool:
    """Tell whether a file is a page that was written by :func:`sealed` and not changed since."""
    try:
        return _own_checksum(path.read_bytes())
    except OSError:
        return False


def _own_checksum(content: bytes) -> bool:
    html, _, told = content.rpartition(_BEGIN.encode())
    try:
        return bool(json.loads(told.removesuffix(_END.encode()))[""] == sha256(html).hexdigest())
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def is_sound(page: Path) -> bool:
    """Tell whether a page and the files written with it are as they were written."""
    try:
        html, _, told = page.read_bytes().rpartition(_BEGIN.encode())
        hashes = json.loads(told.removesuffix(_END.encode()))
        own = hashes.pop("")
        files_are_sound = all(file_hash(page.parent / k) == v for k, v in hashes.items())
    except (OSError, ValueError, AttributeError, KeyError):
        return False
    return files_are_sound and own == sha256(html).hexdigest()
