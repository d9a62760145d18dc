"""What it is worth to weight voxels by their reliability, on simulated voxels and on a run.

    python benchmarks/reliability.py [--run RUN] [--small] [--json] [--write]

Voxels are linear in 40 features, with log-normal reliability: the logarithm of the factor is the
standard deviation of its logarithm. 250 stimuli are shown three times each, and mean responses to
150 others are decoded. Both decoders choose their penalties; the second also one power of
reliability out of 0, 0.5 and 1. ``--run`` names a finished run, such as ``runs/demo``, whose
targets are decoded again in the same two ways.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from vox2pix.decoding import RidgeDecoder
from vox2pix.linear import pearson_r
from vox2pix.pipeline.experiment import features, stored_features
from vox2pix.pipeline.run import Run, open_run

POWERS = (0.0, 0.5, 1.0)
SPREADS = (1.0, 1.5, 2.5, 4.0)
N_FEATURES, N_STIMULI, N_REPEATS, N_TEST = 40, 250, 3, 150
MEDIAN = 0.1  # standard deviation of the signal over that of the noise of a trial
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """Mean r of held-out stimuli with equal voxels and with weighted ones."""

    voxels: str
    equal: float
    weighted: float
    standard_error: float  # of the difference, over seeds; 0 for a run
    powers: str


def simulated(spread: float, seed: int, n_voxels: int) -> tuple[FloatArray, ...]:
    """Return trials, features, the stimulus of each trial, test responses and their features."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((N_STIMULI + N_TEST, N_FEATURES))
    reliability = MEDIAN * spread ** rng.standard_normal(n_voxels)
    signal = y @ rng.standard_normal((N_FEATURES, n_voxels)) / np.sqrt(N_FEATURES) * reliability
    rows = np.repeat(np.arange(N_STIMULI), N_REPEATS)
    X = signal[rows] + rng.standard_normal((len(rows), n_voxels))
    noise = rng.standard_normal((N_TEST, n_voxels)) / np.sqrt(N_REPEATS)
    test = signal[N_STIMULI:] + noise
    return X.astype(np.float32), y[:N_STIMULI], rows, test.astype(np.float32), y[N_STIMULI:]


def both(
    X: FloatArray, y: FloatArray, rows: NDArray[np.intp], test: FloatArray, truth: FloatArray
) -> tuple[float, float, float]:
    """Return mean r with equal and with weighted voxels, and the power that was chosen."""
    scores = []
    for powers in ((0.0,), POWERS):
        decoder = RidgeDecoder(reliability_powers=powers)
        predicted = decoder.fit_then_predict(X, y, test, stimuli=rows)
        scores.append(float(np.nanmean(pearson_r(truth, predicted))))
    return scores[0], scores[1], decoder.power_


def row(voxels: str, found: list[tuple[float, float, float]]) -> Row:
    """Return the mean over seeds."""
    equal, weighted, powers = np.array(found).T
    differences, n = weighted - equal, len(found)
    error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    chosen = ", ".join(f"{p:g} x {int((powers == p).sum())}" for p in np.unique(powers))
    return Row(voxels, float(equal.mean()), float(weighted.mean()), error, chosen)


def of_run(run: Run) -> list[Row]:
    """Decode each target of a run."""
    train, test = run.subject.train, run.subject.test
    rows = []
    for name, rois in run.config.decode.rois.items():
        y = np.asarray(stored_features(run, name, train.stimulus_ids)[:, :])
        truth = features(run, name, run.test_ids).reshape(len(run.test_ids), -1)
        responses = test.mean_betas(rois)[: len(run.test_ids)]
        found = both(train.betas(rois), y, train.stimulus_rows, responses, truth)
        rows.append(row(f"{run.config.name}: {name} from {'+'.join(rois)}", [found]))
    return rows


def table(rows: list[Row]) -> str:
    """Write rows for people."""
    width = max(len(row.voxels) for row in rows)
    lines = [f"{'voxels':{width}}  equal  weighted  gain (standard error)  power chosen"]
    for row in rows:
        gain = f"{row.weighted - row.equal:+.4f} ({row.standard_error:.4f})"
        lines.append(
            f"{row.voxels:{width}}  {row.equal:.3f}  {row.weighted:8.3f}  {gain:21}  {row.powers}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = option_parser(__doc__)
    parser.add_argument("--run", type=Path, help="a finished run that is decoded again, too")
    options: argparse.Namespace = parser.parse_args()
    n_seeds, n_voxels = (2, 300) if options.small else (20, 3000)
    rows = []
    for spread in SPREADS:
        found = [both(*simulated(spread, seed, n_voxels)) for seed in range(n_seeds)]
        rows.append(row(f"{n_voxels:,} simulated, factor {spread:g}", found))
    if options.run:
        rows += of_run(open_run(options.run))
    text = f"Mean r of held-out stimuli, {n_seeds} seeds, 750 training trials.\n\n{table(rows)}"
    figures = {"rows": [asdict(each) for each in rows], "machine": machine()}
    show(figures, text, options, "reliability")


if __name__ == "__main__":
    main()
