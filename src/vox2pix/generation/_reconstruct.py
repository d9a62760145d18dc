"""Draw images from latents z and conditioning c: the conditions of a reconstruction."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vox2pix.compute import ahead
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for

if TYPE_CHECKING:
    from vox2pix.diffusion.batches import BatchSize
    from vox2pix.diffusion.latent_diffusion import LatentDiffusion
    from vox2pix.diffusion.schedule import Schedule

FloatArray = NDArray[np.float32]
Condition = Literal["z", "c", "z+c", "z-decode"]
CONDITIONS: tuple[str, ...] = get_args(Condition)
Progress = Callable[[int, int], None]

_BLOCK = 64  # images that are resized together: 200 MB at 512 px


@dataclass(frozen=True)
class ReconstructionSettings:
    """What decides a reconstruction, beside the model, the features and the seeds.

    The defaults are those of Takagi & Nishimoto (CVPR 2023), but for the noise schedule.

    Parameters
    ----------
    strength : float
        In (0, 1]: how far the start that z gives is noised.
    steps : int
        Length of the sampler's schedule.
    guidance : float
        Classifier-free guidance scale against the empty prompt.
    schedule : {"diffusers", "takagi2023"}
        Noise level to start at, see :func:`vox2pix.diffusion.schedule.plan_denoising`.
    samples : int
        Noise samples a stimulus.
    quantize : bool
        Take the coarse image through 8 bit, as an image file would, before it is encoded
        again.
    truncate : bool
        Whether 8 bit are cut off, not rounded.
    sample_start : bool
        Whether the coarse image is encoded by a draw from the posterior, one for each stimulus
        from the seed of its first sample, not by the posterior's mode.
    """

    strength: float = 0.8
    steps: int = 50
    guidance: float = 5.0
    schedule: "Schedule" = "diffusers"
    samples: int = 5
    quantize: bool = True
    truncate: bool = False
    sample_start: bool = False


def image_seeds(run_seed: int, stimulus_ids: Sequence[str], samples: int) -> NDArray[np.int64]:
    """Return the seed of every (stimulus, sample): the same for all conditions and subjects.

    Parameters
    ----------
    run_seed : int
        The one seed of a run.
    stimulus_ids : sequence of str
        In the order of the rows.
    samples : int
        Noise samples a stimulus.

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
    model: "LatentDiffusion",
    condition: Condition | Sequence[Condition],
    z: ArrayLike | None = None,
    c: ArrayLike | None = None,
    seeds: ArrayLike | None = None,
    settings: ReconstructionSettings | None = None,
    batch_size: "BatchSize" = "auto",
    progress: Progress | None = None,
    overlap: bool = False,
) -> FloatArray:
    """Draw images from features under one condition, or each under its own.

    =============  ====================================================  ==================
    condition      start of the denoising                                conditioning
    =============  ====================================================  ==================
    ``z+c``        z, decoded, encoded again, noised to the strength     c
    ``z``          the same start                                        the empty prompt
    ``c``          pure noise, all steps                                 c
    ``z-decode``   none: the autoencoder's image of z                  none
    =============  ====================================================  ==================

    The start goes the way of Takagi & Nishimoto (CVPR 2023), see :func:`starting_latents`. With
    features of the stimuli themselves in place of decoded ones the same call gives the ceilings.

    Rows are independent of each other: a batch holds images, samples and conditions alike.
    Images take ``samples`` x 3 floats a pixel and stimulus (16 GB for 1,000 stimuli at 512 px):
    call it for a block of stimuli at a time. Across different block or batch sizes an image is
    the same to floating-point rounding (about 1e-5), with the same ones to the bit on CPU.

    Parameters
    ----------
    model : LatentDiffusion
        The model that z and c belong to.
    condition : {"z", "c", "z+c", "z-decode"}, or sequence of n
        What to draw from; one for all, or one a row, then without ``"z-decode"``.
    z : array (n, channels, height, width), optional
        Scaled latents, of any image size.
    c : array (n, n_tokens, width), optional
        Conditioning.
    seeds : array of int (n, samples), optional
        One a (stimulus, sample), see :func:`image_seeds`: with the same seeds all conditions
        start from the same noise. Not needed for ``"z-decode"``.
    settings : ReconstructionSettings, optional
    batch_size : int or "auto"
        Images at a time; changes memory and speed, not the result.
    progress : callable, optional
        ``progress(n_done, n_images)`` after each batch.
    overlap : bool
        Decode a batch while the next one is denoised; changes speed, not the result.

    Returns
    -------
    array (n, samples, size, size, 3), float32 in [0, 1]
        At the model's image size; for ``"z-decode"``, which knows no chance, one sample at the
        size that z belongs to.

    Raises
    ------
    UserError
        For an unknown condition, or one whose features are absent.
    ValueError
        For arrays whose rows do not match, or ``"z-decode"`` among other conditions.
    """
    settings = settings or ReconstructionSettings()
    wanted = {condition} if isinstance(condition, str) else set(condition)
    for each in sorted(wanted - set(CONDITIONS)):
        raise UserError(f"there is no condition {each!r}; choose from {', '.join(CONDITIONS)}")
    start, text = _features_for(wanted, z, c)
    if wanted == {"z-decode"}:
        assert start is not None
        coarse = model.decode_latents(start, batch_size=batch_size)
        if progress is not None:
            progress(len(coarse), len(coarse))
        return coarse[:, None]
    if "z-decode" in wanted:
        raise ValueError("the condition 'z-decode' is not denoised; draw it alone")
    n_stimuli = len(start) if start is not None else len(text) if text is not None else 0
    if start is not None and text is not None and len(start) != len(text):
        raise ValueError(f"z has {len(start)} rows and c has {len(text)}")
    expected = (n_stimuli, settings.samples)
    if seeds is None or np.shape(seeds) != expected:
        raise ValueError(f"seeds must have shape {expected} (stimuli, samples)")
    each_row = [condition] * n_stimuli if isinstance(condition, str) else list(condition)
    if len(each_row) != n_stimuli:
        raise ValueError(f"there are {len(each_row)} conditions for {n_stimuli} stimuli")
    from_z = np.flatnonzero(["z" in each for each in each_row])
    starts: list[FloatArray | None] = [None] * n_stimuli
    if start is not None:
        for row, latent in zip(
            from_z,
            starting_latents(
                model,
                start[from_z],
                settings.quantize,
                batch_size,
                truncate=settings.truncate,
                seeds=start_seeds(seeds)[from_z] if settings.sample_start else None,
            ),
            strict=True,
        ):
            starts[row] = latent
    texts = [
        text[row] if text is not None and "c" in each else None for row, each in enumerate(each_row)
    ]
    flat_seeds = np.asarray(seeds).reshape(-1)
    size = model.image_size
    images = np.empty((len(flat_seeds), size, size, 3), np.float32)
    if batch_size == "auto":
        batch_size = model.batch_size(settings.guidance if text is not None else 1.0)

    def denoised() -> Iterator[tuple[slice, FloatArray]]:
        for first in range(0, len(flat_seeds), batch_size):
            rows = slice(first, min(first + batch_size, len(flat_seeds)))
            stimuli = np.arange(rows.start, rows.stop) // settings.samples
            yield (
                rows,
                model.denoise(
                    [starts[row] for row in stimuli],
                    [texts[row] for row in stimuli],
                    flat_seeds[rows],
                    strength=settings.strength,
                    steps=settings.steps,
                    guidance=settings.guidance,
                    schedule=settings.schedule,
                    batch_size=batch_size,
                ),
            )

    for rows, latents in ahead(denoised(), model.device) if overlap else denoised():
        images[rows] = model.decode_latents(latents, batch_size="auto")
        if progress is not None:
            progress(rows.stop, len(flat_seeds))
    return images.reshape(n_stimuli, settings.samples, size, size, 3)


def starting_latents(
    model: "LatentDiffusion",
    z: ArrayLike,
    quantize: bool = True,
    batch_size: "BatchSize" = "auto",
    *,
    truncate: bool = False,
    seeds: NDArray[np.int64] | None = None,
) -> FloatArray:
    """Return the latents that denoising starts from: z drawn, resized and encoded again.

    z of Takagi & Nishimoto (CVPR 2023) belongs to 320 px and their diffusion runs at 512 px: z
    is decoded, made 8 bit, resized (bicubic, as their released code does) and encoded at 512 px.
    Where both sizes agree nothing is resized, and the way through the autoencoder, which brings
    a decoded z back among the latents of images, remains. By default values are rounded to
    8 bit and the posterior's mode is taken; that code truncates, and takes a sample.

    Parameters
    ----------
    model : LatentDiffusion
        The model that z belongs to.
    z : array (n, channels, height, width)
        Scaled latents.
    quantize : bool
        Go through 8 bit.
    batch_size : int or "auto"
        Images at a time.
    truncate : bool
        Cut off to 8 bit.
    seeds : array of int (n,), optional
        Of a draw from the posterior of each; its mode without.

    Returns
    -------
    array (n, *model.latent_shape), float32
    """
    latents = np.asarray(z, dtype=np.float32)
    starts = np.empty((len(latents), *model.latent_shape), np.float32)
    for first in range(0, len(latents), _BLOCK):
        rows = slice(first, first + _BLOCK)
        coarse = model.decode_latents(latents[rows], batch_size=batch_size)
        resized = resize_images(coarse, model.image_size, quantize, truncate)
        own = None if seeds is None else seeds[rows]
        starts[rows] = model.encode_images(resized, seeds=own, batch_size=batch_size)
    return starts


def start_seeds(seeds: ArrayLike) -> NDArray[np.int64]:
    """Return the seed of each stimulus's start from those of its samples, (n, samples).

    Another seed than the noise has: the two draws are independent.
    """
    first = np.asarray(seeds)[:, 0]
    return np.array([seed_for(int(seed), "start") for seed in first], np.int64)


def resize_images(
    images: FloatArray, size: int, quantize: bool = True, truncate: bool = False
) -> FloatArray:
    """Return images at another size, by Pillow's bicubic filter.

    Parameters
    ----------
    images : array (n, height, width, 3), float32 in [0, 1]
    size : int
        Side of the square images returned; images of that size are not filtered.
    quantize : bool
        Round to 8 bit first (and stay there); else filter in float32.
    truncate : bool
        Cut off to 8 bit, where the others round.

    Returns
    -------
    array (n, size, size, 3), float32 in [0, 1]
    """
    if quantize:
        levels = np.floor(images * 255) if truncate else np.rint(images * 255)
        images = (levels / 255).astype(np.float32)
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, 3), np.float32)
    for image, target in zip(images, resized, strict=True):
        if quantize:
            pil = Image.fromarray(np.rint(image * 255).astype(np.uint8))
            target[:] = np.asarray(pil.resize((size, size), Image.Resampling.BICUBIC))
            target /= 255
            continue
        for colour in range(3):
            pil = Image.fromarray(image[..., colour])
            target[..., colour] = np.asarray(pil.resize((size, size), Image.Resampling.BICUBIC))
    # the filter overshoots at edges
    return np.clip(resized, 0, 1)


def _features_for(
    conditions: set[Condition], z: ArrayLike | None, c: ArrayLike | None
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return what the conditions need of z and c, or say what its absence means."""
    needs = {
        "z": sorted(conditions & {"z", "z+c", "z-decode"}),
        "c": sorted(conditions & {"c", "z+c"}),
    }
    found: list[FloatArray | None] = []
    for name, features in (("z", z), ("c", c)):
        if not needs[name]:
            found.append(None)
        elif features is not None:
            found.append(np.asarray(features, dtype=np.float32))
        else:
            condition = needs[name][0]
            why = " (stimuli without captions have none)" if name == "c" else ""
            raise UserError(
                f"condition {condition!r} needs {name}, and there is none{why}; "
                f"provide {name}, or leave {condition!r} out of the conditions"
            )
    return found[0], found[1]
