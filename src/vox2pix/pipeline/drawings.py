"""What a run draws: conditions, ceilings from true features, and what the audit doubts."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config
from vox2pix.seeds import rng_for
from vox2pix.targets import ceilings_of, conditions_of, fullest, targets_of, usable

Source = Literal["decoded", "true", "shuffled", "mean", "noise", "held-out", "swapped"]


DOUBTED: frozenset[Source] = frozenset({"mean", "noise", "held-out", "swapped"})
"""What only the audit asks for."""


@dataclass(frozen=True)
class Drawing:
    """One condition to draw.

    Attributes
    ----------
    name : str
        Its name in ``metrics.json``.
    condition : str
        What the diffusion model starts from and is told.
    source : str
        Where z and c come from: decoded from the responses to the image, true, decoded from
        the responses to another image (shuffled), from the mean response, from noise, or by
        decoders that were trained without the image's cluster (held-out); swapped takes the
        decoded z of one image and the decoded c of another.
    samples : int
        Noise samples a stimulus.
    """

    name: str
    condition: str
    source: Source
    samples: int


def planned_drawings(config: Config, has_c: bool) -> list[Drawing]:
    """List what a run draws: conditions, ceilings from true features, what the audit doubts.

    Parameters
    ----------
    config : Config
        The experiment.
    has_c : bool
        Whether captions are there; without them what needs c is left out.
    """
    wanted, targets = config.generate, targets_of(config)
    drawn, true = conditions_of(config, targets), ceilings_of(config, targets)
    drawings = [Drawing(str(c), str(c), "decoded", wanted.samples) for c in drawn]
    drawings += [Drawing(f"true-{c}", str(c), "true", wanted.ceiling_samples) for c in true]
    fullest = fullest_condition(config, has_c)
    if wanted.shuffled or config.audit.enabled:
        drawings.append(Drawing("shuffled", fullest, "shuffled", wanted.ceiling_samples))
    if config.audit.enabled:
        drawings += [
            Drawing("mean-brain", fullest, "mean", 1),
            Drawing("noise-brain", fullest, "noise", 1),
            Drawing("held-out", fullest, "held-out", 1),
        ]
        if fullest == "z+c":
            drawings.append(Drawing("swapped", fullest, "swapped", 1))
    usable = [d for d in drawings if has_c or d.condition in ("z", "z-decode")]
    # The autoencoder's image knows no noise: one sample says all.
    return [
        Drawing(d.name, d.condition, d.source, 1) if d.condition == "z-decode" else d
        for d in usable
    ]


def fullest_condition(config: Config, has_c: bool) -> str:
    """Return the condition, of those that are drawn, that uses most of what is decoded.

    It is the one that the audit judges.
    """
    every = targets_of(config)
    targets = usable(every, has_c)
    drawn = [c for c in conditions_of(config, every) if targets.keys() >= set(c.targets)]
    return str(fullest(drawn, targets))


def derangement(n: int, seed: int) -> NDArray[np.intp]:
    """Return a random order in which nothing keeps its place: each test brain gets another's.

    Parameters
    ----------
    n : int
        How many, 2 or more.
    seed : int
        The run's seed.
    """
    cycle = rng_for(seed, "shuffled brain").permutation(n)
    order = np.empty(n, np.intp)
    order[cycle] = np.roll(cycle, 1)
    return order
