"""Runs that were killed, damaged or changed resume, and end like one that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.conftest import Recorder, copied, experiment
from pipeline.test_run import digests
from vox2pix.errors import UserError
from vox2pix.pipeline.commands import audit, run


def test_nothing_is_done_twice(small_run):
    made, _ = small_run
    before = {p: p.stat().st_mtime_ns for p in made.path.rglob("*") if p.is_file()}
    recorder = Recorder()
    run(made.config, made.path, recorder)
    after = {p: p.stat().st_mtime_ns for p in made.path.rglob("*") if p.is_file()}
    changed = {p.name for p in after if after[p] != before.get(p)}
    assert changed <= {"config.toml", "provenance.json", ".lock"}
    assert len([line for line in recorder.lines if line.endswith("already done")]) == 11


def test_a_changed_setting_is_computed_again_and_only_what_hangs_on_it(small_run, tmp_path):
    made, _ = small_run
    folder = tmp_path / "small"
    shutil.copytree(made.path, folder)
    recorder = Recorder()
    run(experiment(generate={"samples": 2, "steps": 3, "guidance": 2.0}), folder, recorder)
    assert [line.split(":")[0] for line in recorder.lines if "already" in line] == [
        "Data",
        "Targets",
        "Decoding",
        "Decoding of controls",
        "Gallery",
    ]
    assert "Drawing: settings or files changed, done again" in recorder.lines


def test_a_damaged_image_is_drawn_again(small_run, tmp_path):
    made, _ = small_run
    folder = tmp_path / "small"
    shutil.copytree(made.path, folder)
    expected = digests(folder)
    chunk = next(p for p in sorted((folder / "images").rglob("c/1/*")) if p.is_dir())
    file = next(p for p in chunk.rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes()[:-7])
    run(made.config, folder)
    assert digests(folder) == expected


def test_what_was_deleted_is_made_again(small_run, tmp_path):
    made, _ = small_run
    folder = tmp_path / "small"
    shutil.copytree(made.path, folder)
    expected = digests(folder)
    shutil.rmtree(folder / "images")
    shutil.rmtree(next(folder.glob("phantom-*")))
    (folder / "metrics.json").unlink()
    run(made.config, folder)
    assert digests(folder) == expected


_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from pipeline.conftest import experiment
from vox2pix.pipeline.commands import run
run(experiment(), Path({folder!r}))
"""


def start(folder: Path) -> subprocess.Popen:
    script = _SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_like_one_left_alone(small_run, tmp_path):
    made, _ = small_run
    folder = tmp_path / "small"
    chance = random.Random(0)
    kills = 0
    # Three kills here, at moments spread over the stages; benchmarks/kill.py does ten.
    waited_for = ["phantom-*", "decoders", "images/c-*/done/*"]
    for pattern in waited_for:
        process = start(folder)
        while process.poll() is None and not list(folder.glob(pattern)):
            time.sleep(0.02)
        time.sleep(chance.random() * 0.3)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 2
    last = start(folder)
    _, errors = last.communicate(timeout=600)
    assert last.returncode == 0, errors.decode()
    assert digests(folder) == digests(made.path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_every_damaged_file_is_named_and_made_again(small_run, tmp_path):
    made, _ = small_run
    folder = copied(made, tmp_path)
    expected = digests(tmp_path)
    key = json.loads((folder / "stages" / "generate.json").read_text())["key"]
    feature = next((tmp_path / "cache").rglob("c-*/*.safetensors"))
    keys = next((folder / "features").glob("z-*.json"))
    told = {
        "config.toml": "config.toml is missing or damaged",
        "provenance.json": "provenance.json is missing or damaged",
        "stages/evaluate.json": "Scoring: stages/evaluate.json missing or damaged",
        "decoders/z.safetensors": "Decoding: decoders/z.safetensors missing or damaged",
        f"features/{keys.name}": f"features/{keys.name} missing or damaged",
        "audit/copies.png": "Audit: audit/copies.png missing or damaged",
        "contact_sheet.png": "Contact sheet: contact_sheet.png missing or damaged",
        "gallery/originals/done/00000": "Gallery: gallery/originals/done/00000 missing or damaged",
        f"images/z-{key}/values/zarr.json": f"z-{key}: its metadata was damaged",
        f"images/c-{key}/done/00001": f"c-{key}: shard 1 was damaged",
        f"../cache/{feature.relative_to(tmp_path / 'cache')}": f"/{feature.name}, features/",
    }
    betas = next(folder.glob("phantom-*/nsddata_betas/**/*.hdf5"))
    for path in [*(folder / name for name in told), betas]:
        flip(path)
    (folder / "report.html").unlink()
    recorder = Recorder()
    run(made.config, folder, recorder)
    data = betas.relative_to(folder).parts[0]
    for sentence in (*told.values(), f"{data} is damaged", "Report: a part is missing"):
        assert any(sentence in line for line in recorder.lines), sentence
    assert digests(tmp_path) == expected
    assert json.loads((folder / "provenance.json").read_text())["decode"]["seconds"] >= 0


def test_an_experiment_that_is_not_as_it_was_written_is_not_believed(small_run, tmp_path):
    folder = copied(small_run[0], tmp_path)
    config = folder / "config.toml"
    config.write_text(config.read_text().replace("guidance = 5.0", "guidance = 6.0"))
    with pytest.raises(UserError, match=r"config\.toml is not as the run wrote it\. Rerun"):
        audit(folder)


def test_a_clock_that_runs_backwards_changes_nothing(small_run, tmp_path, monkeypatch):
    made, _ = small_run
    folder = copied(made, tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (3e8, 3e8))
    now = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr("time.time", lambda: next(now))
    (folder / "decoded" / "z.safetensors").unlink()
    recorder = Recorder()
    run(made.config, folder, recorder)
    done = [line for line in recorder.lines if line.endswith("already done")]
    assert len(done) == 10  # all but decoding
    told = json.loads((folder / "provenance.json").read_text())
    assert told["decode"]["seconds"] >= 0
    assert digests(folder) == digests(made.path)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_from_there(
    small_run, tmp_path, monkeypatch
):
    made, _ = small_run
    folder = copied(made, tmp_path)
    shutil.rmtree(folder / "images")
    real, written = os.fsync, iter(range(7))

    def fills(descriptor):
        if next(written, None) is None:
            raise OSError(28, os.strerror(28))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("vox2pix.store.files.os.fsync", fills)
        with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
            run(made.config, folder)
    run(made.config, folder)
    assert digests(folder) == digests(made.path)
