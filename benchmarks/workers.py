"""Two workers against one, stage by stage: seconds of each, and how often faster.

Both are single-threaded processes on this machine, and take a reconstruction and an encoding
analysis of the same simulated subject from the start. A stage whose work is shared out in items is
bound by one core a worker; the other stages stay in the process that was started. Starting workers
is timed apart; so is a small experiment that goes through them first, for what they import.

Two cores share memory: two processes that do nothing but LAPACK's eigendecompositions, without Dask
and without vox2pix, tell what the machine itself leaves of a second core.
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from results import machine, option_parser, show
from vox2pix.config import Config
from vox2pix.pipeline.commands import encode, run
from vox2pix.store import read_json
from vox2pix.workers import open_workers

GOAL, LIMIT = 1.7, 0.95
FEW = 8  # items below which two workers may have unequal shares
SIZES = {
    "small": {"sessions": 2, "trials": 60, "shared": 8, "voxels": 60, "steps": 3, "shard": 2},
    "full": {"sessions": 4, "trials": 750, "shared": 100, "voxels": 6000, "steps": 5, "shard": 5},
}


def experiment(size: dict[str, int]) -> Config:
    """Return an experiment of a size."""
    return Config.model_validate(
        {
            "name": "workers",
            "data": {
                "source": "phantom",
                "phantom": {
                    "sessions": size["sessions"],
                    "trials_per_session": size["trials"],
                    "n_shared": size["shared"],
                    "n_early": size["voxels"],
                    "n_ventral": size["voxels"],
                },
            },
            "generate": {"samples": 1, "steps": size["steps"]},
            "evaluate": {"per_group": 1},
            "encode": {"rois": ["early", "ventral"], "steps": 5, "resamples": 200},
            "compute": {
                "device": "cpu",
                "batch_size": 16,
                "shard_size": size["shard"],
                "voxel_block": max(1, size["voxels"] // 5),
            },
        }
    )


class Items:
    """Workers that count the items of the stage that they work on."""

    def __init__(self, workers) -> None:
        self._workers, self.counts = workers, 0

    @property
    def provenance(self):
        """How many items the stage had, for provenance."""
        counted, self.counts = self.counts, 0
        return {"items": counted}

    def each(self, task, context, items):
        """Count, and pass on."""
        for pair in self._workers.each(task, context, items):
            self.counts += 1
            yield pair


def timed(config: Config, folder: Path, n: int) -> tuple[float, dict[str, tuple[float, int]]]:
    """Return the seconds until n workers are at work, and the seconds and items of each stage."""
    began = time.monotonic()
    with open_workers(n) as workers:
        counting = Items(workers)
        small = folder.parents[1] / "first" / "small"  # with a feature cache of its own
        for config_, where in ((experiment(SIZES["small"]), small), (config, folder)):
            started = time.monotonic() - began
            run(config_, where, workers=counting)
            encode(config_, where, workers=counting)
    provenance = read_json(folder / "provenance.json")
    return started, {name: (t["seconds"], t["workers"]["items"]) for name, t in provenance.items()}


def decompositions(start: Any, end: Any) -> None:
    """Decompose a matrix as large as a decoder's some times, from the start to the end."""
    matrix = np.cov(np.random.default_rng(0).standard_normal((2000, 2000)))
    start.wait()
    for _ in range(4):
        scipy.linalg.eigh(matrix)
    end.wait()


def second_core() -> float:
    """Return how many times as many decompositions two processes do as one, without Dask."""
    seconds = []
    context = get_context("spawn")
    for n in (1, 2):
        start, end = context.Barrier(n + 1), context.Barrier(n + 1)
        processes = [context.Process(target=decompositions, args=(start, end)) for _ in range(n)]
        for process in processes:
            process.start()
        start.wait()
        began = time.monotonic()
        end.wait()
        seconds.append(time.monotonic() - began)
        for process in processes:
            process.join()
    return 2 * seconds[0] / seconds[1]


def main() -> None:
    """Time, compare, print."""
    parser = option_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each; medians are compared")
    options = parser.parse_args()
    size = SIZES["small" if options.small else "full"]
    repeats = 1 if options.small else options.repeats
    where, config = machine(), experiment(size)
    os.environ["OMP_NUM_THREADS"] = "1"  # of workers
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    plain = second_core()
    runs_of: dict[int, list] = {1: [], 2: []}
    for _ in range(repeats):
        for n in runs_of:
            scratch = Path(tempfile.mkdtemp())
            runs_of[n].append(timed(config, scratch / "runs" / "workers", n))
            shutil.rmtree(scratch)
    started = {n: statistics.median(s for s, _ in runs) for n, runs in runs_of.items()}
    lines = [f"{'stage':<20}{'items':>7}{'one, s':>9}{'two, s':>9}{'ratio':>8}"]
    stages = {}
    for name, (_, items) in runs_of[1][0][1].items():
        one, two = (statistics.median(s[name][0] for _, s in runs_of[n]) for n in (1, 2))
        ratio = one / two if two else math.nan
        stages[name] = {"items": items, "one": one, "two": two, "ratio": ratio}
        lines.append(f"{name:<20}{items or '-':>7}{one:9.1f}{two:9.1f}{ratio:8.2f}")
    shared = [s for s in stages.values() if s["items"] >= FEW and s["one"] >= 5]
    alone = [s for s in stages.values() if s["one"] >= 5 and s["items"] == 0]
    for title, some, goal in (
        (f"stages of {FEW} items or more, 5 s or longer", shared, GOAL),
        ("stages in the process that was started, 5 s or longer", alone, LIMIT),
    ):
        if some:
            together = sum(s["one"] for s in some) / sum(s["two"] for s in some)
            least = min(s["ratio"] for s in some)
            lines.append(f"{title}: {together:.2f} together, {least:.2f} the least; goal {goal}")
    lines.append(f"two plain processes that decompose matrices: {plain:.2f} times one")
    lines.append(f"before, not counted: one {started[1]:.1f} s, two {started[2]:.1f} s")
    figures = {"stages": stages, "plain": plain, "start": started, "machine": where}
    show(figures, "\n".join(lines), options, "workers")


if __name__ == "__main__":
    main()
