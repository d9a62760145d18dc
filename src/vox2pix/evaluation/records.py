"""From pictures to the flat records of ``metrics.json``."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from vox2pix.errors import UserError
from vox2pix.evaluation.identification import CHANCE, DIRECTIONS, two_way_scores
from vox2pix.evaluation.intervals import bootstrap_interval
from vox2pix.evaluation.metrics import pixcorr, ssim
from vox2pix.evaluation.networks import Encoder
from vox2pix.evaluation.pictures import Pictures, check_pictures
from vox2pix.evaluation.transformers_models import PHANTOM
from vox2pix.seeds import rng_for, seed_for

_PIXEL_METRICS: dict[str, Callable[..., NDArray[np.float64]]] = {"pixcorr": pixcorr, "ssim": ssim}
_MISMATCHES = 5  # wrong pictures that each original is held against for chance
_INDEX = "stimulus_id"
_COLUMNS = ("metric", "direction")


class MetricRecord(BaseModel):
    """One number of ``metrics.json``, with all that is needed to read it.

    Attributes
    ----------
    subject : str
        Whose brain.
    condition : str
        What the picture was drawn from: ``z``, ``c``, ``z+c``, ``z-decode``, ``true-z``,
        ``true-c``, ``true-z+c``, ``shuffled``.
    metric : str
        ``pixcorr``, ``ssim``, or ``two-way`` and the encoder's name.
    direction : str or None
        What identification holds fixed, ``original`` or ``reconstruction``; None elsewhere.
    protocol : str
        By whose definitions.
    samples : str
        How the samples of a stimulus were joined, e.g. ``mean of 5``.
    value : float
        Mean over stimuli.
    ci_low, ci_high : float
        95 % bootstrap interval of ``value`` over stimuli.
    chance : float
        What pictures of other stimuli reach.
    n_stimuli : int
        How many stimuli.
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


def evaluate(
    truth: ArrayLike,
    pictures: ArrayLike,
    *,
    condition: str,
    subject: str,
    encoder: Encoder | None = None,
    encoder_name: str = PHANTOM,
    size: int | None = None,
    seed: int = 0,
    n_resamples: int = 2000,
    protocol: str = "default",
    scores: pd.DataFrame | None = None,
    n_samples: int | None = None,
) -> list[MetricRecord]:
    """Score the pictures of one condition: PixCorr, SSIM, identification in both directions.

    Every sample is scored for itself; the score of a stimulus is the mean over its samples, the
    value the mean over stimuli. Chance of identification is one half. Chance of PixCorr and SSIM
    is what the same pictures reach as pictures of *other* stimuli: the mean over up to five
    derangements, cyclic shifts drawn without replacement (with six stimuli or fewer these are
    all of the mismatched pairs), samples in turn.

    Intervals are those of :func:`~vox2pix.evaluation.intervals.bootstrap_interval`; all metrics
    and conditions share the same draws of stimuli.

    Parameters
    ----------
    truth : array_like of float, shape (n, height, width, 3)
        Originals, RGB in [0, 1].
    pictures : array_like of float, shape (n, n_samples, height, width, 3)
        Reconstructions, row i of stimulus i.
    condition, subject : str
        Names for the records.
    encoder : callable, optional
        From :func:`~vox2pix.evaluation.image_encoder`; without one there is no
        identification.
    encoder_name : str
        What the records call the encoder.
    size : int, optional
        Bring pictures to this height and width for PixCorr and SSIM.
    seed : int
        Of the resamples and the mismatched pairs.
    n_resamples : int
        Bootstrap samples of stimuli.
    protocol : str
        Name for the records.
    scores : DataFrame, optional
        What :func:`per_picture_scores` returned for the same pictures, where it is at hand.
    n_samples : int, optional
        How many samples ``scores`` are means over, where ``pictures`` holds but some of them.

    Returns
    -------
    list of MetricRecord
        In the order of the columns of :func:`per_picture_scores`.

    Raises
    ------
    UserError
        For fewer than two stimuli.
    ValueError
        For pictures of another shape or scale, or of unequal number or size.
    """
    truth, samples = _check(truth, pictures)
    if scores is None:
        scores = per_picture_scores(
            truth, samples, encoder=encoder, encoder_name=encoder_name, size=size
        )
    records = []
    metrics, directions = (scores.columns.get_level_values(level) for level in _COLUMNS)
    for metric, direction in zip(metrics, directions, strict=True):
        values = scores[metric, direction].to_numpy()
        low, high = bootstrap_interval(
            values, n_resamples=n_resamples, seed=seed_for(seed, "bootstrap")
        )
        pixel_metric = _PIXEL_METRICS.get(metric)
        chance = _mismatched(pixel_metric, truth, samples, size, seed) if pixel_metric else CHANCE
        records.append(
            MetricRecord(
                subject=subject,
                condition=condition,
                metric=metric,
                direction=direction or None,
                protocol=protocol,
                samples=f"mean of {n_samples or samples.shape[1]}",
                value=float(values.mean()),
                ci_low=low,
                ci_high=high,
                chance=chance,
                n_stimuli=len(truth),
            )
        )
    return records


def per_picture_scores(
    truth: ArrayLike,
    pictures: ArrayLike,
    stimulus_ids: Sequence[str] | None = None,
    *,
    encoder: Encoder | None = None,
    encoder_name: str = PHANTOM,
    size: int | None = None,
) -> pd.DataFrame:
    """Score each stimulus, e.g. to choose the best and the worst.

    Parameters
    ----------
    truth, pictures, encoder, encoder_name, size
        As for :func:`evaluate`.
    stimulus_ids : sequence of str, optional
        Names of the rows; their numbers if None.

    Returns
    -------
    DataFrame, shape (n, n_metrics)
        A row a stimulus (index ``stimulus_id``), mean over its samples. The columns have two
        levels, ``metric`` and ``direction`` (empty but for identification): ``pixcorr``,
        ``ssim``, and with an encoder ``two-way NAME`` in directions ``original`` and
        ``reconstruction``.

    Raises
    ------
    UserError
        For fewer than two stimuli, or ids that are repeated.
    ValueError
        As :func:`evaluate`; for another number of ids.
    """
    truth, samples = _check(truth, pictures)
    ids = _check_ids(stimulus_ids, len(truth))
    scores: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, metric in _PIXEL_METRICS.items():
        scores[name, ""] = _mean_over_samples(metric, truth, samples, size)
    if encoder is not None:
        features = np.stack([encoder(samples[:, i]) for i in range(samples.shape[1])], axis=1)
        identified = two_way_scores(encoder(truth), features)
        for direction in DIRECTIONS:
            scores[f"two-way {encoder_name}", direction] = identified[direction]
    columns = pd.MultiIndex.from_tuples(list(scores), names=_COLUMNS)
    index = pd.Index(ids, name=_INDEX)
    return pd.DataFrame(np.column_stack(list(scores.values())), index=index, columns=columns)


def records_frame(records: Sequence[MetricRecord]) -> pd.DataFrame:
    """Return records as a table, one row a record, columns in the order of the fields."""
    return pd.DataFrame(
        [record.model_dump() for record in records], columns=list(MetricRecord.model_fields)
    )


def _mean_over_samples(
    metric: Callable[..., NDArray[np.float64]], truth: Pictures, samples: Pictures, size: int | None
) -> NDArray[np.float64]:
    """Score each sample of each stimulus; return the means, shape (n,)."""
    of_samples = [metric(truth, samples[:, i], size) for i in range(samples.shape[1])]
    return np.mean(of_samples, axis=0)


def _mismatched(
    metric: Callable[..., NDArray[np.float64]],
    truth: Pictures,
    samples: Pictures,
    size: int | None,
    seed: int,
) -> float:
    """Score pictures as pictures of other stimuli: the mean over some cyclic shifts."""
    n, n_samples = samples.shape[:2]
    rng = rng_for(seed, "mismatched")
    shifts = rng.choice(np.arange(1, n), min(_MISMATCHES, n - 1), replace=False)
    means = [
        metric(truth, np.roll(samples[:, turn % n_samples], shift, axis=0), size).mean()
        for turn, shift in enumerate(shifts)
    ]
    return float(np.mean(means))


def _check(truth: ArrayLike, pictures: ArrayLike) -> tuple[Pictures, Pictures]:
    """Return originals (n, ...) and samples (n, n_samples, ...), or refuse them."""
    truth = check_pictures(truth, "truth")
    array = np.asarray(pictures)
    if array.ndim != 5:
        raise ValueError(
            "pictures must have the shape (n, n_samples, height, width, 3), "
            f"not {array.shape}; a single sample has an axis of length 1."
        )
    if len(array) != len(truth):
        raise ValueError(f"There are {len(truth)} originals but pictures of {len(array)} stimuli.")
    if len(truth) < 2:
        raise UserError(
            "evaluation needs at least two test stimuli, for each is compared with the others, "
            f"and there is {len(truth)}; take more into the test set"
        )
    flat = check_pictures(array.reshape(-1, *array.shape[2:]), "pictures")
    return truth, flat.reshape(array.shape)


def _check_ids(stimulus_ids: Sequence[str] | None, n: int) -> list[str]:
    """Return the names of the rows, each once."""
    ids = [str(i) for i in range(n)] if stimulus_ids is None else list(stimulus_ids)
    if len(ids) != n:
        raise ValueError(f"There are {len(ids)} stimulus ids for {n} stimuli.")
    repeated = pd.Index(ids)[pd.Index(ids).duplicated()]
    if len(repeated):
        raise UserError(
            f"stimulus {repeated[0]!r} is listed twice; join its pictures as samples of one "
            "stimulus"
        )
    return ids
