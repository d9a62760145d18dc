"""One run's folder: which stages are done, under which settings."""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from vox2pix.errors import UserError
from vox2pix.store.files import file_hash, read_checked_json, write_checked_json
from vox2pix.store.owned import (
    MARKER,
    claim,
    entries_below,
    is_inside,
    marker_of,
    refuse_links,
    remove_files,
    remove_tree,
    require_ours,
    whole_name,
)
from vox2pix.store.swap import clear_leftovers

RESULT_FOLDERS = {
    "gallery": "gallery",
    "audit": "audit",
    "figures": "report",
    "encoding/maps": "maps",
    "encoding/figures": "figures",
}
"""Folders of a run that are swapped in whole, and their kinds."""

_OWN_FOLDERS = {
    *("stages", "features", "decoders", "decoded", "images", "gallery", "audit", "figures"),
    "encoding",
}
_OWN_FILES = {
    *("config.toml", "model.json", "metrics.json", "scores.csv", "audit.json", "provenance.json"),
    *("contact_sheet.png", "report.html", "dataset_description.json", "data.json", "targets.json"),
}
_OF_REPORTS = ("report", "assets")  # these are written without the lock
_SIMULATION = re.compile(r"phantom-[0-9a-f]{8}")
_SHARED_ROWS = re.compile(r"\.\./cache/features/[^/]+/[0-9a-f]{16}\.safetensors")
_PARTS = re.compile(r"parts-[0-9a-f]{16}")
_PART = re.compile(r"[^.].*-(\d+|null)\.safetensors")
_ZARR_PARTIAL = re.compile(r"(zarr|\d+)\.[0-9a-f]{32}\.partial")
_LOCK = ".lock"
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class RunFolder:
    """One run's folder: which stages are done, under which settings."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shared(self) -> Path:
        """The cache of features that the runs beside this one share."""
        return self.path.parent / "cache" / "features"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder ours and exclude other runs; the lock ends with the process.

        A folder or cache that holds what is not ours, or a symbolic link, raises.
        """
        kinds = {self.path: "run", self.shared: "features"}
        kinds[self.shared.with_name("checksums")] = "checksums"
        for folder, kind in kinds.items():
            require_ours(folder, kind)
            if folder.is_dir():
                refuse_links(folder)
        for name, kind in RESULT_FOLDERS.items():
            require_ours(self.path / name, kind)
        claim(self.path, "run")
        with self._locked():
            self._clear()
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path / _LOCK
        if os.path.lexists(path):
            info = path.lstat()
            if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
                raise UserError(
                    f"{path} is a link to another file or no file at all; remove it, and rerun."
                )
        # A soft lock outlives a process that is killed.
        lock = FileLock(path, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(
                f"Another run is at work in {self.path}; wait for it, or name another folder."
            ) from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
                raise UserError(f"{self.path} cannot be written to: {error.strerror}.") from None
            reason = getattr(error, "strerror", None) or "not implemented"
            raise UserError(
                f"{self.path} is on a disk without file locks ({reason}): name a folder "
                "elsewhere, or have the disk mounted with them (Lustre: -o flock)."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _clear(self) -> None:
        """Remove what a killed run left half-written, by our own names and in our own places."""
        for name in RESULT_FOLDERS:
            clear_leftovers(self.path / name)
        for entry in [*os.scandir(self.path)]:
            whole = whole_name(entry.name)
            if whole is not None:
                self._clear_one(entry, whole in _OWN_FILES)
            elif entry.name in _OWN_FOLDERS and entry.is_dir(follow_symlinks=False):
                self._clear_below(Path(entry.path))

    def _clear_below(self, folder: Path) -> None:
        for entry in [*entries_below(folder)]:
            if os.path.lexists(entry.path):
                below = Path(entry.path).relative_to(folder)
                is_ours = whole_name(entry.name) is not None or _is_of_zarr(below)
                self._clear_one(entry, is_ours)

    def _clear_one(self, entry: os.DirEntry[str], is_ours: bool) -> None:
        """Remove a temporary file, or a temporary folder that was broken off."""
        if is_ours and entry.is_file(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)
        elif whole_name(entry.name) and entry.is_dir(follow_symlinks=False):
            marker = marker_of(Path(entry.path))
            if marker is None or marker.files is not None:
                return
            if marker.kind not in _OF_REPORTS or marker.is_abandoned:
                remove_tree(Path(entry.path))

    def is_done(self, stage: str, key: str) -> bool:
        """Return whether a stage was finished under this key, with its outputs as it left them."""
        return self.key(stage) == key and not self.damaged(stage)

    def was_done(self, stage: str) -> bool:
        """Return whether a stage was ever finished here, under whatever settings."""
        return self._mark(stage).exists()

    def key(self, stage: str) -> str | None:
        """Return the key that a stage was last finished under; None if its mark is not sound."""
        record = read_checked_json(self._mark(stage))
        return None if record is None else str(record["key"])

    def damaged(self, stage: str) -> list[str]:
        """List the outputs of a finished stage that are not as it left them, or else its mark."""
        mark = self._mark(stage)
        if not mark.exists():
            return []
        record = read_checked_json(mark)
        if record is None:
            return [mark.relative_to(self.path).as_posix()]
        return [name for name, digits in record["outputs"].items() if not self._is(name, digits)]

    def _is(self, name: str, digits: str) -> bool:
        """Return whether an output is as it was; what is outside, a cache, may be cleared away."""
        path = self.path / name
        outside = name.startswith("../")
        return file_hash(path) == digits if path.is_file() else outside

    def mark_done(self, stage: str, key: str, outputs: Sequence[str] = ()) -> None:
        """Record that a stage is finished, with the checksums of the files that it wrote."""
        hashes = {name: file_hash(self.path / name) for name in outputs}
        write_checked_json(self._mark(stage), {"key": key, "outputs": hashes})

    def files(self, pattern: str) -> list[str]:
        """List the files that match a pattern such as ``gallery/**/*``, by their names here."""
        found = (path for path in self.path.glob(pattern) if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def written(self, folder: str) -> list[str]:
        """List the files that were written into one of :data:`RESULT_FOLDERS`, by their names."""
        marker = marker_of(self.path / folder)
        return sorted(f"{folder}/{name}" for name in (marker.files if marker else None) or ())

    def remove(self, name: str) -> None:
        """Remove an output of a stage, by its name in a mark; what is not ours stays.

        The name may lead to a file of the shared cache, and nowhere else out of the folder.
        """
        if _SHARED_ROWS.fullmatch(name) and marker_of(self.shared) is not None:
            remove_files(self.shared, [name.removeprefix("../cache/features/")])
        elif is_own(name) and is_inside(self.path, name):
            (self.path / name).unlink(missing_ok=True)

    def discard(self, folder: str) -> None:
        """Remove a folder that was swapped in; raise if it holds more than its marker lists."""
        path = self.path / folder
        marker = marker_of(path)
        if marker is not None and is_inside(self.path, folder):
            remove_files(
                self.path, [f"{folder}/{name}" for name in (*(marker.files or ()), MARKER)]
            )
        if os.path.lexists(path):
            raise UserError(
                f"{path} is damaged, and holds files that vox2pix did not write; move it away, "
                "and rerun."
            )

    def clear_parts(self, folder: str) -> None:
        """Remove ``parts-KEY`` below ``decoders`` or ``decoded``: what a stage wrote on its way."""
        for parts in (self.path / folder).glob("parts-*"):
            if _PARTS.fullmatch(parts.name) and is_inside(self.path, f"{folder}/{parts.name}"):
                names = [entry.name for entry in entries_below(parts)]
                names = [name for name in names if _PART.fullmatch(name)]
                remove_files(self.path / folder, [f"{parts.name}/{name}" for name in names])

    def _mark(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"


def is_own(name: str) -> bool:
    """Return whether a name below a run folder is one that a run gives."""
    parts = PurePosixPath(name).parts
    if len(parts) < 2:
        return name in _OWN_FILES
    return parts[0] in _OWN_FOLDERS or _SIMULATION.fullmatch(parts[0]) is not None


def _is_of_zarr(path: Path) -> bool:
    """Return whether a file is one that zarr was writing into one of our arrays."""
    return "values" in path.parts[:-1] and _ZARR_PARTIAL.fullmatch(path.name) is not None
