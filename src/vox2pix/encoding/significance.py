"""Which correlations are larger than chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from vox2pix.seeds import rng_for

_TABLE = 2**23  # numbers in a table of block products
_BLOCK_VOXELS = 1024


def gaussian_p(r: ArrayLike, n: int) -> NDArray[np.float64]:
    r"""One-sided p of a correlation, if both were independent Gaussian vectors.

    The null distribution that Takagi & Nishimoto (CVPR 2023) sample, in closed form: :math:`r
    \sqrt{(n - 2) / (1 - r^2)}` follows Student's t with n - 2 degrees of freedom (Student 1908,
    Biometrika 6, 302-310). It assumes independent stimuli: where responses or features of
    successive stimuli are correlated, :func:`permutation_p` is the stricter choice.

    Parameters
    ----------
    r : array_like
        Pearson correlations; NaN is passed through.
    n : int
        Length of the vectors, at least 3 (else ValueError).
    """
    if n < 3:
        raise ValueError(f"The significance of a correlation needs at least 3 stimuli, not {n}.")
    given = np.clip(np.asarray(r, np.float64), -1, 1)
    with np.errstate(divide="ignore"):
        t = given * np.sqrt((n - 2) / (1 - given**2))
    return np.asarray(scipy.stats.t.sf(t, n - 2))


def permutation_p(
    Y: Any,
    predictions: Any,
    blocks: ArrayLike,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""One-sided p of correlations under exchange of whole blocks of stimuli.

    Blocks of responses are paired with blocks of predictions in a random order, stimuli keeping
    their order inside a block: what makes neighbours alike (a session, a cluster of images) stays
    in the null distribution. The same orders serve all voxels, and

    .. math:: p = \frac{1 + \#\{r_{perm} \ge r\}}{1 + n_{permutations}}

    (Phipson & Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9, 39).

    Where sizes differ, a block that is paired with a longer one is repeated from its start, and
    with a shorter one is cut at its end, so that blocks never straddle; the correlation is that of
    these pairs. With equal sizes the test is exact for exchangeable blocks. Few blocks have few
    orders: four give 24, and no p below 1/24 on average.

    All products of a block of responses with a block of predictions are formed once; a permutation
    then adds one of them for each block, which costs n_stimuli x n_blocks products and
    n_permutations x n_blocks sums per voxel. :func:`scipy.stats.permutation_test` cannot exchange
    blocks, and would compute each correlation anew.

    Parameters
    ----------
    Y : array, shape (n_stimuli, n_voxels)
        Test responses; anything that is sliced by columns.
    predictions : array, shape (n_stimuli, n_voxels)
        Predicted responses.
    blocks : array_like, shape (n_stimuli,)
        Label of the block of each stimulus; ``np.arange(n_stimuli)`` permutes single stimuli.
    n_permutations : int
        Number of random orders.
    seed : int
        Seed of the orders.

    Returns
    -------
    ndarray of float64, shape (n_voxels,)
        NaN where response or prediction is constant.

    Raises
    ------
    ValueError
        If shapes do not fit or there are fewer than two blocks.
    """
    if Y.shape != predictions.shape:
        raise ValueError(
            f"Responses have shape {Y.shape} and predictions {predictions.shape}: "
            "give two tables (n_stimuli, n_voxels) of the same shape."
        )
    labels, label = np.unique(np.asarray(blocks), return_inverse=True)
    if label.shape != (Y.shape[0],):
        raise ValueError(f"blocks has shape {label.shape}, but there are {Y.shape[0]} stimuli.")
    n_blocks = len(labels)
    if n_blocks < 2:
        raise ValueError("blocks holds one label: there is nothing to exchange.")
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    starts = np.cumsum(sizes) - sizes
    inside = np.arange(len(order)) - np.repeat(starts, sizes)
    rng = rng_for(seed, "permutation")
    # Row 0 is the identity, so that ties with it are exact.
    random = [rng.permutation(n_blocks) for _ in range(n_permutations)]
    orders = np.stack([np.arange(n_blocks), *random])
    choose = scipy.sparse.csr_array(
        (
            np.ones(orders.size),
            (orders * n_blocks + np.arange(n_blocks)).ravel(),
            np.arange(0, orders.size + 1, n_blocks),
        ),
        shape=(len(orders), n_blocks**2),
    )
    step = int(np.clip(_TABLE // n_blocks**2, 1, _BLOCK_VOXELS))
    p = np.empty(Y.shape[1])
    for lo in range(0, Y.shape[1], step):
        part = slice(lo, lo + step)
        y, y_hat = (_standard(values[:, part])[order] for values in (Y, predictions))
        tables = np.empty((3, n_blocks, n_blocks, y.shape[1]))
        for a in range(n_blocks):
            paired = y[starts[a] + inside % sizes[a]]
            for table, values in zip(tables, (paired * y_hat, paired, paired**2), strict=True):
                np.add.reduceat(values, starts, axis=0, out=table[a])
        cross, total, squares = (choose @ table.reshape(n_blocks**2, -1) for table in tables)
        variance = squares - total**2 / len(order)
        # Responses that became constant (one stimulus, repeated) correlate with nothing.
        varied = variance > 1e-9
        r = np.where(varied, cross, 0) / np.sqrt(np.where(varied, variance, 1))
        p[part] = (1 + (r[1:] >= r[0]).sum(axis=0)) / (1 + n_permutations)
        p[part][np.isnan(cross[0])] = np.nan
    return p


def _standard(values: ArrayLike) -> NDArray[np.float64]:
    """Centre columns and scale them to length one; NaN where constant."""
    table = np.asarray(values, np.float64)
    constant = np.ptp(table, axis=0) == 0
    table = table - table.mean(axis=0)
    norm = np.linalg.norm(table, axis=0)
    return np.asarray(table / np.where(constant | (norm == 0), np.nan, norm))


def fdr(p: ArrayLike) -> NDArray[np.float64]:
    """Return q-values over voxels (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289-300).

    Among voxels with ``q < .05``, 5 % are expected to be false discoveries at most.

    Parameters
    ----------
    p : array_like, shape (n_voxels,)
        p-values; NaN is left out and passed through.
    """
    given = np.asarray(p, np.float64)
    is_given = ~np.isnan(given)
    q = np.full(given.shape, np.nan)
    if is_given.any():
        q[is_given] = scipy.stats.false_discovery_control(given[is_given], method="bh")
    return q
