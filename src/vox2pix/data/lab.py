"""What the readers of laboratories' layouts share: from arrays and tables to a Subject.

A reader finds the arrays of responses and one row per trial. Here are the voxels, regions, images,
captions and the split, and whatever else a layout does not say and a person names beside it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.buckets import as_path, is_remote
from vox2pix.config import COMPANIONS
from vox2pix.data.faults import Faults
from vox2pix.data.file_betas import FileBetas, Part, TrialArray
from vox2pix.data.held_out import with_split
from vox2pix.data.labels import Grid
from vox2pix.data.named_stimuli import NamedStimuli
from vox2pix.data.no_data import leave_out_empty
from vox2pix.data.origin import OWN, Dataset, origin_of
from vox2pix.data.regions import Regions, read_flags, read_regions, volumes_of
from vox2pix.data.source import Source
from vox2pix.data.subject import VOXEL_COLUMNS, Subject
from vox2pix.errors import UserError


@dataclass(frozen=True, eq=False)
class Found:
    """What a reader found in a layout.

    ``trials`` has one row per trial, in time order: ``stimulus_id``, ``session``, ``run``, ``row``
    (the trial's row in the array of its session) and, where the layout says it, ``split``.
    """

    name: str  # of the subject
    trials: pd.DataFrame
    arrays: Mapping[int, TrialArray]  # by session; columns as ``voxels``
    voxels: pd.DataFrame  # one row per column of the arrays: places, regions, ``ncsnr``
    space: str
    unit: str  # of the responses
    where: str  # the file that says what each trial showed, for messages
    shape: tuple[int, ...] | None = None  # of the volume
    grid: Grid | None = None
    dataset: Dataset = field(default=OWN)


class LabSource(Source, ABC):
    """A layout whose images, captions, regions and split a person names beside it."""

    stimuli: Path | str | None = None
    images: Path | str | None = None
    captions: Path | str | None = None
    rois: Path | str | None = None
    test: float | Path | str | None = None

    @abstractmethod
    def find(self, faults: Faults) -> Found:
        """Return what the layout says; what ends the reading is raised as a ``UserError``."""

    def gather(self, rois: object, faults: Faults) -> Subject | None:
        """Open what can be opened, with all regions."""
        found = None
        with faults.gathered():
            found = self.find(faults)
        return None if found is None else self.subject(found, faults)

    def companions(self) -> Mapping[str, Path]:
        """Return the files and folders that were named beside the data."""
        places = {name: getattr(self, name) for name in COMPANIONS}
        return {k: as_path(p) for k, p in places.items() if isinstance(p, Path | str)}

    def require_local(self) -> Path:
        """Return the root; one in a bucket, or that does not exist, is refused."""
        root = as_path(self.root)
        if is_remote(root):
            raise UserError(
                f"{root} is in a bucket, and {self.title} is read from a disk: copy it."
            )
        if not root.exists():
            raise UserError(f"{root} does not exist: name the place of {self.title}.")
        for setting, place in self.companions().items():
            if not place.exists():
                raise UserError(f"{place} (the setting data.{setting}) does not exist: correct it.")
        return root.resolve()

    def regions(self, shape: tuple[int, ...], grid: Grid | None, faults: Faults) -> Regions | None:
        """Read the folder of regions that was named; None if none, or a table, was named."""
        folder = self.companions().get("rois")
        if folder is None or not folder.is_dir():
            return None
        files = volumes_of(folder)
        if not files:
            raise UserError(f"{folder} has no .nii.gz: name a folder of masks and label images.")
        return read_regions(files, shape, grid, faults)

    def subject(self, found: Found, faults: Faults) -> Subject | None:
        """Return the subject of what was found, without voxels that lack data in a session."""
        flags = self.companions().get("rois")
        voxels = found.voxels
        if flags is not None and flags.is_file():
            with faults.gathered():
                columns = read_flags(flags, len(voxels), faults)
                _require_agreement(voxels, columns, flags)
                voxels = voxels.assign(**columns)
        named = self.companions()
        stimuli = NamedStimuli(as_path(self.root), named.get("images"), named.get("captions"))
        trials, split = found.trials, ""
        with faults.gathered():
            trials, split = with_split(trials, self.test, found.where, faults)
        if "split" not in trials:
            trials = trials.assign(split="train")
        trials = trials.reset_index(drop=True)
        with faults.gathered():
            stimuli.require_sound(sorted(set(trials["stimulus_id"])))
        origin = origin_of(as_path(self.root), found.dataset, split, found.unit, faults)
        parts = {
            session: Part(found.arrays[session], rows["row"].to_numpy(np.intp))
            for session, rows in by_session(trials)
        }
        everything = Subject(
            found.name,
            trials[["stimulus_id", "session", "run", "split"]],
            voxels if "ncsnr" in voxels else voxels.assign(ncsnr=np.nan),
            found.space,
            FileBetas(parts, np.arange(len(voxels))),
            stimuli,
            found.shape,
            None if found.grid is None else found.grid.affine,
            origin=origin,
        )
        remedy = f"leave the trials of session {{session}} out of {found.where}."
        return leave_out_empty(everything, everything.sessions, remedy, faults)


def _require_agreement(
    voxels: pd.DataFrame, columns: Mapping[str, NDArray[np.generic]], path: Path
) -> None:
    """Raise if a table gives voxels other places, or a region other voxels, than were read."""
    for name in voxels.columns.intersection(list(columns)):
        ours, theirs = voxels[name], pd.Series(columns[name], voxels.index)
        differ = (ours != theirs) & ~(ours.isna() & theirs.isna())
        if not differ.any():
            continue
        where = f"{path} has other values of {name} than the data ({int(differ.sum()):,} voxels)"
        if name in VOXEL_COLUMNS:
            raise UserError(
                f"{where}: give one row per voxel, in the order of the responses, or leave the "
                "column out."
            )
        raise UserError(f"{where}, which have a region of this name: rename the column.")


def by_session(trials: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each session and its trials, in the order of sessions."""
    numbers = trials["session"].to_numpy(int)
    for session in np.unique(numbers):
        yield int(session), trials[numbers == session]


def voxel_table(
    mask: NDArray[np.bool_], regions: Mapping[str, NDArray[np.bool_]], faults: Faults
) -> pd.DataFrame:
    """Return one row per voxel of a mask (X, Y, Z), z fastest: indices, and the regions' flags."""
    flags = {}
    for name, region in regions.items():
        outside = int((region & ~mask).sum())
        if outside:
            faults.note(
                f"{outside:,} of {int(region.sum()):,} voxels of ROI {name!r} are outside the mask."
            )
        if region[mask].any():
            flags[name] = region[mask]
    return pd.DataFrame(np.argwhere(mask), columns=["x", "y", "z"]).assign(**flags)


def numbered(labels: Sequence[str], what: str, faults: Faults) -> dict[str, int]:
    """Return a number from 1 for each label, such as those of sessions, in the order of numbers.

    The number that ends a label is taken (``ses-10`` is 10, after ``ses-2``); where labels have
    none, or share one, they are counted in alphabetic order, with a note.
    """
    found = {label: re.search(r"(\d+)$", label) for label in labels}
    numbers = {label: int(match[1]) for label, match in found.items() if match}
    if len(set(numbers.values())) == len(found) and min(numbers.values(), default=0) > 0:
        return dict(sorted(numbers.items(), key=lambda item: item[1]))
    counted = {label: i for i, label in enumerate(sorted(found), start=1)}
    if len(counted) > 1:
        pairs = ", ".join(f"{label} is {number}" for label, number in counted.items())
        faults.note(f"The {what}s have no numbers of their own and are counted: {pairs}.")
    return counted


def dropped_blanks(trials: pd.DataFrame, where: str, faults: Faults) -> pd.DataFrame:
    """Return the trials that showed a stimulus; the others are counted in a note."""
    blank = trials["stimulus_id"] == ""
    if blank.all():
        raise UserError(f"{where} names no stimulus of any trial: fill the column in.")
    if blank.any():
        faults.note(
            f"{int(blank.sum()):,} of {len(trials):,} trials have no stimulus in {where} and are "
            "left out."
        )
    return trials[~blank]
