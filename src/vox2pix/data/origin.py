"""What was read: whose data they are, and the record of it that a run keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from vox2pix.errors import UserError
from vox2pix.untrusted.text import read_json

if TYPE_CHECKING:
    from vox2pix.data.subject import Subject

Dataset = Literal["simulated", "nsd", "own"]
SIMULATED_FILE = "simulated.json"
"""At the root of every tree that was simulated: it says by what."""

DATASETS: dict[Dataset, str] = {
    "simulated": "simulated by vox2pix phantom",
    "nsd": "NSD",
    "own": "own data",
}
LICENCES: dict[Dataset, str] = {
    "simulated": (
        "Simulated data and the phantom's model come with vox2pix, under its MIT licence; images "
        "that a person gave to the simulation keep their own terms."
    ),
    "nsd": (
        "NSD is free for those who accept its terms; its images and captions are of COCO "
        "(captions CC BY 4.0; each photograph under its own licence). Pass this page on only as "
        "these terms allow."
    ),
    "own": "Whether the images in this page may be passed on depends on the data's own terms.",
}
# Trials that NSD's design orders for each subject, and stimuli that all its subjects share.
_NSD_TRIALS, _NSD_SHARED = 30_000, 1_000


@dataclass(frozen=True)
class Origin:
    """Where a subject's data come from.

    Attributes
    ----------
    dataset : {"simulated", "nsd", "own"}
        What the files themselves say, whatever the settings call them.
    split : str
        What decides which trials are for training and which for test.
    unit : str
        Of the responses.
    """

    dataset: Dataset = "own"
    split: str = "unknown"
    unit: str = "unknown"


UNKNOWN = Origin()
"""Of subjects that no reader of this package opened."""


class DataRecord(BaseModel):
    """What a run read, in ``data.json``: every statement about data comes from here.

    Attributes
    ----------
    subject : str
        Name of the subject, as its reader gave it.
    source : str
        The reader: ``phantom``, ``nsd`` or ``folder``.
    dataset : {"simulated", "nsd", "own"}
        What the files are.
    identity, licence : str
        The same in words, and what holds for passing it on.
    space, unit, split : str
        Space of the voxels, unit of the responses, what decides on training and test.
    n_sessions, n_train_trials, n_test_trials, n_train_stimuli, n_test_stimuli : int
        Counts.
    n_voxels : dict of str to int
        By region; ``all`` is their union.
    notes : tuple of str
        What was coerced, dropped, defaulted or chosen, a sentence each.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    source: str
    dataset: Dataset
    identity: str
    licence: str
    space: str
    unit: str
    split: str
    n_sessions: int
    n_train_trials: int
    n_test_trials: int
    n_train_stimuli: int
    n_test_stimuli: int
    n_voxels: dict[str, int]
    notes: tuple[str, ...] = ()


def simulated_by(root: Path) -> str | None:
    """Return what simulated a tree; None if nothing says that it was simulated.

    Parameters
    ----------
    root : Path
        The root of the data.

    Raises
    ------
    UserError
        If the file that says so is damaged.
    """
    path = root / SIMULATED_FILE
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        told = read_json(path, 2**20)
    except UserError as error:
        raise UserError(
            f"{path} cannot be read (no JSON), and it says how the data were simulated; restore "
            "the file, or simulate again."
        ) from error
    named = told.get("simulated_by") if isinstance(told, dict) else None
    return str(named or "vox2pix phantom")


def simulation_note(by: str) -> str:
    """Say that data are simulated."""
    return f"The data are simulated by {by}; no person was measured."


def is_nsd_design(n_trials: int, n_shared: int) -> bool:
    """Tell whether an experiment in NSD's layout has NSD's size.

    Data of other experiments are written in this layout, too, so that NSD's tools read them.

    Parameters
    ----------
    n_trials : int
        Trials that the design orders for a subject.
    n_shared : int
        Stimuli that all subjects share.
    """
    return (n_trials, n_shared) == (_NSD_TRIALS, _NSD_SHARED)


def data_record(
    subject: "Subject", source: str, test_ids: Sequence[str], notes: Sequence[str] = ()
) -> DataRecord:
    """Record what was read of a subject.

    Parameters
    ----------
    subject : Subject
        As it was opened.
    source : str
        The reader.
    test_ids : sequence of str
        The test stimuli that are used.
    notes : sequence of str
        More notes than the subject's own.
    """
    origin = subject.origin
    return DataRecord(
        subject=subject.name,
        source=source,
        dataset=origin.dataset,
        identity=DATASETS[origin.dataset],
        licence=LICENCES[origin.dataset],
        space=subject.space,
        unit=origin.unit,
        split=origin.split,
        n_sessions=len(subject.sessions),
        n_train_trials=subject.train.n_trials,
        n_test_trials=int(subject.test.trials["stimulus_id"].isin(test_ids).sum()),
        n_train_stimuli=len(subject.train.stimulus_ids),
        n_test_stimuli=len(test_ids),
        n_voxels={
            roi: int(subject.voxel_mask(roi).sum()) for roi in dict.fromkeys([*subject.rois, "all"])
        },
        notes=tuple(dict.fromkeys([*subject.notes, *notes])),
    )
