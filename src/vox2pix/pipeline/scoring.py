"""The scores of a run: every drawing, the nearest training images, retrieval by decoded z, c."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import without_place
from vox2pix.evaluation import (
    PROTOCOLS,
    Encoder,
    ImageCollection,
    Metric,
    MetricRecord,
    Pairs,
    Protocol,
    digest,
    encoder_hashes,
    image_encoder,
    rate_interval,
    retrieval,
    retrieval_chance,
    score_pairs,
    score_rows,
    weights_digest,
)
from vox2pix.evaluation.audit import nearest_training
from vox2pix.pipeline.drawings import Drawing
from vox2pix.pipeline.images import drawings_of, stored_images
from vox2pix.pipeline.latents import FloatArray, image_size
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import feature_spaces
from vox2pix.store import load_arrays, write_json, write_table

RETRIEVAL = "retrieval"
DECODED_FEATURES = "decoded {}"
"""Condition of the records of retrieval: no image is drawn for them."""

_DIGEST_SIZE = 256  # pixels at which originals are known again, whatever size was drawn
_BLOCK = 32  # originals read at once
_TOP = (1, 5)


def make_encoder(run: Run) -> Encoder:
    """Return the network that images are identified by."""
    return image_encoder(run.config.evaluate.encoder, device=run.config.compute.device)


def score(run: Run) -> Sequence[str]:
    """Score every condition; write ``metrics.json`` and the scores of each image."""
    n, metrics = len(run.test_ids), len(_protocol(run).metrics)
    steps = {d.name: n * (metrics + d.samples) for d in _scored(run)}
    if run.config.audit.enabled:
        steps[RETRIEVAL] = n * (metrics + 1)
    run.reporter.begin("Scoring", sum(steps.values()), "images")
    found = {}
    for name, of_one in run.workers.each(_score_condition, run, steps):
        found[name] = of_one
        run.reporter.advance(steps[name])
    records = [record for name in steps for record in found[name][0]]
    records += [record.model_dump() for record in _retrieval_records(run)]
    write_json(run.path / "metrics.json", records)
    write_table(run.path / "scores.csv", [row for name in steps for row in found[name][1]])
    return ("metrics.json", "scores.csv")


def _scored(run: Run) -> list[Drawing]:
    # Swapped images have no one truth; those with their cluster held out come from decoders of
    # their own, so that one half is not chance among all of them. The audit looks at both.
    return [d for d in drawings_of(run) if d.source not in ("swapped", "held-out")]


def _score_condition(run: Run, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the records of a condition, and the scores of each of its images."""
    rows = tuple(range(len(run.test_ids)))
    drawn, size = _collection_named(run, name)
    # Originals are looked at once, for all conditions of their size.
    encoder, known, originals, weights = run.kept("stage", "scoring", lambda: _shared(run))
    found = score_pairs(
        _originals(run, size),
        drawn,
        Pairs(run.test_ids, rows, rows, "by id"),
        _protocol(run, size),
        lambda metric: encoder,
        condition=name,
        subject=run.subject.name,
        original_features=known.setdefault(size, {}),
        weights=weights,
        seed=run.config.seed,
    )
    rows_of_scores = list(score_rows(found.scores, name, originals))
    return [record.model_dump() for record in found.records], rows_of_scores


def _shared(run: Run) -> tuple[Encoder, dict[int, Any], tuple[str, ...], dict[str, str]]:
    """Return what all conditions share: network, features, digests of originals and weights."""
    name = run.config.evaluate.encoder
    hashes = encoder_hashes(name)
    seen = _originals(run, _DIGEST_SIZE)
    digests = tuple(digest(seen.image(row)) for row in range(len(run.test_ids)))
    return make_encoder(run), {}, digests, {name: weights_digest(hashes)} if hashes else {}


def _protocol(run: Run, size: int | None = None) -> Protocol:
    """Return what a run's own images are scored by: samples are joined as its protocol does.

    ``size`` is that of the images, which are compared as they are.
    """
    named, encoder = PROTOCOLS[run.config.protocol], run.config.evaluate.encoder
    return Protocol(
        name=named.name,
        source=named.source,
        metrics=(
            Metric("pixcorr", "pixcorr", size=size),
            Metric("ssim", "ssim", size=size),
            Metric(f"two-way {without_place(encoder)}", "two-way", encoder),
        ),
        direction=named.direction,
        averaging=named.averaging,
        notes="",
    )


def _collection_named(run: Run, name: str) -> tuple[ImageCollection, int]:
    """Return the images of a condition and their size: a drawing, or the nearest training."""
    if name == RETRIEVAL:
        nearest = _images(run, nearest_training_ids(run), image_size(run))
        return _collection(run, RETRIEVAL, nearest), image_size(run)
    drawing = next(d for d in _scored(run) if d.name == name)
    stored = stored_images(run, drawing)
    # Chance holds each original against images some rows further on.
    shard = lru_cache(maxsize=4)(stored.read)

    def raw(row: int, sample: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = shard(row // stored.shard_size)[row % stored.shard_size, sample]
        return image

    return _collection(run, name, raw, drawing.samples), stored.shape[2]


def _originals(run: Run, size: int) -> ImageCollection:
    """Return what was seen at the size of what was drawn."""
    return _collection(run, "seen", _images(run, run.test_ids, size))


def _images(run: Run, stimulus_ids: Sequence[str], size: int) -> Callable[[int, int], FloatArray]:
    """Return a function from a row to a stimulus, which reads block by block."""

    @lru_cache(maxsize=4)
    def block(number: int) -> FloatArray:
        rows = slice(number * _BLOCK, (number + 1) * _BLOCK)
        return run.subject.images(stimulus_ids[rows], size=size)

    return lambda row, sample: block(row // _BLOCK)[row % _BLOCK]


def _collection(
    run: Run, name: str, raw: Callable[[int, int], NDArray[Any]], n_samples: int = 1
) -> ImageCollection:
    return ImageCollection(Path(name), run.test_ids, False, n_samples, raw)


def nearest_training_ids(run: Run) -> list[str]:
    """Return for each test stimulus the training one whose c (or z) is nearest to the decoded.

    What a retrieval would show without drawing anything.
    """
    space = feature_spaces(run)[-1]
    train_ids = run.subject.train.stimulus_ids
    decoded = load_arrays(run.path / "decoded" / f"{space.name}.safetensors")["predicted"]
    training = space.targets(run, train_ids)
    rows, _ = nearest_training(
        decoded.reshape(len(decoded), -1), training.reshape(len(training), -1), centred=True
    )
    return [train_ids[row] for row in rows]


def _retrieval_records(run: Run) -> Iterator[MetricRecord]:
    """Look for each test stimulus by its decoded z and c among the true ones of all."""
    n, wanted = len(run.test_ids), run.config
    for space in feature_spaces(run):
        decoded = load_arrays(run.path / "decoded" / f"{space.name}.safetensors")["predicted"]
        truth = space.targets(run, run.test_ids).reshape(n, -1)
        for k in _TOP:
            metric = Metric(f"top-{k}", "retrieval", "decoded features", top=k)
            found = retrieval(truth, decoded.reshape(n, -1), k)
            for direction, scores in found.items():
                low, high = rate_interval(scores)
                yield MetricRecord(
                    subject=run.subject.name,
                    condition=DECODED_FEATURES.format(space.name),
                    metric=metric.name,
                    direction=direction,
                    protocol=wanted.protocol,
                    samples="mean of 1",
                    value=float(scores.mean()),
                    ci_low=low,
                    ci_high=high,
                    chance=retrieval_chance(k, n),
                    n_stimuli=n,
                    definition=Metric(
                        f"top-{k}", "retrieval", "decoded features", top=k
                    ).definition,
                )
