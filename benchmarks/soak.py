"""Send 2,000 images through the full path and watch the memory: it must stay flat.

A simulated subject sees 2,000 images; their features are extracted, decoders fitted, more than
2,000 images drawn under every condition, scored and audited, all in one process. Resident
memory is taken at every step of progress; a line is fitted a stage, after a warm-up.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from results import machine, option_parser, show
from vox2pix.config import Config
from vox2pix.pipeline.commands import run
from vox2pix.store import peak_memory

BOUND = 10.0  # MB per 1,000 images
WARM_UP = 0.3  # share of a stage's images before the fit
FEWEST = 4  # moments that a line is fitted to
WATCHED = ("Extracting z", "Extracting c", "Drawing images", "Drawing for the audit")


class Watch:
    """A reporter that takes the resident memory whenever something is done."""

    def __init__(self) -> None:
        self.process, self.title = psutil.Process(), ""
        self.done: dict[str, list[tuple[int, float]]] = {}

    def say(self, text: str) -> None:
        """Take no note."""

    def begin(self, title: str, total: int, unit: str) -> None:
        """Start a stage at nothing done."""
        self.title = title
        self.done.setdefault(title, [(0, self._megabytes())])

    def advance(self, n: int) -> None:
        """Note how many are done, and the memory."""
        seen = self.done[self.title]
        seen.append((seen[-1][0] + n, self._megabytes()))

    def _megabytes(self) -> float:
        return float(self.process.memory_info().rss) / 1e6


def slope(seen: list[tuple[int, float]]) -> tuple[float, float]:
    """Return the growth in MB per 1,000 images after the warm-up, and its standard error."""
    done, memory = np.array(seen, float).T
    chosen = done > WARM_UP * done[-1]
    if chosen.sum() < FEWEST:
        return float("nan"), float("nan")
    done, memory = done[chosen], memory[chosen]
    (growth, _), covariance = np.polyfit(done / 1000, memory, 1, cov="unscaled")
    residual = memory - np.polyval(np.polyfit(done, memory, 1), done)
    return float(growth), float(np.sqrt(covariance[0, 0]) * residual.std(ddof=2))


def experiment(small: bool) -> Config:
    """Return an experiment that draws more than 2,000 images of 100 stimuli."""
    return Config.model_validate(
        {
            "name": "soak",
            "data": {
                "source": "phantom",
                "phantom": {
                    "sessions": 2 if small else 8,
                    "trials_per_session": 90 if small else 750,
                    "n_shared": 12 if small else 100,
                    "n_early": 150,
                    "n_ventral": 150,
                },
            },
            "generate": {"samples": 4, "steps": 3},
            "compute": {"device": "cpu", "batch_size": 10, "shard_size": 5},
        }
    )


def main() -> None:
    """Run, fit, print."""
    options = option_parser(__doc__).parse_args()
    where, watch, began = machine(), Watch(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        run(experiment(options.small), Path(scratch) / "soak", watch)
    rows = {}
    lines = [f"{'stage':<24}{'images':>9}{'MB before':>11}{'MB after':>10}{'MB / 1,000':>20}"]
    for title in WATCHED:
        seen = watch.done[title]
        growth, error = slope(seen)
        rows[title] = {"images": seen[-1][0], "mb_per_1000": growth, "standard_error": error}
        trend = "too few moments" if np.isnan(growth) else f"{growth:+.2f} ± {2 * error:.2f}"
        lines.append(
            f"{title:<24}{seen[-1][0]:>9,}{seen[0][1]:>11,.0f}{seen[-1][1]:>10,.0f}{trend:>20}"
        )
    drawn = rows["Drawing images"]["images"] + rows["Drawing for the audit"]["images"]
    worst = max(row["mb_per_1000"] for row in rows.values() if not np.isnan(row["mb_per_1000"]))
    verdict = "kept" if worst < BOUND else "BROKEN"
    lines += [
        "",
        f"{drawn:,} images drawn in {time.monotonic() - began:.0f} s; peak "
        f"{peak_memory() / 1e6:,.0f} MB.",
        f"Growth is fitted after {WARM_UP:.0%} of a stage (± two standard errors); the largest, "
        f"{worst:+.2f} MB, is held",
        f"against a bound of {BOUND:g} MB per 1,000 images: {verdict}.",
    ]
    figures = {
        "stages": rows,
        "drawn": drawn,
        "worst": worst,
        "bound": BOUND,
        "peak_mb": peak_memory() / 1e6,
        "machine": where,
    }
    show(figures, "\n".join(lines), options, "soak", page="reliability.md")
    sys.exit(0 if worst < BOUND or options.small else 1)


if __name__ == "__main__":
    main()
