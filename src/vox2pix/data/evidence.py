"""What the responses themselves say against a data set: copies, outliers, constants, splits."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.response_sample import ResponseSample

_LIKELY = 1e-3  # equal trials to be expected by chance, from which on they prove nothing
_COARSE = 4  # trials for each distinct value of a voxel
_NEARLY = 0.995  # correlation of trials that are one trial in other units
_DIMENSIONS = 20  # fewer are so alike by chance
_COMPARED = 4096  # trials that are compared with all others
_OUTLYING, _OUTLYING_FEW = 8.0, 16.0  # times the usual size of a trial; of few voxels
_TINY = 1e-4  # of the usual size
_SCALES = 10.0  # times the usual spread of a session
_OFFSET, _OFFSET_ERRORS = 0.5, 5.0  # standard deviations; standard errors
_LISTED = 3


def add_response_evidence(sample: ResponseSample, faults: Faults) -> None:
    """Add what the responses of all sessions say: copies as faults, the rest as notes."""
    _add_copies(sample, faults)
    for note in (
        *_one_value_notes(sample),
        *_near_copies(sample),
        *_outlier_notes(sample),
        *_scale_notes(sample),
        *_constant_notes(sample),
        *_split_notes(sample),
    ):
        faults.note(note)


def listed(items: Sequence[str], n: int = _LISTED) -> str:
    """Return the first few of some items, and how many there are beside."""
    more = f" and {len(items) - n} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more


class _Names:
    """Names trials by their number within their session."""

    def __init__(self, sample: ResponseSample) -> None:
        self.sessions = sample.trials["session"].to_numpy()
        self.numbers = sample.trials.groupby("session").cumcount().to_numpy() + 1

    def __call__(self, row: int) -> str:
        return f"trial {self.numbers[row]} of session {self.sessions[row]}"


# --- copies --------------------------------------------------------------------------------------


def _add_copies(sample: ResponseSample, faults: Faults) -> None:
    """Add trials, and sessions, whose responses equal earlier ones to the last bit."""
    name = _Names(sample)
    earlier: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for row, digest in enumerate(sample.digests):
        if digest and earlier.setdefault(digest, row) != row:
            copies.append((row, earlier[digest]))
    if not copies or sample.n_voxels < 2 or _expected_copies(sample) > _LIKELY:
        return
    add = faults.note if _is_coarse(sample) else faults.add
    of_sessions: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, first in copies:
        key = (int(name.sessions[row]), int(name.sessions[first]))
        of_sessions.setdefault(key, []).append((row, first))
    rest: list[tuple[int, int]] = []
    for (session, other), pairs in of_sessions.items():
        if session != other and len(pairs) == np.count_nonzero(name.sessions == session) > 1:
            add(
                f"Session {session} has the same responses as session {other} in all of its "
                f"{len(pairs)} trials, to the last bit: replace the file, or leave it out."
            )
        else:
            rest += pairs
    if rest:
        row, first = rest[0]
        more = f" ({len(rest)} such trials)" if len(rest) > 1 else ""
        add(
            f"{name(row).capitalize()} has the same responses as {name(first)}, to the last bit"
            f"{more}: remove the duplicate or replace the file."
        )


def _expected_copies(sample: ResponseSample) -> float:
    """Return how many pairs of equal trials chance would give, were voxels independent."""
    values = sample.values[sample.is_read]
    n = len(values)
    pairs = n * (n - 1) / 2
    log = math.log(pairs)
    for column in values.T:
        counts = np.unique(column, return_counts=True)[1]
        if len(counts) > 1:
            log += math.log((float((counts * (counts - 1)).sum()) / 2 + 0.5) / pairs)
    return math.exp(min(log, 0))


def _is_coarse(sample: ResponseSample) -> bool:
    """Return whether voxels take so few values that trials may well be alike."""
    values = sample.values[sample.is_read]
    distinct = [len(np.unique(column)) for column in values.T]
    return float(np.median(distinct)) * _COARSE < len(values)


def _near_copies(sample: ResponseSample) -> Iterator[str]:
    """Say which trials are others in other units, or with a little noise."""
    patterns, name = sample.patterns, _Names(sample)
    if patterns.shape[1] < _DIMENSIONS or _is_coarse(sample):
        return
    sessions = [int(s) for s in np.unique(name.sessions)]
    rows_of = {s: np.flatnonzero(name.sessions == s) for s in sessions}
    explained = set()
    for i, session in enumerate(sessions):
        for other in sessions[:i]:
            a, b = rows_of[session], rows_of[other]
            if len(a) != len(b) or len(a) < 2:
                continue
            alike = np.einsum("ij,ij->i", patterns[a], patterns[b]) > _NEARLY
            pairs = list(zip(a.tolist(), b.tolist(), strict=True))
            same = sum(sample.digests[x] == sample.digests[y] != b"" for x, y in pairs)
            if alike.mean() > 0.9 and same < len(a):
                explained |= set(pairs)
                yield (
                    f"The trials of session {session} are those of session {other} but for scale, "
                    "offset or a little noise: one of them is a copy."
                )
    alike_pairs = [
        pair
        for pair in _alike(patterns[:_COMPARED])
        if pair not in explained and sample.digests[pair[0]] != sample.digests[pair[1]]
    ]
    if alike_pairs:
        row, first = alike_pairs[0]
        yield (
            f"{len(alike_pairs)} trials are nearly another one's responses ({name(row)} as "
            f"{name(first)}): they may be copies."
        )


def _alike(patterns: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield each trial that is nearly an earlier one, with the first such one."""
    for start in range(0, len(patterns), 512):
        rows = patterns[start : start + 512]
        near = rows @ patterns[: start + len(rows)].T > _NEARLY
        for k, first in zip(*np.nonzero(near), strict=True):
            if first < start + k and np.argmax(near[k]) == first:
                yield int(start + k), int(first)


# --- sizes ---------------------------------------------------------------------------------------


def _one_value_notes(sample: ResponseSample) -> Iterator[str]:
    """Say which trials have one value throughout."""
    if (sample.high == sample.low).all():
        return
    if sample.n_voxels < _DIMENSIONS and _is_coarse(sample):
        return  # counts of few voxels may well be the same
    name = _Names(sample)
    zero = [name(row) for row, value in sample.one_value.items() if value == 0]
    other = [name(row) for row, value in sample.one_value.items() if value != 0]
    if zero:
        yield f"{_trials(len(zero))} 0 in every voxel ({listed(zero)}): no response was estimated."
    if other:
        yield f"{_trials(len(other))} one value in all voxels ({listed(other)})."


def _trials(n: int) -> str:
    return f"{n} trial{'s are' if n > 1 else ' is'}"


def _outlier_notes(sample: ResponseSample) -> Iterator[str]:
    """Say which trials are far larger, or smaller, than the others."""
    name, read = _Names(sample), sample.is_read
    usual = np.nanmedian(sample.amplitude[read]) if read.any() else 0.0
    if not usual > 0:
        return
    ratio = np.where(read, sample.amplitude, 0) / max(usual, 1.0)
    limit = _OUTLYING if sample.n_voxels >= _DIMENSIONS else _OUTLYING_FEW
    large = np.flatnonzero(ratio > limit).tolist()
    if large:
        yield (
            f"{_trials(len(large))} more than {limit:g} times as large as usual "
            f"({listed([name(row) for row in large])}; up to {ratio.max():.3g} times): outliers "
            "decide a linear fit; check or leave out."
        )
    size = np.median(sample.size[read])
    small = np.flatnonzero(read & (sample.size < _TINY * size)).tolist()
    tiny = [row for row in small if row not in sample.one_value]
    if tiny:
        yield (
            f"{_trials(len(tiny))} nearly 0 in all voxels ({listed([name(row) for row in tiny])}), "
            f"less than {_TINY:g} of the usual size."
        )


def _scale_notes(sample: ResponseSample) -> Iterator[str]:
    """Say which sessions are in other units than the others."""
    spread = {session: value for session, value in sample.spread.items() if value > 0}
    if len(spread) < 2:
        return
    usual = float(np.median(list(spread.values())))
    for session, value in spread.items():
        others = [v for s, v in spread.items() if s != session]
        reference = usual if len(spread) > 2 else others[0]
        if value > _SCALES * reference or (value * _SCALES < reference and len(spread) > 2):
            yield (
                f"Responses of session {session} vary {value / reference:.3g} times as much as "
                "those of the other sessions: it may be in other units."
            )


def _constant_notes(sample: ResponseSample) -> Iterator[str]:
    """Count the voxels that never change, in all or within a session."""
    always = sample.low == sample.high
    n, n_always = sample.n_voxels, int(always.sum())
    if n_always:
        rest = f", which leaves {n - n_always}" if n_always > n / 2 else ""
        yield f"{n_always} of {n} voxels never change{rest}."
    if len(sample.constant) < 2:
        return
    counts = {s: int((mask & ~always).sum()) for s, mask in sample.constant.items()}
    short = {s for s in counts if np.count_nonzero(sample.trials["session"] == s) < 2}
    counts = {s: count for s, count in counts.items() if count and s not in short}
    if counts:
        sessions = listed([str(s) for s in counts])
        most = max(counts.values())
        yield (
            f"{'Up to ' if len(set(counts.values())) > 1 else ''}{most} of {n} voxels never change "
            f"within session{'s' * (len(counts) > 1)} {sessions}: they have no data there, and "
            "their value counts as a response."
        )


# --- splits --------------------------------------------------------------------------------------


def _split_notes(sample: ResponseSample) -> Iterator[str]:
    """Say whether training and test trials differ by more than their stimuli."""
    trials = sample.trials
    is_test = (trials["split"] == "test").to_numpy()
    if is_test.all() or not is_test.any():
        return
    sessions = trials["session"].to_numpy()
    of_test, of_train = set(sessions[is_test]), set(sessions[~is_test])
    read = sample.is_read
    offset, error = _offset(sample.values[is_test & read], sample.values[~is_test & read])
    shifted = offset > _OFFSET and offset > _OFFSET_ERRORS * error
    by = f"their responses differ by {offset:.2g} standard deviations (median over voxels)"
    if not of_test & of_train:
        test_sessions = listed([str(s) for s in sorted(of_test)])
        yield (
            f"All test trials are in session{'s' * (len(of_test) > 1)} {test_sessions}, without a "
            "training trial: the split is that of the sessions"
            + (f", and {by}." if shifted else ", which may differ by more than their stimuli.")
        )
    elif shifted:
        yield f"Test and training trials differ by more than their stimuli: {by}."


def _offset(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median over voxels of the difference of means in SD, and its standard error."""
    if len(a) < 2 or len(b) < 2:
        return 0.0, math.inf
    a, b = a.astype(np.float64), b.astype(np.float64)
    spread = np.sqrt((a.var(axis=0) * len(a) + b.var(axis=0) * len(b)) / (len(a) + len(b) - 2))
    difference = np.abs(a.mean(axis=0) - b.mean(axis=0))
    varied = spread > 0
    if not varied.any():
        return (math.inf, 0.0) if difference.any() else (0.0, math.inf)
    return (
        float(np.median(difference[varied] / spread[varied])),
        math.sqrt(1 / len(a) + 1 / len(b)),
    )
