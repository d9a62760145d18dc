"""Noise of a simulated scan, and the ncsnr that measures it.

A voxel's response to a trial is baseline + signal + noise. The noise is

    noise_v(t) = sd_v * (e_v(t) + o_v(session))

where e is an AR(1) process within a run (each run starts afresh), correlated over voxels with

    C = independent * I + local * S S' + common * 1 1'

S being a smoothing over neighbours with rows of length 1, so that every voxel's variance is 1.
The session shift o has the same C, scaled to a standard deviation of ``session_shift``.

The ncsnr is that of NSD (Allen et al. 2022, Nature Neuroscience 25:116, "noise ceiling"):
betas are z-scored within each session, the noise variance is the variance over repeats of an
image, averaged over images, and the signal variance is what is left of the total of 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal, sparse

Array = NDArray[np.float32]

NCSNR_QUANTILES: dict[str, tuple[float, float, float, float, float]] = {
    "V1": (0.12, 0.28, 0.48, 0.67, 0.94),
    "V2": (0.11, 0.25, 0.41, 0.59, 0.86),
    "V3": (0.11, 0.24, 0.39, 0.56, 0.81),
    "hV4": (0.11, 0.24, 0.37, 0.53, 0.75),
    "ventral": (0.22, 0.29, 0.38, 0.51, 0.74),
    "lateral": (0.22, 0.31, 0.43, 0.60, 0.94),
    "parietal": (0.25, 0.36, 0.46, 0.57, 0.74),
}
"""ncsnr measured in NSD's subjects 1, 2, 5 and 7: quantiles 5, 25, 50, 75 and 95 %."""

NEAREST_AREA = {"midventral": "ventral", "midlateral": "lateral", "midparietal": "parietal"}
"""Areas without measured quantiles take those of the stream that they lead to."""

_ONE_WITHOUT_DATA_IN = 400

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class NoiseModel:
    """The noise of one subject's voxels."""

    # (n_voxels,): standard deviation of single trials about the signal, in percent signal change,
    # without the session shift
    sd: Array
    # (n_voxels, n_voxels): s of the module's formula; rows of length 1
    smoothing: sparse.csr_matrix
    independent: float = 0.55  # shares of the variance; they sum to 1
    local: float = 0.40
    common: float = 0.05
    ar1: float = 0.2  # correlation of neighbouring trials within a run
    session_shift: float = 0.3  # standard deviation of a session's offset, in units of ``sd``

    def draw_session(self, run_lengths: Sequence[int], rng: np.random.Generator) -> Array:
        """Draw one session, shape (sum of run_lengths, n_voxels), percent signal change."""
        noise = np.concatenate([self._draw_run(length, rng) for length in run_lengths])
        noise += np.float32(self.session_shift) * self._draw_space(1, rng)
        noise *= self.sd
        return noise

    def covariance(self, voxels: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the covariance of single trials over some voxels, session shift included.

        Squared percent signal change, shape (n, n).
        """
        rows = self.smoothing[voxels]
        correlation = self.local * (rows @ rows.T).toarray() + self.common
        correlation[np.diag_indices_from(correlation)] += self.independent
        sd = self.sd[voxels].astype(np.float64)
        return (1 + self.session_shift**2) * correlation * np.outer(sd, sd)

    def _draw_run(self, length: int, rng: np.random.Generator) -> Array:
        """Draw a stationary AR(1) run of unit variance."""
        innovations = self._draw_space(length, rng)
        innovations[1:] *= np.float32(np.sqrt(1 - self.ar1**2))
        coefficients = np.array([1.0, -self.ar1], np.float32)
        return signal.lfilter(np.ones(1, np.float32), coefficients, innovations, axis=0)

    def _draw_space(self, n_draws: int, rng: np.random.Generator) -> Array:
        """Draw independent fields of covariance C, shape (n_draws, n_voxels)."""
        n_voxels = len(self.sd)
        smooth = self.smoothing @ rng.standard_normal((n_voxels, n_draws), np.float32)
        field = np.float32(np.sqrt(self.local)) * smooth.T
        own = rng.standard_normal((n_draws, n_voxels), np.float32)
        field += np.float32(np.sqrt(self.independent)) * own
        field += np.float32(np.sqrt(self.common)) * rng.standard_normal((n_draws, 1), np.float32)
        return np.ascontiguousarray(field, np.float32)


def draw_ncsnr(
    areas: Sequence[str], smoothing: sparse.csr_matrix, rng: np.random.Generator
) -> Array:
    """Draw a reliability for each voxel so that each area has NSD's quantiles.

    Between the five measured levels the quantile function is straight; beyond them it continues
    for half a quarter's distance. A voxel's rank within its area is partly that of a smooth
    field, since reliable voxels are neighbours. ``areas`` is a key of ``NCSNR_QUANTILES`` or
    ``NEAREST_AREA`` per voxel, ``""`` for a voxel without signal, which gets 0; ``smoothing``
    (n_voxels, n_voxels) has rows of length 1. Returns the true ncsnr, float32 (n_voxels,).
    """
    n_voxels = len(areas)
    field = smoothing @ rng.standard_normal(n_voxels) + rng.standard_normal(n_voxels)
    labels = np.array(areas, dtype=object)
    ncsnr = np.zeros(n_voxels, np.float32)
    for area in sorted(set(areas) - {""}):
        here = np.flatnonzero(labels == area)
        rank = np.empty(len(here))
        rank[np.argsort(field[here], kind="stable")] = (np.arange(len(here)) + 0.5) / len(here)
        ncsnr[here] = ncsnr_quantile(area, rank)
    return ncsnr


def ncsnr_quantile(area: str, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ncsnr at a quantile level in [0, 1] of an area, see :func:`draw_ncsnr`."""
    measured = NCSNR_QUANTILES[NEAREST_AREA.get(area, area)]
    low = measured[0] - 0.125 * (measured[1] - measured[0])
    high = measured[4] + 0.5 * (measured[4] - measured[3])
    return np.interp(level, (0.0, *QUANTILE_LEVELS, 1.0), (low, *measured, high))


def draw_no_data(
    height: Array, stream: NDArray[np.integer], n_sessions: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw which voxels lack data in which sessions, as where the head moved out of the slab.

    One voxel in 400 of the whole brain and of each stream, those at the lower edge, lack data in
    one session, and every other one of them in a second session where there is one.

    Returns shape (n_sessions, n_voxels).
    """
    upwards = np.argsort(height, kind="stable")
    streams = [upwards[stream[upwards] == label] for label in np.unique(stream[stream > 0])]
    lowest = upwards[: max(1, len(upwards) // _ONE_WITHOUT_DATA_IN)]
    parts = [part[: len(part) // _ONE_WITHOUT_DATA_IN] for part in streams]
    edge = np.concatenate([lowest, *parts])
    missing = np.zeros((n_sessions, len(height)), bool)
    sessions = rng.permutation(n_sessions)
    missing[sessions[0], edge] = True
    missing[sessions[-1], edge[::2]] = True
    return missing


class NcsnrMeter:
    """Measure ncsnr as NSD does, session by session.

    Images shown once say nothing about noise and count for nothing. With images shown equally
    often the average of variances is NSD's; otherwise images weigh by repeats less one.
    """

    def __init__(self, n_stimuli: int, n_voxels: int) -> None:
        self._count = np.zeros(n_stimuli, np.int64)
        self._sum = np.zeros((n_stimuli, n_voxels), np.float32)
        self._squares = np.zeros(n_voxels)

    def add_session(self, stimulus: NDArray[np.int64], betas: Array) -> None:
        """Take in a session: the stimulus of each trial and betas (n_trials, n_voxels)."""
        mean = betas.mean(axis=0)
        deviation = betas.std(axis=0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        scored = (betas - mean) * scale
        np.add.at(self._count, stimulus, 1)
        trials = sparse.csr_matrix(
            (np.ones(len(stimulus), np.float32), (stimulus, np.arange(len(stimulus)))),
            shape=(len(self._count), len(stimulus)),
        )
        self._sum += trials @ scored
        # Images shown once drop out in `result`, where their own square is subtracted.
        self._squares += np.einsum("tv,tv->v", scored, scored, dtype=np.float64)

    def result(self) -> Array:
        """Return the ncsnr, shape (n_voxels,); NaN if no image was repeated.

        sqrt(max(0, 1 - noise variance)) / sqrt(noise variance), with the noise variance that
        the module's text defines. A constant voxel has 0.
        """
        freedom = int(np.maximum(self._count - 1, 0).sum())
        if freedom == 0:
            return np.full(len(self._squares), np.nan, np.float32)
        weight = np.divide(1.0, self._count, out=np.zeros(len(self._count)), where=self._count > 0)
        between = np.einsum("s,sv,sv->v", weight, self._sum, self._sum, dtype=np.float64)
        noise = (self._squares - between) / freedom
        total = self._squares / self._count.sum()
        ratio = np.divide(total, noise, out=np.ones_like(noise), where=noise > 0) - 1
        return np.sqrt(np.maximum(ratio, 0)).astype(np.float32)
