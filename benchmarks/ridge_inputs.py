"""Simulated brains and rates for ``ridge.py``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.linear import pearson_r

ALPHAS = np.logspace(0, 6, 13)
N_REPEATS, N_TEST = 3, 500


@dataclass(frozen=True)
class Simulation:
    """Training trials, targets of stimuli, and averaged test responses with their targets."""

    X: NDArray[np.float32]
    rows: NDArray[np.intp]
    Y: NDArray[np.float32]
    X_test: NDArray[np.float32]
    Y_test: NDArray[np.float32]


def simulate(
    n_stimuli: int,
    n_voxels: int,
    n_targets: int,
    *,
    snr: float,
    predictable: float,
    n_repeats: int = 3,
    n_test: int = 500,
    n_latents: int = 300,
    seed: int = 0,
) -> Simulation:
    """Simulate voxels tuned to latents with a power-law spectrum, under correlated noise.

    ``snr`` is the ratio of the standard deviations of signal and noise in the median voxel (as
    NSD's ncsnr), ``predictable`` the largest part of a target's variance that latents explain.
    """
    rng = np.random.default_rng(seed)
    total = n_stimuli + n_test
    latents = rng.standard_normal((total, n_latents)) * np.arange(1, n_latents + 1) ** -0.5
    signal = latents @ rng.standard_normal((n_latents, n_voxels))
    signal *= snr * np.exp(0.4 * rng.standard_normal(n_voxels)) / signal.std(axis=0)
    mixing = rng.standard_normal((n_voxels, n_voxels)) * np.arange(1, n_voxels + 1) ** -0.4
    mixing /= np.linalg.norm(mixing, axis=1, keepdims=True)

    def noise(n: int) -> NDArray[np.float64]:
        return np.asarray(rng.standard_normal((n, n_voxels)) @ mixing.T)

    rows = rng.permutation(np.tile(np.arange(n_stimuli), n_repeats))
    X = signal[rows] + noise(len(rows))
    X_test = signal[n_stimuli:] + np.mean([noise(n_test) for _ in range(n_repeats)], axis=0)
    explained = latents @ rng.standard_normal((n_latents, n_targets))
    explained /= explained.std(axis=0)
    part = rng.uniform(0, predictable, n_targets)
    Y = np.sqrt(part) * explained + np.sqrt(1 - part) * rng.standard_normal((total, n_targets))
    return Simulation(
        X.astype(np.float32),
        rows,
        Y[:n_stimuli].astype(np.float32),
        X_test.astype(np.float32),
        Y[n_stimuli:].astype(np.float32),
    )


@dataclass
class Stream:
    """A brain that is made as it is read: sessions of trials, and targets in blocks of columns.

    Stimuli have 300 latents. Voxels and targets follow them under noise. ``clock`` lists when each
    piece was requested and returned, ``read_at`` is the time after the last session.
    """

    latents: NDArray[np.float32]
    n_voxels: int
    n_targets: int
    seed: int = 0
    clock: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {"sessions": [], "targets": []}
    )

    read_at: float = 0
    ndim, dtype = 2, np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the targets."""
        return len(self.latents), self.n_targets

    def responses(self, rows: NDArray[np.intp], seed: int) -> NDArray[np.float32]:
        """Make a trial of each stimulus in ``rows``."""
        tuning = np.random.default_rng(self.seed).standard_normal(
            (self.latents.shape[1], self.n_voxels), np.float32
        )
        X = self.latents[rows] @ tuning
        X += 2 * np.random.default_rng((self.seed, seed)).standard_normal(X.shape, np.float32)
        return X

    def sessions(self, size: int = 750) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
        """Yield trials session by session, every stimulus three times in all."""
        order = np.tile(np.arange(len(self.latents)), N_REPEATS)
        np.random.default_rng(self.seed).shuffle(order)
        for lo in range(0, len(order), size):
            began = time.perf_counter()
            rows = order[lo : lo + size]
            X = self.responses(rows, 1 + lo)
            self.clock["sessions"].append((began, time.perf_counter()))
            yield X, rows
        self.read_at = time.perf_counter()

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.float32]:
        """Make columns of targets, the same whenever asked for in the same blocks."""
        began = time.perf_counter()
        lo, hi, _ = key[1].indices(self.n_targets)
        rng = np.random.default_rng((self.seed, 2, lo))
        Y = self.latents @ rng.standard_normal((self.latents.shape[1], hi - lo), np.float32)
        Y += rng.standard_normal(Y.shape, np.float32)
        self.clock["targets"].append((began, time.perf_counter()))
        return Y[key[0]]


def mean_r(truth: Any, predicted: Any) -> float:
    """Return the mean over targets of the correlation over test stimuli."""
    return float(np.nanmean(pearson_r(truth, predicted)))


def solving_operations(n_stimuli: int, p: int, t: int, n_evaluated: float) -> float:
    """Count the products in float32: projection, penalties evaluated, weights."""
    # Where stimuli outnumber voxels a triangle of p x p replaces the stimuli.
    look = p**2 * 9 / 8 if n_stimuli > p else 2 * n_stimuli * p
    return t * (2 * n_stimuli * p + n_evaluated * look + 2 * p**2)


def product_rate(size: int) -> float:
    """Return the operations a second of NumPy's float32 matrix products, the best of five."""
    matrix = np.random.default_rng(0).random((size, size), np.float32)
    return 2 * size**3 / min(seconds_of(lambda: matrix @ matrix) for _ in range(5))


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
