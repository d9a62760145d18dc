"""Stage 1 of a transfer: other responses of the same voxels, and the moments of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import digest
from vox2pix.data.origin import data_record
from vox2pix.errors import UserError
from vox2pix.pipeline.exported import decoder_key, training_moments
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    MOMENTS,
    TASK_LABELS,
    contents_shown,
    read_responses,
    tasks_of,
    transfer_of,
)
from vox2pix.store import checksum, save_arrays, write_json


def compute(
    empty: NDArray[np.bool_], regions: Mapping[str, NDArray[np.bool_]], name: str
) -> list[str]:
    """Return the note on voxels without data, (n_voxels,); refuse a region of nothing else."""
    for roi, mask in regions.items():
        if empty[mask].all():
            raise UserError(f"{name} has no data in any voxel of {roi}: nothing to decode.")
    if not empty.any():
        return []
    return [
        f"{int(empty.sum()):,} of {len(empty):,} voxels of the decoders have no data in {name}'s "
        "other responses, and count with their training mean."
    ]


def _prepare(run: Run) -> Sequence[str]:
    transfer = transfer_of(run)
    source, other = transfer.source.subject, transfer.subject
    run.reporter.begin("Reading responses", 2, "data sets")
    moments: dict[str, Any] = training_moments(transfer.source)
    run.reporter.advance(1)
    _, empty = read_responses(transfer)
    run.reporter.advance(1)
    regions = {roi: source.voxel_mask(roi) for roi in source.rois}
    notes = [*transfer.notes, *compute(empty, regions, other.name)]
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
    """Return what responses, trials and stimuli are, by content, and which decoders meet them."""
    transfer = transfer_of(run)
    betas, _ = read_responses(transfer)
    table = transfer.trials.to_csv(index=False)
    return {
        "responses": checksum(betas),
        "trials": digest(table),
        "decoders": decoder_key(transfer.source),
        **contents_shown(run),
    }


DATA = Stage("transfer-data", "Data", _prepare, inputs=_inputs)
