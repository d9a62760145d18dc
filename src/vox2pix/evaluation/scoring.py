"""Score a collection of reconstructions by a protocol: pictures, features, statistics, numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.identification import (
    CHANCE,
    rowwise_correlation,
    two_way_scores,
    unit_rows,
)
from vox2pix.evaluation.inputs import Pairs, PictureCollection, pair
from vox2pix.evaluation.intervals import bootstrap_interval
from vox2pix.evaluation.metrics import SSIM_WINDOW, correlation_distance, identify, pixcorr, ssim
from vox2pix.evaluation.networks import Encoder
from vox2pix.evaluation.pictures import Resizing
from vox2pix.evaluation.protocols import Metric, Protocol
from vox2pix.evaluation.records import MetricRecord
from vox2pix.evaluation.weights import NetworkUnavailableError
from vox2pix.seeds import rng_for, seed_for

_BATCH = 64  # pictures in memory at once
_MISMATCHED = 200  # pairs that chance is a mean over, where there are as many
_SHIFTS = 5  # but no more than so many for each original

Progress = Callable[[str, int, int], None]
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Evaluation:
    """What a protocol says of reconstructions.

    Attributes
    ----------
    protocol : Protocol
        By whose definitions.
    records : tuple of MetricRecord
        A number a metric and direction.
    scores : DataFrame, shape (n_stimuli, n_metrics)
        Of each stimulus, mean over its samples; columns ``metric`` and ``direction`` (empty but
        for identification).
    skipped : dict of str to str
        Metrics that were not computed, and why.
    notes : tuple of str
        What was found and by which convention it was treated.
    """

    protocol: Protocol
    records: tuple[MetricRecord, ...]
    scores: pd.DataFrame
    skipped: dict[str, str]
    notes: tuple[str, ...]


class _TooSmallError(UserError):
    """A picture is too small for a metric."""


def score_collections(
    truth: PictureCollection,
    reconstructions: PictureCollection,
    protocol: Protocol,
    network: Callable[[Metric], Encoder],
    *,
    seed: int = 0,
    n_resamples: int = 2000,
    progress: Progress = lambda step, done, total: None,
) -> Evaluation:
    """Score reconstructions against originals by a protocol.

    All pictures are looked at before anything is computed. A metric whose network is not here is
    left out and said. The score of a stimulus is the mean over its samples, the value the mean
    over stimuli; its interval is that of
    :func:`~vox2pix.evaluation.intervals.bootstrap_interval`. Chance is one half for
    identification; for the others it is what the same pictures reach as pictures of other
    stimuli, over cyclic shifts: so many that there are at least 200 pairs, at most five.

    Features of one network are in memory at once: those of the originals and of one sample.

    Parameters
    ----------
    truth, reconstructions : PictureCollection
        Paired by :func:`~vox2pix.evaluation.inputs.pair`.
    protocol : Protocol
        What is computed.
    network : callable
        A metric to the encoder that its features come from; it may raise NetworkUnavailableError.
    seed : int
        Of the resamples and the mismatched pairs.
    n_resamples : int
        Bootstrap samples of stimuli.
    progress : callable
        Told the step, how much of it is done, and of how much.

    Raises
    ------
    UserError
        If pictures lack partners or cannot be used, or no metric can be computed.
    """
    pairs = pair(truth, reconstructions)
    notes = _survey(truth, reconstructions, pairs, progress)
    rng = rng_for(seed, "mismatched")
    n = len(pairs.ids)
    n_shifts = min(_SHIFTS, n - 1, ceil(_MISMATCHED / n))
    shifts = [int(shift) for shift in rng.choice(np.arange(1, n), n_shifts, replace=False)]
    skipped: dict[str, str] = {}
    records: list[MetricRecord] = []
    columns: dict[tuple[str, str], NDArray[np.float64]] = {}
    averaged = "correlations" if protocol.averaging == "correlations" else "mean"
    for metric in protocol.metrics:
        told = _Told(progress, metric.name)
        try:
            if metric.network is None:
                scores, chance = _of_pictures(metric, truth, reconstructions, pairs, shifts, told)
            else:
                scores, chance = _of_features(
                    metric, network(metric), truth, reconstructions, pairs, shifts, told,
                    average_correlations=protocol.averaging == "correlations",
                )  # fmt: skip
        except (NetworkUnavailableError, _TooSmallError) as error:
            skipped[metric.name] = str(error)
            continue
        for direction, values in scores.items():
            columns[metric.name, direction] = values
            low, high = bootstrap_interval(
                values, n_resamples=n_resamples, seed=seed_for(seed, "bootstrap")
            )
            records.append(
                MetricRecord(
                    subject="",
                    condition=reconstructions.source.stem,
                    metric=metric.name,
                    direction=direction or None,
                    protocol=protocol.name,
                    samples=f"{averaged} of {reconstructions.n_samples}",
                    value=float(values.mean()),
                    ci_low=low,
                    ci_high=high,
                    chance=chance,
                    n_stimuli=n,
                )
            )
    if not records:
        reasons = "; ".join(dict.fromkeys(skipped.values()))
        raise UserError(f"no metric of {protocol.name} can be computed here: {reasons}")
    index = pd.Index(pairs.ids, name="stimulus_id")
    names = pd.MultiIndex.from_tuples(list(columns), names=("metric", "direction"))
    table = pd.DataFrame(np.column_stack(list(columns.values())), index=index, columns=names)
    return Evaluation(protocol, tuple(records), table, skipped, notes)


class _Told:
    """Tells how much of a metric's pictures are done."""

    def __init__(self, progress: Progress, step: str) -> None:
        self._progress, self._step = progress, step
        self._done = 0

    def advance(self, n: int, total: int) -> None:
        self._done += n
        self._progress(self._step, self._done, total)


def _survey(
    truth: PictureCollection, reconstructions: PictureCollection, pairs: Pairs, progress: Progress
) -> tuple[str, ...]:
    """Look at every picture once; say what is unusual about them."""
    told = _Told(progress, "reading")
    n_samples = reconstructions.n_samples
    notes = [f"{len(pairs.ids)} stimuli, paired {pairs.by}; {_plural(n_samples, 'sample')} each"]
    sizes: list[str] = []
    for name, collection, rows in (
        ("originals", truth, pairs.truth_rows),
        ("reconstructions", reconstructions, pairs.reconstruction_rows),
    ):
        shapes, n_constant = set(), 0
        for row in rows:
            for sample in range(collection.n_samples):
                picture = collection.picture(row, sample)
                shapes.add(picture.shape[:2])
                n_constant += int((picture == picture[:1, :1]).all())
                told.advance(1, len(rows) * (1 + n_samples))
        if n_constant:
            notes.append(
                f"{n_constant} {name} are of one colour throughout; where a correlation is not "
                "defined it counts as 0"
            )
        sizes.append(f"{name} of {_sizes(shapes)} pixels")
    return (*notes, ", ".join(sizes))


def _plural(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"


def _sizes(shapes: set[tuple[int, int]]) -> str:
    smallest, largest = min(shapes), max(shapes)
    text = f"{smallest[0]} x {smallest[1]}"
    return text if smallest == largest else f"{text} to {largest[0]} x {largest[1]}"


def _of_pictures(
    metric: Metric,
    truth: PictureCollection,
    reconstructions: PictureCollection,
    pairs: Pairs,
    shifts: Sequence[int],
    told: _Told,
) -> tuple[Scores, float]:
    """Score pictures pair by pair; return the means over samples, and chance."""
    statistic = {"pixcorr": pixcorr, "ssim": ssim}[metric.statistic]
    resizing = metric.resizing or Resizing()
    n, n_samples = len(pairs.ids), reconstructions.n_samples
    own = np.zeros(n)
    others = np.zeros((n, len(shifts)))
    for i, row in enumerate(pairs.truth_rows):
        original = truth.picture(row)[None]
        size = metric.size or original.shape[1:3]
        if metric.statistic == "ssim" and min(np.atleast_1d(size)) < SSIM_WINDOW:
            raise _TooSmallError(
                f"SSIM needs pictures of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, and "
                f"{pairs.ids[i]!r} has {original.shape[1]} x {original.shape[2]}"
            )
        original = resizing(original, size)

        def score(j: int, sample: int, original=original, size=size) -> float:  # type: ignore[no-untyped-def]
            picture = reconstructions.picture(pairs.reconstruction_rows[j], sample)[None]
            return float(statistic(original, resizing(picture, size))[0])

        own[i] = np.mean([score(i, sample) for sample in range(n_samples)])
        others[i] = [score((i + s) % n, turn % n_samples) for turn, s in enumerate(shifts)]
        told.advance(1, n)
    return {"": own}, float(others.mean())


def _of_features(
    metric: Metric,
    encoder: Encoder,
    truth: PictureCollection,
    reconstructions: PictureCollection,
    pairs: Pairs,
    shifts: Sequence[int],
    told: _Told,
    average_correlations: bool,
) -> tuple[Scores, float]:
    """Score features sample by sample; return the means over samples, and chance."""
    n, n_samples = len(pairs.ids), reconstructions.n_samples
    total = n * (1 + n_samples)
    originals = _features(encoder, truth, pairs.truth_rows, 0, told, total)
    unit_originals = unit_rows(originals) if average_correlations else None
    correlations = np.zeros((n, n))
    scores: Scores = {}
    chances = []
    for sample in range(n_samples):
        features = _features(
            encoder, reconstructions, pairs.reconstruction_rows, sample, told, total
        )
        if metric.statistic == "distance":
            found: Scores = {"": correlation_distance(originals, features)}
            chances += [1 - rowwise_correlation(originals, np.roll(features, s, 0)) for s in shifts]
        elif unit_originals is not None:
            correlations += unit_originals @ unit_rows(features).T / n_samples
            continue
        else:
            found = {
                str(key): values for key, values in two_way_scores(originals, features).items()
            }
        for key, values in found.items():
            scores[key] = scores.get(key, 0) + values / n_samples
    if not scores:
        scores = dict(identify(correlations).items())
    return scores, float(np.mean(chances)) if chances else CHANCE


def _features(
    encoder: Encoder,
    collection: PictureCollection,
    rows: Sequence[int],
    sample: int,
    told: _Told,
    total: int,
) -> NDArray[np.float32]:
    """Return the features of one sample of every stimulus, shape (n, d)."""
    features: NDArray[np.float32] | None = None
    for start in range(0, len(rows), _BATCH):
        pictures = [collection.picture(row, sample) for row in rows[start : start + _BATCH]]
        if len({picture.shape for picture in pictures}) == 1:
            batch = encoder(np.stack(pictures))
        else:
            batch = np.concatenate([encoder(picture[None]) for picture in pictures])
        if features is None:
            features = np.empty((len(rows), batch.shape[1]), np.float32)
        features[start : start + len(batch)] = batch
        told.advance(len(batch), total)
    if features is None:
        raise ValueError("There are no pictures.")
    return features
