"""Whether images agree with the originals that they were paired with."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.metrics.identification import unit_rows

Thumbnails = NDArray[np.float32]
Matrix = NDArray[np.float64]

_AT_MOST = 2_000  # stimuli that are looked at, spread evenly
_EXACT = 6  # stimuli whose orders are all tried
_Z = 1.645  # one-sided, 5 %
_P_ORDER = 0.002  # of a choice between two orders of files
_P_NOTE = 0.05  # of a note
_MARGIN = 0.1  # of the mean correlation


@dataclass(frozen=True)
class OrderEvidence:
    """Whether the second of two orders of files clearly agrees better with the other side."""

    meant: bool
    words: str


def agreement(truth: Thumbnails, drawn: Thumbnails) -> Matrix:
    """Return r (n, n) of every original with every stimulus' samples, their mean.

    Thumbnails are (n, height, width, 3) and (n, n_samples, height, width, 3). One of a single
    colour has r = 0.
    """
    n, n_samples = drawn.shape[:2]
    originals = unit_rows(truth.reshape(n, -1))
    mean = sum(
        unit_rows(drawn[:, sample].reshape(n, -1)).astype(np.float64) for sample in range(n_samples)
    )
    return np.asarray(originals.astype(np.float64) @ (mean / n_samples).T, np.float64)


def better_than_mismatched(r: Matrix) -> bool:
    r"""Tell whether the diagonal of r (n, n) is higher than chance pairs would be.

    For n up to 6 whether no other order of the rows reaches the same mean (or no more than 5 % of
    them). Beyond, with :math:`d_{ij} = r_{ij} - \bar r_{i.} - \bar r_{.j} + \bar r`, the mean over
    a random order has the variance

    .. math:: \frac{1}{n^2 (n - 1)} \sum_{ij} d_{ij}^2,

    (Hoeffding 1951), and the diagonal's z must be above 1.645.
    """
    n = len(r)
    own = float(np.trace(r)) / n
    if n <= _EXACT:
        rows = np.arange(n)
        means = np.array([r[rows, list(order)].mean() for order in permutations(rows)])
        reached = int((means >= own - 1e-9).sum())
        return reached == 1 or reached / len(means) <= _P_NOTE
    d = r - r.mean(axis=0) - r.mean(axis=1, keepdims=True) + r.mean()
    spread = float(np.sqrt((d**2).sum() / (n - 1))) / n
    return own - float(r.mean()) > _Z * max(spread, 1e-9)


def text_order_is_meant(
    truth: Thumbnails, drawn: Thumbnails, order: NDArray[np.int_]
) -> OrderEvidence:
    """Compare the order of the rows of ``drawn`` with another, ``order``, by a sign test."""
    own = agreement_of_rows(truth, drawn)
    other = agreement_of_rows(truth, drawn[order])
    moved = order != np.arange(len(order))
    wins = int((other > own)[moved].sum())
    meant = _sign_p(wins, int(moved.sum())) <= _P_ORDER and other.mean() > own.mean() + _MARGIN
    return OrderEvidence(
        bool(meant), f"mean r {own.mean():.2f} by number, {other.mean():.2f} as text"
    )


def agreement_of_rows(truth: Thumbnails, drawn: Thumbnails) -> Matrix:
    """Return the correlation of each original with its own reconstructions, shape (n,)."""
    n, n_samples = drawn.shape[:2]
    originals = unit_rows(truth.reshape(n, -1)).astype(np.float64)
    each = [
        (originals * unit_rows(drawn[:, sample].reshape(n, -1))).sum(axis=1)
        for sample in range(n_samples)
    ]
    return np.asarray(np.mean(each, axis=0), np.float64)


def pairing_notes(truth: Thumbnails, drawn: Thumbnails) -> Iterator[str]:
    """Yield what speaks against the pairs, or against how one side is stored, from thumbnails."""
    if len(truth) > _AT_MOST:
        rows = np.linspace(0, len(truth) - 1, _AT_MOST).astype(int)
        truth, drawn = truth[rows], drawn[rows]
    r = agreement(truth, drawn)
    n = len(r)
    own = np.diag(r)
    mismatched = (r.sum() - own.sum()) / (n * (n - 1))
    if not better_than_mismatched(r):
        yield (
            f"paired images correlate no better than mismatched ones (mean r {own.mean():.2f} and "
            f"{mismatched:.2f} at {truth.shape[1]} px): check that both sides belong together and "
            "have the same ids or order"
        )
    yield from _exchanged(r)
    for words, rows in _other_orders(n):
        inside = (rows >= 0) & (rows < n)
        shifted = r[np.arange(n)[inside], rows[inside]]
        if _clearly_better(shifted, own[inside]):
            yield (
                f"images agree better with another original than with their own ({words}: mean r "
                f"{shifted.mean():.2f}, as paired {own[inside].mean():.2f}): check the order"
            )
    for words, change in _CHANGES.items():
        changed = agreement_of_rows(truth, change(drawn))
        if _clearly_better(changed, own):
            yield (
                f"reconstructions agree better with their originals {words} (mean r "
                f"{changed.mean():.2f}, as stored {own.mean():.2f}): check how they were saved"
            )


def _exchanged(r: Matrix) -> Iterator[str]:
    """Yield how many reconstructions clearly belong to another original.

    Clear is a pair that is the best of its row and of its column by a margin. Poor
    reconstructions have such pairs by chance: they must be many beside those that are clearly
    right.
    """
    n = len(r)
    if n < 3:
        return
    best = r.argmax(axis=1)
    rows = np.arange(n)
    ordered, across = np.sort(r, axis=1), np.sort(r, axis=0)
    clear = (r.argmax(axis=0)[best] == rows) & (ordered[:, -1] - ordered[:, -2] > _MARGIN)
    clear &= across[-1, best] - across[-2, best] > _MARGIN
    right = clear & (best == rows)
    wrong = clear & (best != rows) & (ordered[:, -1] - np.diag(r) > 2 * _MARGIN)
    n_right, n_wrong = int(right.sum()), int(wrong.sum())
    many = 3 * n_wrong >= n_right + n_wrong and 4 * n_wrong >= n
    if n_wrong >= 2 and (many or 2 * n_right >= n):
        yield (
            f"{n_wrong} of {n} originals agree clearly better with the reconstruction of another "
            f"stimulus ({n_right} with their own): check the order or the ids"
        )


def _other_orders(n: int) -> Iterator[tuple[str, NDArray[np.int_]]]:
    """Yield the usual mistakes of counting, as rows of the reconstructions."""
    rows = np.arange(n)
    yield "one row later, as if counted from 1", rows + 1
    yield "one row earlier, as if counted from 0", rows - 1
    if n > 3:
        yield "in reverse order", rows[::-1]


_CHANGES = {
    "with red and blue exchanged": lambda images: images[..., ::-1],
    "with height and width exchanged": lambda images: np.swapaxes(images, 2, 3),
    "mirrored left to right": lambda images: images[..., ::-1, :],
    "turned upside down": lambda images: images[:, :, ::-1],
    "as negatives": lambda images: 1 - images,
}


def _clearly_better(other: Matrix, own: Matrix) -> bool:
    """Tell whether values are higher in nearly all rows and in the mean."""
    if len(other) < 2 or other.mean() <= own.mean() + _MARGIN:
        return False
    wins = int((other > own).sum())
    # Of four rows or fewer a sign test says nothing: all must be clearly higher.
    if len(other) <= 4:
        return wins == len(other) and float(other.min()) > 0.5
    return _sign_p(wins, len(other)) <= _P_NOTE


def _sign_p(wins: int, n: int) -> float:
    """Return the one-sided p of a sign test."""
    from scipy.stats import binom

    return float(binom.sf(wins - 1, n, 0.5))
