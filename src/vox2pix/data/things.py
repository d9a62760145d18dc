"""Reader of THINGS-fMRI (Hebart et al. 2023, eLife 12, e82580), its table format."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.data.faults import Faults
from vox2pix.data.lab import Found, LabSource, by_session, dropped_blanks
from vox2pix.data.origin import Dataset
from vox2pix.data.subject import VOXEL_COLUMNS, Subject
from vox2pix.data.tables import read_table
from vox2pix.data.volumes import hdf5_shape, read_hdf5
from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import names_in, open_hdf5

_RESPONSES = re.compile(r"sub-(\w+)_ResponseData\.h5")
_FILES = re.compile(r"sub-(\w+)_(ResponseData\.h5|StimulusMetadata\.csv|VoxelMetadata\.csv)")
_GROUP = "ResponseData"
_PLACES = {"voxel_x": "x", "voxel_y": "y", "voxel_z": "z"}
_FLAGS = {"0": False, "0.0": False, "False": False, "1": True, "1.0": True, "True": True}
THINGS = Dataset(
    "things",
    "THINGS-fMRI",
    "THINGS-fMRI",
    "The brain data of THINGS-fMRI are CC0; its images have terms of their own, which those who "
    "unpack them accept. Pass this page on only as these allow.",
)


def open_things(
    path: str | Path,
    participant: str = "",
    *,
    images: str | Path | None = None,
    captions: str | Path | None = None,
    zero_shot: bool = False,
) -> Subject:
    """Open one participant of THINGS-fMRI's tables (``betas_csv``).

    Parameters
    ----------
    path : str or Path
        Folder of ``sub-01_ResponseData.h5`` (pandas' HDF5, read without pandas' pickles),
        ``sub-01_StimulusMetadata.csv`` and ``sub-01_VoxelMetadata.csv``.
    participant : str
        With or without ``sub-``; needed if there are several.
    images, captions
        As in :func:`vox2pix.open_glmsingle`; ``stimulus`` names the files.
    zero_shot : bool
        Whether to leave out training trials of the concepts that are in the test set.

    Returns
    -------
    Subject
        Space ``array``, with indices x, y, z. The split is ``trial_type``; training images were
        shown once each. ``ncsnr`` is that of ``nc_singletrial``, percent for one trial. Columns of
        0 and 1 of the voxel table are regions.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check` lists all.
    """
    return ThingsSource(
        root=Path(path), participant=participant, images=images, captions=captions,
        zero_shot=zero_shot,
    ).open()  # fmt: skip


class ThingsSource(LabSource):
    """THINGS-fMRI's tables."""

    name: ClassVar[str] = "things"
    title: ClassVar[str] = "THINGS-fMRI's tables"

    participant: str = Field(default="", description="label of the participant, if there are many")
    zero_shot: bool = Field(
        default=False, description="leave out training trials of concepts that are in the test set"
    )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there is a file of responses."""
        return isinstance(root, Path) and root.is_dir() and bool(_labels(root))

    def reads(self, name: str) -> bool:
        """Return whether a file is one of the participant's three."""
        match = _FILES.fullmatch(name)
        own = self.participant.removeprefix("sub-")
        return match is not None and (not own or match[1] == own)

    def holds(self, name: PurePosixPath) -> bool:
        """Return no: only files of the folder itself are read."""
        return False

    def find(self, faults: Faults) -> Found:
        """Return the arrays, trials and voxels of the layout."""
        root = self.require_local()
        label = self._label(root)
        stem = root / f"sub-{label}"
        path = root / f"sub-{label}_ResponseData.h5"
        where = stem.with_name(f"{stem.name}_StimulusMetadata.csv")
        trials = read_table(where, ("trial_type", "session", "run", "stimulus"), numbered=True)
        table = stem.with_name(f"{stem.name}_VoxelMetadata.csv")
        voxels = read_table(table, ("voxel_id",), numbered=True)
        block = _block(path, len(voxels), len(trials), table, where)
        _require_ids(path, voxels, table)
        frame = pd.DataFrame(
            {
                "stimulus_id": trials["stimulus"].to_numpy(),
                "session": _whole(trials, "session", where),
                "run": _whole(trials, "run", where),
                "row": np.arange(len(trials)),
                "split": trials["trial_type"].to_numpy(),
            }
        )
        if self.zero_shot:
            frame = _without_test_concepts(frame, trials, where, faults)
        frame = dropped_blanks(frame, str(where), faults)
        frame = frame.sort_values("session", kind="stable")
        responses = _Rows(path, block)
        return Found(
            name=f"sub-{label}",
            trials=frame,
            arrays={session: responses for session, _ in by_session(frame)},
            voxels=_voxels(voxels, table, faults),
            space="array",
            unit="as in the file, not converted",
            where=str(where),
            dataset=THINGS,
        )

    def _label(self, root: Path) -> str:
        labels = _labels(root)
        own = self.participant.removeprefix("sub-")
        if own in labels or (not own and len(labels) == 1):
            return own or labels[0]
        listed = ", ".join(labels) or "none"
        raise UserError(
            f"{root} has responses of participants {listed}: choose one by "
            "data.options.participant."
        )


@dataclass(frozen=True, eq=False)
class _Rows:
    """An array (n_voxels, n_trials)."""

    path: Path
    array: str

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        return read_hdf5(self.path, voxels[:, None], self.array, trials, trials_last=True)


def _labels(root: Path) -> list[str]:
    matches = (_RESPONSES.fullmatch(file.name) for file in root.iterdir())
    return sorted(match[1] for match in matches if match)


def _block(path: Path, n_voxels: int, n_trials: int, table: Path, where: Path) -> str:
    """Return the array of responses: pandas stores the columns of one type as a block."""
    blocks = [name for name in names_in(path, _GROUP) if name.endswith("_values")]
    shapes = {f"{_GROUP}/{name}": hdf5_shape(path, f"{_GROUP}/{name}") for name in blocks}
    fitting = [name for name, shape in shapes.items() if shape == (n_voxels, n_trials)]
    if len(fitting) != 1:
        raise UserError(
            f"{path} has blocks of shape {', '.join(map(str, shapes.values())) or 'none'}, "
            f"{table.name} {n_voxels} voxels and {where.name} {n_trials} trials: download the "
            "three files of one participant again."
        )
    return fitting[0]


def _require_ids(path: Path, voxels: pd.DataFrame, table: Path) -> None:
    """Raise if the responses store other voxel ids than the voxel table lists."""
    for name in names_in(path, _GROUP):
        if not name.endswith("_values") or hdf5_shape(path, f"{_GROUP}/{name}") != (len(voxels), 1):
            continue
        with open_hdf5(path, f"{_GROUP}/{name}") as array:
            stored = np.asarray(array, float).ravel()
        listed = pd.to_numeric(voxels["voxel_id"], errors="coerce").to_numpy(float)
        wrong = np.flatnonzero(stored != listed)
        if wrong.size:
            raise UserError(
                f"{path} has voxel_id {stored[wrong[0]]:g} where {table}, line "
                f"{voxels.index[wrong[0]]}, has {listed[wrong[0]]:g} ({wrong.size:,} such rows): "
                "the files are in another order, or of two participants."
            )


def _without_test_concepts(
    frame: pd.DataFrame, trials: pd.DataFrame, where: Path, faults: Faults
) -> pd.DataFrame:
    """Return the trials without training trials of concepts that are in the test set."""
    if "concept" not in trials:
        raise UserError(f"{where} has no column concept, which zero_shot needs.")
    concept = trials["concept"].to_numpy()
    is_test = (frame["split"].str.lower() == "test").to_numpy()
    both = ~is_test & np.isin(concept, np.unique(concept[is_test]))
    faults.note(
        f"{int(both.sum()):,} training trials of {len(np.unique(concept[both])):,} concepts that "
        "are in the test set are left out (zero_shot)."
    )
    return frame[~both]


def _voxels(table: pd.DataFrame, path: Path, faults: Faults) -> pd.DataFrame:
    """Return places, regions and ncsnr; columns of other numbers are not used."""
    columns: dict[str, NDArray[Any]] = {}
    if all(name in table for name in _PLACES):
        columns |= {short: _whole(table, name, path) for name, short in _PLACES.items()}
    empty = []
    for name in map(str, table.columns):
        flags = table[name].map(_FLAGS)
        if name in ("voxel_id", *_PLACES) or name in VOXEL_COLUMNS or flags.isna().any():
            continue
        if flags.any():
            columns[name] = flags.to_numpy(bool)
        else:
            empty.append(name)
    if empty:
        faults.note(f"{len(empty)} regions of {path} have no voxel (such as {empty[0]}).")
    if "nc_singletrial" in table:
        percent = pd.to_numeric(table["nc_singletrial"], errors="coerce").to_numpy(float)
        sound = (percent >= 0) & (percent < 100)
        share = np.where(sound, percent, np.nan) / 100
        columns["ncsnr"] = np.sqrt(share / (1 - share))
    return pd.DataFrame(columns, index=range(len(table)))


def _whole(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.int64]:
    """Return a column as whole numbers from 0."""
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~((values >= 0) & (values == np.floor(values))))
    if wrong.size:
        raise UserError(
            f"{path}, line {table.index[wrong[0]]}: {name} {table[name].iloc[wrong[0]]!r} is no "
            "whole number from 0; correct it."
        )
    return values.astype(np.int64)
