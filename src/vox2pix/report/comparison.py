"""Several runs side by side: paired differences over the pictures that all of them drew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.comparison import Comparison, compare, holm
from vox2pix.report.contents import RunContents
from vox2pix.report.origin import settings
from vox2pix.report.wording import DECODED, Metric, heading

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
    """List the test stimuli that all runs have, in the order of the first.

    Parameters
    ----------
    runs : sequence of RunContents
        Two or more.
    """
    others = [set(run.stimulus_ids) for run in runs[1:]]
    return [name for name in runs[0].stimulus_ids if all(name in ids for ids in others)]


def comparison_rows(runs: Sequence[RunContents], shared: Sequence[str]) -> list[ComparisonRow]:
    """Compare the runs on the pictures, conditions and metrics that all of them have.

    Differences, each run less the first, are taken picture by picture, by
    :func:`~vox2pix.evaluation.comparison.compare`; p is corrected over the whole table (Holm).

    Parameters
    ----------
    runs : sequence of RunContents
        Two or more.
    shared : sequence of str
        From :func:`shared_stimuli`.
    """
    tables = [_paired(run, shared) for run in runs]
    common = [key for key in tables[0] if all(key in table for table in tables[1:])]
    found: list[tuple[str, Metric, NDArray[np.float64], list[Comparison]]] = []
    for condition, name, direction in sorted(common, key=lambda key: -DECODED.index(key[0])):
        values = np.stack([table[condition, name, direction] for table in tables])
        values = values[:, np.isfinite(values).all(axis=0)]
        if values.shape[1] > 1:
            scores = {str(i): row for i, row in enumerate(values)}
            pairs = [(str(i), "0") for i in range(1, len(runs))]
            metric = Metric(runs[0].config.protocol, name, direction)
            found.append((heading(condition), metric, values, compare(scores, pairs)))
    corrected = iter(holm([each.p for *_, made in found for each in made]))
    return [
        ComparisonRow(
            condition,
            metric,
            tuple(metric.written(mean) for mean in values.mean(axis=1)),
            tuple(_difference(metric, each, float(next(corrected))) for each in made),
        )
        for condition, metric, values, made in found
    ]


def differing_settings(runs: Sequence[RunContents]) -> list[tuple[str, tuple[str, ...]]]:
    """List the settings in which runs differ, but for their names, with each run's value.

    Parameters
    ----------
    runs : sequence of RunContents
        Two or more.
    """
    told = [settings(run.config) for run in runs]
    keys = list(dict.fromkeys(key for each in told for key in each))
    rows = [(key, tuple(each.get(key, "–") for each in told)) for key in keys]
    return [row for row in rows if row[0] != "name" and len(set(row[1])) > 1]


def _difference(metric: Metric, found: Comparison, p: float) -> Difference:
    """Write a paired difference."""
    return Difference(
        metric.written(found.difference, signed=True),
        metric.interval(found.ci_low, found.ci_high, signed=True),
        f"p {p:.3f}" if p >= 0.001 else "p < 0.001",
        p < _ALPHA,
    )


def _paired(
    run: RunContents, shared: Sequence[str]
) -> dict[tuple[str, str, str], NDArray[np.float64]]:
    """Return scores of the shared stimuli by condition drawn from the brain, and metric."""
    own = run.scores[run.scores["condition"].isin(DECODED)]
    groups = own.groupby(["condition", "metric", "direction"], sort=False)
    return {
        (str(condition), str(metric), str(direction)): group.set_index("stimulus_id")["score"]
        .reindex(list(shared))
        .to_numpy(float)
        for (condition, metric, direction), group in groups
    }
