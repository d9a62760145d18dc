"""Time voxel-wise encoding against himalaya's cross-validated kernel ridge.

    python benchmarks/encoding.py [--small] [--json] [--write]
    python benchmarks/encoding.py --slice 4096 [--small] [--json]

The first simulates features with a power-law spectrum and voxels that follow them under noise
(2,000 stimuli x 4,000 features x 20,000 voxels), and fits both models in one process on the same
float32 arrays, ten penalties, one chosen for each voxel: ours by generalised cross-validation,
himalaya's ``KernelRidgeCV`` (linear kernel, numpy) by five folds. Both predict 500 new stimuli.
``ratio`` is himalaya's time over ours, of the clock and of the processor; on a machine that does
other work the second is the fairer. The peak is that of the process, with the data in it.

The second fits a slice of voxels at the size of NSD (9,000 stimuli x 16,384 features), as
``fit_then_predict`` does block by block, and extrapolates to 200,000 voxels: the decomposition is
paid once, the time after it grows with the voxels, and of these only the predictions are stored.
Responses are drawn a block at a time when they are asked for, as if they came from a disk; the
time of drawing does not count. The peak of 200,000 voxels is that of the slice and the
predictions of the voxels that it lacks.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from vox2pix.encoding import EncodingModel
from vox2pix.linear import pearson_r
from vox2pix.store import peak_memory

ALL_VOXELS = 200_000
N_ALPHAS = 10
VOXEL_BLOCK = EncodingModel().target_block

FloatArray = NDArray[np.float32]


def features(n_stimuli: int, n_features: int, seed: int = 0) -> FloatArray:
    """Draw features whose standard deviation falls as the square root of their number."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_stimuli, n_features), np.float32)
    X *= np.arange(1, n_features + 1, dtype=np.float32) ** -0.5
    return X


@dataclass(frozen=True)
class SimulatedVoxels:
    """Responses to features, drawn a block of columns at a time: ``voxels[:, 10:20]``.

    Every voxel follows 200 random features; the share of its variance that is signal is between
    0 and a half. ``reads`` lists when each block was begun and done, in seconds of the clock.
    """

    X: FloatArray
    n_voxels: int
    seed: int = 1
    reads: list[tuple[float, float]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """Stimuli and voxels."""
        return len(self.X), self.n_voxels

    def __getitem__(self, key: tuple[slice, slice]) -> FloatArray:
        """Draw the columns asked for; the same whenever asked for in the same blocks."""
        began = time.perf_counter()
        rows, columns = key
        lo, hi, _ = columns.indices(self.n_voxels)
        rng = np.random.default_rng((self.seed, lo))
        used = rng.choice(self.X.shape[1], min(200, self.X.shape[1]), replace=False)
        signal = self.X[:, used] @ rng.standard_normal((len(used), hi - lo), np.float32)
        signal /= signal.std(axis=0)
        share = rng.uniform(0, 0.5, hi - lo).astype(np.float32)
        noise = rng.standard_normal(signal.shape, np.float32)
        drawn = np.sqrt(share) * signal + np.sqrt(1 - share) * noise
        self.reads.append((began, time.perf_counter()))
        return np.asarray(drawn[rows])


def alphas_for(X: FloatArray) -> NDArray[np.float64]:
    """Ten penalties from a hundredth to a thousand times the mean eigenvalue of XX'."""
    centred = X - X.mean(axis=0)
    mean = np.einsum("ij,ij->", centred, centred, dtype=np.float64) / min(X.shape)
    return np.asarray(mean * np.logspace(-2, 3, N_ALPHAS))


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    return peak_memory() / 2**30


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Run once; return seconds of the clock, of the processor, and the result."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - clock, time.process_time() - processor, result


def speed(n_stimuli: int, n_features: int, n_voxels: int, n_test: int) -> dict[str, Any]:
    """Time both models on the same arrays, ours first, and test both on new stimuli."""
    from himalaya.kernel_ridge import KernelRidgeCV

    X = features(n_stimuli + n_test, n_features)
    Y = np.empty((len(X), n_voxels), np.float32)
    voxels = SimulatedVoxels(X, n_voxels)
    for lo in range(0, n_voxels, VOXEL_BLOCK):
        Y[:, lo : lo + VOXEL_BLOCK] = voxels[:, lo : lo + VOXEL_BLOCK]
    train, test = slice(0, n_stimuli), slice(n_stimuli, None)
    alphas = alphas_for(X[train])
    mean, response = X[train].mean(axis=0), Y[train].mean(axis=0)

    def ours() -> NDArray[Any]:
        return EncodingModel(alphas).fit_then_predict(X[train], Y[train], X[test])

    def plain() -> NDArray[Any]:
        # It has no intercept: features and responses are centred for it.
        model = KernelRidgeCV(alphas=alphas, cv=5, kernel="linear")
        model.fit(X[train] - mean, Y[train] - response)
        return np.asarray(model.predict(X[test] - mean)) + response

    # Both find libraries loaded and threads started. Ours is the median of three, as it is short.
    EncodingModel(alphas).fit_then_predict(X[:50], Y[:50, :50], X[:2])
    KernelRidgeCV(alphas=alphas, cv=5, kernel="linear").fit(X[:50], Y[:50, :50])
    runs = sorted((_timed(ours) for _ in range(3)), key=lambda run: run[0])
    ours_seconds, ours_cpu, predicted = runs[1]
    ours_peak = peak_gib()
    r_ours = float(np.nanmean(pearson_r(Y[test], predicted)))
    plain_seconds, plain_cpu, predicted = _timed(plain)
    r_plain = float(np.nanmean(pearson_r(Y[test], predicted)))
    return {
        "benchmark": "encoding",
        "n_stimuli": n_stimuli,
        "n_features": n_features,
        "n_voxels": n_voxels,
        "n_alphas": len(alphas),
        "seconds_ours": round(ours_seconds, 3),
        "seconds_plain": round(plain_seconds, 3),
        "ratio": round(plain_seconds / ours_seconds, 2),
        "cpu_seconds_ours": round(ours_cpu, 3),
        "cpu_seconds_plain": round(plain_cpu, 3),
        "cpu_ratio": round(plain_cpu / ours_cpu, 2),
        "r_ours": round(r_ours, 5),
        "r_plain": round(r_plain, 5),
        "r_difference": round(r_ours - r_plain, 5),
        "peak_gib_ours": round(ours_peak, 3),
        "peak_gib_plain": round(peak_gib(), 3),
        "data_gib": round((X.nbytes + Y.nbytes) / 2**30, 3),
        "machine": machine(),
    }


def nsd_slice(n_stimuli: int, n_features: int, n_voxels: int, n_test: int) -> dict[str, Any]:
    """Fit a slice of voxels, and extrapolate what comes after the decomposition."""
    X = features(n_stimuli, n_features)
    X_test = features(n_test, n_features, seed=2)
    alphas = alphas_for(X)
    voxels = SimulatedVoxels(X, n_voxels)
    began = time.perf_counter()
    predictions = EncodingModel(alphas).fit_then_predict(X, voxels, X_test, relative=True)
    ended = time.perf_counter()
    began_voxels = voxels.reads[0][0]  # the decomposition comes before the first of them
    once = began_voxels - began
    after = ended - began_voxels - sum(end - start for start, end in voxels.reads)
    stored = predictions.itemsize * n_test * (ALL_VOXELS - n_voxels) / 2**30
    return {
        "benchmark": "encoding-slice",
        "n_stimuli": n_stimuli,
        "n_features": n_features,
        "n_voxels": n_voxels,
        "n_test": n_test,
        "n_alphas": len(alphas),
        "seconds_decomposition": round(once, 2),
        "seconds_slice": round(once + after, 2),
        "seconds_all_voxels": round(once + after * ALL_VOXELS / n_voxels, 1),
        "peak_gib_slice": round(peak_gib(), 3),
        "peak_gib_all_voxels": round(peak_gib() + stored, 3),
        "machine": machine(),
    }


def slice_table(figures: dict[str, Any]) -> str:
    """Lay the figures of :func:`nsd_slice` out."""
    lines = [
        f"{figures['n_stimuli']} stimuli x {figures['n_features']} features, "
        f"{figures['n_alphas']} penalties, {figures['n_test']} test stimuli",
        f"{'':<28}{'seconds':>10}{'peak, GiB':>12}",
        f"{'decomposition':<28}{figures['seconds_decomposition']:>10.1f}",
    ]
    for name, key in (
        (f"{figures['n_voxels']} voxels, measured", "slice"),
        (f"{ALL_VOXELS} voxels, extrapolated", "all_voxels"),
    ):
        lines.append(
            f"{name:<28}{figures[f'seconds_{key}']:>10.1f}{figures[f'peak_gib_{key}']:>12.2f}"
        )
    return "\n".join(lines)


def speed_table(figures: dict[str, Any]) -> str:
    """Lay the figures of :func:`speed` out."""
    lines = [
        f"{figures['n_stimuli']} stimuli x {figures['n_features']} features x "
        f"{figures['n_voxels']} voxels, {figures['n_alphas']} penalties "
        f"(data {figures['data_gib']:.2f} GiB)",
        f"{'':<32}{'seconds':>9}{'CPU s':>9}{'held-out r':>12}{'peak, GiB':>11}",
    ]
    for name, key in (
        ("himalaya KernelRidgeCV, 5 folds", "plain"),
        ("vox2pix EncodingModel, GCV", "ours"),
    ):
        lines.append(
            f"{name:<32}{figures[f'seconds_{key}']:>9.2f}{figures[f'cpu_seconds_{key}']:>9.2f}"
            f"{figures[f'r_{key}']:>12.4f}{figures[f'peak_gib_{key}']:>11.2f}"
        )
    lines.append(
        f"{figures['ratio']:.1f} times as fast ({figures['cpu_ratio']:.1f} by the processor), "
        f"r {figures['r_difference']:+.4f}"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two."""
    parser = option_parser(__doc__)
    parser.add_argument("--slice", type=int, metavar="VOXELS", help="fit so many at NSD's size")
    parser.add_argument("--stimuli", type=int, help="training stimuli")
    parser.add_argument("--features", type=int, help="features of a stimulus")
    parser.add_argument("--voxels", type=int, help="voxels of the comparison")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.slice:
        n_stimuli, n_features = (300, 500) if options.small else (9000, 16_384)
        figures = nsd_slice(
            options.stimuli or n_stimuli, options.features or n_features, options.slice, n_test=1000
        )
        show(figures, slice_table(figures), options, "encoding-slice")
    else:
        sizes = (200, 400, 500) if options.small else (2000, 4000, 20_000)
        given = (options.stimuli, options.features, options.voxels)
        n_stimuli, n_features, n_voxels = (g or s for g, s in zip(given, sizes, strict=True))
        figures = speed(n_stimuli, n_features, n_voxels, n_test=500)
        show(figures, speed_table(figures), options, "encoding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
