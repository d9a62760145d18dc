"""How sure a mean over stimuli is.

Three kinds, for three kinds of figures: :func:`mean_interval` for means of scores that a stimulus
has by itself (PixCorr, SSIM, distances, paired differences), :func:`rate_interval` for
identification and retrieval, which are in [0, 1] and whose scores share a pool of stimuli, and
:func:`bootstrap_interval` for other statistics. All answer for other stimuli of the same kind, the
same subject and the same decoder. ``benchmarks/coverage.py`` measures how often they hold.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1_000_000  # resampled values held at once
_FEW_MISSES = 5.0  # so many failed stimuli show how large a failure is
_SAME = 1e-12  # values nearer than this differ by rounding only
_UNSEEN = 0.2  # share of its comparisons that a stimulus loses whose like was not seen yet


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    r"""Return an interval for the mean of independent scores, one for each stimulus.

    .. math:: \bar x \pm t_\nu \, s / \sqrt n, \qquad \nu = n / (\hat\kappa - 1),

    with :math:`\hat\kappa` the kurtosis of the scores, and nu between 2 and n - 1. The variance
    of :math:`s^2` is about :math:`\sigma^4 (\kappa - 1) / n`, so that the approximation of
    Satterthwaite (1946, Biometrics Bulletin 2, 110-114) has :math:`2n / (\kappa - 1)` degrees of
    freedom; half of them are taken, because heavy tails are underestimated from few scores.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        One score for each stimulus, or differences of paired scores.
    level : float
        Coverage aimed at, in (0, 1).

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        For fewer than two values, values that are not finite, or a level outside (0, 1).
    """
    sample = _checked(values, level)
    mean, error = float(sample.mean()), _error(sample)
    half = _quantile_t(sample, level) * error
    return mean - half, mean + half


def rate_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    r"""Return an interval for a rate in [0, 1] from the jackknife's pseudo-values of stimuli.

    The pseudo-value of a stimulus is :math:`n \hat\theta - (n - 1) \hat\theta_{-i}`, with
    :math:`\hat\theta_{-i}` the rate without it: it counts what a stimulus wins, and what
    others win over it (:func:`~vox2pix.evaluation.two_way_jackknife`). Their mean
    is the rate, their variance over n that of a U-statistic (Arvesen 1969, Annals of
    Mathematical Statistics 40, 2076-2100): the interval is for new stimuli and a new pool.

    The ends are quantiles of Beta distributions with the mean and the variance of the failures
    (of the successes where the rate is below one half), in the manner of Korn & Graubard (1998,
    Survey Methodology 24, 193-201), an event added as Clopper & Pearson (1934) or Jeffreys do:

    - the failures' lower end adds half an event of the average size;
    - their upper end widens the variance by t as :func:`mean_interval` does. Where less than five
      stimuli's worth of failures came, a whole event is added, and no smaller than 0.2 of a
      stimulus, for what fails rarely may fail badly; this fades as failures become many.
    - Where nothing failed, the event is a whole stimulus, as it is of n independent trials.

    Hits and misses (values that are all 0 or 1, and not all the same) are counts of trials; their
    interval is the binomial one with the mid-p correction (Lancaster 1961, Journal of the American
    Statistical Association 56, 223-234): an end is the rate at which a result as far or farther
    out, the result itself counted half, has the probability (1 - level) / 2.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Pseudo-values. Scores of independent stimuli are their own pseudo-values; so are, nearly,
        those of retrieval among all: a jackknife of order n would be far too wide.
    level : float
        Coverage aimed at, in (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1].

    Raises
    ------
    ValueError
        For fewer than two values, values that are not finite, or a level outside (0, 1).
    """
    sample = _checked(values, level)
    if set(np.unique(sample)) == {0.0, 1.0}:
        return _mid_p(int(sample.sum()), len(sample), level)
    rate = float(np.clip(sample.mean(), 0, 1))
    low, high = _rare(1 - rate if rate > 0.5 else rate, sample, level)
    return (1 - high, 1 - low) if rate > 0.5 else (low, high)


def _mid_p(hits: int, n: int, level: float) -> tuple[float, float]:
    """Return the binomial interval of 0 < hits < n in n trials, with the mid-p correction."""
    from scipy.optimize import brentq
    from scipy.stats import binom

    def more(rate: float) -> float:
        return float(binom.sf(hits, n, rate) + binom.pmf(hits, n, rate) / 2)

    tail = (1 - level) / 2
    low = brentq(lambda rate: more(rate) - tail, 0.0, hits / n)
    high = brentq(lambda rate: 1 - more(rate) - tail, hits / n, 1.0)
    return float(low), float(high)


def _rare(rate: float, sample: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the interval of a rate of at most one half."""
    from scipy.stats import norm, t

    n, tail = len(sample), (1 - level) / 2
    if rate < _SAME:
        return 0.0, _with_events(0.0, 0.0, 1.0, 1 / n, 1 - tail)
    variance, z = _error(sample) ** 2, float(norm.ppf(1 - tail))
    if variance < _SAME**2:
        return rate, rate
    average = variance / (rate * (1 - rate))  # size of an event, as a share of all
    widened = variance * (float(t.ppf(1 - tail, n - 1)) / z) ** 2
    low = _with_events(rate, widened, 0.5, average, tail)
    rarity = max(0.0, 1 - n * rate / _FEW_MISSES)
    size, count = max(average, _UNSEEN / n * rarity), (1 + rarity) / 2
    widened = variance * (_quantile_t(sample, level) / z) ** 2
    high = _with_events(rate, widened, count, size, 1 - tail)
    return min(low, rate), max(high, rate)


def _with_events(rate: float, variance: float, count: float, size: float, q: float) -> float:
    """Return a quantile of the Beta distribution of a rate, with events added on both sides."""
    from scipy.stats import beta

    mean = (rate + count * size) / (1 + 2 * count * size)
    variance += count * size**2
    total = max(mean * (1 - mean) / variance - 1, 1e-9)
    return float(beta.ppf(q, mean * total, (1 - mean) * total))


def _quantile_t(sample: NDArray[np.float64], level: float) -> float:
    """Return Student's t with the degrees of freedom that the tails of a sample leave."""
    from scipy.stats import t

    n, squares = len(sample), (sample - sample.mean()) ** 2
    freedom = n - 1.0
    if squares.mean() > 0:
        excess = float((squares**2).mean() / squares.mean() ** 2) - 1
        freedom = min(freedom, max(2.0, n / excess)) if excess > 0 else freedom
    return float(t.ppf((1 + level) / 2, freedom))


def _error(sample: NDArray[np.float64]) -> float:
    """Return the standard error of the mean; 0 where all values are the same."""
    if np.ptp(sample) <= _SAME:
        return 0.0
    return float(sample.std(ddof=1) / np.sqrt(len(sample)))


def _checked(values: ArrayLike, level: float) -> NDArray[np.float64]:
    """Return scores as float64, or refuse them."""
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or len(sample) < 2:
        raise ValueError(
            f"An interval needs at least two values in one row, not the shape {sample.shape}."
        )
    if not np.isfinite(sample).all():
        raise ValueError("An interval needs finite values; some are NaN or infinite.")
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must be between 0 and 1, not {level}.")
    return sample


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic over stimuli.

    Stimuli are drawn with replacement and the statistic taken of each draw; the interval is
    between the (1 - level) / 2 and (1 + level) / 2 quantiles (Efron & Tibshirani 1993, ch. 13). For
    means it is too narrow where stimuli are few or most scores are equal: use :func:`mean_interval`
    or :func:`rate_interval`.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        One score per stimulus.
    statistic : callable
        Taken along the last axis, by ``axis=-1``, like :func:`numpy.mean`.
    n_resamples, seed : int
        How many draws, and their seed.
    level : float
        Coverage aimed at, in (0, 1).
    """
    sample = _checked(values, level)
    if n_resamples < 1:
        raise ValueError(f"An interval needs at least one resample, not {n_resamples}.")
    return _percentiles((sample,), statistic, n_resamples, level, seed)


def joint_interval(
    statistic: Callable[..., Any], *columns: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a statistic of several scores of the same stimuli.

    Whole stimuli are drawn, with all of their scores, as :func:`bootstrap_interval` draws them.
    """
    arrays = [np.asarray(column, np.float64) for column in columns]
    if len({array.shape for array in arrays}) != 1:
        raise ValueError(f"Columns differ in shape: {[array.shape for array in arrays]}.")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("An interval needs finite values; some are NaN or infinite.")

    def of_arrays(*drawn: NDArray[np.float64], axis: int) -> Any:
        return statistic(*drawn)

    return _percentiles(arrays, of_arrays, n_resamples, 0.95, seed)


def _percentiles(
    columns: Sequence[NDArray[np.float64]],
    statistic: Callable[..., Any],
    n_resamples: int,
    level: float,
    seed: int,
) -> tuple[float, float]:
    """Return scipy's percentile bootstrap interval, about a million values in memory at once."""
    from scipy.stats import bootstrap

    interval = bootstrap(
        columns,
        statistic,
        n_resamples=n_resamples,
        batch=max(1, _BLOCK // len(columns[0])),
        vectorized=True,
        paired=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
