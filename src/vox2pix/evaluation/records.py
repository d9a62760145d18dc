"""The flat records of ``metrics.json``."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict


class MetricRecord(BaseModel):
    """One value of ``metrics.json``, with all that is needed to read it.

    Attributes
    ----------
    subject, condition : str
        Whose brain, and what images were drawn from, such as ``z+c``, ``true-z``, ``shuffled``.
    metric, protocol : str
        ``pixcorr``, ``ssim``, ``two-way`` and the encoder's name, ``top-1`` and ``top-5`` of
        retrieval, or the names of a protocol of ``vox2pix evaluate``; by whose definitions.
    direction : {"original", "reconstruction"} or None
        What identification and retrieval hold fixed.
    samples : str
        How the samples of a stimulus were joined: ``mean of 5``, ``best of 5``, or
        ``correlations of 5``, averaged before they were compared.
    value, ci_low, ci_high, chance : float
        Mean over stimuli, its 95 % interval, and what images of other stimuli reach.
    definition : str
        Statistic, network, layer, size, resizing, and the version of vox2pix's definitions. Values
        of two definitions are not comparable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    subject: str
    condition: str
    metric: str
    direction: str | None
    protocol: str
    samples: str
    value: float
    ci_low: float
    ci_high: float
    chance: float
    n_stimuli: int
    definition: str = ""


def score_rows(
    scores: pd.DataFrame, condition: str, originals: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``scores.csv``: one per metric, direction and stimulus.

    ``scores`` has the index ``stimulus_id`` and the columns ``metric`` and ``direction``;
    ``originals`` are digests, by which ``vox2pix compare`` recognises the original of each
    stimulus.
    """
    by_id = dict(zip(scores.index, originals, strict=True)) if originals else {}
    for column in scores.columns:
        metric, direction = tuple(column)
        for stimulus_id, score in scores[column].items():
            yield {
                "stimulus_id": stimulus_id,
                "condition": condition,
                "metric": metric,
                "direction": direction,
                "score": float(score),
                "original": by_id.get(stimulus_id, ""),
            }
