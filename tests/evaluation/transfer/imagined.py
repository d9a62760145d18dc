"""Responses to imagined stimuli of known reliability, as arrays."""

import numpy as np

from vox2pix.evaluation.transfer import Trials

N_SETS, N_STIMULI, N_TRIALS = 3, 6, 8  # trials of a stimulus in a run
RUNS = {"vision": (0,), "imagery": (1, 2), "cue": (3,)}


def simulate(seed: int, imagery=0.7, cue=0.0, n_voxels=150, noise=2.0, vision=1.0):
    """Return trials of each set by task, with gains of the imagined and of the cue's pattern.

    A trial of vision is the stimulus's pattern, one of imagery ``imagery`` times it and ``cue``
    times the pattern of the cue, one of the cue control the latter alone; noise is added, and
    each run has an offset. Voxels are independent and patterns have variance 1.
    """
    rng = np.random.default_rng(seed)
    tasks = {task: [] for task in RUNS}
    for number in range(N_SETS):
        shown, cues = rng.standard_normal((2, N_STIMULI, n_voxels))
        means = {
            "vision": vision * shown,
            "imagery": imagery * shown + cue * cues,
            "cue": cue * cues,
        }
        for task, runs in RUNS.items():
            parts = []
            for run in runs:
                stimulus = rng.permutation(np.repeat(np.arange(N_STIMULI), N_TRIALS))
                patterns = means[task][stimulus] + 5 * rng.standard_normal(n_voxels)
                patterns += noise * rng.standard_normal(patterns.shape)
                parts.append((patterns, stimulus, np.full(len(stimulus), 10 * number + run)))
            patterns, stimulus, run = map(np.concatenate, zip(*parts, strict=True))
            tasks[task].append(Trials(patterns.astype(np.float32), stimulus, run))
    return tasks


def expected(gain: float, noise: float = 2.0, n_half: int = 4) -> float:
    """Return the reliability of a pattern of a gain in noise, with so many trials in each half."""
    return gain**2 / (gain**2 + noise**2 / n_half)
