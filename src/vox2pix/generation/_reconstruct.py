"""Draw images from the values of targets, decoded or true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.compute import ahead
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for
from vox2pix.targets import StartSettings, Target, check_ports, find_target
from vox2pix.targets._target import DEFAULT_START

if TYPE_CHECKING:
    from vox2pix.diffusion import LatentDiffusion
    from vox2pix.diffusion.batches import BatchSize
    from vox2pix.diffusion.schedule import Schedule

FloatArray = NDArray[np.float32]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReconstructionSettings:
    """What decides a reconstruction, beside the model, the inputs and the seeds.

    The defaults are those of Takagi & Nishimoto (CVPR 2023), but for the noise schedule.

    Parameters
    ----------
    strength : float
        In (0, 1]: how far a start is noised.
    steps : int
        Length of the sampler's schedule.
    guidance : float
        Classifier-free guidance scale against the empty prompt.
    schedule : {"diffusers", "takagi2023"}
        Noise level to start at, see :func:`vox2pix.diffusion.schedule.plan_denoising`.
    samples : int
        Noise samples per stimulus.
    quantize : bool
        Take the image of a start through 8 bit, as an image file would, before it is encoded.
    truncate : bool
        Cut off to 8 bit instead of rounding.
    sample_start : bool
        Encode the image of a start by a draw from the posterior, one per stimulus from the seed
        of its first sample, instead of the posterior's mode.
    """

    strength: float = 0.8
    steps: int = 50
    guidance: float = 5.0
    schedule: Schedule = "diffusers"
    samples: int = 5
    quantize: bool = True
    truncate: bool = False
    sample_start: bool = False

    @property
    def start(self) -> StartSettings:
        """Those that decide how a start is made."""
        return StartSettings(
            quantize=self.quantize, truncate=self.truncate, sample=self.sample_start
        )


def image_seeds(run_seed: int, stimulus_ids: Sequence[str], samples: int) -> NDArray[np.int64]:
    """Return the seed of every (stimulus, sample): the same for all conditions and subjects.

    Parameters
    ----------
    run_seed : int
        The one seed of a run.
    stimulus_ids : sequence of str
        In the order of the rows.
    samples : int
        Noise samples per stimulus.

    Returns
    -------
    array of int64 (n_stimuli, samples)
        A seed depends on its stimulus and sample alone, not on the row or the other stimuli.
    """
    seeds = [
        [seed_for(run_seed, "picture", stimulus_id, sample) for sample in range(samples)]
        for stimulus_id in stimulus_ids
    ]
    return np.array(seeds, dtype=np.int64).reshape(len(stimulus_ids), samples)


def reconstruct(
    model: LatentDiffusion,
    inputs: Mapping[str, ArrayLike],
    *,
    seeds: ArrayLike,
    settings: ReconstructionSettings | None = None,
    targets: Mapping[str, Target] | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
    overlap: bool = False,
) -> FloatArray:
    """Draw images from the values of targets, such as ``{"z": z, "c": c}``.

    Each target enters the generator at its own port; a port without a target is neutral: without
    a start, denoising begins with pure noise and runs all steps, without text the prompt is
    empty, and without an image the adapter has no weight. True values in place of decoded ones
    give the ceilings. Across different block or batch sizes an image is the same to floating-point
    rounding (about 1e-5), with the same ones to the bit on CPU.

    Parameters
    ----------
    model : LatentDiffusion
        The generator, which the values belong to.
    inputs : mapping of str to array (n_stimuli, ...)
        Values of each target by its name: z (n, channels, height, width) of any image size, c (n,
        n_tokens, width) ...
    seeds : array of int (n_stimuli, samples)
        From :func:`image_seeds`; with the same seeds all conditions start from the same noise.
    settings : ReconstructionSettings, optional
    targets : mapping of str to Target, optional
        Targets with settings of their own; those absent have their default settings.
    batch_size : int or "auto"
        Images at a time; changes memory and speed, not the result.
    progress : callable, optional
        ``progress(n_done, n_images)`` after each batch.
    overlap : bool
        Decode a batch while the next one is denoised; changes speed, not the result.

    Returns
    -------
    array (n_stimuli, samples, size, size, 3), float32 in [0, 1]
        At the model's image size: 16 GB for 1,000 stimuli at 512 px, so call it block by block.

    Raises
    ------
    UserError
        For an unknown target, two targets on one port, or a port that the model does not have.
    ValueError
        For arrays whose rows do not match.
    """
    settings = settings or ReconstructionSettings()
    ports = port_inputs(model, inputs, seeds, settings.start, targets, batch_size)
    expected = (len(next(iter(ports.values()))), settings.samples)
    if np.shape(seeds) != expected:
        raise ValueError(f"seeds must have shape {expected} (stimuli, samples).")
    if batch_size == "auto":
        batch_size = model.batch_size(settings.guidance if set(ports) - {"start"} else 1.0)
    return _drawn(model, ports, np.asarray(seeds), settings, batch_size, progress, overlap)


def _drawn(
    model: LatentDiffusion,
    ports: Mapping[str, FloatArray],
    seeds: NDArray[np.int64],
    settings: ReconstructionSettings,
    batch_size: int,
    progress: Progress | None,
    overlap: bool,
) -> FloatArray:
    """Denoise and decode batch by batch; a batch holds samples of several stimuli."""
    flat_seeds = seeds.reshape(-1)
    images = np.empty((len(flat_seeds), model.image_size, model.image_size, 3), np.float32)

    def denoised() -> Iterator[tuple[slice, FloatArray]]:
        for first in range(0, len(flat_seeds), batch_size):
            rows = slice(first, min(first + batch_size, len(flat_seeds)))
            stimuli = np.arange(rows.start, rows.stop) // settings.samples
            latents = model.denoise(
                {port: values[stimuli] for port, values in ports.items()},
                flat_seeds[rows],
                strength=settings.strength,
                steps=settings.steps,
                guidance=settings.guidance,
                schedule=settings.schedule,
                batch_size=batch_size,
            )
            yield rows, latents

    for rows, latents in ahead(denoised(), model.device) if overlap else denoised():
        images[rows] = model.decode_latents(latents, batch_size="auto")
        if progress is not None:
            progress(rows.stop, len(flat_seeds))
    return images.reshape(*seeds.shape, *images.shape[1:])


def port_inputs(
    model: LatentDiffusion,
    inputs: Mapping[str, ArrayLike],
    seeds: ArrayLike,
    start: StartSettings = DEFAULT_START,
    targets: Mapping[str, Target] | None = None,
    batch_size: BatchSize = "auto",
) -> dict[str, FloatArray]:
    """Return what each port of the model takes for the values of targets, by port.

    Parameters and errors are those of :func:`reconstruct`; `start` holds how a start is made.
    """
    if not inputs:
        raise UserError("There is nothing to draw from: give the values of at least one target.")
    chosen = {name: (targets or {}).get(name) or find_target(name)() for name in inputs}
    check_ports(chosen, chosen, model.ports)
    values = {name: np.asarray(each, dtype=np.float32) for name, each in inputs.items()}
    lengths = [f"{name} has {len(each)} rows" for name, each in values.items()]
    if len({len(each) for each in values.values()}) > 1:
        raise ValueError(f"The inputs do not match: {' and '.join(lengths)}.")
    return {
        target.port: target.port_input(
            model, values[name], seeds=np.asarray(seeds), start=start, batch_size=batch_size
        )
        for name, target in chosen.items()
    }
