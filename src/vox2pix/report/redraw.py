"""What the page of ``vox2pix explore`` needs of a run: the choices, and functions that draw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Show = Callable[[int, int, Pixels], None]


@dataclass(frozen=True)
class Knobs:
    """What decides an image that is drawn again.

    Strength in (0, 1] is how far the start is noised, guidance how strongly the guided targets
    steer (1: not at all). A seed below ``Redraw.n_samples`` is a sample of the run. ``sources``
    names for each target the test image whose decoded features are taken; the voxels of the region
    ``left_out`` are set to their mean over the training trials before targets are predicted.
    """

    stimulus_id: str
    condition: str
    strength: float
    guidance: float
    seed: int
    sources: Mapping[str, str]
    left_out: str | None = None


@dataclass(frozen=True, eq=False)
class Redraw:
    """One run whose images can be drawn again.

    ``stimuli`` are the names of the test stimuli by id, ``conditions`` the targets of each
    condition, the fullest first. ``start`` are the targets that set the start of the denoising,
    which strength noises, ``guided`` those whose influence guidance raises, ``regions`` what can be
    left out. ``own`` is how the run drew its first test image, ``n_samples`` how many noise samples
    it drew, ``least_strength`` the least that runs one denoising step.

    ``seen(stimulus_id)`` returns the image that was shown, uint8 (height, width, 3);
    ``in_run(knobs)`` what the run drew of this image, condition and seed (of its first sample where
    it has no such seed), or None. ``draw(knobs, show)`` calls ``show(step, n_steps, image)`` as
    noise is removed; at the last call, where ``step == n_steps``, the image is done. What ``show``
    raises ends it.
    """

    title: str
    stimuli: Mapping[str, str]
    conditions: Mapping[str, tuple[str, ...]]
    start: tuple[str, ...]
    guided: tuple[str, ...]
    regions: tuple[str, ...]
    own: Knobs
    n_samples: int
    least_strength: float
    seen: Callable[[str], Pixels]
    in_run: Callable[[Knobs], Pixels | None]
    draw: Callable[[Knobs, Show], None]
