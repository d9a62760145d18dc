"""The tables of a report: every metric beside chance, controls, ceiling, and what was published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vox2pix.evaluation.records import MetricRecord
from vox2pix.report.contents import RunContents
from vox2pix.report.labels import (
    CEILING,
    CONTROL,
    DECODED,
    RETRIEVAL,
    Metric,
    counted,
    in_group,
    label,
)


@dataclass(frozen=True)
class Cell:
    """A value with its interval, as text; the interval is empty where there is none."""

    value: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """A condition, or the best samples of one, with one cell per metric, None without a value."""

    name: str
    note: str
    cells: tuple[Cell | None, ...]
    is_judged: bool = False


@dataclass(frozen=True)
class NumbersTable:
    """Every metric of a run, one column each; lines are conditions, in named groups."""

    metrics: tuple[Metric, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]


def numbers_table(run: RunContents) -> NumbersTable | None:
    """Lay the records of a run's images out; None before the run is scored."""
    drawn = [record for record in run.records if not Metric.of(record).is_retrieval]
    if not drawn:
        return None
    metrics = _metrics(drawn)
    conditions = list(dict.fromkeys(record.condition for record in drawn))

    def lines(group: str) -> list[Line]:
        names = in_group(conditions, group)
        return [line for name in names for line in _lines(name, drawn, run.judged)]

    judged = [record for record in drawn if record.condition == run.judged]
    name = label(run.judged).heading if run.judged else ""
    chance = _chance(f"{name} as images of other stimuli", judged, metrics)
    groups = {
        DECODED: lines(DECODED),
        "controls": [chance, *lines(CONTROL)],
        "from true features": lines(CEILING),
    }
    return NumbersTable(metrics, tuple((k, tuple(v)) for k, v in groups.items() if v))


def retrieval_table(run: RunContents) -> NumbersTable | None:
    """Lay out how often decoded features find their image; None where it was not scored."""
    records = [record for record in run.records if Metric.of(record).is_retrieval]
    if not records:
        return None
    names = dict.fromkeys(record.condition for record in records)
    own = tuple(line for name in names for line in _lines(name, records, None))
    chance = _chance("an image taken at random", records, _metrics(records))
    return NumbersTable(_metrics(records), ((DECODED, own), ("controls", (chance,))))


def _metrics(records: Sequence[MetricRecord]) -> tuple[Metric, ...]:
    return tuple(dict.fromkeys(map(Metric.of, records)))


def _is_best(record: MetricRecord) -> bool:
    return record.samples.startswith("best")


def _lines(name: str, records: Sequence[MetricRecord], judged: str | None) -> Iterator[Line]:
    """Yield the line of a condition, and that of the best of its samples."""
    metrics, (heading, note, _) = _metrics(records), label(name)
    for best in (False, True):
        of = {Metric.of(r): r for r in records if r.condition == name and _is_best(r) == best}
        if of:
            samples = next(iter(of.values())).samples
            yield Line(
                f"{heading}, {samples}" if best else heading,
                "chosen by the original: an upper bound" if best else note,
                tuple(_cell(metric, of.get(metric)) for metric in metrics),
                name == judged and not best,
            )


def _chance(note: str, records: Sequence[MetricRecord], metrics: Sequence[Metric]) -> Line:
    """Return the line of what chance gives, for means over samples."""
    of = {Metric.of(record): record.chance for record in records if not _is_best(record)}
    cells = (Cell(m.written(of[m])) if m in of else None for m in metrics)
    return Line("chance", note, tuple(cells))


def _cell(metric: Metric, record: MetricRecord | None) -> Cell | None:
    """Write a record as a cell."""
    if record is None:
        return None
    return Cell(metric.written(record.value), metric.interval(record.ci_low, record.ci_high))


def headline(run: RunContents) -> str:
    """Summarise the result in one sentence: value, interval, chance, control and ceiling."""
    record = _headline_record(run.records, run.judged)
    if record is None:
        return "There is no result yet: the run has not been scored."
    metric, drawn = Metric.of(record), label(record.condition).heading
    interval = metric.interval(record.ci_low, record.ci_high)
    value, chance = metric.written(record.value), metric.written(record.chance)
    if metric.is_share:
        sentence = (
            f"The image drawn from {drawn} is distinguished from that of another stimulus "
            f"in {value} of all pairs"
        )
    else:
        sentence = f"Images drawn from {drawn} reach {metric.label} {value}"
    sentence += f" (95 % interval {interval}; chance {chance}), "
    sentence += f"over {counted(record.n_stimuli, 'test image')}"
    others = {
        other.condition: metric.written(other.value)
        for other in run.records
        if Metric.of(other) == metric and not _is_best(other)
    }
    beside = [f"with shuffled responses {others['shuffled']}"] if "shuffled" in others else []
    if RETRIEVAL in others:
        beside.append(f"the nearest training image in its place {others[RETRIEVAL]}")
    ceilings = in_group(others, CEILING)
    beside += [f"from the true features, the ceiling, {others[name]}" for name in ceilings[:1]]
    return sentence + (f"; {', '.join(beside)}." if beside else ".")


def _headline_record(records: Sequence[MetricRecord], judged: str | None) -> MetricRecord | None:
    """Choose the main result: identification if there is any, else the first metric."""
    own = [record for record in records if record.condition == judged]
    return next((record for record in own if record.direction), own[0] if own else None)
