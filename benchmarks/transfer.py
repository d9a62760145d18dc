"""Ask the phantom whether imagery is judged as it was planted, from its own files.

For every seed a subject of each case is simulated (imagery evokes what was seen, nothing, or
nothing but its cue), its imagery session read as NSD-Imagery's, and judged. The ratio of imagined
to seen reliability is compared with the one that gains, noise and trials imply. ``--images``
reconstructs so many subjects whose imagery holds a signal, and transfers each run.

``python benchmarks/transfer.py`` takes some minutes; ``--small`` two seeds, without images.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import vox2pix
from results import machine, option_parser, show
from vox2pix.config import Config
from vox2pix.data import open_nsd_imagery
from vox2pix.evaluation.transfer import Reliability, Trials, equal_reliability, judge
from vox2pix.evaluation.transfer import ratio_over_sets as ratio_of
from vox2pix.phantom.brain import STREAMS
from vox2pix.phantom.imagery import CASES

Array = NDArray[np.float64]

SEEDS = 40
REGIONS = ("early", "ventral")
TASKS = ("vision", "imagery", "attention-cue")
N_HALF = 4
_SIZES = {"sessions": 1, "trials_per_session": 60, "n_shared": 6, "image_size": 64}


def reliabilities(root: Path) -> dict[str, dict[str, Reliability]]:
    """Return the reliability of each task by region, read from a simulated tree."""
    subject = open_nsd_imagery(root, rois=REGIONS)
    betas, table = subject.test.betas(), subject.trials
    found = {}
    for region in REGIONS:
        mask = subject.voxel_mask(region)
        tasks: dict[str, list[Trials]] = {}
        for task in TASKS:
            for name in "ABC":
                rows = table.index[(table["task"] == task) & (table["set"] == name)].to_numpy()
                shown = np.unique(table["stimulus_id"][rows], return_inverse=True)[1]
                trials = Trials(betas[rows][:, mask], shown, table["run"].to_numpy()[rows])
                tasks.setdefault(task, []).append(trials)
        found[region] = equal_reliability(tasks)
    return found


def expected_ratio(root: Path, region: str) -> float:
    """Return the ratio of imagined to seen reliability that gains, noise and trials imply.

    A pattern of variance s^2 over voxels has s^2 / (s^2 + v / n), v being the noise's variance
    less what all voxels share, n the trials of a half; both are less their mean over the set.
    """
    with h5py.File(root / "truth/subj01.h5") as truth:
        space = truth["func1pt8mm"]
        here = space["stream"][:] == STREAMS[region]
        noise = space["noise"]
        shared = 1 - noise.attrs["common"]
        v = shared * float((noise["sd"][:][here] ** 2).mean()) * (1 - 1 / 6) / N_HALF
        group = space["imagery"]
        signal, cues = group["signal"][:][:, here], group["cues"][:][:, here]
        gain, cue_gain = group["gain"][:][here], group.attrs["cue_gain"]
    seen, imagined = (
        np.mean([variance / (variance + v) for variance in _variances(patterns)])
        for patterns in (signal, gain * signal + cue_gain * cues)
    )
    return float(imagined / seen)


def _variances(patterns: Array) -> Array:
    """Return the variance over voxels of each pattern, less the mean over its set."""
    centred = patterns.reshape(3, 6, -1) - patterns.reshape(3, 6, -1).mean(axis=1, keepdims=True)
    return np.asarray(centred.var(axis=2)).ravel()


def judged(case: str, seed: int) -> dict[str, Any]:
    """Simulate a subject of a case, judge it, and compare the ratios with the implied ones."""
    with tempfile.TemporaryDirectory() as folder:
        root = vox2pix.simulate(
            Path(folder) / "nsd", n_early=600, n_ventral=600, seed=seed, imagery=case, **_SIZES
        )
        found = reliabilities(root)
        verdict = judge(
            {name: of["imagery"] for name, of in found.items()},
            {name: of["attention-cue"] for name, of in found.items()},
        )
        ratios = {}
        for region, of in found.items():
            ratio = ratio_of(of["imagery"].pseudo_values, of["vision"].pseudo_values)
            truth = expected_ratio(root, region)
            ratios[region] = {
                "truth": truth,
                "value": None if ratio is None else ratio.value,
                "is_held": None if ratio is None else bool(ratio.ci_low <= truth <= ratio.ci_high),
            }
    return {"answer": verdict.answer, "reason": verdict.reason, "ratios": ratios}


def transferred(seed: int) -> dict[str, Any]:
    """Reconstruct a subject with a signal, transfer the run, and return what was identified."""
    with tempfile.TemporaryDirectory() as folder:
        root = vox2pix.simulate(
            Path(folder) / "nsd", sessions=3, n_early=600, n_ventral=600, seed=seed,
            n_shared=24, imagery="signal",
        )  # fmt: skip
        config = Config.model_validate(
            {
                "name": "imagined",
                "data": {"source": "nsd", "path": str(root)},
                "generate": {"samples": 2, "steps": 10, "guidance": 3.0, "conditions": ["z+c"],
                             "ceilings": [], "shuffled": False},
                "audit": {"enabled": False},
            }
        )  # fmt: skip
        run = vox2pix.run(config, Path(folder) / "runs/imagined")
        done = vox2pix.transfer(run.path, root)
        record = json.loads((done.path / "transfer.json").read_text())
    row: dict[str, Any] = {"answer": record["reliability"]["verdict"]["answer"]}
    for name, found in record["identification"]["targets"].items():
        for result in found["results"]:
            if (result["way"], result["pool"], result["fixed"]) == ("pairwise", "set", "true"):
                row[f"{name} {result['task']}"] = result["score"]["value"], result["p"]
    return row


def as_text(rows: dict[str, list[dict[str, Any]]], images: list[dict[str, Any]]) -> str:
    """Return a table for people."""
    lines = [f"{'case':<12}{'subjects':>9}{'decodable':>11}{'no signal':>11}{'the cue':>9}"]
    for case, of in rows.items():
        n = len(of)
        shares = [
            np.mean([row["answer"] == "decodable" for row in of]),
            *(np.mean([row["reason"] == reason for row in of]) for reason in ("no signal", "cue")),
        ]
        lines.append(f"{case:<12}{n:>9}{shares[0]:>11.3f}{shares[1]:>11.3f}{shares[2]:>9.3f}")
    lines += [
        "",
        f"{'imagined / seen':<18}{'implied':>9}{'measured':>10}{'held by the interval':>22}",
    ]
    for region in REGIONS:
        ratios = [row["ratios"][region] for row in rows["signal"]]
        stated = [each for each in ratios if each["value"] is not None]
        lines.append(
            f"{region:<18}{np.mean([r['truth'] for r in stated]):>9.3f}"
            f"{np.mean([r['value'] for r in stated]):>10.3f}"
            f"{np.mean([r['is_held'] for r in stated]):>22.3f}"
        )
    for number, row in enumerate(images):
        scores = "\n  ".join(
            f"{name} {100 * value[0]:.0f} % (p {value[1]:.3f})"
            for name, value in row.items()
            if name != "answer"
        )
        lines += ["", f"run of seed {number}: {row['answer']}", f"  {scores}"]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = option_parser(__doc__)
    parser.add_argument("--images", type=int, default=0, help="subjects that are reconstructed")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="subjects of each case")
    options = parser.parse_args()
    seeds = 2 if options.small else options.seeds
    rows = {case: [judged(case, seed) for seed in range(seeds)] for case in CASES}
    images = [transferred(seed) for seed in range(options.images)]
    figures = {"benchmark": "transfer", "rows": rows, "images": images, "machine": machine()}
    show(figures, as_text(rows, images), options, "transfer", "imagery.md")


if __name__ == "__main__":
    main()
