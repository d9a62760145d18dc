"""A part of benchmarks/user_files.py: commands that meet files of a person's own."""

import contextlib
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.conftest import Recorder, experiment
from vox2pix.cli import app
from vox2pix.errors import UserError
from vox2pix.pipeline.commands import run
from vox2pix.store import MARKER, damaged_files
from vox2pix.store.folder import is_own

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from user_files_inputs import chosen, images, own_data, snapshot

EVERY = 6


@pytest.mark.parametrize("case", chosen(EVERY), ids=lambda case: f"{case.kind}: {case.name}")
def test_files_of_a_persons_own_stay_as_they_are(case, small_run, tmp_path):
    made, _ = small_run
    shutil.copytree(made.path, tmp_path / "run")
    shutil.copytree(made.path.parent / "cache", tmp_path / "cache")
    with contextlib.chdir(tmp_path):
        arguments = case.build(tmp_path)
        before = snapshot(tmp_path, case.theirs)
        result = CliRunner().invoke(app, arguments)
    assert snapshot(tmp_path, case.theirs) == before
    assert result.exit_code in (0, 2), result.exception
    assert result.exit_code == 0 or len(result.stderr.strip().splitlines()) == 1


def test_every_file_of_a_run_is_known_as_its_own(small_run):
    made, _ = small_run
    names = [p.relative_to(made.path).as_posix() for p in made.path.rglob("*") if p.is_file()]
    assert sorted(name for name in names if not is_own(name)) == sorted([".lock", MARKER])


def test_a_run_beside_its_data_is_done_once(tmp_path):
    own_data(tmp_path)
    small = {"samples": 1, "steps": 2, "conditions": ["z"], "ceilings": [], "shuffled": False}
    config = experiment(
        data={"source": "folder", "path": str(tmp_path)},
        generate=small,
        audit={"enabled": False},
        encode={"rois": ["all"]},
        decode={"z": ["all"]},
    )
    before = snapshot(tmp_path)
    told = Recorder()
    run(config, tmp_path / "runs" / "small")
    run(config, tmp_path / "runs" / "small", told)
    assert sum("already done" in line for line in told.lines) == 11
    after = snapshot(tmp_path, lambda name: not name.startswith("runs"))
    assert after == before
    for name in ("images", "images/small", "responses", "stimuli/deep/small"):
        with pytest.raises(UserError, match="is among the files that are read as data"):
            run(config, tmp_path / name)
        assert snapshot(tmp_path, lambda name: not name.startswith("runs")) == before


def evaluated(lab: str, *options: str) -> tuple[int, str]:
    """Evaluate the images of a lab; return the exit status and what was said of it."""
    asked = ["evaluate", "--truth", "seen", "--reconstructions", f"{lab}/recons", *options]
    result = CliRunner().invoke(app, asked)
    return result.exit_code, result.stderr


def test_two_labs_do_not_share_a_folder_by_default(tmp_path):
    for seed, name in enumerate(("seen", "labA/recons", "labB/recons")):
        images(tmp_path / name, seed)
    with contextlib.chdir(tmp_path):
        assert evaluated("labA")[0] == 0
        first = snapshot(tmp_path / "recons-evaluation")
        status, told = evaluated("labB")
        assert status == 2 and "of other inputs" in told and "--out" in told
        assert snapshot(tmp_path / "recons-evaluation") == first
        assert evaluated("labB", "--out", "other")[0] == 0
        images(tmp_path / "labA/recons", 9)
        assert evaluated("labA")[0] == 0  # the same inputs, changed since
        assert snapshot(tmp_path / "recons-evaluation") != first


def test_numbers_of_two_evaluations_side_by_side_are_refused(tmp_path):
    for seed, name in enumerate(("seen", "labA/recons", "labB/recons")):
        images(tmp_path / name, seed)
    with contextlib.chdir(tmp_path):
        for lab in ("labA", "labB"):
            assert evaluated(lab, "--out", lab + "-scores")[0] == 0
        for name in ("metrics.json", "scores.csv"):
            shutil.copytree("labA-scores", "mixed")
            shutil.copy(f"labB-scores/{name}", f"mixed/{name}")
            assert damaged_files(Path("mixed")) == [name]
            for command in ("compare", "pool"):
                result = CliRunner().invoke(app, [command, "mixed", "labB-scores"])
                assert result.exit_code == 2 and f"mixed/{name} is not as" in result.stderr
            shutil.rmtree("mixed")
