"""Words as truth, where no image of what was in mind exists: reports of imagery and dreams."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.intervals import mean_interval
from vox2pix.evaluation.transfer.identification import similarities
from vox2pix.evaluation.transfer.intervals import Estimate
from vox2pix.evaluation.transfer.permutation import permutation_p

_TOKEN = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class WordIdentification:
    """Pairwise identification of reported words; chance is one half."""

    score: Estimate
    p: float
    per_trial: NDArray[np.float64]  # (n_trials,)


def word_targets(
    features: ArrayLike, texts: Sequence[Sequence[str]], words: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return the mean target of the training stimuli whose captions have a word.

    Words are compared whole, whatever their case. A word that no caption has is left out: it
    cannot be known to the decoder.

    Parameters
    ----------
    features : array_like of float, shape (n_stimuli, n_values)
        Targets of the training stimuli.
    texts : sequence of sequence of str
        Captions or labels of each.
    words : sequence of str
        Words to look for.
    """
    rows = np.asarray(features)
    has = [{token.lower() for text in own for token in _TOKEN.findall(text)} for own in texts]
    means = {}
    for word in dict.fromkeys(words):
        own = np.array([word.lower() in tokens for tokens in has], bool)
        if own.any():
            means[word] = rows[own].mean(axis=0, dtype=np.float64)
    return means


def identify_words(
    decoded: ArrayLike,
    reports: Sequence[Sequence[str]],
    targets: Mapping[str, ArrayLike],
    mean: ArrayLike,
    seed: int = 0,
) -> WordIdentification:
    """Identify the words of reports among those of the other reports, pair by pair.

    A trial wins a comparison where its decoded target is more similar to the target of a word
    that was reported than to that of one which was not (Horikawa et al. 2013, Science 340,
    639-642); ties count one half. The score of a trial is the mean over such pairs, the interval
    is of other trials, and the test permutes whole reports over trials.

    Parameters
    ----------
    decoded : array_like of float, shape (n_trials, n_values)
    reports : sequence of sequence of str
        Words of each trial; those without a target do not count.
    targets : mapping of str to array_like of float, shape (n_values,)
        From :func:`word_targets`.
    mean : array_like of float, shape (n_values,)
        Mean target of the training stimuli.
    seed : int
        Of the permutations.

    Raises
    ------
    ValueError
        If fewer than two trials have a word that others lack.
    """
    words = [word for word in targets if any(word in report for report in reports)]
    reported = np.array([[word in report for word in words] for report in reports], bool)
    usable = reported.any(axis=1) & ~reported.all(axis=1) if words else np.zeros(len(reports), bool)
    if usable.sum() < 2:
        raise ValueError("Words identify nothing: fewer than two trials have one that others lack.")
    reported = reported[usable]
    r = similarities(np.stack([np.asarray(targets[word]) for word in words]), decoded, mean)
    r = r[:, usable].T  # (n_trials, n_words)
    won = (r[:, :, None] > r[:, None, :]) + 0.5 * (r[:, :, None] == r[:, None, :])

    own, other = reported.astype(float), 1.0 - reported
    # What trial t would win with the report of trial s: permuting reports permutes its columns.
    wins = np.einsum("sw,twv,sv->ts", own, won, other, optimize=True)
    wins /= own.sum(axis=1) * other.sum(axis=1)
    per_trial = np.diag(wins).copy()
    return WordIdentification(
        Estimate(float(per_trial.mean()), *mean_interval(per_trial)),
        permutation_p([wins], seed),
        per_trial,
    )
