"""Decoders that are passed on: the same results as the run gives, without its data."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import vox2pix
from vox2pix.cli.app import app
from vox2pix.data import open_nsd_imagery
from vox2pix.errors import UserError
from vox2pix.pipeline.exported import open_source
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import do_stages
from vox2pix.pipeline.transfer import STAGES
from vox2pix.pipeline.transferring import open_transfer
from vox2pix.store import RunFolder, load_arrays, save_arrays


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    return vox2pix.export_decoders(small_run[0].path, tmp_path_factory.mktemp("passed") / "on")


@pytest.fixture(scope="module")
def imagery(tmp_path_factory):
    """The imagery session of the small run's subject."""
    tree = vox2pix.simulate(
        tmp_path_factory.mktemp("imagined") / "nsd", sessions=2, trials_per_session=60,
        n_shared=8, n_early=60, n_ventral=60, imagery="signal",
    )  # fmt: skip
    return open_nsd_imagery(tree, leave_out=False)


def begun(source, subject, out, n_stages):
    run = Run(source.config, RunFolder(out))
    run.transfer = open_transfer(source, subject, "session")
    with run.folder.lock():
        do_stages(STAGES[:n_stages], run)
    return run


def test_the_folder_holds_decoders_voxels_moments_settings_and_a_card(small_run, exported):
    run = small_run[0]
    files = sorted(str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file())
    assert files == [
        ".vox2pix.json", "README.md", "decoder.json", "decoders/c.safetensors",
        "decoders/z.safetensors", "training.safetensors", "voxels.csv",
    ]  # fmt: skip
    for name in ("z", "c"):
        own = load_arrays(run.path / f"decoders/{name}.safetensors")
        found = load_arrays(exported / f"decoders/{name}.safetensors")
        assert own.keys() == found.keys()
        assert all((own[key] == found[key]).all() for key in own)
    betas = run.subject.train.betas().astype(float)
    moments = load_arrays(exported / "training.safetensors")
    assert set(moments) == {"mean", "sd", "raw_mean", "raw_sd"}
    for unit in ("", "raw_"):
        np.testing.assert_allclose(moments[f"{unit}mean"], betas.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(moments[f"{unit}sd"], betas.std(axis=0), rtol=1e-5)
    voxels = pd.read_csv(exported / "voxels.csv")
    pd.testing.assert_frame_equal(voxels.astype(run.subject.voxels.dtypes), run.subject.voxels)
    card = (exported / "README.md").read_text()
    for text in ("# Decoders of subj01", "| z | early |", "| c | ventral |", "MIT licence"):
        assert text in card


def test_nothing_says_where_the_run_is(small_run, exported):
    place = str(small_run[0].path.parent)
    for path in exported.rglob("*"):
        if path.is_file():
            assert place.encode() not in path.read_bytes(), path


def test_a_transfer_by_exported_decoders_is_that_of_the_run(small_run, exported, imagery, tmp_path):
    by_run = begun(open_source(small_run[0].path), imagery, tmp_path / "by-run", 3)
    source = open_source(exported)
    by_folder = begun(source, imagery, tmp_path / "by-folder", 3)
    for name in ("z", "c"):
        one, other = (
            load_arrays(run.path / f"decoded/{name}.safetensors") for run in (by_run, by_folder)
        )
        for key in ("predicted", "mean", "true"):
            np.testing.assert_array_equal(one[key], other[key])
    one, other = (
        json.loads((run.path / "reliability.json").read_text()) for run in (by_run, by_folder)
    )
    assert one == other
    with pytest.raises(UserError, match="hold no captions"):
        source.subject.captions(["00001"])


def test_voxels_of_exported_decoders_are_matched_by_name(exported, small_run, tmp_path):
    table = pd.read_csv(exported / "voxels.csv")
    moved = shutil.copytree(exported, tmp_path / "moved")
    table.assign(x=table["x"] + 100).to_csv(moved / "voxels.csv", index=False)
    with pytest.raises(UserError, match="it has no voxel 1"):
        vox2pix.transfer(moved, small_run[0].subject, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("decoder.json", "{}", "describes no decoders"),
        ("decoder.json", "[", "decoder.json is truncated"),
        ("voxels.csv", "x,y,z,early,ventral\n1,2,3,1,1\n", "has 1 voxels"),
        ("training.safetensors", "nothing", "no safetensors file"),
        ("decoders/z.safetensors", "nothing", "no safetensors file"),
    ],
)
def test_damaged_decoders_are_refused(exported, tmp_path, name, text, message):
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / name).write_text(text)
    with pytest.raises(UserError, match=message):
        open_source(damaged)


def rewritten(exported, tmp_path, name, change):
    """Copy exported decoders and change one of their files; return the folder."""
    other = shutil.copytree(exported, tmp_path / "other")
    (other / ".vox2pix.json").unlink()
    change(other / name)
    return other


@pytest.mark.parametrize("lacking", ["mean", "sd", "raw_mean", "raw_sd"])
def test_moments_of_each_voxel_are_required(exported, tmp_path, lacking):
    def change(path):
        arrays = load_arrays(path)
        short = arrays.pop(lacking)[1:]
        save_arrays(path, arrays | ({lacking: short} if "raw" in lacking else {}))

    with pytest.raises(UserError, match=rf"training\.safetensors has no {lacking} of each voxel"):
        open_source(rewritten(exported, tmp_path, "training.safetensors", change))


@pytest.mark.parametrize("affine", [[[1, 0], [0]], [[1, 0, 0, 0]] * 3, [[1, 0, 0, None]] * 4])
def test_an_affine_of_another_shape_is_refused(exported, tmp_path, affine):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"affine": affine}))

    with pytest.raises(UserError, match=r"decoder\.json describes no decoders \(.*affine"):
        open_source(rewritten(exported, tmp_path, "decoder.json", change))


@pytest.mark.parametrize("flag", ["no", "0.4", "2", ""])
def test_regions_of_exported_decoders_are_flags(exported, tmp_path, flag):
    def change(path):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.loc[3, "early"] = flag
        table.to_csv(path, index=False)

    with pytest.raises(UserError, match=f"line 5: '{flag}' in column early is no ROI flag"):
        open_source(rewritten(exported, tmp_path, "voxels.csv", change))


def test_weights_of_other_voxels_are_refused(exported, tmp_path):
    other = shutil.copytree(exported, tmp_path / "other")
    shutil.copy(other / "training.safetensors", other / "decoders/c.safetensors")
    with pytest.raises(
        UserError, match=r"c\.safetensors has weights of shape \(\), and voxels.csv"
    ):
        open_source(other)


def test_the_command_names_the_folder(small_run, tmp_path):
    arguments = ["decoder", "export", str(small_run[0].path), "--out", str(tmp_path / "mine")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "mine") in result.stdout
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="taken"):
        vox2pix.export_decoders(small_run[0].path, tmp_path / "taken")
