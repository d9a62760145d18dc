"""An evaluation as tables, and as the files that are written of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from vox2pix.evaluation.protocols import Metric
from vox2pix.evaluation.published import COLUMNS, published_under
from vox2pix.evaluation.records import MetricRecord, score_rows
from vox2pix.evaluation.scoring import Evaluation
from vox2pix.outside import all_without_secrets, visible
from vox2pix.store import machine, swapped_in, write_json, write_table, write_text

Row = tuple[str, ...]


def result_rows(evaluation: Evaluation, best: bool = False) -> list[Row]:
    """Return one row per metric: name, where it is read, value, other direction, chance.

    The value is in the direction that the protocol holds fixed; identification and retrieval are in
    per cent. ``best`` takes the best of several samples instead of their mean.
    """
    rows: list[Row] = []
    for metric in _computed(evaluation):
        value, other = _both(evaluation, metric, best)
        if value is None:
            continue
        scale = 100 if other else 1
        rows.append(
            (
                metric.name + (" ↓" if metric.lower_is_better else ""),
                _read_at(metric),
                _with_interval(value),
                _with_interval(other) if other else "",
                _number(value.chance * scale, scale),
            )
        )
    return rows


def published_rows(evaluation: Evaluation) -> list[Row]:
    """Return the rows published under its protocol, the evaluation's own first.

    In the order of ``COLUMNS``; what the evaluation lacks is a dash. None where no row was
    computed by this protocol: other definitions give other numbers.
    """
    beside = published_under(evaluation.protocol.name)
    if not beside:
        return []
    by_name = {metric.name: metric for metric in _computed(evaluation)}
    own = []
    for name in COLUMNS:
        value = _both(evaluation, by_name[name])[0] if name in by_name else None
        own.append(_plain(value) if value else "-")
    rows: list[Row] = [(evaluation.records[0].condition, *own)]
    for row in beside:
        cells = (_number(value, 100 if value > 2 else 1) for value in row.values)
        rows.append((row.method, *cells))
    return rows


def published_notes(evaluation: Evaluation) -> list[str]:
    """Return notes on the rows of :func:`published_rows`, or why there are none."""
    name = evaluation.protocol.name
    beside = published_under(name)
    if not beside:
        return [f"No published row was computed as {name} computes: none is printed."]
    return [
        "Published means over NSD subjects 1, 2, 5 and 7.",
        *(f"{row.method}: {row.note}." for row in beside if row.note),
    ]


def latex_table(evaluation: Evaluation, published: bool = False) -> str:
    """Return a LaTeX table (booktabs) of an evaluation, with the published rows below if asked.

    With several samples the row of the best of them follows that of their mean. With published rows
    the columns are those of the field's table.
    """
    metrics = {metric.name: metric for metric in evaluation.protocol.metrics}
    beside = published_rows(evaluation) if published else []
    if beside:
        names, rows = list(COLUMNS), beside
    else:
        names = [metric.name for metric in _computed(evaluation)]
        rows = []
        for best in (False, True)[: 1 + _has_best(evaluation)]:
            own = [_both(evaluation, metrics[name], best)[0] for name in names]
            cells = (_plain(value) if value else "-" for value in own)
            first = next(value for value in own if value)
            called = f", {first.samples}" if _has_best(evaluation) else ""
            rows.append((first.condition + called, *cells))
    falling = [name for name in names if name in metrics and metrics[name].lower_is_better]
    heads = [_escaped(name) + (r" $\downarrow$" if name in falling else "") for name in names]
    first = evaluation.records[0]
    lines = [
        f"% {evaluation.protocol.source}; {first.n_stimuli} stimuli, {first.samples}; "
        f"identification in per cent, fixing the {evaluation.protocol.direction}",
        *(f"% {' '.join(note.split())}" for note in evaluation.notes),
        *(f"% {note}" for note in (published_notes(evaluation) if published else ())),
        rf"\begin{{tabular}}{{l{'r' * len(names)}}}",
        r"\toprule",
        " & ".join(["Method", *heads]) + r" \\",
        r"\midrule",
        *(" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def save_evaluation(
    evaluation: Evaluation, folder: Path, sources: Mapping[str, Any], published: bool = False
) -> None:
    """Write an evaluation into a folder, which appears whole.

    ``metrics.json`` (the records), ``scores.csv`` (one row per stimulus and metric, mean over
    samples), ``table.tex`` and ``provenance.json`` (the protocol in full, what was left out and
    why, the machine). An evaluation of the same images by the same protocol is replaced.

    Parameters
    ----------
    sources : mapping
        From :func:`~vox2pix.evaluation.evaluate_images`, for ``provenance.json``.
    published : bool
        As for :func:`latex_table`.

    Raises
    ------
    UserError
        If the folder holds anything else, or the disk is full.
    """
    condition = evaluation.records[0].condition
    source = evaluation_source(
        sources.get("truth", ""),
        sources.get("reconstructions", ""),
        evaluation.protocol.name,
        sources.get("truth_files"),
        sources.get("samples"),
    )
    with swapped_in(folder, "evaluation", source=source) as new:
        rows = list(score_rows(evaluation.scores, condition, evaluation.originals))
        write_table(new / "scores.csv", rows)
        write_text(new / "table.tex", latex_table(evaluation, published))
        write_json(
            new / "provenance.json",
            {
                **all_without_secrets(sources),
                "protocol": asdict(evaluation.protocol),
                "not_computed": evaluation.skipped,
                "notes": evaluation.notes,
                **machine(),
            },
        )
        write_json(new / "metrics.json", [record.model_dump() for record in evaluation.records])


def evaluation_source(
    truth: str | Path,
    reconstructions: str | Path,
    protocol: str,
    truth_files: str | None,
    samples: str | None,
) -> str:
    """Return 64 hex digits that identify what is evaluated, without showing where it is stored."""
    places = [str(Path(place).resolve()) for place in (truth, reconstructions)]
    return sha256(json.dumps([*places, protocol, truth_files, samples]).encode()).hexdigest()


def _computed(evaluation: Evaluation) -> list[Metric]:
    """Return the metrics that there are numbers of."""
    return [m for m in evaluation.protocol.metrics if m.name not in evaluation.skipped]


def _has_best(evaluation: Evaluation) -> bool:
    """Tell whether there are several samples, and so records of the best of them."""
    return any(record.samples.startswith("best") for record in evaluation.records)


def _both(
    evaluation: Evaluation, metric: Metric, best: bool = False
) -> tuple[MetricRecord | None, MetricRecord | None]:
    """Return the record of a metric, and that of the direction which is not its protocol's.

    Captions have no best sample: one is decoded of each stimulus.
    """
    records = [
        record
        for record in evaluation.records
        if record.metric == metric.name and record.samples.startswith("best") == best
    ]
    if len(records) < 2:
        return (records[0] if records else None), None
    records.sort(key=lambda record: record.direction != evaluation.protocol.direction)
    return records[0], records[1]


def _read_at(metric: Metric) -> str:
    """Name the layer and the size that a metric is read at."""
    if metric.statistic == "captions":
        return "words"
    if metric.network is None:
        return f"{metric.size} px" if metric.size else "own size"
    return metric.network.split(":")[-1].replace("@", " @")


def _with_interval(record: MetricRecord) -> str:
    scale = 100 if record.direction else 1
    low, high = (_number(x * scale, scale) for x in (record.ci_low, record.ci_high))
    return f"{_plain(record)} [{low}, {high}]"


def _plain(record: MetricRecord) -> str:
    scale = 100 if record.direction else 1
    return _number(record.value * scale, scale)


def _number(value: float, scale: int) -> str:
    """Write a number as the field's tables have it: 94.4 per cent, or .273; BLEU is 0 to 100."""
    if scale == 100 or value >= 2:
        return f"{value:.1f}"
    return f"{value:.3f}".replace("0.", ".", 1)


def _escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in visible(text))
