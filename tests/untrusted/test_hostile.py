"""Hostile inputs of every format: refused in one sentence, nothing run, nothing else read."""

import sys
from pathlib import Path

import pytest

from vox2pix.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from hostile_cases import MARK, SECRET
from hostile_inputs import cases
from hostile_readers import read


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.kind}: {case.name}")
def test_a_hostile_input_is_refused(case, tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    case.write(tmp_path)
    with pytest.raises(UserError) as refusal:
        read(case.reader, tmp_path)
    sentence = str(refusal.value)
    if case.kind == "zarr" and case.name.startswith(("codec", "pickle")):
        assert "asks for the codec" in sentence  # by us, before zarr sees it
    assert not (tmp_path / MARK).exists()
    assert sentence.strip()
    assert "\n" not in sentence
    assert str(tmp_path) in sentence or "model" in sentence
    assert SECRET[:16].decode() not in sentence
