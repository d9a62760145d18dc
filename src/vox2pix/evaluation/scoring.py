"""Score a collection of reconstructions by a protocol: images, features, statistics, numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import ceil
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.comparison import over_samples
from vox2pix.evaluation.inputs import ImageCollection, Pairs, pair, survey
from vox2pix.evaluation.intervals import mean_interval, rate_interval
from vox2pix.evaluation.metrics import (
    CHANCE,
    N_CANDIDATES,
    SSIM_WINDOW,
    correlation_distance,
    identify_jackknife,
    pixcorr,
    retrieval,
    retrieval_chance,
    ssim,
    two_way_jackknife,
)
from vox2pix.evaluation.metrics.identification import unit_rows
from vox2pix.evaluation.protocols import Metric, Protocol
from vox2pix.evaluation.records import MetricRecord
from vox2pix.seeds import rng_for
from vox2pix.vision import Encoder
from vox2pix.vision.images import Resizing
from vox2pix.vision.weights import NetworkUnavailableError

_BATCH = 64  # images in memory at once
_MISMATCHED = 200  # pairs that chance is a mean over, where there are as many
_SHIFTS = 5  # but no more than so many for each original

Progress = Callable[[str, int, int], None]
FeatureCache = dict[tuple[str | None, Resizing | None], NDArray[np.float32]]
"""Features of originals by network and resizing."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of reconstructions by a protocol.

    Attributes
    ----------
    protocol : Protocol
        By whose definitions.
    records : tuple of MetricRecord
        One per metric and direction: the mean over samples, followed by the best of several.
    scores : DataFrame, shape (n_stimuli, n_metrics)
        Of each stimulus, mean over its samples; columns ``metric`` and ``direction`` (empty but
        for identification and retrieval).
    skipped : dict of str to str
        Metrics that were not computed, and why.
    notes : tuple of str
        What is unusual, and by which convention it is treated.
    originals : tuple of str
        Digests of the originals, in the order of ``scores``, if the images were surveyed.
    """

    protocol: Protocol
    records: tuple[MetricRecord, ...]
    scores: pd.DataFrame
    skipped: dict[str, str]
    notes: tuple[str, ...]
    originals: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Scored:
    """A metric in one direction, sample by sample.

    ``own`` (n, n_samples) are the scores, ``others`` (n_mismatched, n_samples) those of the same
    images as images of other stimuli, ``chance`` that of the mean over samples where theory knows
    it, ``pseudo`` (n, n_samples) the jackknife's pseudo-values of rates. Where correlations were
    averaged, ``joined`` holds the scores and pseudo-values (n,) that replace the mean over samples.
    """

    own: NDArray[np.float64]
    others: NDArray[np.float64]
    chance: float | None = None
    pseudo: NDArray[np.float64] | None = None
    joined: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def means(self, metric: Metric) -> NDArray[np.float64]:
        """Return the score (n,) of each stimulus, over its samples."""
        if self.joined is not None:
            return self.joined[0]
        return next(iter(over_samples(self.own, not metric.lower_is_better).values()))

    def values(self, metric: Metric) -> Iterator[dict[str, Any]]:
        """Yield the values of a record of the mean over samples, and of the best of several."""
        better = not metric.lower_is_better
        (mean, _), (best, highest) = over_samples(self.own, better).items()
        chances = dict.fromkeys((mean, best), self.chance)
        if len(self.others):
            others = over_samples(self.others, better)
            chances[best] = float(others[best].mean())
            chances[mean] = float(others[mean].mean()) if self.chance is None else self.chance
        by_samples = {mean: self.means(metric)}
        by_samples |= {best: highest} if self.own.shape[1] > 1 else {}
        for samples, scores in by_samples.items():
            averaged = samples == mean and self.joined is not None
            low, high = self._interval(scores, averaged)
            yield {
                "samples": samples.replace("mean", "correlations") if averaged else samples,
                "value": float(scores.mean()),
                "ci_low": low,
                "ci_high": high,
                "chance": chances[samples],
            }

    def _interval(self, scores: NDArray[np.float64], is_joined: bool) -> tuple[float, float]:
        """Return the interval of the mean of one score for each stimulus, made of its samples.

        What others win over a stimulus is averaged over samples also where the best is taken.
        """
        if is_joined and self.joined is not None:
            return rate_interval(self.joined[1])
        if self.pseudo is None:
            return mean_interval(scores)
        return rate_interval(scores + (self.pseudo - self.own).mean(axis=1))


@dataclass(frozen=True)
class _Images:
    """The images that are scored, and the cyclic shifts that mismatch them."""

    truth: ImageCollection
    reconstructions: ImageCollection
    pairs: Pairs
    shifts: tuple[int, ...]


_IMAGE_STATISTICS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "pixcorr": pixcorr,
    "ssim": ssim,
    "ssim-columns": partial(ssim, windows="columns"),
}


class _TooSmallError(UserError):
    """An image is too small for a metric."""


def score_collections(
    truth: ImageCollection,
    reconstructions: ImageCollection,
    protocol: Protocol,
    network: Callable[[Metric], Encoder],
    *,
    weights: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    progress: Progress = lambda step, done, total: None,
) -> Evaluation:
    """Score reconstructions against originals by a protocol.

    All images are looked at before anything is computed; then as :func:`score_pairs`.
    """
    seen = survey(
        truth, reconstructions, pair(truth, reconstructions), _Meter(progress, "reading").advance
    )
    evaluation = score_pairs(
        truth,
        reconstructions,
        seen.pairs,
        protocol,
        network,
        condition=reconstructions.source.stem,
        weights=weights,
        seed=seed,
        progress=progress,
    )
    return replace(evaluation, notes=seen.notes, originals=seen.digests)


def score_pairs(
    truth: ImageCollection,
    reconstructions: ImageCollection,
    pairs: Pairs,
    protocol: Protocol,
    network: Callable[[Metric], Encoder],
    *,
    condition: str,
    subject: str = "",
    original_features: FeatureCache | None = None,
    weights: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    progress: Progress = lambda step, done, total: None,
) -> Evaluation:
    """Score reconstructions that were paired with their originals.

    A metric whose network is not here is left out and named in ``skipped``. The score of a
    stimulus is the mean over its samples, the value the mean over stimuli, with the interval of
    :func:`~vox2pix.evaluation.rate_interval` for identification and retrieval, else of
    :func:`~vox2pix.evaluation.mean_interval`. With several samples a record of the best of them
    follows (:func:`~vox2pix.evaluation.comparison.over_samples`). Chance of the mean is one half
    for identification, k of the candidates for retrieval; other chances are what the same images
    reach as images of other stimuli, over at most five cyclic shifts. Features of one network are
    in memory at once: those of the originals and of one sample.

    Parameters
    ----------
    network : callable
        From a metric to its encoder; metrics that follow each other and share network and resizing
        share it. May raise NetworkUnavailableError.
    condition, subject : str
        Names for the records.
    original_features : dict, optional
        Features of these originals from earlier calls; new ones are added.
    weights : mapping of str to str
        Digests of the weights by network, part of the definitions; ``network`` may add to them.
    seed : int
        Of the mismatched pairs.
    progress : callable
        Receives the step, how much of it is done, and of how much.
    """
    images = _Images(truth, reconstructions, pairs, _shifts(len(pairs.ids), seed))
    cache = {} if original_features is None else original_features
    scored: dict[tuple[Metric, str], _Scored] = {}
    skipped: dict[str, str] = {}
    for _, group in groupby(protocol.metrics, lambda m: (m.network or m.name, m.resizing)):
        metrics = list(group)
        meter = _Meter(progress, metrics[0].name)
        try:
            if metrics[0].network is None:
                scored |= _of_images(metrics[0], images, meter)
            else:
                average = protocol.averaging == "correlations"
                encoder = network(metrics[0])
                scored |= _of_features(metrics, encoder, images, meter, cache, average)
        except (NetworkUnavailableError, _TooSmallError) as error:
            skipped |= {metric.name: str(error) for metric in metrics}
    return _evaluation(protocol, scored, skipped, images, weights, condition, subject)


def _shifts(n: int, seed: int) -> tuple[int, ...]:
    """Return the cyclic shifts that mismatch n stimuli: for 200 pairs or more, at most five."""
    count = min(_SHIFTS, n - 1, ceil(_MISMATCHED / n))
    chosen = rng_for(seed, "mismatched").choice(np.arange(1, n), count, replace=False)
    return tuple(map(int, chosen))


def _evaluation(
    protocol: Protocol,
    scored: Mapping[tuple[Metric, str], _Scored],
    skipped: dict[str, str],
    images: _Images,
    weights: Mapping[str, str],
    condition: str,
    subject: str,
) -> Evaluation:
    """Return the records and the table of scores of all metrics."""
    if not scored:
        reasons = " ".join(dict.fromkeys(skipped.values()))
        raise UserError(f"No metric of {protocol.name} can be computed here. {reasons}")
    ids, n_samples = images.pairs.ids, images.reconstructions.n_samples
    records = [
        MetricRecord(
            subject=subject,
            condition=condition,
            metric=metric.name,
            direction=direction or None,
            protocol=protocol.name,
            n_stimuli=len(ids),
            definition=_definition(metric, protocol, n_samples, weights),
            **values,
        )
        for (metric, direction), each in scored.items()
        for values in each.values(metric)
    ]
    table = pd.DataFrame(
        {(m.name, direction): each.means(m) for (m, direction), each in scored.items()},
        index=pd.Index(ids, name="stimulus_id"),
    )
    table.columns = table.columns.set_names(["metric", "direction"])
    return Evaluation(protocol, tuple(records), table, skipped, ())


def _definition(
    metric: Metric, protocol: Protocol, n_samples: int, weights: Mapping[str, str]
) -> str:
    """Return what exactly a record is of: the metric, its weights and how samples are joined."""
    words = [metric.definition]
    if metric.network is not None and metric.network in weights:
        words.append(f"weights {weights[metric.network]}")
    if metric.statistic == "two-way" and protocol.averaging == "correlations" and n_samples > 1:
        words.append("correlations averaged over samples")
    return ", ".join(words)


class _Meter:
    """Reports how much of a metric's images are done."""

    def __init__(self, progress: Progress, step: str) -> None:
        self._progress, self._step = progress, step
        self._done = 0

    def advance(self, n: int, total: int) -> None:
        self._done += n
        self._progress(self._step, self._done, total)


def _of_images(metric: Metric, images: _Images, meter: _Meter) -> dict[tuple[Metric, str], _Scored]:
    """Score images pair by pair."""
    statistic = _IMAGE_STATISTICS[metric.statistic]
    resizing = metric.resizing or Resizing()
    reconstructions, pairs, shifts = images.reconstructions, images.pairs, images.shifts
    n, n_samples = len(pairs.ids), reconstructions.n_samples
    scores = np.zeros((1 + len(shifts), n, n_samples))
    for i, row in enumerate(pairs.truth_rows):
        original = images.truth.image(row)[None]
        size = metric.size or original.shape[1:3]
        if metric.statistic.startswith("ssim") and min(np.atleast_1d(size)) < SSIM_WINDOW:
            raise _TooSmallError(
                f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, and "
                f"{pairs.ids[i]!r} has {original.shape[1]} x {original.shape[2]}."
            )
        original = np.repeat(resizing(original, size), n_samples, axis=0)
        for turn, shift in enumerate((0, *shifts)):
            other = pairs.reconstruction_rows[(i + shift) % n]
            drawn = [reconstructions.image(other, sample) for sample in range(n_samples)]
            sized = np.concatenate([resizing(image[None], size) for image in drawn])
            scores[turn, i] = statistic(original, sized)
        meter.advance(1, n)
    return {(metric, ""): _Scored(scores[0], scores[1:].reshape(-1, n_samples))}


def _of_features(
    metrics: Sequence[Metric],
    encoder: Encoder,
    images: _Images,
    meter: _Meter,
    original_features: FeatureCache,
    average_correlations: bool,
) -> dict[tuple[Metric, str], _Scored]:
    """Score features, which all of the metrics share, sample by sample."""
    reconstructions, pairs = images.reconstructions, images.pairs
    n, n_samples = len(pairs.ids), reconstructions.n_samples
    total = n * (1 + n_samples)
    key = (metrics[0].network, metrics[0].resizing)
    if key in original_features:
        meter.advance(n, total)
    else:
        original_features[key] = _features(encoder, images.truth, pairs.truth_rows, 0, meter, total)
    originals = original_features[key]
    mean_r = np.zeros((n, n)) if average_correlations else None
    scores: dict[tuple[Metric, str], list[NDArray[np.float64]]] = {}
    pseudo: dict[tuple[Metric, str], list[NDArray[np.float64]]] = {}
    for sample in range(n_samples):
        features = _features(
            encoder, reconstructions, pairs.reconstruction_rows, sample, meter, total
        )
        if mean_r is not None:
            mean_r += unit_rows(originals) @ unit_rows(features).T / n_samples
        for metric in metrics:
            # Theory gives the chance of the mean, except for distances.
            turns = images.shifts if n_samples > 1 or metric.statistic == "distance" else ()
            of_turn = [
                _statistic(metric, originals, np.roll(features, -shift, axis=0))
                for shift in (0, *turns)
            ]
            for direction in of_turn[0]:
                of_sample = np.stack([in_turns[direction][0] for in_turns in of_turn])
                scores.setdefault((metric, direction), []).append(of_sample)
                pseudo.setdefault((metric, direction), []).append(of_turn[0][direction][1])
    joined = {} if mean_r is None else identify_jackknife(mean_r)
    return {
        (metric, direction): _Scored(
            own=np.stack([of_sample[0] for of_sample in in_turns], axis=1),
            others=np.stack([of_sample[1:].ravel() for of_sample in in_turns], axis=1),
            chance=_chance_by_theory(metric, n),
            pseudo=(
                None
                if metric.statistic == "distance"
                else np.stack(pseudo[metric, direction], axis=1)
            ),
            joined=joined.get(direction) if metric.statistic == "two-way" else None,  # type: ignore[call-overload]
        )
        for (metric, direction), in_turns in scores.items()
    }


def _statistic(
    metric: Metric, originals: NDArray[np.float32], features: NDArray[np.float32]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Score the features of one sample of every stimulus: scores and pseudo-values by direction."""
    if metric.statistic == "distance":
        distance = correlation_distance(originals, features)
        return {"": (distance, distance)}
    if metric.statistic == "retrieval":
        # Hits of two stimuli are nearly independent: scores are their own pseudo-values.
        by_direction = retrieval(originals, features, metric.top, N_CANDIDATES)
        return {direction: (scores, scores) for direction, scores in by_direction.items()}
    if metric.statistic == "two-way":
        return dict(two_way_jackknife(originals, features).items())
    raise ValueError(f"There is no statistic {metric.statistic!r} of features.")


def _chance_by_theory(metric: Metric, n: int) -> float | None:
    """Return the chance of a mean over samples, where theory knows it."""
    chances = {"two-way": CHANCE, "retrieval": retrieval_chance(metric.top, n, N_CANDIDATES)}
    return chances.get(metric.statistic)


def _features(
    encoder: Encoder,
    collection: ImageCollection,
    rows: Sequence[int],
    sample: int,
    meter: _Meter,
    total: int,
) -> NDArray[np.float32]:
    """Return the features of one sample of every stimulus, shape (n, d)."""
    features: NDArray[np.float32] | None = None
    for start in range(0, len(rows), _BATCH):
        images = [collection.image(row, sample) for row in rows[start : start + _BATCH]]
        if len({image.shape for image in images}) == 1:
            batch = encoder(np.stack(images))
        else:
            batch = np.concatenate([encoder(image[None]) for image in images])
        if features is None:
            features = np.empty((len(rows), batch.shape[1]), np.float32)
        features[start : start + len(batch)] = batch
        meter.advance(len(batch), total)
    if features is None:
        raise ValueError("There are no images.")
    return features
