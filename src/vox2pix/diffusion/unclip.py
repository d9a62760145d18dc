"""unCLIP: models that take the embedding of an image where others take a class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.embeddings import get_timestep_embedding
from numpy.typing import NDArray

from vox2pix.diffusion.arrays import draw, generators
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for


@dataclass(frozen=True)
class UnClip:
    """What an unCLIP model takes the embedding of an image by, beside its U-Net.

    The embedding is normalised, noised to a level and brought back; with an encoding of the level
    it enters the U-Net where classes do (``StableUnCLIPImg2ImgPipeline`` of diffusers).

    Attributes
    ----------
    normalizer : diffusers.StableUnCLIPImageNormalizer
        Mean and deviation of embeddings of natural images.
    noising_scheduler : diffusers scheduler
        Its levels of noise.
    noise_level : int
        0 is the least noise; more of it lets images vary more.
    """

    normalizer: Any
    noising_scheduler: Any
    noise_level: int = 0

    def __post_init__(self) -> None:
        """Refuse a level that there is not."""
        n_levels = self.noising_scheduler.config.num_train_timesteps
        if not 0 <= self.noise_level < n_levels:
            raise UserError(
                f"The noise level of an unCLIP model is 0 to {n_levels - 1}, not "
                f"{self.noise_level}."
            )


class UnclipPort:
    """The image port of an unCLIP model.

    No image is a class of zeros, which these pipelines guide against.
    """

    def __init__(self, unet: Any, unclip: UnClip) -> None:
        self.width = int(unclip.normalizer.mean.shape[-1])
        n_inputs = unet.config.projection_class_embeddings_input_dim
        if n_inputs != 2 * self.width:
            raise UserError(
                f"The U-Net takes embeddings of {n_inputs // 2} numbers, and the image normaliser "
                f"{self.width}: use those of one model."
            )
        self._unet, self._level = unet, unclip.noise_level
        self._scheduler = unclip.noising_scheduler
        normalizer = unclip.normalizer
        self._mean, self._std = (
            part.detach().to(unet.device, torch.float32)
            for part in (normalizer.mean, normalizer.std)
        )

    def prepared(self, embeddings: torch.Tensor, seeds: NDArray[np.int64]) -> torch.Tensor:
        """Return noised embeddings with the encoding of their level, (n, 2 * width).

        The noise has seeds of its own: that of the latents is the same with an image or without.
        """
        own = np.array([seed_for(int(seed), "image embedding") for seed in seeds], np.int64)
        noise = draw(generators(own), (self.width,)).to(embeddings)
        levels = torch.full((len(embeddings),), self._level, device=embeddings.device)
        scaled = (embeddings - self._mean) / self._std
        noised = self._scheduler.add_noise(scaled, noise, levels) * self._std + self._mean
        encoding = get_timestep_embedding(
            levels, self.width, flip_sin_to_cos=True, downscale_freq_shift=0
        )
        return torch.cat([noised, encoding], dim=1)

    def arguments(self, prepared: torch.Tensor | None, n: int) -> dict[str, Any]:
        """Return the class of each row."""
        if prepared is None:
            prepared = torch.zeros((n, 2 * self.width), device=self._unet.device)
        return {"class_labels": prepared.to(self._unet.dtype)}
