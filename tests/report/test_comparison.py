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
    """Two runs, of two subjects, that share the pictures 2 to 11."""
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


def test_runs_are_compared_picture_by_picture(folders):
    result = command("compare", "one", "two")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1] == "Differences: one-two-comparison"
    assert "Means over the 10 pictures that all have scored" in result.stdout
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


def test_evaluations_are_compared_whatever_their_pictures_are_called(tmp_path, monkeypatch):
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
        (("compare", "one", "nobody"), "nobody has no scores.csv; name a folder"),
        (("compare", "one", "apart"), "one and apart have no metric of two or more stimuli"),
        (("pool", "one"), "one is one subject; name the runs of two"),
        (("pool", "one", "one"), "one is a second one of subj01"),
        (("pool", "one", "nobody"), "nobody has no metrics.json"),
    ],
)
def test_what_cannot_be_compared_or_pooled_is_said(folders, arguments, words):
    make_run(folders / "apart", 3, ids=["a", "b", "c"])
    assert words in sentence(command(*arguments))
    assert not list(folders.glob("*comparison"))
    assert not (folders / "pooled.json").exists()
