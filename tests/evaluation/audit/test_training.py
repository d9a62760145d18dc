import numpy as np
import pytest
import zarr
from scipy.stats import spearmanr

from vox2pix.evaluation import resize_images
from vox2pix.evaluation.audit import UnanswerableError, clusters, nearest_training, training
from vox2pix.evaluation.audit.training import (
    copies,
    distance_dependence,
    near_duplicates,
    perceptual_hash,
    retrieval_baseline,
)
from vox2pix.phantom.scenes import render, scene


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([render(scene(i), 48) for i in range(140)])


def test_nearest_is_that_of_all_correlations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    test, train = rng.normal(size=(5, 30)), rng.normal(size=(23, 30))
    table = np.corrcoef(test, train)[:5, 5:]
    for training_rows in (train, zarr.array(train)):
        rows, r = nearest_training(test, training_rows)
        np.testing.assert_array_equal(rows, table.argmax(axis=1))
        np.testing.assert_allclose(r, table.max(axis=1), atol=1e-6)


def test_centred_features_find_the_stimulus_that_was_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoded: the common part, a shrunk part of one training stimulus, and noise."""
    monkeypatch.setattr(training, "_BLOCK", 50)
    rng = np.random.default_rng(4)
    common = 5 * rng.normal(size=80)
    # Stimuli differ in how far from the mean they lie, as captions do.
    stimuli = common + rng.uniform(0.2, 2, (120, 1)) * rng.normal(size=(120, 80))
    shown = rng.choice(120, 60, replace=False)
    decoded = common + 0.2 * (stimuli[shown] - common) + 0.03 * rng.normal(size=(60, 80))
    plain, centred = (
        np.mean(nearest_training(decoded, stimuli, way)[0] == shown) for way in (False, True)
    )
    assert centred > 0.95
    assert plain < 0.6
    mean = stimuli.mean(axis=0)
    expected = np.corrcoef(decoded - mean, stimuli - mean)[:60, 60:].max(axis=1)
    np.testing.assert_allclose(nearest_training(decoded, stimuli, True)[1], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.2, "pass"), (0.01, "warn"), (0.0, "fail"), (-0.2, "fail")]
)
def test_a_reconstruction_should_beat_the_nearest_image(gain: float, verdict: str) -> None:
    noise = np.random.default_rng(0).normal(size=50)
    gains = gain + 0.1 * (noise - noise.mean()) * (gain != 0)
    shown = np.linspace(0.4, 0.9, 50)
    found = retrieval_baseline(shown + gains, shown)
    assert found.verdict == verdict
    assert found.value == pytest.approx(gain, abs=1e-12)
    assert found.references["nearest"] == pytest.approx(shown.mean())


def test_a_score_at_its_top_cannot_tell_retrieval_from_reconstruction():
    shown = np.full(50, 0.99)
    drawn = shown + np.where(np.arange(50) % 2, 0.005, -0.005)
    found = retrieval_baseline(drawn, shown, measure="PixCorr")
    assert found.verdict == "warn"
    assert found.name == "retrieval baseline, PixCorr"
    assert "too near its top" in found.sentence
    assert retrieval_baseline(drawn - 0.2, shown).verdict == "fail"
    assert retrieval_baseline(drawn - 0.2, shown - 0.2).verdict == "fail"


def test_distance_is_correlated_by_rank() -> None:
    rng = np.random.default_rng(0)
    distances = rng.random(40)
    scores = np.round(0.8 - 0.2 * distances + 0.1 * rng.normal(size=40), 1)
    found = distance_dependence(scores, distances)
    assert found.value == pytest.approx(spearmanr(scores, distances).statistic)
    far = np.argsort(distances)[20:]
    assert found.references["far half"] == pytest.approx(scores[far].mean())


@pytest.mark.parametrize(
    ("near", "far", "verdict"), [(0.9, 0.9, "pass"), (0.95, 0.75, "warn"), (0.95, 0.5, "fail")]
)
def test_far_from_training_the_score_should_hold(near: float, far: float, verdict: str) -> None:
    distances = np.linspace(0.1, 0.9, 80)
    noise = np.random.default_rng(0).normal(size=40)
    noise = np.tile(0.1 * (noise - noise.mean()), 2)
    scores = np.where(distances < 0.5, near, far) + noise
    assert distance_dependence(scores, distances).verdict == verdict


def test_equal_distances_answer_nothing() -> None:
    with pytest.raises(UnanswerableError, match="all are equally good or far"):
        distance_dependence([0.1, 0.2, 0.3, 0.4], np.ones(4))


def test_clusters_are_found_and_seeded() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 20)
    found = clusters(10 * np.eye(3)[truth] + rng.normal(size=(60, 3)), 3, seed=1)
    assert {tuple(np.unique(found[truth == k])) for k in range(3)} == {(0,), (1,), (2,)}
    blob = rng.normal(size=(40, 5))
    np.testing.assert_array_equal(clusters(blob, 4, seed=1), clusters(blob, 4, seed=1))


def hash_by_loop(image: np.ndarray) -> np.ndarray:
    """Hash one 32 x 32 image by the cosine sums themselves."""
    grey = image @ [0.299, 0.587, 0.114]
    at = (np.arange(32) + 0.5) * np.pi / 32
    low = [
        np.sum(grey * np.cos(v * at)[:, None] * np.cos(u * at))
        for v in range(1, 9)
        for u in range(1, 9)
    ]
    return np.array(low) > np.median(low)


def test_the_hash_is_that_of_the_cosine_sums() -> None:
    image = np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(perceptual_hash(image)[0], hash_by_loop(image[0]))


def test_the_hash_survives_what_the_eye_does_not_see(scenes: np.ndarray) -> None:
    given = scenes[:40]
    original = perceptual_hash(given)
    assert original.shape == (40, 64)
    noise = 0.02 * np.random.default_rng(0).normal(size=given.shape)
    for changed in (
        np.clip(0.7 * given + 0.2, 0, 1),
        resize_images(given, 90),
        np.clip(given + noise, 0, 1).astype(np.float32),
    ):
        bits = np.count_nonzero(perceptual_hash(changed) != original, axis=1)
        assert np.quantile(bits, 0.9) <= 6
    mirrored = np.count_nonzero(perceptual_hash(given[:, :, ::-1]) != original, axis=1)
    assert np.median(mirrored) > 20


def test_images_of_one_value_have_no_bits() -> None:
    flat = np.array([0.1, 0.5, 1], np.float32)[:, None, None, None] * np.ones((1, 40, 40, 3))
    assert not perceptual_hash(flat).any()


def test_planted_duplicates_are_found(scenes: np.ndarray) -> None:
    train, test = scenes[:100], scenes[100:].copy()
    assert near_duplicates(test, train).verdict == "pass"
    test[3] = 0.8 * train[17] + 0.1
    found = near_duplicates(test, train)
    assert (found.verdict, found.value) == ("warn", 1 / 40)
    assert "1 of 40 test images" in found.sentence
    assert found.details["nearest"][3] == 17
    assert found.details["distance"][3] <= 2
    test[4:8] = train[:4]
    assert near_duplicates(test, train).verdict == "fail"


def test_copies_are_found(scenes: np.ndarray) -> None:
    train, test = scenes[:100], scenes[100:]
    noise = np.random.default_rng(0).normal(size=(40, 2, 48, 48, 3))
    honest = np.clip(0.8 * test[:, None] + 0.1 + 0.1 * noise, 0, 1).astype(np.float32)
    assert copies(honest, test, train).verdict == "pass"
    copied = honest.copy()
    copied[:, 1] = np.clip(train[:40] + 0.01 * noise[:, 1], 0, 1)
    found = copies(copied, test, train)
    assert found.verdict == "fail"
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert "r_reconstructions" in found.details


def test_an_original_that_stands_in_training_excuses_its_reconstruction(
    scenes: np.ndarray,
) -> None:
    train, test = scenes[:100], scenes[:40]
    found = copies(np.clip(0.9 * test + 0.05, 0, 1), test, train)
    assert np.median(found.details["r_reconstructions"]) > 0.99
    assert found.verdict == "pass"


def test_copies_need_a_reconstruction_of_each_original(scenes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="3 reconstructions of 4 originals"):
        copies(scenes[:3], scenes[:4], scenes)
