"""A whole run with its data in a bucket."""

import pytest

from buckets.server import Fault
from pipeline.conftest import Recorder, experiment
from vox2pix.phantom import simulate
from vox2pix.pipeline.commands import run

SHORT = {"samples": 1, "steps": 2, "conditions": ["z+c"], "ceilings": [], "shuffled": False}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A simulated subject in NSD's layout."""
    root = tmp_path_factory.mktemp("data") / "phantom"
    return simulate(root, sessions=1, n_early=30, n_ventral=30, trials_per_session=60, n_shared=6)


def nsd(path):
    return experiment(
        data={"source": "nsd", "path": str(path)}, generate=SHORT, audit={"enabled": False}
    )


def test_a_run_on_data_in_a_bucket_equals_the_one_on_local_data(s3, tree, tmp_path):
    data = s3.new_bucket()
    s3.upload(tree, data)
    s3.proxy.reset()
    s3.proxy.faults += [
        Fault("unavailable", "betas_session", times=2),
        Fault("cut", "nsd_stimuli.hdf5", times=2),
    ]
    local = run(nsd(tree), tmp_path / "local/small").path
    remote = run(nsd(f"s3://{data}"), tmp_path / "remote/small").path
    assert not any(fault.times for fault in s3.proxy.faults)

    for name in ("metrics.json", "scores.csv", "decoded/z.safetensors"):
        assert (remote / name).read_bytes() == (local / name).read_bytes(), name
    names = {p.name.rsplit("-", 1)[0]: p for p in (local / "images").iterdir()}
    for folder in (remote / "images").iterdir():
        twin = names.pop(folder.name.rsplit("-", 1)[0])
        for mark in (twin / "done").iterdir():
            assert (folder / "done" / mark.name).read_text() == mark.read_text()
    assert not names

    recorder = Recorder()
    run(nsd(f"s3://{data}"), remote, recorder)
    assert sum("already done" in line for line in recorder.lines) == 11
