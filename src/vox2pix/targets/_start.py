"""Images as starts of the denoising: through 8 bit, resized and encoded at the model's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from vox2pix.seeds import seed_for
from vox2pix.targets._target import DEFAULT_START, FloatArray, StartSettings

if TYPE_CHECKING:
    from vox2pix.diffusion import LatentDiffusion
    from vox2pix.diffusion.batches import BatchSize


def encode_start(
    model: LatentDiffusion,
    images: FloatArray,
    seeds: ArrayLike | None = None,
    start: StartSettings = DEFAULT_START,
    batch_size: BatchSize = "auto",
) -> FloatArray:
    """Return the latents ``(n, *model.latent_shape)`` of images that denoising starts from.

    Images (n, height, width, 3), float32 in [0, 1], have any size; where ``start.sample`` is set,
    `seeds` (n, samples) are those of the images that are drawn.
    """
    resized = resize_images(images, model.image_size, start.quantize, start.truncate)
    own = start_seeds(seeds) if start.sample and seeds is not None else None
    return model.encode_images(resized, seeds=own, batch_size=batch_size)


def start_seeds(seeds: ArrayLike) -> NDArray[np.int64]:
    """Return the seed of each stimulus's start from those of its samples, (n, samples).

    Another seed than the noise has: the two draws are independent.
    """
    first = np.asarray(seeds)[:, 0]
    return np.array([seed_for(int(seed), "start") for seed in first], np.int64)


def resize_images(
    images: FloatArray, size: int, quantize: bool = True, truncate: bool = False
) -> FloatArray:
    """Return square images of another size in [0, 1], by Pillow's bicubic filter.

    With `quantize` they are rounded (or by `truncate` cut off) to 8 bit first and stay there;
    else they are filtered in float32. Images of that size are not filtered.
    """
    if quantize:
        levels = np.floor(images * 255) if truncate else np.rint(images * 255)
        images = (levels / 255).astype(np.float32)
    if images.shape[1:3] == (size, size):
        return images
    resized = np.empty((len(images), size, size, 3), np.float32)
    for image, out in zip(images, resized, strict=True):
        if quantize:
            pil = Image.fromarray(np.rint(image * 255).astype(np.uint8))
            out[:] = np.asarray(pil.resize((size, size), Image.Resampling.BICUBIC))
            out /= 255
            continue
        for colour in range(3):
            pil = Image.fromarray(image[..., colour])
            out[..., colour] = np.asarray(pil.resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(resized, 0, 1)  # the filter overshoots at edges
