"""Runs and evaluations held against each other, and pooled, by the command line."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from report.folders import make_run
from vox2pix import cli
from vox2pix.store import write_json


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two runs, of two subjects, that share the images 2 to 11."""
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "one", 12)
    make_run(tmp_path / "two", 12, ids=[f"{i:05d}" for i in range(2, 14)], subject="subj02")
    return tmp_path


def command(*arguments):
    runner = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"})
    return runner.invoke(cli.app, list(map(str, arguments)))


def sentence(result):
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line.removeprefix("vox2pix: ")


def test_runs_are_compared_image_by_image(folders):
    result = command("compare", "one", "two")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1] == "Differences: one-two-comparison"
    assert "Means over the 10 images that all have scored" in result.stdout
    difference = np.mean(np.arange(10) / 11 - np.arange(2, 12) / 11)
    (row, *_) = (line for line in lines if "PixCorr" in line)
    assert f"−{-difference:.3f} [−{-difference:.3f}" in row
    assert row.endswith("*")
    records = json.loads((folders / "one-two-comparison" / "comparison.json").read_text())
    own = next(r for r in records if (r["condition"], r["metric"]) == ("z+c", "pixcorr"))
    assert (own["run"], own["less"], own["n_stimuli"]) == ("two", "one", 10)
    assert own["difference"] == pytest.approx(difference)
    assert own["mean"] - own["mean_less"] == pytest.approx(difference)
    assert own["p"] <= own["p_holm"]
    table = pd.read_csv(folders / "one-two-comparison" / "comparison.csv")
    np.testing.assert_allclose(table["difference"], [r["difference"] for r in records])
    assert {r["condition"] for r in records} == {"z-decode", "z", "c", "z+c"}  # no controls


def test_evaluations_are_compared_whatever_their_images_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    seen = rng.random((9, 16, 16, 3))
    np.save("seen.npy", seen)
    for name, noise in (("near", 0.1), ("far", 0.9)):
        np.save(f"{name}.npy", np.clip(seen + rng.normal(0, noise, seen.shape), 0, 1))
        made = command("evaluate", "--truth", "seen.npy", "--reconstructions", f"{name}.npy")
        assert made.exit_code == 0, made.output
    result = command("compare", "near-evaluation", "far-evaluation", "--out", "both")
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "both" / "comparison.json").read_text())
    assert {r["metric"] for r in records} == {"PixCorr", "SSIM", "pixels", "layout", "edges"}
    assert all(r["difference"] < 0 for r in records if r["metric"] in ("PixCorr", "SSIM"))


def test_subjects_are_pooled_each_alike(folders):
    values = {"one": 0.25, "two": 0.35}
    for name, value in values.items():
        records = json.loads((folders / name / "metrics.json").read_text())
        changed = [r | {"value": value} if r["condition"] == "z+c" else r for r in records]
        write_json(folders / name / "metrics.json", changed)
    result = command("pool", "one", "two")
    assert result.exit_code == 0, result.output
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    half = 12.706 * 0.05  # the t of one degree of freedom times the standard error
    assert f".30 [{0.3 - half:.2f}, {0.3 + half:.2f}]".replace("0.", ".") in result.stdout
    assert "Means over 2 subjects (subj01, subj02)" in result.stdout
    records = json.loads((folders / "pooled.json").read_text())
    assert {r["subject"] for r in records} == {"subj01+subj02"}
    assert {"mean of 2", "best of 2"} <= {r["samples"] for r in records}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "one"), "nothing to compare one with"),
        (("compare", "one", "nobody"), "nobody has no scores.csv. Name a folder"),
        (("compare", "one", "apart"), "one and apart have no metric of two or more stimuli"),
        (("pool", "one"), "one is one subject. Name the runs of two"),
        (("pool", "one", "one"), "one is a second one of subj01"),
        (("pool", "one", "nobody"), "nobody has no metrics.json"),
    ],
)
def test_what_cannot_be_compared_or_pooled_is_said(folders, arguments, words):
    make_run(folders / "apart", 3, ids=["a", "b", "c"])
    assert words in sentence(command(*arguments))
    assert not list(folders.glob("*comparison"))
    assert not (folders / "pooled.json").exists()


def evaluated(truth, drawn, out, **options):
    """Evaluate two arrays into a folder."""
    np.save(f"{out}-truth.npy", truth)
    np.save(f"{out}-drawn.npy", drawn)
    given = [word for name, value in options.items() for word in (f"--{name}", value)]
    result = command("evaluate", "--truth", f"{out}-truth.npy", "--reconstructions",
                     f"{out}-drawn.npy", "--out", out, *given)  # fmt: skip
    assert result.exit_code == 0, result.output


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    drawn = np.clip(seen + rng.normal(0, 40, seen.shape), 0, 255).astype(np.uint8)
    return seen, drawn


@pytest.mark.parametrize("verb", ["compare", "pool"])
def test_evaluations_under_two_protocols_are_refused(images, verb):
    seen, drawn = images
    evaluated(seen, drawn, "one", protocol="brain-diffuser")
    evaluated(seen, drawn, "two", protocol="mindeye1")
    assert (
        "one was evaluated under the protocol brain-diffuser and two under mindeye1, whose "
        "definitions differ. Evaluate both under one protocol."
    ) in sentence(command(verb, "one", "two"))


def test_other_originals_are_refused_and_the_same_in_another_order_are_not(images):
    seen, drawn = images
    evaluated(seen, drawn, "one")
    changed = seen.copy()
    changed[4, 0, 0, 0] ^= 255
    evaluated(changed, drawn, "two")
    said = sentence(command("compare", "one", "two"))
    assert (
        "one and two were scored against different originals: 1 of 6 shared ids have other "
        "pixels or another size (the first is '4')."
    ) in said
    evaluated(np.repeat(np.repeat(seen, 2, axis=1), 2, axis=2), drawn, "three")
    assert "6 of 6 shared ids" in sentence(command("compare", "one", "three"))
    order = np.array([3, 1, 0, 5, 4, 2])
    np.savez("turned.npz", images=seen[order] / 255, ids=order)
    np.savez("drawn.npz", images=drawn, ids=np.arange(6))
    made = command("evaluate", "--truth", "turned.npz", "--reconstructions", "drawn.npz",
                   "--out", "four")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert command("compare", "one", "four").exit_code == 0


def test_pooling_refuses_unequal_numbers_of_samples(folders):
    records = json.loads((folders / "two" / "metrics.json").read_text())
    changed = [r | {"samples": r["samples"].replace("of 2", "of 3")} for r in records]
    write_json(folders / "two" / "metrics.json", changed)
    assert "Pool runs with equal numbers of samples" in sentence(command("pool", "one", "two"))


def test_other_pools_of_identification_are_noted(folders):
    result = command("compare", "one", "two")
    said = " ".join(result.stdout.split())
    assert "Identification was scored among all stimuli of each folder (12 in one, 12 in" in said


def test_a_report_leaves_out_what_runs_define_differently(folders):
    records = json.loads((folders / "two" / "metrics.json").read_text())
    changed = [
        r | {"definition": "pixcorr v1, 512 px"} if r["metric"] == "pixcorr" else r for r in records
    ]
    write_json(folders / "two" / "metrics.json", changed)
    result = command("report", "one", "two")
    assert result.exit_code == 0, result.output
    (page,) = [path for path in folders.rglob("*.html") if "two" in path.read_text()]
    text = page.read_text()
    assert "Not compared, because definitions differ: pixcorr is" in text
    assert "pixcorr v1, 512 px" in text
