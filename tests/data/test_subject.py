"""Selecting trials of a subject."""

import numpy as np
import pytest

from vox2pix.data import mean_betas_of, open_folder, standardized_by_session
from vox2pix.errors import UserError


@pytest.fixture
def subject(folder):
    betas = np.arange(24, dtype=np.float32).reshape(6, 4)
    split = ["train", "test", "train", "train", "test", "train"]
    return open_folder(
        folder(betas, ["b", "a", "c", "b", "a", "b"], session=[2, 1, 2, 1, 2, 1], split=split)
    )


def test_rows_stay_in_trial_order_where_sessions_alternate(subject):
    np.testing.assert_array_equal(subject.train.betas()[:, 0], [0, 8, 12, 20])
    np.testing.assert_array_equal(subject.test.betas()[:, 0], [4, 16])
    assert list(subject.train.trials["stimulus_id"]) == ["b", "c", "b", "b"]
    assert [list(t["session"]) for t, _ in subject.train.iter_betas()] == [[1, 1], [2, 2]]
    np.testing.assert_allclose(subject.train.mean_betas()[:, 0], [(0 + 12 + 20) / 3, 8])
    assert subject.train.stimulus_ids == ("b", "c")
    assert subject.train.repeats.tolist() == [3, 1]


def test_means_of_several_splits_read_each_session_once(subject, monkeypatch):
    read, source = [], type(subject.betas_source)
    read_session = source.read_session
    monkeypatch.setattr(
        source, "read_session", lambda self, n, v: read.append(n) or read_session(self, n, v)
    )
    train, test = mean_betas_of([subject.train, subject.test], np.array([1, 0, 1, 1], bool))
    assert read == [1, 2]
    np.testing.assert_allclose(train, subject.train.mean_betas()[:, [0, 2, 3]], rtol=1e-6)
    np.testing.assert_allclose(test, subject.test.mean_betas()[:, [0, 2, 3]], rtol=1e-6)
    with pytest.raises(UserError, match="no trials in this split"):
        mean_betas_of([subject.train, subject.select(np.zeros(6, bool))])


def test_select_leaves_a_stimulus_out(subject):
    left = subject.select(subject.trials["stimulus_id"].to_numpy() != "b")
    assert left.stimulus_ids == ("a", "c")
    np.testing.assert_array_equal(left.betas()[:, 0], [4, 8, 16])
    with pytest.raises(ValueError, match="rows must be boolean, one per trial"):
        subject.select(np.array([0, 1]))


def test_an_empty_split_says_so(subject):
    with pytest.raises(UserError, match="own has no trials in this split: mark trials as train"):
        subject.select(np.zeros(6, bool)).betas()


def test_noise_ceiling_without_test_trials(folder):
    subject = open_folder(folder(np.ones((2, 2)), ["a", "b"]))
    with pytest.raises(UserError, match="no trials in this split"):
        subject.noise_ceiling()
    assert np.isnan(subject.noise_ceiling(n_repeats=2)).all()


def test_images_of_different_sizes_need_a_size(subject, tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "own/images/a.png")
    with pytest.raises(UserError, match=r"stimulus 'a' has shape \(9, 9, 3\), .*ask for one size"):
        subject.images(["b", "a"])
    assert subject.images(["b", "a"], size=4).shape == (2, 4, 4, 3)


def test_sessions_are_standardized_by_their_own_training_trials(folder):
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((9, 3)) * [1, 5, 0] + [0, 1000, 7]
    betas[4:] = betas[4:] * 3 + 20  # the second session has another gain and baseline
    betas = betas.astype(np.float32)
    session = np.array([1] * 4 + [2] * 5)
    split = np.array(["train", "test", "train", "train", "test", "train", "train", "train", "test"])
    subject = open_folder(folder(betas, list("abcdefghi"), session=session, split=split))
    expected = np.empty((9, 3))
    for number in (1, 2):
        own = session == number
        train = betas[own & (split == "train")].astype(float)
        expected[own] = (betas[own] - train.mean(0)) / np.where([1, 1, 0], train.std(0), 1)
    scaled = standardized_by_session(subject)
    for part in ("train", "test"):
        found = getattr(scaled, part).betas()
        np.testing.assert_allclose(found, expected[split == part], atol=1e-4)
    np.testing.assert_allclose(
        scaled.test.mean_betas(np.array([0, 1, 0], bool)),
        expected[split == "test"][:, [1]],
        atol=1e-4,
    )


def test_sessions_without_training_trials_cannot_be_standardized(folder):
    betas = np.ones((4, 2), np.float32)
    split = ["train", "train", "train", "test"]
    subject = open_folder(folder(betas, list("abcd"), session=[1, 1, 2, 2], split=split))
    with pytest.raises(UserError, match="session 2 has 1 training trials"):
        standardized_by_session(subject)
