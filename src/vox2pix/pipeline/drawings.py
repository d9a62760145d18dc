"""What a run draws: conditions, ceilings from true features, and the shuffled brain."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Condition, Config
from vox2pix.seeds import rng_for


@dataclass(frozen=True)
class Drawing:
    """One condition to draw.

    Attributes
    ----------
    name : str
        Its name in ``metrics.json``.
    condition : str
        What the diffusion model starts from and is told.
    source : {"decoded", "true", "shuffled"}
        Where z and c come from.
    samples : int
        Noise samples a stimulus.
    """

    name: str
    condition: Condition
    source: Literal["decoded", "true", "shuffled"]
    samples: int


def planned_drawings(config: Config, has_c: bool) -> list[Drawing]:
    """List what a run draws: conditions, ceilings from true features, the shuffled brain.

    Parameters
    ----------
    config : Config
        The experiment.
    has_c : bool
        Whether captions are there; without them what needs c is left out.
    """
    wanted = config.generate
    drawings = [Drawing(c, c, "decoded", wanted.samples) for c in wanted.conditions]
    drawings += [Drawing(f"true-{c}", c, "true", wanted.ceiling_samples) for c in wanted.ceilings]
    if wanted.shuffled:
        fullest: Condition = "z+c" if has_c else "z"
        drawings.append(Drawing("shuffled", fullest, "shuffled", wanted.ceiling_samples))
    usable = [d for d in drawings if has_c or d.condition in ("z", "z-decode")]
    # The autoencoder's picture knows no noise: one sample says all.
    return [
        Drawing(d.name, d.condition, d.source, 1) if d.condition == "z-decode" else d
        for d in usable
    ]


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
