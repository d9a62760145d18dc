r"""Ridge regression for every penalty from one eigendecomposition.

For centred X (n_trials, p) and one target row a stimulus, write the thin singular value
decomposition X = U diag(sqrt(s)) V'. Its parts come from one symmetric eigendecomposition: of
X'X = V diag(s) V' if there are more trials than features (primal), else of XX' = U diag(s) U'
(dual). With P the (n_trials, n_stimuli) indicator of which stimulus each trial showed and
C = P'P the counts of trials,

    F = C^(-1/2) P'U,    Y~ = C^(1/2) (Y - mean),    g = F'Y~ = U'P(Y - mean),

the ridge weights for a penalty alpha are V diag(sqrt(s) / (s + alpha)) g, and the residual sum of
squares over trials is |Y~|^2 - |g|^2 + sum_i (alpha / (s_i + alpha))^2 g_i^2: nothing of the size
of trials x targets is ever formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from vox2pix.linear.normal_equations import NormalEquations, check_finite, sum_by_stimulus

TARGET_BLOCK = 1024
_FEATURE_BLOCK = 2048
_TRIANGLE_BLOCKS = 8
_JITTER = 1e-10


@dataclass(frozen=True)
class Projection:
    """Targets seen through a decomposition.

    Attributes
    ----------
    g : ndarray, shape (rank, n_targets)
        Coordinates of the targets on the left singular vectors of X.
    between : ndarray, shape (n_rows, n_targets)
        Weighted, centred targets Y~ in the basis in which the error of the stimulus means is
        computed (see :func:`gcv_errors`); empty where no stimulus repeats.
    outside : ndarray of float64, shape (n_targets,)
        Sum of squares of Y~ that this basis does not hold, and no weights can explain.
    total : ndarray of float64, shape (n_targets,)
        Sum of squares of Y~.
    mean : ndarray of float64, shape (n_targets,)
        Mean of the targets over trials (zero without an intercept).
    """

    g: NDArray[Any]
    between: NDArray[Any]
    outside: NDArray[np.float64]
    total: NDArray[np.float64]
    mean: NDArray[np.float64]


@dataclass(frozen=True)
class Decomposition:
    """Eigendecomposition of a ridge problem, and what it needs to be used.

    Made by :func:`decompose`.

    Attributes
    ----------
    eigenvalues : ndarray of float64, shape (rank,)
        Nonzero eigenvalues s of X'X, X as centred and scaled.
    fractions : ndarray of float64, shape (rank,)
        Squared norm of each column of F: the part of each left singular vector that lies between
        stimuli; the rest lies within repeats. All ones where no stimulus repeats.
    F : ndarray, shape (n_present, rank)
        C^(-1/2) P'U over the stimuli that occur.
    stimuli : ndarray of int, shape (n_present,)
        The stimuli that occur, as rows of the target array.
    counts : ndarray, shape (n_present,)
        Their trials; or weights of mean 1, where F is that of rows multiplied by their roots.
    intercept : bool
        Whether targets are centred (and one degree of freedom is the mean's).
    offset, scale : ndarray of float64, shape (n_features,)
        What is subtracted from X, and by what it is divided.
    kept : ndarray of bool, shape (n_features,)
        The features that are used.
    """

    eigenvalues: NDArray[np.float64]
    fractions: NDArray[np.float64]
    F: NDArray[Any]
    stimuli: NDArray[np.intp]
    counts: NDArray[np.intp]
    intercept: bool
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    kept: NDArray[np.bool_]
    _right: NDArray[Any] | None
    _left: NDArray[Any] | None
    _trials: NDArray[Any] | None

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return round(float(self.counts.sum()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the products with targets."""
        return self.F.dtype

    @property
    def repeats(self) -> bool:
        """Whether any stimulus occurs more than once."""
        return self.n_trials > len(self.stimuli)

    @cached_property
    def _triangle(self) -> NDArray[Any] | None:
        """Return R, upper triangular, with R'R = F'F; None where F is no taller than wide."""
        if self.F.shape[0] <= self.F.shape[1]:
            return None
        F = self.F.astype(np.float64)
        inner = F.T @ F
        # The jitter changes no error by more than its own size, relative to the targets' variance.
        inner[np.diag_indices_from(inner)] += _JITTER
        R = scipy.linalg.cholesky(inner, lower=False, overwrite_a=True, check_finite=False)
        return np.asarray(R, self.dtype)

    def project(self, Y: ArrayLike) -> Projection:
        """Bring targets (n_stimuli, n_targets) into the basis of the decomposition."""
        given = np.asarray(Y)
        some = len(given) > len(self.stimuli)
        weighted = np.array(given[self.stimuli] if some else given, np.float64)
        mean = np.zeros(weighted.shape[1])
        if self.intercept:
            mean = self.counts @ weighted / self.n_trials
            weighted -= mean
        if (self.counts != 1).any():
            weighted *= np.sqrt(self.counts)[:, None]
        total = np.einsum("ij,ij->j", weighted, weighted)
        weighted = weighted.astype(self.dtype, copy=False)
        g = self.F.T @ weighted
        if not self.repeats:
            reached = np.einsum("ij,ij->j", g, g, dtype=np.float64)
            full = len(self.eigenvalues) >= self.n_trials - self.intercept
            outside = np.zeros_like(total) if full else np.maximum(total - reached, 0)
            return Projection(g, weighted[:0], outside, total, mean)
        if self._triangle is None:
            return Projection(g, weighted, np.zeros_like(total), total, mean)
        between = scipy.linalg.solve_triangular(self._triangle, g, trans=1, check_finite=False)
        reached = np.einsum("ij,ij->j", between, between, dtype=np.float64)
        return Projection(g, between, total - reached, total, mean)

    def weights(self, g: NDArray[Any], alpha: NDArray[np.float64]) -> NDArray[Any]:
        """Ridge weights for X as given, one penalty a target: shape (n_targets, n_features)."""
        s = self.eigenvalues[:, None]
        weights = np.zeros((g.shape[1], len(self.kept)), self.dtype)
        inverse = (1 / self.scale).astype(self.dtype)
        if self._right is not None:
            inner = g * (np.sqrt(s) / (s + alpha)).astype(self.dtype)
            # kept.all() spares a copy of what may be gigabytes.
            columns = slice(None) if self.kept.all() else np.flatnonzero(self.kept)
            weights[:, columns] = (inner.T @ self._right.T) * inverse[self.kept]
            return weights
        assert self._left is not None
        inner = self._left @ (g / (s + alpha)).astype(self.dtype)
        for columns, block in self._feature_blocks():
            weights[:, columns] = (inner.T @ block.astype(self.dtype)) * inverse[columns]
        return weights

    def scores(self, X: NDArray[Any]) -> NDArray[Any]:
        """Coordinates of trials on the right singular vectors V: shape (n_trials, rank)."""
        if self._right is not None:
            scaled = (X - self.offset) / self.scale
            return scaled[:, self.kept].astype(self.dtype, copy=False) @ self._right
        assert self._left is not None
        kernel = np.zeros((len(X), len(self._left)))
        for columns, block in self._feature_blocks():
            kernel += ((X[:, columns] - self.offset[columns]) / self.scale[columns]) @ block.T
        return (kernel @ self._left / np.sqrt(self.eigenvalues)).astype(self.dtype)

    def _feature_blocks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yield centred, scaled training trials a block of kept features at a time."""
        assert self._trials is not None
        yield from _scaled_blocks(self._trials, self.offset, self.scale, self.kept)


@dataclass(frozen=True)
class RidgeFit:
    """A fitted ridge model.

    Attributes
    ----------
    coef : ndarray, shape (n_targets, n_features)
        Weights for X as it was given; 0 for features that were not used.
    intercept : ndarray, shape (n_targets,)
        What is added, so that the prediction is ``X @ coef.T + intercept``.
    alpha : ndarray of float64, shape (n_targets,)
        Penalty of each target.
    error : ndarray of float64, shape (n_targets,)
        Error estimated for that penalty (mean square), NaN where there was no choice.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    alpha: NDArray[np.float64]
    error: NDArray[np.float64]


def _scaled_blocks(
    X: NDArray[Any],
    offset: NDArray[np.float64],
    scale: NDArray[np.float64],
    kept: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Yield ``(X - offset) / scale`` in float64, a block of kept columns at a time."""
    used = np.flatnonzero(kept)
    for lo in range(0, len(used), _FEATURE_BLOCK):
        columns = used[lo : lo + _FEATURE_BLOCK]
        yield columns, (X[:, columns] - offset[columns]) / scale[columns]


def decompose(
    equations: NormalEquations,
    *,
    intercept: bool = True,
    offset: NDArray[np.float64] | None = None,
    scale: NDArray[np.float64] | None = None,
    kept: NDArray[np.bool_] | None = None,
) -> Decomposition:
    """Eigendecompose X'X (more trials than features) or XX' (else).

    The decomposition and everything before it is float64; F and V are then stored in the
    precision of X, in which the products with targets are done.

    Parameters
    ----------
    equations : NormalEquations
        The accumulated trials.
    intercept : bool
        Whether to centre X by its column means, and targets by theirs.
    offset : ndarray, shape (n_features,), optional
        What to subtract from X where there is no intercept; nothing by default.
    scale : ndarray, shape (n_features,), optional
        What to divide X by; 1 by default. The penalty applies to the scaled features.
    kept : ndarray of bool, shape (n_features,), optional
        The features to use; all by default.

    Returns
    -------
    Decomposition

    Raises
    ------
    ValueError
        If there are too few trials.
    """
    n, p = equations.n_trials, equations.n_features
    if n < 1 + intercept:
        raise ValueError(f"X has n_samples = {n}: ridge needs at least {1 + intercept} trials.")
    if intercept:
        offset = equations.mean
    offset = np.zeros(p) if offset is None else offset
    scale = np.ones(p) if scale is None else scale
    kept = np.ones(p, bool) if kept is None else kept
    stimuli = np.flatnonzero(equations.counts)
    counts = equations.counts[stimuli]
    root = np.sqrt(counts)[:, None]
    right = left = trials = None
    if equations.is_dual:
        trials, rows = equations.trials()
        kernel = np.zeros((n, n))
        for _, block in _scaled_blocks(trials, offset, scale, kept):
            kernel += block @ block.T
        s, U = _eigh(kernel, n, p)
        F = sum_by_stimulus(U, rows)[1] / root
        left = U
    else:
        s, V = _eigh(equations.gram(offset, scale, kept), n, p)
        F = np.empty((len(stimuli), len(s)), equations.dtype)
        for lo in range(0, len(stimuli), _FEATURE_BLOCK):
            part = slice(lo, lo + _FEATURE_BLOCK)
            sums = equations.sums(stimuli[part], offset, scale, kept)
            F[part] = (sums / root[part]) @ V / np.sqrt(s)
        right = V.astype(equations.dtype, copy=False)
    fractions = np.ones(len(s))
    if n > len(stimuli):
        fractions = np.minimum(np.einsum("ij,ij->j", F, F, dtype=np.float64), 1)
    return Decomposition(
        eigenvalues=s,
        fractions=fractions,
        F=F.astype(equations.dtype, copy=False),
        stimuli=stimuli,
        counts=counts,
        intercept=intercept,
        offset=offset,
        scale=scale,
        kept=kept,
        _right=right,
        _left=None if left is None else left.astype(equations.dtype, copy=False),
        _trials=trials,
    )


def _eigh(
    matrix: NDArray[np.float64], n: int, p: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenpairs of a Gram matrix that stand above rounding."""
    if matrix.size == 0:
        return np.zeros(0), np.zeros((len(matrix), 0))
    s, Q = np.linalg.eigh(matrix)
    above = s > max(s[-1], 0.0) * np.finfo(np.float64).eps * max(n, p)
    return s[above], Q[:, above]


def gcv_errors(
    decomposition: Decomposition,
    projection: Projection,
    alphas: NDArray[np.float64],
    *,
    average_repeats: bool = True,
    search: bool = False,
) -> NDArray[np.float64]:
    r"""Generalised cross-validation error of every penalty and every target.

    Without repeats this is the criterion of Golub, Heath & Wahba (1979, Technometrics 21,
    215-223), (RSS / n) / (1 - df / n)^2, at the cost of one product of (n_alphas, rank) with
    (rank, n_targets).

    With repeats that criterion stands for leaving out one *trial*, whose target stays in the
    training set with the other repeats: it is optimistic and picks too small a penalty. The
    problem is therefore turned, inside each stimulus, into the mean of its trials and the
    contrasts among them. Targets do not vary among repeats, so

    .. math:: \sum_t (y_{s(t)} - x_t'w)^2
              = \sum_s c_s (y_s - \bar x_s'w)^2 + \sum_t ((x_t - \bar x_{s(t)})'w)^2
              = B + W,

    the error of predicting from the mean of the repeats, and the noise that passes through. The
    hat matrix splits alike, into traces :math:`df_B = 1 + \sum_i d_i f_i` and
    :math:`df_W = \sum_i d_i (1 - f_i)`, with :math:`d_i = s_i / (s_i + \alpha)` and
    :math:`f_i = |F_i|^2`. Replacing the diagonal blocks of the hat matrix by their averages, as
    GCV does with its diagonal, gives the error on a stimulus that was left out with *all* its
    repeats:

    .. math:: E_{mean} = \frac{B / n}{(1 - df_B / m)^2}, \qquad
              E_{trial} = E_{mean} + \frac{W / n}{(1 - df_W / (n - m))^2},

    with n trials and m stimuli. ``B = |Y~ - F diag(d) g|^2`` takes one product of (rank, rank) with
    (rank, n_targets) a penalty. The second agrees with cross-validation grouped by stimulus and
    scored on single trials; the first with the same scored on the mean of the repeats.

    Parameters
    ----------
    decomposition : Decomposition
    projection : Projection
        Targets, from :meth:`Decomposition.project`.
    alphas : ndarray, shape (n_alphas,)
        Penalties, all positive.
    average_repeats : bool
        Whether to judge predictions from the mean of a stimulus' repeats (``E_mean``) or from
        single trials (``E_trial``). The same where nothing repeats.
    search : bool
        Where stimuli repeat, whether to evaluate only what it takes to find the least error of
        each target: starting at the penalty that leaving out single trials would pick (which is
        nearly free), downhill until both neighbours are worse. Some 4 of 13 penalties are then
        looked at; the rest is infinite.

    Returns
    -------
    ndarray of float64, shape (n_alphas, n_targets)
        Estimated mean squared error.
    """
    s, f = decomposition.eigenvalues, decomposition.fractions
    n, m = decomposition.n_trials, len(decomposition.stimuli)
    e = alphas[:, None] / (s + alphas[:, None])
    d = 1 - e
    tiny = np.finfo(np.float64).tiny ** 0.25
    # 1 - df / m, with what is lost to the mean and to directions never shrunk counted exactly.
    left_between = np.maximum(m - decomposition.intercept - f.sum(), 0) + e @ f
    left_between = np.maximum(left_between / m, tiny)
    g = projection.g
    if not decomposition.repeats:
        rss = projection.outside + e**2 @ np.square(g, dtype=np.float64)
        return np.asarray(rss / n / left_between[:, None] ** 2)
    squares = np.square(g, dtype=np.float64)
    rss = np.maximum(projection.total - squares.sum(axis=0), 0) + e**2 @ squares
    left_within = np.maximum(1 - d @ (1 - f) / (n - m), tiny)

    def at(i: int, columns: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        """Return the error of one penalty for some targets."""
        between = _between(decomposition, projection, d[i], columns)
        error = between / n / left_between[i] ** 2
        if not average_repeats:
            error += np.maximum(rss[i, columns] - between, 0) / n / left_within[i] ** 2
        return error

    if not search:
        return np.stack([at(i, slice(None)) for i in range(len(alphas))])
    left = np.maximum(n - decomposition.intercept - len(s), 0) + e.sum(axis=1, keepdims=True)
    start = np.argmin(rss / np.maximum(left / n, tiny) ** 2, axis=0)
    return _walk(at, start, len(alphas))


def _between(
    decomposition: Decomposition,
    projection: Projection,
    shrink: NDArray[np.float64],
    columns: NDArray[np.intp] | slice,
) -> NDArray[np.float64]:
    """Return B = |Y~ - F diag(shrink) g|^2 for some targets."""
    shrunk = shrink.astype(projection.g.dtype)[:, None] * projection.g[:, columns]
    R = decomposition._triangle
    fitted = decomposition.F @ shrunk if R is None else _upper_product(R, shrunk)
    residual = projection.between[:, columns] - fitted
    rss = np.einsum("ij,ij->j", residual, residual) + projection.outside[columns]
    return np.asarray(np.maximum(rss, 0), np.float64)


def _walk(
    at: Callable[[int, NDArray[np.intp]], NDArray[np.float64]],
    start: NDArray[np.intp],
    n_alphas: int,
) -> NDArray[np.float64]:
    """Evaluate penalties downhill from ``start`` until both neighbours of the best are known."""
    errors = np.full((n_alphas, len(start)), np.inf)
    known = np.zeros(errors.shape, bool)
    best = start
    while True:
        wanted = (np.abs(np.arange(n_alphas)[:, None] - best) <= 1) & ~known
        if not wanted.any():
            return errors
        for i in np.flatnonzero(wanted.any(axis=1)):
            columns = np.flatnonzero(wanted[i])
            errors[i, columns] = at(int(i), columns)
        known |= wanted
        best = np.argmin(errors, axis=0)


def _upper_product(R: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return ``R @ values``, leaving out the zero blocks below the diagonal of R."""
    product = np.empty((len(R), values.shape[1]), values.dtype)
    step = -(-len(R) // _TRIANGLE_BLOCKS) or 1
    for lo in range(0, len(R), step):
        np.matmul(R[lo : lo + step, lo:], values[lo:], out=product[lo : lo + step])
    return product


def _target_blocks(Y: Any, block: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield blocks of target columns in float64, checked."""
    for lo in range(0, Y.shape[1], block):
        part = slice(lo, min(lo + block, Y.shape[1]))
        values = np.asarray(Y[:, part], np.float64)
        check_finite("Y", values, first_column=lo)
        yield part, values


def fit_ridge(
    decomposition: Decomposition,
    Y: Any,
    alphas: ArrayLike,
    *,
    per_target: bool = True,
    average_repeats: bool = True,
    errors: NDArray[np.float64] | None = None,
    target_block: int = TARGET_BLOCK,
) -> RidgeFit:
    r"""Choose a penalty and solve, targets in blocks.

    Minimises :math:`\sum_t |y_{s(t)} - x_t w - b|^2 + \alpha |w|^2` over all trials t.

    Parameters
    ----------
    decomposition : Decomposition
        Of the trials.
    Y : array, shape (n_stimuli, n_targets)
        One row a stimulus; anything that is sliced by columns (memory map, zarr array).
    alphas : array_like, shape (n_alphas,)
        Penalties to choose from. With one, there is nothing to choose.
    per_target : bool
        A penalty for each target, or one for all (least mean error over targets).
    average_repeats : bool
        See :func:`gcv_errors`.
    errors : ndarray, shape (n_alphas, n_targets), optional
        Errors to choose by, as of :func:`~vox2pix.linear.cv_errors`; by default those of
        :func:`gcv_errors`.
    target_block : int
        Targets in memory at a time.

    Returns
    -------
    RidgeFit

    Raises
    ------
    ValueError
        If a penalty is not positive and finite, or a target is not finite.
    """
    grid = check_alphas(alphas)
    n_targets = Y.shape[1]
    if errors is None and len(grid) > 1 and not per_target:
        sums = np.zeros((len(grid), 1))
        for _, values in _target_blocks(Y, target_block):
            block_errors = gcv_errors(
                decomposition,
                decomposition.project(values),
                grid,
                average_repeats=average_repeats,
            )
            sums += block_errors.sum(axis=1, keepdims=True)
        errors = np.broadcast_to(sums / n_targets, (len(grid), n_targets))
    elif errors is not None and not per_target:
        errors = np.broadcast_to(errors.mean(axis=1, keepdims=True), errors.shape)
    dtype = decomposition.dtype
    coef = np.empty((n_targets, len(decomposition.kept)), dtype)
    intercept = np.empty(n_targets, dtype)
    alpha = np.full(n_targets, grid[0])
    error = np.full(n_targets, np.nan)
    for part, values in _target_blocks(Y, target_block):
        projection = decomposition.project(values)
        if len(grid) > 1:
            if errors is None:
                of_block = gcv_errors(
                    decomposition,
                    projection,
                    grid,
                    average_repeats=average_repeats,
                    search=True,
                )
            else:
                of_block = errors[:, part]
            best = np.argmin(of_block, axis=0)
            alpha[part] = grid[best]
            error[part] = np.take_along_axis(of_block, best[None], axis=0)[0]
        coef[part] = decomposition.weights(projection.g, alpha[part])
        intercept[part] = projection.mean - coef[part] @ decomposition.offset
    return RidgeFit(coef, intercept, alpha, error)


def check_alphas(alphas: ArrayLike) -> NDArray[np.float64]:
    """Return penalties as an ascending 1-D float64 array, or say what is wrong with them."""
    grid = np.unique(np.atleast_1d(np.asarray(alphas, np.float64)))
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError("alphas is empty: give at least one penalty.")
    if not (np.isfinite(grid).all() and (grid > 0).all()):
        raise ValueError(
            f"alphas holds {grid[~(grid > 0)].tolist() or grid.tolist()}: give "
            "positive, finite penalties."
        )
    return grid
