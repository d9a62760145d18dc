"""The commands that make data, and those that look at them."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vox2pix.cli.app import app, console, data_app, shown, to_stderr
from vox2pix.cli.bars import Bars
from vox2pix.errors import UserError

if TYPE_CHECKING:
    from vox2pix.data import CheckReport

_NAMES = 10  # least width of a first column, so that tables below each other line up


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The folder to make, in NSD's layout.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many people.")] = 1,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions a person.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    space: Annotated[
        str, typer.Option(help="func1pt8mm (volume), fsaverage5 (surface) or both.")
    ] = "func1pt8mm",
    early: Annotated[int, typer.Option(min=1, help="Early visual voxels.")] = 1500,
    ventral: Annotated[int, typer.Option(min=1, help="Ventral voxels.")] = 1500,
    trials: Annotated[int, typer.Option(min=3, help="Trials a session.")] = 750,
    images: Annotated[
        Path | None, typer.Option(help="Show these pictures instead of drawn scenes.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Captions of --images (CSV or COCO JSON).")
    ] = None,
) -> None:
    """Simulate people who look at captioned scenes, written as NSD is written."""
    from vox2pix.phantom import simulate

    with Bars() as bars:
        made = simulate(
            out,
            subjects=subjects,
            sessions=sessions,
            seed=seed,
            space=space,
            n_early=early,
            n_ventral=ventral,
            trials_per_session=trials,
            images=images,
            captions=captions,
            progress=bars.track,
        )
    console.print(f"A simulated data set: [bold]{shown(made.resolve())}[/bold]")


@data_app.command("check")
def check_data(
    path: Annotated[Path, typer.Argument(help="NSD's root, or a folder of your own data.")],
    subject: Annotated[int, typer.Option(min=1, help="Whose data, in NSD's layout.")] = 1,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many.", show_default="all")
    ] = None,
    rois: Annotated[str, typer.Option(help="Regions, joined by commas.")] = "early,ventral",
    space: Annotated[str, typer.Option(help="Space of the voxels.")] = "func1pt8mm",
    betas: Annotated[
        str, typer.Option(help="Version of the responses.")
    ] = "betas_fithrf_GLMdenoise_RR",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count what a data set holds and name every fault. Exit status 2 if there is one.

    A folder of your own data has one subject, space and version, and all its regions are read:
    the options are for NSD's layout.
    """
    from vox2pix.data import check

    names = [name.strip() for name in rois.split(",") if name.strip()]
    with Bars(to_stderr(), transient=True) as bars:
        report = check(
            path,
            subject,
            sessions,
            names,
            space,
            betas,
            progress=lambda what, done, total: bars.track(f"reading {what}", done, total),
        )
    if as_json:
        typer.echo(json.dumps(plain(dataclasses.asdict(report) | {"ok": report.ok}), indent=2))
    else:
        print_check(report)
    if not report.ok:
        n = len(report.faults)
        raise UserError(
            f"{shown(path)} has {n} fault{'s' * (n > 1)}; mend {'them' if n > 1 else 'it'} "
            "and check again."
        )


def print_check(report: "CheckReport") -> None:
    """Print what a check found: counts, regions, notes, faults."""
    layout = "NSD's layout" if report.layout == "nsd" else "a folder of your own data"
    path = shown(Path(report.path))
    if report.name:
        heading = (report.name, f"{path}, {layout}, space {report.space}")
    else:
        heading = (path, layout)
    console.print(Text.assemble((heading[0], "bold"), f": {heading[1]}"), soft_wrap=True)
    if report.name:
        console.print(f"\n  {_holdings(report)}\n", soft_wrap=True)
        console.print(_counts_table(report))
        console.print()
        console.print(_rois_table(report))
        if report.ncsnr != "unknown":
            console.print(f"\n{_ceilings_in_words(report.ncsnr)}", style="dim")
    for title, sentences, colour in (
        ("Notes", report.notes, "yellow"),
        ("Faults", report.faults, "red"),
    ):
        if sentences:
            console.print(f"\n{title}", style=f"bold {colour}")
        for number, sentence in enumerate(sentences, start=1):
            console.print(f"{number:>3}. {sentence}", soft_wrap=True, markup=False)
    if report.ok:
        console.print("\n[bold green]Sound:[/bold green] no fault was found.")


def _holdings(report: "CheckReport") -> str:
    """Say how many sessions, pictures and captions there are."""
    n_sessions = len(report.sessions)
    n_stimuli = report.train.n_stimuli + report.test.n_stimuli
    sessions = f"{n_sessions:,} session{'s' * (n_sessions != 1)}"
    captions = f"{report.n_captions:,} captions" if report.n_captions else "no captions"
    return f"{sessions}; {report.n_pictures:,} of {n_stimuli:,} pictures can be read; {captions}"


def _counts_table(report: "CheckReport") -> Table:
    """Lay out trials, stimuli and repeats."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("split", min_width=_NAMES)
    table.add_column("trials", justify="right")
    table.add_column("stimuli", justify="right")
    table.add_column("shown")
    for name, split in (("train", report.train), ("test", report.test)):
        shown = repeats_in_words(split.repeats)
        table.add_row(name, f"{split.n_trials:,}", f"{split.n_stimuli:,}", shown)
    return table


def _rois_table(report: "CheckReport") -> Table:
    """Lay out the sizes and noise ceilings of the regions."""
    shown = set(report.test.repeats or report.train.repeats)
    averaged = f"mean of {shown.pop()}" if len(shown) == 1 else "mean of repeats"
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("ROI", min_width=_NAMES)
    for heading in ("voxels", "constant", "ceiling, %\none trial", f"ceiling, %\n{averaged}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, roi in report.rois.items():
        table.add_row(
            name,
            f"{roi.n_voxels:,}",
            f"{roi.n_constant:,}" if roi.n_constant else "-",
            *("-" if math.isnan(c) else f"{c:.1f}" for c in (roi.single, roi.averaged)),
            style="bold" if name == "all" else None,
        )
    return table


def repeats_in_words(repeats: dict[int, int]) -> str:
    """Say how often stimuli were shown."""
    times = {1: "once", 2: "twice"}
    if not repeats:
        return "-"
    if len(repeats) > 3:
        return f"{min(repeats)} to {max(repeats)} times"
    words = [(times.get(n, f"{n} times"), count) for n, count in sorted(repeats.items())]
    if len(words) == 1:
        return f"{words[0][0]} each"
    return ", ".join(f"{count:,} {time}" for time, count in words)


def _ceilings_in_words(ncsnr: str) -> str:
    source = "from the data set's ncsnr" if ncsnr == "file" else "estimated from the repeats"
    return (
        "Noise ceiling: the share of a voxel's variance that the stimulus can explain; medians "
        f"over voxels, {source}."
    )


def plain(value: Any) -> Any:
    """Make a value fit for JSON, which has no NaN: what is unknown is null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
