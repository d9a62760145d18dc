import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from pipeline.conftest import Recorder, copied, experiment
from pipeline.test_run import digests
from vox2pix.config import load_config, shipped_experiments
from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.errors import UserError
from vox2pix.linear import pearson_r
from vox2pix.pipeline import Run, encoding
from vox2pix.pipeline.commands import draw_encoding, encode, plan_encoding
from vox2pix.pipeline.commands import run as pipeline_run
from vox2pix.pipeline.encode import _3_reduce
from vox2pix.pipeline.encoding import StoredResponses, analyses, default_layers, steps_at
from vox2pix.pipeline.experiment import features
from vox2pix.store import (
    RunFolder,
    ShardedArray,
    claim,
    load_arrays,
    read_checked_json,
    write_checked_json,
)
from vox2pix.targets import Latent

STREAMS = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]
ENCODE = {
    "rois": ["early", "ventral"],
    "strength": 0.7,
    "strengths": [0.4, 0.7],
    "moments": [0.5, 1.0],
    "layers": ["mid_block", "up_blocks.0"],
    "layer_moments": [0.1, 1.0],
    "steps": 4,
    "resamples": 100,
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A finished encoding analysis, and what its reporter was told."""
    recorder = Recorder()
    path = tmp_path_factory.mktemp("runs") / "small"
    return encode(experiment(encode=ENCODE), path, recorder), recorder


def results(run) -> pd.DataFrame:
    return pd.read_csv(run.path / "encoding" / "results.csv.gz", keep_default_na=False)


def test_every_latent_is_scored_in_every_voxel(encoded):
    run, _ = encoded
    table = results(run)
    steps = [0, 1]  # of the 2 that strength 0.7 runs of 4
    layers = [f"{layer}@0.7:step{step}" for layer in ENCODE["layers"] for step in steps]
    assert list(table["latent"].unique()) == ["z", "c", "z_c@0.7", *layers]
    assert (table.groupby("latent")["voxel"].nunique() == len(run.subject.voxels)).all()
    assert set(table["roi"]) == {"early", "ventral"}
    assert table[["r", "p", "q"]].apply(pd.to_numeric).notna().all().all()


def test_z_c_after_the_last_step_is_z_c_and_is_divided_once(encoded):
    run, _ = encoded
    last, end = Latent("z_c", 0.7, 1), Latent("z_c", 0.7)
    wanted = encoding.analyses(run)
    assert last in wanted.moments and end in wanted.strengths
    spaces = encoding.spaces(run)
    np.testing.assert_array_equal(spaces.split(last)[0], spaces.split(end)[0])
    np.testing.assert_array_equal(spaces.split(last)[1], spaces.split(end)[1])
    assert encoding.unique_path(run, last) == encoding.unique_path(run, end)
    folder = encoding.unique_path(run, end).parent
    assert {p.stem for p in folder.glob("*.csv")} == {"z_c@0.4", "z_c@0.7", "z_c@0.7-step0"}


def test_what_is_encoded_again_asks_for_no_weights(encoded, tmp_path, monkeypatch):
    run, _ = encoded
    monkeypatch.setattr(Run, "model", property(lambda self: pytest.fail("a model was loaded")))
    wanted = ENCODE | {"n_components": 40, "alphas": [1.0, 1e3]}
    again = encode(experiment(encode=wanted), copied(run, tmp_path), recorder := Recorder())
    assert "Denoising: already done" in recorder.lines
    assert "Feature spaces: settings or files changed, done again" in recorder.lines
    assert not results(again).equals(results(run))


def test_keys_of_features_without_their_model_are_used(encoded, tmp_path):
    run, _ = encoded
    path = copied(run, tmp_path)
    for keys in path.glob("features/*.json"):  # as an earlier version wrote them
        told = read_checked_json(keys)
        write_checked_json(keys, {"keys": told["keys"]})
    for mark in path.glob("stages/encoding-*.json"):
        mark.unlink()
    again = encode(experiment(encode=ENCODE | {"n_components": 40}), path)
    assert list(results(again)["latent"].unique()) == list(results(run)["latent"].unique())


@pytest.mark.parametrize("what", ["weights", "device"])
def test_what_cannot_compute_is_refused_before_responses_are_read(tmp_path, what):
    folder = shutil.copytree(find_pipeline("phantom").path, tmp_path / "model")
    tables = {"model": {"name": str(folder)}}
    if what == "weights":
        (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(b"")
    else:
        tables["compute"] = {"device": "cuda:9"}
    recorder = Recorder()
    with pytest.raises(UserError, match=r"vae/\S+ is empty|cuda:9"):
        encode(experiment(encode=ENCODE, **tables), tmp_path / "runs" / "small", recorder)
    assert "Averaging responses" not in recorder.begun


def test_z_and_c_are_looked_up_once_a_stage(encoded, monkeypatch):
    run, _ = encoded
    asked = []
    monkeypatch.setattr(encoding, "features", lambda *a: asked.append(a[1]) or features(*a))
    run.clear_cached()
    _3_reduce._reduce(run)
    assert asked == ["z", "c"]


def test_scores_are_those_of_scikit_learns_ridge(encoded):
    run, _ = encoded
    train, test = run.subject.train, run.subject.test
    X = features(run, "z", train.stimulus_ids).reshape(len(train.stimulus_ids), -1).astype(float)
    X_test = features(run, "z", run.test_ids).reshape(len(run.test_ids), -1).astype(float)
    stored = load_arrays(encoding.scores_path(run, Latent("z")))
    for voxel in (0, 40, 100):
        model = Ridge(stored["alpha"][voxel])
        model.fit(X, train.mean_betas()[:, voxel], sample_weight=train.repeats)
        predicted = model.predict(X_test)
        relative = predicted - stored["mean"][voxel]
        np.testing.assert_allclose(stored["predictions"][:, voxel], relative, atol=1e-3)
        r = pearson_r(test.mean_betas()[:, [voxel]], predicted[:, None])
        np.testing.assert_allclose(stored["r"][voxel], r[0], atol=1e-3)


def test_maps_are_the_tables_in_the_subjects_space(encoded):
    run, _ = encoded
    table = results(run)
    image = nib.load(run.path / "encoding" / "maps" / "r_c.nii.gz")
    np.testing.assert_allclose(image.affine, run.subject.affine)
    values = image.get_fdata()[tuple(run.subject.voxels[["x", "y", "z"]].to_numpy().T)]
    r = table.loc[table["latent"] == "c", "r"].astype(float)
    np.testing.assert_allclose(values, r, atol=1e-5)
    assert np.isfinite(image.get_fdata()).sum() == len(values)


def test_tables_of_regions_agree_with_the_table_of_voxels(encoded):
    run, _ = encoded
    table, folder = results(run), run.path / "encoding"
    means = pd.read_csv(folder / "roi_means.csv")
    for _, row in means.iterrows():
        chosen = table[(table["latent"] == row["latent"]) & (table["roi"] == row["roi"])]
        assert row["value"] == pytest.approx(chosen["r"].astype(float).mean(), abs=1e-4)
        assert row["low"] <= row["value"] <= row["high"]
        allowed = np.sqrt(chosen["ceiling"].astype(float) / 100).mean()
        assert row["r_normalised"] == pytest.approx(row["value"] / allowed, rel=1e-3)
        assert row["r_normalised_low"] == pytest.approx(row["low"] / allowed, rel=1e-3, abs=1e-4)
    pairs = pd.read_csv(folder / "comparisons.csv")
    assert set(zip(pairs["a"], pairs["b"], strict=True)) == {
        ("z", "c"), ("z", "z_c@0.7"), ("c", "z_c@0.7"),
    }  # fmt: skip
    r = means.set_index(["latent", "roi"])["value"]
    for _, row in pairs.iterrows():
        expected = r[row["a"], row["roi"]] - r[row["b"], row["roi"]]
        assert row["difference"] == pytest.approx(expected, abs=1e-4)
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
    assert pairs["difference"].abs().min() > 3e-4
    unique = pd.read_csv(folder / "unique_variance.csv")
    assert set(unique.loc[unique["step"].isna(), "strength"]) == {0.4, 0.7}
    assert set(unique["step"].dropna()) == {0, 1}


def test_every_figure_is_listed_with_a_sentence(encoded):
    run, _ = encoded
    folder = run.path / "encoding"
    listed = json.loads((folder / "figures.json").read_text())
    names = [figure["name"] for figure in listed]
    assert {"latents_by_region", "unique_by_strength", "unique_by_step", "layers_by_step"} <= set(
        names
    )
    for figure in listed:
        assert (folder / figure["png"]).read_bytes().startswith(b"\x89PNG")
        assert (folder / figure["svg"]).read_text().startswith("<?xml")
        assert len(figure["alt"]) > 40


def test_the_report_says_that_nothing_was_drawn(encoded):
    run, _ = encoded
    page = (run.path / "report.html").read_text()
    assert "small: what in the diffusion model looks like" in page
    assert "Nothing was decoded or drawn in this run" in page


def test_what_is_done_is_kept_and_what_changed_is_done_again(encoded, tmp_path):
    run, _ = encoded
    path = copied(run, tmp_path)
    before = digests(path)
    again = Recorder()
    encode(experiment(encode=ENCODE), path, again)
    assert len([line for line in again.lines if "already done" in line]) == 10
    assert digests(path) == before
    other = Recorder()
    encode(experiment(encode=ENCODE | {"q": 0.2}), path, other)
    redone = [line.split(":")[0] for line in other.lines if "done again" in line]
    assert redone == ["Tables and maps", "Figures", "Report"]


def test_latents_that_are_gone_are_denoised_again(encoded, tmp_path):
    run, _ = encoded
    path = copied(run, tmp_path)
    before = digests(path)
    mark = next((path / "encoding/latents").glob("*/z_c@0.7/done/00000"))
    mark.unlink()
    shutil.rmtree(mark.parents[2] / "z_c@0.4")
    recorder = Recorder()
    encode(experiment(encode=ENCODE), path, recorder)
    [told] = [line for line in recorder.lines if line.startswith("Denoising: ")]
    assert "z_c@0.4/done/00000" in told and told.endswith("missing or damaged, done again")
    assert digests(path) == before


def test_what_other_settings_left_may_be_damaged(encoded, tmp_path):
    path = copied(encoded[0], tmp_path)
    current = encoding.trace_folder(encoded[0]).name
    old = shutil.copytree(
        path / "encoding/latents" / current, path / "encoding/latents/trace-of-old"
    )
    chunk = next(p for p in (old / "z_c@0.7/values/c").rglob("*") if p.is_file())
    chunk.write_bytes(b"damaged")
    recorder = Recorder()
    encode(experiment(encode=ENCODE), path, recorder)
    assert "Denoising: already done" in recorder.lines


def test_an_analysis_that_was_stopped_goes_on_to_the_same_bytes(encoded, tmp_path):
    class Stops(Recorder):
        def __init__(self, title):
            super().__init__()
            self.at = title

        def advance(self, n):
            super().advance(n)
            if self.title == self.at:
                raise KeyboardInterrupt

    run, _ = encoded
    path = tmp_path / "small"
    for title in ("Denoising", "Encoding voxels", "Unique variance", "Drawing figures"):
        with pytest.raises(KeyboardInterrupt):
            encode(experiment(encode=ENCODE), path, Stops(title))
    encode(experiment(encode=ENCODE), path)
    assert digests(path) == digests(run.path)


def test_figures_are_drawn_again_from_the_tables(encoded, tmp_path):
    run, _ = encoded
    before = digests(run.path / "encoding" / "figures")
    paths = draw_encoding(run.path)
    assert {path.name for path in paths} == {name for name in before if name.endswith(".png")}
    assert digests(run.path / "encoding" / "figures") == before
    with pytest.raises(UserError, match="no run folder"):
        draw_encoding(tmp_path)
    empty = tmp_path / "run"
    claim(empty, "run")
    shutil.copy(run.path / "config.toml", empty)
    with pytest.raises(UserError, match=r"has no finished encoding analysis; run `vox2pix enc"):
        draw_encoding(empty)


def test_layers_that_the_model_lacks_are_refused_with_the_nearest(tmp_path):
    wrong = ENCODE | {"layers": ["mid_blok"]}
    with pytest.raises(UserError, match=r"no module 'mid_blok'; did you mean mid_block"):
        encode(experiment(encode=wrong), tmp_path / "small")


def test_regions_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(UserError, match="earley"):
        encode(experiment(encode=ENCODE | {"rois": ["earley"]}), tmp_path / "small")


ONLY_Z_AND_C = {
    "latents": ["z", "c"], "strengths": [], "moments": [], "layers": [], "resamples": 200,
}  # fmt: skip


@pytest.mark.slow
def test_z_explains_early_and_c_higher_cortex(tmp_path):
    sizes = {
        "sessions": 4, "trials_per_session": 750, "n_shared": 250, "n_early": 300, "n_ventral": 90,
    }  # fmt: skip
    wanted = ONLY_Z_AND_C | {"rois": ["early", "ventral"]}
    data = {"source": "phantom", "space": "fsaverage5", "phantom": sizes}
    run = encode(experiment(data=data, encode=wanted), tmp_path / "small")
    pairs = pd.read_csv(run.path / "encoding" / "comparisons.csv").set_index("roi")
    assert pairs.loc["early", "ci_low"] > 0  # z less c
    assert pairs.loc["ventral", "ci_high"] < 0


def test_noise_is_not_discovered(tmp_path):
    sizes = {
        "sessions": 2, "trials_per_session": 300, "n_shared": 50, "n_early": 300, "n_ventral": 300,
    }  # fmt: skip
    wanted = ONLY_Z_AND_C | {"rois": [*STREAMS, "all"]}
    data = {"source": "phantom", "phantom": sizes}
    table = results(encode(experiment(data=data, encode=wanted), tmp_path / "small"))
    for latent, found in table.groupby("latent"):
        discovered = pd.to_numeric(found["q"]) < 0.05
        silent = found["roi"] == ""  # brain that responds to nothing
        assert silent.sum() > 400, latent
        assert discovered[found["roi"] == ("early" if latent == "z" else "ventral")].mean() > 0.2
        # 5 % of all discoveries, and their sampling error
        expected = 0.05 * discovered.sum()
        assert (discovered & silent).sum() < expected + 3 * np.sqrt(expected)


def test_a_permutation_null_is_stricter_than_the_gaussian_one(encoded, tmp_path):
    run, _ = encoded
    path = copied(run, tmp_path)
    wanted = ENCODE | {"null": "permutation", "permutations": 100}
    other = encode(experiment(encode=wanted), path)
    p = results(other)["p"].astype(float)
    assert p.min() >= 1 / 101 - 1e-6
    assert (results(other)["r"] == results(run)["r"]).all()


def test_a_plan_counts_the_passes_and_writes_nothing(tmp_path):
    config = experiment(encode=ENCODE)
    made = plan_encoding(config, tmp_path / "run", flops_a_second=1e12)
    stages = {stage.name: stage for stage in made.stages}
    assert "2 denoising runs of 40 images" in stages["trace"].what
    assert stages["encode"].what == "7 models of every voxel"
    more = plan_encoding(
        experiment(encode=ENCODE | {"guidance": 1.0}), tmp_path / "run", flops_a_second=1e12
    )
    halved = {stage.name: stage for stage in more.stages}["trace"].seconds
    assert halved == pytest.approx(stages["trace"].seconds / 2)
    assert not (tmp_path / "run").exists()


def test_the_shipped_experiments_name_layers_of_their_models():
    from vox2pix.diffusion import Architecture

    config = load_config(shipped_experiments()["nsd-encoding"])
    architecture = Architecture.from_pretrained(config.model.name, local_files_only=True)
    shapes = architecture.activation_shapes(config.encode.layers, (4, 40, 40))
    assert shapes["mid_block"] == (1280, 5, 5)
    assert shapes["up_blocks.3"] == (320, 40, 40)


def test_five_blocks_are_the_default_layers():
    names = ["conv_in", "down_blocks.0", "down_blocks.0.resnets.0", "down_blocks.1",
             "down_blocks.2", "mid_block", "up_blocks.0", "up_blocks.1", "up_blocks.2"]  # fmt: skip
    assert default_layers(names) == (
        "down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.1", "up_blocks.2",
    )  # fmt: skip


def test_moments_are_the_steps_that_end_there():
    assert steps_at((0.01, 0.1, 0.5, 1.0), 40) == (0, 3, 19, 39)
    assert steps_at((0.1, 0.2), 3) == (0,)


def test_stored_responses_are_sliced_by_voxels(tmp_path):
    values = np.arange(70, dtype=np.float32).reshape(10, 7)
    array = ShardedArray(tmp_path, (10, 7), np.float32, 4)
    for shard in range(3):
        array.write(shard, values[array.rows(shard)])
    stored = StoredResponses(array)
    assert stored.shape == (7, 10)
    for columns in (slice(0, 3), slice(3, 9), slice(None), slice(8, 10)):
        np.testing.assert_array_equal(stored[:, columns], values.T[:, columns])


def test_without_captions_z_alone_is_left(encoded):
    run, _ = encoded
    blind = Run(run.config, RunFolder(run.path), rois=run.rois)

    class Subject:
        has_captions = False

    blind.__dict__["subject"] = Subject()
    found = analyses(blind)
    assert found.scored == (Latent("z"),)
    assert found.trace is None


def test_what_other_settings_left_is_not_shown(encoded, tmp_path):
    run, _ = encoded
    path = copied(run, tmp_path)
    less = ENCODE | {"strengths": [], "moments": [], "latents": ["z"], "layers": []}
    encode(experiment(encode=less), path)
    folder = path / "encoding"
    listed = {f["name"] for f in json.loads((folder / "figures.json").read_text())}
    assert listed <= {"latents_by_region", "slices_r_z"}  # a map only where it has voxels
    assert not (folder / "comparisons.csv").exists()
    assert {p.name for p in (folder / "figures").glob("*.png")} == {f"{n}.png" for n in listed}
    recorder = Recorder()
    encode(experiment(encode=less | {"latents": ["z", "z_c"]}), path, recorder)
    assert recorder.begun["Denoising"] == 40


@pytest.mark.parametrize("change", [{"steps": 1}, {"steps": 3, "strengths": [0.2]}])
def test_strengths_that_leave_no_step_are_refused(change):
    with pytest.raises(ValueError, match="leaves no step to denoise"):
        experiment(encode=ENCODE | change)


def test_a_run_and_an_encoding_analysis_share_a_folder_and_its_experiment(small_run, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(small_run[0].path, folder)
    shutil.copytree(small_run[0].path.parent / "cache", tmp_path / "cache")
    before = load_config(folder / "config.toml")
    others = {"generate": {"samples": 7}, "name": "other", "encode": ENCODE}
    encode(experiment(**others), folder)
    kept = load_config(folder / "config.toml")
    assert kept == before.model_copy(update={"encode": experiment(**others).encode})
    recorder = Recorder()
    pipeline_run(before, folder, recorder)
    assert "Drawing: already done" in recorder.lines
    assert load_config(folder / "config.toml") == kept


def test_another_subjects_run_is_not_mixed_into_the_folder(small_run, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(small_run[0].path, folder)
    before = digests(folder)
    with pytest.raises(UserError, match="holds another experiment, which differs in seed, data;"):
        encode(experiment(seed=1, data={"space": "fsaverage5"}), folder)
    assert digests(folder) == before
