"""What a model costs, counted from its configuration alone: no weights, no time.

Networks are built without memory (torch's meta device) and one pass through each is counted.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from vox2pix.diffusion.outline import configurations


@dataclass(frozen=True)
class ModelCost:
    """Sizes and operation counts of a latent diffusion model, an image and pass.

    Attributes
    ----------
    image_size : int
        Height and width of its images in pixels.
    z_shape, c_shape : tuple of int
        Of the latents at the asked image size, and of the conditioning.
    encode_flops, decode_flops : float
        Of the autoencoder on one image of its own size.
    z_flops : float
        Of encoding one image of the asked size.
    embed_flops : float
        Of the text encoder on one caption.
    denoise_flops : float
        Of the U-Net, one step without guidance.
    n_parameters : int
        Of all three networks.
    """

    image_size: int
    z_shape: tuple[int, int, int]
    c_shape: tuple[int, int]
    encode_flops: float
    decode_flops: float
    z_flops: float
    embed_flops: float
    denoise_flops: float
    n_parameters: int


def model_cost(
    name_or_path: str, revision: str | None = None, z_image_size: int | None = None
) -> ModelCost:
    """Count what a model costs.

    Parameters
    ----------
    name_or_path, revision
        As for :meth:`vox2pix.diffusion.LatentDiffusion.from_pretrained`. Nothing is downloaded:
        for a model that is not on this machine, the published configuration of its family.
    z_image_size : int, optional
        Pixels at which images are encoded for decoding; the model's own if absent.

    Raises
    ------
    UserError
        If the model is neither on this machine nor of a known family.
    """
    configs = configurations(name_or_path, revision)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(configs["unet"])
        vae = AutoencoderKL.from_config(configs["vae"])
        text = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    side = unet.config.sample_size
    size = side * factor
    z_side = (z_image_size or size) // factor
    channels = vae.config.latent_channels
    n_tokens, width = text.config.max_position_embeddings, text.config.hidden_size

    def blank(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device="meta")

    step = torch.zeros(1, device="meta", dtype=torch.long)
    c = blank(1, n_tokens, width)
    tokens = torch.zeros(1, n_tokens, device="meta", dtype=torch.long)
    networks: tuple[nn.Module, ...] = (unet, vae, text)
    return ModelCost(
        image_size=size,
        z_shape=(channels, z_side, z_side),
        c_shape=(n_tokens, width),
        encode_flops=_count(vae.encode, blank(1, 3, size, size)),
        decode_flops=_count(vae.decode, blank(1, channels, side, side)),
        z_flops=_count(vae.encode, blank(1, 3, z_side * factor, z_side * factor)),
        embed_flops=_count(text, tokens),
        denoise_flops=_count(unet, blank(1, channels, side, side), step, c),
        n_parameters=sum(p.numel() for network in networks for p in network.parameters()),
    )


def _count(network: Any, *inputs: torch.Tensor) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return float(counter.get_total_flops())
