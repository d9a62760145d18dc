"""The application that commands are added to, and what all of them share."""

import os
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from vox2pix.errors import UserError


class Commands(TyperGroup):
    """The commands; what a person can mend is one sentence on stderr and exit status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Carry out a command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            message = Text.assemble(("vox2pix: ", "bold red"), str(error))
            to_stderr().print(message, soft_wrap=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            to_stderr().print("\nStopped; run the same command again to go on.")
            raise typer.Exit(130) from error


app = typer.Typer(
    name="vox2pix",
    cls=Commands,
    help="Pictures from brain responses, by linear decoding into a latent diffusion model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at data before decoding them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
fetch_app = typer.Typer(help="Download public data.", no_args_is_help=True)
app.add_typer(fetch_app, name="fetch")
plot_app = typer.Typer(help="Draw the figures of a run again.", no_args_is_help=True)
app.add_typer(plot_app, name="plot")
console = Console(highlight=False)


def local_folder(place: str | Path) -> Path:
    """Return the path of a folder that is written to, in full; a URL is refused."""
    from vox2pix.store.owned import refuse_url

    refuse_url(Path(place))
    return Path(place).resolve()


def shown(path: Path) -> str:
    """Name a path from here where it lies below, in full elsewhere."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice out of ours."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def to_stderr() -> Console:
    """Return a console that writes where errors and passing progress go."""
    return Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line."""
    app()
