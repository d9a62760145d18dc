"""The scores of a run: every drawing, and the training pictures nearest to what was decoded."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.evaluation import Encoder, evaluate, image_encoder, per_picture_scores
from vox2pix.evaluation.audit import nearest_training
from vox2pix.pipeline.drawings import Drawing
from vox2pix.pipeline.latents import FloatArray
from vox2pix.pipeline.pictures import as_bytes, as_floats, drawings_of, stored_pictures
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import feature_spaces
from vox2pix.store import load_arrays, write_json, write_table

RETRIEVAL = "retrieval"


def make_encoder(run: Run) -> Encoder:
    """Return the network that pictures are identified by."""
    return image_encoder(run.config.evaluate.encoder, device=run.config.compute.device)


def score(run: Run) -> Sequence[str]:
    """Score every condition; write ``metrics.json`` and the scores of each picture."""
    # Swapped pictures have no one truth; those with their cluster held out come from decoders of
    # their own, so that one half is not chance among all of them. The audit looks at both.
    drawings = [d for d in drawings_of(run) if d.source not in ("swapped", "held-out")]
    n_samples = sum(d.samples for d in drawings) + run.config.audit.enabled
    run.reporter.begin("Scoring", n_samples, "samples")
    wanted = run.config.evaluate
    encoder = make_encoder(run)
    records: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name, stored in _pictures_by_name(run, drawings):
        truth = run.subject.pictures(run.test_ids, size=stored.shape[2])
        scores = _mean_scores(run, truth, stored, encoder)
        made = evaluate(
            truth,
            as_floats(stored[:, :1]),
            condition=name,
            subject=run.subject.name,
            encoder=encoder,
            encoder_name=wanted.encoder,
            seed=run.config.seed,
            n_resamples=wanted.resamples,
            protocol=run.config.protocol,
            scores=scores,
            n_samples=stored.shape[1],
        )
        records += [record.model_dump() for record in made]
        rows += _score_rows(name, scores)
    write_json(run.path / "metrics.json", records)
    write_table(run.path / "scores.csv", rows)
    return ("metrics.json", "scores.csv")


def _pictures_by_name(
    run: Run, drawings: Sequence[Drawing]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield what each drawing drew, and the training pictures nearest to what was decoded."""
    for drawing in drawings:
        yield drawing.name, stored_pictures(run, drawing).read()
    if run.config.audit.enabled:
        yield RETRIEVAL, nearest_training_pictures(run)[:, None]


def nearest_training_pictures(run: Run) -> NDArray[np.uint8]:
    """Return for each test stimulus the training picture whose c (or z) is nearest to the decoded.

    What a retrieval would show without drawing anything.
    """
    space = feature_spaces(run)[-1]
    train_ids = run.subject.train.stimulus_ids
    decoded = load_arrays(run.path / "decoded" / f"{space.name}.safetensors")["predicted"]
    training = space.targets(run, train_ids)
    rows, _ = nearest_training(
        decoded.reshape(len(decoded), -1), training.reshape(len(training), -1)
    )
    ids = [train_ids[row] for row in rows]
    return as_bytes(run.subject.pictures(ids, size=run.model.picture_size))


def _mean_scores(
    run: Run, truth: FloatArray, stored: NDArray[np.uint8], encoder: Encoder
) -> pd.DataFrame:
    """Score one sample of all pictures at a time, which bounds the memory; average the samples."""
    total: pd.DataFrame | None = None
    for sample in range(stored.shape[1]):
        scores = per_picture_scores(
            truth,
            as_floats(stored[:, sample : sample + 1]),
            run.test_ids,
            encoder=encoder,
            encoder_name=run.config.evaluate.encoder,
        )
        total = scores if total is None else total + scores
        run.reporter.advance(1)
    assert total is not None  # every drawing has a sample
    return total / stored.shape[1]


def _score_rows(name: str, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Flatten the scores of one condition: a row for each picture, metric and direction."""
    return [
        {
            "stimulus_id": stimulus_id,
            "condition": name,
            "metric": metric,
            "direction": direction,
            "score": float(scores.loc[stimulus_id, (metric, direction)]),
        }
        for stimulus_id in scores.index
        for metric, direction in pairs(scores)
    ]


def pairs(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """List the (metric, direction) of the columns of a table of scores."""
    metrics, directions = (scores.columns.get_level_values(level) for level in (0, 1))
    return list(zip(metrics, directions, strict=True))
