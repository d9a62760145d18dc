"""Simulated dreams: spontaneous content in higher cortex, and reports of a few words.

A dream is the content of a drawn scene that nobody sees. Higher streams respond to it with a gain
below that of vision, early cortex not at all, in the noise of the other sessions. Its report
names the kind of the main object, its colour, and in every other dream the background; each word
is wrong with a known probability, drawn from the others of its group. Written as a folder of
one's own data with ``reports.csv``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.phantom import scenes
from vox2pix.phantom.brain import STREAMS, Brain
from vox2pix.phantom.higher import Content, respond, scene_content
from vox2pix.seeds import rng_for

Array = NDArray[np.float32]

GAIN = 0.7
WRONG = 0.25
"""Probability that a word of a report is wrong."""

N_DREAMS = 60


@dataclass(frozen=True)
class Dreams:
    """Dreams of one subject: what is dreamt, and what is reported of it."""

    content: Content
    right: tuple[tuple[str, ...], ...]  # the words that would be right
    reports: tuple[tuple[str, ...], ...]


def draw_dreams(scene_seed: int, first: int, subject: int, seed: int) -> Dreams:
    """Draw dreams of the scenes from ``first`` on, which no subject sees."""
    rng = rng_for(seed, "dreams", subject)
    drawn = [scenes.scene(first + k, scene_seed) for k in range(N_DREAMS)]
    vocabulary = [sorted(scenes.KINDS), sorted(scenes.COLOURS), sorted(scenes.BACKGROUNDS)]
    right, reports = [], []
    for number, scene in enumerate(drawn):
        main = scene.objects[0]
        words = (main.kind, main.colour, scene.background)[: 2 + number % 2]
        right.append(words)
        named = []
        for word, others in zip(words, vocabulary, strict=False):
            is_wrong = rng.random() < WRONG
            wrong = str(rng.choice([other for other in others if other != word]))
            named.append(wrong if is_wrong else word)
        reports.append(tuple(named))
    return Dreams(scene_content(drawn), tuple(right), tuple(reports))


def dream_betas(brain: Brain, dreams: Dreams, content: Content, seed: int) -> Array:
    """Return one response per dream, (n_dreams, n_voxels), percent signal change.

    Signals are standardised together with ``content``, that of the images which were seen.
    """
    n = len(dreams.reports)
    rng = rng_for(seed, "dream noise", brain.subject, brain.layout.space)
    betas = brain.noise.draw_session((n,), rng) + brain.baseline
    signal = respond(content.joined(dreams.content), brain.higher_tuning)[-n:]
    betas[:, brain.higher] += np.float32(GAIN) * brain.signal_sd[brain.higher] * signal
    return np.asarray(betas, np.float32)


def write_dreams(folder: Path, brain: Brain, betas: Array, dreams: Dreams) -> None:
    """Write responses, trials, voxels and reports; voxels outside all streams are left out."""
    folder.mkdir(parents=True)
    used, n = brain.responsive, len(dreams.reports)
    np.save(folder / "responses.npy", betas[:, used])
    names = [f"dream-{k + 1:03d}" for k in range(n)]
    trials = pd.DataFrame({"stimulus_id": names, "session": 1, "run": 1, "split": "test"})
    trials.to_csv(folder / "trials.csv", index=False)
    places = ("x", "y", "z") if brain.layout.affine is not None else ("hemi", "vertex")
    voxels = pd.DataFrame(brain.layout.index[used], columns=list(places))
    if "hemi" in voxels:
        voxels["hemi"] = np.where(voxels["hemi"] == 0, "lh", "rh")
    for name, label in STREAMS.items():
        voxels[name] = (brain.layout.stream[used] == label).astype(int)
    voxels.to_csv(folder / "voxels.csv", index=False)
    rows = [(k + 1, word) for k, report in enumerate(dreams.reports) for word in report]
    pd.DataFrame(rows, columns=["trial", "word"]).to_csv(folder / "reports.csv", index=False)
