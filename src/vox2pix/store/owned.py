"""Whose a folder is: ours if it holds our marker, a small JSON file that names its kind.

Files are removed only if a marker lists them or their name is one that only we give; links are
never followed.
"""

import json
import os
import platform
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from vox2pix.errors import UserError

MARKER = ".vox2pix.json"
KINDS = {
    "run": "a run",
    "features": "cached features",
    "checksums": "cached checksums",
    "evaluation": "an evaluation",
    "comparison": "a comparison",
    "gallery": "the gallery of a run",
    "audit": "the audit of a run",
    "figures": "figures",
    "report": "the figures of a report",
    "maps": "maps",
    "assets": "the images of a report",
    "simulation": "simulated data",
    "download": "downloaded data",
    "imported": "imported data",
    "model": "a diffusion model",
    "decoder": "exported decoders",
}
"""What a marker may name, as a person reads it."""
EDITED = ("imported", "decoder")
"""Kinds that a person is meant to edit: a file of theirs that was changed is never replaced."""

_VERSION = 1
_LARGEST_MARKER = 2**26  # bytes
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # written by file managers
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.partial")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a Path keeps one of the two slashes


@dataclass(frozen=True)
class Marker:
    """What the marker of a folder says."""

    kind: str  # a key of :data:`KINDS`
    # checksum of each file that was written, by its name below the folder (empty where none was
    # taken); None for a folder whose files are not listed, or that is still being written
    files: dict[str, str] | None = None
    source: str = ""  # names what the content was made from; empty if that does not matter
    process: int = 0  # number and host of who is writing it; 0 and empty once it is complete
    host: str = ""

    def write(self, folder: Path) -> None:
        """Write the marker into a folder; an old one is replaced."""
        content: dict[str, Any] = {"made_by": "vox2pix", "kind": self.kind, "version": _VERSION}
        content |= {"files": self.files} if self.files is not None else {}
        content |= {"source": self.source} if self.source else {}
        content |= {"process": self.process, "host": self.host} if self.process else {}
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        partial = partial_name(folder / MARKER)
        try:
            with partial.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / MARKER)
        finally:
            partial.unlink(missing_ok=True)

    @property
    def is_abandoned(self) -> bool:
        """Whether its writer was on this machine and has ended."""
        import psutil

        if not self.process or self.host != platform.node():
            return False
        return not psutil.pid_exists(self.process)


def being_written(kind: str, source: str = "") -> Marker:
    """Return the marker of a folder that this process is writing."""
    return Marker(kind, source=source, process=os.getpid(), host=platform.node())


def marker_of(folder: Path) -> Marker | None:
    """Return the marker of a folder; None if the folder is not ours."""
    path = folder / MARKER
    try:
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST_MARKER:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["made_by"] != "vox2pix" or content["kind"] not in KINDS:
            return None
        if not 1 <= int(content["version"]) <= _VERSION:
            return None
        files = content.get("files")
        return Marker(
            str(content["kind"]),
            None if files is None else {str(k): str(v) for k, v in files.items()},
            str(content.get("source", "")),
            int(content.get("process", 0)),
            str(content.get("host", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def require_ours(folder: Path, kind: str, source: str = "") -> None:
    """Raise if an output folder holds anything but what we wrote of this kind and source.

    The folder need not exist; only its first entries are looked at.
    """
    refuse_url(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name a new or an empty folder.")
    marker = marker_of(folder)
    if marker is None and not is_empty(folder):
        damaged = f" ({MARKER} in it is damaged, or of a newer version)"
        raise UserError(
            f"{folder} holds files that vox2pix did not write"
            f"{damaged if os.path.lexists(folder / MARKER) else ''}; name a new or an empty folder."
        )
    if marker is not None and marker.kind != kind:
        raise UserError(
            f"{folder} holds {KINDS[marker.kind]}, and {KINDS[kind]} would be written there; name "
            "another folder."
        )
    if marker is not None and marker.source and source and marker.source != source:
        raise UserError(
            f"{folder} holds {KINDS[kind]} of other inputs; name another folder with --out, or "
            "remove it first."
        )


def require_our_file(path: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Raise if a file, folder or link is at ``path`` that is not ours by its content."""
    refuse_url(path)
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file() or not is_ours(path):
        raise UserError(
            f"{path} is there and is not {what}, or was changed since; name another file with "
            "--out, or remove it first."
        )


def claim(folder: Path, kind: str) -> None:
    """Make an output folder ours: it is made and marked, unless it is already."""
    require_ours(folder, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if marker_of(folder) is None:
            Marker(kind).write(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}.") from None


def refuse_url(path: Path) -> None:
    """Refuse a URL where files are to be written."""
    if not isinstance(path, Path) or _URL.match(str(path)):
        url = re.sub(":/+", "://", str(path), count=1)
        raise UserError(
            f"A run folder, like all that is written, must be on a local or shared disk, and {url} "
            "is a URL; name a folder there."
        )


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing, or no more than a marker that was broken off."""
    with os.scandir(folder) as entries:
        return all(_is_nothing(entry) for entry in entries)


def _is_nothing(entry: os.DirEntry[str]) -> bool:
    if entry.name in _LITTER:
        return True
    match = _PARTIAL.fullmatch(entry.name)
    return match is not None and match["name"] == MARKER and entry.is_file(follow_symlinks=False)


def partial_name(path: Path) -> Path:
    """Return a hidden name beside a path, under which it is written until it is whole."""
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")


def whole_name(partial: str) -> str | None:
    """Return the name that :func:`partial_name` was given; None for any other name."""
    match = _PARTIAL.fullmatch(partial)
    return match["name"] if match else None


def entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all that is below a folder, folders before what they hold; no link is followed."""
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from entries_below(Path(entry.path))


def refuse_links(folder: Path) -> None:
    """Refuse a folder of ours that holds a symbolic link, a device or a pipe, at any depth."""
    for entry in entries_below(folder):
        if entry.is_symlink():
            raise UserError(
                f"{entry.path} is a symbolic link, and none is followed inside {folder}; replace "
                "it by what it points to, or name another folder."
            )
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise UserError(f"{entry.path} is neither a file nor a folder; remove it.")


def is_inside(folder: Path, name: str) -> bool:
    """Return whether a name leads below a folder, through no link and no ``..``."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        return False
    steps = [folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    return not any(step.is_symlink() for step in steps)


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of ours below a folder, by relative names, and the folders that are empty then.

    What is reached by a link or ``..`` is left alone.
    """
    parents = set()
    for name in names:
        if is_inside(folder, name):
            path = folder / name
            if path.is_file():
                path.unlink(missing_ok=True)
            parents |= set(Path(name).parents) - {Path()}
    for parent in sorted(parents, key=lambda parent: -len(parent.parts)):
        _remove_if_empty(folder / parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder, and all it holds, that has a name of :func:`partial_name` and our marker."""
    if whole_name(folder.name) is None or folder.is_symlink() or marker_of(folder) is None:
        raise ValueError(f"{folder} is no temporary folder of ours.")
    entries = list(entries_below(folder))
    marker = folder / MARKER  # goes last: what is left by a kill must be recognised
    for entry in reversed(entries):
        if entry.is_dir(follow_symlinks=False):
            _remove_if_empty(Path(entry.path))
        elif Path(entry.path) != marker:
            Path(entry.path).unlink(missing_ok=True)
    marker.unlink(missing_ok=True)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # somebody else's files are in it, or it is gone
