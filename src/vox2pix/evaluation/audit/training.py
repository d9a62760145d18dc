"""How much of the score the training set could give: nearest images, duplicates, copies."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.audit.finding import (
    Finding,
    UnanswerableError,
    Verdict,
    check_scores,
    mean_interval,
    written,
)
from vox2pix.evaluation.intervals import joint_interval
from vox2pix.evaluation.metrics.identification import CHANCE, rowwise_correlation, single_unit_rows
from vox2pix.seeds import seed_for
from vox2pix.vision.images import check_images, resize_images

_BLOCK = 1024  # training rows compared at once
_SATURATED = 0.98
_SIDE = 32  # pixels: images are compared as wholes, not in their grain
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_NEAR = 6  # of 64 bits
_COPY = 0.95  # correlation above which an image may be a copy
_ROUNDING = 1e-6  # of a correlation in float32


def nearest_training(
    features: ArrayLike, training_features: Any, centred: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return for each row of features (n, d) the training row that it correlates with most.

    Parameters
    ----------
    training_features : array, shape (n_training, d)
        Anything that is sliced by rows (memory map, zarr array); read 1,024 rows at a time.
    centred : bool
        Subtract the training mean from all rows first. Features of a network have most of their
        length in common, and what is decoded from noisy responses is shrunk towards that mean:
        uncentred, whatever is near the mean is near to everything. Not for images, where r
        is PixCorr.

    Returns
    -------
    rows, r : ndarray, shape (n,)
        The first of the nearest, and Pearson's r with it, from float32 products.
    """
    n = training_features.shape[0]
    blocks = [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
    mean = np.zeros(training_features.shape[1], np.float32)
    if centred:
        sums = [np.asarray(training_features[rows]).sum(axis=0, dtype=float) for rows in blocks]
        mean = (np.sum(sums, axis=0) / n).astype(np.float32)
    unit = single_unit_rows(np.asarray(features) - mean)
    rows, best = np.zeros(len(unit), np.intp), np.full(len(unit), -np.inf)
    for block in blocks:
        r = unit @ single_unit_rows(np.asarray(training_features[block]) - mean).T
        nearest = r.argmax(axis=1)
        highest = r[np.arange(len(r)), nearest]
        closer = highest > best
        rows[closer], best[closer] = block.start + nearest[closer], highest[closer]
    return rows, best


def retrieval_baseline(scores: ArrayLike, baseline_scores: ArrayLike, measure: str = "") -> Finding:
    """Compare reconstructions with showing the nearest training image instead.

    The baseline image of a test stimulus is the training image whose features the decoded ones
    correlate with most, both less the training mean (:func:`nearest_training`), scored as
    reconstructions are: one score (n,) per test image, at most 1. The value is the mean paired
    difference, reconstruction less baseline. It passes where the interval is above zero, warns
    where the mean does but the interval does not, and fails otherwise: the generator then adds
    nothing to looking images up (Shirakawa et al. 2025). Where the baseline itself scores above
    0.98 and the interval holds zero, the score has no room left to tell them apart: that is a
    warning, and another score has to decide.
    """
    drawn, shown = check_scores(scores, baseline_scores)
    value, ci = mean_interval(drawn - shown)
    saturated = shown.mean() > _SATURATED and ci[0] <= 0 <= ci[1]
    verdict: Verdict = "pass" if ci[0] > 0 else "warn" if value > 0 or saturated else "fail"
    meaning = {
        "pass": "the reconstruction is better",
        "warn": "better, but the interval holds zero",
        "fail": "the reconstruction is no better than looking an image up",
    }[verdict]
    if saturated:
        meaning = "this score is too near its top to tell them apart"
    return Finding(
        name=f"retrieval baseline, {measure}" if measure else "retrieval baseline",
        verdict=verdict,
        sentence=f"Showing the training image nearest to the decoded features scores "
        f"{shown.mean():.3f}{f' in {measure}' if measure else ''}, the reconstruction "
        f"{drawn.mean():.3f}, a difference of {written(value, ci)}: {meaning}.",
        value=value,
        ci=ci,
        references={"reconstruction": float(drawn.mean()), "nearest": float(shown.mean())},
        details={"scores": drawn, "baseline_scores": shown},
    )


def distance_dependence(
    scores: ArrayLike, distances: ArrayLike, chance: float = CHANCE, seed: int = 0
) -> Finding:
    """Ask whether the score depends on a near training image.

    The value is Spearman's correlation of the score with the distance of the test stimulus to the
    nearest training stimulus, both (n,); e.g. 1 - r of the *true* features. It fails where the half
    of the test images that is farther from training is at chance (the interval of its mean reaches
    down to it). It warns where the correlation is -0.3 or lower, with its interval below zero.
    Unanswerable from fewer than four test images, or where all scores or all distances are equal.
    """
    values, far = check_scores(scores, distances)
    if len(values) < 4 or np.ptp(values) == 0 or np.ptp(far) == 0:
        raise UnanswerableError("there are too few test images, or all are equally good or far")
    rho = float(_spearman(values[None], far[None])[0])
    rho_ci = joint_interval(_spearman, values, far, seed=seed_for(seed, "audit"))
    farther = np.argsort(far, kind="stable")[len(far) // 2 :]
    reached, reached_ci = mean_interval(values[farther])
    verdict: Verdict
    if reached_ci[0] <= chance:
        verdict, meaning = "fail", "far from training nothing is decoded"
    elif rho <= -0.3 and rho_ci[1] < 0:
        verdict, meaning = "warn", "the score leans on near training images"
    else:
        verdict, meaning = "pass", "the score holds far from training"
    return Finding(
        name="distance to training",
        verdict=verdict,
        sentence=f"The score correlates with the distance to the nearest training stimulus by "
        f"{written(rho, rho_ci)}, and the half that is far from training scores "
        f"{written(reached, reached_ci)} (chance {chance:.3f}): {meaning}.",
        value=rho,
        ci=rho_ci,
        references={"chance": chance, "far half": reached, "all": float(values.mean())},
        details={"scores": values, "distances": far},
    )


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's correlation of rows with rows, 0 where one does not vary."""
    from scipy.stats import rankdata

    return rowwise_correlation(rankdata(a, axis=1), rankdata(b, axis=1), block=len(a))


def clusters(features: ArrayLike, n_clusters: int, seed: int = 0) -> NDArray[np.intp]:
    """Group stimuli by their features (n, d), for training with whole groups held out.

    Returns the cluster (n,) of each stimulus, by scikit-learn's k-means, the best of ten starts.
    """
    from sklearn.cluster import KMeans

    # scikit-learn takes seeds of 32 bits.
    state = seed_for(seed, "clusters") % 2**32
    model = KMeans(n_clusters, n_init=10, random_state=state)
    return model.fit_predict(np.asarray(features)).astype(np.intp)


def perceptual_hash(images: ArrayLike) -> NDArray[np.bool_]:
    """Return 64 bits per image (n, height, width, 3) that survive changes the eye overlooks.

    The grey image at 32 x 32 pixels is taken to its discrete cosine transform; each of the 8 x 8
    lowest frequencies, without those constant along an axis, gives one bit: above the median of the
    64 or not (Zauner 2010, section 3.2.1). Blind to colour, brightness, contrast and grain; a
    mirrored or much shifted image has other bits; an image of one value, or one that changes along
    one axis only, has none.
    """
    from scipy.fft import dctn

    grey = resize_images(images, _SIDE) @ _LUMA
    low = dctn(grey, axes=(1, 2), norm="ortho")[:, 1:9, 1:9].reshape(len(grey), 64)
    low = np.round(low, 4)  # what is zero must not become bits by rounding
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


def near_duplicates(
    images: ArrayLike, training_images: ArrayLike, threshold: int = _NEAR
) -> Finding:
    """Look for test images that are in the training set, or nearly.

    Two images are near-duplicates where their perceptual hashes differ in at most ``threshold`` of
    64 bits: unrelated images differ in about 32, and an image from its brightened, compressed or
    rescaled self in few. The value is the share of test images with a near-duplicate. It passes at
    none, warns up to one in twenty, fails beyond.
    """
    training = perceptual_hash(training_images)
    differing = [np.count_nonzero(bits != training, axis=1) for bits in perceptual_hash(images)]
    nearest = np.array([bits.argmin() for bits in differing])
    distance = np.array([bits.min() for bits in differing])
    n_found = int(np.count_nonzero(distance <= threshold))
    share = n_found / len(distance)
    verdict: Verdict = "pass" if n_found == 0 else "warn" if share <= 0.05 else "fail"
    return Finding(
        name="near duplicates",
        verdict=verdict,
        sentence=f"{n_found} of {len(distance)} test images have a near-duplicate in training "
        f"(perceptual hashes within {threshold} of 64 bits; the nearest is at "
        f"{distance.min()}).",
        value=share,
        references={"threshold in bits": threshold},
        details={"nearest": nearest, "distance": distance},
    )


def copies(reconstructions: ArrayLike, originals: ArrayLike, training_images: ArrayLike) -> Finding:
    """Look for reconstructions that are training images.

    All images, (n, height, width, 3) or (n, n_samples, ...), are brought to 32 x 32 pixels. A
    reconstruction is a copy where its correlation (PixCorr) with the nearest training image is at
    least 0.95, and it is less than half as far from it (in 1 - r) as its original is from its own
    nearest: an original that is itself nearly in training excuses its reconstruction. The value is
    the share of copies. It passes at one in a hundred or fewer, warns up to one in ten, fails
    beyond.
    """
    drawn = np.asarray(reconstructions)
    drawn = drawn[:, None] if drawn.ndim == 4 else drawn
    n, n_samples = drawn.shape[:2]
    if n != len(np.asarray(originals)):
        raise ValueError(
            f"There are {n} reconstructions of {len(np.asarray(originals))} originals."
        )
    training = small_pixels(training_images)
    _, r_original = nearest_training(small_pixels(originals), training)
    nearest, r_drawn = nearest_training(
        small_pixels(drawn.reshape(n * n_samples, *drawn.shape[2:])), training
    )
    gap = np.repeat(1 - r_original, n_samples)
    copied = (r_drawn >= _COPY) & (1 - r_drawn < gap / 2 - _ROUNDING)
    share = float(copied.mean())
    verdict: Verdict = "pass" if share <= 0.01 else "warn" if share <= 0.1 else "fail"
    meaning = {
        "pass": "the generator does not copy",
        "warn": "some are copies",
        "fail": "the generator copies",
    }[verdict]
    return Finding(
        name="copies",
        verdict=verdict,
        sentence=f"{int(copied.sum())} of {copied.size} reconstructions are training images "
        f"(median r with the nearest training image {np.median(r_drawn):.2f}, of the originals "
        f"{np.median(r_original):.2f}): {meaning}.",
        value=share,
        references={
            "r of reconstructions": float(np.median(r_drawn)),
            "r of originals": float(np.median(r_original)),
        },
        details={
            "r_reconstructions": r_drawn.reshape(n, n_samples),
            "r_originals": r_original,
            "nearest": nearest.reshape(n, n_samples),
        },
    )


def small_pixels(images: ArrayLike) -> NDArray[np.float32]:
    """Return images at 32 x 32 pixels as rows, shape (n, 3072)."""
    small = resize_images(check_images(images), _SIDE)
    return small.reshape(len(small), -1)
