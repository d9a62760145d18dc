"""The front door: every documented name is there, and nothing else."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vox2pix

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "vox2pix"


def documented() -> list[str]:
    """Return every name that docs/api.md documents."""
    page = (ROOT / "docs" / "api.md").read_text()
    return re.findall(r"\.\. auto\w+:: (vox2pix\.[\w.]+)", page)


def test_every_name_of_the_front_door_can_be_loaded():
    for name in vox2pix.__all__:
        assert getattr(vox2pix, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vox2pix.nothing  # noqa: B018


def test_dir_shows_the_front_door_and_nothing_else():
    assert dir(vox2pix) == sorted([*vox2pix.__all__, "__version__"])


@pytest.mark.parametrize("name", documented())
def test_documented_names_are_public(name):
    room, _, attribute = name.rpartition(".")
    module = import_module(room)
    assert attribute in module.__all__, f"{attribute} is not in {room}.__all__"
    assert all(not part.startswith("_") for part in name.split("."))


def test_the_front_door_is_documented():
    assert {f"vox2pix.{name}" for name in vox2pix.__all__} <= set(documented())


def test_no_public_function_hides_the_module_that_holds_it():
    hiding = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name == path.stem
        and not node.name.startswith("_")
    ]
    assert hiding == ["data/check.py"]


@pytest.mark.parametrize("command", [["-m", "vox2pix", "--version"], ["-m", "vox2pix", "--help"]])
def test_the_package_is_a_program(command):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert ("vox2pix " + vox2pix.__version__ in done.stdout) == ("--version" in command)
