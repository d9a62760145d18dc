"""Why a file cannot be read: truncated, another format, a pointer or a web page in its place.

"Truncated" only if the header, or whoever unpacked the file, says that bytes are missing.
"""

import gzip
import re
import zlib
from contextlib import suppress
from json import JSONDecodeError
from pathlib import Path
from zipfile import BadZipFile

from vox2pix.buckets import open_binary

_BEGIN = 1024  # bytes that are looked at
_MISSING = re.compile(
    "truncated|ended before|unexpected end|end of file|EOF|premature|incomplete|"
    "greater than file size|expected \\d+ bytes, got|not enough (data|bytes)|too short|too small|"
    "could not read bytes|could only read|no data left",
    re.IGNORECASE,
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LFS = b"version https://git-lfs.github.com/spec"
# What a file is by its first bytes, and what to do about it. The first that fits counts.
_DOWNLOAD = "download the file itself"
_FORMATS: tuple[tuple[str, bytes, str, str], ...] = (
    ("lfs", re.escape(_LFS), "a Git LFS pointer, not the file itself", "run git lfs pull"),
    ("annex", rb"(/|\.\./)*\.?(git)?/?annex/objects/", "a git-annex pointer, not the file itself",
     "run datalad get or git annex get"),
    ("html", rb"(?i)\s*<(!doctype html|html|head|body)", "a web page (of a login or an error)",
     f"{_DOWNLOAD}, logged in where that is needed"),
    ("xml", rb"\s*<\?xml", "an XML document (an error of the server, perhaps)", _DOWNLOAD),
    ("mat73", rb"MATLAB 7\.3", "a MATLAB file of version 7.3 (HDF5)", "save it with -v7"),
    ("mat", rb"MATLAB 5", "a MATLAB file of version 5 to 7", ""),
    ("hdf5", re.escape(_HDF5), "an HDF5 file", ""),
    ("npy", rb"\x93NUMPY", "a NumPy array (npy)", ""),
    ("zip", rb"PK\x03\x04|PK\x05\x06", "a zip archive (npz, for one)", ""),
    ("gzip", rb"\x1f\x8b", "a gzip file", "unpack it, or give it the ending .gz"),
    ("nifti", rb"(?s)(\x5c\x01\0\0|\0\0\x01\x5c).{340}(n\+1|ni1)|(\x1c\x02\0\0|\0\0\x02\x1c)n",
     "a NIfTI image", ""),
    ("mgh", rb"\0\0\0\x01\0\0", "an MGH image", ""),
    ("png", rb"\x89PNG", "a PNG image", ""),
    ("jpeg", rb"\xff\xd8\xff", "a JPEG image", ""),
    ("gif", rb"GIF8", "a GIF image", ""),
    ("webp", rb"(?s)RIFF.{4}WEBP", "a WebP image", ""),
    ("tiff", rb"II\*\0|MM\0\*", "a TIFF image", ""),
    ("pdf", rb"%PDF", "a PDF document", ""),
    ("xz", rb"\xfd7zXZ", "an xz archive", "unpack it"),
    ("bz2", rb"BZh[1-9]", "a bzip2 archive", "unpack it"),
    ("7z", rb"7z\xbc\xaf", "a 7z archive", "unpack it"),
    ("zstd", rb"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    ("tar", rb"(?s).{257}ustar", "a tar archive", "unpack it"),
    ("pickle", rb"(?s)\x80[\x02-\x05].*", "pickled Python objects, which may run programs and are "
     "not read", "save the arrays themselves, with numpy.save or in HDF5"),
    ("safetensors", rb"(?s).{5}\0\0\0\{", "a safetensors file", ""),
    ("json", rb"\s*[\[{]", "JSON text", ""),
)  # fmt: skip
# How long the headers of formats are that begin so.
_HEADERS = {
    _HDF5: 96, b"MATLAB 5": 128, b"\x5c\x01\0\0": 348, b"\0\0\x01\x5c": 348, b"\x1c\x02\0\0": 540,
    b"\0\0\x02\x1c": 540, b"\x93NUMPY": 128, b"\0\0\0\x01\0\0": 284,
}  # fmt: skip
# What may be in a file with this ending.
_ENDINGS = {
    ".h5": ("hdf5",), ".hdf5": ("hdf5",), ".nii": ("nifti",), ".gz": ("gzip",), ".mgz": ("gzip",),
    ".mgh": ("mgh",), ".npy": ("npy",), ".npz": ("zip",), ".mat": ("mat", "mat73", "hdf5"),
    ".png": ("png",), ".jpg": ("jpeg",), ".jpeg": ("jpeg",), ".safetensors": ("safetensors",),
    ".json": ("json",), ".pt": ("zip", "pickle"), ".pth": ("zip", "pickle"),
}  # fmt: skip


def damage_message(path: Path, what: str, error: BaseException, remedy: str) -> str:
    """Return why a file could not be read, and the remedy.

    ``what`` is what it turned out not to be, e.g. ``"no HDF5 file"``. The file is called empty,
    truncated (only where bytes are known to be missing), of another format, or damaged.
    """
    detail = " ".join(str(error).split())[:300] or type(error).__name__
    begin = _first_bytes(path)
    if begin == b"":
        return f"{path} is empty (0 bytes): {remedy}."
    kind = None if begin is None else _kind(begin)
    # NumPy takes whatever it does not know for a pickle
    if kind in ("npy", "zip") and re.search("allow_pickle|Python objects", detail):
        return (
            f"{path} holds pickled Python objects, which may run programs and are not read: save "
            "the array itself, numpy.save(path, objects.item()['betasmd']), for one."
        )
    other = None if begin is None else _other_format(path, begin)
    if other:
        words, own_remedy = other
        return f"{path} is {what}, it is {words}: {own_remedy or 'replace the file'}."
    if "allow_pickle" in detail:
        detail = "its first bytes are of no known format"
    if _is_truncated(error, detail, kind, begin or b""):
        return f"{path} is truncated ({detail}): {remedy}."
    return f"{path} is damaged or is {what} ({detail}): {remedy}."


def _first_bytes(path: Path) -> bytes | None:
    """Return how a file begins; None if that cannot be known."""
    try:
        with open_binary(path) as stream:
            return bytes(stream.read(_BEGIN))
    except Exception:
        return None


def _other_format(path: Path, begin: bytes) -> tuple[str, str] | None:
    """Return what a file is and what to do, for a message; None if it is what its name says."""
    kind = _kind(begin)
    expected = _ENDINGS.get(path.suffix.lower(), ())
    if kind is None:
        return _as_text(begin) if expected else None
    if kind == "gzip" and kind in expected:
        inside = _unpacked(begin)
        kind = _kind(inside)
        if kind in (None, "mgh" if path.suffix == ".mgz" else "nifti"):
            return _as_text(inside) if inside and kind is None else None
        words, remedy = next((w, r) for name, _, w, r in _FORMATS if name == kind)
        return f"gzip around {words}", remedy
    if kind in expected:
        return None
    return next((words, remedy) for name, _, words, remedy in _FORMATS if name == kind)


def _kind(begin: bytes) -> str | None:
    """Return the format of a file by its first bytes."""
    return next((name for name, magic, _, _ in _FORMATS if re.match(magic, begin)), None)


def _as_text(begin: bytes) -> tuple[str, str] | None:
    """Return the first line of what is text."""
    text = begin.removeprefix(b"\xef\xbb\xbf").strip()
    if len(text) < 4 or not all(32 <= byte < 127 or byte in b"\t\r\n" for byte in text):
        return None
    return f"text that begins with {text.splitlines()[0][:40].decode()!r}", ""


def _unpacked(begin: bytes) -> bytes:
    """Return how the content of a gzip file begins."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(begin, _BEGIN)
    except zlib.error:
        return b""


def _is_truncated(error: BaseException, detail: str, kind: str | None, begin: bytes) -> bool:
    """Return whether bytes are known to be missing."""
    if isinstance(error, EOFError) or _MISSING.search(detail):
        return not isinstance(error, gzip.BadGzipFile)
    if isinstance(error, JSONDecodeError):
        return error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    if kind == "zip":  # the list of an archive's members is at its end
        return isinstance(error, BadZipFile) and "not a zip" in detail
    if kind == "gzip" and len(begin) < _BEGIN:
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with suppress(zlib.error):
            unpacking.decompress(begin)
            return not unpacking.eof
    return any(
        begin.startswith(start) and len(begin) < n_bytes for start, n_bytes in _HEADERS.items()
    )
