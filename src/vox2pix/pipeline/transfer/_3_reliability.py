"""Stage 3 of a transfer: whether there is anything to decode, and how far the shift is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.transfer import (
    Reliability,
    Trials,
    Verdict,
    equal_reliability,
    judge,
    ratio_over_sets,
    shift,
    trials_per_half,
)
from vox2pix.pipeline.experiment import FloatArray
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    CUE,
    IMAGERY,
    MOMENTS,
    VISION,
    read_responses,
    stimuli_of,
    tasks_of,
    transfer_of,
    trials_in,
)
from vox2pix.store import load_arrays, write_json

_MOST_STIMULI = 60  # of a set whose stimuli are left out one after another
_FEWEST = 3


def compute(
    tasks: Mapping[str, Sequence[Trials]],
    regions: Mapping[str, NDArray[np.bool_]],
    seed: int,
) -> tuple[dict[str, dict[str, Reliability]], Verdict | None]:
    """Return the reliability of each task by region, and the verdict on imagery if there is any.

    ``tasks`` holds the same sets of each task, ``regions`` masks over the voxels.
    """
    found = {
        name: equal_reliability(
            {task: [trials.of(mask) for trials in sets] for task, sets in tasks.items()}, seed
        )
        for name, mask in regions.items()
    }
    if IMAGERY not in tasks:
        return found, None
    imagery = {name: of[IMAGERY] for name, of in found.items()}
    cue = {name: of[CUE] for name, of in found.items()} if CUE in tasks else None
    return found, judge(imagery, cue)


def _assess(run: Run) -> Sequence[str]:
    transfer = transfer_of(run)
    source = transfer.source.subject
    betas, moments = read_responses(transfer)[0], load_arrays(run.path / MOMENTS)
    measured = ~moments["empty"].astype(bool)
    regions = {roi: source.voxel_mask(roi) & measured for roi in source.rois}
    sets, why_not = _comparable(run, betas)
    run.reporter.begin("Measuring reliability", 1, "steps")
    record: dict[str, Any] = {"regions": {}, "verdict": None, "not_computed": why_not}
    found: dict[str, dict[str, Reliability]] = {}
    if not why_not:
        found, verdict = compute(sets, regions, transfer.source.config.seed)
        record["verdict"] = None if verdict is None else asdict(verdict)
    for roi, mask in regions.items():
        record["regions"][roi] = {
            "n_voxels": int(mask.sum()),
            "reliability": {task: _record(each) for task, each in found.get(roi, {}).items()},
            "ratio": _ratio(found.get(roi, {})),
            "shift": {
                task: asdict(
                    shift(
                        np.concatenate([t.patterns for t in own.values()])[:, mask],
                        moments["raw_mean"][mask],
                        moments["raw_sd"][mask],
                    )
                )
                for task in tasks_of(run)
                if (own := trials_in(run, task, betas))
            },
        }
    write_json(run.path / "reliability.json", record)
    run.reporter.advance(1)
    if record["verdict"]:
        run.reporter.say(f"Imagery: {record['verdict']['answer']} ({record['verdict']['reason']})")
    return ("reliability.json",)


def _comparable(run: Run, betas: FloatArray) -> tuple[dict[str, list[Trials]], str]:
    """Return the trials of each task in the sets that all tasks have, or why there are none."""
    by_task = {task: trials_in(run, task, betas) for task in tasks_of(run)}
    common = sorted(set.intersection(*(set(of) for of in by_task.values())))
    sets = {task: [of[name] for name in common] for task, of in by_task.items()}
    sizes = {trials.n_stimuli for of in sets.values() for trials in of}
    if not common:
        return {}, "the tasks have no set of stimuli in common"
    shown = {(name, tuple(stimuli_of(run, task, name))) for task in by_task for name in common}
    if len(shown) > len(common):
        return {}, "the tasks show different stimuli of a set"
    if max(sizes) > _MOST_STIMULI or min(sizes) < _FEWEST:
        return (
            {},
            f"sets have {min(sizes)} to {max(sizes)} stimuli, not {_FEWEST} to {_MOST_STIMULI}",
        )
    if any(trials_per_half(trials) < 1 for of in sets.values() for trials in of):
        return {}, "a stimulus was shown less than twice, so that there are no two halves"
    return sets, ""


def _record(found: Reliability) -> dict[str, Any]:
    return {
        **asdict(found.mean),
        "p": found.p,
        "n_half": found.n_half,
        "across_runs": found.across_runs,
        "n_stimuli": sum(map(len, found.pseudo_values)),
    }


def _ratio(found: Mapping[str, Reliability]) -> dict[str, float] | None:
    """Return imagery's reliability over vision's; None where vision's interval holds 0."""
    if not {IMAGERY, VISION} <= found.keys():
        return None
    ratio = ratio_over_sets(found[IMAGERY].pseudo_values, found[VISION].pseudo_values)
    return None if ratio is None else asdict(ratio)


RELIABILITY = Stage(
    "transfer-reliability",
    "Reliability",
    _assess,
    after=("transfer-data",),
)
