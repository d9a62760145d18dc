"""Intervals of means and ratios over stimuli that come in sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Sequence[NDArray[np.float64]]  # one value for each stimulus of each set


@dataclass(frozen=True)
class Estimate:
    """A mean over stimuli with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float

    @property
    def holds_zero(self) -> bool:
        """Whether the interval reaches 0 or less: nothing can be divided by it."""
        return self.ci_low <= 0 <= self.ci_high or self.ci_high < 0


def mean_over_sets(values: Values, level: float = 0.95) -> Estimate:
    r"""Return the mean over the stimuli of all sets, with its interval.

    .. math:: \bar x \pm t_{n - S} \sqrt{\tfrac1{n^2} \sum_s n_s s_s^2}

    Sets are strata: they differ in kind, so that only the spread within them says how much the
    mean would differ with other stimuli of the same kinds (Cochran 1977, Sampling Techniques,
    chapter 5).

    Parameters
    ----------
    values : sequence of ndarray, shape (n_stimuli,)
        One value per stimulus, of each set; pseudo-values where stimuli share a mean or a pool.
    level : float
        Coverage aimed at.
    """
    from scipy.stats import t

    covariance, freedom = _error_of([values])
    mean = float(np.concatenate(list(values)).mean())
    half = float(t.ppf((1 + level) / 2, freedom)) * float(np.sqrt(covariance[0, 0]))
    return Estimate(mean, mean - half, mean + half)


def ratio_over_sets(above: Values, below: Values, level: float = 0.95) -> Estimate | None:
    r"""Return the ratio of two means over the same stimuli with Fieller's interval.

    The interval holds every ratio r at which the mean of the differences a - r b is not
    different from 0 by the test that :func:`mean_over_sets` inverts:

    .. math:: (\bar a - r \bar b)^2 \le t^2 (v_{aa} - 2 r v_{ab} + r^2 v_{bb})

    (Fieller 1954, Journal of the Royal Statistical Society B 16, 175-185). It is bounded exactly
    where the interval of the mean below does not hold 0.

    Parameters
    ----------
    above, below : sequence of ndarray, shape (n_stimuli,)
        Values of the same stimuli in the same order, e.g. of imagery and of vision.
    level : float
        Coverage aimed at.

    Returns
    -------
    Estimate or None
        None where the interval of the mean below holds 0, or its mean is negative, or neither
        varies over stimuli (both at the ceiling): then nothing can be said of the ratio.
    """
    from scipy.stats import t

    if mean_over_sets(below, level).holds_zero:
        return None
    v, freedom = _error_of([above, below])
    if not v.any():
        return None
    a, b = (float(np.concatenate(list(each)).mean()) for each in (above, below))
    square = float(t.ppf((1 + level) / 2, freedom)) ** 2
    quadratic = b * b - square * v[1, 1]
    linear = a * b - square * v[0, 1]
    constant = a * a - square * v[0, 0]
    root = float(np.sqrt(max(linear**2 - quadratic * constant, 0)))
    return Estimate(a / b, (linear - root) / quadratic, (linear + root) / quadratic)


def exceeds_p(above: Values, below: Values) -> float:
    """Return the one-sided p of whether a mean over stimuli exceeds another's.

    A paired t-test with sets as strata: t with n - S degrees of freedom, see
    :func:`mean_over_sets`. Differences without spread have p 0 or 1.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(above, below, strict=True)]
    variance, freedom = _error_of([differences])
    mean, error = float(np.concatenate(differences).mean()), float(np.sqrt(variance[0, 0]))
    if error == 0:
        return float(mean <= 0)
    return float(t.sf(mean / error, freedom))


def _error_of(columns: Sequence[Values]) -> tuple[NDArray[np.float64], int]:
    """Return the covariance of stratified means, and the degrees of freedom."""
    shapes = [[len(each) for each in values] for values in columns]
    if any(shape != shapes[0] for shape in shapes) or min(shapes[0], default=0) < 2:
        raise ValueError(f"Each set needs the same two or more stimuli throughout, not {shapes}.")
    n = sum(shapes[0])
    total = np.zeros((len(columns), len(columns)))
    for s, size in enumerate(shapes[0]):
        rows = np.stack([values[s] for values in columns])
        if not np.isfinite(rows).all():
            raise ValueError("Values must be finite; some are NaN or infinite.")
        total += size / n**2 * np.atleast_2d(np.cov(rows, ddof=1))
    return total, n - len(shapes[0])
