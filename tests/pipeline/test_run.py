import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import Ridge

import vox2pix
from pipeline.conftest import Recorder, copied, experiment
from vox2pix.config import Config, load_config
from vox2pix.data import Split
from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError
from vox2pix.pipeline import Run
from vox2pix.pipeline.commands import audit, run
from vox2pix.pipeline.experiment import features, make_decoder
from vox2pix.pipeline.inputs import input_files
from vox2pix.pipeline.reconstruct import STAGES, _3_decode, _5_draw
from vox2pix.pipeline.reconstruct._6_score import nearest_training_ids
from vox2pix.pipeline.stage import stage_keys
from vox2pix.store import MARKER, RunFolder, load_arrays
from vox2pix.vision.transformers_models import find_folder

CONDITIONS = [
    "z-decode", "z", "c", "z+c", "true-z", "true-c", "true-z+c",
    "shuffled", "mean-response", "noise-response", "retrieval", "decoded z", "decoded c",
]  # fmt: skip


FIELDS = [
    "subject", "condition", "metric", "direction", "protocol", "samples", "value", "ci_low",
    "ci_high", "chance", "n_stimuli", "definition",
]  # fmt: skip


NOT_RESULTS = ("provenance.json", ".lock", "report.html")  # they tell times and the machine


def digests(folder: Path) -> dict[str, str]:
    """Hash every file of a run that is a result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_RESULTS
    }


def test_metrics_are_flat_records_of_every_condition(small_run):
    made, _ = small_run
    records = json.loads((made.path / "metrics.json").read_text())
    assert all(list(record) == FIELDS for record in records)
    table = pd.DataFrame(records)
    assert table["definition"].str.contains(" v2").all()
    assert list(table["condition"].unique()) == CONDITIONS
    assert set(table["n_stimuli"]) == {8}
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()
    directions = table.dropna(subset="direction")
    assert set(directions["direction"]) == {"original", "reconstruction"}
    assert set(directions[directions["samples"].str.startswith("mean")]["chance"]) == {
        0.5, 1 / 8, 5 / 8,
    }  # fmt: skip


def test_mean_and_best_of_several_samples_are_both_named(small_run):
    made, _ = small_run
    table = pd.read_json(made.path / "metrics.json").fillna({"direction": ""})
    keys = ["condition", "metric", "direction"]
    means, bests = (
        table[table["samples"] == samples].set_index(keys) for samples in ("mean of 2", "best of 2")
    )
    assert set(means.index) == set(bests.index)
    assert set(means.index.get_level_values("condition")) == {"z", "c", "z+c"}
    assert (bests["value"] >= means.loc[bests.index, "value"]).all()
    assert (bests["chance"] > means.loc[bests.index, "chance"]).all()
    assert set(table["samples"]) == {"mean of 1", "mean of 2", "best of 2"}


def test_retrieval_by_decoded_features_is_the_naive_search(small_run):
    made, _ = small_run
    truth = features(made, "c", made.test_ids).reshape(8, -1)
    decoded = load_arrays(made.path / "decoded" / "c.safetensors")["predicted"].reshape(8, -1)
    cosine = truth @ decoded.T / np.outer(*(np.linalg.norm(x, axis=1) for x in (truth, decoded)))
    found = {
        (r["metric"], r["direction"]): r["value"]
        for r in json.loads((made.path / "metrics.json").read_text())
        if r["condition"] == "decoded c"
    }
    for k in (1, 5):
        nearest = {"original": np.argsort(-cosine, 1), "reconstruction": np.argsort(-cosine.T, 1)}
        for direction, order in nearest.items():
            hits = [i in order[i, :k] for i in range(8)]
            assert found[f"top-{k}", direction] == pytest.approx(np.mean(hits))


def test_the_mean_over_the_scores_of_images_is_the_metric(small_run):
    made, _ = small_run
    scores = pd.read_csv(made.path / "scores.csv", dtype={"stimulus_id": str})
    scores["direction"] = scores["direction"].fillna("")
    means = scores.groupby(["condition", "metric", "direction"])["score"].mean()
    records = json.loads((made.path / "metrics.json").read_text())
    for record in (r for r in records if r["samples"].startswith("mean")):
        if record["condition"].startswith("decoded"):
            continue  # retrieval by features: no image was drawn
        key = (record["condition"], record["metric"], record["direction"] or "")
        assert record["value"] == pytest.approx(means[key], abs=1e-9)


def test_what_is_decoded_again_asks_for_no_weights(small_run, tmp_path, monkeypatch):
    made, _ = small_run
    again = Run(made.config, RunFolder(copied(made, tmp_path)), keys=dict(made.keys))
    monkeypatch.setattr(Run, "model", property(lambda self: pytest.fail("a model was loaded")))
    _3_decode._decode(again)
    for name in ("z", "c"):
        file = f"decoded/{name}.safetensors"
        assert (again.path / file).read_bytes() == (made.path / file).read_bytes()


def test_features_that_are_lost_are_computed_again(small_run, tmp_path):
    made, _ = small_run
    again = Run(made.config, RunFolder(copied(made, tmp_path)), keys=dict(made.keys))
    for lost in (tmp_path / "cache").rglob("*.safetensors"):
        lost.unlink()
    for name in ("z", "c"):
        expected = features(made, name, made.test_ids)
        np.testing.assert_allclose(features(again, name, made.test_ids), expected, atol=1e-5)


def test_test_responses_are_averaged_once_for_all_blocks_of_features(
    small_run, tmp_path, monkeypatch
):
    made, _ = small_run
    again = Run(made.config, RunFolder(copied(made, tmp_path)), keys=dict(made.keys))
    averaged, mean_betas = [], Split.mean_betas
    monkeypatch.setattr(
        Split, "mean_betas", lambda self, rois: averaged.append(rois) or mean_betas(self, rois)
    )
    for part in ((0, 100), (100, 300)):
        _3_decode._decode_block(again, ("z", part))
    assert averaged == [("early",)]
    first, second = (
        load_arrays(_3_decode._part(again, "z", part)) for part in ((0, 100), (100, 300))
    )
    both = np.hstack([first["predicted"], second["predicted"]])
    whole = load_arrays(made.path / "decoded/z.safetensors")["predicted"].reshape(len(both), -1)
    np.testing.assert_allclose(both, whole[:, :300], rtol=1e-3, atol=1e-4)


def test_the_decoder_predicts_what_scikit_learn_predicts(small_run):
    made, _ = small_run
    train, test = made.subject.train, made.subject.test
    X = train.betas("early").astype(np.float64)
    mean, deviation = X.mean(0), X.std(0)
    arrays = load_arrays(made.path / "decoders" / "z.safetensors")
    targets = features(made, "z", train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
    target = 17
    plain = Ridge(alpha=float(arrays["alpha"][target])).fit(
        (X - mean) / deviation, targets[train.stimulus_rows, target]
    )
    expected = plain.predict((test.mean_betas("early") - mean) / deviation)
    predicted = load_arrays(made.path / "decoded" / "z.safetensors")["predicted"]
    np.testing.assert_allclose(predicted.reshape(8, -1)[:, target], expected, rtol=2e-3, atol=2e-3)


def test_progress_counts_everything_once(small_run):
    _, told = small_run
    assert told.counted == told.begun
    assert told.begun["Drawing images"] == 8 * (1 + 3 * 2 + 3 + 1)
    assert told.begun["Drawing controls"] == 8 * 4


def test_the_sheet_is_an_image(small_run):
    made, _ = small_run
    with Image.open(made.path / "contact_sheet.png") as sheet:
        assert sheet.width > 800
        assert len(sheet.convert("L").getcolors()) > 50


def test_the_resolved_experiment_makes_the_same_run_again(small_run):
    made, _ = small_run
    again = load_config(made.path / "config.toml")
    assert again == made.config
    told = tomllib.loads((made.path / "config.toml").read_text())
    assert told["generate"]["guidance"] == 5.0


def test_how_it_is_computed_does_not_change_the_images(small_run, tmp_path):
    made, _ = small_run
    compute = {"device": "cpu", "shard_size": 8, "batch_size": 3, "overlap": True}
    other = run(experiment(compute=compute), tmp_path / "small")
    for name in ("metrics.json",):
        one, two = (pd.DataFrame(json.loads((r.path / name).read_text())) for r in (made, other))
        # float32 rounding may move an image by one of 255 steps
        np.testing.assert_allclose(one["value"], two["value"], atol=2e-3)


def test_other_weights_are_another_run(tmp_path):
    weights = tmp_path / "model"
    shutil.copytree(Path(vox2pix.__file__).parent / "phantom" / "model", weights)
    config = experiment(model={"name": str(weights)})
    first = Run(config, RunFolder(tmp_path / "a"))
    before = stage_keys(STAGES, first)
    file = weights / "vae" / "diffusion_pytorch_model.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    after = stage_keys(STAGES, first)
    assert {k for k in before if before[k] != after[k]} == {
        "features", "decode", "generate", "audit-decoding", "audit-drawing", "evaluate", "audit",
        "sheet", "gallery", "report",
    }  # fmt: skip


def test_where_models_lie_is_no_part_of_a_run(tmp_path):
    shipped = Path(vox2pix.__file__).parent / "phantom"
    keys = []
    for place in ("here", "there"):
        model, encoder = tmp_path / place / "model", tmp_path / place / "clip"
        shutil.copytree(shipped / "model", model)
        shutil.copytree(find_folder("phantom"), encoder)
        tables = {"model": {"name": str(model)}, "evaluate": {"encoder": str(encoder)}}
        keys.append(stage_keys(STAGES, Run(experiment(**tables), RunFolder(tmp_path))))
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("compute", "changes"),
    [({"batch_size": 3, "shard_size": 1, "overlap": True}, False), ({"dtype": "bfloat16"}, True)],
)
def test_only_precision_is_part_of_what_is_computed(tmp_path, compute, changes):
    one, other = (
        stage_keys(STAGES, Run(config, RunFolder(tmp_path)))
        for config in (experiment(), experiment(compute=compute))
    )
    assert (one["features"] != other["features"]) == changes


def test_by_default_every_image_has_noise_of_its_own(tmp_path, monkeypatch, small_run):
    seeds = []
    real = _5_draw.reconstruct
    monkeypatch.setattr(
        _5_draw, "reconstruct", lambda *a, **k: seeds.append(k["seeds"]) or real(*a, **k)
    )
    folder = tmp_path / "small"
    shutil.copytree(small_run[0].path, folder)
    shutil.rmtree(folder / "images")
    run(small_run[0].config, folder)
    drawn = np.concatenate([block[:, 0] for block in seeds[:3]])  # the first condition
    assert len(np.unique(drawn)) == 8


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (
            {"decode": {"z": {"image_size": 60}}},
            "decode.z cannot be computed by phantom: image side 60 is no multiple of 8",
        ),
        ({"generate": {"conditions": []}}, r"generate.conditions \(none\) leaves nothing to draw"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(tmp_path, tables, sentence):
    with pytest.raises(UserError, match=sentence):
        run(experiment(**tables), tmp_path / "small")


def test_provenance_tells_what_each_stage_was_made_of(small_run):
    told = json.loads((small_run[0].path / "provenance.json").read_text())
    assert list(told) == [
        "data", "features", "decode", "audit-decoding", "generate", "audit-drawing", "evaluate",
        "audit", "sheet", "gallery", "report",
    ]  # fmt: skip
    assert all(stage["seconds"] >= 0 and stage["peak_memory_gb"] > 0 for stage in told.values())
    assert len(told["features"]["inputs"]["unet/diffusion_pytorch_model.safetensors"]) == 64
    assert told["evaluate"]["inputs"]
    assert told["decode"]["machine"]["packages"]["torch"]


def test_a_run_beside_the_data_it_reads_is_no_part_of_them(tmp_path):
    config = experiment(data={"source": "folder", "path": str(tmp_path)})
    for name in ("trials.csv", "responses.npy", "images/a.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    made = Run(config, RunFolder(tmp_path / "runs" / "here"))
    before = input_files(made)
    assert before == {
        f"./{name}": hashlib.sha256(name.encode()).hexdigest()
        for name in ("images/a.png", "responses.npy", "trials.csv")
    }
    for name in ("runs/here/metrics.json", "runs/cache/features/rows", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    assert input_files(made) == before
    (tmp_path / "captions.csv").write_text("added")
    assert len(input_files(made)) == 4


def test_missing_data_are_one_sentence(tmp_path):
    data = {"source": "nsd", "path": str(tmp_path / "nowhere")}
    config = Config.model_validate({"name": "x", "data": data})
    with pytest.raises(UserError, match="nowhere"):
        run(config, tmp_path / "run")


def test_every_check_of_the_audit_is_told_with_its_figure(small_run):
    made, _ = small_run
    findings = json.loads((made.path / "audit.json").read_text())
    named = {finding["name"] for finding in findings}
    assert {"shuffled control", "mean control", "held-out clusters", "swap", "copies"} <= named
    for finding in findings:
        if finding["verdict"] is not None:
            assert finding["verdict"] in ("pass", "warn", "fail")
            assert (made.path / finding["figure"]).read_bytes().startswith(b"\x89PNG")
            assert finding["sentence"] in finding["alt"]


def test_a_held_out_cluster_is_decoded_without_its_images(small_run):
    made, _ = small_run
    train, test = made.subject.train, made.subject.test
    clusters = load_arrays(made.path / "decoded" / "clusters.safetensors")
    stored = load_arrays(made.path / "decoded" / "z-controls.safetensors")["held_out"]
    decoder = make_decoder(made.config)
    cluster = clusters["test"][0]
    kept = clusters["train"][train.stimulus_rows] != cluster
    targets = features(made, "z", train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
    stimuli, rows = np.unique(train.stimulus_rows[kept], return_inverse=True)
    decoder.fit(train.betas("early")[kept], targets[stimuli], stimuli=rows)
    expected = decoder.predict(test.mean_betas("early")[:1])
    np.testing.assert_allclose(stored[0].ravel(), expected[0], atol=1e-4)


def test_the_mean_response_decodes_to_one_prediction_and_noise_to_many(small_run):
    made, _ = small_run
    controls = load_arrays(made.path / "decoded" / "c-controls.safetensors")
    decoder = RidgeDecoder.from_arrays(load_arrays(made.path / "decoders" / "c.safetensors"))
    mean = made.subject.train.mean_betas("ventral").mean(axis=0)
    np.testing.assert_allclose(
        controls["mean"].reshape(1, -1), decoder.predict(mean[None]), atol=1e-5
    )
    assert len(controls["noise"]) == len(made.test_ids)
    assert controls["noise"].std(axis=0).max() > 0
    decoded = load_arrays(made.path / "decoded" / "c.safetensors")["predicted"]
    assert not np.allclose(controls["held_out"], decoded)


def test_the_nearest_training_image_is_scored_as_a_baseline(small_run):
    made, _ = small_run
    found = nearest_training_ids(made)
    ids = made.subject.train.stimulus_ids
    training = features(made, "c", ids).reshape(len(ids), -1).astype(float)
    decoded = load_arrays(made.path / "decoded" / "c.safetensors")["predicted"].reshape(8, -1)
    decoded, training = decoded - training.mean(axis=0), training - training.mean(axis=0)
    best = [np.argmax([np.corrcoef(row, other)[0, 1] for other in training]) for row in decoded]
    assert found == [ids[i] for i in best]


def test_a_run_is_audited_again(small_run, tmp_path):
    made, _ = small_run
    folder = tmp_path / "small"
    shutil.copytree(made.path, folder)
    shutil.copytree(made.path.parent / "cache", tmp_path / "cache")
    (folder / "audit.json").unlink()
    assert audit(folder) == json.loads((made.path / "audit.json").read_text())
    with pytest.raises(UserError, match="no run folder"):
        audit(tmp_path)
    (folder / "stages" / "evaluate.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        audit(folder)


def test_without_an_audit_nothing_is_drawn_for_one(tmp_path):
    config = experiment(audit={"enabled": False})
    made = run(config, tmp_path / "small")
    records = pd.DataFrame(json.loads((made.path / "metrics.json").read_text()))
    assert list(records["condition"].unique()) == [*CONDITIONS[:8], *CONDITIONS[-2:]]
    assert not (made.path / "audit.json").exists()
    assert (made.path / "report.html").exists()
    with pytest.raises(UserError, match=r"audit.enabled = false"):
        audit(made.path)


def test_an_audit_turned_off_leaves_images_and_takes_its_findings_along(small_run, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(small_run[0].path, folder)
    shutil.copytree(small_run[0].path.parent / "cache", tmp_path / "cache")
    recorder = Recorder()
    run(experiment(audit={"enabled": False}), folder, recorder)
    assert "Drawing: already done" in recorder.lines
    assert not (folder / "audit.json").exists()
    assert [path.name for path in (folder / "audit").iterdir()] == [MARKER]


def test_the_audit_judges_the_fullest_condition_that_is_drawn(tmp_path):
    generate = {"samples": 1, "steps": 2, "conditions": ["z"], "ceilings": ["z"]}
    made = run(experiment(generate=generate), tmp_path / "small")
    findings = json.loads((made.path / "audit.json").read_text())
    open_checks = {f["name"] for f in findings if f["verdict"] is None}
    assert open_checks <= {"swap", "ceiling"}
