"""Intervals hold the value of the population as often as they say, over thousands of draws."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MONTE_CARLO = 0.0145  # three standard errors of a coverage of 0.95 over 2,000 draws


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "coverage.py"))


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 40, 100, 300])
def test_intervals_of_every_figure_cover(measured: dict, n: int) -> None:
    rows = [row for case in measured["cases"]((n,)) for row in measured["coverage"](case)]
    low = [row for row in rows if row.covered < 0.93 - MONTE_CARLO]
    assert not low, low
    # Hits of one cluster exclude each other: retrieval there is a little surer than it says.
    wide = [
        row
        for row in rows
        if row.is_exact and row.figure == "two-way" and row.covered > 0.97 + MONTE_CARLO
    ]
    assert not wide, wide


def test_controls_hold_chance_over_few_draws(measured: dict) -> None:
    for case in measured["cases"]((40,)):
        if case.world.endswith("control") and case.figure == "two-way":
            for row in measured["coverage"](case, repetitions=60):
                assert abs(row.truth - 0.5) < 0.02
                assert row.covered > 0.86
