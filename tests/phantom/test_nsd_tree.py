"""The tree read back by an NSD reader of its own, from h5py, nibabel and scipy alone."""

import csv
import json
from collections import Counter

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
from scipy import sparse

from vox2pix.phantom import nsd_tree, simulate
from vox2pix.phantom.noise import NoiseModel
from vox2pix.phantom.scenes import captions, render, scene
from vox2pix.seeds import rng_for
from vox2pix.store import MARKER

BETAS = "betas_fithrf_GLMdenoise_RR"
N_SUBJECTS, SESSIONS, TRIALS, REPEATS, SHARED = 2, 2, 90, 3, 6
SEED = 11


class PlainReader:
    """What any NSD script does, written from NSD's manual."""

    def __init__(self, root, subject):
        self.root, self.subject, self.name = root, subject, f"subj{subject:02d}"
        self.design = scipy.io.loadmat(root / "nsddata/experiments/nsd/nsd_expdesign.mat")

    def responses(self):
        path = self.root / f"nsddata/ppdata/{self.name}/behav/responses.tsv"
        with path.open() as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def stimulus_info(self):
        with (self.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").open() as file:
            return list(csv.DictReader(file))

    def volume(self, name):
        return np.asarray(nib.load(self.root / name).dataobj)

    def roi(self, name):
        return self.volume(f"nsddata/ppdata/{self.name}/func1pt8mm/roi/{name}.nii.gz")

    def ncsnr(self):
        folder = f"nsddata_betas/ppdata/{self.name}/func1pt8mm/{BETAS}"
        return self.volume(f"{folder}/ncsnr.nii.gz")

    def betas(self, session):
        """Trials by X by Y by Z, percent signal change."""
        folder = self.root / f"nsddata_betas/ppdata/{self.name}/func1pt8mm/{BETAS}"
        with h5py.File(folder / f"betas_session{session:02d}.hdf5") as file:
            stored = file["betas"]
            assert stored.dtype == np.int16
            return stored[:].transpose(0, 3, 2, 1) / 300

    def surface(self, name, session):
        folder = self.root / f"nsddata_betas/ppdata/{self.name}/fsaverage5/{BETAS}"
        sides = [nib.load(folder / f"{h}.{name}_session{session:02d}.mgh") for h in ("lh", "rh")]
        return [np.asarray(side.dataobj) for side in sides]

    def label_names(self, atlas, who=None):
        path = self.root / f"nsddata/freesurfer/{who or self.name}/label/{atlas}.mgz.ctab"
        return {int(line.split()[0]): line.split()[1] for line in path.read_text().splitlines()}


def truth_of(root, subject):
    return h5py.File(root / f"truth/subj{subject:02d}.h5")


def noise_of(group, seed, subject, space, session):
    """Redraw a session's noise from the truth file alone."""
    stored = group["noise/smoothing"]
    smoothing = sparse.csr_matrix((stored["data"][:], stored["indices"][:], stored["indptr"][:]))
    model = NoiseModel(group["noise/sd"][:], smoothing, **dict(group["noise"].attrs))
    rng = rng_for(seed, "noise", subject, space, session)
    return model.draw_session(nsd_tree.run_lengths(TRIALS), rng)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return simulate(
        tmp_path_factory.mktemp("phantom") / "nsd",
        subjects=N_SUBJECTS,
        sessions=SESSIONS,
        seed=SEED,
        space="both",
        n_early=80,
        n_ventral=60,
        trials_per_session=TRIALS,
        repeats=REPEATS,
        n_shared=SHARED,
        image_size=64,
    )


@pytest.mark.parametrize("subject", [1, 2])
def test_volume_betas_are_truth_plus_noise_rounded_to_a_300th(root, subject):
    reader = PlainReader(root, subject)
    brain_mask = reader.volume(f"nsddata/ppdata/{reader.name}/func1pt8mm/brainmask.nii.gz")
    images = np.array([int(row["10KID"]) - 1 for row in reader.responses()])
    with truth_of(root, subject) as truth:
        group = truth["func1pt8mm"]
        i, j, k = group["index"][:].T
        responsive = group["responsive"][:]
        for session in range(1, SESSIONS + 1):
            volume = reader.betas(session)
            assert volume.shape == (TRIALS, *brain_mask.shape)
            assert not volume[:, brain_mask == 0].any()
            expected = noise_of(group, SEED, subject, "func1pt8mm", session)
            shown = images[(session - 1) * TRIALS : session * TRIALS]
            expected[:, responsive] += group["responses"][:][shown]
            expected[:, group["no_data"][session - 1]] = 0
            assert np.abs(volume[:, i, j, k] - expected).max() <= 0.5 / 300 + 1e-5
        assert (brain_mask[i, j, k] == 1).all() and brain_mask.sum() == len(i)


@pytest.mark.parametrize("subject", [1, 2])
def test_surface_betas_are_truth_plus_noise(root, subject):
    reader = PlainReader(root, subject)
    images = np.array([int(row["10KID"]) - 1 for row in reader.responses()])
    with truth_of(root, subject) as truth:
        group = truth["fsaverage5"]
        for session in range(1, SESSIONS + 1):
            left, right = reader.surface("betas", session)
            assert left.shape == right.shape == (10242, 1, 1, TRIALS)
            both = np.concatenate([left, right]).reshape(20484, TRIALS).T
            expected = noise_of(group, SEED, subject, "fsaverage5", session)
            shown = images[(session - 1) * TRIALS : session * TRIALS]
            expected[:, group["responsive"][:]] += group["responses"][:][shown]
            expected[:, group["no_data"][session - 1]] = np.nan
            np.testing.assert_allclose(both, expected, atol=1e-5)


def test_some_voxels_lack_data_in_a_session(root):
    with truth_of(root, 2) as truth:
        for space in ("func1pt8mm", "fsaverage5"):
            group = truth[space]
            missing, height = group["no_data"][:], group["position"][:, 2]
            n_voxels = len(height)
            assert missing.shape == (SESSIONS, n_voxels)
            lost = missing.any(axis=0)
            # the lowest voxels of the brain, and of streams that are large enough
            n_lowest = max(1, n_voxels // 400)
            assert n_lowest <= lost.sum() <= 2 * n_lowest
            assert lost[height.argsort(kind="stable")[:n_lowest]].all()
            assert missing.any(axis=1).all() and not missing.all(axis=0).all()


def test_design_tables_agree(root):
    designs = []
    for subject in (1, 2):
        reader = PlainReader(root, subject)
        design = reader.design
        n_images = SESSIONS * TRIALS // REPEATS
        order = design["masterordering"]
        assert order.shape == (1, SESSIONS * TRIALS)
        assert Counter(order[0].astype(int)) == dict.fromkeys(range(1, n_images + 1), REPEATS)
        stimuli = design["subjectim"]
        assert stimuli.shape == (N_SUBJECTS, n_images)
        np.testing.assert_array_equal(design["sharedix"][0], stimuli[subject - 1, :SHARED])
        info = reader.stimulus_info()
        assert [int(row["nsdId"]) for row in info] == list(range(int(stimuli.max())))
        assert [int(row[""]) for row in info] == list(range(len(info)))
        for trial, row in enumerate(reader.responses()):
            image = int(order[0, trial])
            assert int(row["10KID"]) == image
            assert int(row["73KID"]) == stimuli[subject - 1, image - 1]
            assert int(row["SUBJECT"]) == subject
            assert int(row["SESSION"]) == trial // TRIALS + 1
            stimulus = info[int(row["73KID"]) - 1]
            assert stimulus[f"subject{subject}"] == "1"
            shown = [int(stimulus[f"subject{subject}_rep{k}"]) for k in range(3)]
            assert trial + 1 in shown
            assert (stimulus["shared1000"] == "True") == (image <= SHARED)
        designs.append(set(stimuli[subject - 1, SHARED:]))
        assert sum(row[f"subject{subject}"] == "1" for row in info) == n_images
        assert sum(row["subject3"] == "1" for row in info) == 0
    assert not designs[0] & designs[1]


def test_responses_have_runs_and_memory(root):
    rows = PlainReader(root, 1).responses()
    assert list(rows[0])[:10] == [
        "SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT",
    ]  # fmt: skip
    lengths = nsd_tree.run_lengths(TRIALS)
    runs = Counter((row["SESSION"], int(row["RUN"])) for row in rows)
    assert runs == {(str(s), r + 1): n for s in (1, 2) for r, n in enumerate(lengths)}
    last, first = {}, {}
    for trial, row in enumerate(rows):
        image = row["10KID"]
        assert int(row["ISOLD"]) == (image in last)
        for name, earlier in (("MEMORYRECENT", last), ("MEMORYFIRST", first)):
            if image in earlier:
                assert float(row[name]) == trial - earlier[image] - 1
            else:
                assert row[name] == "NaN"
        today = image in last and last[image] // TRIALS == trial // TRIALS
        assert int(row["ISOLDCURRENT"]) == today
        said_old = row["BUTTON"] == "2"
        assert int(row["ISCORRECT"]) == (said_old == (image in last))
        assert int(row["ISCORRECTCURRENT"]) == (said_old == today)
        first.setdefault(image, trial)
        last[image] = trial


def test_images_and_captions_are_those_of_the_scenes(root):
    reader = PlainReader(root, 1)
    with truth_of(root, 1) as truth:
        seed = int(truth.attrs["scene_seed"])
    info = reader.stimulus_info()
    notes = {}
    for split in ("train2017", "val2017"):
        folder = root / "nsddata_stimuli/stimuli/nsd/annotations"
        for note in json.loads((folder / f"captions_{split}.json").read_text())["annotations"]:
            notes.setdefault((split, note["image_id"]), []).append(note["caption"])
    assert len(notes) == len(info) == len({row["cocoId"] for row in info})
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        brick = file["imgBrick"]
        assert brick.dtype == np.uint8 and brick.shape == (len(info), 64, 64, 3)
        for row in info[::17]:
            drawn = scene(int(row["nsdId"]), seed)
            expected = np.rint(render(drawn, 64) * 255)
            np.testing.assert_array_equal(brick[int(row["nsdId"])], expected)
            assert tuple(notes[row["cocoSplit"], int(row["cocoId"])]) == captions(drawn)


@pytest.mark.parametrize("subject", [1, 2])
def test_rois_are_those_of_the_truth(root, subject):
    reader = PlainReader(root, subject)
    with truth_of(root, subject) as truth:
        group = truth["func1pt8mm"]
        where = tuple(group["index"][:].T)
        for name, field in (("streams", "stream"), ("prf-visualrois", "visual_area")):
            volume = reader.roi(name)
            np.testing.assert_array_equal(volume[where], group[field][:])
            volume[where] = -1
            assert (volume == -1).all()
        np.testing.assert_array_equal(reader.roi("nsdgeneral")[where], group["stream"][:] > 0)
        up = group["early/y"][:] > 0
        area = group["visual_area"][:][group["early/voxel"][:]]
    names = reader.label_names("prf-visualrois")
    assert names[0] == "Unknown" and list(names) == list(range(8))
    for label, name in names.items():
        assert name[-1] != "v" or up[area == label].all()
        assert name[-1] != "d" or not up[area == label].any()
    assert reader.label_names("streams")[5] == "ventral"
    assert reader.label_names("streams", "fsaverage") == reader.label_names("streams")


def test_surface_labels(root):
    with truth_of(root, 1) as truth:
        stream = truth["fsaverage5/stream"][:]
    folder = root / "nsddata/freesurfer/fsaverage5/label"
    sides = [np.asarray(nib.load(folder / f"{h}.streams.mgz").dataobj) for h in ("lh", "rh")]
    assert sides[0].shape == (10242, 1, 1)
    np.testing.assert_array_equal(np.concatenate(sides).ravel(), stream)


def test_a_simulated_tree_says_so(root):
    facts = json.loads((root / "simulated.json").read_text())
    assert facts["simulated"] is True
    assert facts["simulated_by"] == "vox2pix phantom"
    assert facts["seed"] == SEED
    assert facts["licence"] == "MIT"
    assert "no data of NSD" in facts["statement"]


def test_voxels_without_data_and_nifti_change_nothing_else(tmp_path):
    sizes = {"sessions": 2, "trials_per_session": 12, "n_early": 400, "n_ventral": 20}
    sizes |= {"image_size": 64, "n_shared": 1, "repeats": 2}
    full = simulate(tmp_path / "full", no_data=False, **sizes)
    cut = simulate(tmp_path / "cut", nifti=True, **sizes)
    names = {path.relative_to(full) for path in full.rglob("*") if path.is_file()}
    more = {path.relative_to(cut) for path in cut.rglob("*") if path.is_file()} - names
    assert {path.name for path in more} == {f"betas_session0{i}.nii.gz" for i in (1, 2)}
    changed = {
        name.name for name in names if (full / name).read_bytes() != (cut / name).read_bytes()
    }
    changed.discard(MARKER)  # it lists the checksums of the others
    assert changed == {"betas_session01.hdf5", "betas_session02.hdf5", "subj01.h5", "ncsnr.nii.gz"}
    with truth_of(cut, 1) as truth:
        missing = truth["func1pt8mm/no_data"][:]
        stream, index = truth["func1pt8mm/stream"][:], truth["func1pt8mm/index"][:]
    assert missing[:, stream == 1].any()
    i, j, k = index.T
    for session in (1, 2):
        before, after = (PlainReader(tree, 1).betas(session)[:, i, j, k] for tree in (full, cut))
        np.testing.assert_array_equal(after, np.where(missing[session - 1], 0, before))
        folder = cut / f"nsddata_betas/ppdata/subj01/func1pt8mm/{BETAS}"
        nifti = nib.load(folder / f"betas_session{session:02d}.nii.gz")
        assert nifti.get_data_dtype() == np.int16
        np.testing.assert_allclose(np.asarray(nifti.dataobj)[i, j, k].T / 300, after, rtol=1e-6)


def test_affine_is_that_of_the_truth(root):
    image = nib.load(root / "nsddata/ppdata/subj01/func1pt8mm/roi/streams.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), 1.8, rtol=1e-6)
    with truth_of(root, 1) as truth:
        group = truth["func1pt8mm"]
        position = nib.affines.apply_affine(image.affine, group["index"][:])
        np.testing.assert_allclose(position, group["position"][:], atol=1e-3)


def test_ncsnr_is_measured_on_the_written_betas(root):
    reader = PlainReader(root, 2)
    images = np.array([int(row["10KID"]) for row in reader.responses()])
    scored = []
    for session in range(1, SESSIONS + 1):
        betas = reader.betas(session)
        with np.errstate(invalid="ignore"):
            scored.append((betas - betas.mean(axis=0)) / betas.std(axis=0))
    # a voxel without data in a session counts there as one that does not respond
    scored = np.nan_to_num(np.concatenate(scored))
    variances = [scored[images == image].var(axis=0, ddof=1) for image in np.unique(images)]
    noise = np.mean(variances, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.sqrt(np.maximum(1 - noise, 0) / noise)
    measured = reader.ncsnr()
    np.testing.assert_allclose(measured, np.where(noise > 0, expected, 0), atol=2e-3)
    left = root / f"nsddata_betas/ppdata/subj02/fsaverage5/{BETAS}/lh.ncsnr.mgh"
    assert np.asarray(nib.load(left).dataobj).shape == (10242, 1, 1)


def test_no_file_names_the_time(root):
    header = (root / "nsddata/experiments/nsd/nsd_expdesign.mat").read_bytes()[:116]
    assert header.rstrip() == b"MATLAB 5.0 MAT-file, vox2pix phantom"
    packed = [*root.rglob("*.nii.gz"), *root.rglob("*.mgz")]
    assert len(packed) >= 10
    assert all(path.read_bytes()[4:8] == bytes(4) for path in packed)


@pytest.mark.parametrize(
    ("n_trials", "expected"),
    [(750, (63, 62) * 6), (12, (1,) * 12), (5, (1,) * 5), (14, (2, 1, 2) + (1,) * 9)],
)
def test_run_lengths(n_trials, expected):
    assert nsd_tree.run_lengths(n_trials) == expected


def test_design_with_a_remainder_shows_the_last_image_less_often():
    design = nsd_tree.draw_design(1, 1, 10, 3, 2, rng_for(0, "design"))
    assert Counter(design.order.tolist()) == {0: 3, 1: 3, 2: 3, 3: 1}


def test_betas_too_large_for_16_bits_are_clipped(root, tmp_path):
    from vox2pix.phantom.brain import simulate_brain
    from vox2pix.phantom.higher import scene_content

    brain = simulate_brain(1, "func1pt8mm", 20, 20, scene_content([scene(0), scene(1)]), 0)
    betas = np.zeros((2, brain.layout.n_voxels), np.float32)
    betas[0, 0], betas[1, 0], betas[0, 1] = 500, -500, 0.0049
    back = nsd_tree.write_session(tmp_path, brain, 1, betas)
    np.testing.assert_allclose(back[:, 0], [32767 / 300, -32768 / 300], rtol=1e-6)
    assert back[0, 1] == pytest.approx(1 / 300)
