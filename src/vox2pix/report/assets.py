"""Where the pictures of a page go: into the page itself, or into a folder beside it."""

import re
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from mimetypes import guess_type
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2pix.errors import UserError

IN_PAGE, BESIDE = 192, 320  # pixels a side, at most
_EXACT = 24  # pixels a side: pictures this small are kept as they are, their squares shown
_QUALITY = 92  # of JPEG, with full colour resolution


_MARK = ".vox2pix"  # in a folder that a page of ours made, and may replace


def beside(page: Path) -> Path:
    """Return the folder of a page's pictures."""
    return page.with_name(f"{page.stem}_assets")


def is_ours(folder: Path) -> bool:
    """Tell whether a page made a folder, and nobody put anything of their own in its place."""
    return folder.is_dir() and not folder.is_symlink() and (folder / _MARK).is_file()


class Assets:
    """Turns pictures and files into addresses that a page can show.

    Parameters
    ----------
    folder : Path, optional
        The folder beside the page; what an earlier page had there is removed. The page holds
        everything itself if None.

    Raises
    ------
    UserError
        If there is such a folder, and no page of ours made it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.side = IN_PAGE if folder is None else BESIDE
        if folder is None:
            return
        if is_ours(folder):
            rmtree(folder)
        elif folder.exists():
            raise UserError(
                f"{folder}, where the page's pictures would go, was not made by vox2pix; move it "
                "away, or name another page with --out."
            )
        folder.mkdir(parents=True)
        (folder / _MARK).touch()

    def pictures(self, names: Iterable[str], pictures: Iterable[NDArray[np.uint8]]) -> list[str]:
        """Store pictures and return their addresses.

        Parameters
        ----------
        names : iterable of str
            One a picture, unlike all others of the page; what a file name cannot hold is replaced.
        pictures : iterable of ndarray of uint8, shape (height, width, 3)
            Larger ones are made smaller: at most ``side`` pixels.
        """
        with ThreadPoolExecutor(2) as pool:  # Pillow encodes outside the interpreter's lock
            return list(pool.map(self._picture, names, pictures))

    def file(self, path: Path) -> str:
        """Store a copy of a picture file and return its address."""
        kind = guess_type(path.name)[0] or "application/octet-stream"
        return self._store(f"{path.parent.name}-{path.name}", path.read_bytes(), kind)

    def _picture(self, name: str, picture: NDArray[np.uint8]) -> str:
        image = Image.fromarray(np.ascontiguousarray(picture))
        image.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        data = BytesIO()
        if max(image.size) <= _EXACT:
            image.save(data, "PNG")
            return self._store(f"{name}.png", data.getvalue(), "image/png")
        image.save(data, "JPEG", quality=_QUALITY, subsampling=0)
        return self._store(f"{name}.jpg", data.getvalue(), "image/jpeg")

    def _store(self, name: str, data: bytes, kind: str) -> str:
        if self.folder is None:
            return f"data:{kind};base64,{b64encode(data).decode()}"
        safe = re.sub(r"[^\w.+-]", "_", name)
        (self.folder / safe).write_bytes(data)
        return quote(f"{self.folder.name}/{safe}")
