"""Files of a BIDS derivative by their names: entities, maps of trials, masks, tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.volumes import image_shape, read_nifti
from vox2pix.errors import UserError
from vox2pix.untrusted.files import files_below, require_inside

_VOLUMES = (".nii.gz", ".nii")
_ENDINGS = (*_VOLUMES, ".tsv", ".json")
_SUFFIXES = ("statmap", "mask", "dseg", "trials", "events", "dataset_description")


@dataclass(frozen=True)
class BidsFile:
    """A file and what its name says: entities such as ``ses-01``, and the suffix at the end."""

    path: Path

    @property
    def ending(self) -> str:
        """``.nii.gz``, ``.tsv`` ..."""
        return next((end for end in _ENDINGS if self.path.name.endswith(end)), "")

    @cached_property
    def _parts(self) -> list[str]:
        return self.path.name.removesuffix(self.ending).split("_")

    @property
    def suffix(self) -> str:
        """What the file is, e.g. ``statmap``."""
        return self._parts[-1]

    @cached_property
    def entities(self) -> dict[str, str]:
        """Values by key, in the order of the name; the participant's label is under ``sub``."""
        pairs = (part.partition("-") for part in self._parts[:-1])
        return {key: value for key, dash, value in pairs if dash}

    @property
    def run(self) -> int:
        """Number of the run, 0 if the name has none."""
        label = self.entities.get("run", "0")
        return int(label) if label.isdecimal() else 0

    @property
    def is_volume(self) -> bool:
        """Whether the file is a NIfTI image."""
        return self.ending in _VOLUMES


def is_read(name: str) -> bool:
    """Return whether a file may be read, by its name in the data set: neither BOLD nor reports."""
    file = BidsFile(Path(name))
    return bool(file.ending) and (file.suffix in _SUFFIXES or name == "dataset_description.json")


def files_of(root: Path, participant: str) -> list[BidsFile]:
    """List the files of one participant that may be read, sorted; hidden folders are passed over.

    A participant is named with or without ``sub-``. If none is, the data set must have maps of one
    only.
    """
    everything = files_below(root, lambda name: not name.startswith("."))
    files = [BidsFile(path) for path in sorted(everything) if is_read(path.name)]
    labels = sorted(
        {f.entities["sub"] for f in files if f.suffix == "statmap" and "sub" in f.entities}
    )
    if not labels:
        raise UserError(
            f"{root} has no statistical maps (sub-*_stat-effect_statmap.nii.gz): name the folder "
            "of a BIDS derivative that holds responses."
        )
    label = participant.removeprefix("sub-")
    if not label and len(labels) == 1:
        label = labels[0]
    if label not in labels:
        which = f"no maps of participant {label!r}" if label else f"{len(labels)} participants"
        raise UserError(
            f"{root} has {which}: choose one of {', '.join(labels)} by data.options.participant."
        )
    own = [f for f in files if f.entities.get("sub") == label and f.path.is_file()]
    require_inside(root, [file.path for file in own])
    return own


def chosen(files: Iterable[BidsFile], entities: str) -> list[BidsFile]:
    """Return the files that carry each of some entities, such as ``space-T1w_task-images``."""
    wanted_pairs = [part.partition("-") for part in entities.split("_") if part]
    for key, dash, value in wanted_pairs:
        if not (key and dash and value):
            raise UserError(
                f"The option entities is {entities!r}: write pairs such as space-T1w_task-images."
            )
    return [f for f in files if all(f.entities.get(k) == v for k, _, v in wanted_pairs)]


def require_one(files: Sequence[BidsFile], keys: Sequence[str], where: Path) -> None:
    """Raise if the maps differ in an entity that must be the same in all."""
    for key in keys:
        values = sorted({file.entities.get(key, "") for file in files})
        if len(values) > 1:
            named = ", ".join(f"{key}-{value}" if value else f"none ({key})" for value in values)
            first = next(value for value in values if value)
            raise UserError(
                f"{where} has maps of {named}: choose one by data.options.entities = "
                f"'{key}-{first}'."
            )


@dataclass(frozen=True, eq=False)
class VolumeStack:
    """Trials of one session in one or more images, through a mask."""

    files: tuple[tuple[Path, int], ...]  # image, and how many trials it holds
    places: NDArray[np.intp]  # (n_voxels, 3): x, y, z of each column

    @property
    def path(self) -> Path:
        """The image, or the folder of several."""
        return self.files[0][0] if len(self.files) == 1 else self.files[0][0].parent

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read consecutive trials of some columns, a block of volumes at a time."""
        places = self.places[voxels]
        parts, begin = [], 0
        for path, n_trials in self.files:
            first, last = max(trials.start - begin, 0), min(trials.stop - begin, n_trials)
            if first < last:
                parts.append(read_nifti(path, places, slice(first, last)))
            begin += n_trials
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def trials_of(file: BidsFile) -> int:
    """Return how many volumes an image has: 1 for a single map."""
    shape = image_shape(file.path)
    if len(shape) not in (3, 4) or 0 in shape:
        raise UserError(f"{file.path} has shape {shape}, not (X, Y, Z) or (X, Y, Z, n_trials).")
    return shape[3] if len(shape) == 4 else 1


def table_of(file: BidsFile, tables: Sequence[BidsFile], ignored: Sequence[str]) -> BidsFile | None:
    """Return the table of a map: the one whose entities the map has, the most specific first."""
    own = {key: value for key, value in file.entities.items() if key not in ignored}
    fitting = [t for t in tables if t.entities.items() <= own.items()]
    return max(fitting, key=lambda t: len(t.entities), default=None)
