"""Generalised cross-validation of every penalty and every target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.linear import arrays
from vox2pix.linear.decomposition import Decomposition, Projection

_TRIANGLE_BLOCKS = 8


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

    With repeats that criterion is for leaving out one *trial*, whose target stays in the training
    set with the other repeats: it is optimistic and chooses too small a penalty. The trials of
    each stimulus are therefore rotated into their mean and the contrasts among them. Targets do
    not vary among repeats, so

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

    with n trials and m stimuli. Where trials have weights, B / n and W / n are weighted means.
    ``B = |Y~ - F diag(d) g|^2`` takes one product of (rank, rank) with (rank, n_targets) per
    penalty. The second agrees with cross-validation grouped by stimulus and
    scored on single trials; the first with the same scored on the mean of the repeats.

    Parameters
    ----------
    decomposition : Decomposition
        Of the trials.
    projection : Projection
        Targets, from its ``project``.
    alphas : ndarray, shape (n_alphas,)
        Penalties, all positive.
    average_repeats : bool
        Whether to judge predictions from the mean of a stimulus' repeats (``E_mean``) or from
        single trials (``E_trial``). The same where nothing repeats.
    search : bool
        Where stimuli repeat, whether to evaluate only some penalties for each target: starting at
        the one that leaving out single trials would choose (which costs little), downhill until
        both neighbours are worse. This evaluates some 4 of 13; the others are infinite.

    Returns
    -------
    ndarray of float64, shape (n_alphas, n_targets)
        Estimated mean squared error.
    """
    s, f = decomposition.eigenvalues, decomposition.fractions
    n, m, weight = decomposition.n_trials, len(decomposition.stimuli), decomposition.counts.sum()
    e = alphas[:, None] / (s + alphas[:, None])
    d = 1 - e
    tiny = np.finfo(np.float64).tiny ** 0.25
    # 1 - df / m, with what is lost to the mean and to directions never shrunk counted exactly.
    left_between = np.maximum(m - decomposition.intercept - f.sum(), 0) + e @ f
    left_between = np.maximum(left_between / m, tiny)
    g = projection.g
    if not decomposition.repeats:
        # A sum of positive terms: it loses nothing in the precision of the targets.
        rss = projection.outside + _products(e**2, g * g)
        return np.asarray(rss / weight / left_between[:, None] ** 2 * projection.scale**2)
    squares = arrays.squares(g)
    reached = arrays.on_host(squares.sum(0))
    rss = np.maximum(projection.total - reached, 0) + _products(e**2, squares)
    left_within = np.maximum(1 - d @ (1 - f) / (n - m), tiny)

    def at(i: int, columns: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        """Return the error of one penalty for some targets."""
        between = _between(decomposition, projection, d[i], columns)
        error = between / weight / left_between[i] ** 2
        if not average_repeats:
            error += np.maximum(rss[i, columns] - between, 0) / weight / left_within[i] ** 2
        return np.asarray(error * projection.scale[columns] ** 2)

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
    shrunk = arrays.like(shrink[:, None], projection.g) * projection.g[:, columns]
    R = decomposition.triangle
    fitted = decomposition.F @ shrunk if R is None else _upper_product(R, shrunk)
    fitted -= projection.between[:, columns]
    return np.asarray(np.maximum(arrays.column_squares(fitted) + projection.outside[columns], 0))


def _products(left: NDArray[np.float64], right: Any) -> NDArray[np.float64]:
    """Return ``left @ right`` on the host."""
    return arrays.on_host(arrays.like(left, right) @ right)


def _walk(
    at: Callable[[int, NDArray[np.intp]], NDArray[np.float64]],
    start: NDArray[np.intp],
    n_alphas: int,
) -> NDArray[np.float64]:
    """Evaluate penalties downhill from ``start`` until both neighbours of the best are worse."""
    errors = np.full((n_alphas, len(start)), np.inf)
    is_done = np.zeros(errors.shape, bool)
    best = start
    while True:
        is_next = (np.abs(np.arange(n_alphas)[:, None] - best) <= 1) & ~is_done
        if not is_next.any():
            return errors
        for i in np.flatnonzero(is_next.any(axis=1)):
            columns = np.flatnonzero(is_next[i])
            errors[i, columns] = at(int(i), columns)
        is_done |= is_next
        best = np.argmin(errors, axis=0)


def _upper_product(R: Any, values: Any) -> Any:
    """Return ``R @ values``, leaving out the zero blocks below the diagonal of R."""
    step = -(-len(R) // _TRIANGLE_BLOCKS) or 1
    product = 0 * values
    for lo in range(0, len(R), step):
        product[lo : lo + step] = R[lo : lo + step, lo:] @ values[lo:]
    return product
