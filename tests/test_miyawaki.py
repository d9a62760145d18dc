"""Real responses: what the decoder reads from V1, and that the measure is fair."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vox2pix
from vox2pix.data import Subject, open_folder

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def miyawaki() -> ModuleType:
    """Return the benchmark as a module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))  # where it finds what benchmarks share
    path = ROOT / "benchmarks" / "miyawaki.py"
    spec = importlib.util.spec_from_file_location("miyawaki", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["miyawaki"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def subject(
    miyawaki: ModuleType, miyawaki_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Subject:
    folder = tmp_path_factory.mktemp("own") / "miyawaki"
    return open_folder(miyawaki.write_folder(miyawaki_dir / "figures.npz", folder))


def test_the_folder_holds_what_was_measured_and_seen(subject: Subject, miyawaki_dir: Path) -> None:
    with np.load(miyawaki_dir / "figures.npz") as arrays:
        np.testing.assert_array_equal(subject.train.betas("V1"), arrays["responses"])
        np.testing.assert_array_equal(subject.train.stimulus_rows, arrays["stimulus_index"])
        images = subject.images(subject.train.stimulus_ids)
        assert images.shape == (10, 80, 80, 3)
        np.testing.assert_array_equal(images[:, 4::8, 4::8, 1], arrays["stimuli"])


def test_pixels_are_no_worse_than_by_plain_ridge(miyawaki: ModuleType, subject: Subject) -> None:
    decoded = miyawaki.decode(subject)
    figures = {(f.features, f.held_out): f for f in decoded.figures}
    for held_out, least in (("pattern", 0.82), ("block", 0.98)):
        ours, plain = (figures[name, held_out] for name in ("pixels", "pixels, plain ridge"))
        assert ours.original.value >= least
        assert ours.less_mean.value >= least
        for measure in ("original", "reconstruction", "less_mean"):
            score, other = getattr(ours, measure), getattr(plain, measure)
            assert score.value >= other.value - 0.01
            assert score.ci_low <= score.value <= score.ci_high
            assert len(score.by_pattern) == 10
    assert figures["pixels", "block"].reconstruction.value >= 0.98
    assert decoded.images["pixels, pattern out"].shape == (10, 10, 10, 3)


def test_identification_against_a_plain_count(miyawaki: ModuleType) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4, 7)).astype(np.float32)
    rows = np.array([2, 0, 1, 3, 3, 1, 0, 2])
    predicted = truth[rows] + rng.normal(size=(8, 7)).astype(np.float32)
    scores = miyawaki._identification(truth, predicted, rows, "reconstruction")
    for k in range(4):
        wins = []
        for trial in np.flatnonzero(rows == k):
            r = [np.corrcoef(predicted[trial], row)[0, 1] for row in truth]
            wins += [r[k] > r[j] for j in range(4) if j != k]
        assert scores[k] == pytest.approx(np.mean(wins))


def test_responses_that_know_nothing_are_at_chance_less_the_mean(
    miyawaki: ModuleType, subject: Subject
) -> None:
    X, rows = subject.train.betas("V1"), subject.train.stimulus_rows
    Y = subject.images(subject.train.stimulus_ids, size=10)[..., 0].round().reshape(10, -1)
    uninformed = miyawaki.training_means(Y, rows, rows)
    rng = np.random.default_rng(0)
    less, left_in = [], []
    for _ in range(10):
        predicted = miyawaki.plain_ridge(rng.permutation(X), Y, rows, rows)
        kind = "reconstruction"
        less.append(miyawaki._identification(Y, predicted - uninformed, rows, kind).mean())
        left_in.append(miyawaki._identification(Y, predicted, rows, kind).mean())
    assert np.mean(less) == pytest.approx(0.5, abs=0.04)
    assert np.mean(left_in) < 0.45


def test_no_data_is_one_sentence(
    miyawaki: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(vox2pix.UserError, match=r"there is no file .*figures\.npz: give the V1"):
        miyawaki.write_folder(tmp_path / "figures.npz", tmp_path / "own")
    assert miyawaki.main(["--model", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("miyawaki: There is no model folder")
    assert error.count("\n") == 1


def test_z_of_the_phantoms_model(
    miyawaki: ModuleType,
    miyawaki_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = Path(shutil.copy(miyawaki_dir / "figures.npz", tmp_path))
    sheet = tmp_path / "sheets" / "miyawaki.png"
    assert miyawaki.main(["--data", str(data), "--out", str(sheet), "--json"]) == 0
    assert sheet.is_file()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["benchmark"] == "miyawaki"
    assert told["machine"]["python"]
    value = {(f["features"], f["held_out"]): f["original"]["value"] for f in told["figures"]}
    for features in ("z", "z-decode"):
        assert value[features, "pattern"] > 0.75
        assert value[features, "block"] > 0.95
