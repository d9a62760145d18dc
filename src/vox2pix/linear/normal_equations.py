"""Moments of the trials, gathered in one streaming pass.

Ridge regression needs X'X and X'Y only. Trials repeat stimuli and targets do not: with P the
(n_trials, n_stimuli) indicator of which stimulus each trial showed, X'PY = (P'X)'Y, so the sum
of the trials of each stimulus stands for all of them, and no target is ever repeated in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear import arrays

_N_NAMED = 5
_BLOCK_TRIALS = 1024


def _some(indices: NDArray[np.intp]) -> str:
    """Write the first few indices, and how many more there are."""
    named = ", ".join(str(i) for i in indices[:_N_NAMED])
    more = len(indices) - _N_NAMED
    return f"{named} and {more} more" if more > 0 else named


def check_finite(
    name: str, values: NDArray[Any], first_row: int = 0, first_column: int = 0
) -> None:
    """Refuse NaN and infinite values, naming where they stand.

    Parameters
    ----------
    name : str
        What the array is called in the sentence.
    values : ndarray of shape (n_rows, n_columns)
        The values to look at.
    first_row, first_column : int
        Index of ``values[0, 0]`` in the array that the caller knows.

    Raises
    ------
    ValueError
        If any value is NaN or infinite; the sentence names rows and columns (0-based).
    """
    # One sum finds nearly every clean array without a mask of its size; a sum that overflows
    # only costs the second look.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    rows = np.flatnonzero(bad.any(axis=1)) + first_row
    columns = np.flatnonzero(bad.any(axis=0)) + first_column
    raise ValueError(
        f"{name} holds {int(bad.sum())} NaN or infinite (inf) values, in rows {_some(rows)} and "
        f"columns {_some(columns)} (counted from 0): remove or repair these rows or columns first."
    )


def check_rows(rows: ArrayLike, n_trials: int, n_stimuli: int) -> NDArray[np.intp]:
    """Return ``rows`` as indices, one a trial, each of an existing target row.

    Parameters
    ----------
    rows : array_like of int, shape (n_trials,)
        Row of the target array that belongs to each trial.
    n_trials, n_stimuli : int
        Number of trials and of target rows.

    Returns
    -------
    ndarray of intp, shape (n_trials,)

    Raises
    ------
    ValueError
        If the length differs, the values are not whole numbers, or one is out of range.
    """
    given = np.asarray(rows)
    if given.shape != (n_trials,):
        raise ValueError(
            f"rows has shape {given.shape}, but X has {n_trials} trials: "
            "give one index of a target row for each trial."
        )
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"rows has dtype {given.dtype}: give whole numbers, 0-based.")
    wrong = np.flatnonzero((given < 0) | (given >= n_stimuli))
    if wrong.size:
        raise ValueError(
            f"rows[{wrong[0]}] is {given[wrong[0]]}, but Y has {n_stimuli} rows: "
            f"rows counts from 0 to {n_stimuli - 1}."
        )
    return given.astype(np.intp, copy=False)


def sum_by_stimulus(
    values: NDArray[Any], rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Sum rows of ``values`` (n_trials, n_columns) that share a stimulus.

    Returns
    -------
    stimuli : ndarray of intp, shape (n_present,)
        The stimuli that occur, ascending.
    sums : ndarray, shape (n_present, n_columns)
        The sum of each one's trials, in the precision of ``values``.
    """
    stimuli, position = np.unique(rows, return_inverse=True)
    if len(stimuli) == len(rows):
        return stimuli, values[np.argsort(rows)]
    indicator = scipy.sparse.csr_array(
        (np.ones(len(rows), values.dtype), (position, np.arange(len(rows)))),
        shape=(len(stimuli), len(rows)),
    )
    return stimuli, indicator @ values


class NormalEquations:
    r"""Accumulator of the moments that ridge regression needs.

    Blocks of trials come one after the other through :meth:`add`. With :math:`d_t = x_t - o`
    (o: the mean of the first block, so that large means cost no digits), it keeps

    - :math:`\sum_t d_t d_t'`, (n_features, n_features), in float64;
    - :math:`\sum_{t: s(t)=s} d_t` for every stimulus s, (n_stimuli, n_features), in the precision
      of X (few repeats are summed, so nothing is lost there);
    - the count of trials of each stimulus, and column sums and sums of squares in float64.

    As long as no more trials than features have come, the trials themselves are smaller than
    X'X: they are kept as they are, and X'X is formed once they are not. Peak memory is thus
    ``min(n_trials, n_features) * n_features`` numbers and the sums.

    Parameters
    ----------
    n_stimuli : int
        Number of rows of the target array.
    device : str, optional
        Torch device that holds X'X, and on which the rest is computed; NumPy by default.

    Attributes
    ----------
    n_trials : int
        Trials seen.
    n_features : int
        Columns of X; 0 before the first block.
    counts : ndarray of int, shape (n_stimuli,)
        Trials of each stimulus.
    dtype : numpy dtype
        float32 or float64, that of the first block: products with targets are done in it.
    """

    def __init__(self, n_stimuli: int, device: str | None = None) -> None:
        if n_stimuli < 1:
            raise ValueError("n_stimuli is 0: there is no target to learn.")
        self.device = device
        self.n_trials = 0
        self.n_features = 0
        self.counts = np.zeros(n_stimuli, np.intp)
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self._kept: list[tuple[NDArray[Any], NDArray[np.intp]]] = []
        self._gram: Any = None
        self._sums: NDArray[Any] | None = None

    @property
    def n_stimuli(self) -> int:
        """Number of rows of the target array."""
        return len(self.counts)

    @property
    def is_dual(self) -> bool:
        """Whether the trials are kept rather than X'X (no more trials than features)."""
        return self._sums is None

    @property
    def mean(self) -> NDArray[np.float64]:
        """Column means of X, shape (n_features,)."""
        return self._shift + self._total / self.n_trials

    @property
    def variance(self) -> NDArray[np.float64]:
        """Column variances of X (divisor n_trials), shape (n_features,); exactly 0 if constant."""
        variance = (self._squares - self._total**2 / self.n_trials) / self.n_trials
        return np.where(self._squares > 0, np.maximum(variance, 0), 0)

    def add(self, X_block: ArrayLike, rows: ArrayLike, *, copy: bool = True) -> None:
        """Take a block of trials.

        Parameters
        ----------
        X_block : array_like, shape (n_block, n_features)
            Responses, float32 or float64 (anything else is converted to float64).
        rows : array_like of int, shape (n_block,)
            Index of each trial's target row.
        copy : bool
            Whether a block that has to be kept is copied; False only if the caller leaves it be.

        Raises
        ------
        ValueError
            If the number of columns changes, a value is not finite, or ``rows`` does not fit.
        """
        block = np.asarray(X_block)
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(np.float64)
        if block.ndim != 2:
            raise ValueError(f"X has shape {block.shape}: give a table (n_trials, n_features).")
        index = check_rows(rows, len(block), self.n_stimuli)
        if len(block) == 0:
            return
        check_finite("X", block, first_row=self.n_trials)
        if self.n_trials == 0:
            self._start(block)
        elif block.shape[1] != self.n_features:
            raise ValueError(
                f"A block of X has {block.shape[1]} columns, but the first had {self.n_features}."
            )
        for lo in range(0, len(block), _BLOCK_TRIALS):
            shifted = block[lo : lo + _BLOCK_TRIALS] - self._shift
            self._total += shifted.sum(axis=0)
            self._squares += np.einsum("ij,ij->j", shifted, shifted)
        self.counts += np.bincount(index, minlength=self.n_stimuli)
        self.n_trials += len(block)
        if not self.is_dual:
            self._add_products(block, index)
            return
        self._kept.append((block.copy() if copy else block, index))
        if self.n_trials > self.n_features:
            self._gram = arrays.empty_square(self.n_features, self.device)
            self._sums = np.zeros((self.n_stimuli, self.n_features), self.dtype)
            while self._kept:
                self._add_products(*self._kept.pop(0))

    def _start(self, block: NDArray[Any]) -> None:
        """Take sizes, precision and shift from the first block."""
        self.dtype = block.dtype
        self.n_features = block.shape[1]
        low, high = block.min(axis=0), block.max(axis=0)
        # A constant column is shifted by its own value, so that its moments are exactly zero.
        self._shift = np.where(low == high, low, block.mean(axis=0, dtype=np.float64))
        self._shift = self._shift.astype(np.float64)
        self._total = np.zeros(self.n_features)
        self._squares = np.zeros(self.n_features)

    def _add_products(self, block: NDArray[Any], rows: NDArray[np.intp]) -> None:
        """Add a block to X'X and to the sums of each stimulus."""
        assert self._sums is not None
        for lo in range(0, len(block), _BLOCK_TRIALS):
            part = slice(lo, lo + _BLOCK_TRIALS)
            shifted = block[part] - self._shift
            arrays.add_products(self._gram, shifted)
            stimuli, sums = sum_by_stimulus(shifted, rows[part])
            self._sums[stimuli] += sums.astype(self.dtype, copy=False)

    def trials(self) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Return the trials kept, (n_trials, n_features), and their rows (dual only)."""
        if not self.is_dual:
            raise ValueError("The trials are summed already: there are more trials than features.")
        if len(self._kept) > 1:
            blocks, rows = zip(*self._kept, strict=True)
            self._kept = [(np.concatenate(blocks), np.concatenate(rows))]
        return self._kept[0]

    def gram(
        self,
        offset: NDArray[np.float64],
        scale: NDArray[np.float64],
        kept: NDArray[np.bool_],
        *,
        overwrite: bool = False,
    ) -> Any:
        """Return X'X of ``(X - offset) / scale`` over the columns ``kept``, float64 (primal only).

        Only the lower triangle is right. With ``overwrite`` it is the accumulator's own matrix,
        which no one can ask for again.

        The shift of the accumulator is undone on the moments: with d = shift - offset and t the
        column sums, X'X becomes X'X + t d' + d t' + n d d'.
        """
        if self._gram is None:
            raise ValueError(
                "X'X is not formed (no more trials than features), or was handed over already."
            )
        gram = self._gram
        if overwrite:
            self._gram = None
        else:
            gram = gram.clone() if self.device else gram.copy(order="F")
        delta = self._shift - offset
        arrays.add_outer(gram, self._total + 0.5 * self.n_trials * delta, delta)
        inverse = arrays.like(1 / scale, gram)
        gram *= inverse
        gram *= inverse[:, None]
        if kept.all():
            return gram
        used = np.flatnonzero(kept)
        return gram.T[used[:, None], used].T

    def sums(
        self,
        part: NDArray[np.intp],
        offset: NDArray[np.float64],
        scale: NDArray[np.float64],
        kept: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Return the sums of ``(X - offset) / scale`` of some stimuli, float64 (primal only)."""
        if self._sums is None:
            raise ValueError("Sums are not formed: there are no more trials than features.")
        delta = self._shift - offset
        sums = self._sums[part].astype(np.float64) + np.outer(self.counts[part], delta)
        sums /= scale
        return sums if kept.all() else sums[:, kept]
