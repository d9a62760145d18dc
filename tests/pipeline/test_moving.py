"""Runs that are moved, with and without what they read, and data that are replaced."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from pipeline.conftest import Recorder
from pipeline.test_run import digests
from vox2pix.config import Config, load_config
from vox2pix.pipeline import Run
from vox2pix.pipeline.commands import encode, run
from vox2pix.pipeline.reconstruct import STAGES
from vox2pix.pipeline.stage import stage_keys
from vox2pix.report.contents import run_config
from vox2pix.store import RunFolder, contents


@pytest.fixture(autouse=True)
def _as_if_data_were_large(monkeypatch):
    """Record hashes of small files, too, and of files that were written just now."""
    monkeypatch.setattr(contents, "ALWAYS_READ", 0)
    monkeypatch.setattr(contents, "_SETTLED_NS", 0)


def repeat(config: Config, folder: Path) -> list[str]:
    """Run and encode again; return what is said beside that a stage was done before."""
    told = Recorder()
    run(config, folder, told)
    encode(config, folder, told)
    kept = [line for line in told.lines if line.endswith("already done")]
    assert len(kept) + len([line for line in told.lines if "changed" in line]) >= 11
    return [line for line in told.lines if line not in kept]


def by_tar(source: Path, target: Path) -> None:
    """Pack and unpack as tar does by default: times in whole seconds."""
    packed = target.with_suffix(".tar")
    with tarfile.open(packed, "w", format=tarfile.USTAR_FORMAT) as file:
        file.add(source, target.name)
    with tarfile.open(packed) as file:
        file.extractall(target.parent, filter="data")


def by_copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=shutil.copyfile)


def at(moment: float):
    def copy_and_touch(source: Path, target: Path) -> None:
        by_copy(source, target)
        for path in target.rglob("*"):
            os.utime(path, (moment, moment))

    return copy_and_touch


@pytest.mark.parametrize("move", [by_tar, by_copy, at(3.2e8), at(4e9)])
def test_a_project_that_is_moved_computes_nothing_again(project, tmp_path, move):
    moved = tmp_path / "elsewhere"
    before = digests(project / "runs" / "small")
    move(project, moved)
    folder = moved / "runs" / "small"
    assert repeat(load_config(moved / "experiment.toml"), folder) == []
    again = digests(folder)
    # the resolved experiment names folders in full
    own = {"config.toml", "stages/config.json"}
    assert {n for n in again if again[n] != before.get(n)} <= own
    assert before.keys() == again.keys()


def test_a_run_that_is_moved_with_its_data_is_run_by_its_own_settings(project, tmp_path):
    moved = tmp_path / "elsewhere"
    by_copy(project, moved)
    hidden = project.with_name("hidden")
    project.rename(hidden)
    try:
        folder = moved / "runs" / "small"
        config = run_config(folder)
        assert config.data.path == moved / "data"
        assert config.model.name == str(moved / "model")
        assert config.evaluate.encoder == str(moved / "clip")
        assert repeat(load_config(folder / "config.toml"), folder) == []
    finally:
        hidden.rename(project)


@pytest.mark.parametrize("name", ["renamed", "deeper/down/small"])
@pytest.mark.parametrize("with_cache", [True, False])
def test_a_run_that_is_moved_alone_computes_nothing_again(project, tmp_path, name, with_cache):
    folder = tmp_path / name
    by_copy(project / "runs" / "small", folder)
    if with_cache:
        by_copy(project / "runs" / "cache", folder.parent / "cache")
    config = load_config(folder / "config.toml")
    assert config.data.path == project / "data"  # it is where it was
    assert repeat(config, folder) == []


def test_a_run_renamed_in_its_place_and_a_copy_beside_it_are_the_run(project, tmp_path):
    by_copy(project / "runs", tmp_path / "runs")
    config = load_config(project / "experiment.toml")
    by_copy(tmp_path / "runs" / "small", tmp_path / "runs" / "copy")
    (tmp_path / "runs" / "small").rename(tmp_path / "runs" / "other")
    assert repeat(config, tmp_path / "runs" / "other") == []
    assert repeat(config, tmp_path / "runs" / "copy") == []


def test_relative_and_full_paths_name_the_same_run(project, tmp_path, monkeypatch):
    by_copy(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    assert repeat(load_config("experiment.toml"), Path("runs/small")) == []
    monkeypatch.chdir(tmp_path / "project" / "runs")
    assert repeat(load_config("../experiment.toml"), Path("small")) == []


def a_data_file(root: Path) -> Path:
    return next(iter(sorted((root / "data" / "nsddata_betas").rglob("betas_session*"))))


def replace_with_equal_size_and_time(file: Path) -> None:
    stat = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_data_file_of_equal_size_and_time_but_other_contents_is_noticed(project, tmp_path):
    by_copy(project, tmp_path / "project")
    root = tmp_path / "project"
    config = load_config(root / "experiment.toml")
    folder = root / "runs" / "small"
    repeat(config, folder)  # its files are recorded here
    file = a_data_file(root)
    replace_with_equal_size_and_time(file)
    told = Recorder()
    run(config, folder, told)
    named = file.relative_to(root / "data").as_posix()
    assert f"Data: {named} changed, done again" in told.lines
    assert "Scoring: settings or files changed, done again" in told.lines


@pytest.mark.parametrize("where", ["model", "encoder", "added", "removed"])
def test_other_weights_and_other_lists_of_files_are_noticed(project, tmp_path, where):
    by_copy(project, tmp_path / "project")
    root = tmp_path / "project"
    here = Run(load_config(root / "experiment.toml"), RunFolder(root / "runs" / "small"))
    before = stage_keys(STAGES, here)
    if where == "model":
        replace_with_equal_size_and_time(root / "model/vae/diffusion_pytorch_model.safetensors")
    elif where == "encoder":
        replace_with_equal_size_and_time(root / "clip/model.safetensors")
    elif where == "added":
        (root / "data/nsddata/experiments/nsd/notes.txt").write_text("x")
    else:
        a_data_file(root).unlink()
    after = stage_keys(STAGES, here)
    first = {"model": "features", "encoder": "evaluate"}.get(where, "data")
    assert next(name for name in before if before[name] != after[name]) == first


def test_a_file_that_is_touched_is_read_again_and_nothing_else(project, tmp_path, monkeypatch):
    by_copy(project, tmp_path / "project")
    root = tmp_path / "project"
    config = load_config(root / "experiment.toml")
    repeat(config, root / "runs" / "small")
    read = []
    real = contents._hash
    monkeypatch.setattr(contents, "_hash", lambda path, *a: read.append(path) or real(path, *a))
    assert repeat(config, root / "runs" / "small") == []
    assert read == []
    file = a_data_file(root)
    os.utime(file)
    assert repeat(config, root / "runs" / "small") == []
    assert read == [file]
    run(config, root / "runs" / "small", verify=True)
    assert set(read) > {file, root / "clip" / "model.safetensors", root / "model/unet/config.json"}
