"""What the check says of data that are wrong in a way no format shows, and of sound data."""

import unicodedata
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vox2pix.data import check
from vox2pix.phantom import simulate

N, N_SESSIONS = 20, 3


def made(root, seed=0, n=N, n_sessions=N_SESSIONS, n_voxels=40, signal=0.7):
    """Each session shows each of n images once, in an order of its own; a quarter is for test."""
    rng = np.random.default_rng(seed)
    shown = np.concatenate([rng.permutation(n) for _ in range(n_sessions)])
    pattern = signal * rng.standard_normal((n, n_voxels))
    responses = pattern[shown] + rng.standard_normal((len(shown), n_voxels))
    root.mkdir(parents=True, exist_ok=True)
    images = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    np.savez(root / "stimuli.npz", images=images, stimulus_id=[f"s{i}" for i in range(n)])
    data = SimpleNamespace(
        root=root, rng=rng, shown=shown, responses=responses.astype(np.float32), images=images,
        session=np.repeat(np.arange(n_sessions) + 1, n),
        split=np.where(shown < n // 4, "test", "train"),
    )  # fmt: skip
    write(data)
    return data


def write(data):
    np.save(data.root / "responses.npy", data.responses)
    ids = [f"s{i}" for i in data.shown]
    trials = {"stimulus_id": ids, "session": data.session, "split": data.split}
    pd.DataFrame(trials).to_csv(data.root / "trials.csv", index=False)


def messages(root):
    """Return faults and notes, without the limits of such small data."""
    report = check(root)
    limits = ("no captions", "vox2pix encode needs")  # true of such small data
    notes = (note for note in report.notes if not any(limit in note for limit in limits))
    return (*report.faults, *notes)


@pytest.mark.parametrize(
    "sizes",
    [{}, {"n": 8, "n_voxels": 6, "signal": 1.0}, {"n_voxels": 1, "signal": 1.0},
     {"n": 60, "n_voxels": 700, "signal": 0.3}],
)  # fmt: skip
def test_sound_data_are_quiet(tmp_path, sizes):
    for seed in range(20):
        assert messages(made(tmp_path / str(seed), seed, **sizes).root) == ()


def test_the_phantom_is_quiet(tmp_path):
    sizes = {"n_early": 60, "n_ventral": 60, "n_shared": 8, "trials_per_session": 60}
    root = simulate(tmp_path / "phantom", sessions=2, **sizes)
    (root / "simulated.json").unlink(missing_ok=True)
    assert messages(root) == ()


def test_real_responses_are_quiet_until_they_are_shifted_or_shuffled(miyawaki_dir, tmp_path):
    with np.load(miyawaki_dir / "figures.npz") as figures:
        responses, index = figures["responses"], figures["stimulus_index"]
        np.save(tmp_path / "stimuli.npy", figures["stimuli"].astype(np.float32))
    split = np.where(index < 3, "test", "train")
    pd.DataFrame({"stimulus_id": index, "split": split}).to_csv(
        tmp_path / "trials.csv", index=False
    )
    np.save(tmp_path / "responses.npy", responses)
    assert messages(tmp_path) == ()
    np.save(tmp_path / "responses.npy", np.roll(responses, 1, axis=0))
    assert any("taken 1 row earlier" in one for one in messages(tmp_path))
    order = np.random.default_rng(0).permutation(len(responses))
    np.save(tmp_path / "responses.npy", responses[order])
    assert any("no more alike than those to different stimuli" in one for one in messages(tmp_path))


def shuffle(data):
    data.responses = data.responses[data.rng.permutation(len(data.responses))]


def shift(data):
    data.responses = np.roll(data.responses, 1, axis=0)


def shift_back(data):
    data.responses = np.roll(data.responses, -2, axis=0)


def shift_a_session(data):
    data.responses[N : 2 * N] = np.roll(data.responses[N : 2 * N], 1, axis=0)


def shuffle_a_session(data):
    data.responses[N : 2 * N] = data.responses[N : 2 * N][data.rng.permutation(N)]


def outlying_trial(data):
    data.responses[5] *= 1e6


def outlying_response(data):
    data.responses[5, 3] = 1e6


def empty_trial(data):
    data.responses[5] = 0


def same_value_in_a_trial(data):
    data.responses[[5, 7]] = 2


def faint_trial(data):
    data.responses[5] *= 1e-6


def copied_session(data):
    data.responses[N : 2 * N] = data.responses[:N]


def scaled_copy(data):
    data.responses[N : 2 * N] = 2 * data.responses[:N] + 1


def noisy_copy(data):
    noise = data.rng.standard_normal((N, data.responses.shape[1]))
    data.responses[N : 2 * N] = data.responses[:N] + 0.01 * noise


def copied_trial(data):
    data.responses[3] = data.responses[2]


def constant_voxels(data):
    data.responses[:, 1:] = 3


def constant_in_a_session(data):
    data.responses[N : 2 * N, :3] = 7


def nothing_in_a_session(data):
    data.responses[N : 2 * N, :3] = 0


def other_units(data):
    data.responses[N : 2 * N] *= 300


def own_test_session(data):
    data.split = np.where(data.session == 3, "test", "train")
    data.shown = data.shown + 0
    data.shown[2 * N :] = data.rng.permutation(N) % 5
    data.shown[: 2 * N] = 5 + data.shown[: 2 * N] % 15
    pattern = 0.7 * data.rng.standard_normal((N, data.responses.shape[1]))
    noise = data.rng.standard_normal(data.responses.shape)
    data.responses = (pattern[data.shown] + noise).astype(np.float32)


def own_test_session_with_an_offset(data):
    own_test_session(data)
    data.responses[2 * N :] += 4


def offset_of_the_test_trials(data):
    data.responses[data.split == "test"] += 4


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (shuffle, "no more alike than those to different stimuli"),
        (shift, "if the trials are taken 1 row earlier"),
        (shift_back, "if the trials are taken 2 rows later"),
        (shift_a_session, "if the trials of session 2 are taken 1 row earlier"),
        (shuffle_a_session, "Responses of session 2 do not agree with those of other sessions"),
        (outlying_trial, "1 trial is more than 8 times as large as usual (trial 6 of session 1"),
        (outlying_response, "more than 8 times as large as usual (trial 6 of session 1"),
        (empty_trial, "1 trial is 0 in every voxel (trial 6 of session 1)"),
        (same_value_in_a_trial, "2 trials are one value in all voxels (trial 6 of session 1, "),
        (faint_trial, "1 trial is nearly 0 in all voxels (trial 6 of session 1)"),
        (copied_session, "Session 2 has the same responses as session 1 in all of its 20 trials"),
        (scaled_copy, "The trials of session 2 are those of session 1 but for scale"),
        (noisy_copy, "The trials of session 2 are those of session 1 but for scale"),
        (copied_trial, "Trial 4 of session 1 has the same responses as trial 3 of session 1"),
        (constant_voxels, "39 of 40 voxels never change, which leaves 1."),
        (constant_in_a_session, "3 of 40 voxels never change within session 2:"),
        (nothing_in_a_session, "3 of 40 voxels have no data (0 or NaN in every trial) in session"),
        (other_units, "Responses of session 2 vary"),
        (own_test_session, "All test trials are in session 3, without a training trial"),
        (own_test_session_with_an_offset, "of the sessions, and their responses differ by"),
        (offset_of_the_test_trials, "Test and training trials differ by more than their stimuli"),
    ],
)
def test_evidence_is_reported(tmp_path, harm, sentence):
    data = made(tmp_path / "d")
    harm(data)
    write(data)
    listed = messages(data.root)
    assert len([one for one in listed if sentence in one]) == 1, listed
    copied = harm in (copied_session, scaled_copy, noisy_copy)  # and so they do not agree
    assert len(listed) == 1 + copied, listed


def test_one_nan_voxel_is_one_fault(tmp_path):
    data = made(tmp_path / "d")
    data.responses[::2, 4] = np.nan  # in every trial of a session it would have no data
    write(data)
    (fault,) = check(data.root).faults
    assert "holds 10 NaN or infinite responses (the first in trial 1 of session 1, voxel 5" in fault
    assert "The same voxels have such values in sessions 1, 2, 3." in fault


def test_equal_trials_of_coarse_data_are_chance(tmp_path):
    data = made(tmp_path / "d", n_voxels=3)
    data.responses = np.round(data.responses).astype(np.int8)
    write(data)
    assert messages(data.root) == ()


def test_images_under_a_test_and_a_training_id(tmp_path):
    data = made(tmp_path / "d")
    names = [f"s{i}" for i in range(N)]
    images = np.repeat(np.repeat(data.images[:, ::4, ::4], 4, axis=1), 4, axis=2)
    images[0] = images[10]
    images[1] = np.clip(images[11].astype(int) + 1, 0, 255)
    images[2] = 7
    np.savez(data.root / "stimuli.npz", images=images, stimulus_id=names)
    listed = messages(data.root)
    assert [one.partition(" (")[0] for one in listed] == [
        "1 of 20 images is of one colour throughout",
        "1 test image is the same as a training image",
        "1 test image is nearly the same as a training image",
    ], listed
    assert "('s1' and 's11')" in listed[2].replace("such as ", "")
    images[:] = images[0]
    np.savez(data.root / "stimuli.npz", images=images, stimulus_id=names)
    listed = " ".join(messages(data.root))
    assert "5 test images are the same as a training image" in listed


def as_files(data, size=(16, 16), save=lambda image, path: image.save(path)):
    (data.root / "stimuli.npz").unlink(missing_ok=True)
    (data.root / "images").mkdir(exist_ok=True)
    for i, image in enumerate(data.images):
        save(Image.fromarray(image).resize(size), data.root / "images" / f"s{i}.png")


def test_what_is_done_to_images_is_counted(tmp_path):
    data = made(tmp_path / "d")

    def save(image, path):
        if path.stem in ("s0", "s1"):
            exif = Image.Exif()
            exif[0x0112] = 6
            return image.convert("L").save(path, exif=exif)
        if path.stem == "s2":
            return image.convert("CMYK").save(path.with_suffix(".jpg"))
        if path.stem == "s3":
            return image.convert("RGBA").save(path)  # opaque: nothing is lost
        return image.save(path)

    as_files(data, (16, 24), save)
    listed = messages(data.root)
    assert sorted(one.partition(";")[0] for one in listed) == [
        "1 of 20 images are CMYK and are converted to RGB without a colour profile.",
        "2 of 20 images are grey, and their grey is repeated over the three colours.",
        "2 of 20 images are turned as their EXIF orientation says.",
        "20 of 20 images are not square and are cut to their centre",
    ]


def test_transparent_images_are_one_fault(tmp_path):
    data = made(tmp_path / "d")

    def save(image, path):
        image = image.convert("RGBA")
        image.putpixel((int(path.stem[1:]) % 16, 0), (0, 0, 0, 0))
        image.save(path)

    as_files(data, save=save)
    (fault,) = messages(data.root)
    assert "s0.png is transparent in 0.4% of its pixels" in fault
    assert fault.endswith("The same holds for 19 more images.")


@pytest.mark.parametrize(
    ("trial_id", "file", "sentence"),
    [
        (lambda i: f"{i}.png", lambda i: f"{i}.png", "it has 's0', and stimulus_id is 's0.png'"),
        (lambda i: f"{i}.JPG", lambda i: f"{i}.png", "the same name with an extension"),
        (lambda i: f"cat/{i}", lambda i: f"{i}.png", "the same name in another folder;"),
        (lambda i: f"cat/{i}.png", lambda i: f"{i}.png", "in another folder and with an ext"),
        (lambda i: f"café{i}", lambda i: unicodedata.normalize("NFD", f"café{i}") + ".png",
         "it has 'cafe\\u0301s0', and stimulus_id is 'caf\\xe9s0', the same name in another"),
        (lambda i: f"{i[1:]}.0", lambda i: f"{i[1:]}.png", "a decimal of a whole number"),
        (str.upper, lambda i: f"{i}.png", "in other capitals"),
        (lambda i: i[1:], lambda i: f"{int(i[1:]):03d}.png", "with other leading zeros"),
        (lambda i: f"a {i}", lambda i: f"a_{i}.png", "with other blanks or hyphens"),
        (lambda i: i, lambda i: f"{i}.bmp", "20 of 20 images in a form that is not read (s0.bmp)"),
        (lambda i: f"cat/{i}", lambda i: f"cat/{i}.png", "not read (cat/s0.png)"),
        (lambda i: f"zebra{i}", lambda i: f"{i}.png", "no image of 20 of 20 stimuli ('zebras0'"),
    ],
)  # fmt: skip
def test_ids_that_do_not_match_are_one_fault_with_its_cause(tmp_path, trial_id, file, sentence):
    data = made(tmp_path / "d")
    (data.root / "stimuli.npz").unlink()
    for i, image in enumerate(data.images):
        path = data.root / "images" / file(f"s{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    table = pd.read_csv(data.root / "trials.csv")
    table["stimulus_id"] = table["stimulus_id"].map(trial_id)
    table.to_csv(data.root / "trials.csv", index=False)
    listed = messages(data.root)
    assert len(listed) == 1, listed
    assert sentence in listed[0]


def test_missing_captions_are_one_fault(tmp_path):
    data = made(tmp_path / "d")
    path = data.root / "captions.csv"
    names = [f"s{i}" for i in range(N)]
    pd.DataFrame({"stimulus_id": [f"{n}.png" for n in names], "caption": names}).to_csv(
        path, index=False
    )
    (fault,) = check(data.root).faults
    assert "no caption of 20 of 20 stimuli ('s0', 's1', 's10', ...): it has 's0.png'" in fault
    pd.DataFrame({"stimulus_id": names, "caption": "a dog"}).to_csv(path, index=False)
    assert check(data.root).ok
    assert any("All 20 images have the same captions" in note for note in check(data.root).notes)


@pytest.mark.parametrize(("scale", "words"), [(1e30, "Responses reach"), (1e-13, "at most")])
def test_responses_whose_squares_are_no_numbers_are_refused(tmp_path, scale, words):
    data = made(tmp_path / "d")
    data.responses = data.responses * np.float32(scale)
    write(data)
    (fault,) = check(data.root).faults
    assert words in fault
