"""Time ridge regression with 13 penalties against himalaya's and scikit-learn's.

    python benchmarks/ridge.py [--small] [--json] [--write]
    python benchmarks/ridge.py --full [--scale 0.5]
    python benchmarks/ridge.py --selection [--small]

The first simulates brains of four sizes (stimuli shown three times) and fits with three
libraries, each in a process of its own, on the same float32 arrays: ``RidgeDecoder`` by
generalised cross-validation, himalaya's ``RidgeCV`` by five folds, scikit-learn's ``RidgeCV`` by
leaving one trial out. All choose a penalty for each target and are tested on 500 new stimuli,
responses averaged over three repeats. The other two get the target of every trial, as they have
no notion of repeats. The peak is that of the process, with the data in it. ``floor`` is the time
of our matrix products alone at the rate of NumPy's float32 products, those in float64 counted
double, without the eigendecomposition; ``share`` is that over our time. The rate is the best that
was measured beside the fits: a rate measured at a bad moment would flatter us. Growth exponents
are slopes of log time over log size, each from a sweep of one size with the others fixed.

The second fits 30,000 trials x 15,000 voxels x 60,000 features that are made block by block, so
that neither trials nor targets are ever in memory as a whole, and prints the time of each stage
and the peak. ``--scale`` multiplies all sizes.

The third prints the held-out r that each rule for choosing a penalty reaches, beside the best
penalty of each target in hindsight, at several levels of noise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from ridge_inputs import (
    ALPHAS,
    N_REPEATS,
    N_TEST,
    Simulation,
    Stream,
    mean_r,
    product_rate,
    seconds_of,
    simulate,
    solving_operations,
)
from vox2pix.decoding import RidgeDecoder
from vox2pix.linear import gcv_errors, grouped_folds, pearson_r
from vox2pix.linear.cross_validation import cv_errors
from vox2pix.linear.decomposition import Decomposition, decompose
from vox2pix.linear.normal_equations import NormalEquations
from vox2pix.store import peak_memory

# Stimuli, voxels, targets.
SIZES = ((500, 400, 500), (1000, 800, 1600), (2000, 1500, 3200), (3000, 2000, 5000))
SMALL_SIZES = ((60, 30, 40), (100, 60, 60), (150, 80, 100), (200, 100, 150))
FULL = (10_000, 15_000, 60_000)
BOUND = 12e9


# --- four sizes ----------------------------------------------------------------------------------


def fit_ours(data: Simulation) -> NDArray[Any]:
    """Fit and predict with this project's decoder."""
    return RidgeDecoder(ALPHAS).fit(data.X, data.Y, stimuli=data.rows).predict(data.X_test)


def fit_himalaya(data: Simulation) -> NDArray[Any]:
    """Fit and predict with himalaya, which does not scale voxels itself."""
    from himalaya.ridge import RidgeCV

    mean, std = data.X.mean(axis=0), data.X.std(axis=0)
    model = RidgeCV(alphas=ALPHAS, fit_intercept=True, cv=5)
    model.fit((data.X - mean) / std, data.Y[data.rows])
    return np.asarray(model.predict((data.X_test - mean) / std))


def fit_sklearn(data: Simulation) -> NDArray[Any]:
    """Fit and predict with scikit-learn."""
    from sklearn.linear_model import RidgeCV

    mean, std = data.X.mean(axis=0), data.X.std(axis=0)
    model = RidgeCV(ALPHAS, alpha_per_target=True)
    model.fit((data.X - mean) / std, data.Y[data.rows])
    return np.asarray(model.predict((data.X_test - mean) / std))


LIBRARIES: dict[str, Callable[[Simulation], NDArray[Any]]] = {
    "vox2pix RidgeDecoder": fit_ours,
    "himalaya RidgeCV": fit_himalaya,
    "scikit-learn RidgeCV": fit_sklearn,
}


def one(library: str, folder: Path) -> dict[str, float]:
    """Fit with one library on the data in a folder, in a process of its own."""
    data = Simulation(*(np.load(folder / f"{name}.npy") for name in Simulation.__annotations__))
    LIBRARIES[library](
        simulate(20, 10, 5, snr=1, predictable=1)
    )  # libraries are loaded, threads started
    began = time.perf_counter()
    predicted = LIBRARIES[library](data)
    seconds = time.perf_counter() - began
    peak = peak_memory()
    return {"seconds": seconds, "peak_bytes": peak, "r": mean_r(data.Y_test, predicted)}


def alone(library: str, folder: Path) -> dict[str, float]:
    """Fit with one library in a process of its own, to measure its peak memory."""
    command = [sys.executable, __file__, "--one", library, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def evaluated(data: Simulation) -> float:
    """Return how many penalties our search evaluates, mean over (some) targets."""
    equations = NormalEquations(len(data.Y))
    equations.add(data.X, data.rows, copy=False)
    scaling = equations.scaling(centre=True, standardize=True)
    decomposition = decompose(equations, scaling, overwrite=True)
    projection = decomposition.project(data.Y[:, :200])
    errors = gcv_errors(decomposition, projection, ALPHAS, search=True)
    return float(np.isfinite(errors).sum(axis=0).mean())


def operations(n_stimuli: int, p: int, t: int, n_evaluated: float) -> float:
    """Count the products of one fit, in operations of float32, more trials than voxels.

    In float64, counted double: X'X (half of it, for it is symmetric), and the sums of stimuli in
    the eigenbasis. In float32: targets in it, the penalties evaluated, the weights.
    """
    n = N_REPEATS * n_stimuli
    once = 2 * (n * p**2 + 2 * n_stimuli * p**2)
    return once + solving_operations(n_stimuli, p, t, n_evaluated)


def compare(sizes: tuple[tuple[int, int, int], ...], product: int) -> list[dict[str, Any]]:
    """Fit each size with each library; measure the rate of products before and after each."""
    figures: list[dict[str, Any]] = []
    rate = product_rate(product)
    for n_stimuli, p, t in sizes:
        data = simulate(n_stimuli, p, t, snr=0.8, predictable=1.0)
        with tempfile.TemporaryDirectory() as folder:
            for name, values in vars(data).items():
                np.save(Path(folder) / f"{name}.npy", values)
            libraries = {name: alone(name, Path(folder)) for name in LIBRARIES}
        ours, himalaya, sklearn = libraries.values()
        rate = max(rate, product_rate(product))
        figures.append(
            {
                "n_trials": N_REPEATS * n_stimuli,
                "n_stimuli": n_stimuli,
                "n_voxels": p,
                "n_targets": t,
                "libraries": libraries,
                "ratio_himalaya": himalaya["seconds"] / ours["seconds"],
                "ratio_sklearn": sklearn["seconds"] / ours["seconds"],
                "r_difference": ours["r"] - himalaya["r"],
                "operations": operations(n_stimuli, p, t, evaluated(data)),
            }
        )
    for size in figures:
        size["floor_seconds"] = size["operations"] / rate
        size["share"] = size["floor_seconds"] / size["libraries"]["vox2pix RidgeDecoder"]["seconds"]
        size["gflops"] = rate / 1e9
    return figures


def growth(base: tuple[int, int, int], factors: tuple[int, ...]) -> dict[str, float]:
    """Return the exponents with which our time grows in trials, voxels and targets."""
    exponents = {}
    for axis, name in enumerate(("trials", "voxels", "targets")):
        times = []
        for factor in factors:
            size = list(base)
            size[axis] *= factor
            n_stimuli, p, t = size
            data = simulate(n_stimuli, p, t, snr=0.8, predictable=1.0)
            times.append(min(seconds_of(lambda: fit_ours(data)) for _ in range(3)))  # noqa: B023
        exponents[name] = float(np.polyfit(np.log(factors), np.log(times), 1)[0])
    return exponents


def table(figures: dict[str, Any]) -> str:
    """Lay the figures of :func:`compare` and :func:`growth` out."""
    lines = []
    for size in figures["sizes"]:
        lines += [
            f"{size['n_trials']:,} trials of {size['n_stimuli']:,} stimuli x "
            f"{size['n_voxels']:,} voxels x {size['n_targets']:,} targets",
            f"  {'':<24}{'seconds':>10}{'peak, GB':>11}{'held-out r':>12}",
        ]
        for name, measured in size["libraries"].items():
            lines.append(
                f"  {name:<24}{measured['seconds']:>10.2f}{measured['peak_bytes'] / 1e9:>11.2f}"
                f"{measured['r']:>12.4f}"
            )
        lines += [
            f"  {'floor':<24}{size['floor_seconds']:>10.2f}   ({size['share']:.0%} of our time)",
            f"  {size['ratio_himalaya']:.1f} times as fast as himalaya "
            f"(r {size['r_difference']:+.4f}), {size['ratio_sklearn']:.1f} times as scikit-learn",
            "",
        ]
    rate = figures["sizes"][0]["gflops"]
    exponents = ", ".join(f"{value:.2f} in {name}" for name, value in figures["exponents"].items())
    lines += [
        f"Our time grows with the power {exponents}.",
        f"{len(ALPHAS)} penalties; products at {rate:.0f} GFLOP/s (float32).",
    ]
    return "\n".join(lines)


# --- the full size -------------------------------------------------------------------------------


def full(scale: float) -> dict[str, Any]:
    """Fit the full size, or a part of it, from streams; test on stimuli held out."""
    n_stimuli, p, t = (round(size * scale) for size in FULL)
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((n_stimuli + N_TEST, 300), np.float32)
    latents *= np.arange(1, 301, dtype=np.float32) ** -0.5
    stream = Stream(latents[:n_stimuli], p, t)
    rate = product_rate(4096)
    began = time.perf_counter()
    decoder = RidgeDecoder(ALPHAS).fit_stream(stream.sessions(), stream)
    fitted = time.perf_counter()
    targets = stream.clock["targets"]
    drawn = {name: sum(b - a for a, b in pairs) for name, pairs in stream.clock.items()}
    unseen = Stream(latents[n_stimuli:], p, t)
    seeds = range(10**9, 10**9 + N_REPEATS)
    X_test = np.mean([unseen.responses(np.arange(N_TEST), k) for k in seeds], axis=0)
    predicting = time.perf_counter()
    predicted = decoder.predict(X_test)
    predicted_at = time.perf_counter()
    peak = peak_memory()
    block = decoder.target_block
    parts = [slice(lo, min(lo + block, t)) for lo in range(0, t, block)]
    r = [mean_r(unseen[:, part], predicted[:, part]) for part in parts]
    solving = fitted - targets[0][0] - drawn["targets"]
    rate = max(rate, product_rate(4096))
    # For a target a penalty and its neighbours are evaluated, for some one or two more.
    counted = solving_operations(n_stimuli, p, t, 3)
    return {
        "benchmark": "ridge-full",
        "scale": scale,
        "n_trials": N_REPEATS * n_stimuli,
        "n_stimuli": n_stimuli,
        "n_voxels": p,
        "n_targets": t,
        "seconds_gathering": stream.read_at - began - drawn["sessions"],
        "seconds_decomposing": targets[0][0] - stream.read_at,
        "seconds_solving": solving,
        "seconds_predicting": predicted_at - predicting,
        "seconds_drawing": sum(drawn.values()),
        "seconds": fitted - began - sum(drawn.values()),
        "share_solving": counted / rate / solving,
        "gflops": rate / 1e9,
        "r": float(np.average(r, weights=[part.stop - part.start for part in parts])),
        "peak_bytes": peak,
        "bound_bytes": BOUND,
    }


def full_table(figures: dict[str, Any]) -> str:
    """Lay the figures of :func:`full` out."""
    stages = (
        ("moments of the trials", "gathering"),
        ("eigendecomposition", "decomposing"),
        ("penalties and weights, targets in blocks", "solving"),
        (f"predictions of {N_TEST} stimuli", "predicting"),
        ("fit, all of it", ""),
    )
    seconds = {key: figures["_".join(["seconds", key]).rstrip("_")] for _, key in stages}
    lines = [
        f"{figures['n_trials']:,} trials of {figures['n_stimuli']:,} stimuli x "
        f"{figures['n_voxels']:,} voxels x {figures['n_targets']:,} features, "
        f"{len(ALPHAS)} penalties",
        *(f"  {name:<42}{seconds[key]:>9.1f} s" for name, key in stages),
        f"Making the data took {figures['seconds_drawing']:.0f} s more. Held-out r "
        f"{figures['r']:.4f}.",
        f"Penalties and weights: {figures['share_solving']:.0%} of {figures['gflops']:.0f} "
        "GFLOP/s, the measured rate of float32 products,",
        "counting three penalties per target.",
        f"Peak memory {figures['peak_bytes'] / 1e9:.1f} GB; the bound is "
        f"{figures['bound_bytes'] / 1e9:.0f} GB.",
    ]
    return "\n".join(lines)


# --- rules for choosing a penalty ----------------------------------------------------------------


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
        decoders = (RidgeDecoder(a).fit(data.X, data.Y, stimuli=data.rows) for a in ALPHAS)
        r = np.stack([pearson_r(data.Y_test, d.predict(data.X_test)) for d in decoders])
        scores = {"best penalty in hindsight": float(r.max(axis=0).mean())}
        for rule, error in rule_errors(data).items():
            scores[rule] = float(r[np.argmin(error, axis=0), np.arange(n_targets)].mean())
        figures[level] = {rule: round(score, 4) for rule, score in scores.items()}
    return {"benchmark": "ridge-selection", "r": figures}


def rule_errors(data: Simulation) -> dict[str, NDArray[np.float64]]:
    """Return the errors (n_alphas, n_targets) by which each rule chooses."""
    equations = NormalEquations(len(data.Y))
    equations.add(data.X, data.rows)
    scaling = equations.scaling(centre=True, standardize=True)
    trials = np.arange(len(data.X))
    trialwise = NormalEquations(len(data.X))
    trialwise.add(data.X, trials)

    def gcv(by: NormalEquations, Y: NDArray[np.float32], average: bool) -> NDArray[np.float64]:
        decomposition: Decomposition = decompose(by, scaling)
        projection = decomposition.project(Y)
        return gcv_errors(decomposition, projection, ALPHAS, average_repeats=average)

    def cv(by: NDArray[np.intp], average: bool) -> NDArray[np.float64]:
        folds = grouped_folds(by, 5)
        how: dict[str, Any] = {"scaling": scaling, "average_repeats": average}
        return cv_errors(data.X, data.Y, data.rows, folds, ALPHAS, **how)

    return {
        "GCV, one trial out (naive)": gcv(trialwise, data.Y[data.rows], True),
        "GCV, stimulus out, single trials": gcv(equations, data.Y, False),
        "GCV, stimulus out, means (default)": gcv(equations, data.Y, True),
        "CV by stimulus, single trials": cv(data.rows, False),
        "CV by stimulus, means": cv(data.rows, True),
        "CV, folds cut through repeats": cv(trials, False),
    }


def selection_table(figures: dict[str, Any]) -> str:
    """Lay the figures of :func:`selection` out."""
    lines = []
    for level, scores in figures["r"].items():
        lines += [f"held-out mean r, {level}"]
        lines += [f"  {rule:<36} {score:.4f}" for rule, score in scores.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three."""
    parser = option_parser(__doc__)
    parser.add_argument("--selection", action="store_true", help="compare rules instead of times")
    parser.add_argument("--full", action="store_true", help="the largest size alone, streamed")
    parser.add_argument("--scale", type=float, default=1, help="part of the full size")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    if options.one:
        print(json.dumps(one(options.one[0], Path(options.one[1]))))
        return 0
    host = machine()
    if options.selection:
        figures = selection(options.small) | {"machine": host}
        show(figures, selection_table(figures), options, "ridge-selection")
    elif options.full:
        figures = full(0.02 if options.small else options.scale) | {"machine": host}
        show(figures, full_table(figures), options, "ridge-full")
    else:
        base, factors = ((60, 30, 50), (1, 2)) if options.small else ((500, 400, 1000), (1, 2, 4))
        figures = {
            "benchmark": "ridge",
            "n_alphas": len(ALPHAS),
            "sizes": compare(*((SMALL_SIZES, 512) if options.small else (SIZES, 4096))),
            "exponents": growth(base, factors),
            "machine": host,
        }
        show(figures, table(figures), options, "ridge")
    return 0


if __name__ == "__main__":
    sys.exit(main())
