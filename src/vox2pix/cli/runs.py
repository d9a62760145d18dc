"""The commands that make a run, and those that look at one."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from vox2pix.cli.app import (
    app,
    console,
    decoder_app,
    local_folder,
    plot_app,
    quiet_libraries,
)
from vox2pix.cli.bars import Bars
from vox2pix.cli.tables import (
    print_encoding,
    print_findings,
    print_metrics,
    print_plan,
    print_verdicts,
)
from vox2pix.cli.terminal import bold, shown
from vox2pix.errors import UserError

if TYPE_CHECKING:
    from vox2pix.config import Config
    from vox2pix.workers import Workers as OpenedWorkers

Experiment = Annotated[Path, typer.Argument(help="The experiment file (TOML).")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a setting of the file; repeatable."),
]
OutFolder = Annotated[str | None, typer.Option(help="The run folder.", show_default="runs/NAME")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes on this machine.", show_default="this one")
]
Dask = Annotated[str | None, typer.Option(help="A running Dask scheduler: tcp://HOST:PORT.")]
Slurm = Annotated[
    bool, typer.Option("--slurm", help="Jobs of Slurm, as compute.slurm describes them.")
]
Verify = Annotated[
    bool,
    typer.Option("--verify", help="Hash every input file again, also those that look unchanged."),
]


def _experiment(config: Path, settings: list[str] | None) -> "Config":
    """Read an experiment, with what is given beside it, and say which settings these are."""
    from vox2pix.config import load_config, parse_settings

    given = parse_settings(settings or ())
    experiment = load_config(config, given)
    for name, value in given.items():
        console.say(f"{shown(name)} = {shown(str(value))}, as given")
    return experiment


def _opened(
    experiment: "Config", workers: int | None, dask: str | None, slurm: bool
) -> AbstractContextManager["OpenedWorkers"]:
    """Open the workers that the options name."""
    from vox2pix.workers import SlurmJobs, open_workers

    jobs = SlurmJobs(**experiment.compute.slurm.model_dump()) if slurm else None
    return open_workers(workers, dask, jobs)


@app.command()
def run(
    config: Experiment,
    out: OutFolder = None,
    settings: Settings = None,
    workers: Workers = None,
    dask: Dask = None,
    slurm: Slurm = False,
    verify: Verify = False,
) -> None:
    """Reconstruct what a subject saw: decode, draw, score, report. Rerun to resume."""
    experiment = _experiment(config, settings)
    folder = local_folder(out or f"runs/{experiment.name}")
    console.say(bold(experiment.name), f": {shown(config)} into {shown(folder)}")
    quiet_libraries()
    from vox2pix.pipeline.commands import run as carry_out

    with _opened(experiment, workers, dask, slurm) as opened, Bars() as bars:
        done = carry_out(experiment, folder, bars, opened, verify)
    print_metrics(done.path)
    console.say("\nThe report:             ", bold(folder / "report.html"))
    console.say("Seen and reconstructed: ", bold(folder / "contact_sheet.png"))
    console.say("All numbers:            ", bold(folder / "metrics.json"))


@app.command()
def plan(
    config: Experiment,
    out: OutFolder = None,
    settings: Settings = None,
) -> None:
    """Estimate time, memory and disk of `run`, and of `encode` where the file has its table."""
    experiment = _experiment(config, settings)
    folder = local_folder(out or f"runs/{experiment.name}")
    quiet_libraries()
    from vox2pix.pipeline.commands import plan as of_run
    from vox2pix.pipeline.commands import plan_encoding as of_encoding

    console.say(bold(experiment.name), f": {shown(config)} into {shown(folder)}")
    given = experiment.model_fields_set
    if "encode" not in given or given & {"decode", "generate", "audit"}:
        print_plan(of_run(experiment, folder), "vox2pix run")
    if "encode" in given:
        print_plan(of_encoding(experiment, folder), "vox2pix encode")


@app.command()
def encode(
    config: Experiment,
    out: OutFolder = None,
    settings: Settings = None,
    workers: Workers = None,
    dask: Dask = None,
    slurm: Slurm = False,
    verify: Verify = False,
) -> None:
    """Explain voxels by the model's latents: tables, maps, figures. Rerun to resume."""
    experiment = _experiment(config, settings)
    folder = local_folder(out or f"runs/{experiment.name}")
    quiet_libraries()
    console.say(bold(experiment.name), f": {shown(config)} into {shown(folder)}")
    from vox2pix.pipeline.commands import encode as carry_out

    with _opened(experiment, workers, dask, slurm) as opened, Bars() as bars:
        done = carry_out(experiment, folder, bars, opened, verify)
    print_encoding(done.path / "encoding")


@app.command()
def transfer(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    data: Annotated[
        str, typer.Option(help="Other responses: an experiment file, a folder or a URL.")
    ],
    out: Annotated[
        str | None, typer.Option(help="The folder of results.", show_default="RUN-transfer")
    ] = None,
    standardise: Annotated[
        str,
        typer.Option(help="none, run or session: whose moments responses are given training's by."),
    ] = "none",
    truth: Annotated[
        Path | None, typer.Option(help="Reported words as truth: a CSV of trial and word.")
    ] = None,
    attention_order: Annotated[
        str, typer.Option(help="Of NSD-Imagery's attention betas: interleaved or cues-first.")
    ] = "interleaved",
) -> None:
    """Decode imagery, or other responses of the same voxels, by a run's frozen decoders."""
    chosen = _one_of("standardise", standardise, ("none", "run", "session"))
    order = _one_of("attention-order", attention_order, ("interleaved", "cues-first"))
    quiet_libraries()
    from vox2pix.pipeline.commands import transfer as carry_out

    place = None if out is None else local_folder(out)
    with Bars() as bars:
        done = carry_out(
            local_folder(run_folder),
            data,
            place,
            truth=truth,
            standardise=chosen,
            attention_order=order,
            reporter=bars,
        )
    print_verdicts(done.path)
    console.say("\nThe page:    ", bold(done.path / "transfer.html"))
    console.say("All numbers: ", bold(done.path / "transfer.json"))


@decoder_app.command("export")
def export_decoder(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    out: Annotated[
        str | None, typer.Option(help="The folder to make.", show_default="RUN-decoders")
    ] = None,
) -> None:
    """Write a run's decoders as a folder: weights, voxels, settings, a card. No data."""
    quiet_libraries()
    from vox2pix.pipeline.commands import export_decoders

    place = None if out is None else local_folder(out)
    made = export_decoders(local_folder(run_folder), place)
    console.say("Decoders: ", bold(made))


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    """Return the value of an option that has few."""
    if value not in allowed:
        choices = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise UserError(f"--{option} is {value!r}: choose {choices}.")
    return value


@app.command()
def report(
    run_folders: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="One run, or several to compare.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write.", show_default="report.html in the run folder"),
    ] = None,
) -> None:
    """Write the report of a run, or of several to compare. It opens without a server."""
    quiet_libraries()
    from vox2pix.report import write_report

    path = write_report([local_folder(place) for place in run_folders], out)
    console.say("The report: ", bold(path.resolve()))


@app.command()
def explore(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A finished run.")],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of 127.0.0.1.", show_default="a free one")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Draw a run's images again with other settings, on a page of this machine."""
    quiet_libraries()
    from vox2pix.pipeline._explore import explore as open_page

    def announce(address: str) -> None:
        # as it is: its token is for whoever reads this line
        console.print(Text(f"The page: {address} (Ctrl-C ends it)"), soft_wrap=True)

    open_page(local_folder(run_folder), port, not no_browser, announce)


@app.command()
def audit(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run that was scored.")],
) -> None:
    """Check whether a run's images came from the brain: verdicts and figures."""
    quiet_libraries()
    from vox2pix.pipeline.commands import audit as audit_again

    folder = local_folder(run_folder)
    with Bars() as bars:
        findings = audit_again(folder, bars)
    print_findings(findings)
    console.say("\nFigures: ", bold(folder / "audit"))


@plot_app.command("encoding")
def plot_encoding(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run that was encoded.")],
) -> None:
    """Draw the figures of an encoding analysis again, from its tables."""
    quiet_libraries()
    from vox2pix.pipeline.commands import draw_encoding

    with Bars() as bars:
        figures = draw_encoding(local_folder(run_folder), bars)
    console.say(f"{len(figures)} figures: ", bold(figures[0].parent.resolve()))
