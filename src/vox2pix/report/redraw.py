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

    Attributes
    ----------
    stimulus_id, condition : str
        Which test image, and from which targets it is drawn.
    strength : float
        In (0, 1]: how far the start is noised.
    guidance : float
        How strongly the guided targets steer; 1 is no guidance.
    seed : int
        Which noise: a number below ``Redraw.n_samples`` is a sample of the run.
    sources : mapping of str to str
        For each target the test image whose decoded features are taken.
    left_out : str, optional
        Region whose voxels are set to their mean over the training trials before targets are
        predicted.
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

    Attributes
    ----------
    title : str
        The run, as a heading.
    stimuli : mapping of str to str
        The test stimuli by id, and what each is called.
    conditions : mapping of str to tuple of str
        What images can be drawn from, the fullest first: the targets of each condition.
    start, guided : tuple of str
        The targets that set the start of the denoising, which strength noises, and those whose
        influence guidance raises.
    regions : tuple of str
        What can be left out.
    own : Knobs
        As the run drew its first test image.
    n_samples : int
        Noise samples that the run drew.
    least_strength : float
        The least that runs one denoising step.
    seen : callable
        ``seen(stimulus_id)``, the image that was shown: uint8 (height, width, 3).
    in_run : callable
        ``in_run(knobs)``, what the run drew of this image, condition and seed (of its first
        sample where it has no such seed); None if it drew none.
    draw : callable
        ``draw(knobs, show)`` calls ``show(step, n_steps, image)`` as noise is removed; at the
        last call, where ``step == n_steps``, the image is done. What ``show`` raises ends it.
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
