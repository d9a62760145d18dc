"""Reader of a person's own data: a folder of arrays and tables."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from vox2pix.buckets import as_path, is_remote
from vox2pix.data.faults import Faults
from vox2pix.data.file_betas import FileBetas, parts_of
from vox2pix.data.folder_responses import find_responses
from vox2pix.data.folder_stimuli import IMAGE_FOLDERS, FolderStimuli
from vox2pix.data.folder_voxels import read_voxels
from vox2pix.data.no_data import leave_out_empty
from vox2pix.data.origin import imported_origin
from vox2pix.data.source import Source
from vox2pix.data.subject import Subject
from vox2pix.data.trials import read_trials
from vox2pix.untrusted.files import files_below, require_inside

_NAMES = (
    *("responses", "mask", "trials", "voxels", *IMAGE_FOLDERS, "stimuli", "captions"),
    "imported",
)


def open_folder(path: str | Path) -> Subject:
    """Open a person's own data.

    Of the responses the first trial of each session is read, to leave out voxels without data.

    The folder holds

    ``responses.npy``, ``.npz``, ``.h5`` (``.hdf5``) or ``.zarr``
        Array (n_trials, n_voxels), a number type; in npz, HDF5 and zarr groups it is named
        ``responses``. Values are taken as they are (percent signal change by convention). npz
        cannot be read in parts, so prefer the others where data are large.
    or ``responses.nii.gz`` (``.nii``) with ``mask.nii.gz`` (``.nii``)
        Image (X, Y, Z, n_trials) and mask (X, Y, Z) of whole numbers; the voxels are those where
        the mask is above 0, in the order of their x, y, z indices, z fastest.
    ``mask.nii.gz`` beside an array (optional)
        Where its voxels are: as many above 0, in the order of their x, y, z indices.
    ``trials.csv``
        One row per trial, in the order of the responses. Column ``stimulus_id``; optional
        ``session`` and ``run`` (whole numbers, 1 if left out), ``split`` (``train`` or ``test``)
        and ``trial`` (number within session and run, so that rows entered twice are noticed).
        Without ``split`` every trial is for training: the reader does not guess which stimuli to
        hold out, and reading the test split raises an error. For a transfer, ``task``
        (``vision``, ``imagery``, ``attention-cue``, ``attention-detection`` or ``seen``; empty for
        any other) and ``set``, the stimuli that are compared with each other.
    ``voxels.csv`` (optional)
        One row per voxel, in the order of the responses. Columns ``ncsnr``, ``x``, ``y``, ``z``,
        ``hemi``, ``vertex`` are reliability and place; every other column is a ROI, 0 or 1 (or
        false, true) per voxel.
    ``images/ID.png`` (``.jpg``, ``.jpeg``; or ``pictures/``), ``stimuli.npz`` or ``stimuli.npy``
        Images by id. ``stimuli.npz`` holds ``images`` (n, height, width[, 3]) and
        ``stimulus_id`` (n,); in ``stimuli.npy`` the id is the number of the row, from 0. uint8, or
        float in [0, 1]; grey is repeated over the three colours.
    ``captions.csv`` (optional)
        Columns ``stimulus_id`` and ``caption``, one row per caption, several per stimulus.

    Parameters
    ----------
    path : str or Path
        The folder, or its URL; its name is the subject's.

    Returns
    -------
    Subject
        Space ``array``, or ``nifti`` for images.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check.check` lists all.
    """
    faults = Faults()
    return faults.require(gather_folder(path, faults))


def is_of_folder(name: str) -> bool:
    """Return whether a file, by its name relative to a person's own folder, belongs to the data.

    Other files, such as those of a run in the same folder, are not read.
    """
    return name.partition("/")[0].partition(".")[0] in _NAMES


class FolderSource(Source):
    """A folder of arrays and tables, as :func:`open_folder` documents it."""

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "a folder of your own data"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there is a table of trials."""
        return (root / "trials.csv").is_file()

    def gather(self, rois: Sequence[str], faults: Faults) -> Subject | None:
        """Open what can be opened, with all regions."""
        return gather_folder(self.root, faults)

    def reads(self, name: str) -> bool:
        """Return whether a file belongs to the data: what is beside them is not read."""
        return is_of_folder(name)

    def holds(self, name: PurePosixPath) -> bool:
        """Return whether a folder is among those of the layout; one beside them is not read."""
        return is_of_folder(name.as_posix())


def gather_folder(path: str | Path, faults: Faults) -> Subject | None:
    """Open what can be opened and add every fault; None if responses and trials do not match."""
    folder = as_path(path).resolve()
    if folder.is_dir() and not is_remote(folder):
        with faults.gathered():
            require_inside(folder, files_below(folder, is_of_folder))
    trials = responses = voxels = None
    split = ""
    with faults.gathered():
        trials, split = read_trials(folder, faults)
    with faults.gathered():
        responses = find_responses(folder, faults)
    if responses is not None:
        with faults.gathered():
            voxels = read_voxels(folder, responses, faults)
    stimuli = FolderStimuli(folder)
    with faults.gathered():
        stimuli.require_sound(() if trials is None else tuple(trials["stimulus_id"]))
    if trials is None or responses is None or voxels is None:
        return None
    if len(trials) != responses.n_trials:
        faults.add(
            f"{responses.path} holds {responses.n_trials} trials, {folder / 'trials.csv'} "
            f"{len(trials)}: give one row per trial in both."
        )
        return None
    unit = "as in the file, not converted"
    everything = Subject(
        folder.name,
        trials,
        voxels,
        "array" if responses.mask is None else "nifti",
        FileBetas(parts_of(responses, trials["session"].to_numpy()), np.arange(responses.n_voxels)),
        stimuli,
        None if responses.mask is None else responses.mask.shape,
        responses.affine,
        origin=imported_origin(folder, split, unit, faults),
    )
    remedy = f"remove the trials of session {{session}} from {responses.path.name} and trials.csv."
    return leave_out_empty(everything, everything.sessions, remedy, faults)
