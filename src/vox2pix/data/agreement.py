"""Whether repeats of a stimulus agree: evidence that trials and responses are in one order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.reliability import add_rows
from vox2pix.data.response_sample import ResponseSample

FloatArray = NDArray[np.float32]
Labels = NDArray[np.intp]

_LAGS = (1, -1, 2, -2, 3, -3)
_SHUFFLES = 40
_SEEN = 4.0  # standard deviations of the null beyond which agreement is there
_UNSEEN = 2.0  # below which it is not
_USUAL = 0.2  # correlation of two repeats that a test must be able to see


@dataclass(frozen=True)
class Agreement:
    """How much more alike repeats of a stimulus are than trials of different stimuli."""

    r: float  # mean correlation of the patterns of two repeats, less that of shuffled pairs
    error: float  # standard deviation of the latter over shuffles

    @property
    def is_seen(self) -> bool:
        """Whether repeats agree beyond chance."""
        return self.r > _SEEN * self.error

    @property
    def is_absent(self) -> bool:
        """Whether they do not, though a usual agreement would show."""
        return self.r < _UNSEEN * self.error and _SEEN * self.error < _USUAL


def agreement_notes(sample: ResponseSample) -> list[str]:
    """Report where repeats do not agree, and which shift of the trials would make them.

    No note where repeats agree, or are too few to tell.
    """
    rows = np.flatnonzero(sample.is_read & (sample.patterns != 0).any(axis=1))
    trials = sample.trials.iloc[rows]
    _, labels = np.unique(trials["stimulus_id"].to_numpy(str), return_inverse=True)
    if len(rows) < 4 or len(rows) == labels.max() + 1:
        return []
    patterns, sessions = sample.patterns[rows], trials["session"].to_numpy()
    whole = _OverAll(patterns, labels, sessions)
    shifted = [(lag, whole(np.roll(labels, -lag))) for lag in _LAGS]
    lag, best = max(shifted, key=lambda pair: pair[1].r)
    own = whole(labels)
    if best.is_seen and best.r > 1.25 * own.r + _SEEN * best.error:
        return [_shift_message("the trials", lag, own, best)]
    by_session = list(_of_sessions(patterns, labels, sessions))
    notes = [note for note in by_session if note]
    if notes or not own.is_absent:
        return notes
    return [
        f"Responses to repeats of a stimulus are no more alike than those to different stimuli (r "
        f"{own.r:.3f}, at most {_UNSEEN * own.error:.3f} by chance): the responses are shuffled, "
        "shifted or transposed against the trials, or they are not reliable."
    ]


class _OverAll:
    """Agreement over all pairs of repeats, against labels shuffled within sessions."""

    def __init__(self, patterns: FloatArray, labels: Labels, sessions: NDArray[np.integer]) -> None:
        self._patterns = patterns
        groups = [np.flatnonzero(sessions == session) for session in np.unique(sessions)]
        if min(map(len, groups)) < 4:
            groups = [np.arange(len(labels))]
        rng = np.random.default_rng(1)
        null = []
        for _ in range(_SHUFFLES):
            shuffled = labels.copy()
            for group in groups:
                shuffled[group] = rng.permutation(labels[group])
            null.append(_mean_r(patterns, shuffled))
        self._null, self._error = float(np.mean(null)), float(np.std(null, ddof=1))

    def __call__(self, labels: Labels) -> Agreement:
        return Agreement(_mean_r(self._patterns, labels) - self._null, self._error)


def _mean_r(patterns: FloatArray, labels: Labels) -> float:
    """Return the mean correlation of the patterns of two repeats; NaN where none repeats."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), patterns.shape[1]), np.float32)
    add_rows(sums, labels, patterns)
    pairs = float((counts * (counts - 1)).sum())
    own = np.square(sums, dtype=float).sum() - np.square(patterns, dtype=float).sum()
    return float(own) / pairs if pairs else float("nan")


def _of_sessions(
    patterns: FloatArray, labels: Labels, sessions: NDArray[np.integer]
) -> Iterator[str | None]:
    """Yield for each session what is wrong with its agreement with the others, if anything is."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), patterns.shape[1]), np.float32)
    add_rows(sums, labels, patterns)
    agreements: dict[int, Agreement] = {}
    tests = {}
    for session in np.unique(sessions):
        rows = np.flatnonzero(sessions == session)
        others, n_others = sums.copy(), counts - np.bincount(labels[rows], minlength=len(counts))
        add_rows(others, labels[rows], -patterns[rows])
        if len(rows) >= 8 and n_others[labels[rows]].sum() >= 8:
            tests[int(session)] = _OfOneSession(patterns[rows], labels[rows], others, n_others)
            agreements[int(session)] = tests[int(session)](labels[rows])
    for session, own in agreements.items():
        own_labels = labels[sessions == session]
        shifted = [(lag, tests[session](np.roll(own_labels, -lag))) for lag in _LAGS]
        lag, best = max(shifted, key=lambda each: each[1].r)
        if best.is_seen and best.r > 1.25 * own.r + _SEEN * best.error:
            yield _shift_message(f"the trials of session {session}", lag, own, best)
        elif own.r < _UNSEEN * own.error:
            rest = sessions != session
            usual = _mean_r(patterns[rest], labels[rest])
            if usual > (1 + _SEEN) * own.error:
                yield (
                    f"Responses of session {session} do not agree with those of other sessions to "
                    f"the same stimuli (r {own.r:.3f}, among the other sessions {usual:.3f}): its "
                    "trials are shuffled, or the responses are another session's."
                )


class _OfOneSession:
    """Agreement of one session's trials with the other sessions' repeats."""

    def __init__(
        self, patterns: FloatArray, labels: Labels, others: FloatArray, n_others: NDArray[np.intp]
    ) -> None:
        self._patterns, self._others, self._n_others = patterns, others, n_others
        rng = np.random.default_rng(2)
        null = [self._mean_r(rng.permutation(labels)) for _ in range(_SHUFFLES)]
        self._null, self._error = float(np.mean(null)), float(np.std(null, ddof=1))

    def __call__(self, labels: Labels) -> Agreement:
        return Agreement(self._mean_r(labels) - self._null, self._error)

    def _mean_r(self, labels: Labels) -> float:
        product = np.einsum("ij,ij->", self._patterns, self._others[labels], dtype=float)
        return float(product / max(1, self._n_others[labels].sum()))


def _shift_message(which: str, lag: int, own: Agreement, best: Agreement) -> str:
    """Say that labels some trials later (or earlier) fit the responses better."""
    where = "later" if lag > 0 else "earlier"
    n = abs(lag)
    return (
        f"Responses to repeats of a stimulus agree better (r {best.r:.3f} instead of {own.r:.3f}) "
        f"if {which} are taken {n} row{'s' * (n > 1)} {where}: trials and responses are shifted "
        "against each other."
    )
