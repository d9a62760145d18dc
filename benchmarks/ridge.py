"""Time ridge regression with 13 penalties against himalaya's cross-validated one.

    python benchmarks/ridge.py [--small] [--json]
    python benchmarks/ridge.py --selection [--small]

The first simulates a brain (6,000 trials of 2,000 stimuli shown three times, 1,500 voxels) and
3,200 targets, fits both ways in one process on the same float32 arrays, and tests both on 500 new
stimuli, responses averaged over three repeats. ``ratio`` is himalaya's time over ours. The plain
way sees every trial's target, as himalaya has no notion of repeats; ours sees 2,000 rows.

The second prints the held-out r that each rule for choosing a penalty reaches, beside the best
penalty of each target in hindsight, at several levels of noise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.decoding import RidgeDecoder
from vox2pix.linear import (
    NormalEquations,
    cv_errors,
    decompose,
    fit_ridge,
    gcv_errors,
    grouped_folds,
    pearson_r,
)

ALPHAS = np.logspace(0, 6, 13)


@dataclass(frozen=True)
class Simulation:
    """Training trials, targets a stimulus, and averaged test responses with their targets."""

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


def machine() -> dict[str, Any]:
    """Describe the machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run once; return seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def speed(small: bool, n_rounds: int) -> dict[str, Any]:
    """Time both ways, alternating, and test both on the same new stimuli."""
    from himalaya.ridge import RidgeCV

    n_stimuli, n_voxels, n_targets = (200, 100, 150) if small else (2000, 1500, 3200)
    data = simulate(n_stimuli, n_voxels, n_targets, snr=0.8, predictable=1.0)
    mean, std = data.X.mean(axis=0), data.X.std(axis=0)

    def ours() -> NDArray[Any]:
        decoder = RidgeDecoder(ALPHAS).fit(data.X, data.Y, rows=data.rows)
        return decoder.predict(data.X_test)

    def plain() -> NDArray[Any]:
        model = RidgeCV(alphas=ALPHAS, fit_intercept=True, cv=5)
        model.fit((data.X - mean) / std, data.Y[data.rows])
        return np.asarray(model.predict((data.X_test - mean) / std))

    ours_seconds, plain_seconds = [], []
    for _ in range(n_rounds):
        seconds, ours_predicted = _timed(ours)
        ours_seconds.append(seconds)
        seconds, plain_predicted = _timed(plain)
        plain_seconds.append(seconds)
    r_ours = float(np.nanmean(pearson_r(data.Y_test, ours_predicted)))
    r_plain = float(np.nanmean(pearson_r(data.Y_test, plain_predicted)))
    return {
        "benchmark": "ridge",
        "n_trials": len(data.X),
        "n_stimuli": n_stimuli,
        "n_voxels": n_voxels,
        "n_targets": n_targets,
        "n_alphas": len(ALPHAS),
        "seconds_ours": round(float(np.median(ours_seconds)), 4),
        "seconds_plain": round(float(np.median(plain_seconds)), 4),
        "ratio": round(float(np.median(plain_seconds) / np.median(ours_seconds)), 2),
        "r_ours": round(r_ours, 5),
        "r_plain": round(r_plain, 5),
        "r_difference": round(r_ours - r_plain, 5),
        "machine": machine(),
    }


def selection(small: bool) -> dict[str, Any]:
    """Held-out mean r of each rule for choosing a penalty for each target."""
    n_stimuli, n_voxels, n_targets = (200, 100, 50) if small else (2000, 1500, 400)
    levels = {
        "low SNR (.4)": (0.4, 1.0),
        "very low SNR (.15)": (0.15, 1.0),
        "high SNR (1.2)": (1.2, 1.0),
        "targets mostly noise": (0.4, 0.14),
    }
    figures: dict[str, dict[str, float]] = {}
    for level, (snr, predictable) in levels.items():
        data = simulate(n_stimuli, n_voxels, n_targets, snr=snr, predictable=predictable)
        equations = NormalEquations(n_stimuli)
        equations.add(data.X, data.rows)
        scaling: dict[str, Any] = {
            "offset": equations.mean,
            "scale": np.sqrt(equations.variance),
        }
        decomposition = decompose(equations, scale=scaling["scale"])
        projection = decomposition.project(data.Y)
        trials = np.arange(len(data.X))
        alone = NormalEquations(len(data.X))
        alone.add(data.X, trials)
        trialwise = decompose(alone, scale=scaling["scale"])
        by_stimulus = grouped_folds(data.rows, 5)
        errors = {
            "GCV, one trial out (naive)": gcv_errors(
                trialwise, trialwise.project(data.Y[data.rows]), ALPHAS
            ),
            "GCV, stimulus out, single trials": gcv_errors(
                decomposition, projection, ALPHAS, average_repeats=False
            ),
            "GCV, stimulus out, means (default)": gcv_errors(decomposition, projection, ALPHAS),
            "CV by stimulus, single trials": cv_errors(
                data.X, data.Y, data.rows, by_stimulus, ALPHAS, average_repeats=False, **scaling
            ),
            "CV by stimulus, means": cv_errors(
                data.X, data.Y, data.rows, by_stimulus, ALPHAS, **scaling
            ),
            "CV, folds cut through repeats": cv_errors(
                data.X,
                data.Y,
                data.rows,
                grouped_folds(trials, 5),
                ALPHAS,
                average_repeats=False,
                **scaling,
            ),
        }
        r = np.stack(
            [
                pearson_r(data.Y_test, data.X_test @ fit.coef.T + fit.intercept)
                for fit in (fit_ridge(decomposition, data.Y, alpha) for alpha in ALPHAS)
            ]
        )
        columns = np.arange(n_targets)
        scores = {"best penalty in hindsight": float(r.max(axis=0).mean())}
        for rule, error in errors.items():
            scores[rule] = float(r[np.argmin(error, axis=0), columns].mean())
        figures[level] = {rule: round(score, 4) for rule, score in scores.items()}
    return {"benchmark": "ridge-selection", "r": figures, "machine": machine()}


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two benchmarks, print a table, and with --json one object as last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="a size for smoke tests")
    parser.add_argument("--selection", action="store_true", help="compare rules instead of times")
    parser.add_argument("--rounds", type=int, default=1, help="times each way is run (median)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.selection:
        figures = selection(options.small)
        for level, scores in figures["r"].items():
            print(f"\nheld-out mean r, {level}")
            for rule, score in scores.items():
                print(f"  {rule:<36} {score:.4f}")
    else:
        figures = speed(options.small, options.rounds)
        print(
            f"{figures['n_trials']} trials of {figures['n_stimuli']} stimuli x "
            f"{figures['n_voxels']} voxels x {figures['n_targets']} targets, "
            f"{figures['n_alphas']} penalties"
        )
        print(f"{'':<28}{'seconds':>10}{'held-out r':>12}")
        print(
            f"{'himalaya RidgeCV, 5 folds':<28}{figures['seconds_plain']:>10.2f}"
            f"{figures['r_plain']:>12.4f}"
        )
        print(
            f"{'vox2pix RidgeDecoder, GCV':<28}{figures['seconds_ours']:>10.2f}"
            f"{figures['r_ours']:>12.4f}"
        )
        print(f"{figures['ratio']:.1f} times as fast, r {figures['r_difference']:+.4f}")
    if options.json:
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
