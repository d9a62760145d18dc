"""One run's folder: which stages are done, under which settings."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from vox2pix.errors import UserError
from vox2pix.store.files import file_hash, read_checked_json, write_checked_json


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
            except BlockingIOError:
                raise UserError(
                    f"Another run is at work in {self.path}; wait for it, or name another folder."
                ) from None
            except OSError as error:
                raise UserError(
                    f"{self.path} is on a disk without file locks ({error.strerror}): name a "
                    "folder elsewhere, or have the disk mounted with them (Lustre: -o flock)."
                ) from error
            for left in self.path.rglob("*.partial*"):  # by a run that was killed; zarr's, too
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

    def _mark(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"
