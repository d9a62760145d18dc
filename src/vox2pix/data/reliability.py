"""How much of a voxel's response any model could predict."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def noise_ceiling(ncsnr: ArrayLike, n_repeats: ArrayLike) -> NDArray[np.float64]:
    r"""Return the noise ceiling of responses averaged over repeats.

    .. math:: NC = 100 \, \frac{ncsnr^2}{ncsnr^2 + 1/n}

    Parameters
    ----------
    ncsnr : array_like
        Noise-ceiling signal-to-noise ratio: standard deviation of the signal over that of the
        noise of one trial. NaN where unknown.
    n_repeats : array_like
        Repeats that are averaged, broadcast against ``ncsnr``. Where stimuli differ in their
        repeats, one over the mean of 1/n.

    Returns
    -------
    ndarray
        Percent of variance, 0 to 100; NaN where ``ncsnr`` is.

    Notes
    -----
    Allen et al. (2022), Nature Neuroscience 25, 116-126, methods, "Noise ceiling estimation".
    """
    # the same fraction, divided through by ncsnr^2, so that an infinite ncsnr gives 100
    with np.errstate(divide="ignore"):
        noise_over_signal = 1 / (np.asarray(n_repeats) * np.square(np.asarray(ncsnr, float)))
    return 100 / (1 + noise_over_signal)


def effective_repeats(repeats: ArrayLike) -> float:
    """Return the repeats n whose 1/n is the mean of 1/n over stimuli.

    With A, B and C stimuli seen once, twice and three times, 1/n is (A + B/2 + C/3)/(A + B + C),
    as in Allen et al. (2022).
    """
    return float(1 / np.mean(1 / np.asarray(repeats, float)))


class NcsnrEstimator:
    r"""Estimate ``ncsnr`` from repeated stimuli, a session at a time.

    Responses are z-scored within their session. With :math:`x_{ij}` repeat j of stimulus i,
    :math:`n_i` its repeats and N all trials,

    .. math::

        \sigma^2_{noise} = \frac{\sum_{i,j} (x_{ij} - \bar x_i)^2}{\sum_i (n_i - 1)}, \quad
        \sigma^2_{signal} = \max(0, \tfrac{1}{N} \sum_{i,j} x_{ij}^2 - \sigma^2_{noise}), \quad
        ncsnr = \sigma_{signal} / \sigma_{noise}.

    Allen et al. (2022), Nature Neuroscience 25, 116-126, methods, "Noise ceiling estimation".
    They average the variances of stimuli with three repeats each; pooling them by degrees of
    freedom is the same there, and takes stimuli with any number of repeats.
    Keeps (n_stimuli, n_voxels) float32 in memory.
    """

    def __init__(self, n_stimuli: int, n_voxels: int) -> None:
        self._sums = np.zeros((n_stimuli, n_voxels), np.float32)
        self._repeats = np.zeros(n_stimuli, np.int64)
        self._squares = np.zeros(n_voxels)

    def add(self, stimulus: NDArray[np.integer], betas: NDArray[np.float32]) -> None:
        """Add one session: (n_trials, n_voxels), and the 0-based stimulus of each trial."""
        spread = betas.std(axis=0, dtype=np.float64)
        centred = betas - betas.mean(axis=0, dtype=np.float64)
        constant = betas.min(axis=0) == betas.max(axis=0)
        z = np.where(constant, 0, centred / np.where(constant, 1, spread)).astype(np.float32)
        add_rows(self._sums, stimulus, z)
        np.add.at(self._repeats, stimulus, 1)
        self._squares += np.square(z, dtype=np.float64).sum(axis=0)

    def ncsnr(self) -> NDArray[np.float64]:
        """Return the estimate, shape (n_voxels,); NaN without repeats and for constant voxels."""
        seen = self._repeats > 0
        n_trials = int(self._repeats.sum())
        degrees = n_trials - int(seen.sum())
        if degrees < 1:
            return np.full(len(self._squares), np.nan)
        between = np.zeros_like(self._squares)
        for total, repeats in zip(self._sums[seen], self._repeats[seen], strict=True):
            between += np.square(total, dtype=np.float64) / repeats
        noise = np.maximum(self._squares - between, 0) / degrees
        signal = np.maximum(self._squares / n_trials - noise, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._squares > 0, np.sqrt(signal / noise), np.nan)


def add_rows(
    sums: NDArray[np.float32], targets: NDArray[np.integer], rows: NDArray[np.float32]
) -> None:
    """Add each row to the row of ``sums`` that ``targets`` (which may repeat) names, in place."""
    order = np.argsort(targets, kind="stable")
    present, starts = np.unique(targets[order], return_index=True)
    sums[present] += np.add.reduceat(rows[order], starts, axis=0)
