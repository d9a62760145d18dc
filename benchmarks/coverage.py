"""Count how often the intervals of scores hold the value of the population.

Arrays stand for images: originals are random vectors, reconstructions the same with noise. A
world says how both are drawn. Each repetition draws stimuli anew, scores them and takes the 95 %
interval; it should hold the mean of the score over many other draws of the same world, which are
new stimuli in a new pool. Nothing is fitted and no network is used.

``python benchmarks/coverage.py`` makes 2,000 repetitions, some minutes; ``--small`` makes 100.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from vox2pix.evaluation import (
    mean_interval,
    rate_interval,
    retrieval,
    two_way_jackknife,
)

REPETITIONS = 2000
ENOUGH = 5.0  # failures (and successes) expected, in stimuli, from which on an interval is exact
Array = NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Array, Array]]
_DIMENSIONS = 30


@dataclass(frozen=True)
class Case:
    """A figure in a world, and how to draw a value of it with its interval.

    Attributes
    ----------
    figure, world : str
        What is scored, and of which stimuli.
    n : int
        Stimuli.
    draw : callable
        ``draw(rng, with_intervals)`` returns by direction the value, and the interval or None.
    is_rate : bool
        Whether the value lies in [0, 1] and is made of comparisons.
    """

    figure: str
    world: str
    n: int
    draw: Callable[[np.random.Generator, bool], dict[str, tuple[float, tuple[float, float] | None]]]
    is_rate: bool


@dataclass(frozen=True)
class Coverage:
    """How often an interval held the truth.

    Attributes
    ----------
    figure, direction, world : str
    n, repetitions : int
    truth : float
    covered, above, below : float
        Share of intervals that hold the truth, that lie above it, and below it.
    width : float
        Median width.
    is_exact : bool
        Whether enough failures and successes are expected for an upper bound on coverage.
    """

    figure: str
    direction: str
    world: str
    n: int
    repetitions: int
    truth: float
    covered: float
    above: float
    below: float
    width: float
    is_exact: bool


def independent(fidelity: float) -> World:
    """Return a world of unrelated stimuli, each reconstructed equally well."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        truth, noise = rng.standard_normal((2, n, _DIMENSIONS))
        return truth, fidelity * truth + np.sqrt(1 - fidelity**2) * noise

    return draw


def clustered(fidelity: float, n_clusters: int = 6) -> World:
    """Return a world of stimuli that fall into clusters: distractors of one's own are near."""
    centres = 1.5 * np.random.default_rng(99).standard_normal((n_clusters, _DIMENSIONS))

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        truth, noise = rng.standard_normal((2, n, _DIMENSIONS))
        truth = 0.7 * truth + centres[rng.integers(0, n_clusters, n)]
        return truth, fidelity * truth + np.sqrt(1 - fidelity**2) * noise

    return draw


def uneven(fidelity: float) -> World:
    """Return a world in which some stimuli are reconstructed far worse than others."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        truth, noise = rng.standard_normal((2, n, _DIMENSIONS))
        own = fidelity * rng.beta(4, 1, (n, 1))
        return truth, own * truth + np.sqrt(1 - own**2) * noise

    return draw


def failing(share: float = 0.03, fidelity: float = 0.95) -> World:
    """Return a world in which a share of the stimuli is not reconstructed at all."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        truth, noise = rng.standard_normal((2, n, _DIMENSIONS))
        own = np.where(rng.random((n, 1)) < share, 0, fidelity)
        return truth, own * truth + np.sqrt(1 - own**2) * noise

    return draw


def mean_response(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Draw the control that reconstructs one image from the mean response, with other noise."""
    truth, noise = rng.standard_normal((2, n, _DIMENSIONS))
    return truth, np.random.default_rng(98).standard_normal(_DIMENSIONS) + 0.3 * noise


TWO_WAY: dict[str, World] = {
    "noise control": independent(0.0),
    "mean-response control": mean_response,
    "independent, fidelity .3": independent(0.3),
    "independent, fidelity .6": independent(0.6),
    "independent, fidelity .73": independent(0.73),
    "clustered, fidelity .3": clustered(0.3),
    "clustered, fidelity .6": clustered(0.6),
    "clustered, fidelity .8": clustered(0.8),
    "uneven, fidelity .7": uneven(0.7),
    "uneven, fidelity .95": uneven(0.95),
    "3 % fail": failing(),
}


def cases(sizes: tuple[int, ...] = (20, 40, 100, 300)) -> list[Case]:
    """Return every figure in every world."""
    found = []
    for n in sizes:
        for name, world in TWO_WAY.items():
            found.append(Case("two-way", name, n, _two_way(world, n), True))
        for name in ("noise control", "independent, fidelity .3", "clustered, fidelity .6"):
            for k in (1, 5):
                draw = _retrieval(TWO_WAY[name], n, k)
                found.append(Case(f"retrieval, top {k}", name, n, draw, True))
        best = _best_of(independent(0.3), n)
        found.append(Case("two-way, best of 3", "independent, fidelity .3", n, best, True))
        for name, draw in _SCORES.items():
            found.append(Case("mean", name, n, _mean(draw, n), False))
    return found


_SCORES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "PixCorr (tanh of a normal)": lambda rng, n: np.tanh(rng.normal(0.3, 0.25, n)),
    "SSIM (beta, 8 and 2)": lambda rng, n: rng.beta(8, 2, n),
    "SSIM (beta, 8 and 1)": lambda rng, n: rng.beta(8, 1, n),
    "distance (beta, 2 and 6)": lambda rng, n: rng.beta(2, 6, n),
    "captions (half are 0)": lambda rng, n: rng.beta(1, 4, n) * rng.integers(0, 2, n),
    "paired difference": lambda rng, n: rng.beta(8, 2, n) - rng.beta(7, 2, n),
}


def _two_way(world: World, n: int) -> Callable[..., dict[str, tuple[float, tuple | None]]]:
    def draw(rng: np.random.Generator, with_intervals: bool) -> dict[str, tuple]:
        found = two_way_jackknife(*world(rng, n))
        return {
            direction: (scores.mean(), rate_interval(pseudo) if with_intervals else None)
            for direction, (scores, pseudo) in found.items()
        }

    return draw


def _best_of(world: World, n: int, n_samples: int = 3) -> Callable[..., dict[str, tuple]]:
    def draw(rng: np.random.Generator, with_intervals: bool) -> dict[str, tuple]:
        truth, first = world(rng, n)
        drawn = [first, *(first + 0.8 * rng.standard_normal(first.shape) for _ in range(2))]
        found = [two_way_jackknife(truth, sample) for sample in drawn[:n_samples]]
        results = {}
        for direction in found[0]:
            scores, pseudo = (
                np.stack([of_sample[direction][i] for of_sample in found]) for i in range(2)
            )
            best = scores.max(axis=0)
            values = best + (pseudo - scores).mean(axis=0)
            results[direction] = (best.mean(), rate_interval(values) if with_intervals else None)
        return results

    return draw


def _retrieval(world: World, n: int, k: int) -> Callable[..., dict[str, tuple]]:
    def draw(rng: np.random.Generator, with_intervals: bool) -> dict[str, tuple]:
        found = retrieval(*world(rng, n), k)
        return {
            direction: (scores.mean(), rate_interval(scores) if with_intervals else None)
            for direction, scores in found.items()
        }

    return draw


def _mean(
    scores: Callable[[np.random.Generator, int], Array], n: int
) -> Callable[..., dict[str, tuple]]:
    def draw(rng: np.random.Generator, with_intervals: bool) -> dict[str, tuple]:
        values = scores(rng, n)
        return {"": (values.mean(), mean_interval(values) if with_intervals else None)}

    return draw


def coverage(case: Case, repetitions: int = REPETITIONS, seed: int = 0) -> list[Coverage]:
    """Return how often the intervals of a case hold the truth, one row for each direction."""
    rng = np.random.default_rng([seed, 1])
    others = [case.draw(rng, False) for _ in range(2 * repetitions)]
    rng = np.random.default_rng([seed, 2])
    drawn = [case.draw(rng, True) for _ in range(repetitions)]
    rows = []
    for direction in drawn[0]:
        truth = float(np.mean([other[direction][0] for other in others]))
        low, high = np.array([each[direction][1] for each in drawn]).T
        # Equal to the last bits is held.
        above, below = np.mean(low > truth + 1e-12), np.mean(high < truth - 1e-12)
        rows.append(
            Coverage(
                figure=case.figure,
                direction=direction,
                world=case.world,
                n=case.n,
                repetitions=repetitions,
                truth=truth,
                covered=float(1 - above - below),
                above=float(above),
                below=float(below),
                width=float(np.median(high - low)),
                is_exact=case.is_rate and ENOUGH <= case.n * truth <= case.n - ENOUGH,
            )
        )
    return rows


def as_text(rows: list[Coverage]) -> str:
    """Return a table for people."""
    lines = [
        f"{'figure':<20}{'world':<28}{'fixed':<16}{'n':>4}{'truth':>9}{'held':>7}{'above':>7}"
        f"{'below':>7}{'width':>8}",
    ]
    lines += [
        f"{row.figure:<20}{row.world:<28}{row.direction:<16}{row.n:>4}{row.truth:>9.4f}"
        f"{row.covered:>7.3f}{row.above:>7.3f}{row.below:>7.3f}{row.width:>8.4f}"
        f"{' *' if row.is_exact else ''}"
        for row in rows
    ]
    lowest = min(row.covered for row in rows)
    exact = [row.covered for row in rows if row.is_exact]
    lines += [
        "",
        f"The least coverage of {len(rows)} rows is {lowest:.3f}. * Five or more stimuli are "
        "expected to fail,",
        f"and to succeed: there it is {min(exact):.3f} to {max(exact):.3f}." if exact else "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    options = option_parser(__doc__).parse_args()
    repetitions, sizes = (100, (20, 40)) if options.small else (REPETITIONS, (20, 40, 100, 300))
    rows = [row for case in cases(sizes) for row in coverage(case, repetitions)]
    figures = {"benchmark": "coverage", "rows": [vars(row) for row in rows], "machine": machine()}
    show(figures, as_text(rows), options, "coverage", "metrics.md")


if __name__ == "__main__":
    main()
