"""How deep the work lies: frames of vox2pix between a command and the solver."""

import traceback
from pathlib import Path

import pytest
import tomli_w

import vox2pix
from pipeline.conftest import experiment
from vox2pix.cli import runs
from vox2pix.linear import arrays

PACKAGE = Path(vox2pix.__file__).parent


class InSolverError(Exception):
    """Raised where the solver decomposes."""


@pytest.mark.parametrize(("command", "most"), [(runs.run, 6), (runs.encode, 8)])
def test_few_frames_lie_between_a_command_and_the_solver(tmp_path, monkeypatch, command, most):
    def fail(*args, **kwargs):
        raise InSolverError

    monkeypatch.setattr(arrays, "eigh", fail)
    encode = {"rois": ["early"], "latents": ["z"], "strengths": [], "moments": [], "layers": []}
    file = tmp_path / "small.toml"
    written = experiment(encode=encode).model_dump(mode="json", exclude_none=True)
    file.write_text(tomli_w.dumps(written))
    with pytest.raises(InSolverError) as raised:
        command(file, out=str(tmp_path / "run"))
    frames = [Path(f.filename) for f in traceback.extract_tb(raised.tb)]
    own = [f.relative_to(PACKAGE).as_posix() for f in frames if f.is_relative_to(PACKAGE)]
    solver = own.index("linear/decomposition.py")
    between = own[own.index("cli/runs.py") + 1 : solver]
    assert len(between) <= most, between
