"""A part of benchmarks/malformed.py: damaged inputs are refused, or read as they were written."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from vox2pix.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from malformed_inputs import cases, write_inputs
from malformed_readers import consume

# One of each kind of damage, spread over formats; models are slow to load.
EVERY = 4
CASES = [case for case in cases(Path()) if case.reader != "model"][::EVERY]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    write_inputs(root)
    return root


@pytest.fixture(scope="module")
def sound(inputs):
    """What each reader makes of the undamaged inputs."""
    sources = {(case.reader, case.tree) for case in CASES}
    return {(reader, tree): consume(reader, inputs / tree) for reader, tree in sources}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}: {case.name}")
def test_a_damaged_input_is_refused_or_read_as_it_was_written(case, inputs, sound, tmp_path):
    shutil.copytree(inputs / case.tree, tmp_path / case.tree, copy_function=os.link)
    case.damage(tmp_path / case.tree / case.file)
    try:
        read = consume(case.reader, tmp_path / case.tree)
    except UserError as error:
        assert str(error).strip()
        assert "\n" not in str(error)
    else:
        assert read == sound[case.reader, case.tree] or not case.knowable
