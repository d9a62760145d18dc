"""Moments of the trials, gathered in one streaming pass.

Ridge regression needs X'X and X'Y only. Trials repeat stimuli and targets do not: with P the
(n_trials, n_stimuli) indicator of which stimulus each trial showed, X'PY = (P'X)'Y, so the sum
of the trials of each stimulus replaces them all, and no target is repeated in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear import arrays
from vox2pix.linear.checks import check_finite, check_rows

_BLOCK_TRIALS = 1024
_BLOCK_COLUMNS = 1024


def sum_by_stimulus(
    values: NDArray[Any], rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Return the stimuli that occur, ascending, and the sum of the trials (rows) of each."""
    stimuli, position = np.unique(rows, return_inverse=True)
    if len(stimuli) == len(rows):
        return stimuli, values[np.argsort(rows)]
    indicator = scipy.sparse.csr_array(
        (np.ones(len(rows), values.dtype), (position, np.arange(len(rows)))),
        shape=(len(stimuli), len(rows)),
    )
    return stimuli, indicator @ values


class Scaling(NamedTuple):
    """What ridge is fitted on: ``(X - offset) / scale``, of the columns ``used``."""

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    used: NDArray[np.bool_]
    power: float = 0.0  # of the reliability that columns are multiplied by, in their scale
    reliability: NDArray[np.float64] | None = None  # of the columns, where it was asked for


class NormalEquations:
    r"""Accumulator of the moments that ridge regression needs.

    Blocks of trials come one after the other through :meth:`add`. With :math:`d_t = x_t - o`
    (o: the mean of the first block, so that large means cost no digits) and weights :math:`w_t`,
    it holds

    - :math:`\sum_t w_t d_t d_t'`, (n_features, n_features), in float64;
    - :math:`\sum_{t: s(t)=s} w_t d_t` for every stimulus s, (n_stimuli, n_features), in the
      precision of X (few repeats are summed, so nothing is lost there);
    - ``counts`` (n_stimuli,), the trials or the weight of each stimulus, and column sums and sums
      of squares, in float64.

    Until there are more trials than features, the trials themselves are smaller than X'X: they
    are stored as they are, and X'X is formed later. Peak memory is thus
    ``min(n_trials, n_features) * n_features`` numbers and the sums. X'X is on the torch
    ``device``, if one is given. ``dtype`` is that of the first block.
    """

    def __init__(self, n_stimuli: int, device: str | None = None) -> None:
        if n_stimuli < 1:
            raise ValueError("n_stimuli is 0: there is no target to learn.")
        self.device = device
        self.n_trials = 0
        self.n_features = 0
        self.counts = np.zeros(n_stimuli)
        self.dtype: np.dtype[Any] = np.dtype(np.float64)
        self._stored: list[tuple[NDArray[Any], NDArray[np.intp], NDArray[np.float64]]] = []
        self._gram: Any = None
        self._sums: NDArray[Any] | None = None

    @property
    def n_stimuli(self) -> int:
        """Number of rows of the target array."""
        return len(self.counts)

    @property
    def weight(self) -> float:
        """Sum of the weights of all trials."""
        return float(self.counts.sum())

    @property
    def is_dual(self) -> bool:
        """Whether the trials are stored rather than X'X (no more trials than features)."""
        return self._sums is None

    @property
    def mean(self) -> NDArray[np.float64]:
        """Column means of X, shape (n_features,)."""
        return self._shift + self._total / self.weight

    @property
    def variance(self) -> NDArray[np.float64]:
        """Column variances of X (divisor: the weight), (n_features,); exactly 0 if constant."""
        variance = (self._squares - self._total**2 / self.weight) / self.weight
        return np.where(self._squares > 0, np.maximum(variance, 0), 0)

    @property
    def variance_within(self) -> NDArray[np.float64] | None:
        """Column variances among repeats of a stimulus, (n_features,); None where none repeats.

        Their divisor is the trials less the stimuli, as one mean is estimated for each stimulus.
        """
        degrees = self.n_trials - int((self.counts > 0).sum())
        if degrees < 1:
            return None
        return np.maximum(self._squares - self._squares_between(), 0) / degrees

    def _squares_between(self) -> NDArray[np.float64]:
        """Return the sums of squares about the shift that the means of stimuli account for."""
        if self._sums is not None:
            seen = self.counts > 0
            sums = self._sums[seen].astype(np.float64)
            return np.asarray((sums**2 / self.counts[seen, None]).sum(axis=0))
        trials, rows, weights = self.trials()
        stimuli = np.unique(rows)
        between = np.empty(self.n_features)
        for lo in range(0, self.n_features, _BLOCK_COLUMNS):
            part = slice(lo, lo + _BLOCK_COLUMNS)
            shifted = times(trials[:, part] - self._shift[part], weights)
            _, sums = sum_by_stimulus(shifted, rows)
            between[part] = (sums**2 / self.counts[stimuli, None]).sum(axis=0)
        return between

    def add(
        self,
        X_block: ArrayLike,
        stimuli: ArrayLike,
        weights: NDArray[np.float64] | None = None,
        *,
        copy: bool = True,
    ) -> None:
        """Take trials (n_block, n_features), the target row and the positive weight of each.

        With ``copy=False`` the caller promises not to change the block afterwards.
        """
        block = np.asarray(X_block)
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(np.float64)
        if block.ndim != 2:
            raise ValueError(f"X has shape {block.shape}: give a table (n_trials, n_features).")
        index = check_rows(stimuli, len(block), self.n_stimuli)
        if len(block) == 0:
            return
        check_finite("X", block, first_row=self.n_trials)
        if self.n_trials == 0:
            self._start(block)
        elif block.shape[1] != self.n_features:
            raise ValueError(
                f"A block of X has {block.shape[1]} columns, but the first had {self.n_features}."
            )
        weight = np.ones(len(block)) if weights is None else weights
        for lo in range(0, len(block), _BLOCK_TRIALS):
            shifted = block[lo : lo + _BLOCK_TRIALS] - self._shift
            weighted = times(shifted, weight[lo : lo + _BLOCK_TRIALS])
            self._total += weighted.sum(axis=0)
            self._squares += np.einsum("ij,ij->j", weighted, shifted)
        self.counts += np.bincount(index, weight, minlength=self.n_stimuli)
        self.n_trials += len(block)
        if not self.is_dual:
            self._add_products(block, index, weight)
            return
        self._stored.append((block.copy() if copy else block, index, weight))
        if self.n_trials > self.n_features:
            self._gram = arrays.empty_square(self.n_features, self.device)
            self._sums = np.zeros((self.n_stimuli, self.n_features), self.dtype)
            while self._stored:
                self._add_products(*self._stored.pop(0))

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

    def _add_products(
        self, block: NDArray[Any], rows: NDArray[np.intp], weights: NDArray[np.float64]
    ) -> None:
        """Add a block to X'X and to the sums of each stimulus."""
        assert self._sums is not None
        for lo in range(0, len(block), _BLOCK_TRIALS):
            part = slice(lo, lo + _BLOCK_TRIALS)
            shifted = block[part] - self._shift
            rooted = times(shifted, np.sqrt(weights[part]))
            arrays.add_products(self._gram, rooted)
            stimuli, sums = sum_by_stimulus(times(rooted, np.sqrt(weights[part])), rows[part])
            self._sums[stimuli] += sums.astype(self.dtype, copy=False)

    def trials(self) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.float64]]:
        """Return the trials (n_trials, n_features), their stimuli and weights (dual only)."""
        if not self.is_dual:
            raise ValueError("The trials are summed already: there are more trials than features.")
        if len(self._stored) > 1:
            blocks, rows, weights = zip(*self._stored, strict=True)
            self._stored = [tuple(map(np.concatenate, (blocks, rows, weights)))]  # type: ignore
        return self._stored[0]

    def scaling(self, *, centre: bool, standardize: bool) -> Scaling:
        """Return the means, deviations and varied columns of X; 0 and 1 where not asked for."""
        variance = self.variance
        used = variance > 0
        offset = self.mean if centre else np.zeros(self.n_features)
        scale = np.sqrt(variance, where=used, out=np.ones(self.n_features))
        return Scaling(offset, scale if standardize else np.ones(self.n_features), used)

    def gram(self, scaling: Scaling, *, overwrite: bool = False) -> Any:
        """Return X'X of X as scaled, float64, of which the lower triangle is right (primal only).

        With ``overwrite`` it is the accumulator's own matrix, which is then gone. The shift of the
        accumulator is undone on the moments: with d = shift - offset and t the column sums, X'X
        becomes X'X + t d' + d t' + w d d' (w: the weight).
        """
        if self._gram is None:
            raise ValueError(
                "X'X is not formed (no more trials than features), or was overwritten already."
            )
        gram = self._gram
        if overwrite:
            self._gram = None
        else:
            gram = gram.clone() if self.device else gram.copy(order="F")
        delta = self._shift - scaling.offset
        arrays.add_outer(gram, self._total + 0.5 * self.weight * delta, delta)
        inverse = arrays.like(1 / scaling.scale, gram)
        gram *= inverse
        gram *= inverse[:, None]
        if scaling.used.all():
            return gram
        columns = np.flatnonzero(scaling.used)
        return gram.T[columns[:, None], columns].T

    def sums(self, part: NDArray[np.intp], scaling: Scaling) -> NDArray[np.float64]:
        """Return the sums of X as scaled over the trials of some stimuli (primal only)."""
        if self._sums is None:
            raise ValueError("Sums are not formed: there are no more trials than features.")
        delta = self._shift - scaling.offset
        sums = self._sums[part].astype(np.float64) + np.outer(self.counts[part], delta)
        sums /= scaling.scale
        return sums if scaling.used.all() else sums[:, scaling.used]


def times(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply rows by weights, without a copy where all are 1."""
    return values if (weights == 1).all() else values * weights[:, None]
