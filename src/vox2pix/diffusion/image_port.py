"""The image port: how the embedding of an image conditions the U-Net, beside latents and text."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vox2pix.diffusion.ip_adapter import AdapterPort, IPAdapter
from vox2pix.diffusion.unclip import UnClip, UnclipPort
from vox2pix.errors import UserError


class ImagePort(Protocol):
    """How a U-Net takes embeddings of images."""

    width: int  # numbers of an embedding

    def prepared(self, embeddings: torch.Tensor, seeds: NDArray[np.int64]) -> torch.Tensor:
        """Return what conditions the U-Net, from embeddings (n, width) and a seed of each."""

    def arguments(self, prepared: torch.Tensor | None, n: int) -> dict[str, Any]:
        """Return further arguments of the U-Net, for n prepared rows or for no image."""


def make_port(
    unet: Any, image: IPAdapter | UnClip | None, is_plain: bool, is_planned: bool
) -> ImagePort | None:
    """Return the image port of a U-Net, which gets the layers of an IP-Adapter; None without one.

    Attentions are computed by plain matrix products or fused; where it `is_planned`, layers have no
    weights. Raises UserError where U-Net and image conditioning do not fit together.
    """
    takes_embeddings = unet.config.class_embed_type == "projection"
    if takes_embeddings != isinstance(image, UnClip):
        raise UserError(
            "The U-Net takes embeddings of images by itself, as in unCLIP models: use it with an "
            "image normaliser and without an IP-Adapter."
            if takes_embeddings
            else "The U-Net takes no embeddings of images by itself, and unCLIP models do: use an "
            "IP-Adapter."
        )
    if isinstance(image, UnClip):
        return UnclipPort(unet, image)
    return None if image is None else AdapterPort(unet, image, is_plain, is_planned)


def image_conditioning(
    unclip: tuple[Any, Any] | None, ip_adapter: IPAdapter | None, noise_level: int
) -> IPAdapter | UnClip | None:
    """Return how images condition a model: by what it brings (unCLIP), or by an IP-Adapter.

    Raises UserError for both at once, and for a level of noise without unCLIP.
    """
    if unclip is not None and ip_adapter is not None:
        raise UserError(
            "The model takes embeddings of images by itself (unCLIP): use it without an IP-Adapter."
        )
    if unclip is not None:
        return UnClip(*unclip, noise_level)
    if noise_level:
        raise UserError(
            f"A noise level of {noise_level} is for embeddings of unCLIP models, which this model "
            "is not: leave it at 0."
        )
    return ip_adapter
