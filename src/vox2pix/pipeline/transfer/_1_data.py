"""Stage 1 of a transfer: other responses of the same voxels, and the moments of training."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import digest
from vox2pix.data.origin import data_record
from vox2pix.errors import UserError
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    MOMENTS,
    TASK_LABELS,
    read_responses,
    tasks_of,
    transfer_of,
)
from vox2pix.store import checksum, save_arrays, write_json


def compute(sessions: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return mean and standard deviation of each voxel over the trials of all sessions.

    Sums are taken of differences from the first trial, so that a large baseline costs no digits.
    """
    n, first, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
    for betas in sessions:
        if n == 0:
            first = betas[0].astype(np.float64)
            total, squares = np.zeros((2, len(first)))
        moved = betas - first
        n, total, squares = n + len(betas), total + moved.sum(0), squares + (moved**2).sum(0)
    mean = total / n
    return {"mean": first + mean, "sd": np.sqrt(np.maximum(squares / n - mean**2, 0))}


def _prepare(run: Run) -> Sequence[str]:
    transfer = transfer_of(run)
    source, other = transfer.source.subject, transfer.subject
    run.reporter.begin("Reading responses", 2, "data sets")
    moments: dict[str, Any] = compute(betas for _, betas in source.train.iter_betas())
    run.reporter.advance(1)
    _, empty = read_responses(transfer)
    run.reporter.advance(1)
    notes = list(transfer.notes)
    if empty.any():
        notes.append(
            f"{int(empty.sum()):,} of {len(empty):,} voxels of the decoders have no data in "
            f"{other.name}'s other responses, and count with their training mean."
        )
    for roi in source.rois:
        if empty[source.voxel_mask(roi)].all():
            raise UserError(f"{other.name} has no data in any voxel of {roi}: nothing to decode.")
    save_arrays(run.path / MOMENTS, moments | {"empty": empty.astype(np.uint8)})
    counts = transfer.trials["task"].value_counts()
    named = ", ".join(f"{counts[task]} {TASK_LABELS[task]}" for task in tasks_of(run))
    run.reporter.say(f"{other.name}: {named} trials, {len(empty):,} voxels")
    ids = sorted(set(transfer.trials["stimulus_id"]))
    record = data_record(other, "transfer", ids, notes).model_dump(mode="json")
    for note in record["notes"]:
        run.reporter.say(f"Note: {note}")
    write_json(run.path / "data.json", record)
    return ("data.json", MOMENTS)


def _inputs(run: Run) -> dict[str, str]:
    """Return what responses and trials are, by their content, and which decoders meet them."""
    transfer = transfer_of(run)
    betas, _ = read_responses(transfer)
    table = transfer.trials.to_csv(index=False)
    source = transfer.source.folder
    return {
        "responses": checksum(betas),
        "trials": digest(table),
        "decoders": str(source.key("decode")),
    }


DATA = Stage("transfer-data", "Data", _prepare, inputs=_inputs)
