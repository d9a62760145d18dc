"""The imagery session read back by h5py, csv and Pillow alone."""

import csv

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import sparse

from vox2pix.errors import UserError
from vox2pix.phantom import imagery, scenes, simulate
from vox2pix.phantom.noise import NoiseModel
from vox2pix.seeds import rng_for

SEED = 5
SIZES = {
    "sessions": 2,
    "trials_per_session": 60,
    "n_early": 60,
    "n_ventral": 50,
    "n_shared": 6,
    "image_size": 64,
    "seed": SEED,
}
ORDER = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    cases = ["signal", "cue-only", "no-signal"]
    out = tmp_path_factory.mktemp("imagined") / "nsd"
    return simulate(out, subjects=3, imagery=cases, nifti=True, **SIZES)


def table(root, subject, run):
    path = root / f"nsddata/bdata/nsdimagery/nsdimagery_subj{subject:02d}_{run}.tsv"
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def volume(root, subject):
    folder = root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm"
    path = folder / "nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.hdf5"
    with h5py.File(path) as file:
        assert file["betas"].dtype == np.int16
        return file["betas"][:] / 300


def letters_in_order(root, subject):
    """Return (run, event, letter) of each beta, from the twelve tables."""
    rows = []
    for run in ORDER:
        events = ("cue", "detection") if run.startswith("att") else (run[:3],)
        rows += [(run, e, row["CONDITION"]) for row in table(root, subject, run) for e in events]
    return rows


@pytest.mark.parametrize(("subject", "case"), [(1, "signal"), (2, "cue-only"), (3, "no-signal")])
def test_betas_are_gain_times_signal_plus_cue_plus_noise(root, subject, case):
    rows = letters_in_order(root, subject)
    assert len(rows) == 720
    letters = [set_ + letter for set_ in imagery.SETS for letter in imagery.SETS[set_]]
    with h5py.File(root / f"truth/subj{subject:02d}.h5") as truth:
        space = truth["func1pt8mm"]
        group, stream = space["imagery"], space["stream"][:]
        assert group.attrs["case"] == case
        signal, cues, gain = group["signal"][:], group["cues"][:], group["gain"][:]
        assert gain.max() == (np.float32(0.8) if case == "signal" else 0)
        assert (gain[stream == 1] < gain.max()).all() or case != "signal"
        stored = space["noise/smoothing"]
        smoothing = sparse.csr_matrix(
            (stored["data"][:], stored["indices"][:], stored["indptr"][:])
        )
        noise = NoiseModel(space["noise/sd"][:], smoothing, **dict(space["noise"].attrs))
        lengths = [96 if run.startswith("att") else 48 for run in ORDER]
        rng = rng_for(SEED, "imagery noise", subject, "func1pt8mm")
        expected = noise.draw_session(lengths, rng) + space["baseline"][:]
        cue_gain = 0.7 if case == "cue-only" else 0.15
        for row, (run, event, letter) in enumerate(rows):
            k = letters.index(run[3] + letter)
            if event == "vis":
                expected[row] += signal[k]
            elif event == "img":
                expected[row] += gain * signal[k] + cue_gain * cues[k]
            elif event == "cue":
                expected[row] += cue_gain * cues[k]
            else:
                expected[row] += 0.5 * group["detection"][:]
        i, j, k = space["index"][:].T
    betas = volume(root, subject)
    assert np.abs(betas[:, k, j, i] - expected).max() <= 0.5 / 300 + 1e-5


def test_every_stimulus_is_seen_8_times_and_imagined_16_times(root):
    for set_, letters in imagery.SETS.items():
        for runs, n in (((f"vis{set_}",), 8), ((f"img{set_}_1", f"img{set_}_2"), 16)):
            shown = [row["CONDITION"] for run in runs for row in table(root, 1, run)]
            assert {letter: shown.count(letter) for letter in letters} == dict.fromkeys(letters, n)


def test_signals_of_scenes_are_those_of_the_experiment(root):
    """Up to the scale of the standard scores, which the imagined stimuli take part in."""
    with h5py.File(root / "truth/subj01.h5") as truth:
        space, rows = truth["func1pt8mm"], truth["nsd_id"][:].tolist()
        names = [row["IMAGEFILE"] for row in table(root, 1, "visB")]
        letters = [row["CONDITION"] for row in table(root, 1, "visB")]
        own = dict(zip(letters, names, strict=True))
        responsive = space["responsive"][:]
        baseline = space["baseline"][:][responsive]
        for k, letter in enumerate("WKBCD"):
            nsd_id = int(own[letter][-9:-4]) - 1
            seen = space["responses"][rows.index(nsd_id)] - baseline
            imagined = space["imagery/signal"][6 + k][responsive]
            assert np.corrcoef(seen, imagined)[0, 1] > 0.97
        concepts = space["imagery/signal"][12:][:, space["stream"][:] == 1]
        assert np.ptp(concepts, axis=0).max() < 1e-5  # nothing of a concept is in early cortex


def test_images_are_named_and_drawn_as_nsd_imagery_does(root):
    folder = root / "nsddata/experiments/nsdimagery/rawtargetimages"
    assert sorted(path.name[:9] for path in (folder / "setA").iterdir()) == [
        *("bar_000.0", "bar_045.0", "bar_090.0", "bar_135.0", "cross_000", "cross_045"),
    ]
    upright = np.asarray(Image.open(folder / "setA/bar_000.0deg_450L_43W.png"))
    lying = np.asarray(Image.open(folder / "setA/bar_090.0deg_450L_43W.png"))
    np.testing.assert_array_equal(upright, lying.transpose(1, 0, 2))
    dark = upright[..., 0] < 100
    assert np.ptp(np.flatnonzero(dark.any(axis=1))) > 3 * np.ptp(np.flatnonzero(dark.any(axis=0)))
    files = sorted((folder / "setB").iterdir())
    assert files[0].name == "shared0000_nsd00000.png"
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as stimuli:
        for path in files[1:]:
            row = int(path.stem[-5:]) - 1
            np.testing.assert_array_equal(np.asarray(Image.open(path)), stimuli["imgBrick"][row])
        n_stimuli = len(stimuli["imgBrick"])
    with h5py.File(root / "truth/subj01.h5") as truth:
        unseen = scenes.render(scenes.scene(n_stimuli, int(truth.attrs["scene_seed"])), 64)
    drawn = np.asarray(Image.open(files[0])) / 255
    np.testing.assert_allclose(drawn, unseen, atol=0.5 / 255 + 1e-6)


def test_the_other_sessions_do_not_change(root, tmp_path):
    plain = simulate(tmp_path / "nsd", subjects=3, nifti=True, **SIZES)
    files = {p.relative_to(plain) for p in plain.rglob("*") if p.is_file() and p.suffix != ".h5"}
    assert len(files) > 30
    for name in files:
        if name.name != ".vox2pix.json":
            assert (plain / name).read_bytes() == (root / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imagery": "dreams"}, "The imagery cannot be 'dreams'"),
        ({"imagery": ["signal", "signal"]}, "2 cases of 1 subjects"),
        ({"imagery": "signal", "n_shared": 4}, "needs 5 shared images"),
    ],
)
def test_impossible_imagery_is_refused(options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        simulate(tmp_path / "nsd", **(SIZES | options))
    assert not (tmp_path / "nsd").exists()


def test_imagery_of_own_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="drawn scenes"):
        simulate(tmp_path / "nsd", images=tmp_path, captions=tmp_path, imagery="signal", **SIZES)
