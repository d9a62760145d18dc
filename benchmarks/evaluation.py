"""Time two-way identification against a double loop of ``np.corrcoef``.

    python benchmarks/evaluation.py [--small] [--json]

1,000 originals x 5 samples x 9,216 features in both directions: the shared test set seen through
AlexNet's last convolution. The loop compares pair by pair; it is timed on
the first few originals of one sample and extrapolated to all pairs, which the table says. Both
ways must give these originals the same scores.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from vox2pix.evaluation import two_way_scores


def simulate(
    n: int, n_samples: int, d: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw features of originals, and of samples that keep a little of them."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, d), dtype=np.float32)
    drawn = rng.standard_normal((n, n_samples, d), dtype=np.float32)
    return truth, drawn + np.float32(0.015) * truth[:, None]


def by_loop(
    truth: NDArray[np.float32], drawn: NDArray[np.float32], n_originals: int
) -> dict[str, NDArray[np.float64]]:
    """Score the first originals of one sample, pair by pair."""
    n = len(truth)
    scores = {"original": np.zeros(n_originals), "reconstruction": np.zeros(n_originals)}
    for i in range(n_originals):
        own = np.corrcoef(truth[i], drawn[i])[0, 1]
        for j in range(n):
            if j != i:
                scores["original"][i] += own > np.corrcoef(truth[i], drawn[j])[0, 1]
                scores["reconstruction"][i] += own > np.corrcoef(truth[j], drawn[i])[0, 1]
    return {direction: wins / (n - 1) for direction, wins in scores.items()}


def measure(small: bool, n_rounds: int) -> dict[str, Any]:
    """Time both ways and compare their scores."""
    n, n_samples, d = (100, 2, 500) if small else (1000, 5, 9216)
    n_looped = 4
    before = machine()
    truth, drawn = simulate(n, n_samples, d)
    seconds, cpu_seconds = [], []
    for _ in range(n_rounds):
        start, cpu_start = time.perf_counter(), time.process_time()
        two_way_scores(truth, drawn)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    looped = by_loop(truth, drawn[:, 0], n_looped)
    loop_seconds = (time.perf_counter() - start) * n / n_looped * n_samples
    first = two_way_scores(truth, drawn[:, 0])
    difference = max(
        float(np.abs(first[direction][:n_looped] - looped[direction]).max())
        for direction in ("original", "reconstruction")
    )
    return {
        "benchmark": "evaluation",
        "n_originals": n,
        "n_samples": n_samples,
        "n_features": d,
        "seconds_ours": round(float(np.median(seconds)), 3),
        "cpu_seconds_ours": round(float(np.median(cpu_seconds)), 3),
        "seconds_loop_extrapolated": round(loop_seconds, 1),
        "originals_looped": n_looped,
        "ratio": round(loop_seconds / float(np.median(seconds)), 1),
        "peak_gib": round(peak, 2),
        "largest_difference": difference,
        "machine": before,
    }


def table(info: dict[str, Any]) -> str:
    """Return the figures as text for people."""
    return "\n".join(
        [
            f"two-way identification, both directions: {info['n_originals']} originals x "
            f"{info['n_samples']} samples x {info['n_features']} features",
            f"{'':<28}{'seconds':>12}",
            f"{'double loop of np.corrcoef':<28}{info['seconds_loop_extrapolated']:>12.1f}"
            f"  (extrapolated from {info['originals_looped']} originals of one sample)",
            f"{'vox2pix two_way_scores':<28}{info['seconds_ours']:>12.2f}"
            f"  ({info['cpu_seconds_ours']:.2f} s of processor time)",
            f"{info['ratio']:.0f} times as fast, peak memory of the process "
            f"{info['peak_gib']:.2f} GiB, largest difference {info['largest_difference']:.1e}",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and show what it found."""
    parser = option_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times ours is run (median)")
    options = parser.parse_args(arguments)
    figures = measure(options.small, options.rounds)
    show(figures, table(figures), options, "evaluation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
