"""The flat records of ``metrics.json``."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict


class MetricRecord(BaseModel):
    """One number of ``metrics.json``, with all that is needed to read it.

    Attributes
    ----------
    subject : str
        Whose brain.
    condition : str
        What the image was drawn from: ``z``, ``c``, ``z+c``, ``z-decode``, ``true-z``,
        ``true-c``, ``true-z+c``, ``shuffled``.
    metric : str
        ``pixcorr``, ``ssim``, ``two-way`` and the encoder's name, ``top-1`` and ``top-5`` of
        retrieval; in ``vox2pix evaluate`` the names of its protocol.
    direction : str or None
        What identification and retrieval hold fixed, ``original`` or ``reconstruction``; None
        elsewhere.
    protocol : str
        By whose definitions.
    samples : str
        How the samples of a stimulus were joined: ``mean of 5``, ``best of 5``, or
        ``correlations of 5``, averaged before they were compared.
    value : float
        Mean over stimuli.
    ci_low, ci_high : float
        95 % interval of ``value`` over stimuli.
    chance : float
        What images of other stimuli reach.
    n_stimuli : int
        How many stimuli.
    definition : str
        What exactly was computed: statistic, network, layer, size, resizing, and the version of
        vox2pix's definitions. Values of two definitions are not comparable.
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
    known = dict(zip(scores.index, originals, strict=True)) if originals else {}
    for column in scores.columns:
        metric, direction = tuple(column)
        for stimulus_id, score in scores[column].items():
            yield {
                "stimulus_id": stimulus_id,
                "condition": condition,
                "metric": metric,
                "direction": direction,
                "score": float(score),
                "original": known.get(stimulus_id, ""),
            }
