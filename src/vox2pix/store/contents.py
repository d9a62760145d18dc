"""Hashes of files from outside a run, recorded so that gigabytes are read once.

A recorded hash holds while size, times of contents and inode, and the inode's number are as they
were; the time of contents alone can be set by anybody. Else the file is read again.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from vox2pix.buckets import is_remote, size_and_version
from vox2pix.errors import UserError
from vox2pix.store.files import read_checked_json, write_checked_json
from vox2pix.store.owned import claim

Stats = tuple[int, int, int, int]

ALWAYS_READ = 64_000_000  # bytes: that little is read at every start, and nothing is recorded
_BLOCK = 1 << 22
# Clocks of file systems tick coarsely: what was written this lately may be written to again
# without any of its times changing.
_SETTLED_NS = 2_000_000_000


def content_hashes(
    root: Path,
    files: Mapping[str, Path],
    records: Path,
    *,
    verify: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Return the SHA-256 of each file by its name, sorted; of a file in a bucket, size and ETag.

    The files belong to ``root`` and share one file in the folder ``records`` (made if needed,
    left alone if it is not ours). ``verify`` reads every file, whatever is recorded.
    ``progress`` receives the bytes read and the bytes to read. A file that changes while it is
    read raises.
    """
    if is_remote(root):
        return {name: _version_there(path) for name, path in sorted(files.items())}
    stats = {name: _stats(path) for name, path in sorted(files.items())}
    worth_it = sum(size for size, *_ in stats.values()) > ALWAYS_READ
    record = records / f"{hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()}.json"
    recorded = _recorded(record) if worth_it and not verify else {}
    hashes = {name: digits for name, (then, digits) in recorded.items() if then == stats.get(name)}
    changed = [name for name in stats if name not in hashes]
    total, done = sum(stats[name][0] for name in changed), 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        progress(done, total)

    for name in changed:
        hashes[name] = _hash(files[name], stats[name], advance)
    if worth_it and (changed or recorded.keys() != stats.keys()):
        _record(record, stats, hashes)
    return {name: hashes[name] for name in stats}


def _version_there(path: Path) -> str:
    """Return what identifies an object in a bucket."""
    size, version = size_and_version(path)
    return f"{size} bytes, {version}"


def _stats(path: Path) -> Stats:
    """Return size, times of change of contents and inode in ns, and the inode's number."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _hash(path: Path, before: Stats, advance: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file that stays as it is meanwhile."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = before[0]  # a file that grows meanwhile has no end
            while left and (block := file.read(min(left, _BLOCK))):
                state.update(block)
                left -= len(block)
                advance(len(block))
    except OSError as error:
        raise _unreadable(path, error) from None
    if _stats(path) != before:
        raise UserError(f"{path} changed while it was read; wait until it is complete, and rerun.")
    return state.hexdigest()


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} cannot be read ({error.strerror or error}); make it readable, or remove it from "
        "the data."
    )


def _recorded(record: Path) -> dict[str, tuple[Stats, str]]:
    """Read a record; what is missing, damaged or of another form is empty."""
    content = read_checked_json(record) or {}
    recorded = {}
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        for name, (size, modified, changed, inode, digits) in content["files"].items():
            recorded[name] = ((size, modified, changed, inode), str(digits))
    return recorded


def _record(record: Path, stats: Mapping[str, Stats], hashes: Mapping[str, str]) -> None:
    """Write a record of the files that have not changed just now."""
    settled = time.time_ns() - _SETTLED_NS
    files = {
        name: [*stat, hashes[name]]
        for name, stat in stats.items()
        if stat[2] < settled  # the inode's time: the other one may be set to anything
    }
    with suppress(UserError, OSError):  # a disk that takes no record costs time, and nothing else
        claim(record.parent, "checksums")
        write_checked_json(record, {"files": files})
