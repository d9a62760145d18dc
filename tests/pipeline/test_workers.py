"""Stages on workers end like stages in one process, byte for byte."""

import json

import numpy as np
import pytest

from pipeline.conftest import Recorder, experiment
from pipeline.test_encoding import ENCODE
from pipeline.test_run import digests
from test_workers import scheduler
from vox2pix.errors import UserError
from vox2pix.pipeline.commands import encode, run
from vox2pix.pipeline.reconstruct import _3_decode
from vox2pix.pipeline.run import Run, _opened
from vox2pix.store import checksum, load_arrays
from vox2pix.workers import ThisProcess, open_workers

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
def test_decoding_is_shared_out_by_blocks_of_features(small_run, tmp_path, monkeypatch):
    alone, _ = small_run
    monkeypatch.setattr(_3_decode, "TARGETS_AT_ONCE", 500)
    folder = tmp_path / "small"

    class Cut(ThisProcess):
        """Dies in the middle of decoding, with a part of it damaged."""

        def each(self, task, context, items):
            for item, result in super().each(task, context, items):
                if task.__name__ == "_decode_block" and item == ("c", (500, 1000)):
                    (part,) = folder.glob("decoders/parts-*/c-0.*")
                    part.write_bytes(part.read_bytes()[:-1])
                    raise KeyboardInterrupt
                yield item, result

    with pytest.raises(KeyboardInterrupt):
        run(experiment(), folder, workers=Cut())
    kept = folder / "decoders"
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("parts-*/*")}
    after = {}

    class Watched(ThisProcess):
        """Notes when the parts were written."""

        def each(self, task, context, items):
            yield from super().each(task, context, items)
            if task.__name__ == "_decode_block":
                after.update({p.name: p.stat().st_mtime_ns for p in kept.glob("parts-*/*")})

    made = run(experiment(), folder, workers=Watched())
    assert {name for name in before if before[name] != after[name]} == {"c-0.safetensors"}
    assert not list(kept.glob("parts-*"))
    arrays, expected = (load_arrays(r.path / "decoders" / "c.safetensors") for r in (made, alone))
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(arrays[name], values, rtol=1e-3, atol=1e-6)
        else:
            np.testing.assert_array_equal(arrays[name], values)


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
        _opened(experiment(), tmp_path, None, (), "", "0.0.0")
