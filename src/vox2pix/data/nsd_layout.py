"""Where the Natural Scenes Dataset keeps its files, and what its experiment design says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.buckets import is_remote
from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError
from vox2pix.untrusted.files import one_line, require_file, require_inside
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.matlab import is_matlab_hdf5, read_matlab
from vox2pix.untrusted.tables import read_csv

HEMISPHERES = ("lh", "rh")
_VARIABLES = ("masterordering", "subjectim", "sharedix")


@dataclass(frozen=True)
class NsdLayout:
    """Paths of one subject, space and version of betas."""

    root: Path  # folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``
    subject: int  # 1 to 8 in NSD
    space: str  # ``func1pt8mm``, ``func1mm``, or a surface: ``fsaverage``, ``fsaverage5``
    betas: str  # version of the betas, e.g. ``betas_fithrf_GLMdenoise_RR``

    @property
    def name(self) -> str:
        """``subj01`` ..."""
        return f"subj{self.subject:02d}"

    @property
    def is_surface(self) -> bool:
        """Whether the space is a cortical surface."""
        return self.space.startswith("fsaverage")

    @property
    def design(self) -> Path:
        """The experiment design."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimulus_info(self) -> Path:
        """The table of stimuli, with their COCO ids."""
        return self.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"

    @property
    def images(self) -> Path:
        """All images."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def captions(self, coco_split: str) -> Path:
        """COCO captions of ``train2017`` or ``val2017``."""
        annotations = self.root / "nsddata_stimuli/stimuli/nsd/annotations"
        return annotations / f"captions_{coco_split}.json"

    @property
    def responses(self) -> Path:
        """The table of trials."""
        return self.root / "nsddata/ppdata" / self.name / "behav/responses.tsv"

    @property
    def all_betas(self) -> Path:
        """Folder of every subject's betas."""
        return self.root / "nsddata_betas/ppdata"

    @property
    def betas_folder(self) -> Path:
        """Folder of this subject's betas."""
        return self.all_betas / self.name / self.space / self.betas

    @property
    def ncsnr(self) -> tuple[Path, ...]:
        """Maps of the noise-ceiling signal-to-noise ratio."""
        if self.is_surface:
            return tuple(self.betas_folder / f"{hemi}.ncsnr.mgh" for hemi in HEMISPHERES)
        return (self.betas_folder / "ncsnr.nii.gz",)

    @property
    def rois(self) -> Path:
        """Folder of label images."""
        if self.is_surface:
            return self.root / "nsddata/freesurfer" / self.space / "label"
        return self.root / "nsddata/ppdata" / self.name / self.space / "roi"

    @property
    def label_folders(self) -> tuple[Path, ...]:
        """Folders of label names."""
        surfaces = self.root / "nsddata/freesurfer"
        own, common = surfaces / self.name / "label", surfaces / "fsaverage/label"
        return (self.rois, common, own) if self.is_surface else (own, common)

    @property
    def brain_mask(self) -> Path:
        """Mask of the volume."""
        return self.root / "nsddata/ppdata" / self.name / self.space / "brainmask.nii.gz"

    def session(self, session: int) -> tuple[Path, ...]:
        """Files of one session: one volume (HDF5 before NIfTI), or one file a hemisphere."""
        stem = f"betas_session{session:02d}"
        if self.is_surface:
            return tuple(self.betas_folder / f"{hemi}.{stem}.mgh" for hemi in HEMISPHERES)
        hdf5 = self.betas_folder / f"{stem}.hdf5"
        nifti = self.betas_folder / f"{stem}.nii.gz"
        return (nifti,) if nifti.is_file() and not hdf5.is_file() else (hdf5,)

    def sessions_present(self) -> tuple[int, ...]:
        """Return the numbers of the sessions of which there is a file."""
        matches = (
            re.search(r"betas_session(\d+)\.(hdf5|nii\.gz|mgh)$", file.name)
            for file in self.betas_folder.glob("*betas_session*")
        )
        return tuple(sorted({int(match[1]) for match in matches if match}))

    def require_inside(self, sessions: Sequence[int]) -> None:
        """Raise if a link among the files that are read leads out of the data's folder."""
        if is_remote(self.root):
            return
        folders = [folder for folder in (self.rois, *self.label_folders) if folder.is_dir()]
        files = [self.design, self.stimulus_info, self.images, self.responses, self.brain_mask]
        files += [self.captions(split) for split in ("train2017", "val2017")]
        files += [*self.ncsnr, *(file for number in sessions for file in self.session(number))]
        require_inside(self.root, [*files, *(file for f in folders for file in f.iterdir())])

    def require_folders(self) -> None:
        """Raise if there are no betas of this subject, space and version."""
        for folder, what, requested in (
            (self.all_betas, "subject", self.name),
            (self.all_betas / self.name, "space", self.space),
            (self.all_betas / self.name / self.space, "version of the betas", self.betas),
        ):
            if not folder.is_dir():
                raise UserError(f"{folder} does not exist: name the folder that holds NSD's tree.")
            present = sorted(path.name for path in folder.iterdir() if path.is_dir())
            if requested not in present:
                raise UserError(
                    f"{folder} has no {what} {requested!r}; there is: "
                    f"{', '.join(present) or 'none'}."
                )


@dataclass(frozen=True)
class Design:
    """Which stimulus each trial of a subject showed."""

    # (n_trials_of_the_experiment,): 0-based number of the stimulus, in time order
    nsd_ids: NDArray[np.int64]
    shared: NDArray[np.int64]  # 0-based numbers of the stimuli that all subjects share


def read_design(layout: NsdLayout) -> Design:
    """Read the order of stimuli of one subject.

    ``masterordering`` numbers a subject's stimuli, ``subjectim`` names them among all stimuli,
    and both count from 1, as ``sharedix`` does.
    """
    path = layout.design
    require_file(path, "add NSD's experiment design")
    mat = _read_matlab(path)
    missing = [name for name in _VARIABLES if name not in mat]
    if missing:
        raise UserError(f"{path} has no variable {', '.join(missing)}: replace the file.")
    order = _whole_numbers("masterordering", mat, path).ravel()
    images = np.atleast_2d(_whole_numbers("subjectim", mat, path))
    shared = _whole_numbers("sharedix", mat, path).ravel()
    if not 1 <= layout.subject <= len(images):
        raise UserError(f"{path} has subjects 1 to {len(images)}; there is no {layout.name}.")
    own = images[layout.subject - 1]
    _require_index("masterordering", order, path, own.size)
    _require_index("subjectim", own, path)
    _require_index("sharedix", shared, path)
    return Design(own[order - 1] - 1, shared - 1)


def _read_matlab(path: Path) -> Mapping[str, Any]:
    """Read the design's matrices from a MATLAB file of any version."""
    if is_matlab_hdf5(path):  # version 7.3, with the axes the other way round
        return {name: _read_matlab_hdf5(path, name) for name in _VARIABLES}
    return read_matlab(path, _VARIABLES)


def _read_matlab_hdf5(path: Path, name: str) -> NDArray[Any]:
    """Read one matrix of a MATLAB file of version 7.3."""
    with open_hdf5(path, name) as array:
        return np.asarray(array).T


def _whole_numbers(name: str, mat: Mapping[str, Any], path: Path) -> NDArray[np.int64]:
    """Return a variable of a MATLAB file as whole numbers."""
    values = np.asarray(mat[name])
    # comparing with 2^53 is false for NaN too, and beyond it floats skip whole numbers
    if (
        values.dtype.kind not in "iuf"
        or values.ndim > 2
        or not ((values == np.floor(values)) & (np.abs(values) < 2**53)).all()
    ):
        raise UserError(f"{path}: {name} is no matrix of whole numbers: replace the file.")
    return values.astype(np.int64)


def require_shared(layout: NsdLayout, design: Design) -> None:
    """Raise if design and table of stimuli name different shared stimuli; either may be absent.

    ``shared1000`` marks in the table what ``sharedix`` lists in the design: were one of them off
    by one, other stimuli would be the test set, and nothing would look wrong.
    """
    path = layout.stimulus_info
    if not is_there(path):
        return
    columns = ("nsdId", "shared1000")
    try:
        table = read_csv(path, usecols=lambda name: name in columns)
        if set(columns) - set(table):
            return
        marked = table["nsdId"][table["shared1000"].astype(str).str.lower().isin(["true", "1"])]
        in_table = marked.astype(int).to_numpy()
    except (ValueError, OSError, OverflowError) as error:
        raise UserError(
            f"{path} has no readable columns {', '.join(columns)} ({one_line(error)}): replace "
            "the file."
        ) from error
    differing = np.setxor1d(in_table, design.shared)
    if differing.size:
        where, other = layout.design, path
        if differing[0] in in_table:
            where, other = other, where
        raise UserError(
            f"{where} shares stimulus {differing[0]} (counted from 0) among all subjects, {other} "
            f"does not ({len(differing)} such stimuli): sharedix or shared1000 is off by one or "
            "the files belong to different data; download both again."
        )


def _require_index(name: str, index: NDArray[np.int64], path: Path, limit: int = 0) -> None:
    """Raise if a 1-based index holds numbers below 1 or, where known, above the limit."""
    bad = index[(index < 1) | ((index > limit) if limit else False)]
    if bad.size:
        upper = f" and at most {limit}" if limit else ""
        raise UserError(
            f"{path}: {name} holds {bad[0]}, but its numbers count from 1{upper}: "
            "an index is off by one or the file is damaged."
        )


def trial_table(
    layout: NsdLayout, design: Design, sessions: Sequence[int], n_trials: int
) -> pd.DataFrame:
    """Return the trials of some sessions, checked against ``responses.tsv``.

    Columns: ``stimulus_id`` (NSD's 0-based id, five digits), ``session``, ``run`` (0 where
    ``responses.tsv`` is absent), ``split`` (``test`` for the shared stimuli).
    """
    n_ordered = len(design.nsd_ids)
    if n_ordered < max(sessions) * n_trials or n_ordered % n_trials:
        raise UserError(
            f"{layout.design} orders {n_ordered} trials, which does not fit session "
            f"{max(sessions)} with {n_trials} trials per session: the files belong to different "
            "data or a session file is cut short."
        )
    number = np.repeat(np.asarray(sessions), n_trials)
    within = np.tile(np.arange(n_trials), len(sessions))
    nsd_ids = design.nsd_ids[(number - 1) * n_trials + within]
    return pd.DataFrame(
        {
            "stimulus_id": [f"{i:05d}" for i in nsd_ids],
            "session": number,
            "run": _runs(layout, nsd_ids, number),
            "split": np.where(np.isin(nsd_ids, design.shared), "test", "train"),
        }
    )


def _runs(
    layout: NsdLayout, nsd_ids: NDArray[np.int64], session: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return each trial's run by ``responses.tsv``, after comparing it with the design."""
    path = layout.responses
    if not is_there(path):
        return np.zeros(len(nsd_ids), np.int64)
    columns = ["SESSION", "RUN", "TRIAL", "73KID"]
    try:
        table = read_csv(path, sep="\t", usecols=columns)[columns].astype(int)
    except (ValueError, OSError, OverflowError) as error:
        raise UserError(
            f"{path} has no integer columns {', '.join(columns)} ({one_line(error)}): replace "
            "the file."
        ) from error
    doubled = table.duplicated(["SESSION", "RUN", "TRIAL"])
    if doubled.any():
        row = table[doubled].iloc[0]
        raise UserError(
            f"{path} lists session {row.SESSION}, run {row.RUN}, trial {row.TRIAL} twice: "
            "remove the duplicate row."
        )
    runs = np.zeros(len(nsd_ids), np.int64)
    for one in np.unique(session):
        listed, here = table[table["SESSION"] == one], session == one
        if len(listed) != here.sum():
            raise UserError(
                f"{path} lists {len(listed)} trials of session {one}, its betas hold "
                f"{here.sum()}: one of the two is cut short."
            )
        wrong = np.flatnonzero(listed["73KID"].to_numpy() != nsd_ids[here] + 1)
        if wrong.size:
            first = int(wrong[0])
            raise UserError(
                f"{path} says that trial {first + 1} of session {one} showed stimulus "
                f"{listed['73KID'].iloc[first]} (counted from 1), {layout.design.name} says "
                f"{nsd_ids[here][first] + 1}: an index is off by one or the files belong to "
                "different data."
            )
        runs[here] = listed["RUN"].to_numpy()
    return runs
