"""Operations of a diffusion model, counted from its architecture: no weights, no time."""

from functools import cached_property

import numpy as np
import torch

from vox2pix.compute import count_flops
from vox2pix.diffusion._architecture import Architecture


class ModelCost:
    """Operation counts of a latent diffusion model, per image and pass.

    Its architecture has no weights, so that one pass through each network costs nothing.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self._networks = architecture.networks
        self._encode_flops: dict[int, float] = {}

    @property
    def image_size(self) -> int:
        """Side of the model's images in pixels."""
        return self.architecture.image_size

    @property
    def n_parameters(self) -> int:
        """Of all networks."""
        encoders = self._networks.text.encoders
        networks = (self._networks.vae, self._networks.unet, *encoders)
        return sum(p.numel() for network in networks for p in network.parameters())

    @property
    def encode_flops(self) -> float:
        """Of encoding an image of the model's own size."""
        return self.encode_flops_at(self.image_size)

    def encode_flops_at(self, image_size: int) -> float:
        """Return the operations of encoding a square image."""
        if image_size not in self._encode_flops:
            pixels = _blank(3, image_size, image_size)
            self._encode_flops[image_size] = count_flops(self._networks.vae.encode, pixels)
        return self._encode_flops[image_size]

    @cached_property
    def decode_flops(self) -> float:
        """Of decoding a latent of the model's own size."""
        return count_flops(self._networks.vae.decode, _blank(*self.architecture.latent_shape))

    @cached_property
    def embed_flops(self) -> float:
        """Of the text encoders on one caption."""
        text = self._networks.text
        tokens = torch.zeros(1, text.n_tokens, device="meta", dtype=torch.long)
        return count_flops(lambda ids: text.encode([ids] * len(text.encoders)), tokens)

    @cached_property
    def denoise_flops(self) -> float:
        """Of the U-Net, one step without guidance, with an image where it takes one."""
        z, c = self.architecture.latent_shape, self.architecture.conditioning_shape
        step = torch.zeros(1, device="meta", dtype=torch.long)
        inputs, port = [_blank(*z), step, _blank(*c)], self._networks.image_port
        if port is not None:
            inputs.append(port.prepared(_blank(port.width), np.zeros(1, np.int64)))
        return count_flops(self._networks.predict, *inputs)


def _blank(*shape: int) -> torch.Tensor:
    return torch.zeros((1, *shape), device="meta")
