"""Principal components of feature spaces that do not fit in memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from vox2pix.config import digest
from vox2pix.linear import check_finite
from vox2pix.seeds import rng_for
from vox2pix.store import ShardedArray, checksum, load_arrays, save_arrays

FloatArray = NDArray[np.float32]
Blocks = Callable[[], Iterable[NDArray[Any]]]
Centred = Callable[[], Iterator[NDArray[np.float64]]]

# Up to here a float64 Gram matrix (1.2 GB) and its eigenvectors fit beside the rest.
_LARGEST_GRAM = 12_000
_HELD_BYTES = 2**30
DIRECTIONS_AT_ONCE = 512  # all of them at once would be a second array of their size
_OVERSAMPLING = 10
_POWER_ITERATIONS = 4


@dataclass(frozen=True)
class Reduction:
    """Principal components of a feature space; not whitened.

    Attributes
    ----------
    mean : ndarray of float32, shape (n_features,)
        Of the rows that it was fitted on.
    components : ndarray of float32, shape (n_components, n_features)
        Orthonormal directions, by descending variance; of each one's entries the largest in
        size is positive.
    explained_variance : ndarray of float64, shape (n_components,)
        Variance of the fitted rows along each direction (n_rows - 1 in the denominator).
    total_variance : float
        Sum of the variances of all features.
    """

    mean: FloatArray
    components: FloatArray
    explained_variance: NDArray[np.float64]
    total_variance: float

    @property
    def explained_variance_ratio(self) -> NDArray[np.float64]:
        """Share of the total variance along each direction, shape (n_components,)."""
        return self.explained_variance / self.total_variance

    def transform(self, rows: NDArray[Any]) -> FloatArray:
        """Return the scores (n, n_components), float32, of rows (n, n_features)."""
        scores: FloatArray = (rows - self.mean).astype(np.float32, copy=False) @ self.components.T
        return scores

    def inverse_transform(self, scores: NDArray[Any]) -> FloatArray:
        """Return the rows (n, n_features), float32, nearest to scores (n, n_components)."""
        rows: FloatArray = scores.astype(np.float32, copy=False) @ self.components + self.mean
        return rows


def fit_pca(
    blocks: Blocks,
    n_rows: int,
    n_features: int,
    n_components: int,
    seed: int = 0,
    *,
    largest_gram: int = _LARGEST_GRAM,
) -> Reduction:
    r"""Fit principal components to rows that are read block by block, several times.

    With :math:`X_c` the centred rows, directions are eigenvectors of :math:`X_c' X_c`. The
    smaller of :math:`X_c' X_c` and :math:`X_c X_c'` is decomposed exactly where its side is at most
    `largest_gram`. Else the leading space is found by subspace iteration from Gaussian vectors
    (Halko, Martinsson & Tropp 2011, algorithm 4.4): 4 times
    :math:`Q \leftarrow \mathrm{orth}(X_c' X_c Q)` with 10 directions more, then the eigenvectors
    of :math:`Q' X_c' X_c Q`. Sums are float64.

    Parameters
    ----------
    blocks : callable
        Returns the rows anew at each call, as arrays (n, n_features).
    n_rows, n_features : int
        Of all blocks together.
    n_components : int
        At most so many; never more than there are directions with variance.
    largest_gram : int
        Largest side of a Gram matrix, of ``24 * largest_gram**2`` bytes as it is decomposed.

    Raises
    ------
    ValueError
        For too few rows or components, wrong sizes, NaN, or rows that are all alike.
    """
    if n_rows < 2 or n_components < 1:
        needed = "give one component or more, and two rows or more."
        raise ValueError(f"{n_components} components of {n_rows} rows: {needed}")
    mean, total = _moments(blocks, n_rows, n_features)
    if total <= np.finfo(np.float64).eps * n_rows * float(mean @ mean):
        raise ValueError("The rows are all alike: there is no variance to find components of.")

    def centred() -> Iterator[NDArray[np.float64]]:
        return (block - mean for block in blocks())  # float64, as the mean is

    n_kept = min(n_components, n_rows - 1, n_features)
    if min(n_rows, n_features) > largest_gram:
        size = (n_features, min(n_kept + _OVERSAMPLING, n_features))
        start = rng_for(seed, "pca").standard_normal(size)
        squares, directions = _subspace_iteration(centred, start)
    elif n_features <= n_rows:
        squares, directions = _from_gram_of_features(centred, n_features, n_kept)
    else:
        squares, directions = _from_gram_of_rows(centred, n_rows, n_features, n_kept)
    squares, directions = squares[:n_kept], directions[:n_kept]
    directions *= np.where(directions.max(axis=1) >= -directions.min(axis=1), 1, -1)[:, None]
    variances = squares / (n_rows - 1), total / (n_rows - 1)
    return Reduction(mean.astype(np.float32), directions.astype(np.float32), *variances)


def reduced(
    rows: ShardedArray | FloatArray,
    train: NDArray[np.bool_],
    folder: Path,
    *,
    n_components: int = 6400,
    seed: int = 0,
    shard_size: int = 250,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[ShardedArray, Reduction | None]:
    """Bring a feature space to few dimensions: components of the training rows, scores of all.

    A space of at most `n_components` dimensions passes through: neither centred nor rotated. What
    is computed is stored, and reused for the same values, training rows and settings.

    Parameters
    ----------
    rows : ShardedArray or ndarray of float32, shape (n, ...)
        Features of all stimuli; dimensions behind the first are flattened.
    train : ndarray of bool, shape (n,)
        Which rows the components are estimated on.
    folder : Path
        Folder of the results.
    n_components : int
        Dimensions to keep; the paper keeps 6,400 (Takagi & Nishimoto, CVPR 2023).
    shard_size : int
        Rows of a shard, where `rows` are no ShardedArray with its own.
    progress : callable
        Called with the number of rows whose scores became ready.

    Returns
    -------
    scores : ShardedArray, shape (n, at most n_components), float32
    reduction : Reduction or None
        None for a space that passed through.
    """
    n, n_features = rows.shape[0], int(np.prod(rows.shape[1:]))
    if train.shape != (n,) or train.dtype != np.bool_:
        raise ValueError(f"train must be {n} truth values, not {train.dtype} {train.shape}.")
    source = _Rows(rows, n_features, shard_size)
    settings = [source.shard_size, n_components, seed, checksum(train)]
    place = folder / f"pca-{digest([settings, source.checksums()])}"
    reduction = None
    if n_features > n_components:
        reduction = _fitted(place / "pca.safetensors", source, train, n_components, seed)
    elif isinstance(rows, ShardedArray) and len(rows.shape) == 2:
        progress(n)
        return rows, None
    n_kept = n_features if reduction is None else len(reduction.components)
    scores = ShardedArray(place / "scores", (n, n_kept), np.float32, source.shard_size)
    pending = set(scores.pending())
    for shard in range(scores.n_shards):
        if shard in pending:
            values = source.read(shard)
            scores.write(shard, values if reduction is None else reduction.transform(values))
        part = scores.rows(shard)
        progress(part.stop - part.start)
    return scores, reduction


class _Rows:
    """Rows of a feature space in memory or on disk, flat, shard by shard."""

    def __init__(self, rows: ShardedArray | FloatArray, n_features: int, shard_size: int) -> None:
        self._rows, self.n_features = rows, n_features
        self.shard_size = rows.shard_size if isinstance(rows, ShardedArray) else shard_size

    def read(self, shard: int) -> FloatArray:
        if isinstance(self._rows, ShardedArray):
            values = self._rows.read(shard)
        else:
            values = self._rows[shard * self.shard_size : (shard + 1) * self.shard_size]
        return values.reshape(len(values), self.n_features)

    def __iter__(self) -> Iterator[FloatArray]:
        return (self.read(shard) for shard in range(-(-self._rows.shape[0] // self.shard_size)))

    def checksums(self) -> list[str]:
        if isinstance(self._rows, ShardedArray):
            return list(self._rows.checksums())
        return [checksum(values) for values in self]


def _fitted(
    path: Path, source: _Rows, train: NDArray[np.bool_], n_components: int, seed: int
) -> Reduction:
    """Return the reduction stored at a path; fit and save it where there is none."""
    if not path.exists():

        def blocks() -> Iterator[FloatArray]:
            return (values[train[part]] for part, values in _placed(source))

        n_train = int(train.sum())
        fitted = vars(fit_pca(blocks, n_train, source.n_features, n_components, seed))
        save_arrays(path, fitted | {"total_variance": np.array([fitted["total_variance"]])})
        del fitted  # beside what is read it would be a second copy
    stored = load_arrays(path)
    total = float(stored.pop("total_variance")[0])
    return Reduction(**stored, total_variance=total)


def _moments(blocks: Blocks, n_rows: int, n_features: int) -> tuple[NDArray[np.float64], float]:
    """Return the mean row and the sum of all centred squares."""
    total, seen = np.zeros(n_features), 0
    for rows, block in _placed(blocks()):
        if block.shape[1:] != (n_features,):
            raise ValueError(f"A block has shape {block.shape}, not (n, {n_features}).")
        check_finite("the features", block, first_row=rows.start)
        total += block.sum(axis=0, dtype=np.float64)
        seen = rows.stop
    if seen != n_rows:
        raise ValueError(f"The blocks hold {seen} rows, not {n_rows}.")
    mean = total / n_rows
    squares = sum(float(np.square(block - mean).sum()) for block in blocks())
    return mean, squares


def _placed(
    blocks: Iterable[NDArray[Any]],
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield each block with the rows that it holds."""
    start = 0
    for block in blocks:
        yield slice(start, start + len(block)), block
        start += len(block)


def _from_gram_of_features(
    centred: Centred, n_features: int, n_kept: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading sums of squares and directions by the products of all features."""
    gram = np.zeros((n_features, n_features))
    for block in centred():
        gram += block.T @ block
    squares, vectors = _leading(gram, n_kept)
    return squares, vectors.T


def _from_gram_of_rows(
    centred: Centred, n_rows: int, n_features: int, n_kept: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading sums of squares and directions by the products of all pairs of rows."""
    squares, vectors = _leading(_gram_of_rows(centred, n_rows, n_features), n_kept)
    directions = np.zeros((len(squares), n_features))
    for rows, block in _placed(centred()):
        for first in range(0, len(squares), DIRECTIONS_AT_ONCE):
            some = slice(first, first + DIRECTIONS_AT_ONCE)
            directions[some] += vectors[rows, some].T @ block
    directions /= np.sqrt(squares)[:, None]  # in place, as large as they are
    return squares, directions


def _gram_of_rows(centred: Centred, n_rows: int, n_features: int) -> NDArray[np.float64]:
    """Return the products of all pairs of rows, reading the rows twice for each 1 GB of them."""
    gram = np.zeros((n_rows, n_rows))
    n_held = max(1, _HELD_BYTES // (8 * n_features))
    for first in range(0, n_rows, n_held):
        held = np.empty((min(n_held, n_rows - first), n_features))
        for rows, block in _placed(centred()):
            inside = block[max(first - rows.start, 0) : max(first + len(held) - rows.start, 0)]
            at = max(rows.start - first, 0)
            held[at : at + len(inside)] = inside
        for rows, block in _placed(centred()):
            gram[rows, first : first + len(held)] = block @ held.T
    return gram


def _leading(
    gram: NDArray[np.float64], n_kept: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest eigenvalues, descending, and their eigenvectors; none that is zero."""
    side = len(gram)
    values, vectors = scipy.linalg.eigh(
        gram, subset_by_index=(side - n_kept, side - 1), overwrite_a=True, check_finite=False
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    nonzero = values > values[0] * side * np.finfo(np.float64).eps
    return values[nonzero], vectors[:, nonzero]


def _subspace_iteration(
    centred: Centred, start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leading sums of squares and directions, by the randomised method."""
    basis = np.linalg.qr(start)[0]
    for _ in range(_POWER_ITERATIONS):
        image = np.zeros_like(basis)
        for block in centred():
            image += block.T @ (block @ basis)
        basis = np.linalg.qr(image)[0]
    inner = np.zeros((basis.shape[1],) * 2)
    for block in centred():
        seen = block @ basis
        inner += seen.T @ seen
    squares, vectors = _leading(inner, len(inner))
    return squares, (basis @ vectors).T
