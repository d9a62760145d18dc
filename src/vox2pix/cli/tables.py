"""Tables of a run, for the terminal."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from vox2pix.cli.app import console
from vox2pix.cli.terminal import bold, shown

if TYPE_CHECKING:
    from vox2pix.pipeline import Plan
    from vox2pix.report import ComparisonRow

_INTERVAL = ("value", "low", "high")


def print_metrics(folder: Path) -> None:
    """Print one row per condition, one column per metric, with intervals; then retrieval."""
    records = json.loads((folder / "metrics.json").read_text())
    retrieval = [r for r in records if r["metric"].startswith("top-")]
    drawn = [r for r in records if r not in retrieval]
    print_records(drawn)
    n_stimuli = max(r["n_stimuli"] for r in records)
    has_best = any(r["samples"].startswith("best") for r in drawn)
    console.print(
        f"Means over {n_stimuli:,} test images with 95 % intervals. Two-way "
        "identification: chance is 50 %. Ceilings (true-...) are drawn from the true features."
        + " The best sample is chosen by the original: an upper bound, chance is higher."
        * has_best,
        style="dim",
    )
    if retrieval:
        print_records(retrieval, "retrieval")
        chances = {r["metric"]: f"{100 * r['chance']:.3g} %" for r in retrieval}
        by_chance = ", ".join(f"{name} {chance}" for name, chance in chances.items())
        console.print(
            f"Test images found by decoded features, % (fix reconstruction), and the other way "
            f"round. Chance: {shown(by_chance)}.",
            style="dim",
        )


def print_records(records: Sequence[dict[str, Any]], head: str = "condition") -> None:
    """Print one row per condition, its best sample below it, and one column per metric."""
    columns = list(dict.fromkeys(map(_column, records)))
    rows = list(dict.fromkeys(map(_row, records)))
    cells = {(_row(r), _column(r)): r for r in records}
    print_rows(
        [head, *columns],
        [
            [f"  {best}" if best else name, *(_cell(cells.get(((name, best), c))) for c in columns)]
            for name, best in rows
        ],
    )


def print_pooled(records: Sequence[dict[str, Any]]) -> None:
    """Print one row per metric and way of joining samples, for a single condition."""
    print_rows(
        ["metric", "samples", "fixed", "mean", "chance"],
        [
            [r["metric"], r["samples"], r["direction"] or "", _cell(r), _number(r, r["chance"])]
            for r in records
        ],
    )


def print_comparison(names: Sequence[str], rows: Sequence["ComparisonRow"], n_stimuli: int) -> None:
    """Print how each run differs from the first: one table per run."""
    for number, name in enumerate(names[1:]):
        condition = ""
        lines = []
        for row in rows:
            if row.condition != condition:
                condition = row.condition
                lines.append([condition, "", "", "", ""])
            each = row.differences[number]
            difference = f"{each.value} [{each.interval}]"
            star = "*" if each.significant else ""
            lines.append(
                [f"  {row.metric.label}", row.values[0], row.values[number + 1], difference,
                 f"{each.p.removeprefix('p ')}{star}"]
            )  # fmt: skip
        print_rows(["", names[0], name, "difference", "p"], lines)
    console.print(
        f"Means over the {n_stimuli:,} images that all have scored; differences from "
        f"{shown(names[0])} image by image with 95 % intervals; p of sign flips, "
        "corrected for all rows (Holm); * below .05.",
        style="dim",
    )


def _row(record: dict[str, Any]) -> tuple[str, str]:
    """Return the condition, and how samples were joined where they were not averaged."""
    best = record["samples"].startswith("best")
    return record["condition"], record["samples"] if best else ""


def print_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of words, the first column to the left."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=bool(number))
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console.print()
    console.print(table)


def print_findings(findings: Sequence[dict[str, Any]]) -> None:
    """Print each check's verdict and its sentence."""
    colours = {"pass": "green", "warn": "yellow", "fail": "red", None: "dim"}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        verdict = finding["verdict"]
        name, sentence = shown(finding["name"]), shown(finding["sentence"])
        text = Text.assemble((f"{name}. ", "bold"), sentence)
        table.add_row(Text(shown(verdict or "open"), style=colours[verdict]), text)
    console.print()
    console.print(table)


def print_verdicts(folder: Path) -> None:
    """Print what a transfer found, a sentence each."""
    from vox2pix.report.transfer import verdicts

    sentences = verdicts(json.loads((folder / "transfer.json").read_text()))
    colours = {"pass": "green", "warn": "yellow", "fail": "red", "": "dim"}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for each in sentences:
        text = Text.assemble((f"{shown(each.title)} ", "bold"), shown(each.text))
        table.add_row(Text(shown(each.word), style=colours[each.kind]), text)
    console.print()
    console.print(table)


def print_encoding(folder: Path) -> None:
    """Print the mean correlation per region and latent, and the places of all other results."""
    with (folder / "roi_means.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    latents = list(dict.fromkeys(row["latent"] for row in rows))
    cells = {(row["roi"], row["latent"]): row for row in rows}
    regions = {row["roi"]: row for row in rows}
    print_rows(
        ["region", "voxels", *latents, "ceiling"],
        [
            [
                roi,
                _scored_voxels(row),
                *(_r_cell(cells[roi, latent]) for latent in latents),
                _two_digits(row["ceiling"]) if row["ceiling"] else "-",
            ]
            for roi, row in regions.items()
        ],
    )
    console.print(
        "Mean Pearson r over the voxels of a region, on test images, with 95 % bootstrap "
        "intervals over them; ceiling: the largest mean r that noise allows.",
        style="dim",
    )
    console.say("\nThe report: ", bold(folder.parent / "report.html"))
    console.say("Figures:    ", bold(folder / "figures"))
    console.say("Tables:     ", bold(folder / "results.csv.gz"))


def _scored_voxels(row: dict[str, str]) -> str:
    """Return the voxels of a region, and how many of them have an r where not all have."""
    n, scored = int(row["n_voxels"]), int(row["n_scored"])
    return f"{n}" if scored == n else f"{scored} of {n}"


def _r_cell(row: dict[str, str]) -> str:
    if not row["value"]:  # no voxel of the region varies
        return "-"
    value, low, high = (_two_digits(row[k]) for k in _INTERVAL)
    return f"{value} [{low}, {high}]"


def _two_digits(text: str) -> str:
    return f"{float(text or 'nan'):.2f}".replace("0.", ".", 1)


def print_plan(drawn: "Plan", command: str) -> None:
    """Print what each stage of a command needs."""
    console.say("\n", bold(command), "\n")
    for line in drawn.facts:
        console.say(f"  {shown(line)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("stage")
    table.add_column("what")
    for heading in ("read", "write", "memory", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in (*drawn.stages, drawn.total):
        table.add_row(
            row.name,
            row.what,
            _bytes(row.read_bytes),
            _bytes(row.write_bytes),
            _bytes(row.memory_bytes),
            duration(row.seconds),
            style="bold" if row is drawn.total else None,
        )
    console.print()
    console.print(table)
    console.say(f"\n{shown(drawn.basis)}")


def _column(record: dict[str, Any]) -> str:
    if not record["direction"]:
        return {"pixcorr": "PixCorr", "ssim": "SSIM"}.get(record["metric"], record["metric"])
    name = "two-way" if record["metric"].startswith("two-way") else record["metric"]
    return f"{name}, %\nfix\n{record['direction']}"


def _cell(record: dict[str, Any] | None) -> str:
    """Write a value and its interval."""
    if record is None:
        return "-"
    value, low, high = (_number(record, record[key]) for key in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def _number(record: dict[str, Any], value: float) -> str:
    """Write whole per cent, or .xx, as the field's tables have them."""
    if record["direction"]:
        return f"{100 * value:.0f}"
    return f"{value:.2f}".replace("0.", ".", 1)


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} B" if n else "-"


def duration(seconds: float) -> str:
    """Write a time in a unit that fits."""
    if seconds >= 72 * 3600:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(seconds, 1):.0f} s"
