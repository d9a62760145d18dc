"""A transfer of several sessions, each of which counts its runs from 1: responses in arrays."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from pipeline.conftest import experiment
from vox2pix.data import Subject
from vox2pix.errors import UserError
from vox2pix.evaluation.transfer import reliability
from vox2pix.pipeline.exported import training_moments
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.transfer import _1_data, _3_reliability, _5_identify
from vox2pix.pipeline.transferring import MOMENTS, open_transfer, responses, trials_in
from vox2pix.store import RunFolder, save_arrays, write_json

N_VOXELS = 50


@dataclass(frozen=True)
class Arrays:
    """Responses by session."""

    betas: np.ndarray
    session: np.ndarray

    def read_session(self, session, voxels):
        return self.betas[self.session == session][:, voxels]

    def no_data(self, session, voxels):
        return np.zeros(len(voxels), bool)


@dataclass
class Stimuli:
    """Images and captions by stimulus."""

    images: dict
    texts: dict

    @property
    def has_captions(self):
        return bool(self.texts)

    def iter_pictures(self, ids):
        if not self.images:
            raise UserError("There are no images.")
        return (self.images[i] for i in ids)

    def captions(self, ids):
        return [self.texts[i] for i in ids]

    def missing_images(self, ids, faults):
        return tuple(i for i in ids if i not in self.images)

    def missing_captions(self, ids, faults):
        return tuple(i for i in ids if i not in self.texts)


def subject_of(betas, **columns):
    trials = pd.DataFrame({"split": "test", "set": "all"} | columns)
    voxels = pd.DataFrame({"x": np.arange(N_VOXELS), "early": True, "ventral": True})
    source = Arrays(betas.astype(np.float32), trials["session"].to_numpy())
    return Subject("anna", trials, voxels, "array", source, None)


def transferred(path, subject, standardise, source=None):
    """Return a transfer to responses of the same voxels, by decoders of responses of mean 0, sd 1.

    Or by those of ``source``, a run whose subject has training trials.
    """
    means, ones = np.zeros(N_VOXELS), np.ones(N_VOXELS)
    moments = {"mean": means, "sd": ones}
    if source is None:
        source = Run(experiment(), RunFolder(path))
        source.subject = subject
    else:
        moments = training_moments(source)
    run = Run(source.config, RunFolder(path))
    run.transfer = open_transfer(source, subject, standardise)
    save_arrays(path / MOMENTS, moments | {"empty": means})
    return run


@pytest.fixture
def offset():
    """Noise in two sessions of two runs, 6 stimuli twice in each; the second is 2 higher."""
    session, run, stimulus = np.indices((2, 2, 12)).reshape(3, -1)
    betas = np.random.default_rng(5).standard_normal((48, N_VOXELS))
    pattern = np.random.default_rng(6).standard_normal(N_VOXELS)
    return subject_of(
        betas + 2 * pattern * session[:, None],
        stimulus_id=[f"s{i % 6}" for i in stimulus],
        session=session + 1,
        run=run + 1,
        task=np.where(stimulus < 6, "vision", "imagery"),
    )


def test_each_run_of_each_session_is_standardised_by_itself(offset, tmp_path):
    run = transferred(tmp_path, offset, "run")
    found, table = responses(run), offset.trials
    for _, own in table.groupby(["session", "run"]):
        np.testing.assert_allclose(found[own.index].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(found[own.index].std(axis=0), 1, atol=1e-4)


def test_each_session_is_standardised_by_its_own_seen_trials(offset, tmp_path):
    run = transferred(tmp_path, offset, "session")
    found, table = responses(run), offset.trials
    for _, own in table.groupby("session"):
        seen = own.index[own["task"] == "vision"]
        x, y = offset.betas_source.betas[own.index], offset.betas_source.betas[seen]
        np.testing.assert_allclose(
            found[own.index], (x - y.mean(axis=0)) / y.std(axis=0), rtol=1e-3, atol=1e-4
        )


def test_an_offset_between_sessions_is_no_reliability(tmp_path):
    # Half of the stimuli are shown more often in one session, the others in the other.
    shown = np.array([[0, 0, 1, 1, 2, 2, 3, 4, 5], [0, 1, 2, 3, 3, 4, 4, 5, 5]])
    session, run, place = np.indices((2, 2, 9)).reshape(3, -1)
    rng = np.random.default_rng(5)
    noise, pattern = rng.standard_normal((36, N_VOXELS)), rng.standard_normal(N_VOXELS)
    subject = subject_of(
        noise + 2 * pattern * session[:, None],
        stimulus_id=[f"s{i}" for i in shown[session, place]],
        session=session + 1,
        run=run + 1,
        task="vision",
    )
    done = transferred(tmp_path, subject, "none")
    (trials,) = trials_in(done, "vision", subject.betas_source.betas).values()
    np.testing.assert_array_equal(np.unique(trials.run, return_counts=True)[1], [9, 9, 9, 9])
    assert abs(reliability([trials]).mean.value) < 0.2


@pytest.mark.parametrize(
    ("standardise", "columns", "message"),
    [
        ("run", {"run": [1, 1, 2, 1, 1, 1]}, "anna, session 1, run 2 has 1 of the 2 trials that"),
        (
            "session",
            {"task": ["vision"] * 3 + ["imagery"] * 2 + ["vision"]},
            "anna, session 2 has 1 of the 2 seen trials that --standardise session",
        ),
    ],
)
def test_too_few_trials_are_refused_by_where_they_are(tmp_path, standardise, columns, message):
    table = {
        "stimulus_id": list("abcabc"), "session": [1, 1, 1, 2, 2, 2], "run": 1, "task": "vision",
    }  # fmt: skip
    subject = subject_of(np.ones((6, N_VOXELS)), **table | columns)
    with pytest.raises(UserError, match=message):
        transferred(tmp_path, subject, standardise)


def test_trials_of_no_named_task_are_counted(tmp_path):
    subject = subject_of(
        np.ones((6, N_VOXELS)), stimulus_id=list("abcabc"), session=1, run=1,
        task=["vision", "vision", "imagery", "imagery", "", "resting"],
    )  # fmt: skip
    run = transferred(tmp_path, subject, "none")
    assert run.transfer.notes == ("2 trials of other tasks (resting, unnamed) are not decoded.",)


def test_decoders_of_standardised_responses_meet_shifted_ones_in_both_units(tmp_path):
    rng = np.random.default_rng(3)
    trained = 100 + 5 * rng.standard_normal((80, N_VOXELS)) + np.repeat([0, 40], 40)[:, None]
    source = Run(experiment(decode={"standardize": "session"}), RunFolder(tmp_path))
    source.subject = subject_of(
        trained, stimulus_id=[f"t{i}" for i in range(80)], session=np.repeat([1, 2], 40), run=1,
        split="train",
    )  # fmt: skip
    other = subject_of(
        130 + 10 * rng.standard_normal((24, N_VOXELS)), stimulus_id=list("abcdef" * 4),
        session=1, run=np.repeat([1, 2, 3, 4], 6), task="vision",
    )  # fmt: skip
    run = transferred(tmp_path, other, "session", source)
    met = responses(run)  # in the unit of decoders: standard deviations of a session
    np.testing.assert_allclose(met.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(met.std(axis=0), 1, atol=1e-4)
    _3_reliability.RELIABILITY.work(run)
    found = json.loads((tmp_path / "reliability.json").read_text())["regions"]["early"]["shift"]
    x = other.betas_source.betas.astype(float)
    z = (x.mean(axis=0) - trained.mean(axis=0)) / trained.std(axis=0)
    spread = x.std(axis=0) / trained.std(axis=0)
    levels = [0.05, 0.5, 0.95]
    np.testing.assert_allclose(found["vision"]["mean"], np.quantile(z, levels), rtol=1e-3)
    np.testing.assert_allclose(found["vision"]["spread"], np.quantile(spread, levels), rtol=1e-3)
    assert np.median(z) < 1 < np.median(other.betas_source.betas)


def test_whatever_a_stimulus_shows_is_an_input(tmp_path):
    grey = {i: np.full((4, 4, 3), k, np.uint8) for k, i in enumerate("bc")}
    subject = replace(
        subject_of(
            np.ones((6, N_VOXELS)), stimulus_id=list("abcabc"), session=1, run=1, task="vision"
        ),
        stimulus_source=Stimuli(dict(grey), {}),
    )
    run, shown = transferred(tmp_path, subject, "none"), subject.stimulus_source
    seen = [_1_data.DATA.inputs(run)]
    for change in (
        lambda: shown.images.update(a=grey["b"]),
        lambda: shown.images.update(b=grey["c"]),
        lambda: shown.images.update(b=grey["c"][:2]),
        lambda: shown.texts.update(a=("One.",)),
        lambda: shown.texts.update(a=("One.", "Two.")),
    ):
        change()
        seen.append(_1_data.DATA.inputs(run))
        assert seen[-1] not in seen[:-1]
    assert _1_data.DATA.inputs(run) == seen[-1]
    changed = {key for key in seen[2] if seen[2][key] != seen[1][key]}
    assert changed == {"image of b"}
    shown.images.clear()
    shown.texts.clear()
    assert set(_1_data.DATA.inputs(run)) == {"responses", "trials", "decoders"}


def test_true_values_are_found_by_their_stimuli(tmp_path, monkeypatch):
    ids = list("abcdef")
    subject = replace(
        subject_of(np.ones((12, N_VOXELS)), stimulus_id=ids * 2, session=1, run=1, task="vision"),
        stimulus_source=Stimuli({}, {}),
    )
    run = transferred(tmp_path, subject, "none")
    true = np.random.default_rng(1).standard_normal((6, 30)).astype(np.float32)
    order = [4, 0, 3, 1, 5, 2]
    arrays = {"predicted": np.tile(true, (2, 1)), "mean": np.zeros(30, np.float32)}
    save_arrays(tmp_path / "decoded/z.safetensors", arrays | {"true": true[order]})
    write_json(tmp_path / "decoded/truth.json", {"z": [ids[k] for k in order]})
    monkeypatch.setattr(_5_identify, "targets", lambda source: {"z": None})
    _5_identify.IDENTIFY.work(run)
    found = json.loads((tmp_path / "identification.json").read_text())
    assert {each["score"]["value"] for each in found["targets"]["z"]["results"]} == {1.0}
