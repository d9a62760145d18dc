"""A whole run with its data, its features and its folder in buckets."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from buckets.server import Fault
from pipeline.conftest import Recorder, experiment
from vox2pix.buckets import as_path
from vox2pix.pipeline import run
from vox2pix.store import read_json


@pytest.fixture
def tree(small_run):
    """The simulated subject of a finished run, in NSD's layout."""
    return next(small_run[0].path.glob("phantom-*"))


def nsd(path):
    return experiment(data={"source": "nsd", "path": str(path)})


def test_a_run_in_buckets_equals_the_local_one(s3, tree, tmp_path):
    data, runs = s3.new_bucket(), s3.new_bucket()
    s3.upload(tree, data)
    s3.proxy.reset()
    s3.proxy.faults += [
        Fault("unavailable", "betas_session", times=2),
        Fault("cut", "nsd_stimuli.hdf5", times=2),
        Fault("unavailable", "/stages/", "PUT", times=2),
        Fault("cut", "/cache/features/", "GET", times=1),
    ]
    local = run(nsd(tree), tmp_path / "runs/small")
    home = as_path(f"s3://{runs}/runs/small", signed=True)
    remote = run(nsd(f"s3://{data}"), home)
    assert not any(fault.times for fault in s3.proxy.faults)

    for name in ("metrics.json", "scores.csv", "audit.json", "decoded/z.safetensors"):
        there = (home / name).read_bytes()
        assert there == (local.path / name).read_bytes(), name
    names = {p.name.rsplit("-", 1)[0]: p for p in (local.path / "pictures").iterdir()}
    for folder in (home / "pictures").iterdir():
        twin = names.pop(folder.name.rsplit("-", 1)[0])
        for mark in (twin / "done").iterdir():
            assert (folder / "done" / mark.name).read_text() == mark.read_text()
    assert not names
    features = {p.name for p in (tmp_path / "runs/cache/features").rglob("*.safetensors")}
    there = {p.name for p in (home.parent / "cache/features").rglob("*.safetensors")}
    assert there == features and features
    assert (home / "report.html").exists() and not (home / ".lock").exists()

    shutil.rmtree(remote.path.parents[2])  # another machine goes on: nothing is left to do
    recorder = Recorder()
    run(nsd(f"s3://{data}"), home, recorder)
    assert sum("done before, kept" in line for line in recorder.lines) == 11


def test_a_run_that_was_killed_goes_on_from_what_the_bucket_holds(s3, tree, tmp_path, monkeypatch):
    runs = s3.new_bucket()
    home = as_path(f"s3://{runs}/runs/small", signed=True)
    script = f"""
from pipeline.conftest import experiment
from vox2pix.buckets import as_path, working_copy as module
import sys
sys.modules["vox2pix.buckets.working_copy"].PUSH_SECONDS = 0.2
from vox2pix.pipeline import run
config = experiment(data={{"source": "nsd", "path": {str(tree)!r}}})
run(config, as_path({str(home)!r}, signed=True))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    process = subprocess.Popen([sys.executable, "-c", script], env=env)
    while process.poll() is None and not s3.proxy.asked("/done/", "PUT"):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (home / ".lock").exists()
    marks = {str(p): p.read_text() for p in (home / "pictures").glob("*/done/*")}
    assert marks
    recorder = Recorder()
    finished = run(nsd(tree), home, recorder)
    assert "Data: done before, kept" in recorder.lines
    assert all(as_path(p, signed=True).read_text() == text for p, text in marks.items())
    assert read_json(home / "metrics.json") == read_json(finished.path / "metrics.json")
