"""A run folder in a bucket: written on this machine, carried over file by file.

matplotlib, zarr, nibabel and Pillow write to files, and a run reads its own shards again and again.
So a run works in a folder of this machine, and whatever is whole goes to the bucket while it works:
data first, then the marks that vouch for them. The bucket is never ahead of itself, and a machine
that dies takes no more with it than the last seconds.
"""

import fcntl
import hashlib
import json
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vox2pix.buckets.cache import cache_folder, copy_to, write_whole
from vox2pix.buckets.lock import BEAT_SECONDS, BucketLock
from vox2pix.buckets.paths import file_versions, is_remote, said_clearly, size_and_version
from vox2pix.errors import UserError

PUSH_SECONDS = 10.0
_AT_ONCE = 8


@contextmanager
def uploaded(path: Path) -> Iterator[Path]:
    """Give a local name to write to; on success the file appears in the bucket, whole.

    Parameters
    ----------
    path : Path
        Where it shall appear.

    Yields
    ------
    Path
        A name with the same suffix on this machine.
    """
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / path.name
        yield partial
        _upload(partial, path)


@contextmanager
def working_copy(path: Path) -> Iterator[Path]:
    """Give a local folder that stands for a run folder: itself, where it is local.

    Parameters
    ----------
    path : Path
        The run folder. One in a bucket is locked, its files are brought here, and what changes
        is carried over until the work ends, also where it ends in an error.

    Yields
    ------
    Path
        A folder on this machine.

    Raises
    ------
    UserError
        If another run holds the folder, or the bucket cannot be reached or written to.
    """
    if not is_remote(path):
        yield path
        return
    copy = _WorkingCopy(path)
    with copy.held():
        yield copy.folder


class _WorkingCopy:
    """The files of a folder in a bucket, and what is known of either side."""

    def __init__(self, remote: Any) -> None:
        if not str(remote).startswith("s3://") or not remote.name:
            raise UserError(f"{remote}: runs lie in local folders or at s3://BUCKET/FOLDER.")
        named = hashlib.blake2b(str(remote).encode(), digest_size=8).hexdigest()
        self.remote = remote
        self.home = cache_folder() / "runs" / named
        self.folder = self.home / "files" / remote.name
        self._pushed: dict[str, list[Any]] = {}  # name: size and ETag there, size and time here
        self._underway: set[str] = set()  # names that a push began with and did not end
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock both sides, bring the files here, and carry changes over until the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.home / "held").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"Another run is at work in {self.remote}, on this machine; wait for it, or "
                    "name another folder."
                ) from None
            except OSError as error:
                raise UserError(
                    f"{self.home} is on a disk without file locks ({error.strerror}): name another "
                    "folder by VOX2PIX_CACHE."
                ) from error
            lock = BucketLock(self.remote / ".lock", self._name())
            lock.acquire()
            try:
                # Bringing many files here, and the last ones over, may take longer than a lock.
                with _every(BEAT_SECONDS, lock.beat):
                    self._pull()
                    try:
                        with _every(PUSH_SECONDS, self._push, lock):
                            yield
                    finally:
                        self._push(lock)
            finally:
                lock.release()

    def _name(self) -> str:
        """Return a name of this copy that no other has."""
        file = self.home / "name"
        if not file.exists():
            with write_whole(file) as partial:
                partial.write_text(uuid.uuid4().hex)
        return file.read_text()

    def _pull(self) -> None:
        """Make the local files those of the bucket; keep what was not carried over yet."""
        self._recall()
        there = file_versions(self.remote)
        here = _local_files(self.folder)
        # Nobody else wrote since this copy did: what is newer here is work that was not lost. What
        # a push had begun with when it broke off is ours, in whichever state it is there.
        left = {name: (told[0], told[1]) for name, told in self._pushed.items()}
        settled = (left.keys() | there.keys()) - self._underway
        if all(left.get(name) == there.get(name) for name in settled):
            wanted = [name for name in there if name not in here and name in settled]
        else:
            wanted = [
                name
                for name, version in there.items()
                if name not in here or self._pushed.get(name) != [*version, *here[name]]
            ]
            for name in here.keys() - there.keys():
                (self.folder / name).unlink()
            self._underway.clear()
        _at_once(self._download, wanted)
        self._note({n: there[n] for n in wanted})

    def _push(self, lock: BucketLock) -> None:
        """Carry over what changed: data, then marks of shards, then marks of stages."""
        with self._one_at_a_time:
            if not self.folder.is_dir():
                raise UserError(f"{self.folder} is gone; {self.remote} is as it was before.")
            here = _local_files(self.folder)
            gone = self._pushed.keys() - here.keys()
            changed = [n for n in here if tuple(self._pushed.get(n, ())[2:]) != here[n]]
            if not gone and not changed:
                return
            lock.beat()  # a machine that slept may have lost it since
            if lock.is_lost:
                raise UserError(
                    f"Another run took {self.remote} over, as this one was not heard of for "
                    f"minutes; what it made since lies in {self.folder}."
                )
            self._underway |= {*gone, *changed}
            self._save()
            for name in gone:
                (self.remote / name).unlink(missing_ok=True)
                del self._pushed[name]
            for rank in range(3):
                _at_once(self._upload, [name for name in changed if _rank(name) == rank])
            self._underway.clear()
            self._save()

    def _upload(self, name: str) -> None:
        """Carry one file over; one that is gone again is not missed."""
        path = self.folder / name
        try:
            stat = path.stat()
            _upload(path, self.remote / name)
        except FileNotFoundError:
            return
        version = size_and_version(self.remote / name)
        self._pushed[name] = [*version, stat.st_size, stat.st_mtime_ns]

    def _download(self, name: str) -> None:
        size, _ = size_and_version(self.remote / name)
        copy_to(self.remote / name, size, self.folder / name)

    def _note(self, arrived: dict[str, tuple[int, str]]) -> None:
        """Note that files arrived as they are in the bucket."""
        here = _local_files(self.folder)
        self._pushed |= {name: [*version, *here[name]] for name, version in arrived.items()}
        self._save()

    def _recall(self) -> None:
        """Read what :meth:`_save` wrote; if that is not sound, nothing is known."""
        known = self.home / "pushed.json"
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            told = json.loads(known.read_text())
            self._pushed, self._underway = dict(told["pushed"]), set(told["underway"])

    def _save(self) -> None:
        """Note what is there, and what is on its way: a kill at any moment loses neither."""
        told = {"pushed": self._pushed, "underway": sorted(self._underway)}
        with write_whole(self.home / "pushed.json") as partial:
            partial.write_text(json.dumps(told))


def _upload(file: Path, path: Any) -> None:
    """Put a file into a bucket; it appears when it is complete."""
    file.stat()  # that a local file is missing is no fault of the bucket
    with said_clearly(path):
        path.fs.put_file(str(file), path.path)


def _local_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of every whole file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        unfinished = any(part.startswith(".") or ".partial" in part for part in name.parts)
        if unfinished or not path.is_file():
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found[name.as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


def _rank(name: str) -> int:
    """Order files so that what vouches for others comes after them: a shard's mark, a stage's."""
    return 2 if name.startswith("stages/") else int("/done/" in name)


def _at_once(work: Callable[[str], None], names: Iterable[str]) -> None:
    """Do something for several names at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(work, name) for name in names]:
            done.result()


@contextmanager
def _every(seconds: float, work: Callable[..., None], *given: Any) -> Iterator[None]:
    """Repeat some work beside the main one; what goes wrong is tried again the next time."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            try:
                work(*given)
            except (UserError, OSError):
                continue  # the last time, in the main thread, it is raised

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
