"""The command line: parse, call, print."""

import csv
import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from vox2pix.errors import UserError

if TYPE_CHECKING:
    from vox2pix.data import CheckReport
    from vox2pix.pipeline import Plan


class _Commands(TyperGroup):
    """The commands; what a person can mend is one sentence on stderr and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            message = Text.assemble(("vox2pix: ", "bold red"), str(error))
            _to_stderr().print(message, soft_wrap=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            _to_stderr().print("\nStopped; run the same command again to go on.")
            raise typer.Exit(130) from error


app = typer.Typer(
    name="vox2pix",
    cls=_Commands,
    help="Pictures from brain responses, by linear decoding into a latent diffusion model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before decoding them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
plot_app = typer.Typer(help="Draw the figures of a run again.", no_args_is_help=True)
app.add_typer(plot_app, name="plot")
console = Console(highlight=False)

_INTERVAL = ("value", "low", "high")
_NAMES = 10  # least width of a first column, so that tables below each other line up


class Bars:
    """A reporter that draws progress bars with rates and remaining time.

    Parameters
    ----------
    where : Console, optional
        Where they are drawn: standard output if not given.
    transient : bool
        Whether they vanish when the work is done, and are not drawn where nobody watches.
    """

    def __init__(self, where: Console | None = None, transient: bool = False) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}", style="dim"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=where or console,
            transient=transient,
            disable=transient and not (where or console).is_terminal,
        )
        self._task: TaskID | None = None
        self._step, self._done = "", 0

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(f"  {text}", soft_wrap=True, markup=False)

    def begin(self, title: str, total: int, unit: str) -> None:
        """Add a bar."""
        self._task = self._bars.add_task(f"{title:<23}", total=total, unit=unit, rate="")
        self._step, self._done = "", 0

    def advance(self, n: int) -> None:
        """Move the newest bar on."""
        if self._task is None:
            return
        self._bars.advance(self._task, n)
        speed = self._bars.tasks[self._task].speed
        self._bars.update(self._task, rate=f"{speed:.1f}/s" if speed else "")

    def track(self, step: str, done: int, total: int) -> None:
        """Take note that ``done`` of ``total`` are done of a step; a new step gets a new bar."""
        if step != self._step:
            self.begin(step[:1].upper() + step[1:], total, "")
            self._step = step
        self.advance(done - self._done)
        self._done = done


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The experiment file (TOML).")],
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/NAME")
    ] = None,
) -> None:
    """Decode, draw, score: an experiment from responses to pictures. Run again to go on."""
    from vox2pix.config import load_config

    experiment = load_config(config)
    folder = (out or Path("runs") / experiment.name).resolve()
    console.print(f"[bold]{experiment.name}[/bold]: {config} into {_shown(folder)}")
    _quiet_libraries()
    from vox2pix.pipeline import run as carry_out

    with Bars() as bars:
        carry_out(experiment, folder, bars)
    _print_metrics(folder)
    console.print(f"\nThe report:             [bold]{_shown(folder / 'report.html')}[/bold]")
    console.print(f"Seen and reconstructed: [bold]{_shown(folder / 'contact_sheet.png')}[/bold]")
    console.print(f"All numbers:            [bold]{_shown(folder / 'metrics.json')}[/bold]")


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="The experiment file (TOML).")],
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/NAME")
    ] = None,
) -> None:
    """Say what a run would read, compute and write: time, memory, disk. Computes nothing."""
    from vox2pix.config import load_config

    experiment = load_config(config)
    folder = (out or Path("runs") / experiment.name).resolve()
    _quiet_libraries()
    from vox2pix.pipeline import plan as draw_up

    _print_plan(draw_up(experiment, folder), experiment.name, config, folder)


@app.command()
def encode(
    config: Annotated[Path, typer.Argument(help="The experiment file (TOML).")],
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/NAME")
    ] = None,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take, and compute nothing.")
    ] = False,
) -> None:
    """Explain voxels by the model's latents: tables, maps, figures. Run again to go on."""
    from vox2pix.config import load_config

    experiment = load_config(config)
    folder = (out or Path("runs") / experiment.name).resolve()
    _quiet_libraries()
    if only_plan:
        from vox2pix.pipeline import plan_encoding

        _print_plan(plan_encoding(experiment, folder), experiment.name, config, folder)
        return
    console.print(f"[bold]{experiment.name}[/bold]: {config} into {_shown(folder)}")
    from vox2pix.pipeline import encode as carry_out

    with Bars() as bars:
        carry_out(experiment, folder, bars)
    _print_encoding(folder / "encoding")


@app.command()
def report(
    run_folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="One run, or several to compare.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write.", show_default="report.html in the run folder"),
    ] = None,
) -> None:
    """Write one page of a run: pictures, numbers, maps, doubts. It opens without a server."""
    _quiet_libraries()
    from vox2pix.report import write_report

    path = write_report([folder.resolve() for folder in run_folders], out)
    console.print(f"The report: [bold]{_shown(path.resolve())}[/bold]")


@app.command()
def explore(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of 127.0.0.1.", show_default="a free one")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Turn the knobs of a run and see its pictures drawn again, on a page of this machine."""
    _quiet_libraries()
    from vox2pix.pipeline.explore import explore as open_page

    def announce(address: str) -> None:
        console.print(f"The page: [bold]{address}[/bold]  (Ctrl-C ends it)", soft_wrap=True)

    open_page(run_folder.resolve(), port, not no_browser, announce)


@app.command()
def audit(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run that was scored.")],
) -> None:
    """Ask whether a run's pictures came from the brain: each check, its verdict and figure."""
    _quiet_libraries()
    from vox2pix.pipeline import audit as audit_again

    folder = run_folder.resolve()
    with Bars() as bars:
        findings = audit_again(folder, bars)
    _print_findings(findings)
    console.print(f"\nFigures: [bold]{_shown(folder / 'audit')}[/bold]")


@plot_app.command("encoding")
def plot_encoding(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run that was encoded.")],
) -> None:
    """Draw the figures of an encoding analysis again, from its tables."""
    _quiet_libraries()
    from vox2pix.pipeline import draw_encoding

    with Bars() as bars:
        figures = draw_encoding(run_folder.resolve(), bars)
    console.print(f"{len(figures)} figures: [bold]{_shown(figures[0].parent.resolve())}[/bold]")


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
    console.print(f"A simulated data set: [bold]{_shown(made.resolve())}[/bold]")


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
    with Bars(_to_stderr(), transient=True) as bars:
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
        typer.echo(json.dumps(_plain(dataclasses.asdict(report) | {"ok": report.ok}), indent=2))
    else:
        _print_check(report)
    if not report.ok:
        n = len(report.faults)
        raise UserError(
            f"{_shown(path)} has {n} fault{'s' * (n > 1)}; mend {'them' if n > 1 else 'it'} "
            "and check again."
        )


def _print_check(report: "CheckReport") -> None:
    """Print what a check found: counts, regions, notes, faults."""
    layout = "NSD's layout" if report.layout == "nsd" else "a folder of your own data"
    path = _shown(Path(report.path))
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
        shown = _repeats(split.repeats)
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


def _repeats(repeats: dict[int, int]) -> str:
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


def _plain(value: Any) -> Any:
    """Make a value fit for JSON, which has no NaN: what is unknown is null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _print_metrics(folder: Path) -> None:
    """Print one row a condition, one column a metric, each with its interval."""
    records = json.loads((folder / "metrics.json").read_text())
    columns = list(dict.fromkeys(_column(r) for r in records))
    conditions = list(dict.fromkeys(r["condition"] for r in records))
    cells = {(r["condition"], _column(r)): r for r in records}
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("condition", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for condition in conditions:
        table.add_row(condition, *(_cell(cells.get((condition, c))) for c in columns))
    n_stimuli = max(r["n_stimuli"] for r in records)
    console.print()
    console.print(table)
    console.print(
        f"Means over {n_stimuli} test pictures with 95 % bootstrap intervals. Two-way "
        "identification: chance is 50 %. Ceilings (true-...) are drawn from the true features.",
        style="dim",
    )


def _print_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of words, the first column to the left."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=bool(number))
    for row in rows:
        table.add_row(*map(escape, row))
    console.print()
    console.print(table)


def _print_findings(findings: Sequence[dict[str, Any]]) -> None:
    """Print each check's verdict and its sentence."""
    colours = {"pass": "green", "warn": "yellow", "fail": "red", None: "dim"}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        verdict = finding["verdict"]
        text = Text.assemble((f"{finding['name']}. ", "bold"), finding["sentence"])
        table.add_row(Text(verdict or "open", style=colours[verdict]), text)
    console.print()
    console.print(table)


def _print_encoding(folder: Path) -> None:
    """Print the mean correlation of each region with each latent, and where all else is."""
    with (folder / "roi_means.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    latents = list(dict.fromkeys(row["latent"] for row in rows))
    cells = {(row["roi"], row["latent"]): row for row in rows}
    n_voxels = {row["roi"]: row["n_voxels"] for row in rows}
    _print_rows(
        ["region", "voxels", *latents],
        [
            [roi, n, *(_r_cell(cells[roi, latent]) for latent in latents)]
            for roi, n in n_voxels.items()
        ],
    )
    console.print(
        "Mean Pearson r over the voxels of a region, on test pictures, with 95 % bootstrap "
        "intervals over them.",
        style="dim",
    )
    console.print(f"\nThe report: [bold]{_shown(folder.parent / 'report.html')}[/bold]")
    console.print(f"Figures:    [bold]{_shown(folder / 'figures')}[/bold]")
    console.print(f"Tables:     [bold]{_shown(folder / 'results.csv.gz')}[/bold]")


def _r_cell(row: dict[str, str]) -> str:
    if not row["value"]:  # no voxel of the region varies
        return "-"
    value, low, high = (f"{float(row[k] or 'nan'):.2f}".replace("0.", ".", 1) for k in _INTERVAL)
    return f"{value} [{low}, {high}]"


def _print_plan(drawn: "Plan", name: str, config: Path, folder: Path) -> None:
    """Print what each stage needs."""
    console.print(f"[bold]{name}[/bold]: {config} into {_shown(folder)}\n")
    for line in drawn.facts:
        console.print(f"  {line}", soft_wrap=True, markup=False)
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
            _duration(row.seconds),
            style="bold" if row is drawn.total else None,
        )
    console.print()
    console.print(table)
    console.print(f"\n{drawn.basis}", soft_wrap=True, markup=False)


@app.command()
def evaluate(
    truth: Annotated[Path, typer.Option(help="The pictures that were seen.")],
    reconstructions: Annotated[Path, typer.Option(help="The pictures to score.")],
    samples: Annotated[
        str | None, typer.Option(help="Files of several samples, e.g. {id}_{sample}.png.")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="default, brain-diffuser, mindeye1, mindeye2 or takagi2023."),
    ] = "default",
    network: Annotated[
        list[str] | None, typer.Option(help="Identify by this network too; may be repeated.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A folder of networks' weights.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch weights not here.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write.", show_default="NAME-evaluation")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Print the published results beside.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where networks run: auto, cpu, cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of intervals and chance.")] = 0,
) -> None:
    """Score any lab's pictures by the field's metrics, paired by id.

    Either side is a folder of PNG or JPEG files, or an array in .npy, .npz, .zarr or .pt.
    """
    _quiet_libraries()
    from vox2pix.evaluation import evaluate_pictures, published_rows, result_rows, save_evaluation

    folder = (out or Path(f"{reconstructions.resolve().stem}-evaluation")).resolve()
    console.print(
        f"[bold]{protocol}[/bold]: {_shown(reconstructions)} against {_shown(truth)}",
        soft_wrap=True,
    )
    with Bars(_to_stderr(), transient=True) as bars:
        evaluation, told = evaluate_pictures(
            truth,
            reconstructions,
            samples=samples,
            protocol=protocol,
            networks=network or (),
            weights=weights,
            download=download,
            device=device,
            seed=seed,
            progress=bars.track,
        )
    save_evaluation(evaluation, folder, told, published)
    for note in evaluation.notes:
        console.print(f"  {note}", soft_wrap=True, markup=False)
    fixed = evaluation.protocol.direction
    other = "reconstruction" if fixed == "original" else "original"
    _print_rows(("metric", "read at", "value", f"fix {other}", "chance"), result_rows(evaluation))
    console.print(
        f"Means over pictures with 95 % bootstrap intervals; identification in per cent. "
        f"{protocol} fixes the {fixed}. ↓: lower is better.",
        style="dim",
    )
    for reason in dict.fromkeys(evaluation.skipped.values()):
        names = ", ".join(name for name, why in evaluation.skipped.items() if why == reason)
        console.print(f"[yellow]Not computed[/yellow]: {escape(f'{names}: {reason}.')}")
    if published:
        heads = ("", "Pix", "SSIM", "Alex2", "Alex5", "Incep", "CLIP", "Eff ↓", "SwAV ↓")
        _print_rows(heads, published_rows(evaluation))
        console.print("Published means over NSD subjects 1, 2, 5 and 7.", style="dim")
    console.print(f"\nTable, scores, settings: [bold]{_shown(folder)}[/bold]", soft_wrap=True)


def _column(record: dict[str, Any]) -> str:
    if not record["direction"]:
        return {"pixcorr": "PixCorr", "ssim": "SSIM"}.get(record["metric"], record["metric"])
    return f"two-way, %\nfix\n{record['direction']}"


def _cell(record: dict[str, Any] | None) -> str:
    """Write a value and its interval: whole per cent, or .xx, as the field's tables have them."""
    if record is None:
        return "-"
    numbers = [record[key] for key in ("value", "ci_low", "ci_high")]
    if record["direction"]:
        value, low, high = (f"{100 * number:.0f}" for number in numbers)
    else:
        value, low, high = (f"{number:.2f}".replace("0.", ".", 1) for number in numbers)
    return f"{value} [{low}, {high}]"


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} B" if n else "-"


def _duration(seconds: float) -> str:
    if seconds >= 72 * 3600:
        return f"{seconds / 86400:.0f} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{max(seconds, 1):.0f} s"


def _shown(path: Path) -> str:
    """Name a path from here where it lies below, in full elsewhere."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice out of ours."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _to_stderr() -> Console:
    return Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
