"""What commands load: nothing heavy to say what they do, and no model where none is needed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from report.folders import make_run
from vox2pix import cli
from vox2pix.phantom import simulate

MODELS = {"torch", "diffusers", "transformers"}
HEAVY = MODELS | {
    *("sklearn", "scipy", "pandas", "numpy", "nilearn", "nibabel", "h5py", "zarr", "PIL"),
    *("matplotlib", "plotly", "skimage", "dask", "fsspec"),
}

_RUN = """
import json, sys
from vox2pix.cli import app
for words in json.loads(sys.argv[1]):
    try:
        app(words, standalone_mode=False)
    except SystemExit as end:
        assert not end.code, end.code
print(json.dumps(sorted(sys.modules)))
"""


def loaded(*commands: list[str]) -> set[str]:
    """Return the modules that commands load in a new process."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(ended.stdout.splitlines()[-1]))


def helps(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Yield the command that asks for help with each command and group."""
    yield [*path, "--help"]
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from helps(command, (*path, name))
        else:
            yield [*path, name, "--help"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "brain"
    return simulate(out, sessions=1, trials_per_session=30, n_shared=3, n_early=20, n_ventral=20)


def test_help_loads_nothing_heavy() -> None:
    every = list(helps(get_command(cli.app)))  # type: ignore[arg-type]
    assert len(every) > 10
    found = loaded(*every) & (HEAVY | {"rich.progress"})
    assert found == set()


def test_a_report_needs_no_model(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=4)
    assert not loaded(["report", str(run)]) & MODELS
    assert (run / "report.html").exists()


def test_a_check_needs_no_model(tree: Path) -> None:
    assert not loaded(["data", "check", str(tree)]) & MODELS


def test_a_plan_loads_no_library_that_computes_maps_or_fits(tmp_path: Path) -> None:
    experiment = tmp_path / "small.toml"
    experiment.write_text('name = "small"\n[data]\nsource = "phantom"\n[compute]\ndevice = "cpu"\n')
    assert not loaded(["plan", str(experiment)]) & {"nilearn", "plotly", "dask", "skimage"}


def test_the_front_door_opens_at_once() -> None:
    code = "import sys, vox2pix; print([m for m in sys.argv[1:] if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
