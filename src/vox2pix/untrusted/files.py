"""Rules for any file that somebody else wrote: a plain file, inside its folder, of bounded size."""

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

from vox2pix.buckets import is_remote
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_message

ALLOWED_FOLDERS = "VOX2PIX_ALLOWED_FOLDERS"
"""Variable of the environment: folders that links of a data folder may lead into."""

DEFLATE_RATIO = 1032
"""Deflate (gzip, zlib, zip) packs no tighter than this."""

READ_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
    BadZipFile,
)
"""What libraries raise while they read the values of a file that they opened."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, for a message; its name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def require_file(path: Path, remedy: str = "add the file or ask for less") -> None:
    """Raise if a path is not a plain file; a pipe or a device is never opened."""
    if is_remote(path):
        if not path.is_file():
            raise UserError(f"{path} does not exist: {remedy}.")
        return
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {remedy}.") from None
    except (OSError, ValueError) as error:
        is_loop = getattr(error, "errno", None) == errno.ELOOP
        reason = "a link that leads to itself" if is_loop else one_line(error)
        raise UserError(f"{path} cannot be opened ({reason}): replace the file.") from None
    if stat.S_ISREG(mode):
        return
    kind = next((words for test, words in _KINDS if test(mode)), "something else")
    raise UserError(f"{path} is {kind}, not a file: replace it by the file.")


def require_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Raise if a path below a data folder is a link, or below one, that leads outside.

    Links within the folder are followed, as are those into the ``.git/annex`` of a DataLad data
    set that the folder belongs to, and into folders that ``VOX2PIX_ALLOWED_FOLDERS`` names
    (separated like ``PATH``). The folder itself may be a link. Whatever is in a bucket passes:
    there are no links. Paths that do not exist pass.
    """
    if is_remote(folder):
        return
    root = folder.resolve()
    allowed = [root, *_annexes(root), *_allowed_folders()]
    for path in paths:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            continue  # whoever opens it says what is wrong
        if not any(target.is_relative_to(place) for place in allowed):
            raise UserError(
                f"{path} is a link to {target}, outside {folder}: put the file itself there, or "
                f"name its folder in the environment variable {ALLOWED_FOLDERS}."
            )


def _annexes(root: Path) -> list[Path]:
    """Return where git-annex holds the content of a data set that a folder belongs to."""
    places = (parent / ".git" / "annex" / "objects" for parent in (root, *root.parents))
    return [place.resolve() for place in places if place.is_dir()]


def _allowed_folders() -> list[Path]:
    """Return the folders that a person allowed links to lead into."""
    folders = os.environ.get(ALLOWED_FOLDERS, "").split(os.pathsep)
    return [Path(name).expanduser().resolve() for name in folders if name]


def files_below(folder: Path, is_of_data: Callable[[str], bool] = lambda _: True) -> list[Path]:
    """List what is below a folder without following links to folders."""
    paths: list[Path] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here == folder:
            folders[:] = [name for name in folders if is_of_data(name)]
            files = [name for name in files if is_of_data(name)]
        paths += [here / name for name in (*folders, *files)]
    return paths


def require_memory(path: Path, n_bytes: int, remedy: str) -> None:
    """Raise if what a file unpacks to does not fit into the memory that is free."""
    free = free_memory()
    if n_bytes > free:
        raise UserError(
            f"{path} unpacks to {n_bytes / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of memory are "
            f"free: {remedy}."
        )


def free_memory() -> int:
    """Return the bytes of memory that are free."""
    import psutil

    return int(psutil.virtual_memory().available)


@contextmanager
def damage_named(
    path: Path, what: str, remedy: str, errors: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Turn what a library raises over a damaged file into one ``UserError``.

    All exceptions by default, as headers fail to parse in nearly every way; :data:`READ_ERRORS`
    where the caller's own work is done within.
    """
    try:
        yield
    except UserError:
        raise
    except errors as error:
        raise UserError(damage_message(path, what, error, remedy)) from error
