"""Stages on workers end like stages in one process, byte for byte."""

import json

import pytest

from pipeline.conftest import Recorder, experiment
from pipeline.test_encoding import ENCODE
from pipeline.test_run import digests
from test_workers import scheduler
from vox2pix.errors import UserError
from vox2pix.pipeline import encode, run
from vox2pix.pipeline.run import Run, _opened
from vox2pix.store import checksum, load_arrays
from vox2pix.workers import open_workers

COMPUTE = {"device": "cpu", "shard_size": 3, "batch_size": 8, "voxel_block": 50}


@pytest.fixture(scope="module")
def at_a_scheduler(tmp_path_factory):
    """Two workers of a scheduler that somebody else started."""
    with (
        scheduler(tmp_path_factory.mktemp("dask"), 2) as (address, _),
        open_workers(scheduler=address) as workers,
    ):
        yield workers


def features(folder) -> dict[str, str]:
    """Hash the rows of features that runs share, by file."""
    files = sorted((folder.parent / "cache").rglob("*.safetensors"))
    return {path.name: checksum(load_arrays(path)["rows"]) for path in files}


def test_a_run_on_two_workers_is_the_run_of_one_process(small_run, tmp_path):
    alone, _ = small_run
    recorder = Recorder()
    with open_workers(2) as workers:
        made = run(experiment(), tmp_path / "small", recorder, workers)
    assert digests(made.path) == digests(alone.path)
    assert features(made.path) == features(alone.path)
    assert recorder.counted == recorder.begun
    told = json.loads((made.path / "provenance.json").read_text())
    assert told["generate"]["workers"]["kind"] == "local"
    assert told["generate"]["workers"]["workers"] == 2
    before = json.loads((alone.path / "provenance.json").read_text())
    assert before["generate"]["workers"]["kind"] == "this process"
    assert before["generate"]["key"] == told["generate"]["key"]


@pytest.mark.slow
def test_encoding_at_a_scheduler_is_that_of_one_process(at_a_scheduler, tmp_path):
    config = experiment(encode=ENCODE, compute=COMPUTE)
    recorder = Recorder()
    alone = encode(config, tmp_path / "one" / "small")
    made = encode(config, tmp_path / "two" / "small", recorder, at_a_scheduler)
    assert digests(made.path) == digests(alone.path)
    assert features(made.path) == features(alone.path)
    assert recorder.counted == recorder.begun


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    run = Run(experiment(), folder=type("Folder", (), {"path": tmp_path / "elsewhere"})())
    opened, settings = run.__reduce__()
    assert opened is _opened
    with pytest.raises(UserError, match=r"does not see .*elsewhere"):
        opened(*settings)


def test_a_worker_with_another_version_says_so(tmp_path):
    with pytest.raises(UserError, match=r"has vox2pix .* this command 0\.0\.0"):
        _opened(experiment(), tmp_path, None, None, (), "", "0.0.0")
