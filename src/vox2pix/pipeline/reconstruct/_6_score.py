"""Stage 6 of a reconstruction: how well each original is identified from what was drawn."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config, without_place
from vox2pix.evaluation import (
    PROTOCOLS,
    Encoder,
    ImageCollection,
    Metric,
    MetricRecord,
    Pairs,
    Protocol,
    digest,
    image_encoder,
    rate_interval,
    retrieval,
    retrieval_chance,
    score_pairs,
    score_rows,
    weights_digest,
)
from vox2pix.evaluation import encoder_hashes as encoder_file_hashes
from vox2pix.evaluation.audit import nearest_training
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.drawings import (
    RETRIEVAL,
    Drawing,
    drawings_of,
    planned_drawings,
    stored_images,
)
from vox2pix.pipeline.experiment import (
    FloatArray,
    content_target,
    decoded,
    features,
    flat,
    image_size,
    targets,
)
from vox2pix.pipeline.inputs import encoder_hashes
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import write_json, write_table

_DIGEST_SIZE = 256  # pixels at which originals are recognised, whatever size was drawn
_BLOCK = 32  # originals read at once
_TOP = (1, 5)
Records = list[dict[str, Any]]


def compute(
    truth: FloatArray, decoded: FloatArray, name: str, subject: str, protocol: str
) -> list[MetricRecord]:
    """Search each test stimulus by its decoded values, (n_test, n_values), among the true ones."""
    records = []
    for k in _TOP:
        metric = Metric(f"top-{k}", "retrieval", "decoded features", top=k)
        for direction, scores in retrieval(truth, decoded, k).items():
            low, high = rate_interval(scores)
            records.append(
                MetricRecord(
                    subject=subject,
                    condition=f"decoded {name}",
                    metric=metric.name,
                    direction=direction,
                    protocol=protocol,
                    samples="mean of 1",
                    value=float(scores.mean()),
                    ci_low=low,
                    ci_high=high,
                    chance=retrieval_chance(k, len(truth)),
                    n_stimuli=len(truth),
                    definition=metric.definition,
                )
            )
    return records


def _score(run: Run) -> Sequence[str]:
    """Score every condition; write ``metrics.json`` and the scores of each image."""
    n, n_metrics = len(run.test_ids), len(_protocol(run.config).metrics)
    steps = {d.name: n * (n_metrics + d.samples) for d in _scored(drawings_of(run))}
    if run.config.audit.enabled:
        steps[RETRIEVAL] = n * (n_metrics + 1)
    run.reporter.begin("Scoring", sum(steps.values()), "images")
    results = {}
    for name, result in run.workers.each(_score_condition, run, steps):
        results[name] = result
        run.reporter.advance(steps[name])
    records = [record for name in steps for record in results[name][0]]
    for name in targets(run):
        truth, values = flat(features(run, name, run.test_ids)), flat(decoded(run, name))
        found = compute(truth, values, name, run.subject.name, run.config.protocol)
        records += [record.model_dump() for record in found]
    write_json(run.path / "metrics.json", records)
    write_table(run.path / "scores.csv", [row for name in steps for row in results[name][1]])
    return ("metrics.json", "scores.csv")


def _scored(drawings: Sequence[Drawing]) -> list[Drawing]:
    # Swapped images have no one truth; those with their cluster held out come from decoders of
    # their own, so that one half is not chance among all of them. The audit looks at both.
    return [d for d in drawings if d.source not in ("swapped", "held-out")]


def _score_condition(run: Run, name: str) -> tuple[Records, Records]:
    """Return the records of a condition, and the scores of each of its images."""
    rows = tuple(range(len(run.test_ids)))
    images, size = _collection_named(run, name)
    # Originals are embedded once, for all conditions of their size.
    encoder, seen, originals, weights = run.cached("stage", "scoring", lambda: _shared(run))
    result = score_pairs(
        _originals(run, size),
        images,
        Pairs(run.test_ids, rows, rows, "by id"),
        _protocol(run.config, size),
        lambda metric: encoder,
        condition=name,
        subject=run.subject.name,
        original_features=seen.setdefault(size, {}),
        weights=weights,
        seed=run.config.seed,
    )
    rows_of_scores = list(score_rows(result.scores, name, originals))
    return [record.model_dump() for record in result.records], rows_of_scores


def _shared(run: Run) -> tuple[Encoder, dict[int, Any], tuple[str, ...], dict[str, str]]:
    """Return what all conditions share: network, features, digests of originals and weights."""
    name = run.config.evaluate.encoder
    hashes = encoder_file_hashes(name)
    originals = _originals(run, _DIGEST_SIZE)
    digests = tuple(digest(originals.image(row)) for row in range(len(run.test_ids)))
    encoder = image_encoder(name, device=run.config.compute.device)
    return encoder, {}, digests, {name: weights_digest(hashes)} if hashes else {}


def _protocol(config: Config, size: int | None = None) -> Protocol:
    """Return what a run's own images are scored by: samples are joined as its protocol does.

    ``size`` is that of the images, which are compared as they are.
    """
    named, encoder = PROTOCOLS[config.run_protocol.scored_as], config.evaluate.encoder
    return Protocol(
        name=config.protocol,
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
        nearest = _stimuli(run, nearest_training_ids(run), image_size(run))
        return _collection(run, RETRIEVAL, nearest), image_size(run)
    drawing = next(d for d in drawings_of(run) if d.name == name)
    stored = stored_images(run, drawing)
    # Chance compares each original with images some rows further on.
    shard = lru_cache(maxsize=4)(stored.read)

    def raw(row: int, sample: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = shard(row // stored.shard_size)[row % stored.shard_size, sample]
        return image

    return _collection(run, name, raw, drawing.samples), stored.shape[2]


def _originals(run: Run, size: int) -> ImageCollection:
    """Return the test stimuli at the size of what was drawn."""
    return _collection(run, "seen", _stimuli(run, run.test_ids, size))


def _stimuli(run: Run, stimulus_ids: Sequence[str], size: int) -> Callable[[int, int], FloatArray]:
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
    """Return for each test stimulus the training one whose content is nearest to the decoded.

    What a retrieval would show without drawing anything.
    """
    name, train_ids = content_target(targets(run)), run.subject.train.stimulus_ids
    training = flat(features(run, name, train_ids))
    rows, _ = nearest_training(flat(decoded(run, name)), training, centred=True)
    return [train_ids[row] for row in rows]


def _settings(config: Config) -> Sequence[Any]:
    encoder = without_place(config.evaluate.encoder)  # its files are hashed
    protocol = [config.protocol, config.run_protocol.scored_as]
    return [config.evaluate.model_copy(update={"encoder": encoder}), *protocol]


def _cost(p: Planned) -> Cost:
    drawings, size = _scored(planned_drawings(p.config, p.sizes.has_captions)), p.model.image_size
    n = p.sizes.n_test * (sum(d.samples for d in drawings) + p.config.audit.enabled)
    pixels = n * size**2 * 3.0
    # Each is also scored as an image of other stimuli, for chance: 200 pairs or more.
    n_times = 1 + ceil(200 / p.sizes.n_test)
    seconds = 5 + pixels * n_times * 5e-8  # PixCorr and SSIM: some 20 million values a second
    # A few shards and blocks of originals in memory, in 8 bit and in float32.
    in_memory = 4 * p.config.compute.shard_size * p.config.generate.samples + 4 * 4 * _BLOCK
    memory = in_memory * size**2 * 3.0 + 1.5e9
    return Cost("evaluate", f"score {n:,} images", pixels, 1e6, memory, seconds)


SCORE = Stage(
    "evaluate",
    "Scoring",
    _score,
    _settings,
    after=("generate", "audit-drawing"),
    inputs=encoder_hashes,
    cost=_cost,
)
