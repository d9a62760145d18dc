"""The commands of the first minutes: the demo, and an experiment file to edit."""

from pathlib import Path
from typing import Annotated

import typer

from vox2pix.cli.app import app, console
from vox2pix.cli.runs import Verify, encode, run
from vox2pix.cli.terminal import bold, shown
from vox2pix.errors import UserError


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where the two run folders are made.")] = "runs",
    verify: Verify = False,
) -> None:
    """Show everything on a simulated subject: no data, no GPU, a few minutes."""
    from vox2pix.config import shipped_experiment

    run(shipped_experiment("demo"), f"{out}/demo", verify=verify)
    console.say()
    encode(shipped_experiment("demo-encoding"), f"{out}/demo-encoding", verify=verify)
    console.say(
        "\nOpen the report in a browser: ", bold((Path(out) / "demo/report.html").resolve())
    )


@app.command()
def init(
    name: Annotated[
        str, typer.Argument(help="nsd, nsd-encoding, nsd-takagi2023, folder, demo ...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="NAME.toml")
    ] = None,
) -> None:
    """Write a commented experiment file to edit. An existing file is left alone."""
    from vox2pix.config import shipped_experiment

    text = shipped_experiment(name).read_text(encoding="utf-8")
    path = out or Path(f"{name}.toml")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} to write {path.name} into.")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists already; name another file with --out.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another.") from None
    console.say(f"{shown(path)} is written. Edit it, then:")
    analysis = "encode" if "\n[encode]" in text else "run"
    console.say(f"  vox2pix plan {shown(path)}")
    console.say("  vox2pix ", bold(analysis), f" {shown(path)}")
