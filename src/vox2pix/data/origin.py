"""What was read: whose data they are, and the record of it that a run keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from vox2pix.data.faults import Faults
from vox2pix.errors import UserError
from vox2pix.untrusted.text import read_json

if TYPE_CHECKING:
    from vox2pix.data.subject import Subject

SIMULATED_FILE = "simulated.json"
"""At the root of every tree that was simulated: it says by what."""

IMPORTED_FILE = "imported.json"
"""In a folder that was written from another layout: whose data they are, and their unit."""


@dataclass(frozen=True)
class Dataset:
    """Whose data they are, as reports say it."""

    key: str  # ``simulated``, ``nsd``, ``own``, or the name that the files give
    name: str  # as a title
    phrase: str  # within a sentence: "responses of ..."
    licence: str  # what holds for passing on a page that shows the images


SIMULATED = Dataset(
    "simulated",
    "simulated by vox2pix phantom",
    "a simulated subject (the phantom)",
    "Simulated data and the phantom's model come with vox2pix, under its MIT licence; images "
    "that a person gave to the simulation keep their own terms.",
)
NSD = Dataset(
    "nsd",
    "NSD",
    "the Natural Scenes Dataset",
    "NSD is free for those who accept its terms; its images and captions are of COCO "
    "(captions CC BY 4.0; each photograph under its own licence). Pass this page on only as "
    "these terms allow.",
)
OWN = Dataset(
    "own",
    "own data",
    "a person's own data",
    "Whether the images in this page may be passed on depends on the data's own terms.",
)
# Trials that NSD's design orders for each subject, and stimuli that all its subjects share.
_NSD_TRIALS, _NSD_SHARED = 30_000, 1_000


@dataclass(frozen=True)
class Origin:
    """Where a subject's data come from."""

    dataset: Dataset = OWN  # what the files themselves say, whatever the settings call them
    split: str = "unknown"  # what decides which trials are for training and which for test
    unit: str = "unknown"  # of the responses


UNKNOWN = Origin()
"""Of subjects that no reader of this package opened."""


class DataRecord(BaseModel):
    """What a run read, in ``data.json``: every statement about data comes from here."""

    model_config = ConfigDict(frozen=True)

    subject: str  # name of the subject, as its reader gave it
    source: str  # the reader: ``phantom``, ``nsd``, ``folder`` ...
    dataset: str  # what the files are
    identity: str  # ``dataset`` as a person reads it
    phrase: str  # the same, within a sentence
    licence: str  # what holds for passing it on
    space: str  # of the voxels
    unit: str  # of the responses
    split: str  # what decides which trials are for training and which for test
    n_sessions: int
    n_train_trials: int
    n_test_trials: int
    n_train_stimuli: int
    n_test_stimuli: int
    n_voxels: dict[str, int]  # by region; ``all`` is their union
    notes: tuple[str, ...] = ()  # what was coerced, dropped, defaulted or chosen, a message each


def simulated_by(root: Path) -> str | None:
    """Return what simulated the tree at ``root``; None if nothing says that it was simulated."""
    path = root / SIMULATED_FILE
    if not (path.exists() or path.is_symlink()):
        return None
    try:
        content = read_json(path, 2**20)
    except UserError as error:
        raise UserError(
            f"{path} cannot be read (no JSON), and it says how the data were simulated; restore "
            "the file, or simulate again."
        ) from error
    program = content.get("simulated_by") if isinstance(content, dict) else None
    return str(program or "vox2pix phantom")


def origin_of(root: Path, otherwise: Dataset, split: str, unit: str, faults: Faults) -> Origin:
    """Return what data at ``root`` are: simulated (with a note) if a file says so, or else."""
    try:
        by = simulated_by(root)
    except UserError as error:
        faults.add(str(error))
        return Origin()
    if by is not None:
        faults.note(f"The data are simulated by {by}; no person was measured.")
    return Origin(otherwise if by is None else SIMULATED, split, unit)


def imported_origin(folder: Path, split: str, unit: str, faults: Faults) -> Origin:
    """Return what a folder of a person's own says of its data, where it was imported.

    ``split`` and ``unit`` are those of a folder that does not say.
    """
    path = folder / IMPORTED_FILE
    dataset = OWN
    if path.is_file():
        with faults.gathered():
            content = read_json(path, 2**20)
            try:
                dataset = Dataset(**{k: str(v) for k, v in content["dataset"].items()})
                unit = str(content["unit"])
                notes = [str(note) for note in content["notes"]]
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path} does not say whose data these are ({error}): import them again, or "
                    "remove the file."
                ) from None
            for note in notes:
                faults.note(f"When the data were imported: {note}")
    return origin_of(folder, dataset, split, unit, faults)


def is_nsd_design(n_trials: int, n_shared: int) -> bool:
    """Return whether an experiment in NSD's layout has NSD's trials per subject and shared stimuli.

    Data of other experiments are written in this layout, too, so that NSD's tools read them.
    """
    return (n_trials, n_shared) == (_NSD_TRIALS, _NSD_SHARED)


def data_record(
    subject: "Subject", source: str, test_ids: Sequence[str], notes: Sequence[str] = ()
) -> DataRecord:
    """Record what was read of a subject, with the test stimuli that are used and further notes."""
    origin = subject.origin
    return DataRecord(
        subject=subject.name,
        source=source,
        dataset=origin.dataset.key,
        identity=origin.dataset.name,
        phrase=origin.dataset.phrase,
        licence=origin.dataset.licence,
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
