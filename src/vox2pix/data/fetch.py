"""Download what is needed of NSD: listed first, resumed where it was cut off, and verified."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

from vox2pix.buckets import as_path, bucket_errors, size_and_version
from vox2pix.data.names import nearest
from vox2pix.data.nsd_layout import HEMISPHERES, NsdLayout
from vox2pix.data.nsd_stimuli import COCO_SPLITS
from vox2pix.errors import UserError
from vox2pix.store import claim, refuse_links

NSD_BUCKET = "s3://natural-scenes-dataset"
NSD_TERMS = "https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions"
NSD_AGREEMENT = "https://forms.gle/xue2bCdM9LaFNMeb7"
PARTS = ("betas", "roi", "stimuli", "transforms")

_CHUNK_BYTES = 8 * 2**20  # of one request: what a cut connection can cost
_AT_ONCE = 4
_SPARE_BYTES = 2**30  # room on the disk that is left to others


@dataclass(frozen=True)
class RemoteFile:
    """A file to download."""

    source: Path  # as :func:`vox2pix.buckets.as_path` returns it
    name: str  # its path below the data set's root
    part: str  # which of the parts asked for it belongs to; ``design`` goes with all of them
    size: int
    version: str

    def place(self, out: Path) -> Path:
        """Return where it appears when it is complete."""
        return out / self.name

    def partial(self, out: Path) -> Path:
        """Return where it grows; the ETag is in the name, so that two versions are never joined."""
        version = hashlib.blake2b(self.version.encode(), digest_size=16).hexdigest()
        place = self.place(out)
        return place.with_name(f".{place.name}.{version}.partial")

    def is_here(self, out: Path) -> bool:
        """Return whether it was downloaded: it appears when it is verified."""
        place = self.place(out)
        return place.is_file() and place.stat().st_size == self.size

    def left(self, out: Path) -> int:
        """Return the bytes that are still to come."""
        if self.is_here(out):
            return 0
        partial = self.partial(out)
        return self.size - (min(partial.stat().st_size, self.size) if partial.exists() else 0)


def nsd_files(
    subject: int = 1,
    what: Sequence[str] = ("betas", "roi", "stimuli"),
    sessions: int | None = None,
    space: str = "func1pt8mm",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    source: str = NSD_BUCKET,
    endpoint: str | None = None,
) -> tuple[RemoteFile, ...]:
    """List the files of NSD that one subject needs.

    ``what`` names parts out of :data:`PARTS`; the experiment's design, a small file, comes with any
    of them. ``sessions`` is the number of sessions from the first on, all by default; ``endpoint``
    the URL of another S3 server that holds the data set.
    """
    for part in what:
        if part not in PARTS:
            raise UserError(f"NSD has no part {part!r} to fetch; {nearest(part, PARTS)}")
    layout = NsdLayout(as_path(source, endpoint=endpoint), subject, space, betas)
    layout.require_folders()
    paths = [("design", path) for path in (layout.design, layout.responses)]
    if "betas" in what:
        paths += [("betas", path) for path in _beta_files(layout, sessions)]
    if "roi" in what:
        paths += [("roi", path) for path in _roi_files(layout)]
    if "stimuli" in what:
        captions = [layout.captions(split) for split in COCO_SPLITS]
        paths += [("stimuli", p) for p in (layout.images, layout.stimulus_info, *captions)]
    if "transforms" in what:
        folder = layout.root / "nsddata/ppdata" / layout.name / "transforms"
        paths += [("transforms", path) for path in _files_in(folder)]
    return tuple(_listed(layout.root, paths))


def _beta_files(layout: NsdLayout, sessions: int | None) -> list[Path]:
    present = layout.sessions_present()
    if sessions is not None and not set(range(1, sessions + 1)) <= set(present):
        raise UserError(
            f"{layout.name} has {len(present)} sessions in {layout.space}, not {sessions}: "
            "ask for fewer."
        )
    numbers = present if sessions is None else range(1, sessions + 1)
    return [*(file for number in numbers for file in layout.session(number)), *layout.ncsnr]


def _roi_files(layout: NsdLayout) -> list[Path]:
    """List label images, and the lists of their names."""
    start = tuple(f"{hemi}." for hemi in HEMISPHERES)
    images = [p for p in _files_in(layout.rois) if p.name.endswith((".nii.gz", ".mgz"))]
    if not layout.is_surface:
        images = [path for path in images if not path.name.startswith(start)]
    folders = dict.fromkeys(layout.label_folders)
    lists = [p for f in folders for p in _files_in(f) if p.name.endswith(".ctab")]
    return [*images, *lists, *(() if layout.is_surface else (layout.brain_mask,))]


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _listed(root: Path, paths: Sequence[tuple[str, Path]]) -> Iterator[RemoteFile]:
    """Yield the files that there are; what is optional in NSD's tree may be absent."""
    for part, path in dict.fromkeys(paths):
        try:
            size, version = size_and_version(path)
        except FileNotFoundError:
            continue
        yield RemoteFile(path, path.relative_to(root).as_posix(), part, size, version)


def require_space(files: Sequence[RemoteFile], out: Path) -> None:
    """Raise if the disk of ``out`` has no room for what is still to be downloaded."""
    needed = sum(file.left(out) for file in files)
    there = next(folder for folder in (out, *out.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if needed and needed + _SPARE_BYTES > free:
        raise UserError(
            f"{out} needs {needed / 1e9:,.1f} GB more and 1 GB to spare, the disk has "
            f"{free / 1e9:,.1f} GB free: make room, name another folder by --out, or ask for "
            "fewer sessions."
        )


def download(
    files: Sequence[RemoteFile],
    out: Path,
    progress: Callable[[int], None] = lambda n_bytes: None,
) -> tuple[str, ...]:
    """Download what is missing, several files at once, and verify each.

    A file appears under ``out`` when it is complete and verified; an interrupted download resumes
    where it stopped. ``progress`` receives the bytes of every piece that arrives. Returned are the
    names of files of which only the size could be verified, because their ETag is no MD5 sum
    (encrypted buckets).
    """
    claim(out, "download")
    refuse_links(out)
    stop, lock = Event(), Lock()

    def advance(n_bytes: int) -> None:
        with lock:
            progress(n_bytes)

    missing = [file for file in files if not file.is_here(out)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(_download, file, out, advance, stop) for file in missing]
        try:
            verified = [job.result() for job in jobs]
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return tuple(file.name for file, ok in zip(missing, verified, strict=True) if not ok)


def _download(file: RemoteFile, out: Path, advance: Callable[[int], None], stop: Event) -> bool:
    """Download one file and tell whether its checksum could be verified."""
    place, partial = file.place(out), file.partial(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as growing:
            growing.truncate(min(growing.tell(), file.size))
            for start in range(growing.tell(), file.size, _CHUNK_BYTES):
                if stop.is_set():
                    return False
                piece = _piece(file, start, min(start + _CHUNK_BYTES, file.size))
                growing.write(piece)
                growing.flush()
                advance(len(piece))
    except OSError as error:
        raise UserError(
            f"{place} cannot be written ({error.strerror}): make room or name another folder by "
            "--out, then rerun to resume."
        ) from error
    matches = _matches(file, partial)
    if matches is False:
        partial.unlink()
        raise UserError(
            f"{file.name} arrived with another checksum than {file.source} has; it was removed: "
            "rerun."
        )
    partial.replace(place)
    return matches is True


def _piece(file: RemoteFile, start: int, stop: int) -> bytes:
    """Fetch some bytes of a file, of the version that was listed."""
    source: Any = file.source
    with bucket_errors(source):
        piece: bytes = source.fs.cat_file(source.path, start=start, end=stop)
    if len(piece) != stop - start:
        raise UserError(f"{source} changed while it was read; rerun.")
    return piece


def _matches(file: RemoteFile, path: Path) -> bool | None:
    """Return whether a file has its ETag: the MD5 sum, or that of its parts' sums; None if unknown.

    Objects put in parts have the ETag ``MD5(MD5(part 1) ... MD5(part n))-n`` (Amazon S3 User
    Guide, "Checking object integrity"); the size of a part is asked of the server.
    """
    etag = re.fullmatch(r"([0-9a-f]{32})(?:-(\d+))?", file.version)
    if not etag:
        return None
    head = _head(file, etag[2] is not None)
    if head.get("ServerSideEncryption", "").startswith("aws:kms") or head.get("SSECustomerKeyMD5"):
        return None
    part = head["ContentLength"] if etag[2] else max(file.size, 1)
    sums = list(_md5_sums(path, part))
    if not etag[2]:
        return sums[0].hex() == etag[1]
    whole = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
    return whole == etag[1] and len(sums) == int(etag[2])


def _head(file: RemoteFile, in_parts: bool) -> dict[str, Any]:
    """Ask the server about a file, or about its first part."""
    source: Any = file.source
    bucket, _, key = source.path.partition("/")
    part = {"PartNumber": 1} if in_parts else {}
    with bucket_errors(source):
        return dict(source.fs.call_s3("head_object", Bucket=bucket, Key=key, **part))


def _md5_sums(path: Path, part: int) -> Iterator[bytes]:
    """Yield the MD5 sum of each part of a file, at least one."""
    with path.open("rb") as file:
        n_parts = max(1, -(-path.stat().st_size // part))
        for _ in range(n_parts):
            state, left = hashlib.md5(usedforsecurity=False), part
            while left and (block := file.read(min(left, 2**20))):
                state.update(block)
                left -= len(block)
            yield state.digest()
