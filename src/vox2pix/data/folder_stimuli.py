"""Images and captions of a person's own folder."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.folder_arrays import only_one, open_array
from vox2pix.data.images import as_rgb, conversions, read_image
from vox2pix.data.names import add_missing
from vox2pix.data.tables import read_table
from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
IMAGE_FOLDERS = ("images", "pictures")


@dataclass(frozen=True, eq=False)
class FolderStimuli:
    """Images and captions of a folder."""

    folder: Path  # the subject's folder

    def require_sound(self, stimulus_ids: Sequence[str]) -> None:
        """Raise if it is unclear which images are meant, or an id is beyond the last image."""
        source = self._source
        if source is None or source.suffix != ".npy":
            _ = self._files  # raises if two files share an id
            return
        with open_array(source, "images") as array:
            n_images = _n_images(array, source)
        beyond = [i for i in stimulus_ids if i.isdecimal() and int(i) >= n_images]
        if beyond:
            raise UserError(
                f"{self.folder / 'trials.csv'} names stimulus {beyond[0]!r}, but {source} holds "
                f"images 0 to {n_images - 1}: an index is off by one, or use stimuli.npz with ids."
            )

    def missing_images(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without an image, and add a fault for each cause."""
        source = self._source
        if source is None:
            faults.add(self._no_images)
            return tuple(stimulus_ids)
        available: Mapping[str, Any] = {}
        with faults.gathered():
            available = self._places(source)
            missing = tuple(i for i in stimulus_ids if i not in available)
            unread = self._unread_files() if missing and source.is_dir() else {}
            other = [i for i in missing if i in unread]
            if other:
                faults.add(
                    f"{source} has {len(other)} of {len(stimulus_ids)} images in a form that is "
                    f"not read ({unread[other[0]]}): save them as {', '.join(IMAGE_SUFFIXES)}, in "
                    "this folder itself."
                )
            rest = [i for i in missing if i not in unread]
            remedy = f"add {rest[0]}.png" if rest and source.is_dir() else "add it"
            add_missing("image", str(source), rest, available, len(stimulus_ids), remedy, faults)
            return missing
        return tuple(stimulus_ids)

    @property
    def _no_images(self) -> str:
        return f"{self.folder} has no images: add images/ID.png, stimuli.npz or stimuli.npy."

    def _unread_files(self) -> dict[str, str]:
        """Return the files that this reader passes over, of other types or deeper down, by id."""
        folder, found = self._source, dict[str, str]()
        if folder is None or not folder.is_dir():
            return found
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file not in self._files.values():
                relative = file.relative_to(folder).as_posix()
                found.setdefault(file.stem, relative)
                found.setdefault(relative, relative)
                found.setdefault(relative.removesuffix(file.suffix), relative)
        return found

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add a fault for each cause."""
        with faults.gathered():
            missing = tuple(i for i in stimulus_ids if i not in self._captions)
            where = str(self._captions_path)
            remedy = "add one, or remove the file to do without captions"
            n_all = len(stimulus_ids)
            add_missing("caption", where, missing, self._captions, n_all, remedy, faults)
            return missing
        return tuple(stimulus_ids)

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Count the images that reading changes, by what it does to them."""
        source = self._source
        counts: Counter[str] = Counter()
        if source is not None and source.is_dir():
            for stimulus_id in stimulus_ids:
                counts.update(conversions(self._files[stimulus_id]))
        return dict(counts)

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Yield images (height, width, 3), uint8 or float32, one at a time."""
        faults = Faults()
        self.missing_images(stimulus_ids, faults)
        faults.raise_first()
        source = self._source
        if source is None:
            raise UserError(self._no_images)
        if source.is_dir():
            for stimulus_id in stimulus_ids:
                yield read_image(self._files[stimulus_id])
            return
        with open_array(source, "images") as array:
            rows = self._places(source)
            for stimulus_id in stimulus_ids:
                image = np.asarray(array[rows[stimulus_id]])
                yield as_rgb(image, f"{source}, image {stimulus_id}")

    @property
    def has_captions(self) -> bool:
        """Whether there is a ``captions.csv``."""
        return is_there(self._captions_path)

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions of each stimulus, in the order of the file."""
        faults = Faults()
        self.missing_captions(stimulus_ids, faults)
        faults.raise_first()
        return [self._captions[i] for i in stimulus_ids]

    @property
    def _captions_path(self) -> Path:
        """The table of captions, whether there is one or not."""
        return self.folder / "captions.csv"

    @cached_property
    def _source(self) -> Path | None:
        """The one place of images."""
        places = [self.folder / name for name in (*IMAGE_FOLDERS, "stimuli.npz", "stimuli.npy")]
        return only_one(places, "images")

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        """Image files by id."""
        files: dict[str, Path] = {}
        if self._source is None or not self._source.is_dir():
            return files
        for file in sorted(self._source.iterdir()):
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if file.stem in files:
                raise UserError(
                    f"{files[file.stem]} and {file} are both images of stimulus "
                    f"{file.stem!r}: remove one."
                )
            files[file.stem] = file
        return files

    def _places(self, source: Path) -> Mapping[str, Any]:
        """Return the file, or the row of an array, of each image by its id."""
        if source.is_dir():
            return self._files
        if source.suffix != ".npy":
            return self._array_rows
        with open_array(source, "images") as array:
            return {str(i): i for i in range(_n_images(array, source))}

    @cached_property
    def _array_rows(self) -> dict[str, int]:
        """Row of each stimulus in an array file that names its stimuli."""
        path = self._source
        if path is None:
            return {}
        with open_array(path, "stimulus_id") as ids, open_array(path, "images") as images:
            names = [str(i) for i in np.asarray(ids).ravel()]
            n_images = _n_images(images, path)
            if len(set(names)) != n_images or len(names) != n_images:
                raise UserError(
                    f"{path} holds {n_images} images and {len(set(names))} different "
                    "stimulus_id: give each image an id of its own."
                )
        return {name: i for i, name in enumerate(names)}

    @cached_property
    def _captions(self) -> Mapping[str, tuple[str, ...]]:
        """Captions by stimulus."""
        return self._read_captions()

    def _read_captions(self) -> dict[str, tuple[str, ...]]:
        """Read the captions by what their table calls the stimuli."""
        path = self._captions_path
        table = read_table(path, ("stimulus_id", "caption"))
        gathered: dict[str, list[str]] = {}
        for stimulus_id, caption in zip(table["stimulus_id"], table["caption"], strict=True):
            if caption:
                gathered.setdefault(stimulus_id, []).append(caption)
        return {stimulus_id: tuple(texts) for stimulus_id, texts in gathered.items()}


def _n_images(array: Any, source: Path) -> int:
    """Return how many images an array holds."""
    if len(array.shape) < 3:
        raise UserError(
            f"{source} has images of shape {tuple(array.shape)}: save an array (n, height, "
            "width) or (n, height, width, 3)."
        )
    return int(array.shape[0])
