"""Images to latents and back, in batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vox2pix.diffusion.arrays import FloatArray, draw, generators, to_device
from vox2pix.diffusion.batches import Batches, BatchSize
from vox2pix.diffusion.networks import Networks


def encode(
    networks: Networks,
    batches: Batches,
    pixels: FloatArray,
    seeds: NDArray[np.int64] | None,
    batch_size: BatchSize,
) -> FloatArray:
    """Return scaled latents of checked images (n, height, width, 3)."""

    def posterior(rows: slice) -> Any:
        batch = to_device(pixels[rows], networks.device)
        return networks.posterior(batch.movedim(-1, 1))

    def latents(rows: slice) -> torch.Tensor:
        distribution = posterior(rows)
        z: torch.Tensor = distribution.mean.float()
        if seeds is not None:
            noise = draw(generators(seeds[rows]), z.shape[1:])
            z = z + distribution.std.float() * noise.to(networks.device)
        return z * networks.latent_scale

    n, height, width, _ = pixels.shape
    side = networks.downsampling
    out = np.empty((n, networks.latent_channels, height // side, width // side), np.float32)
    return _filled(out, latents, batches, "encode", batch_size)


def decode(
    networks: Networks, batches: Batches, latents: FloatArray, batch_size: BatchSize
) -> FloatArray:
    """Return the images (n, height, width, 3) of checked, scaled latents."""

    def images(rows: slice) -> torch.Tensor:
        return networks.images(to_device(latents[rows], networks.device))

    height, width = (side * networks.downsampling for side in latents.shape[2:])
    out = np.empty((len(latents), height, width, 3), np.float32)
    return _filled(out, images, batches, "decode", batch_size)


def _filled(
    out: FloatArray,
    compute: Callable[[slice], torch.Tensor],
    batches: Batches,
    name: str,
    batch_size: BatchSize,
) -> FloatArray:
    """Compute the rows of an array in batches."""

    def work(rows: slice) -> None:
        out[rows] = compute(rows).cpu().numpy()

    def choose() -> int:
        return batches.size((name, *out.shape[1:]), lambda: compute(slice(1)))

    batches.run(name, len(out), batch_size, work, choose)
    return out
