"""Which of two runs is better, over the same stimuli and over several subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.intervals import mean_interval
from vox2pix.evaluation.records import MetricRecord
from vox2pix.seeds import rng_for

_EXACT = 14  # differences whose 2^14 signs are all tried
_SAME = 1e-12  # relative: sums nearer than this differ by rounding only
_BLOCK = 1_000_000  # signs held at once


@dataclass(frozen=True)
class Comparison:
    """The mean over stimuli of ``first`` less ``second``, with its 95 % interval.

    ``p`` is two-sided, of the sign-flip test; ``p_holm`` is corrected for all comparisons of one
    call.
    """

    first: str
    second: str
    difference: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    n_stimuli: int


@dataclass(frozen=True)
class PairedRow:
    """One metric under one condition in several runs.

    Means are over the stimuli that all runs scored; comparisons are of each other run less the
    first. Runs are named by their numbers; ``p_holm`` is corrected over all rows.
    """

    condition: str
    metric: str
    direction: str
    means: tuple[float, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Pooled:
    """The mean of subjects' means, with the interval for the mean of the population of subjects."""

    mean: float
    ci_low: float
    ci_high: float
    subject_means: dict[str, float]


def compare(
    scores: Mapping[str, ArrayLike],
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare conditions that were scored on the same stimuli, pair by pair.

    The score of identification depends on the other stimuli of its condition; intervals and tests
    take this pool as given.

    Parameters
    ----------
    scores : mapping of str to array_like of float, shape (n_stimuli,)
        Scores per stimulus (means over samples) of each condition or run, in one order of stimuli.
    pairs : sequence of (str, str), optional
        Which to compare; all pairs if None. Holm's correction is over these.
    n_resamples, seed : int
        Sign flips, where not all are tried, and their seed.

    Raises
    ------
    ValueError
        For unequal numbers of stimuli, fewer than two, scores that are not finite, or a pair that
        names no condition.
    """
    values = {name: np.asarray(given, np.float64) for name, given in scores.items()}
    chosen = list(combinations(values, 2)) if pairs is None else list(pairs)
    unknown = [name for pair in chosen for name in pair if name not in values]
    if unknown:
        raise ValueError(f"There are no scores of {unknown[0]!r}, only of {', '.join(values)}.")
    differences = []
    for first, second in chosen:
        if values[first].shape != values[second].shape:
            raise ValueError(
                f"{first!r} and {second!r} have scores of the shapes {values[first].shape} and "
                f"{values[second].shape}; a paired comparison needs the same stimuli in both."
            )
        differences.append(values[first] - values[second])
    p = [sign_flip_p(given, n_resamples, seed) for given in differences]
    corrected = holm(p)
    comparisons = []
    for i, (first, second) in enumerate(chosen):
        low, high = mean_interval(differences[i])
        comparisons.append(
            Comparison(
                first=first,
                second=second,
                difference=float(differences[i].mean()),
                ci_low=low,
                ci_high=high,
                p=p[i],
                p_holm=float(corrected[i]),
                n_stimuli=len(differences[i]),
            )
        )
    return comparisons


def compare_scores(
    tables: Sequence[pd.DataFrame], *, n_resamples: int = 10_000, seed: int = 0
) -> list[PairedRow]:
    """Compare runs by :func:`compare` on the stimuli, conditions and metrics that all of them have.

    Tables are those of ``scores.csv``. Metrics that fewer than two stimuli have in all are left
    out.
    """
    keys = ["condition", "metric", "direction"]
    wide = [table.pivot(index="stimulus_id", columns=keys, values="score") for table in tables]
    in_order = tables[0][keys].drop_duplicates().itertuples(index=False, name=None)
    compared = []
    for key in in_order:
        if not all(key in table for table in wide):
            continue
        scores = pd.concat([table[key] for table in wide], axis=1, join="inner").dropna()
        if len(scores) > 1:
            values = {str(number): row for number, row in enumerate(scores.to_numpy().T)}
            pairs = [(name, "0") for name in list(values)[1:]]
            compared.append(
                (key, values, compare(values, pairs, n_resamples=n_resamples, seed=seed))
            )
    corrected = iter(holm([each.p for *_, made in compared for each in made]))
    return [
        PairedRow(
            condition=str(key[0]),
            metric=str(key[1]),
            direction=str(key[2]),
            means=tuple(float(row.mean()) for row in values.values()),
            comparisons=tuple(replace(each, p_holm=float(next(corrected))) for each in made),
        )
        for key, values, made in compared
    ]


def sign_flip_p(differences: ArrayLike, n_permutations: int = 10_000, seed: int = 0) -> float:
    r"""Return the two-sided p of the paired permutation test.

    Under the null hypothesis the two conditions are exchangeable at each stimulus, so that each
    difference could as well have had the other sign (Fisher 1935). With S the flipped sums,

    .. math:: p = P(|S| \ge |\sum_i d_i|).

    All signs are tried up to 14 differences. Beyond, signs are drawn and the observed ones count as
    one draw, p = (hits + 1) / (n_permutations + 1), so that p is never zero (Phipson & Smyth 2010).
    scipy's ``permutation_test`` gives the same p from all signs and takes 13 times as long or more,
    as it permutes sample by sample where this is one matrix product.
    """
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or len(d) < 1 or not np.isfinite(d).all():
        raise ValueError("A sign-flip test needs one row of finite differences.")
    least = abs(d.sum()) - _SAME * np.abs(d).sum()
    if len(d) <= _EXACT:
        signs = 1 - 2 * (np.arange(2 ** len(d))[:, None] >> np.arange(len(d)) & 1)
        return float(np.mean(np.abs(signs @ d) >= least))
    rng = rng_for(seed, "sign flips")
    at_once = max(1, _BLOCK // len(d))
    hits = 0
    for start in range(0, n_permutations, at_once):
        count = min(at_once, n_permutations - start)
        signs = rng.integers(0, 2, (count, len(d)), dtype=np.int8) * 2 - 1
        hits += int(np.count_nonzero(np.abs(signs @ d) >= least))
    return (hits + 1) / (n_permutations + 1)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    r"""Return p values corrected by Holm's step-down procedure (Holm 1979), in the order given.

    With the m values in ascending order,

    .. math:: \tilde p_{(i)} = \max_{k \le i} \min(1, (m - k + 1) \, p_{(k)}),

    which bounds the chance of any false claim, whatever the dependence.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def over_samples(
    scores: ArrayLike, higher_is_better: bool = True
) -> dict[str, NDArray[np.float64]]:
    """Join the samples of each stimulus in both ways that the field reports.

    From scores (n_stimuli, n_samples) to ``mean of N`` and ``best of N``, (n_stimuli,) each, as in
    the records of ``metrics.json``. The best is chosen by the original itself, which no decoder
    has: it is an upper bound that grows with the number of samples, and means nothing without the
    mean.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"Scores must have the shape (n_stimuli, n_samples), not {values.shape}.")
    best = values.max(axis=1) if higher_is_better else values.min(axis=1)
    n = values.shape[1]
    return {f"mean of {n}": values.mean(axis=1), f"best of {n}": best}


def pool_subjects(scores: Mapping[str, ArrayLike], level: float = 0.95) -> Pooled:
    r"""Return the mean over subjects, with an interval for the population of subjects.

    With m_k the mean over stimuli of subject k, and s the standard deviation of the K means,

    .. math:: \bar m \pm t_{K-1} \, s / \sqrt K,

    the summary-statistics approach to random effects (Holmes & Friston 1998). Each subject counts
    alike, however many stimuli it has. From the field's four subjects a bootstrap of subjects and
    then of stimuli gives intervals far too narrow: its spread lacks the factor sqrt(K / (K - 1))
    and the tails of t. Pooling the stimuli of all subjects as if they were independent is narrower
    still. What all subjects share, the test stimuli, is taken as given: use
    :func:`~vox2pix.evaluation.mean_interval` on the scores averaged over subjects for the
    uncertainty about other stimuli in these subjects.

    Parameters
    ----------
    scores : mapping of str to array_like of float, shape (n_stimuli,)
        Scores per stimulus of each subject, or paired differences of two runs.
    level : float
        Coverage aimed at, in (0, 1).

    Raises
    ------
    ValueError
        For fewer than two subjects, scores that are not finite, or a level outside (0, 1).
    """
    from scipy.stats import t

    if len(scores) < 2:
        raise ValueError(f"A population needs at least two subjects, not {len(scores)}.")
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must be between 0 and 1, not {level}.")
    means = {
        subject: float(np.asarray(given, np.float64).mean()) for subject, given in scores.items()
    }
    values = np.array(list(means.values()))
    if not np.isfinite(values).all():
        raise ValueError("Scores must be finite; some are NaN or infinite.")
    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return Pooled(mean, mean - float(half), mean + float(half), means)


def pool_records(subjects: Mapping[str, Sequence[MetricRecord]]) -> list[MetricRecord]:
    """Pool the records of several subjects by :func:`pool_subjects`.

    There is one record for each condition, metric, direction, protocol and way of joining samples
    that all subjects have. ``subject`` names all, ``chance`` is their mean, ``n_stimuli`` their
    least.
    """
    by_key = {
        name: {(r.condition, r.metric, r.direction, r.protocol, r.samples): r for r in records}
        for name, records in subjects.items()
    }
    pooled = []
    for key, first in next(iter(by_key.values())).items():
        own = {name: own_records[key] for name, own_records in by_key.items() if key in own_records}
        if len(own) == len(subjects):
            over = pool_subjects({name: [record.value] for name, record in own.items()})
            changed = {
                "subject": "+".join(own),
                "value": over.mean,
                "ci_low": over.ci_low,
                "ci_high": over.ci_high,
                "chance": float(np.mean([record.chance for record in own.values()])),
                "n_stimuli": min(record.n_stimuli for record in own.values()),
            }
            pooled.append(first.model_copy(update=changed))
    return pooled
