"""Images and captions that are beside the data: found by path, name or stem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vox2pix.data.faults import Faults
from vox2pix.data.folder_stimuli import IMAGE_SUFFIXES, FolderStimuli
from vox2pix.data.names import ByName
from vox2pix.errors import UserError
from vox2pix.untrusted.files import files_below, require_inside


def image_files(folder: Path) -> ByName[Path]:
    """Return the images of a folder and those below it, by their paths there."""
    paths = sorted(files_below(folder))
    require_inside(folder, paths)
    images = (path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return ByName((path.relative_to(folder).as_posix(), path) for path in images)


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
        return image_files(self.images) if self.images and self.images.is_dir() else {}

    @cached_property
    def _captions(self) -> Mapping[str, tuple[str, ...]]:
        return ByName(self._read_captions().items())
