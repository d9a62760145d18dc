"""The command line: parse, call, print."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
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

from vox2pix.errors import UserError

app = typer.Typer(
    name="vox2pix",
    help="Pictures from brain responses, by linear decoding into a latent diffusion model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before decoding them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
console = Console(highlight=False)


class Bars:
    """A reporter that draws progress bars with rates and remaining time."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TextColumn("{task.fields[rate]}", style="dim"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )
        self._task: TaskID | None = None

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

    def advance(self, n: int) -> None:
        """Move the newest bar on."""
        if self._task is None:
            return
        self._bars.advance(self._task, n)
        speed = self._bars.tasks[self._task].speed
        self._bars.update(self._task, rate=f"{speed:.1f}/s" if speed else "")


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
    console.print(f"\nSeen and reconstructed: [bold]{_shown(folder / 'contact_sheet.png')}[/bold]")
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

    drawn = draw_up(experiment, folder)
    console.print(f"[bold]{experiment.name}[/bold]: {config} into {_shown(folder)}\n")
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
        bars.begin("Simulating", subjects * sessions, "sessions")
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
        )
        bars.advance(subjects * sessions)
    console.print(f"A simulated data set: [bold]{_shown(made.resolve())}[/bold]")


def _print_metrics(folder: Path) -> None:
    """Print one row a condition, one column a metric, each with its interval."""
    import json

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


def _column(record: dict[str, Any]) -> str:
    if not record["direction"]:
        return {"pixcorr": "PixCorr", "ssim": "SSIM"}.get(record["metric"], record["metric"])
    return f"two-way, %\nfix {record['direction']}"


def _cell(record: dict[str, Any] | None) -> str:
    if record is None:
        return "-"
    scale, form = (100, ".0f") if record["direction"] else (1, ".2f")
    value, low, high = (scale * record[k] for k in ("value", "ci_low", "ci_high"))
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _bytes(n: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} B" if n else "-"


def _duration(seconds: float) -> str:
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


def main() -> None:
    """Run the command line; what a person can mend is one sentence and exit status 2."""
    try:
        app()
    except UserError as error:
        message = Text.assemble(("vox2pix: ", "bold red"), str(error))
        Console(stderr=True, highlight=False).print(message, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("\nStopped; run the same command again to go on.")
        sys.exit(130)
