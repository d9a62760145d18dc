"""Reader of single-trial responses in BIDS derivatives: maps of trials, or one map per contrast."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.data.bids_files import (
    BidsFile,
    VolumeStack,
    chosen,
    files_of,
    is_read,
    require_one,
    trials_of,
)
from vox2pix.data.bids_trials import contrast_trials, series_trials
from vox2pix.data.faults import Faults
from vox2pix.data.file_betas import TrialArray
from vox2pix.data.lab import Found, LabSource, dropped_blanks, numbered, voxel_table
from vox2pix.data.labels import Grid, read_grid, read_map, read_mask, require_same_grid
from vox2pix.data.origin import OWN, Dataset
from vox2pix.data.regions import Regions, read_regions
from vox2pix.data.subject import Subject
from vox2pix.data.volumes import image_shape
from vox2pix.errors import UserError
from vox2pix.untrusted.text import read_json

_SAME = ("space", "res", "den", "task", "acq", "desc")
_CEILING = re.compile(r"Noiseceiling(\d+)rep", re.IGNORECASE)


def open_bids(
    path: str | Path,
    participant: str = "",
    *,
    stimuli: str | Path | None = None,
    stimulus_column: str = "",
    images: str | Path | None = None,
    captions: str | Path | None = None,
    rois: str | Path | None = None,
    test: float | str | Path | None = None,
    mask: str = "",
    entities: str = "",
) -> Subject:
    """Open one participant of a BIDS derivative that holds a response for each trial.

    Two layouts are read. Either ``*_stat-effect_*_statmap.nii.gz`` is a series of volumes with one
    trial each, and ``*_trials.tsv`` of the same entities says what they are: ``beta_index``, the
    volume, from 0 within its file; the stimulus; optional ``run`` (LAION-fMRI). Or there is one
    ``*_contrast-NAME_stat-effect_statmap.nii.gz`` per trial, as nilearn's ``save_glm_to_bids``
    writes; then the tables of events say which stimulus the event of that ``trial_type`` was.

    Parameters
    ----------
    path : str or Path
        Root of the derivative.
    participant : str
        With or without ``sub-``; needed if there are several.
    stimuli : str or Path, optional
        For contrasts: a table with ``trial_type`` and the stimulus, or the data set that holds the
        tables of events; by default they are looked for in the derivative.
    stimulus_column : str
        Column that names the stimulus; by default the first there is of ``stimulus_id``,
        ``stim_file``, ``label``, ``stim_name``, ``file_path`` and ``image_path``.
    images, captions, rois, test
        As in :func:`vox2pix.open_glmsingle`. Regions are also taken from the derivative:
        ``*_label-NAME_*mask.nii.gz``, and ``*_dseg.nii.gz`` with its table of names.
    mask : str
        Image of the voxels to read, below ``path``; by default the brain mask of the participant,
        or what the masks of all sessions have in common.
    entities : str
        Which maps to read if there are several kinds, e.g. ``space-T1w_task-images``.

    Returns
    -------
    Subject
        Space as the entity ``space`` of the maps. Sessions are numbered by their labels. ``ncsnr``
        is that of a map ``desc-Noiseceiling12rep`` (percent of the variance of a mean of twelve).

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check` lists all.

    Notes
    -----
    Volumes are read through the mask a few at a time: memory is that of the voxels that are asked
    for, and some 64 MB.
    """
    return BidsSource(
        root=Path(path), participant=participant, stimuli=stimuli, images=images, captions=captions,
        stimulus_column=stimulus_column, rois=rois, test=test, mask=mask, entities=entities,
    ).open()  # fmt: skip


class BidsSource(LabSource):
    """A BIDS derivative with a response for each trial."""

    name: ClassVar[str] = "bids"
    title: ClassVar[str] = "a BIDS derivative"

    participant: str = Field(default="", description="label of the participant, if there are many")
    stimulus_column: str = Field(
        default="", description="column that names the stimulus, in tables of trials or events"
    )
    mask: str = Field(default="", description="image of the voxels to read, below `data.path`")
    entities: str = Field(
        default="", description="which maps to read, such as `space-T1w_task-images`"
    )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there is a description of a data set, or a folder of a participant."""
        if not isinstance(root, Path) or not root.is_dir():
            return False
        return (root / "dataset_description.json").is_file() or any(root.glob("sub-*/"))

    def reads(self, name: str) -> bool:
        """Return whether a file may be read: maps, masks and tables of the participant."""
        label = self.participant.removeprefix("sub-")
        last = PurePosixPath(name).name
        own = not label or f"sub-{label}_" in last or not last.startswith("sub-")
        return (is_read(last) and own) or name == self.mask

    def find(self, faults: Faults) -> Found:
        """Return the arrays, trials and voxels of the layout."""
        root = self.require_local()
        files = files_of(root, self.participant)
        maps = self._maps(root, files)
        require_one(maps, _SAME, root)
        shape, grid = _shared_grid(maps, faults)
        series = "contrast" not in maps[0].entities
        labels = list(dict.fromkeys(file.entities.get("ses", "") for file in maps))
        numbers = {"": 1} if labels == [""] else numbered(labels, "session", faults)
        of_sessions = {n: [f for f in maps if f.entities.get("ses", "") == label]
                       for label, n in numbers.items()}  # fmt: skip
        if series:
            trials, where = series_trials(of_sessions, files, self.stimulus_column, faults)
        else:
            events = self.companions().get("stimuli")
            trials, where = contrast_trials(
                of_sessions, files, events, self.stimulus_column, root, faults
            )
        trials = dropped_blanks(trials, where, faults)
        regions = self._regions(files, maps, shape, grid, faults)
        inside = self._inside(root, files, maps, shape, grid, regions, faults)
        places = np.argwhere(inside)
        arrays: dict[int, TrialArray] = {
            n: VolumeStack(tuple((f.path, trials_of(f)) for f in of_sessions.get(n, maps)), places)
            for n in trials["session"].unique()
        }
        voxels = voxel_table(inside, regions.masks, faults)
        ncsnr = _ncsnr(files, maps, shape, inside, faults)
        return Found(
            name=f"sub-{maps[0].entities['sub']}",
            trials=trials,
            arrays=arrays,
            voxels=voxels if ncsnr is None else voxels.assign(ncsnr=ncsnr),
            space=maps[0].entities.get("space", "nifti"),
            unit="as in the file, not converted",
            where=where,
            shape=shape,
            grid=grid,
            dataset=_dataset(root),
        )

    def _maps(self, root: Path, files: Sequence[BidsFile]) -> list[BidsFile]:
        """Return the maps of effects: series of trials, or else one of each contrast."""
        maps = chosen((f for f in files if f.suffix == "statmap" and f.is_volume), self.entities)
        effects = [f for f in maps if f.entities.get("stat") == "effect"]
        if not effects:
            raise UserError(
                f"{root} has no maps of effects (*_stat-effect_*statmap.nii.gz) of the participant"
                f"{f' with {self.entities}' if self.entities else ''}: name another folder."
            )
        contrasts = [f for f in effects if "contrast" in f.entities]
        series = [f for f in effects if f not in contrasts]
        return sorted(series or contrasts, key=lambda f: (f.run, f.path.name))

    def _regions(
        self,
        files: Sequence[BidsFile],
        maps: Sequence[BidsFile],
        shape: tuple[int, ...],
        grid: Grid | None,
        faults: Faults,
    ) -> Regions:
        """Read the regions of the derivative that are on the maps' grid, and those named beside."""
        space = maps[0].entities.get("space")
        own = [
            f.path
            for f in files
            if f.is_volume
            and f.entities.get("space", space) == space
            and ((f.suffix == "mask" and "label" in f.entities) or _is_named_dseg(f))
        ]
        fitting = [path for path in own if image_shape(path)[:3] == shape]
        if len(fitting) < len(own):
            faults.note(
                f"{len(own) - len(fitting)} of {len(own)} images of regions are on another grid "
                "than the responses and are not read."
            )
        inside = read_regions(fitting, shape, grid, faults)
        beside = self.regions(shape, grid, faults)
        named = {} if beside is None else beside.masks
        for name in sorted(inside.masks.keys() & named.keys()):
            if not np.array_equal(inside.masks[name], named[name]):
                raise UserError(
                    f"ROI {name!r} of {self.rois} has other voxels than the one of the derivative: "
                    "rename one."
                )
        return Regions({**inside.masks, **named}, grid)

    def _inside(
        self,
        root: Path,
        files: Sequence[BidsFile],
        maps: Sequence[BidsFile],
        shape: tuple[int, ...],
        grid: Grid | None,
        regions: Regions,
        faults: Faults,
    ) -> NDArray[np.bool_]:
        """Return the voxels to read, (X, Y, Z): those of the mask, or of the regions."""
        paths = [root / self.mask] if self.mask else _brain_masks(files, maps, shape)
        if not paths:
            if not regions.masks:
                raise UserError(
                    f"{root} has no brain mask of the participant on the maps' grid: name an image "
                    "by data.options.mask, or regions by data.rois."
                )
            faults.note("There is no brain mask: the voxels are those of the regions.")
            return np.logical_or.reduce(list(regions.masks.values()))
        inside = np.ones(shape, bool)
        for path in paths:
            image = read_mask(path, faults)
            if image.grid.shape != shape:
                raise UserError(f"{path} has shape {image.grid.shape}, the maps {shape}.")
            if grid is not None:
                require_same_grid(image.grid, grid, faults)
            inside &= image.values > 0
        if not inside.any():
            raise UserError(f"{paths[0]} marks no voxel: name another by data.options.mask.")
        if len(paths) > 1:
            faults.note(
                f"The voxels are those that {len(paths)} masks have in common ({paths[0].name}, "
                "...)."
            )
        return inside


def _is_named_dseg(file: BidsFile) -> bool:
    """Return whether a label image has its table of names beside it."""
    name = file.path.name.removesuffix(file.ending)
    return file.suffix == "dseg" and file.path.with_name(f"{name}.tsv").is_file()


def _shared_grid(maps: Sequence[BidsFile], faults: Faults) -> tuple[tuple[int, ...], Grid | None]:
    """Return shape and grid of the first map; maps of another one are refused."""
    first = read_grid(maps[0].path, faults)
    for file in maps[1:]:
        require_same_grid(read_grid(file.path, faults), first, faults)
    return first.shape, first if first.affine is not None else None


def _brain_masks(
    files: Sequence[BidsFile], maps: Sequence[BidsFile], shape: tuple[int, ...]
) -> list[Path]:
    """Return the participant's brain mask, or those of the sessions."""
    space = maps[0].entities.get("space")
    masks = [
        f
        for f in files
        if f.suffix == "mask"
        and f.is_volume
        and "label" not in f.entities
        and f.entities.get("space", space) == space
        and image_shape(f.path)[:3] == shape
    ]
    kinds = sorted({f.entities.get("desc", "") for f in masks})
    if "brain" in kinds:
        masks = [f for f in masks if f.entities.get("desc") == "brain"]
    elif len(kinds) > 1:
        raise UserError(
            f"{masks[0].path.parent} has masks {', '.join(f.path.name for f in masks[:4])}: choose "
            "one by data.options.mask."
        )
    of_all = [f for f in masks if "ses" not in f.entities]
    return [f.path for f in of_all or masks]


def _ncsnr(
    files: Sequence[BidsFile],
    maps: Sequence[BidsFile],
    shape: tuple[int, ...],
    inside: NDArray[np.bool_],
    faults: Faults,
) -> NDArray[np.float64] | None:
    r"""Return ncsnr by a map of noise ceilings in percent, of the most repeats; None without.

    The ceiling of a mean of n repeats is :math:`100 s^2 / (s^2 + 1/n)` (Allen et al. 2022).
    """
    space = maps[0].entities.get("space")
    by_repeats = {
        int(match[1]): f.path
        for f in files
        if f.suffix == "statmap"
        and f.entities.get("space", space) == space
        and (match := _CEILING.fullmatch(f.entities.get("desc", "")))
        and "ses" not in f.entities
    }
    if not by_repeats:
        return None
    n_repeats = max(by_repeats)
    path = by_repeats[n_repeats]
    image = read_map(path, faults)
    if image.grid.shape != shape:
        raise UserError(f"{path} has shape {image.grid.shape}, the maps {shape}.")
    percent = image.values[inside]
    with np.errstate(invalid="ignore"):
        sound = (percent >= 0) & (percent < 100)
    ratio = np.where(sound, percent, np.nan) / 100
    faults.note(f"ncsnr is computed from {path.name}, percent for {n_repeats} repeats.")
    if not sound.all():
        faults.note(f"{path} has {int((~sound).sum()):,} voxels without a ceiling from 0 to 100.")
    result: NDArray[np.float64] = np.sqrt(ratio / (1 - ratio) / n_repeats)
    return result


def _dataset(root: Path) -> Dataset:
    """Return what the description of the data set says: its name and licence."""
    path = root / "dataset_description.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict) or not isinstance(content.get("Name"), str):
        return OWN
    name, licence = content["Name"], content.get("License")
    terms = f"{name} is under the licence {licence!r}, by its own description." if licence else ""
    return Dataset("bids", name, f"the data set {name!r}", f"{terms} {OWN.licence}".strip())
