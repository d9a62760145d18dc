"""Several runs side by side: paired differences over the images that all of them drew."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from vox2pix.errors import UserError
from vox2pix.evaluation.comparability import (
    Mismatch,
    mismatches,
    pool_note,
    refuse_other_definitions,
    refuse_other_originals,
    refuse_other_protocols,
)
from vox2pix.evaluation.comparison import (
    Comparison,
    PairedRow,
    compare_scores,
    pool_records,
)
from vox2pix.evaluation.records import MetricRecord
from vox2pix.report.contents import RunContents, read_records, read_scores
from vox2pix.report.labels import DECODED, Metric, fullness, label, listed
from vox2pix.report.origin import settings
from vox2pix.store import RunFolder, damaged_files, marker_of

_ALPHA = 0.05  # of significance, after correction


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its interval and p, in words, and whether it is significant."""

    value: str
    interval: str
    p: str
    significant: bool


@dataclass(frozen=True)
class ComparisonRow:
    """One metric under one condition: each run's mean, and how it differs from the first run's."""

    condition: str
    metric: Metric
    values: tuple[str, ...]
    differences: tuple[Difference, ...]


def shared_stimuli(runs: Sequence[RunContents]) -> list[str]:
    """List the test stimuli that all runs have, in the order of the first."""
    others = [set(run.stimulus_ids) for run in runs[1:]]
    return [name for name in runs[0].stimulus_ids if all(name in ids for ids in others)]


def comparison_rows(runs: Sequence[RunContents]) -> list[ComparisonRow]:
    """Compare the runs on the images, conditions and metrics that all of them have, in words.

    Differences, each run less the first, are taken image by image, by
    :func:`~vox2pix.evaluation.comparison.compare_scores`; p is corrected over the whole table.
    """
    rows = compare_scores([_drawn(run.scores) for run in runs])
    apart = {mismatch.key for mismatch in _apart(runs)}
    comparable = [row for row in rows if (row.condition, row.metric, row.direction) not in apart]
    return in_words(comparable, runs[0].config.protocol)


def not_compared(runs: Sequence[RunContents]) -> str:
    """Name the metrics that are left out of a comparison, as their definitions differ."""
    apart = {mismatch.key[1]: mismatch for mismatch in _apart(runs)}
    if not apart:
        return ""
    reasons = "; ".join(mismatch.sentence for mismatch in apart.values())
    return f"Not compared, because definitions differ: {reasons}."


def _apart(runs: Sequence[RunContents]) -> list[Mismatch]:
    """Return the metrics that runs define differently; refuse runs of different originals."""
    names = [f"{run.path.name} ({number})" for number, run in enumerate(runs, 1)]
    refuse_other_originals({name: run.scores for name, run in zip(names, runs, strict=True)})
    return mismatches({name: run.records for name, run in zip(names, runs, strict=True)})


def in_words(rows: Sequence[PairedRow], protocol: str) -> list[ComparisonRow]:
    """Write differences in words, the fullest condition first."""
    written = []
    for row in sorted(rows, key=lambda row: fullness(row.condition), reverse=True):
        metric = Metric(protocol, row.metric, row.direction)
        written.append(
            ComparisonRow(
                label(row.condition).heading,
                metric,
                tuple(map(metric.written, row.means)),
                tuple(_difference(metric, each) for each in row.comparisons),
            )
        )
    return written


def compare_folders(folders: Sequence[Path]) -> list[PairedRow]:
    """Compare the results of runs or evaluations over the stimuli that all of them scored.

    Of runs, what was drawn from decoded targets is compared.
    """
    if len(folders) < 2:
        raise UserError(f"There is nothing to compare {folders[0]} with. Name two runs or more.")
    tables = _tables(folders)
    rows = compare_scores(list(tables.values()))
    if not rows:
        raise UserError(
            f"{listed([str(folder) for folder in folders])} have no metric of two or more "
            "stimuli in common. Compare what was scored by the same metrics on the same images."
        )
    _refuse_mixtures(folders, tables)
    return rows


def comparison_note(folders: Sequence[Path]) -> str:
    """Return what limits the comparison of folders that may be compared; perhaps nothing."""
    return pool_note(_tables(folders))


def _tables(folders: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """Return the scores of each folder by its path as given; one given twice has its number."""
    names = [str(folder) for folder in folders]
    numbered = (
        name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names, 1)
    )
    return {name: _scores_of(folder) for name, folder in zip(numbered, folders, strict=True)}


def _refuse_mixtures(folders: Sequence[Path], tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse scores of different protocols, definitions or originals."""
    records = {
        name: read_records(folder / "metrics.json")
        for name, folder in zip(tables, folders, strict=True)
    }
    are_runs = [_is_run(folder) for folder in folders]
    if not any(are_runs):
        refuse_other_protocols(records)
    if not all(are_runs):
        refuse_other_definitions(records, by_condition=False)
    else:
        refuse_other_definitions(
            {name: [r for r in of if _is_decoded(r.condition)] for name, of in records.items()}
        )
    refuse_other_originals(tables)


def difference_records(rows: Sequence[PairedRow], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a flat record for each run but the first and each row of :func:`compare_folders`."""
    return [
        {
            "condition": row.condition,
            "metric": row.metric,
            "direction": row.direction or None,
            "run": names[number],
            "less": names[0],
            "mean": row.means[number],
            "mean_less": row.means[0],
            "difference": each.difference,
            "ci_low": each.ci_low,
            "ci_high": each.ci_high,
            "p": each.p,
            "p_holm": each.p_holm,
            "n_stimuli": each.n_stimuli,
        }
        for row in rows
        for number, each in enumerate(row.comparisons, 1)
    ]


def pool_folders(folders: Sequence[Path]) -> list[MetricRecord]:
    """Pool the results of runs or evaluations of two or more subjects, one folder each.

    An evaluation, which has no subject, goes by the name of its folder.
    """
    subjects: dict[str, Sequence[MetricRecord]] = {}
    for folder in folders:
        _require_whole(folder)
        records = read_records(folder / "metrics.json")
        if not records:
            raise UserError(
                f"{folder} has no metrics.json. Name a folder that `vox2pix run` or `vox2pix "
                "evaluate` has finished."
            )
        name = records[0].subject or folder.name
        if name in subjects:
            raise UserError(
                f"{folder} is a second one of {name}, and pooling is over subjects. Name one run "
                "of each, and compare runs of one subject by `vox2pix compare`."
            )
        subjects[name] = records
    if len(subjects) < 2:
        raise UserError(f"{folders[0]} is one subject. Name the runs of two or more to pool them.")
    refuse_other_protocols(subjects)
    refuse_other_definitions(subjects)
    _refuse_other_samples(subjects)
    pooled = pool_records(subjects)
    if not pooled:
        raise UserError(
            f"{listed(list(subjects))} have no condition and metric in common. Pool runs of the "
            "same experiment."
        )
    return pooled


def _refuse_other_samples(subjects: Mapping[str, Sequence[MetricRecord]]) -> None:
    """Refuse subjects with unequal numbers of samples, whose records would be left out."""
    (first, own), *others = (
        (name, {(r.condition, r.metric, r.samples.partition(" ")[0]): r.samples for r in records})
        for name, records in subjects.items()
    )
    for other, theirs in others:
        for key, samples in own.items():
            if theirs.get(key, samples) != samples:
                raise UserError(
                    f"{key[1]} of {key[0]} is the {samples} samples in {first} and the "
                    f"{theirs[key]} in {other}. Pool runs with equal numbers of samples."
                )


def _scores_of(folder: Path) -> pd.DataFrame:
    """Read the scores of a run, or of an evaluation, whose one condition goes by no name."""
    if not (folder / "scores.csv").exists():
        raise UserError(
            f"{folder} has no scores.csv. Name a folder that `vox2pix run` or `vox2pix evaluate` "
            "has finished."
        )
    _require_whole(folder)
    scores = read_scores(folder / "scores.csv")
    return _drawn(scores) if _is_run(folder) else scores.assign(condition="")


def _is_run(folder: Path) -> bool:
    return (folder / "config.toml").exists()


def _require_whole(folder: Path) -> None:
    """Refuse scores that were changed, or of which a part was written by another command."""
    marker = marker_of(folder)
    if marker is None:
        return  # nothing to check by
    of_run = marker.kind == "run"
    damaged = RunFolder(folder).damaged("evaluate") if of_run else damaged_files(folder)
    if damaged:
        raise UserError(
            f"{folder / damaged[0]} is not as `vox2pix {'run' if of_run else 'evaluate'}` wrote "
            "it. Rerun that command."
        )


def comparison_source(folders: Sequence[Path]) -> str:
    """Return 64 hex digits that identify what is compared, in order, but not where it is."""
    places = [str(folder.resolve()) for folder in folders]
    return sha256(json.dumps(places).encode()).hexdigest()


def is_pooled(path: Path) -> bool:
    """Tell whether a file is one that ``vox2pix pool`` wrote: records of several subjects each."""
    try:
        records = read_records(path)
    except UserError:
        return False
    return bool(records) and all("+" in record.subject for record in records)


def _drawn(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of what was drawn from the brain."""
    return scores[scores["condition"].map(_is_decoded).astype(bool)]


def _is_decoded(condition: str) -> bool:
    return label(condition).group == DECODED


def differing_settings(runs: Sequence[RunContents]) -> list[tuple[str, tuple[str, ...]]]:
    """List the settings in which runs differ, but for their names, with each run's value."""
    own = [settings(run.config) for run in runs]
    keys = list(dict.fromkeys(key for each in own for key in each))
    rows = [(key, tuple(each.get(key, "–") for each in own)) for key in keys]
    return [row for row in rows if row[0] != "name" and len(set(row[1])) > 1]


def _difference(metric: Metric, comparison: Comparison) -> Difference:
    """Write a paired difference."""
    p = comparison.p_holm
    return Difference(
        metric.written(comparison.difference, signed=True),
        metric.interval(comparison.ci_low, comparison.ci_high, signed=True),
        f"p {p:.3f}" if p >= 0.001 else "p < 0.001",
        p < _ALPHA,
    )
