"""What the stages of a transfer need: a run's decoders, other responses of the same voxels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.buckets import as_path
from vox2pix.config import digest, load_config
from vox2pix.data import (
    Subject,
    is_of_imagery,
    open_nsd_imagery,
    recognised,
)
from vox2pix.data.faults import Faults
from vox2pix.data.origin import OWN
from vox2pix.data.subject import VOXEL_COLUMNS
from vox2pix.errors import UserError
from vox2pix.evaluation.transfer import Standardisation, Trials, restandardise
from vox2pix.pipeline.experiment import FloatArray, targets
from vox2pix.pipeline.run import Run, open_subject
from vox2pix.store import checksum, load_arrays

if TYPE_CHECKING:
    from vox2pix.data.nsd_imagery import AttentionOrder

MOMENTS = "decoded/training.safetensors"
TRUTH = "decoded/truth.json"
"""The stimuli of each target's rows ``true``, in their order."""
VISION, IMAGERY, CUE, SEEN = "vision", "imagery", "attention-cue", "seen"
TASKS = (VISION, IMAGERY, CUE, SEEN)
"""Tasks that are analysed, in the order of pages; ``seen`` are trials of data that name no task."""

TASK_LABELS = {
    VISION: "seen",
    IMAGERY: "imagined",
    CUE: "cue alone",
    SEEN: "other responses",
}


@dataclass(frozen=True)
class Transfer:
    """What is decoded by what."""

    source: Run  # the finished run
    subject: Subject  # whose responses are decoded; its trials of ``TASKS``
    rows: NDArray[np.intp]  # row of the subject's voxel table of each voxel of the run
    standardise: Standardisation
    notes: tuple[str, ...]
    reports: Sequence[tuple[str, ...]] | None = None  # words of each trial, where words are truth

    @property
    def trials(self) -> pd.DataFrame:
        """The trials that are analysed, with the columns ``task`` and ``set``."""
        return self.subject.trials


def transfer_of(run: Run) -> Transfer:
    """Return what a run of this kind transfers."""
    assert isinstance(run.transfer, Transfer)  # it is opened by `open_transfer`
    return run.transfer


# --- opening --------------------------------------------------------------------------------------


def open_other(source: Run, data: str | Path, attention_order: "AttentionOrder") -> Subject:
    """Open other responses: the experiment file, or the folder or URL, that holds them.

    An experiment file names them in its table ``[data]``. A folder is in any layout that has
    a reader; of NSD's tree the imagery session is opened if it is there, else the test trials.
    """
    if str(data).endswith(".toml"):
        config = load_config(Path(data))
        return open_subject(config, source.path, tuple(source.subject.rois))
    settings, rois = source.config.data, tuple(source.subject.rois)
    if is_of_imagery(data):
        return open_nsd_imagery(
            data,
            settings.subject,
            rois,
            settings.space,
            settings.betas,
            attention_order=attention_order,
            leave_out=False,
        )
    root = as_path(data)
    kind = recognised(root)
    own = {"subject": settings.subject, "space": settings.space, "betas": settings.betas}
    asked = {key: value for key, value in own.items() if key in kind.model_fields}
    return kind(root=root, **asked).open(rois)


def open_transfer(
    source: Run,
    other: Subject,
    standardise: Standardisation,
    reports: Sequence[tuple[str, ...]] | None = None,
) -> Transfer:
    """Match other responses with the voxels of a finished run; refuse what does not match."""
    rows, notes = matching_voxels(source.subject, other)
    table, more = _with_tasks(source, other, reports is not None)
    _require_references(table, standardise, other.name)
    if standardise == "none" and source.config.decode.standardize == "session":
        raise UserError(
            "The decoders were fitted on responses standardised by session (decode.standardize): "
            "choose --standardise session or run."
        )
    subject = replace(other, trials=table)
    return Transfer(source, subject, rows, standardise, (*notes, *more), reports)


def _with_tasks(
    source: Run, other: Subject, has_reports: bool
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the trials with ``task`` and ``set``, and notes on those that are not decoded."""
    table, notes = other.trials, []
    if "task" in table:
        table = table if "set" in table else table.assign(set="all")
        left_out = table["task"][~table["task"].isin(TASKS)]
        if len(left_out):
            names = ", ".join(sorted(set(left_out.astype(str).replace("", "unnamed"))))
            notes.append(f"{len(left_out)} trials of other tasks ({names}) are not decoded.")
    else:
        # Words need every trial; what is drawn and scored for a run is limited as there.
        limit = None if has_reports else source.config.data.max_test_stimuli
        chosen = other.test.stimulus_ids[:limit]
        if len(chosen) < len(other.test.stimulus_ids):
            notes.append(
                f"The first {limit} of {len(other.test.stimulus_ids)} test stimuli are decoded "
                "(data.max_test_stimuli of the run)."
            )
        is_used = (table["split"] == "test") & table["stimulus_id"].isin(chosen)
        table = table.assign(task=np.where(is_used, SEEN, ""), set="all")
    fewest = min((int((table["task"] == task).sum()) for task in set(table["task"]) & {*TASKS}),
                 default=0)  # fmt: skip
    if fewest < 2:
        raise UserError(
            f"{other.name} has no two trials of a task to decode: mark trials as test (column "
            f"split of trials.csv), or name their task ({', '.join(TASKS)})."
        )
    return table, tuple(notes)


def _require_references(table: pd.DataFrame, standardise: Standardisation, name: str) -> None:
    """Refuse, by its number, a run or a session with too few trials to standardise it by."""
    if standardise == "none":
        return
    by_session = standardise == "session"
    columns = ["session"] if by_session else ["session", "run"]
    group = _groups(table, standardise)
    counts = np.bincount(group, weights=_references(table, standardise))
    if counts.min() >= 2:
        return
    row = table.iloc[int(np.flatnonzero(group == counts.argmin())[0])]
    where = ", ".join(f"{column} {row[column]}" for column in columns)
    kind, other = ("seen trials", "run") if by_session else ("trials", "session")
    raise UserError(
        f"{name}, {where} has {int(counts.min())} of the 2 {kind} that --standardise "
        f"{standardise} needs: choose none or {other}."
    )


def matching_voxels(trained: Subject, other: Subject) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the row in ``other`` of each voxel of ``trained``, found by where it is, and notes.

    Refused, by name, are another space, grid, unit or person, and voxels that ``other`` lacks.
    Where tables say nothing about places, voxels are the same only if the tables are.
    """
    who = f"{other.name} cannot be decoded by decoders of {trained.name}"
    notes = []
    if other.space == "array" != trained.space:  # arrays state neither space nor unit
        notes.append(
            f"{other.name} states neither space nor unit: taken as {trained.space}, "
            f"{trained.origin.unit}."
        )
    elif other.space != trained.space:
        raise UserError(f"{who}: its space is {other.space}, theirs is {trained.space}.")
    elif other.origin.unit != trained.origin.unit:
        raise UserError(
            f"{who}: its responses are in {other.origin.unit}, theirs in {trained.origin.unit}."
        )
    if other.name != trained.name:
        if other.origin.dataset != OWN:
            raise UserError(f"{who}: decoders belong to the voxels of one person.")
        notes.append(f"{other.name} is taken for the same person as {trained.name}.")
    if trained.shape is not None and other.shape is not None and trained.shape != other.shape:
        raise UserError(f"{who}: its grid is {other.shape}, theirs is {trained.shape}.")
    both = trained.affine is not None and other.affine is not None
    if both and not np.allclose(trained.affine, other.affine, atol=1e-2):  # type: ignore[arg-type]
        raise UserError(f"{who}: its affine places voxels elsewhere.")
    columns = [c for c in ("x", "y", "z", "hemi", "vertex") if c in trained.voxels]
    if not columns:
        if list(trained.rois) != list(other.rois) or not trained.voxels[list(trained.rois)].equals(
            other.voxels[list(trained.rois)]
        ):
            raise UserError(
                f"{who}: neither says where its voxels are, and their regions differ; add "
                "columns x, y, z to voxels.csv of both."
            )
        return np.arange(len(trained.voxels)), tuple(notes)
    lacking = [c for c in columns if c not in other.voxels]
    if lacking:
        raise UserError(f"{who}: its table of voxels has no column {', '.join(lacking)}.")
    place = {key: row for row, key in enumerate(_places(other, columns))}
    keys = _places(trained, columns)
    missing = [key for key in keys if key not in place]
    if missing:
        raise UserError(
            f"{who}: it has no voxel {', '.join(map(str, missing[0]))} "
            f"({', '.join(columns)}; {len(missing):,} of {len(keys):,} are missing)."
        )
    return np.array([place[key] for key in keys], np.intp), tuple(notes)


def _places(subject: Subject, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    assert set(columns) <= set(VOXEL_COLUMNS)
    return list(subject.voxels[list(columns)].itertuples(index=False, name=None))


# --- responses ------------------------------------------------------------------------------------


def read_responses(transfer: Transfer) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Read all trials of the run's voxels, (n_trials, n_voxels), and which voxels have no data."""
    subject, rows = transfer.subject, transfer.rows
    betas = np.empty((len(subject.trials), len(rows)), np.float32)
    empty = np.zeros(len(rows), bool)
    of_session = subject.trials["session"].to_numpy()
    for session in subject.sessions:
        betas[of_session == session] = subject.betas_source.read_session(session, rows)
        empty |= subject.betas_source.no_data(session, rows)
    return betas, empty


def responses(run: Run) -> FloatArray:
    """Return the responses that decoders meet, (n_trials, n_voxels), standardised as asked for.

    A voxel without data has its training mean, so that it adds nothing to a prediction.
    """

    def make() -> FloatArray:
        transfer, moments = transfer_of(run), load_arrays(run.path / MOMENTS)
        betas, _ = read_responses(transfer)
        table = transfer.trials
        betas = restandardise(
            betas,
            transfer.standardise,
            _groups(table, transfer.standardise),
            _references(table, transfer.standardise),
            moments["mean"],
            moments["sd"],
        )
        empty = moments["empty"].astype(bool)
        betas[:, empty] = moments["mean"][empty].astype(np.float32)
        return betas

    found: FloatArray = run.cached("responses", "transfer", make)
    return found


def _groups(trials: pd.DataFrame, by: Standardisation) -> NDArray[np.intp]:
    """Return which session each trial is of, or which run: each session counts its own from 1."""
    columns = ["session"] if by == "session" else ["session", "run"]
    return np.asarray(trials.groupby(columns).ngroup(), np.intp)


def _references(trials: pd.DataFrame, by: Standardisation) -> NDArray[np.bool_]:
    """Return the trials over which means and spreads are taken: by session the seen ones."""
    return np.asarray(trials["task"] == VISION) if by == "session" else np.ones(len(trials), bool)


def tasks_of(run: Run) -> list[str]:
    """Return the tasks that were measured, in the order of ``TASKS``."""
    present = set(transfer_of(run).trials["task"])
    return [task for task in TASKS if task in present]


def sets_of(run: Run, task: str) -> dict[str, NDArray[np.intp]]:
    """Return the rows of the trials of each set in a task."""
    table = transfer_of(run).trials
    own = table[table["task"] == task]
    return {str(name): rows.index.to_numpy() for name, rows in own.groupby("set", sort=True)}


def trials_in(run: Run, task: str, betas: FloatArray) -> dict[str, Trials]:
    """Return responses of a task as the statistics take them, by set."""
    table = transfer_of(run).trials
    runs, found = _groups(table, "run"), {}
    for name, rows in sets_of(run, task).items():
        stimulus = np.unique(table["stimulus_id"].to_numpy(str)[rows], return_inverse=True)[1]
        found[name] = Trials(betas[rows], stimulus.astype(np.intp), runs[rows])
    return found


# --- truth ----------------------------------------------------------------------------------------


def with_truth(run: Run, name: str) -> list[str]:
    """Return the stimuli whose target can be computed: those with an image, or with captions."""
    transfer = transfer_of(run)
    ids = sorted(set(transfer.trials.loc[transfer.trials["task"].isin(TASKS), "stimulus_id"]))
    source, faults = transfer.subject.stimulus_source, Faults()
    if targets(transfer.source)[name].computed_from == "image":
        missing = source.missing_images(ids, faults)
    elif not source.has_captions:
        return []
    else:
        missing = source.missing_captions(ids, faults)
    return [stimulus for stimulus in ids if stimulus not in missing]


def true_values(run: Run, name: str, ids: Sequence[str]) -> FloatArray:
    """Return the target of stimuli, (n, *shape), from the shared cache."""
    transfer = transfer_of(run)
    source = transfer.source
    rows = targets(source)[name].rows(
        source.model,
        transfer.subject,
        run.cache,
        seed=source.config.seed,
        batch_size=source.config.compute.batch_size,
    )
    return rows.load(ids)


def contents_shown(run: Run) -> dict[str, str]:
    """Return a checksum of the image, and of the captions, of each stimulus that has them."""
    source, ids, found = transfer_of(run).subject.stimulus_source, with_images(run), {}
    if ids:
        run.reporter.begin("Reading images", len(ids), "images")
        for stimulus, image in zip(ids, source.iter_pictures(ids), strict=True):
            found[f"image of {stimulus}"] = checksum(image)
            run.reporter.advance(1)
    if source.has_captions:
        missing = source.missing_captions(stimuli_of(run), Faults())
        ids = [stimulus for stimulus in stimuli_of(run) if stimulus not in missing]
        for stimulus, captions in zip(ids, source.captions(ids) if ids else (), strict=True):
            found[f"captions of {stimulus}"] = digest(captions)
    return found


def with_images(run: Run) -> list[str]:
    """Return the stimuli that have an image."""
    ids = stimuli_of(run)
    missing = transfer_of(run).subject.stimulus_source.missing_images(ids, Faults())
    return [stimulus for stimulus in ids if stimulus not in missing]


# --- what is decoded ------------------------------------------------------------------------------


def stimuli_of(run: Run, task: str | None = None, of_set: str | None = None) -> list[str]:
    """Return the stimuli of a task, or of all that are analysed, and of one set or all; sorted."""
    table = transfer_of(run).trials
    own = table["task"].isin(tasks_of(run) if task is None else [task])
    if of_set is not None:
        own &= table["set"].astype(str) == of_set
    return sorted(set(table.loc[own, "stimulus_id"]))


def decoded_trials(run: Run, name: str) -> FloatArray:
    """Return a target as it was decoded from each trial, (n_trials, n_values)."""
    return load_arrays(run.path / f"decoded/{name}.safetensors")["predicted"]


def mean_decoded(run: Run, name: str, task: str) -> FloatArray:
    """Return a target decoded from the mean response to each stimulus of a task, in order.

    A linear decoder's prediction from a mean is the mean of its predictions.
    """
    table = transfer_of(run).trials
    own = (table["task"] == task).to_numpy()
    predicted = decoded_trials(run, name)[own]
    shown = table["stimulus_id"].to_numpy(str)[own]
    means = [predicted[shown == i].mean(axis=0, dtype=np.float64) for i in stimuli_of(run, task)]
    return np.stack(means).astype(np.float32)
