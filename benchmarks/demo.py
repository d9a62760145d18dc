"""Does the demo show what it must: figures of a finished run beside what is required of them.

    python benchmarks/demo.py [--run runs/demo] [--json]

Reads ``metrics.json`` and ``provenance.json`` of a run of ``vox2pix demo`` and computes
nothing anew. Leaves with status 1 where a requirement is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from results import option_parser, show
from vox2pix.errors import UserError
from vox2pix.store import read_json

ROOT = Path(__file__).resolve().parents[1]
IDENTIFIED, SECONDS, MEMORY_GB = 0.85, 300, 4
MEASURES = {"pixcorr": "PixCorr", "identification": "identification"}
NEEDED = ("z-decode", "z", "c", "z+c", "shuffled")


@dataclass(frozen=True)
class Figure:
    """A mean over test images, its 95 % interval, and what wrong images reach."""

    value: float
    ci_low: float
    ci_high: float
    chance: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.ci_low:.3f}, {self.ci_high:.3f}]"


@dataclass(frozen=True)
class Requirement:
    """What the demo must show, the figures that tell, and whether it does."""

    name: str
    figures: str
    is_met: bool


Figures = dict[str, dict[str, Figure]]


def read_figures(path: Path) -> Figures:
    """Return the means over samples of each condition that has both measures.

    Raises
    ------
    UserError
        If the file is missing or damaged, or a condition of the demo is not in it.
    """
    found: Figures = {}
    for record in read_json(path):
        if not record["samples"].startswith("mean"):
            continue  # the best of the samples
        is_two_way = record["metric"].startswith("two-way")
        if is_two_way and record["direction"] == "original":
            measure = "identification"
        elif record["metric"] == "pixcorr":
            measure = "pixcorr"
        else:
            continue
        figure = Figure(*(record[key] for key in ("value", "ci_low", "ci_high", "chance")))
        found.setdefault(record["condition"], {})[measure] = figure
    missing = [name for name in NEEDED if found.get(name, {}).keys() != MEASURES.keys()]
    if missing:
        raise UserError(
            f"{path} does not score {', '.join(missing)} by PixCorr and identification; run "
            "vox2pix demo."
        )
    return found


def requirements(found: Figures, seconds: float, memory_gb: float) -> Iterator[Requirement]:
    """Yield what the demo must show: of its images, then of its cost."""
    pixels, named = ({name: f[measure] for name, f in found.items()} for measure in MEASURES)
    yield Requirement(
        f"z+c: identification {IDENTIFIED:.0%} or more",
        str(named["z+c"]),
        named["z+c"].value >= IDENTIFIED,
    )
    for measure, above, below, figures in (
        ("PixCorr", "z-decode", "c", pixels),
        ("PixCorr", "z", "c", pixels),
        ("identification", "c", "z", named),
    ):
        more, less = figures[above].value, figures[below].value
        yield Requirement(
            f"{above}: {measure} above that of {below}", f"{more:.3f}, {less:.3f}", more > less
        )
    for measure, figures in (("PixCorr", pixels), ("identification", named)):
        for other in ("z", "c"):
            both, one = figures["z+c"], figures[other]
            yield Requirement(  # their intervals meet
                f"z+c: {measure} not clearly below that of {other}",
                f"{both}, {one}",
                both.ci_high >= one.ci_low,
            )
    shuffled = named["shuffled"]
    yield Requirement(
        f"shuffled: identification at chance ({shuffled.chance:g})",
        str(shuffled),
        shuffled.ci_low <= shuffled.chance <= shuffled.ci_high,
    )
    yield Requirement(
        f"stages of the reconstruction under {SECONDS} s", f"{seconds:.1f} s", seconds < SECONDS
    )
    yield Requirement(
        f"peak memory under {MEMORY_GB} GB", f"{memory_gb:.2f} GB", memory_gb < MEMORY_GB
    )


def judge(run: Path) -> dict[str, Any]:
    """Return the figures of a run, and what of its requirements is met.

    Raises
    ------
    UserError
        If a file of the run is missing, damaged or another's.
    """
    try:
        found = read_figures(run / "metrics.json")
        stages = list(read_json(run / "provenance.json").values())
        seconds = sum(stage["seconds"] for stage in stages)
        memory_gb = max(stage["peak_memory_gb"] for stage in stages)
        made_on = stages[-1]["machine"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{run} is no run's folder ({error!r}); name one by --run.") from error
    judged = requirements(found, seconds, memory_gb)
    return {
        "benchmark": "demo",
        "machine": made_on,
        "conditions": {
            name: {measure: asdict(figure) for measure, figure in figures.items()}
            for name, figures in found.items()
            if figures.keys() == MEASURES.keys()
        },
        "seconds": round(seconds, 1),
        "peak_memory_gb": memory_gb,
        "requirements": [asdict(requirement) for requirement in judged],
    }


def table(results: dict[str, Any]) -> str:
    """Return the figures as text for people."""
    lines = [f"{'condition':<14}{'PixCorr':<26}identification, original fixed"]
    for name, figures in results["conditions"].items():
        pixels, named = (str(Figure(**figures[measure])) for measure in MEASURES)
        lines.append(f"{name:<14}{pixels:<26}{named}")
    lines += ["", f"{'required':<48}measured"]
    for one in results["requirements"]:
        verdict = "met" if one["is_met"] else "MISSED"
        lines.append(f"{one['name']:<48}{one['figures']:<45}{verdict}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Show the figures; return 1 where a requirement is missed, 2 where there is no run."""
    parser = option_parser(__doc__, has_small=False)
    parser.add_argument("--run", type=Path, default=ROOT / "runs/demo", help="folder of the run")
    options = parser.parse_args(arguments)
    try:
        results = judge(options.run)
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    show(results, table(results), options, "demo")
    return 0 if all(one["is_met"] for one in results["requirements"]) else 1


if __name__ == "__main__":
    sys.exit(main())
