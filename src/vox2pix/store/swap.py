"""Folders that appear whole: written under a temporary name, then exchanged with the old one."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vox2pix.errors import UserError
from vox2pix.store.files import file_hash, writing
from vox2pix.store.owned import (
    EDITED,
    KINDS,
    MARKER,
    Marker,
    being_written,
    entries_below,
    marker_of,
    partial_name,
    refuse_links,
    remove_files,
    remove_tree,
    require_ours,
    whole_name,
)

_HERE = -100  # AT_FDCWD of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS


@contextmanager
def swapped_in(
    folder: Path, kind: str, *, source: str = "", checksums: bool = True
) -> Iterator[Path]:
    """Yield a hidden folder to write to; on success it takes the place of ``folder``, all at once.

    A folder that is there must be ours and of the same kind (a key of
    :data:`~vox2pix.store.owned.KINDS`) and source (what its content is made from); files of
    others in it are moved into the new one. ``checksums`` says whether the marker holds those
    of each file; where they are known, edits of a kind that is meant to be edited are refused.
    """
    require_replaceable(folder, kind, source)
    folder = folder.resolve()
    if os.path.lexists(folder):
        refuse_links(folder)
    clear_leftovers(folder)
    partial = partial_name(folder)
    with writing(folder):
        _make(partial, folder)
        try:
            being_written(kind, source).write(partial)
            yield partial
            files = _files_of(partial, checksums)
            _require_no_clash(folder, files)
            Marker(kind, files, source).write(partial)
            partial = _exchange(partial, folder)
        finally:
            _retire(partial, folder)


def _make(partial: Path, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): name a folder elsewhere."
        ) from error


def require_replaceable(folder: Path, kind: str, source: str = "") -> None:
    """Raise if :func:`swapped_in` would replace what is not ours, or what a person edited.

    The files of kinds that are meant to be edited (:data:`~vox2pix.store.owned.EDITED`) are
    compared with their checksums, so a call before long work reads the folder once more.
    """
    require_ours(folder, kind, source)
    if kind not in EDITED or marker_of(folder) is None:
        return
    refuse_links(folder)
    edited = [n for n in damaged_files(folder) if n != MARKER and (folder / n).is_file()]
    if edited:
        others = f" (and {len(edited) - 1} other files)" if edited[1:] else ""
        raise UserError(
            f"{folder / edited[0]}{others} was changed since vox2pix wrote it, and the change "
            "would be lost: name another folder with --out, or remove this one first."
        )


def damaged_files(folder: Path) -> list[str]:
    """List the files of one of our folders that are not as :func:`swapped_in` left them."""
    marker = marker_of(folder)
    if marker is None or marker.files is None:
        return [MARKER]
    return [
        name
        for name, digits in marker.files.items()
        if not (folder / name).is_file() or (digits and file_hash(folder / name) != digits)
    ]


def clear_leftovers(folder: Path) -> None:
    """Restore a folder that a kill left under another name; remove what was broken off.

    Beside it only folders are touched that have a hidden name made from its own and hold our
    marker; nothing where another process is still writing.
    """
    if not folder.parent.is_dir():
        return
    for path in _leftovers(folder):
        marker = marker_of(path)
        if marker is not None and marker.files is not None and not os.path.lexists(folder):
            path.rename(folder)
        elif marker is not None and marker.files is None and marker.is_abandoned:
            remove_tree(path)


def _leftovers(folder: Path) -> list[Path]:
    with os.scandir(folder.parent) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if whole_name(entry.name) == folder.name and entry.is_dir(follow_symlinks=False)
        ]


def _files_of(folder: Path, checksums: bool) -> dict[str, str]:
    """Return the checksum of each file, by its name below a folder."""
    files = [Path(e.path) for e in entries_below(folder) if e.is_file(follow_symlinks=False)]
    return {
        path.relative_to(folder).as_posix(): file_hash(path) if checksums else ""
        for path in files
        if path != folder / MARKER
    }


def _require_no_clash(folder: Path, files: dict[str, str]) -> None:
    """Refuse to put a file in the place of one that is not ours."""
    old = marker_of(folder)
    own = {} if old is None else old.files
    if own is None:
        return  # the old folder was never complete
    for name in files.keys() - own.keys():
        if os.path.lexists(folder / name):
            raise UserError(
                f"{folder / name} is in the way of {KINDS[old.kind] if old else 'a result'} and "
                "was not written by vox2pix; move it away."
            )


def _exchange(partial: Path, folder: Path) -> Path:
    """Put a folder into its place; return the hidden name under which the old one is then."""
    if not folder.exists():
        partial.rename(folder)
        return partial
    if _exchange_names(partial, folder):
        return partial
    old = partial_name(folder)  # two steps, where the system cannot do it in one
    folder.rename(old)
    try:
        partial.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    return old


def _exchange_names(first: Path, second: Path) -> bool:
    """Exchange the names of two folders in one step; tell whether the system could."""
    names = os.fsencode(first), os.fsencode(second)
    with suppress(OSError, AttributeError):
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            return system.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0
        if sys.platform == "darwin":
            return system.renamex_np(*names, _EXCHANGE) == 0
    return False


def _retire(old: Path, folder: Path) -> None:
    """Remove a folder that is not needed any more; what others put into it is moved on."""
    marker = marker_of(old)
    if marker is None:
        if old.is_dir() and not old.is_symlink():
            _move_on(old, folder)
        return
    if marker.files is None and marker.process:
        remove_tree(old)
        return
    remove_files(old, marker.files or ())
    _move_on(old, folder)


def _move_on(old: Path, folder: Path) -> None:
    """Move what is left in a folder to the same names in another; nothing is replaced."""
    with os.scandir(old) as scan:
        entries = [entry for entry in scan if entry.name != MARKER]
    for entry in entries:
        target = folder / entry.name
        if not os.path.lexists(target):
            Path(entry.path).rename(target)
        elif entry.is_dir(follow_symlinks=False) and target.is_dir():
            _move_on(Path(entry.path), target)
    with os.scandir(old) as scan:
        left = {entry.name for entry in scan}
    if left <= {MARKER}:
        (old / MARKER).unlink(missing_ok=True)
        old.rmdir()
