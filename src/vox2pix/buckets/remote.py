"""Paths by URL that tell "not there" from "could not be asked"."""

from collections.abc import Iterator
from typing import Any

from upath.extensions import ProxyUPath

from vox2pix.buckets.paths import bucket_errors


class RemotePath(ProxyUPath):
    """A path by URL, with the methods of :class:`pathlib.Path`.

    fsspec answers "no" when it cannot ask for a file. That would turn a slow server into missing
    noise ceilings; here it is an error.
    """

    __slots__ = ()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is a file or a folder of this name."""
        return self._kind() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is a file of this name."""
        return self._kind() == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there are files below this name."""
        return self._kind() == "directory"

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """Return size and time of change."""
        with bucket_errors(self):
            return super().stat()

    def iterdir(self) -> Iterator[Any]:
        """Yield the entries of this folder."""
        with bucket_errors(self):
            yield from list(super().iterdir())

    def glob(self, pattern: Any, **options: Any) -> Iterator[Any]:
        """Yield what matches a pattern; nothing if the folder is not there."""
        with bucket_errors(self):
            yield from list(super().glob(pattern, **options))

    def rglob(self, pattern: Any, **options: Any) -> Iterator[Any]:
        """Yield what matches a pattern at any depth; nothing if the folder is not there."""
        with bucket_errors(self):
            yield from list(super().rglob(pattern, **options))

    def open(self, mode: str = "r", *args: Any, **options: Any) -> Any:
        """Open the file."""
        with bucket_errors(self):
            return super().open(mode, *args, **options)

    def _kind(self) -> str | None:
        """Return file, directory, or none."""
        try:
            with bucket_errors(self):
                return str(self.fs.info(self.path)["type"])
        except FileNotFoundError:
            return None
