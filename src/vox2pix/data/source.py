"""What a reader is to the rest of the package: data in one layout, at a place."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from vox2pix.buckets import file_versions, size_and_version
from vox2pix.data.faults import Faults
from vox2pix.data.subject import Subject

Version = tuple[int, str]
"""Bytes of a file, and what changes when it does."""


@dataclass(frozen=True)
class Published:
    """How large data are by what was published of them, for a plan before they can be read."""

    n_train_trials: int
    n_train: int  # training stimuli
    n_test: int  # test stimuli
    n_voxels: Mapping[str, int]  # of each region that was asked for
    beta_bytes: float
    facts: tuple[str, ...]  # where the figures come from


class Source(BaseModel, ABC):
    """Data in one layout: a reader's file defines one, and ``data/_registry.py`` lists it.

    The fields are the settings that the layout takes: those of ``[data]`` that have the same name,
    and its own, which are given in ``[data.options]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: ClassVar[str]
    """What ``data.source`` calls it."""
    title: ClassVar[str]
    """What messages call the layout, e.g. ``NSD's layout``."""
    image_side: ClassVar[int] = 128
    """Usual pixels per side of an image, by which a plan guesses what is read."""

    root: Any
    """The place: a path, or what :func:`vox2pix.buckets.as_path` makes of a URL."""

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether a place is in this layout, by the names of a few files."""

    @abstractmethod
    def gather(self, rois: Sequence[str], faults: Faults) -> Subject | None:
        """Open what can be opened and add every fault; None if nothing is left.

        ``rois`` are the regions that are asked for; a layout that reads all of them ignores it.
        """

    def open(self, rois: Sequence[str] = ()) -> Subject:
        """Open the subject; the first fault is raised as a ``UserError``."""
        faults = Faults()
        return faults.require(self.gather(rois, faults))

    def outlook(self, rois: Sequence[str]) -> Subject | Published:
        """Return the subject, for its sizes, or what was published where it cannot be opened."""
        return self.open(rois)

    def beta_bytes(self, subject: Subject) -> float:
        """Return the bytes that reading all responses moves."""
        return 2.0 * len(subject.trials) * len(subject.voxels)

    def folders(self) -> Sequence[str]:
        """Return the folders below the root whose files may be read."""
        return (".",)

    def reads(self, name: str) -> bool:
        """Return whether a file of one of these folders may be read, by its name there."""
        return True

    def holds(self, name: PurePosixPath) -> bool:
        """Return whether a folder below the root is among what may be read."""
        return any(name.is_relative_to(folder) for folder in self.folders())

    def companions(self) -> Mapping[str, Path]:
        """Return the files and folders beside the data that a person named, by their setting."""
        return {}

    def listed(self) -> Iterator[tuple[str, Path, Version]]:
        """Yield name, path and version of each file that may be read."""
        is_one_file = isinstance(self.root, Path) and self.root.is_file()
        if is_one_file:
            yield f"./{self.root.name}", self.root, size_and_version(self.root)
        for folder in () if is_one_file else self.folders():
            for file, version in sorted(file_versions(self.root / folder).items()):
                if self.reads(file):
                    yield f"{folder}/{file}", self.root / folder / file, version
        for setting, place in self.companions().items():
            if place.is_dir():
                for file, version in sorted(file_versions(place).items()):
                    yield f"{setting}:{file}", place / file, version
            elif place.is_file():
                yield f"{setting}:", place, size_and_version(place)
