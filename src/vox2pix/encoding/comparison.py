"""Whether one latent predicts voxels or regions better than another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.encoding.unique import UniqueVariance
from vox2pix.errors import UserError
from vox2pix.linear import pearson_r
from vox2pix.seeds import rng_for

_BLOCK_NUMBERS = 2**24


@dataclass(frozen=True)
class Comparison:
    """Difference of the correlations of two models, with intervals over test stimuli.

    Attributes
    ----------
    rois : DataFrame
        One row per region: ``roi``, ``n_voxels`` (those with both correlations), ``mean_r_a``,
        ``mean_r_b``, ``difference`` (a less b), ``ci_low``, ``ci_high``.
    difference, ci_low, ci_high : ndarray of float64, shape (n_voxels,)
        The same per voxel; NaN where response or a prediction is constant.
    """

    rois: pd.DataFrame
    difference: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]


def compare(
    Y_test: Any,
    predictions_a: Any,
    predictions_b: Any,
    rois: Mapping[str, NDArray[np.bool_]],
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare the correlations that two models reach on the same test stimuli.

    Test stimuli are drawn with replacement, the same draws for both models and all voxels, and the
    percentile interval taken of the difference (Efron & Tibshirani 1993, ch. 13). The interval
    answers for other stimuli of the same kind, in the same subject, with the same fitted models;
    voxels of a region stay the same. A draw is a vector of counts, so the moments of all draws are
    products of a (n_resamples, n_stimuli) matrix with columns of responses and predictions;
    :func:`scipy.stats.bootstrap` would gather every draw of every voxel.

    Parameters
    ----------
    Y_test : array, shape (n_stimuli, n_voxels)
        Responses, averaged over repeats; anything that is sliced by columns.
    predictions_a, predictions_b : array, shape (n_stimuli, n_voxels)
        Predictions of the two models.
    rois : mapping of str to ndarray of bool, shape (n_voxels,)
        Voxels of each region.
    n_resamples : int
        Number of draws.
    level : float
        Nominal coverage, in (0, 1).
    seed : int
        Seed of the draws.

    Raises
    ------
    UserError
        If a region has no voxels.
    ValueError
        If shapes differ or the level is not in (0, 1).
    """
    weights, members = _prepared(Y_test, rois, n_resamples, level, seed)
    r_a, r_b = pearson_r(Y_test, predictions_a), pearson_r(Y_test, predictions_b)
    difference = r_a - r_b
    members &= np.isfinite(difference)
    bounds = np.full((2, len(difference)), np.nan)
    means = _RoiMeans(members, n_resamples)
    for part in _parts(np.isfinite(difference), sum(weights.shape)):
        y = _standard(Y_test, part)
        a, b = (
            _resampled_r(weights, y, _standard(x, part)) for x in (predictions_a, predictions_b)
        )
        bounds[:, part] = _quantiles(a - b, level)
        means.add(part, a - b)
    table = [
        {
            "roi": name,
            "n_voxels": int(inside.sum()),
            "mean_r_a": _mean(r_a, inside),
            "mean_r_b": _mean(r_b, inside),
            "difference": _mean(difference, inside),
            "ci_low": low,
            "ci_high": high,
        }
        for name, inside, (low, high) in zip(rois, members, means.interval(level), strict=True)
    ]
    return Comparison(pd.DataFrame(table), difference, bounds[0], bounds[1])


def roi_means(
    Y_test: Any,
    predictions: Mapping[str, Any],
    rois: Mapping[str, NDArray[np.bool_]],
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average correlations over the voxels of regions, with intervals over test stimuli.

    Parameters
    ----------
    Y_test : array, shape (n_stimuli, n_voxels)
        Responses, averaged over repeats; anything that is sliced by columns.
    predictions : mapping of str to array, shape (n_stimuli, n_voxels)
        Predictions of each model, by the name of its latent.
    rois, n_resamples, level, seed
        As in :func:`compare`, with the same draws and the same errors.

    Returns
    -------
    DataFrame
        One row per region and latent: ``roi``, ``latent``, ``n_voxels`` (of the region),
        ``n_scored`` (those whose response and prediction vary), ``value`` (mean r of these),
        ``low``, ``high``.
    """
    weights, members = _prepared(Y_test, rois, n_resamples, level, seed)
    rows = []
    for latent, predicted in predictions.items():
        r = pearson_r(Y_test, predicted)
        is_scored = np.isfinite(r)
        means = _RoiMeans(members & is_scored, n_resamples)
        for part in _parts(is_scored, sum(weights.shape)):
            means.add(
                part, _resampled_r(weights, _standard(Y_test, part), _standard(predicted, part))
            )
        rows += [
            {
                "roi": name,
                "latent": latent,
                "n_voxels": int(inside.sum()),
                "n_scored": int((inside & is_scored).sum()),
                "value": _mean(r, inside & is_scored),
                "low": low,
                "high": high,
            }
            for name, inside, (low, high) in zip(rois, members, means.interval(level), strict=True)
        ]
    return pd.DataFrame(rows)


def unique_means(
    parts: UniqueVariance,
    rois: Mapping[str, NDArray[np.bool_]],
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average unique variance over the voxels of regions, with intervals over test stimuli.

    Stimuli are drawn as in :func:`compare`; the variance that the R2 of a voxel refers to is that
    of all test stimuli in every draw.

    Parameters
    ----------
    parts : UniqueVariance
        From :func:`vox2pix.encoding.unique_variance`.
    rois, n_resamples, level, seed
        As in :func:`compare`, with the same errors.

    Returns
    -------
    DataFrame
        One row per region and feature space: ``roi``, ``latent``, ``n_voxels`` (of the region),
        ``n_scored`` (those whose response varies), ``value`` (mean over these, share of variance;
        NaN where there is none), ``low``, ``high``.
    """
    rows = []
    for latent, gains in parts.gains.items():
        weights, members = _prepared(gains, rois, n_resamples, level, seed)
        for name, inside in zip(rois, members, strict=True):
            # Voxels that do not vary have no share.
            scored = inside & np.isfinite(gains).all(axis=0)
            of_stimuli = np.full(len(gains), np.nan)
            if scored.any():
                of_stimuli = gains[:, scored].mean(axis=1, dtype=np.float64)
            draws = len(gains) * (weights @ of_stimuli)
            low, high = np.quantile(draws, _tails(level))
            rows.append(
                {
                    "roi": name,
                    "latent": latent,
                    "n_voxels": int(inside.sum()),
                    "n_scored": int(scored.sum()),
                    "value": float(of_stimuli.sum()),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return pd.DataFrame(rows)


class _RoiMeans:
    """Means over the voxels of regions, for each draw, with voxels in blocks."""

    def __init__(self, members: NDArray[np.bool_], n_resamples: int) -> None:
        self._members = members.T.astype(np.float64)
        self._sums, self._counts = np.zeros((2, n_resamples, len(members)))

    def add(self, part: NDArray[np.intp], resampled: NDArray[np.float32]) -> None:
        """Add the draws (n_resamples, n_voxels) of some voxels; NaN counts as absent."""
        self._sums += np.nan_to_num(resampled) @ self._members[part]
        self._counts += np.isfinite(resampled) @ self._members[part]

    def interval(self, level: float) -> NDArray[np.float64]:
        """Return the ends of each region's interval, (n_regions, 2)."""
        with np.errstate(invalid="ignore"):
            return np.nanquantile(self._sums / self._counts, _tails(level), axis=0).T


def _prepared(
    Y_test: Any, rois: Mapping[str, NDArray[np.bool_]], n_resamples: int, level: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Check regions and level; return draws as weights, and the voxels of each region."""
    n_stimuli, n_voxels = Y_test.shape
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: give a number between 0 and 1.")
    for name, mask in rois.items():
        if np.shape(mask) != (n_voxels,):
            raise ValueError(f"The mask of '{name}' has shape {np.shape(mask)}, not ({n_voxels},).")
        if not np.any(mask):
            raise UserError(f"The region '{name}' has no voxels; leave it out or widen its mask.")
    draws = rng_for(seed, "bootstrap").multinomial(
        n_stimuli, np.full(n_stimuli, 1 / n_stimuli), n_resamples
    )
    return (draws / n_stimuli).astype(np.float32), np.array(list(rois.values()), bool).reshape(
        len(rois), n_voxels
    )


def _quantiles(draws: NDArray[Any], level: float) -> NDArray[Any]:
    """Return the bounds of each column of draws; NaN, which is slow, only where there is any."""
    bounds = np.asarray(np.quantile(draws, _tails(level), axis=0))
    undefined = np.isnan(draws).any(axis=0)
    if undefined.any():
        bounds[:, undefined] = np.nanquantile(draws[:, undefined], _tails(level), axis=0)
    return bounds


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _parts(is_scored: NDArray[np.bool_], numbers_per_voxel: int) -> Iterator[NDArray[np.intp]]:
    """Yield the voxels that are scored, in blocks."""
    step = max(1, _BLOCK_NUMBERS // numbers_per_voxel)
    for lo in range(0, len(is_scored), step):
        part = lo + np.flatnonzero(is_scored[lo : lo + step])
        if part.size:
            yield part


def _resampled_r(
    weights: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return r(y, x) under each row of weights, (n_resamples, n_voxels)."""
    mean_y, spread_y = _moments(weights, y)
    mean_x, spread_x = _moments(weights, x)
    # A resample in which a column is constant has no correlation: NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ (y * x) - mean_y * mean_x) / (spread_y * spread_x)


def _moments(
    weights: NDArray[np.float32], values: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weighted means and standard deviations of each column."""
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    # Columns have variance 1: what is left of a constant one is rounding.
    return mean, np.sqrt(np.where(variance > 1e-6, variance, np.nan))


def _standard(values: Any, part: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return some columns z-scored, so that float32 holds enough digits."""
    first, last = int(part[0]), int(part[-1]) + 1
    table = np.asarray(values[:, first:last], np.float64)[:, part - first]
    return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)


def _mean(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    return float(values[inside].mean()) if inside.any() else float("nan")
