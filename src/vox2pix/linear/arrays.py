"""NumPy arrays and torch tensors under one set of names: one solver for CPU and CUDA.

What is small stays on the host in NumPy; what has the size of the problem is on the device of the
first of it (:func:`empty_square`, :func:`placed`), and the rest follows (:func:`like`). Torch is
imported only if a device is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray


def placed(values: NDArray[Any], device: str | None) -> Any:
    """Return an array as it is, or as a tensor on a torch device."""
    if device is None:
        return values
    import torch

    return torch.as_tensor(values, device=device)


def like(values: ArrayLike, other: Any) -> Any:
    """Bring host values to the library, device and precision of ``other``."""
    if isinstance(other, np.ndarray):
        return np.asarray(values, other.dtype)
    import torch

    return torch.as_tensor(np.asarray(values), dtype=other.dtype, device=other.device)


def in_dtype(values: Any, dtype: np.dtype[Any]) -> Any:
    """Return values in a precision, copied only if they have another."""
    if isinstance(values, np.ndarray):
        return values.astype(dtype, copy=False)
    import torch

    return values.to(torch.float32 if dtype == np.float32 else torch.float64)


def on_host(values: Any) -> NDArray[Any]:
    """Return values as a NumPy array."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.cpu())


def squares(values: Any) -> Any:
    """Return the squares of values in float64."""
    return in_dtype(values, np.dtype(np.float64)) ** 2


def column_squares(values: Any) -> NDArray[np.float64]:
    """Return the sum of squares of each column, summed in float64, on the host."""
    if isinstance(values, np.ndarray):
        return np.einsum("ij,ij->j", values, values, dtype=np.float64)
    return on_host(squares(values).sum(0))


def empty_square(n: int, device: str | None) -> Any:
    """Return an (n, n) matrix of zeros in float64, for :func:`add_products`."""
    return placed(np.zeros((n, n), order="F"), device)


def add_products(matrix: Any, rows: NDArray[np.float64]) -> None:
    """Add ``rows.T @ rows`` to the lower triangle of a matrix of :func:`empty_square`."""
    if isinstance(matrix, np.ndarray):
        a, is_turned = (rows.T, 0) if rows.flags.c_contiguous else (rows, 1)
        scipy.linalg.blas.dsyrk(1.0, a, beta=1.0, c=matrix, trans=is_turned, lower=1, overwrite_c=1)
    else:
        tensor = like(rows, matrix)
        matrix.addmm_(tensor.T, tensor)


def add_outer(matrix: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Add ``x y' + y x'`` to the lower triangle of a matrix of :func:`empty_square`."""
    if isinstance(matrix, np.ndarray):
        scipy.linalg.blas.dsyr2(1.0, x, y, a=matrix, lower=1, overwrite_a=1)
    else:
        pair = like(np.stack([x, y]), matrix)
        matrix.addmm_(pair.T, pair.flip(0))


def eigh(matrix: Any) -> tuple[NDArray[np.float64], Any]:
    """Return eigenvalues (ascending, on the host) and eigenvectors; the lower triangle is read.

    The matrix is overwritten. LAPACK's divide and conquer (``syevd``) puts the vectors in its place
    and works in twice its size: three matrices in all. ``syevr`` takes two, but no less time, and
    its vectors are some 100 times less orthogonal.
    """
    if isinstance(matrix, np.ndarray):
        return scipy.linalg.eigh(matrix, overwrite_a=True, check_finite=False, driver="evd")
    import torch

    values, vectors = torch.linalg.eigh(matrix)
    return on_host(values), vectors


def triangle(F: Any, jitter: float) -> Any:
    """Return R, upper triangular, with R'R = F'F + jitter, in the precision of F."""
    double = in_dtype(F, np.dtype(np.float64))
    inner = double.T @ double
    if isinstance(inner, np.ndarray):
        inner[np.diag_indices_from(inner)] += jitter
        R = scipy.linalg.cholesky(inner, lower=False, overwrite_a=True, check_finite=False)
        return R.astype(F.dtype, copy=False)
    import torch

    inner.diagonal().add_(jitter)
    return torch.linalg.cholesky(inner, upper=True).to(F.dtype)


def solve_transposed(R: Any, values: Any) -> Any:
    """Return the solution of ``R' x = values`` for an upper triangular R."""
    if isinstance(R, np.ndarray):
        return scipy.linalg.solve_triangular(R, values, trans=1, check_finite=False)
    import torch

    return torch.linalg.solve_triangular(R.T, values, upper=False)
