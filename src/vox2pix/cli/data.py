"""The commands that make data, and those that look at them."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from vox2pix.cli.app import app, console, data_app, fetch_app, quiet_libraries, to_stderr
from vox2pix.cli.bars import Bars
from vox2pix.cli.sources import (
    OWN_OPTIONS,
    Betas,
    Captions,
    Images,
    Layout,
    Place,
    Rois,
    Sessions,
    Space,
    Stimuli,
    Subject,
    Test,
    named_source,
)
from vox2pix.cli.terminal import bold, shown
from vox2pix.errors import UserError

if TYPE_CHECKING:
    from vox2pix.data import CheckReport
    from vox2pix.data.fetch import RemoteFile

_MB = 10**6
_NAMES = 10  # least width of a first column, so that tables below each other line up


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="The folder to make, in NSD's layout.")],
    subjects: Annotated[int, typer.Option(min=1, help="How many people.")] = 1,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions per person.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    space: Annotated[
        str, typer.Option(help="func1pt8mm (volume), fsaverage5 (surface) or both.")
    ] = "func1pt8mm",
    early: Annotated[int, typer.Option(min=1, help="Early visual voxels.")] = 1500,
    ventral: Annotated[int, typer.Option(min=1, help="Ventral voxels.")] = 1500,
    trials: Annotated[int, typer.Option(min=3, help="Trials per session.")] = 750,
    images: Annotated[
        Path | None, typer.Option(help="Show these images instead of drawn scenes.")
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="Captions of --images (CSV or COCO JSON).")
    ] = None,
    imagery: Annotated[
        bool, typer.Option("--imagery", help="Add a session in NSD-Imagery's layout.")
    ] = False,
    imagery_case: Annotated[
        list[str] | None,
        typer.Option(
            help="signal, no-signal or cue-only, once per subject; the last for all others.",
            show_default="signal",
        ),
    ] = None,
) -> None:
    """Simulate subjects who see captioned scenes, in the files of NSD."""
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
            imagery=imagery_case or ("signal" if imagery else None),
            progress=bars.track,
        )
    console.say("A simulated data set: ", bold(made.resolve()))


@data_app.command("check", context_settings=OWN_OPTIONS)
def check_data(
    context: typer.Context,
    path: Place,
    source: Layout = None,
    stimuli: Stimuli = None,
    images: Images = None,
    captions: Captions = None,
    rois: Rois = None,
    test: Test = None,
    subject: Subject = 1,
    sessions: Sessions = None,
    space: Space = "func1pt8mm",
    betas: Betas = "betas_fithrf_GLMdenoise_RR",
    model: Annotated[
        str | None,
        typer.Option(help="A diffusion model: count the captions that it cuts."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a data set: its counts, notes and faults. Exit status 2 for a fault.

    Options of one layout follow as --NAME VALUE, such as --participant 01 for BIDS. What has no
    effect on a layout is refused.
    """
    from vox2pix.data import check

    given = {
        "stimuli": stimuli, "images": images, "captions": captions, "test": test,
        "subject": subject, "sessions": sessions, "space": space, "betas": betas,
    }  # fmt: skip
    named, regions = named_source(path, source, given, rois, context.args)
    with Bars(to_stderr(), transient=True) as bars:
        report = check(
            named,
            rois=regions,
            progress=lambda what, done, total: bars.track(f"reading {what}", done, total),
            caption_notes=_caption_notes(model),
        )
    if as_json:
        typer.echo(json.dumps(plain(dataclasses.asdict(report) | {"ok": report.ok}), indent=2))
    else:
        print_check(report)
    if not report.ok:
        n = len(report.faults)
        raise UserError(
            f"{_named(path)} has {n} fault{'s' * (n > 1)}; fix {'them' if n > 1 else 'it'} "
            "and check again."
        )


def _caption_notes(
    model: str | None,
) -> "Callable[[Sequence[Sequence[str]]], Sequence[str]] | None":
    """Return the note on captions that a model truncates, if a model is named."""
    if model is None:
        return None
    quiet_libraries()
    from vox2pix.pipeline.preconditions import caption_note

    return lambda captions: caption_note(model, captions)


@fetch_app.command("nsd")
def fetch_nsd(
    subject: Annotated[int, typer.Option(min=1, help="Whose data.")] = 1,
    what: Annotated[
        str, typer.Option(help="Of betas, roi, stimuli, transforms; joined by commas.")
    ] = "betas,roi,stimuli",
    sessions: Sessions = None,
    space: Space = "func1pt8mm",
    betas: Betas = "betas_fithrf_GLMdenoise_RR",
    out: Annotated[Path, typer.Option(help="Root of the copy.")] = Path("nsd"),
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You accept NSD's terms; nobody is asked.")
    ] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="Another S3 server.", show_default="Amazon's")
    ] = None,
) -> None:
    """Download what is needed of the Natural Scenes Dataset. Rerun to resume.

    Files are listed and the disk is checked first; each file appears when its size and checksum
    are right.
    """
    from vox2pix.data.fetch import download, nsd_files, require_space
    from vox2pix.store import require_ours

    require_ours(out, "download")
    parts = [name.strip() for name in what.split(",") if name.strip()]
    files = nsd_files(subject, parts, sessions, space, betas, endpoint=endpoint)
    _print_files(files, out)
    require_space(files, out)
    left = sum(file.left(out) for file in files)
    if not all(file.is_here(out) for file in files):
        _require_acceptance(accept_terms)
        came = 0
        with Bars() as bars:
            bars.begin("Downloading", -(-left // _MB), "MB")

            def advance(n_bytes: int) -> None:
                nonlocal came
                bars.advance((came + n_bytes) // _MB - came // _MB)
                came += n_bytes

            unverified = download(files, out, advance)
        if unverified:
            console.say(f"Of {len(unverified)} files only the size could be verified.")
    console.say("NSD: ", bold(out.resolve()))


def _print_files(files: "Sequence[RemoteFile]", out: Path) -> None:
    """Print the size of each part, and of what is still to come."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("part", min_width=_NAMES)
    for heading in ("files", "MB", "MB to come"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in [*dict.fromkeys(file.part for file in files), "all"]:
        chosen = [file for file in files if part in (file.part, "all")]
        size, left = sum(f.size for f in chosen), sum(f.left(out) for f in chosen)
        style = "bold" if part == "all" else None
        table.add_row(part, *(f"{n:,}" for n in (len(chosen), -(-size // _MB), -(-left // _MB))),
                      style=style)  # fmt: skip
    console.print(table)


def _require_acceptance(accepted: bool) -> None:
    """Raise unless the person accepts NSD's terms."""
    from vox2pix.data.fetch import NSD_AGREEMENT, NSD_TERMS

    console.print(
        f"\nNSD is shared under terms: {shown(NSD_TERMS)}\n"
        "Its authors ask every user to fill in the data access agreement: "
        f"{shown(NSD_AGREEMENT)}\n",
        soft_wrap=True,
    )
    if not accepted and not sys.stdin.isatty():
        raise UserError(
            "NSD's terms must be accepted first: read them, then add --accept-terms; nothing was "
            "written."
        )
    if not accepted and not typer.confirm("Do you accept the terms?"):
        raise UserError("NSD's terms were not accepted; nothing was written.")


def _named(place: str) -> str:
    """Return the name of a folder or URL."""
    from vox2pix.buckets import is_url

    return place if is_url(place) else shown(Path(place))


def print_check(report: "CheckReport") -> None:
    """Print the result of a check: counts, regions, notes, faults."""
    from vox2pix.data import find_source

    layout = find_source(report.layout).title
    path = _named(report.path)
    if report.name:
        heading = (report.name, f"{path}, {layout}, space {report.space}")
    else:
        heading = (path, layout)
    console.say(bold(heading[0]), f": {shown(heading[1])}")
    if report.name:
        console.say(f"\n  {shown(_counts(report))}\n")
        console.print(_counts_table(report))
        console.print()
        console.print(_rois_table(report))
        if report.ncsnr != "unknown":
            console.print(f"\n{shown(_ceilings_in_words(report.ncsnr))}", style="dim")
    for title, sentences, colour in (
        ("Notes", report.notes, "yellow"),
        ("Faults", report.faults, "red"),
    ):
        if sentences:
            console.say(f"\n{shown(title)}", style=f"bold {colour}")
        for number, sentence in enumerate(sentences, start=1):
            console.say(f"{number:>3}. {shown(sentence)}")
    if report.ok:
        console.say(("\nSound:", "bold green"), " no fault was found.")


def _counts(report: "CheckReport") -> str:
    """Return the numbers of sessions, images and captions, in words."""
    n_sessions = len(report.sessions)
    n_stimuli = report.train.n_stimuli + report.test.n_stimuli
    sessions = f"{n_sessions:,} session{'s' * (n_sessions != 1)}"
    captions = f"{report.n_captions:,} captions" if report.n_captions else "no captions"
    return f"{sessions}; {report.n_images:,} of {n_stimuli:,} images can be read; {captions}"


def _counts_table(report: "CheckReport") -> Table:
    """Lay out trials, stimuli and repeats."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("split", min_width=_NAMES)
    table.add_column("trials", justify="right")
    table.add_column("stimuli", justify="right")
    table.add_column("shown")
    for name, split in (("train", report.train), ("test", report.test)):
        often = repeats_in_words(split.repeats)
        table.add_row(name, f"{split.n_trials:,}", f"{split.n_stimuli:,}", often)
    return table


def _rois_table(report: "CheckReport") -> Table:
    """Lay out the sizes and noise ceilings of the regions."""
    times = set(report.test.repeats or report.train.repeats)
    averaged = f"mean of {times.pop()}" if len(times) == 1 else "mean of repeats"
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("ROI", min_width=_NAMES)
    ceilings = ("ceiling, %\none trial", f"ceiling, %\n{averaged}")
    for heading in ("voxels", "left out", "constant", *ceilings):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, roi in report.rois.items():
        table.add_row(
            shown(name),
            f"{roi.n_voxels:,}",
            f"{roi.n_left_out:,}" if roi.n_left_out else "-",
            f"{roi.n_constant:,}" if roi.n_constant else "-",
            *("-" if math.isnan(c) else f"{c:.1f}" for c in (roi.single, roi.averaged)),
            style="bold" if name == "all" else None,
        )
    return table


def repeats_in_words(repeats: dict[int, int]) -> str:
    """Return how often stimuli were shown, in words."""
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
    """Return a value that JSON has: NaN becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
