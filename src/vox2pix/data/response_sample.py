"""What one pass over the responses keeps of them: enough to compare trials, in bounded memory."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_VOXELS = 4096  # at most so many, drawn at random, tell trials apart
_DIMENSIONS = 512  # of a trial's pattern
_VALUES = 64  # voxels whose values are stored as they are
_CLIP = 6.0  # robust standard deviations; an outlier must not decide a pattern
_MAD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


@dataclass
class ResponseSample:
    """Patterns, sizes and checksums of all trials, taken a session at a time.

    Responses are centred by their voxel's median in the session and divided by its robust
    standard deviation, so that neither units nor baselines matter; more than 512 voxels are
    projected at random to 512 dimensions, which keeps correlations within .05.
    """

    trials: pd.DataFrame
    n_voxels: int
    # (n_trials, n_dimensions): of length one; zero where a trial was not read, or has no pattern
    patterns: FloatArray = field(init=False)
    # (n_trials, at most 64): responses of some voxels, as they are
    values: FloatArray = field(init=False)
    # (n_trials,): root mean square of the trial in robust standard deviations; NaN if not read
    amplitude: NDArray[np.float64] = field(init=False)
    # (n_trials,): root mean square of the trial as it is; NaN if not read
    size: NDArray[np.float64] = field(init=False)
    # checksum of each trial's responses; empty for trials of one value throughout
    digests: list[bytes] = field(init=False)
    # trials whose responses are all the same, and that value
    one_value: dict[int, float] = field(default_factory=dict)
    # median robust standard deviation of a session's voxels
    spread: dict[int, float] = field(default_factory=dict)
    # voxels that never change within a session
    constant: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    low: FloatArray = field(init=False)  # (n_voxels,): lowest and highest response of each voxel
    high: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        rng, n = np.random.default_rng(0), len(self.trials)
        chosen = rng.permutation(self.n_voxels)[:_VOXELS]
        self._voxels = np.sort(chosen)
        self._projection: FloatArray | None = None
        if len(chosen) > _DIMENSIONS:
            signs = rng.integers(0, 2, (len(chosen), _DIMENSIONS)).astype(np.float32)
            self._projection = (2 * signs - 1) / np.float32(np.sqrt(_DIMENSIONS))
        width = min(len(chosen), _DIMENSIONS)
        self.patterns = np.zeros((n, width), np.float32)
        self.values = np.zeros((n, min(len(chosen), _VALUES)), np.float32)
        self.amplitude, self.size = np.full(n, np.nan), np.full(n, np.nan)
        self.digests = [b""] * n
        self.low = np.full(self.n_voxels, np.inf, np.float32)
        self.high = np.full(self.n_voxels, -np.inf, np.float32)

    def add(self, session: int, rows: NDArray[np.intp], betas: FloatArray) -> None:
        """Add one session: its rows of the trial table, and its responses, NaN for no data."""
        low, high = np.fmin.reduce(betas, axis=0), np.fmax.reduce(betas, axis=0)
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)
        self.constant[session] = low == high
        for row, responses in zip(rows, betas, strict=True):
            self._add_digest(int(row), responses)
        chosen = np.nan_to_num(betas[:, self._voxels], nan=0.0).astype(np.float64)
        self.values[rows] = chosen[:, : self.values.shape[1]]
        median = np.median(chosen, axis=0)
        spread = _MAD * np.median(np.abs(chosen - median), axis=0)
        # most responses of a sparse voxel are the same one
        spread = np.where(spread > 0, spread, chosen.std(axis=0))
        varied = spread > 0
        self.spread[session] = float(np.median(spread[varied])) if varied.any() else 0.0
        z = np.where(varied, (chosen - median) / np.where(varied, spread, 1), 0)
        n_varied = max(1, int(varied.sum()))
        self.amplitude[rows] = np.sqrt(np.square(z).sum(axis=1) / n_varied)
        self.size[rows] = _root_mean_square(chosen)
        z = np.clip(z, -_CLIP, _CLIP).astype(np.float32)
        patterns = z if self._projection is None else z @ self._projection
        length = np.linalg.norm(patterns, axis=1, keepdims=True)
        self.patterns[rows] = patterns / np.where(length > 0, length, 1)

    def _add_digest(self, row: int, responses: FloatArray) -> None:
        if responses.min() == responses.max() and len(responses) > 1:
            self.one_value[row] = float(responses[0])
            return
        raw = np.ascontiguousarray(responses).tobytes()
        self.digests[row] = hashlib.blake2b(raw, digest_size=16).digest()

    @property
    def is_read(self) -> NDArray[np.bool_]:
        """Trials of the sessions that could be read, shape (n_trials,)."""
        return np.isfinite(self.size)


def _root_mean_square(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square of each row, whatever its scale."""
    largest = np.abs(rows).max(axis=1)
    scaled = rows / np.where(largest > 0, largest, 1)[:, None]
    return np.asarray(largest * np.sqrt(np.square(scaled).mean(axis=1)))
