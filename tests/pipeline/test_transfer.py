"""A run's decoders applied to a simulated imagery session, every result built again."""

import csv
import json
from dataclasses import replace
from itertools import permutations

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import vox2pix
from pipeline.conftest import Recorder
from vox2pix.cli.app import app
from vox2pix.data import open_nsd_imagery
from vox2pix.data.origin import Origin
from vox2pix.data.reports import read_reports
from vox2pix.errors import UserError
from vox2pix.generation import ReconstructionSettings
from vox2pix.pipeline.experiment import features
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import do_stages
from vox2pix.pipeline.transfer import STAGES, _5_identify
from vox2pix.pipeline.transferring import matching_voxels, open_transfer, responses
from vox2pix.report.transfer import verdicts, write_transfer_page
from vox2pix.seeds import seed_for
from vox2pix.store import RunFolder, load_arrays, write_json

ROIS = {"z": "early", "c": "ventral"}
ORDER = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
TASKS = {"vis": "vision", "img": "imagery", "cue": "attention-cue"}


def simulated(root, case):
    """Simulate the subject of the small run again, with an imagery session."""
    return vox2pix.simulate(
        root, sessions=2, trials_per_session=60, n_shared=8, n_early=60, n_ventral=60, imagery=case
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("imagined") / "nsd", "signal")


@pytest.fixture(scope="module")
def moved(small_run, tree, tmp_path_factory):
    """A transfer, what its reporter was told, and its record."""
    recorder = Recorder()
    out = tmp_path_factory.mktemp("moved") / "imagery"
    done = vox2pix.transfer(small_run[0].path, tree, out, reporter=recorder)
    return done, recorder, json.loads((done.path / "transfer.json").read_text())


def begun(source, subject, out, n_stages, standardise="none", reports=None):
    """Do the first stages of a transfer."""
    run = Run(source.config, RunFolder(out))
    run.transfer = open_transfer(source, subject, standardise, reports)
    with run.folder.lock():
        do_stages(STAGES[:n_stages], run)
    return run


@pytest.fixture(scope="module")
def session(small_run, tree):
    """Read (task, set, stimulus) of each beta, and betas of the run's voxels, by csv and h5py."""
    rows = []
    for run in ORDER:
        path = tree / f"nsddata/bdata/nsdimagery/nsdimagery_subj01_{run}.tsv"
        with path.open() as file:
            letters = [row["CONDITION"] for row in csv.DictReader(file, delimiter="\t")]
        events = ("cue", "detection") if run.startswith("att") else (run[:3],)
        rows += [
            (TASKS.get(event, event), run[3], f"{run[3]}-{letter}")
            for letter in letters
            for event in events
        ]
    folder = tree / "nsddata_betas/ppdata/subj01/func1pt8mm"
    with h5py.File(folder / "nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.hdf5") as file:
        volume = file["betas"][:] / np.float32(300)
    x, y, z = small_run[0].subject.voxels[["x", "y", "z"]].to_numpy().T
    return np.array(rows), volume[:, z, y, x]


def decoded_again(run, name, betas):
    """Apply the run's decoder by hand."""
    arrays = load_arrays(run.path / f"decoders/{name}.safetensors")
    here = run.subject.voxels[ROIS[name]].to_numpy(bool)
    return (betas[:, here] - arrays["offset"]) @ arrays["coef"].T + arrays["mean"]


@pytest.mark.parametrize("name", ["z", "c"])
def test_trials_are_decoded_by_the_runs_decoder(small_run, moved, session, name):
    found = load_arrays(moved[0].path / f"decoded/{name}.safetensors")["predicted"]
    expected = decoded_again(small_run[0], name, session[1])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert np.ptp(expected, axis=0).max() > 0.1
    assert np.abs(expected[1:] - expected[:-1]).max(axis=1).min() > 0.01


def test_moments_are_those_of_the_training_trials(small_run, moved):
    found = load_arrays(moved[0].path / "decoded/training.safetensors")
    betas = small_run[0].subject.train.betas().astype(float)
    np.testing.assert_allclose(found["mean"], betas.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["sd"], betas.std(axis=0), rtol=1e-5)
    assert not found["empty"].any()


def test_shift_is_that_of_the_trials_of_a_task(small_run, moved, session):
    rows, betas = session
    train = small_run[0].subject.train.betas("early").astype(float)
    here = small_run[0].subject.voxels["early"].to_numpy(bool)
    for task in ("vision", "imagery", "attention-cue"):
        own = betas[rows[:, 0] == task][:, here]
        z = (own.mean(axis=0) - train.mean(axis=0)) / train.std(axis=0)
        spread = own.std(axis=0) / train.std(axis=0)
        found = moved[2]["reliability"]["regions"]["early"]["shift"][task]
        np.testing.assert_allclose(found["mean"], np.quantile(z, [0.05, 0.5, 0.95]), rtol=1e-3)
        np.testing.assert_allclose(
            found["spread"], np.quantile(spread, [0.05, 0.5, 0.95]), rtol=1e-3
        )


def test_verdict_is_over_the_regions_and_sets_of_the_run(moved):
    record = moved[2]["reliability"]
    assert set(record["regions"]) == {"early", "ventral"} == set(record["verdict"]["regions"])
    for region in record["regions"].values():
        assert {t: r["n_half"] for t, r in region["reliability"].items()} == {
            "vision": 4, "imagery": 4, "attention-cue": 4,
        }  # fmt: skip
        assert region["reliability"]["imagery"]["n_stimuli"] == 18
        assert region["reliability"]["imagery"]["across_runs"]
        assert not region["reliability"]["vision"]["across_runs"]
    for own in record["verdict"]["regions"].values():
        assert 0 <= own["p_signal"] <= 1
        assert own["p_cue"] is not None
    assert any("Imagery:" in line for line in moved[1].lines)


def pairwise_by_loops(true, decoded, own):
    r = np.corrcoef(true, decoded)[: len(true), len(true) :]
    n = len(true)
    return np.mean([[r[i, own[i]] > r[i, own[j]] for j in range(n) if j != i] for i in range(n)])


@pytest.mark.parametrize("task", ["vision", "imagery", "attention-cue"])
def test_identification_is_that_of_loops(small_run, tree, moved, session, task):
    rows, betas = session
    predicted = decoded_again(small_run[0], "z", betas)
    mean = load_arrays(small_run[0].path / "decoders/z.safetensors")["mean"]
    scores, nulls = [], []
    for set_, letters in (("A", "EHLPRV"), ("B", "BCDKTW")):
        ids = [f"{set_}-{letter}" for letter in letters]
        true = small_run[0].model.encode_images(imagery_images(tree, ids)).reshape(6, -1)
        own = [predicted[(rows[:, 0] == task) & (rows[:, 2] == i)].mean(axis=0) for i in ids]
        both = true - mean, np.stack(own) - mean
        scores.append(pairwise_by_loops(*both, range(6)))
        nulls.append([pairwise_by_loops(*both, p) for p in permutations(range(6))])
    found = next(
        r
        for r in moved[2]["identification"]["targets"]["z"]["results"]
        if (r["task"], r["way"], r["pool"], r["fixed"]) == (task, "pairwise", "set", "true")
    )
    assert found["score"]["value"] == pytest.approx(np.mean(scores), abs=0.02)
    null = np.add.outer(*map(np.array, nulls))
    assert found["p"] == pytest.approx(np.mean(null >= sum(scores) - 1e-9), abs=0.05)
    assert found["n_stimuli"] == 12


def imagery_images(tree, ids):
    subject = open_nsd_imagery(tree)
    return np.stack(
        [
            np.asarray(
                Image.open(subject.stimulus_source.files[i]).resize(
                    (64, 64), Image.Resampling.LANCZOS
                )
            )
            / np.float32(255)
            for i in ids
        ]
    )


def test_images_are_drawn_from_mean_responses_with_the_noise_of_the_stimulus(
    small_run, moved, session
):
    run, (rows, betas) = small_run[0], session
    ids = sorted({str(i) for i in rows[:, 2]})
    assert moved[2]["drawn"] == {"vision": ids, "imagery": ids}
    found = load_arrays(moved[0].path / "images/transfer.safetensors")
    chosen = [ids.index("B-W"), ids.index("C-N")]
    values = {}
    for name, shape in (
        ("z", (-1, *run.model.latent_shape)),
        ("c", (-1, *run.model.conditioning_shape)),
    ):
        decoded = decoded_again(run, name, betas)
        means = [
            decoded[(rows[:, 0] == "imagery") & (rows[:, 2] == ids[k])].mean(axis=0) for k in chosen
        ]
        values[name] = np.stack(means).reshape(shape)
    expected = vox2pix.reconstruct(
        run.model,
        values,
        seeds=[[seed_for(0, "picture", ids[k], s) for s in range(2)] for k in chosen],
        settings=ReconstructionSettings(steps=3, samples=2),
    )
    difference = np.abs(found["imagery"][chosen] / 255 - expected)
    assert np.quantile(difference, 0.99) < 0.01
    assert np.abs(expected[0] - expected[1]).mean() > 0.02


def test_what_is_done_is_reused_and_another_standardisation_decodes_again(small_run, tree, moved):
    again, before = Recorder(), load_arrays(moved[0].path / "decoded/z.safetensors")["predicted"]
    vox2pix.transfer(small_run[0].path, tree, moved[0].path, reporter=again)
    assert [line for line in again.lines if line.endswith("already done")] == [
        f"{title}: already done"
        for title in ("Data", "Decoding", "Reliability", "Drawing", "Identification", "Report")
    ]
    other = begun(small_run[0], open_nsd_imagery(tree), moved[0].path.with_name("by-run"), 2, "run")
    found = load_arrays(other.path / "decoded/z.safetensors")["predicted"]
    run = open_nsd_imagery(tree).trials["run"].to_numpy()
    train_mean = load_arrays(other.path / "decoded/z.safetensors")["mean"]
    for r in (1, 2):  # by run, the mean response is that of training
        np.testing.assert_allclose(found[run == r].mean(axis=0), train_mean, atol=1e-3)
    assert np.abs(found - before).max() > 0.01


def test_imagery_without_signal_is_open_and_its_images_are_no_reconstructions(
    small_run, moved, tmp_path
):
    subject = open_nsd_imagery(simulated(tmp_path / "nsd", "no-signal"))
    done = begun(small_run[0], subject, tmp_path / "out", 3)
    reliability = json.loads((done.path / "reliability.json").read_text())
    assert reliability["verdict"]["answer"] == "open"
    record = moved[2] | {"reliability": reliability}
    write_json(done.path / "transfer.json", record)
    images = load_arrays(moved[0].path / "images/transfer.safetensors")
    page = write_transfer_page(done.path, images).read_text()
    assert "It cannot be told whether imagery is decoded" in page
    assert "<b>Not reconstructions.</b>" in page
    # every stimulus with every sample of both tasks, and the true images
    assert page.count("<img") == 12 + 2 * 18 * 2


def test_a_subject_without_tasks_has_its_test_trials_decoded(small_run, tmp_path):
    run = small_run[0]
    done = vox2pix.transfer(run.path, run.subject, tmp_path / "own")
    record = json.loads((done.path / "transfer.json").read_text())
    assert record["tasks"] == {"seen": "other responses"}
    assert record["drawn"]["seen"] == list(run.test_ids)
    assert record["reliability"]["verdict"] is None
    means = load_arrays(done.path / "decoded/c.safetensors")["predicted"]
    table = run.subject.trials
    own = [means[(table["stimulus_id"] == i).to_numpy()].mean(axis=0) for i in run.test_ids]
    expected = load_arrays(run.path / "decoded/c.safetensors")["predicted"].reshape(8, -1)
    np.testing.assert_allclose(own, expected, atol=1e-3)
    assert "not named as imagery" in (done.path / "transfer.html").read_text()


def changed(subject, what):
    voxels, moved = subject.voxels, np.eye(4)
    if what == "voxel":
        return replace(subject, voxels=voxels.drop(index=3).reset_index(drop=True))
    if what == "columns":
        return replace(subject, voxels=voxels.drop(columns=["y"]))
    if what == "affine":
        return replace(subject, affine=subject.affine + moved)
    if what == "unit":
        return replace(subject, origin=replace(subject.origin, unit="z-scores"))
    if what == "name":
        return replace(subject, name="subj02")
    if what == "space":
        return replace(subject, space="func1mm")
    return replace(subject, shape=(4, 4, 4))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("voxel", r"it has no voxel \d+, \d+, \d+ \(x, y, z; 1 of \d+ are missing\)"),
        ("columns", "no column y"),
        ("affine", "its affine places voxels elsewhere"),
        ("unit", "its responses are in z-scores, theirs in percent"),
        ("name", "subj02 cannot be decoded by decoders of subj01: decoders belong to the voxels"),
        ("space", "its space is func1mm, theirs is func1pt8mm"),
        ("shape", r"its grid is \(4, 4, 4\)"),
    ],
)
def test_voxels_that_do_not_match_are_refused_by_name(small_run, tmp_path, what, message):
    subject = small_run[0].subject
    with pytest.raises(UserError, match=message):
        vox2pix.transfer(small_run[0].path, changed(subject, what), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_voxels_are_found_by_where_they_are(small_run):
    subject = small_run[0].subject
    order = np.random.default_rng(0).permutation(len(subject.voxels))
    mixed = replace(subject, voxels=subject.voxels.iloc[order].reset_index(drop=True))
    rows, notes = matching_voxels(subject, mixed)
    np.testing.assert_array_equal(order[rows], np.arange(len(order)))
    assert notes == ()
    own = replace(mixed, name="anna", origin=Origin(unit=subject.origin.unit))
    assert matching_voxels(subject, own)[1] == ("anna is taken for the same person as subj01.",)


def test_tables_without_places_must_be_the_same(small_run):
    subject = small_run[0].subject
    bare = replace(subject, voxels=subject.voxels[["early", "ventral"]])
    rows, _ = matching_voxels(bare, bare)
    np.testing.assert_array_equal(rows, np.arange(len(bare.voxels)))
    other = replace(bare, voxels=bare.voxels[::-1].reset_index(drop=True))
    with pytest.raises(UserError, match="neither says where its voxels are"):
        matching_voxels(bare, other)


def test_voxels_without_data_count_with_their_training_mean(small_run, tree, tmp_path):
    subject = open_nsd_imagery(tree, leave_out=False)
    path = small_run[0].subject
    first = tuple(path.voxels[["x", "y", "z"]].iloc[0])

    class Emptied:
        def read_session(self, session, voxels):
            betas = subject.betas_source.read_session(session, voxels)
            betas[:, self.no_data(session, voxels)] = 0
            return betas

        def no_data(self, session, voxels):
            places = subject.voxels[["x", "y", "z"]].itertuples(index=False, name=None)
            return np.array([place == first for place in places])[voxels]

    lacking = replace(subject, betas_source=Emptied())
    done = begun(small_run[0], lacking, tmp_path / "out", 3)
    notes = json.loads((done.path / "data.json").read_text())["notes"]
    assert any(note.startswith("1 of") and "training mean" in note for note in notes)
    assert (responses(done)[:, 0] == responses(done)[0, 0]).all()
    assert responses(done)[0, 0] == pytest.approx(path.train.betas()[:, 0].mean(), rel=1e-4)
    regions = json.loads((done.path / "reliability.json").read_text())["regions"]
    assert sum(region["n_voxels"] for region in regions.values()) == len(path.voxels) - 1


def test_a_run_or_an_unfinished_run_is_refused(small_run, tree, tmp_path):
    run = small_run[0]
    with pytest.raises(UserError, match="is a run: name another folder"):
        vox2pix.transfer(run.path, tree, run.path)
    with pytest.raises(UserError):
        vox2pix.transfer(tmp_path, tree)


def test_the_command_prints_verdicts_and_places(small_run, moved, tree):
    arguments = ["transfer", small_run[0].path, "--data", tree, "--out", moved[0].path]
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    printed = " ".join(result.stdout.split())
    for sentence in verdicts(moved[2]):
        assert sentence.title in printed
    assert printed.endswith("transfer.json")
    assert "Reliability: already done" in printed
    wrong = CliRunner().invoke(app, [*map(str, arguments), "--standardise", "voxel"])
    assert wrong.exit_code == 2
    assert "--standardise is 'voxel': choose none, run or session." in wrong.output


def test_words_of_dreams_are_identified_as_by_loops(small_run, tree, tmp_path):
    run = small_run[0]
    folder = tree / "dreams/func1pt8mm/subj01"
    reports = read_reports(folder / "reports.csv", 60)
    done = begun(run, vox2pix.open_folder(folder), tmp_path / "out", 2, reports=reports)
    found = _5_identify.words_record(done)
    assert set(found) == {"c"}  # z carries layout, of which words say nothing
    ids = run.subject.train.stimulus_ids
    true = features(run, "c", ids).reshape(len(ids), -1).astype(float)
    texts = [" ".join(own).lower().replace(",", " ").split() for own in run.subject.captions(ids)]
    words = sorted({word for report in reports for word in report})
    has = {word: [word in tokens for tokens in texts] for word in words}
    targets = {word: true[np.array(has[word])].mean(axis=0) for word in words if any(has[word])}
    mean = load_arrays(run.path / "decoders/c.safetensors")["mean"]
    here = run.subject.voxels["ventral"].to_numpy(bool)
    table = pd.read_csv(folder / "voxels.csv").reset_index()
    place = run.subject.voxels[["x", "y", "z"]].merge(table, on=["x", "y", "z"])["index"]
    betas = np.load(folder / "responses.npy")[:, place]
    arrays = load_arrays(run.path / "decoders/c.safetensors")
    decoded = (betas[:, here] - arrays["offset"]) @ arrays["coef"].T
    scores = []
    for row, report in zip(decoded, reports, strict=True):
        r = {word: np.corrcoef(row, target - mean)[0, 1] for word, target in targets.items()}
        own = [word for word in report if word in r]
        pairs = [r[a] > r[b] for a in own for b in r if b not in report]
        scores.append(np.mean(pairs))
    assert found["c"]["score"]["value"] == pytest.approx(np.mean(scores), abs=0.01)
    assert found["c"]["n_trials"] == 60
    assert found["c"]["missing"] == [word for word in words if not any(has[word])]
    assert any("states neither space nor unit" in note for note in done.transfer.notes)


def with_trials(subject, **columns):
    return replace(subject, trials=subject.trials.assign(**columns))


def test_what_cannot_be_decoded_is_refused_and_other_tasks_are_counted(small_run, tree):
    run, subject = small_run[0], open_nsd_imagery(tree)
    opened = open_transfer(run, subject, "none")
    assert any("144 trials of other tasks (attention-detection)" in n for n in opened.notes)
    with pytest.raises(UserError, match="has no two trials of a task"):
        open_transfer(run, with_trials(subject, task="resting"), "none")
    with pytest.raises(UserError, match="session 1 has 0 of the 2 seen trials"):
        open_transfer(run, with_trials(subject, task="imagery"), "session")
    bare = replace(subject, trials=subject.trials.drop(columns="set"))
    assert set(open_transfer(run, bare, "none").trials["set"]) == {"all"}


def test_tasks_with_different_stimuli_are_not_compared(small_run, tree, tmp_path):
    subject = open_nsd_imagery(tree)
    is_one = (subject.trials["task"] == "imagery") & (subject.trials["stimulus_id"] == "A-H")
    ids = subject.trials["stimulus_id"].mask(is_one, "A-Q")
    done = begun(small_run[0], with_trials(subject, stimulus_id=ids), tmp_path / "out", 3)
    record = json.loads((done.path / "reliability.json").read_text())
    assert record["not_computed"] == "the tasks show different stimuli of a set"
    assert record["verdict"] is None


def test_a_target_called_image_stays_apart_from_the_drawn_images(moved, monkeypatch):
    run, written = moved[0], {}
    ids = json.loads((run.path / _5_identify.TRUTH).read_text())["z"]
    monkeypatch.setattr(_5_identify, "targets", lambda source: ("z", "image"))
    monkeypatch.setattr(_5_identify, "read_json", lambda path: {"z": ids, "image": ids})
    monkeypatch.setattr(
        _5_identify, "_of_target", lambda _, name, *a: ({"results": [], "of": name}, {})
    )
    monkeypatch.setattr(
        _5_identify, "_of_images", lambda *a: {"results": [], "of": "what is drawn"}
    )
    monkeypatch.setattr(_5_identify, "words_record", lambda run: {})
    monkeypatch.setattr(_5_identify, "write_json", lambda path, record: written.update(record))
    _5_identify.IDENTIFY.work(run)
    found = {name: each["of"] for name, each in written["targets"].items()}
    assert found == {"z": "z", "image": "image", "drawn images": "what is drawn"}
