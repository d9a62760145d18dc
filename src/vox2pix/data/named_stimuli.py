"""Images and captions that are beside the data: found by path, name or stem of a file."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vox2pix.data.faults import Faults
from vox2pix.data.folder_stimuli import IMAGE_SUFFIXES, FolderStimuli
from vox2pix.errors import UserError
from vox2pix.untrusted.files import files_below, require_inside


class ImageFiles(Mapping[str, Path]):
    """Image files of a folder and those below it, by what a table may call them.

    A name is looked up as a path below the folder, with or without its extension, then as a file's
    name, then as its stem, in any Unicode form. A name of several files is refused.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: dict[str, list[Path]] = {}
        self._stems: list[str] = []
        paths = sorted(files_below(folder))
        require_inside(folder, paths)
        for path in paths:
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                inside = path.relative_to(folder)
                self._stems.append(path.stem)
                for name in {
                    inside.as_posix(),
                    inside.with_suffix("").as_posix(),
                    path.name,
                    path.stem,
                }:
                    self._named.setdefault(_form(name), []).append(path)

    def __getitem__(self, name: str) -> Path:
        for candidate in _candidates(name):
            files = self._named.get(candidate, [])
            if len(files) > 1:
                raise UserError(
                    f"{files[0]} and {files[1]} could both be the image of stimulus {name!r}: "
                    "name the stimulus by its path below the folder, or remove one."
                )
            if files:
                return files[0]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stems)

    def __len__(self) -> int:
        return len(self._stems)


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _candidates(name: str) -> Iterator[str]:
    """Yield the names under which a stimulus is looked up, the most exact first."""
    path = _form(name).replace("\\", "/")
    stem, point, extension = path.rpartition(".")
    without = stem if point and "/" not in extension and 2 <= len(extension) <= 4 else path
    for whole in (path, without):
        yield whole
    for whole in (path, without):
        yield whole.rpartition("/")[2]


@dataclass(frozen=True, eq=False)
class NamedStimuli(FolderStimuli):
    """Images and captions at the places that a person named; either may be absent."""

    images: Path | None = None  # a folder, or an array file with ``images`` and ``stimulus_id``
    table: Path | None = None  # of captions

    def require_sound(self, stimulus_ids: Sequence[str]) -> None:
        """Raise if a place that was named does not exist, or an image has two files."""
        for setting, place in (("images", self.images), ("captions", self.table)):
            if place is not None and not place.exists():
                raise UserError(f"{place} (the setting {setting}) does not exist: name the place.")
        if self.images is not None and self.images.is_dir():
            for stimulus_id in stimulus_ids:
                self._files.get(stimulus_id)  # raises if two files share a name

    @property
    def has_captions(self) -> bool:
        """Whether a table of captions was named."""
        return self.table is not None

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add a fault for each cause."""
        if self.table is None:
            faults.add(f"{self.folder} was opened without captions: name a table by captions.")
            return tuple(stimulus_ids)
        return super().missing_captions(stimulus_ids, faults)

    @property
    def _captions_path(self) -> Path:
        return self.table or self.folder / "captions.csv"

    @property
    def _no_images(self) -> str:
        return f"{self.folder} was opened without images: name their folder by images."

    @cached_property
    def _source(self) -> Path | None:
        return self.images

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        return ImageFiles(self.images) if self.images and self.images.is_dir() else {}
