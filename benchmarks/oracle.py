"""How near the decoder comes to the best linear decoder that is given the truth.

A phantom subject is simulated with the shipped defaults. `RidgeDecoder` is fitted on single
training trials and tested on the mean of each shared image's repeats. The oracle is the linear
estimator of least squared error (Wiener's),

    y = E[y] + Cov(y, s) (Cov(s) + N / n_repeats)^-1 (x - E[x]),

whose covariances of targets y and noise-free responses s come from thousands of other scenes, and
whose noise covariance N is the one that the noise was drawn from. What it leaves unread no linear
decoder can read. Scenes for the covariances are scaled over themselves, which moves a voxel's
scale by about 2 % from the subject's own.

    python benchmarks/oracle.py [--sessions 4] [--seed 0] [--small] [--json]
"""

import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from results import machine, option_parser, show
from vox2pix.data.nsd import open_nsd
from vox2pix.data.subject import Subject
from vox2pix.decoding.ridge_decoder import RidgeDecoder
from vox2pix.linear.scores import pearson_r
from vox2pix.phantom import early, simulate
from vox2pix.phantom.brain import Brain, simulate_brain
from vox2pix.phantom.higher import Content, scene_content
from vox2pix.phantom.scenes import render, scene
from vox2pix.seeds import seed_for

Array = NDArray[np.float32]

N_VOXELS = 1500
PIXELS = 8
AIM = 0.95
BATCH = 200
SIMPLE_GROUPS = ("kind", "colour", "background", "count")


def main(arguments: list[str] | None = None) -> int:
    """Simulate, fit, compare, show."""
    parser = option_parser(__doc__)
    parser.add_argument("--sessions", type=int, default=4, help="sessions of 750 trials")
    parser.add_argument("--seed", type=int, default=0, help="seed of the phantom")
    parser.add_argument("--scenes", type=int, default=4000, help="scenes for the covariances")
    options = parser.parse_args(arguments)
    sessions, n_scenes = (1, 200) if options.small else (options.sessions, options.scenes)
    before, start = machine(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = simulate(Path(folder) / "nsd", sessions=sessions, seed=options.seed)
        figures = compare(root, options.seed, n_scenes)
    record = {
        "benchmark": "oracle",
        "figures": figures,
        "machine": before,
        "seconds": round(time.perf_counter() - start, 1),
        "sessions": sessions,
        "seed": options.seed,
        "aim": AIM,
        "ratio": min(figure["ratio"] for figure in figures),
    }
    show(record, "\n".join(table(figures)), options, "oracle")
    return 0


def compare(root: Path, seed: int, n_scenes: int) -> list[dict[str, float | str]]:
    """Return one record for each region with its targets: r of ours, of the oracle, ratio."""
    subject = open_nsd(root, subject=1, rois=("early", "ventral"))
    with h5py.File(root / "truth/subj01.h5") as truth:
        names = tuple(name.decode() for name in truth["content/names"][:])
        groups = tuple(name.decode() for name in truth["content/groups"][:])
        content = Content(names, groups, truth["content/values"][:], truth["content/position"][:])
        row_of = {f"{nsd_id:05d}": row for row, nsd_id in enumerate(truth["nsd_id"][:])}
    brain = simulate_brain(1, "func1pt8mm", N_VOXELS, N_VOXELS, content, seed)
    responses, pixels, shown = reference(brain, n_scenes, seed_for(seed, "oracle"))
    simple = np.isin(groups, SIMPLE_GROUPS)
    figures = []
    for roi, what in (("early", "pixels"), ("ventral", "content")):
        targets = pixels if what == "pixels" else shown.values[:, simple]
        features = {}
        for split in (subject.train, subject.test):
            ids = split.stimulus_ids
            if what == "pixels":
                features[ids] = low_resolution(subject.images(ids, size=early.IMAGE_SIZE))
            else:
                features[ids] = content.values[[row_of[name] for name in ids]][:, simple]
        figures.append(compare_region(subject, roi, what, brain, responses, targets, features))
    return figures


def compare_region(
    subject: Subject,
    roi: str,
    what: str,
    brain: Brain,
    responses: Array,
    targets: Array,
    features: dict[tuple[str, ...], Array],
) -> dict[str, float | str]:
    """Return r of ours and of the oracle for one region and set of targets."""
    train, test = subject.train, subject.test
    seen = {name: row for row, name in enumerate(train.stimulus_ids)}
    rows = np.array([seen[name] for name in train.trials["stimulus_id"]])
    start = time.perf_counter()
    decoder = RidgeDecoder().fit(train.betas(roi), features[train.stimulus_ids], stimuli=rows)
    seconds = time.perf_counter() - start
    x, y = test.mean_betas(roi), features[test.stimulus_ids]
    n_repeats = test.n_trials / len(test.stimulus_ids)
    voxels = brain_voxels(subject, roi, brain)
    best = oracle(responses[:, voxels], targets, brain.noise.covariance(voxels) / n_repeats, x)
    ours_r = float(np.nanmean(pearson_r(y, decoder.predict(x))))
    best_r = float(np.nanmean(pearson_r(y, best)))
    return {
        "region": roi,
        "targets": what,
        "n_voxels": len(voxels),
        "n_targets": targets.shape[1],
        "n_train_trials": train.n_trials,
        "n_test_stimuli": len(test.stimulus_ids),
        "ours": round(ours_r, 4),
        "oracle": round(best_r, 4),
        "ratio": round(ours_r / best_r, 4),
        "fit_seconds": round(seconds, 2),
    }


def oracle(
    responses: Array, targets: Array, noise: NDArray[np.float64], x: Array
) -> NDArray[np.float64]:
    """Return Wiener's estimate of the targets from measured responses x."""
    mean_s, mean_y = responses.mean(axis=0, dtype=float), targets.mean(axis=0, dtype=float)
    s, y = responses - mean_s, targets - mean_y
    weights = np.linalg.solve(s.T @ s / len(s) + noise, s.T @ y / len(s))
    return mean_y + (x - mean_s) @ weights


def reference(brain: Brain, n_scenes: int, seed: int) -> tuple[Array, Array, Content]:
    """Return noise-free responses, low-resolution pixels and content of other scenes."""
    drawn = [scene(index, seed) for index in range(n_scenes)]
    fields = brain.fields.gaussians()
    parts, pixels = [], []
    for start in range(0, n_scenes, BATCH):
        images = np.stack(
            [render(shown, early.IMAGE_SIZE) for shown in drawn[start : start + BATCH]]
        )
        parts.append(early.drives(early.channel_maps(images), fields, brain.early_tuning))
        pixels.append(low_resolution(images))
    content = scene_content(drawn)
    linear, energy = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return brain.responses(linear, energy, content), np.concatenate(pixels), content


def low_resolution(images: Array) -> Array:
    """Return images averaged in blocks, flat, (n, PIXELS * PIXELS * 3)."""
    block = early.IMAGE_SIZE // PIXELS
    blocks = images.reshape(len(images), PIXELS, block, PIXELS, block, 3)
    return blocks.mean(axis=(2, 4)).reshape(len(images), -1)


def brain_voxels(subject: Subject, roi: str, brain: Brain) -> NDArray[np.int64]:
    """Return where a region's voxels, in the reader's order, are in the simulated brain."""
    where = {tuple(index): voxel for voxel, index in enumerate(brain.layout.index.tolist())}
    voxels = subject.voxels.loc[subject.voxel_mask(roi), ["x", "y", "z"]]
    return np.array([where[tuple(index)] for index in voxels.to_numpy(int).tolist()])


def table(figures: list[dict[str, float | str]]) -> list[str]:
    """Return the figures as lines for people."""
    lines = ["region   targets   voxels  targets  r ours  r oracle  ratio"]
    lines += [
        f"{f['region']:<8} {f['targets']:<9} {f['n_voxels']:>6} {f['n_targets']:>8} "
        f"{f['ours']:>7.3f} {f['oracle']:>9.3f} {f['ratio']:>6.3f}"
        for f in figures
    ]
    return [*lines, f"aim: ratio of at least {AIM}"]


if __name__ == "__main__":
    sys.exit(main())
