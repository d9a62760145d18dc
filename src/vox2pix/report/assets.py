"""Where the images of a page go: into the page itself, or into a folder beside it."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2pix.store import marker_of, swapped_in
from vox2pix.store.owned import MARKER, remove_files, remove_tree, whole_name

IN_PAGE, BESIDE = 192, 320  # pixels of a side, at most
_EXACT = 24  # pixels of a side: images this small are not resized, their pixels shown
_QUALITY = 92  # of JPEG, with full colour resolution


@contextmanager
def assets_of(page: Path, are_beside: bool) -> Iterator["Assets"]:
    """Provide the place for the images of a page: the page itself, or a new folder beside it.

    The folder appears when it is complete and has a name that no earlier one had, so that the page
    that is there, and its folder, stay as they are until :func:`remove_unused`.
    """
    if not are_beside:
        yield Assets()
        return
    folder = page.with_name(f"{page.stem}_assets-{uuid4().hex[:8]}")
    with swapped_in(folder, "assets", source=page.name) as new:
        yield Assets(new, folder.name)


def remove_unused(page: Path, used: str) -> None:
    """Remove the folders of images of earlier versions of a page, all but the one in use."""
    named = re.compile(re.escape(page.stem) + r"_assets-[0-9a-f]{8}")
    for folder in list(page.parent.iterdir()):
        if folder.is_symlink() or not named.fullmatch(whole_name(folder.name) or folder.name):
            continue
        marker = marker_of(folder)
        if marker is None or (marker.kind, marker.source) != ("assets", page.name):
            continue
        if whole_name(folder.name) and marker.is_abandoned:
            remove_tree(folder)
        elif folder.name != used and marker.files is not None:
            names = [f"{folder.name}/{name}" for name in (*marker.files, MARKER)]
            remove_files(page.parent, names)


class Assets:
    """Turns images and files into addresses that a page can show.

    They are written into ``folder``, whose final name is ``name``; without one the page holds them.
    """

    def __init__(self, folder: Path | None = None, name: str = "") -> None:
        self.folder, self.name = folder, name
        self.side = IN_PAGE if folder is None else BESIDE

    def images(self, names: Iterable[str], images: Iterable[NDArray[np.uint8]]) -> list[str]:
        """Store images (height, width, 3), no larger than ``side``, and return their addresses.

        Names are unique within the page; what a file name cannot hold is replaced.
        """
        with ThreadPoolExecutor(2) as pool:  # Pillow encodes outside the interpreter's lock
            return list(pool.map(self._image, names, images))

    def file(self, path: Path) -> str:
        """Store a copy of an image file and return its address."""
        kind = guess_type(path.name)[0] or "application/octet-stream"
        return self._store(f"{path.parent.name}-{path.name}", path.read_bytes(), kind)

    def _image(self, name: str, image: NDArray[np.uint8]) -> str:
        pil = Image.fromarray(np.ascontiguousarray(image))
        pil.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        data = BytesIO()
        if max(pil.size) <= _EXACT:
            pil.save(data, "PNG")
            return self._store(f"{name}.png", data.getvalue(), "image/png")
        pil.save(data, "JPEG", quality=_QUALITY, subsampling=0)
        return self._store(f"{name}.jpg", data.getvalue(), "image/jpeg")

    def _store(self, name: str, data: bytes, kind: str) -> str:
        if self.folder is None:
            return f"data:{kind};base64,{b64encode(data).decode()}"
        safe = re.sub(r"[^\w.+-]", "_", name)
        (self.folder / safe).write_bytes(data)
        return quote(f"{self.name}/{safe}")
