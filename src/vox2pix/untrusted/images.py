"""Image files: PNG and JPEG by name, of a bounded number of pixels."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.files import READ_ERRORS, one_line, require_file

FORMATS = ("PNG", "JPEG")
"""Pillow knows dozens more, one of which runs Ghostscript."""

MOST_PIXELS = 89_478_485
"""Pillow's own bound, 256 MB at 3 bytes a pixel; where Pillow warns, vox2pix refuses."""

_DAMAGE: tuple[type[Exception], ...] = (
    *READ_ERRORS,
    SyntaxError,
    IndexError,
    TypeError,
    struct.error,
)
_BEGIN = 26  # bytes of a PNG file, to its bit depth
_DEPTH = 24


@contextmanager
def open_image(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Open an image file; damage that is met while it is used raises a UserError, too.

    Refused are other formats, animations, more than 8 bits per channel, and more than
    :data:`MOST_PIXELS` pixels.
    """
    require_file(path, "add the image")
    try:
        here = local_copy(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(here, formats=formats)
        with image:
            _check(path, here, image)
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(
            f"{path} has more than {MOST_PIXELS / 1e6:.0f} million pixels: save a smaller image."
        ) from None
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as {' or '.join(formats)} ({one_line(error)[:300]}): replace "
            "the file."
        ) from error


def _check(path: Path, here: Path, image: Image.Image) -> None:
    """Raise if an image is too large, moves, or would lose bits."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path} has {width} x {height} pixels, more than {MOST_PIXELS / 1e6:.0f} million: "
            "save a smaller image."
        )
    if image.format == "PNG" and getattr(image, "is_animated", False):
        raise UserError(
            f"{path} holds {getattr(image, 'n_frames', 2)} frames: save the one that is meant as "
            "an image."
        )
    with here.open("rb") as stream:
        begin = stream.read(_BEGIN)
    deep = image.format == "PNG" and begin[_DEPTH] > 8  # Pillow drops bits of colours silently
    if deep or image.mode.startswith(("I", "F")):
        raise UserError(
            f"{path} has more than 8 bits per channel (mode {image.mode}): save it as 8-bit RGB."
        )
