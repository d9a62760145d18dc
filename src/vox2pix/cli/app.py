"""The application that commands are added to, and what all of them share."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vox2pix.cli.terminal import Terminal, any_character, shown
from vox2pix.errors import UserError
from vox2pix.outside import is_utf8


class Commands(TyperGroup):
    """The commands; a mistake that a person can fix is one sentence on stderr and status 2."""

    def main(self, *given: Any, **options: Any) -> Any:
        """Carry out a command line, on streams of any encoding."""
        any_character()
        return super().main(*given, **options)

    def invoke(self, ctx: Any) -> Any:
        """Carry out a command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            to_stderr().say(("vox2pix: ", "bold red"), shown(str(error)))
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            to_stderr().say("\nStopped. Rerun to resume.")
            raise typer.Exit(130) from error


app = typer.Typer(
    name="vox2pix",
    cls=Commands,
    help="Images from brain responses, by linear decoding into a latent diffusion model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before decoding them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
fetch_app = typer.Typer(help="Download public data.", no_args_is_help=True)
app.add_typer(fetch_app, name="fetch")
plot_app = typer.Typer(help="Draw the figures of a run again.", no_args_is_help=True)
app.add_typer(plot_app, name="plot")
decoder_app = typer.Typer(help="Pass decoders on.", no_args_is_help=True)
app.add_typer(decoder_app, name="decoder")
console = Terminal()


def local_folder(place: str | Path) -> Path:
    """Return the path of a folder that is written to, in full; a URL is refused."""
    from vox2pix.store.owned import refuse_url

    refuse_url(Path(place))
    path = Path(place).resolve()
    if not is_utf8(str(path)):  # JSON and safetensors could not name what is in it
        raise UserError(f"The name of the folder {path} is not UTF-8; rename it.")
    return path


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice out of ours."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def to_stderr() -> Terminal:
    """Return a console that writes where errors and passing progress go."""
    return Terminal(stderr=True)


def _print_version(asked: bool) -> None:
    if asked:
        from vox2pix import __version__

        console.say("vox2pix ", shown(__version__))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Images from brain responses, by linear decoding into a latent diffusion model."""


def main() -> None:
    """Run the command line."""
    app()
