r"""Ridge regression for every penalty from one eigendecomposition.

For centred X (n_trials, p), weights W = diag(w) of the trials and one target row per stimulus,
write the thin singular value decomposition W^(1/2) X = U diag(sqrt(s)) V'. Its parts come from one
symmetric eigendecomposition: of X'WX = V diag(s) V' if there are more trials than features
(primal), else of W^(1/2) XX' W^(1/2) = U diag(s) U' (dual). With P the (n_trials, n_stimuli)
indicator of which stimulus each trial showed and C = P'WP,

    F = C^(-1/2) P'W^(1/2) U,    Y~ = C^(1/2) (Y - mean),    g = F'Y~ = U'W^(1/2) P(Y - mean),

the ridge weights for a penalty alpha are V diag(sqrt(s) / (s + alpha)) g, and the weighted
residual sum of squares over trials is |Y~|^2 - |g|^2 + sum_i (alpha / (s_i + alpha))^2 g_i^2:
nothing of the size of trials x targets is ever formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from vox2pix.linear import arrays
from vox2pix.linear.normal_equations import NormalEquations, Scaling, sum_by_stimulus

_FEATURE_BLOCK = 2048
# Changes no error by more than its own size, relative to the targets' variance.
_JITTER = 1e-10
# Standard deviations beyond these are brought near 1, or their squares would leave float32.
_SMALLEST, _LARGEST = 1e-5, 1e5


@dataclass(frozen=True)
class Projection:
    """Targets in the basis of a decomposition.

    All but ``mean`` are in units of ``scale``: a power of two, so that nothing is rounded.
    """

    g: Any
    """(rank, n_targets): coordinates on the left singular vectors of X."""
    between: Any
    """(n_rows, n_targets): Y~ in the basis in which the error of the stimulus means is computed
    (see :func:`~vox2pix.linear.gcv_errors`); empty where no stimulus repeats."""
    outside: NDArray[np.float64]
    """(n_targets,): sum of squares of Y~ outside this basis, which no weights can explain."""
    total: NDArray[np.float64]
    """(n_targets,): sum of squares of Y~."""
    mean: NDArray[np.float64]
    """(n_targets,): mean of the targets over trials; zero without an intercept."""
    scale: NDArray[np.float64]
    """(n_targets,): what the targets are divided by; 1 unless very small or very large."""

    def truth(self, Y: NDArray[Any]) -> NDArray[np.float64]:
        """Return rows of the targets, centred and in units of ``scale``."""
        return (Y - self.mean) / self.scale


@dataclass(frozen=True)
class Decomposition:
    """Eigendecomposition of a ridge problem, from :func:`decompose`.

    What has the size of the problem (F, and g and between of a projection) is a NumPy array, or a
    torch tensor where the equations were given a device.
    """

    eigenvalues: NDArray[np.float64]
    """(rank,): nonzero eigenvalues s of X'WX, X as scaled."""
    F: Any
    """(n_present, rank): C^(-1/2) P'W^(1/2) U over the stimuli that occur."""
    stimuli: NDArray[np.intp]
    """(n_present,): the stimuli that occur, as rows of the targets."""
    counts: NDArray[np.float64]
    """(n_present,): their trials, or the sums of their weights."""
    n_trials: int
    intercept: bool
    """Whether targets are centred (and one degree of freedom is the mean's)."""
    scaling: Scaling
    dtype: np.dtype[Any]
    """Precision of the products with targets."""
    _right: Any  # V (primal), or None
    _left: Any  # W^(1/2) U (dual), or None
    _trials: NDArray[Any] | None  # X as given (dual)

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """Part of each left singular vector that is between stimuli, not within repeats: |F_i|^2.

        All ones where no stimulus repeats.
        """
        if not self.repeats:
            return np.ones(len(self.eigenvalues))
        return np.minimum(arrays.column_squares(self.F), 1)

    @property
    def repeats(self) -> bool:
        """Whether any stimulus occurs more than once."""
        return self.n_trials > len(self.stimuli)

    @cached_property
    def triangle(self) -> Any:
        """R, upper triangular, with R'R = F'F; None where F is no taller than wide."""
        if self.F.shape[0] <= self.F.shape[1]:
            return None
        return arrays.triangle(self.F, _JITTER)

    def project(self, Y: ArrayLike) -> Projection:
        """Bring targets (n_stimuli, n_targets) into the basis of the decomposition."""
        given = np.asarray(Y)
        if len(given) > len(self.stimuli):
            given = given[self.stimuli]
        is_weighted = bool((self.counts != 1).any())
        mean = np.zeros(given.shape[1])
        if self.intercept and is_weighted:
            mean = np.einsum("i,ij->j", self.counts / self.counts.sum(), given)
        elif self.intercept:
            mean = given.mean(axis=0, dtype=np.float64)
        centred, scale = _centred(given, mean, self.dtype)
        if is_weighted:
            centred *= np.sqrt(self.counts).astype(self.dtype)[:, None]
        total = arrays.column_squares(centred)
        weighted = arrays.like(centred, self.F)
        g = self.F.T @ weighted
        if not self.repeats:
            full = len(self.eigenvalues) >= self.n_trials - self.intercept
            outside = np.zeros_like(total)
            if not full:
                outside = np.maximum(total - arrays.column_squares(g), 0)
            return Projection(g, weighted[:0], outside, total, mean, scale)
        if self.triangle is None:
            return Projection(g, weighted, np.zeros_like(total), total, mean, scale)
        between = arrays.solve_transposed(self.triangle, g)
        outside = total - arrays.column_squares(between)
        return Projection(g, between, outside, total, mean, scale)

    def shrunk(self, g: Any, alpha: ArrayLike) -> Any:
        """Ridge weights on the right singular vectors V, (rank, n_targets), from g of a projection.

        ``alpha`` is one penalty, or one per target.
        """
        return g * self._factors(np.sqrt(self.eigenvalues), alpha)

    def weights(self, g: Any, alpha: NDArray[np.float64]) -> NDArray[Any]:
        """Ridge weights for X as given, one penalty per target: shape (n_targets, n_features)."""
        scale, used = self.scaling.scale, self.scaling.used
        weights = np.zeros((g.shape[1], len(used)), self.dtype)
        inverse = (1 / scale).astype(self.dtype)
        if self._right is not None:
            product = arrays.on_host(self.shrunk(g, alpha).T @ self._right.T)
            # A slice spares a copy of what may be gigabytes.
            weights[:, slice(None) if used.all() else used] = product * inverse[used]
            return weights
        inner = (self._left @ (g * self._factors(np.ones(len(self.eigenvalues)), alpha))).T
        for columns, block in _scaled_blocks(self._trials, self.scaling, self.dtype):
            product = arrays.on_host(inner @ arrays.like(block, inner))
            weights[:, columns] = product * inverse[columns]
        return weights

    def scores(self, X: NDArray[Any]) -> Any:
        """Coordinates of trials on the right singular vectors V: shape (n_trials, rank)."""
        if self._right is not None:
            offset, scale, used = self.scaling[:3]
            scaled = (X - offset) / scale
            return arrays.like(scaled[:, used], self._right) @ self._right
        kernel = arrays.like(np.zeros((len(X), len(self._left))), self._left)
        both = (_scaled_blocks(values, self.scaling, self.dtype) for values in (X, self._trials))
        for (_, block), (_, of_trials) in zip(*both, strict=True):
            kernel += arrays.like(block, kernel) @ arrays.like(of_trials, kernel).T
        return kernel @ self._left / arrays.like(np.sqrt(self.eigenvalues), self._left)

    def _factors(self, numerator: NDArray[np.float64], alpha: ArrayLike) -> Any:
        """Return ``numerator / (s + alpha)``, (rank, n_targets), penalties being few."""
        distinct, which = np.unique(np.atleast_1d(alpha), return_inverse=True)
        table = numerator[:, None] / (self.eigenvalues[:, None] + distinct)
        return arrays.like(table, self.F)[:, which]


def _centred(
    values: NDArray[Any], mean: NDArray[np.float64], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return columns less their means, in a precision, and by what they were divided.

    Columns that are constant to the rounding of their mean become exactly zero.
    """
    n = max(len(values), 1)
    # Subtracted in float64 and rounded once, without a copy in float64.
    with np.errstate(over="ignore"):
        centred = np.subtract(values, mean, out=np.empty(values.shape, dtype))
        spread = np.sqrt(arrays.column_squares(centred) / n)
    scale = np.ones(len(mean))
    rounding = n * np.finfo(np.float64).eps * np.abs(mean)
    is_usual = (spread >= np.maximum(_SMALLEST, rounding)) & (spread <= _LARGEST)
    extreme = np.flatnonzero(~is_usual)
    if not extreme.size:
        return centred, scale
    exact = values[:, extreme].astype(np.float64) - mean[extreme]
    largest = np.abs(exact).max(axis=0, initial=0)
    constant = largest <= rounding[extreme]
    scale[extreme] = np.exp2(np.round(np.log2(np.where(constant, 1, largest))))
    centred[:, extreme] = np.where(constant, 0, exact / scale[extreme])
    return centred, scale


def _scaled_blocks(
    X: Any, scaling: Scaling, dtype: DTypeLike
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield X as scaled, a block of used columns at a time, and which columns these are."""
    indices = np.flatnonzero(scaling.used)
    for lo in range(0, len(indices), _FEATURE_BLOCK):
        columns: Any = indices[lo : lo + _FEATURE_BLOCK]
        if columns[-1] - columns[0] == len(columns) - 1:  # a slice spares a copy
            columns = slice(columns[0], columns[-1] + 1)
        block = X[:, columns]
        # Subtracted in float64 and rounded once.
        block = np.subtract(block, scaling.offset[columns], out=np.empty(block.shape, dtype))
        block /= scaling.scale[columns].astype(dtype)
        yield columns, block


def decompose(
    equations: NormalEquations,
    scaling: Scaling | None = None,
    *,
    intercept: bool = True,
    overwrite: bool = False,
) -> Decomposition:
    """Eigendecompose X'WX (more trials than features) or W^(1/2) XX' W^(1/2) (else).

    With an intercept X is centred by its means, whatever ``scaling`` says, and targets by theirs.
    The decomposition and everything before it is float64; F and V are then stored in the
    precision of X. All of it happens where the equations are: on the host, or on their device.
    With ``overwrite`` X'X may be destroyed, which spares a copy; ``equations`` is then spent.
    """
    n = equations.n_trials
    if n < 1 + intercept:
        raise ValueError(f"X has n_samples = {n}: ridge needs at least {1 + intercept} trials.")
    if scaling is None:
        scaling = equations.scaling(centre=intercept, standardize=False)
    if intercept:
        scaling = scaling._replace(offset=equations.mean)
    stimuli = np.flatnonzero(equations.counts)
    counts = equations.counts[stimuli]
    right = left = trials = None
    if equations.is_dual:
        trials, rows, weights = equations.trials()
        matrix = arrays.empty_square(n, equations.device)
        for _, block in _scaled_blocks(trials, scaling, np.float64):
            block *= np.sqrt(weights)[:, None]
            arrays.add_products(matrix, block.T)
    else:
        matrix = equations.gram(scaling, overwrite=overwrite)
    s, vectors = arrays.eigh(matrix) if len(matrix) else (np.zeros(0), matrix)
    rounding = np.finfo(np.float64).eps * max(n, equations.n_features)
    first = np.searchsorted(s, s.max(initial=0) * rounding, "right")
    s, vectors = s[first:], vectors[:, first:]
    if equations.is_dual:
        vectors *= arrays.like(np.sqrt(weights)[:, None], vectors)
        F = sum_by_stimulus(arrays.on_host(vectors), rows)[1] / np.sqrt(counts)[:, None]
        F = arrays.placed(F.astype(equations.dtype, copy=False), equations.device)
        left = arrays.in_dtype(vectors, equations.dtype)
    else:
        F = arrays.placed(np.empty((len(stimuli), len(s)), equations.dtype), equations.device)
        for lo in range(0, len(stimuli), _FEATURE_BLOCK):
            part = slice(lo, lo + _FEATURE_BLOCK)
            sums = equations.sums(stimuli[part], scaling) / np.sqrt(counts[part])[:, None]
            F[part] = arrays.like(sums, vectors) @ vectors / arrays.like(np.sqrt(s), vectors)
        right = arrays.in_dtype(vectors, equations.dtype)
    return Decomposition(
        s, F, stimuli, counts, n, intercept, scaling, equations.dtype, right, left, trials
    )
