"""NIfTI and MGH images: one file of the class that its name says, bounded by its own header.

nibabel recognises a dozen formats by their content, and some name further files. Here the suffix
decides, and the header is checked before nibabel reads on.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader

from vox2pix.buckets import local_copy, open_binary
from vox2pix.errors import UserError
from vox2pix.untrusted.files import DEFLATE_RATIO, READ_ERRORS, damage_named, require_file

_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")
_NIFTI = {348: (nib.Nifti1Image, b"n+1\0"), 540: (nib.Nifti2Image, b"n+2\0")}
_MAGIC = {348: slice(344, 348), 540: slice(4, 8)}
_MGH_HEADER = 284
_MOST_BEFORE_DATA = 64 * 2**20  # of extensions between the header and the values
_MOST_BEHIND_DATA = 16 * 2**20
_REMEDY = "copy or download it again"


def open_volume(path: Path) -> Any:
    """Open an image lazily; its file stays open so that blocks are read in one pass.

    Refused are other formats, images in two files, files too short for their header, and values
    that are no numbers.
    """
    kind, _ = _checked_header(path, local_copy)
    with image_damage_named(path):
        return kind.from_filename(str(local_copy(path)), keep_file_open=True)


def volume_header(path: Path) -> Any:
    """Read the header of an image, of a remote one nothing else."""
    return _checked_header(path)[1]


@contextmanager
def reading_volume(path: Path) -> Iterator[Any]:
    """Open an image; the checksum of a packed one is compared where it was read to its end.

    Refused is a packed file that holds much more than its header describes.
    """
    with image_damage_named(path, READ_ERRORS):
        image = open_volume(path)
        if not is_packed(path):
            yield image
            return
        with gzip.open(local_copy(path)) as stream:
            image = type(image).from_file_map(type(image).make_file_map({"image": stream}))
            yield image
            end = image.dataobj.offset + _data_bytes(image.header)
            if stream.tell() < end:
                return
            while stream.read(2**20):
                if stream.tell() > end + _MOST_BEHIND_DATA:
                    raise UserError(
                        f"{path} continues after the {end} bytes that its header describes: "
                        f"{_REMEDY}."
                    )


def is_packed(path: Path) -> bool:
    """Return whether an image is packed by gzip, by its name."""
    return path.suffix in (".gz", ".mgz")


def require_numbers(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise if an array holds text, records, colours or complex numbers."""
    if dtype.kind not in "iuf":
        raise UserError(f"{path} holds values of type {dtype}, not numbers: replace the file.")


@contextmanager
def image_damage_named(
    path: Path, errors: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Turn whatever a damaged image raises into one message."""
    with damage_named(path, "no image", _REMEDY, errors):
        yield


def _checked_header(path: Path, copy: Any = None) -> tuple[Any, Any]:
    """Return class and header of an image, after checking the header."""
    require_file(path)
    if not path.name.endswith(_SUFFIXES):
        raise UserError(f"{path} is no image that is read here: give {', '.join(_SUFFIXES)}.")
    with image_damage_named(path):
        with open_binary(copy(path) if copy else path) as stream:
            source: Any = gzip.GzipFile(fileobj=stream) if is_packed(path) else stream
            if path.suffix in (".mgh", ".mgz"):
                kind, header, offset = nib.MGHImage, *_mgh_header(source)
            else:
                kind, header, offset = _nifti_header(path, source)
        _require_whole(path, header, offset)
        return kind, header


def _mgh_header(stream: IO[bytes]) -> tuple[Any, int]:
    header = MGHHeader(stream.read(_MGH_HEADER), check=True)
    return header, int(header.get_data_offset())


def _nifti_header(path: Path, stream: IO[bytes]) -> tuple[Any, Any, int]:
    """Parse a NIfTI header of version 1 or 2, which must be that of a single file."""
    begin = stream.read(4)
    sizes = (int.from_bytes(begin, "little"), int.from_bytes(begin, "big"))
    size = next((size for size in sizes if size in _NIFTI), None)
    if size is None:
        raise ValueError("it has no NIfTI header")
    kind, magic = _NIFTI[size]
    block = begin + stream.read(size - 4)
    if block[_MAGIC[size]] != magic:
        raise UserError(
            f"{path} says that its values are in another file: save the image as one .nii.gz."
        )
    header = kind.header_class(block, check=True)
    offset = float(header["vox_offset"])
    if not size <= offset <= _MOST_BEFORE_DATA:
        raise UserError(f"{path} says that its values begin at byte {offset:g}: {_REMEDY}.")
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isinf(slope) or np.isinf(inter):
        raise UserError(f"{path} scales its values by {slope:g} and {inter:g}: save it again.")
    return kind, header, int(offset)


def _require_whole(path: Path, header: Any, offset: int) -> None:
    """Raise if a file holds no numbers or is too short for what its header promises."""
    require_numbers(path, header.get_data_dtype())
    if any(n < 0 for n in header.get_data_shape()):
        raise UserError(f"{path} is damaged: its shape is {header.get_data_shape()}: {_REMEDY}.")
    needed = offset + _data_bytes(header)
    size = path.stat().st_size
    if needed > size * (DEFLATE_RATIO if is_packed(path) else 1):
        packed = "packed " if is_packed(path) else ""
        raise UserError(f"{path} is truncated ({size} {packed}of {needed} bytes): {_REMEDY}.")


def _data_bytes(header: Any) -> int:
    shape = header.get_data_shape()
    return prod(int(n) for n in shape) * int(header.get_data_dtype().itemsize)
