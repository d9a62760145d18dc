"""Stage 6 of a transfer: all results in one file, and the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vox2pix.config import without_place
from vox2pix.pipeline.drawings import judged_condition
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    CUE,
    TASK_LABELS,
    stimuli_of,
    tasks_of,
    transfer_of,
    with_images,
)
from vox2pix.report.transfer import write_transfer_page
from vox2pix.store import load_arrays, read_json, write_json


def _write(run: Run) -> Sequence[str]:
    run.reporter.begin("Writing the report", 1, "page")
    result = compute(
        read_json(run.path / "data.json"),
        read_json(run.path / "reliability.json"),
        read_json(run.path / "identification.json"),
    )
    write_json(run.path / "transfer.json", result | _facts(run))
    images = load_arrays(run.path / "images/transfer.safetensors")
    write_transfer_page(run.path, images)
    run.reporter.advance(1)
    return ("transfer.json",)


def compute(data: Any, reliability: Any, identification: Any) -> dict[str, Any]:
    """Join the records of the stages: ``data``, ``reliability`` and ``identification``."""
    return {"data": data, "reliability": reliability, "identification": identification}


def _facts(run: Run) -> dict[str, Any]:
    """Return what the page says of stimuli, trials and settings."""
    transfer = transfer_of(run)
    source, table = transfer.source, transfer.trials
    return {
        "run": source.config.name,
        "model": without_place(source.config.model.name),
        "standardise": transfer.standardise,
        "condition": str(judged_condition(source.config, source.subject.has_captions)),
        "rois": {k: list(v) for k, v in source.config.decode.rois.items()},
        "tasks": {task: TASK_LABELS[task] for task in tasks_of(run)},
        "drawn": {task: stimuli_of(run, task) for task in tasks_of(run) if task != CUE},
        "with_image": with_images(run),
        "n_trials": {
            task: {
                str(i): int(n)
                for i, n in table.loc[table["task"] == task, "stimulus_id"].value_counts().items()
            }
            for task in tasks_of(run)
        },
        "buttons": _buttons(run),
        "reports": _reports(run),
    }


def _buttons(run: Run) -> dict[str, float]:
    """Return the mean answer of the imagery trials of each stimulus, where answers are recorded."""
    table = transfer_of(run).trials
    if "button" not in table:
        return {}
    own = table[(table["task"] == "imagery") & np.isfinite(table["button"].astype(float))]
    return {str(i): float(b) for i, b in own.groupby("stimulus_id")["button"].mean().items()}


def _reports(run: Run) -> dict[str, list[str]]:
    """Return the words that were reported of each stimulus, in any of its trials."""
    transfer, words = transfer_of(run), dict[str, list[str]]()
    for stimulus, own in zip(transfer.trials["stimulus_id"], transfer.reports or (), strict=False):
        if own:
            words.setdefault(str(stimulus), []).extend(own)
    return {stimulus: list(dict.fromkeys(own)) for stimulus, own in words.items()}


REPORT = Stage(
    "transfer-report",
    "Report",
    _write,
    after=("transfer-reliability", "transfer-draw", "transfer-identify"),
    is_sound=lambda run: (run.path / "transfer.html").is_file(),
)
