"""The experiment files that come with the package."""

from importlib.resources import files
from pathlib import Path

from vox2pix.config._names import suggest
from vox2pix.errors import UserError


def shipped_experiments() -> dict[str, Path]:
    """Return the experiment files of the package by name, such as ``nsd``."""
    folder = Path(str(files("vox2pix.config") / "experiments"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def shipped_experiment(name: str) -> Path:
    """Return one of them; raise ``UserError`` that names the nearest if there is none."""
    shipped = shipped_experiments()
    if name not in shipped:
        raise UserError(f"No experiment {name!r} comes with vox2pix; {suggest(name, shipped)}")
    return shipped[name]
