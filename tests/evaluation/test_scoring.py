from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity

from vox2pix.errors import UserError
from vox2pix.evaluation import mean_interval, rate_interval, two_way_jackknife
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.pairing import pair
from vox2pix.evaluation.protocols import Metric, Protocol
from vox2pix.evaluation.scoring import Evaluation, score_collections, score_pairs
from vox2pix.vision import network
from vox2pix.vision.weights import NetworkUnavailableError

N = 7


def collection(images: NDArray[np.float32], name: str = "a") -> ImageCollection:
    """Images (n, n_samples, height, width, 3) in memory."""
    ids = tuple(f"p{i}" for i in range(len(images)))
    return ImageCollection(
        Path(name), ids, False, images.shape[1], lambda row, sample: images[row, sample]
    )


def stimuli(
    n_samples: int = 3, size: int = 16, noise: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = rng.random((N, 1, size, size, 3), dtype=np.float32)
    wrong = rng.normal(0, noise, (N, n_samples, size, size, 3))
    return truth, np.clip(truth + wrong, 0, 1).astype(np.float32)


def score(
    truth: np.ndarray, drawn: np.ndarray, *metrics: Metric, averaging: str = "scores"
) -> Evaluation:
    wanted = Protocol("mine", "", metrics, "original", averaging, "")  # type: ignore[arg-type]
    return score_collections(
        collection(truth), collection(drawn, "mine"), wanted, lambda m: network(str(m.network))
    )


PIXELS = Metric("pixels", "two-way", "pixels")


def test_pixel_metrics_are_means_over_samples_and_stimuli() -> None:
    truth, drawn = stimuli()
    found = score(truth, drawn, Metric("PixCorr", "pixcorr"), Metric("SSIM", "ssim"))
    grey = np.array([0.2125, 0.7154, 0.0721])
    expected = {
        "PixCorr": lambda a, b: pearsonr(a.ravel(), b.ravel()).statistic,
        "SSIM": lambda a, b: structural_similarity(
            a @ grey, b @ grey, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=1,
        ),
    }  # fmt: skip
    for record, best in zip(found.records[::2], found.records[1::2], strict=True):
        each = np.array(
            [
                [expected[record.metric](truth[i, 0].astype(float), b) for b in of_stimulus]
                for i, of_stimulus in enumerate(drawn.astype(float))
            ]
        )
        by_hand = each.mean(axis=1)
        assert (best.metric, best.samples) == (record.metric, "best of 3")
        assert best.value == pytest.approx(each.max(axis=1).mean(), abs=1e-6)
        assert record.chance < best.chance < best.value
        np.testing.assert_allclose(found.scores[record.metric, ""], by_hand, atol=1e-6)
        assert record.value == pytest.approx(np.mean(by_hand), abs=1e-6)
        interval = mean_interval(found.scores[record.metric, ""])
        assert (record.ci_low, record.ci_high) == pytest.approx(interval)
        assert (record.samples, record.n_stimuli) == ("mean of 3", N)
        assert record.condition == "mine"
        assert record.chance < record.ci_low


def test_chance_of_few_stimuli_is_over_five_shifts_of_mismatched_pairs() -> None:
    truth, drawn = stimuli(n_samples=1)
    # Six shifts there are, five are taken: the mean lies among those that leave one out.
    r = np.corrcoef(truth.reshape(N, -1), drawn.reshape(N, -1))[:N, N:]
    shifts = [np.mean([r[i, (i + s) % N] for i in range(N)]) for s in range(1, N)]
    possible = [(sum(shifts) - left_out) / 5 for left_out in shifts]
    (record,) = score(truth, drawn, Metric("PixCorr", "pixcorr")).records
    assert np.abs(np.array(possible) - record.chance).min() < 1e-6


def test_identification_of_a_loop() -> None:
    truth, drawn = stimuli(noise=15)
    found = score(truth, drawn, PIXELS)
    for record, best in zip(found.records[::2], found.records[1::2], strict=True):
        scores = np.zeros((N, 3))
        for s in range(3):
            r = np.corrcoef(truth.reshape(N, -1), drawn[:, s].reshape(N, -1))[:N, N:]
            r = r if record.direction == "original" else r.T
            scores[:, s] = [
                np.mean([r[i, i] > r[i, j] for j in range(N) if j != i]) for i in range(N)
            ]
        np.testing.assert_allclose(
            found.scores["pixels", record.direction], scores.mean(axis=1), atol=1e-12
        )
        assert record.chance == 0.5
        both = two_way_jackknife(truth.reshape(N, -1), drawn.reshape(N, 3, -1))
        own, pseudo = both[record.direction]
        assert (record.ci_low, record.ci_high) == pytest.approx(rate_interval(pseudo))
        highest = rate_interval(scores.max(axis=1) + pseudo - own)
        assert (best.ci_low, best.ci_high) == pytest.approx(highest)
        assert best.direction == record.direction
        assert best.value == pytest.approx(scores.max(axis=1).mean())
    assert {record.direction for record in found.records} == {"original", "reconstruction"}


def test_chance_of_the_best_sample_is_what_unrelated_images_reach() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((60, 1, 8, 8, 3), dtype=np.float32)
    drawn = rng.random((60, 4, 8, 8, 3), dtype=np.float32)
    metrics = (PIXELS, Metric("found", "retrieval", "pixels", top=5))
    for mean, best in pairwise_of(score(truth, drawn, *metrics).records):
        assert mean.chance == (0.5 if mean.metric == "pixels" else pytest.approx(5 / 60))
        # Of four scores that are spread evenly the best lies at 4 / 5, of four chances of 1 / 12
        # one comes true in 1 - (11 / 12)^4 of all cases.
        expected = 0.8 if mean.metric == "pixels" else 1 - (1 - 5 / 60) ** 4
        assert best.chance == pytest.approx(expected, abs=0.05)
        assert best.ci_low - 0.05 < best.chance < best.ci_high + 0.05


def pairwise_of(records: tuple) -> list:
    """Return the records of mean and best, which follow each other."""
    return list(zip(records[::2], records[1::2], strict=True))


def test_features_of_originals_are_kept_for_the_next_reconstructions() -> None:
    truth, drawn = stimuli()
    wanted = Protocol("mine", "", (PIXELS,), "original", "scores", "")
    seen, known = [], {}

    def encode(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return network("pixels")(images)

    for _ in range(2):
        pairs = pair(collection(truth), collection(drawn))
        found = score_pairs(
            collection(truth), collection(drawn), pairs, wanted, lambda m: encode,
            condition="z", subject="subj01", original_features=known,
        )  # fmt: skip
    assert seen == [N] * (4 + 3)
    assert {(r.condition, r.subject) for r in found.records} == {("z", "subj01")}
    np.testing.assert_array_equal(found.scores, score(truth, drawn, PIXELS).scores)


def test_correlations_may_be_averaged_before_they_are_compared() -> None:
    truth, drawn = stimuli(noise=15)
    found = score(truth, drawn, PIXELS, averaging="correlations")
    mean_r = np.mean(
        [np.corrcoef(truth.reshape(N, -1), drawn[:, s].reshape(N, -1))[:N, N:] for s in range(3)],
        axis=0,
    )
    expected = [
        np.mean([mean_r[i, i] > mean_r[i, j] for j in range(N) if j != i]) for i in range(N)
    ]
    np.testing.assert_allclose(found.scores["pixels", "original"], expected)
    assert found.records[0].samples == "correlations of 3"
    apart = score(truth, drawn, PIXELS)
    assert not np.allclose(found.scores.to_numpy(), apart.scores.to_numpy())


def test_distances_are_one_less_the_correlation() -> None:
    truth, drawn = stimuli()
    found = score(truth, drawn, Metric("far", "distance", "edges@8"))
    encode = network("edges@8")
    expected = [
        np.mean([1 - pearsonr(encode(truth[i])[0], encode(b[None])[0]).statistic for b in drawn[i]])
        for i in range(N)
    ]
    np.testing.assert_allclose(found.scores["far", ""], expected, atol=1e-6)
    assert found.records[0].chance > found.records[0].value
    assert found.records[1].samples == "best of 3"
    assert found.records[1].value < found.records[0].value


def test_other_sizes_are_brought_together_and_told() -> None:
    truth, _ = stimuli()
    larger = np.repeat(np.repeat(truth, 2, axis=2), 2, axis=3)
    found = score(truth, larger, Metric("PixCorr", "pixcorr"), Metric("p", "two-way", "pixels@8"))
    assert found.records[0].value > 0.9
    assert "originals of 16 x 16 pixels, reconstructions of 32 x 32 pixels" in found.notes
    assert found.records[1].value == 1


def test_images_of_one_colour_are_counted_and_score_nothing() -> None:
    truth, _ = stimuli()
    found = score(truth, np.full_like(truth, 0.5), Metric("PixCorr", "pixcorr"), PIXELS)
    assert any(
        "7 of 7 reconstructions are of one colour throughout" in note for note in found.notes
    )
    assert [record.value for record in found.records] == [0, 0.5, 0.5]
    assert {record.samples for record in found.records} == {"mean of 1"}


def test_metrics_that_cannot_be_computed_are_left_out_and_said() -> None:
    truth, drawn = stimuli(size=8)

    def absent(metric: Metric) -> None:
        raise NetworkUnavailableError("no weights")

    metrics = (Metric("PixCorr", "pixcorr"), Metric("SSIM", "ssim"), Metric("net", "two-way", "x"))
    wanted = Protocol("mine", "", metrics, "original", "scores", "")
    found = score_collections(collection(truth), collection(drawn), wanted, absent)  # type: ignore[arg-type]
    assert {record.metric for record in found.records} == {"PixCorr"}
    assert found.skipped["net"] == "no weights"
    assert "at least 11 x 11 pixels, and 'p0' has 8 x 8" in found.skipped["SSIM"]
    wanted = Protocol("mine", "", metrics[1:], "original", "scores", "")
    with pytest.raises(UserError, match=r"No metric of mine can be computed here. .* no weights"):
        score_collections(collection(truth), collection(drawn), wanted, absent)  # type: ignore[arg-type]


def test_progress_ends_where_each_step_ends() -> None:
    truth, drawn = stimuli()
    told: dict[str, tuple[int, int]] = {}

    def progress(step: str, done: int, total: int) -> None:
        told[step] = (done, total)

    wanted = Protocol("mine", "", (Metric("PixCorr", "pixcorr"), PIXELS), "original", "scores", "")
    score_collections(
        collection(truth), collection(drawn), wanted, lambda m: network(str(m.network)),
        progress=progress,
    )  # fmt: skip
    assert told == {"reading": (28, 28), "PixCorr": (7, 7), "pixels": (28, 28)}
