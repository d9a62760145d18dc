"""What a model costs, counted from its configuration alone: no weights, no time.

Networks are built without memory (torch's meta device) and one pass through each is counted.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.diffusion.probe import activation_shapes, module_names
from vox2pix.errors import UserError

# Published configurations of the Stable Diffusion 1.x family, for planning before the weights
# are there: unet/config.json, vae/config.json and text_encoder/config.json of
# CompVis/stable-diffusion-v1-4, as far as they differ from the classes' defaults.
_SD1: dict[str, dict[str, Any]] = {
    "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "vae": {
        "sample_size": 512,
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
    },
    "text_encoder": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
    },
}
_SD2: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 64,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "vae": _SD1["vae"],
    "text_encoder": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
    },
}
_PUBLISHED = {"stable-diffusion-v1": _SD1, "stable-diffusion-2": _SD2}


@dataclass(frozen=True)
class ModelCost:
    """Sizes and operation counts of a latent diffusion model, a picture and pass.

    Attributes
    ----------
    picture_size : int
        Height and width of its pictures in pixels.
    z_shape, c_shape : tuple of int
        Of the latents at the asked picture size, and of the conditioning.
    encode_flops, decode_flops : float
        Of the autoencoder on one picture of its own size.
    z_flops : float
        Of encoding one picture of the asked size.
    embed_flops : float
        Of the text encoder on one caption.
    denoise_flops : float
        Of the U-Net, one step without guidance.
    n_parameters : int
        Of all three networks.
    """

    picture_size: int
    z_shape: tuple[int, int, int]
    c_shape: tuple[int, int]
    encode_flops: float
    decode_flops: float
    z_flops: float
    embed_flops: float
    denoise_flops: float
    n_parameters: int


def model_cost(
    name_or_path: str, revision: str | None = None, z_picture_size: int | None = None
) -> ModelCost:
    """Count what a model costs.

    Parameters
    ----------
    name_or_path, revision
        As for :meth:`vox2pix.diffusion.LatentDiffusion.from_pretrained`. Nothing is downloaded:
        for a model that is not on this machine, the published configuration of its family.
    z_picture_size : int, optional
        Pixels at which pictures are encoded for decoding; the model's own if absent.

    Raises
    ------
    UserError
        If the model is neither on this machine nor of a known family.
    """
    configs = configurations(name_or_path, revision)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**configs["unet"])
        vae = AutoencoderKL(**configs["vae"])
        text = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    side = unet.config.sample_size
    size = side * factor
    z_side = (z_picture_size or size) // factor
    channels = vae.config.latent_channels
    n_tokens, width = text.config.max_position_embeddings, text.config.hidden_size

    def blank(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device="meta")

    step = torch.zeros(1, device="meta", dtype=torch.long)
    c = blank(1, n_tokens, width)
    tokens = torch.zeros(1, n_tokens, device="meta", dtype=torch.long)
    networks: tuple[nn.Module, ...] = (unet, vae, text)
    return ModelCost(
        picture_size=size,
        z_shape=(channels, z_side, z_side),
        c_shape=(n_tokens, width),
        encode_flops=_count(vae.encode, blank(1, 3, size, size)),
        decode_flops=_count(vae.decode, blank(1, channels, side, side)),
        z_flops=_count(vae.encode, blank(1, 3, z_side * factor, z_side * factor)),
        embed_flops=_count(text, tokens),
        denoise_flops=_count(unet, blank(1, channels, side, side), step, c),
        n_parameters=sum(p.numel() for network in networks for p in network.parameters()),
    )


def activation_shapes_of(
    name_or_path: str,
    revision: str | None,
    modules: Callable[[Sequence[str]], Sequence[str]],
    latent_shape: Sequence[int],
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what modules of a model's U-Net give, from its configuration alone.

    Parameters
    ----------
    name_or_path, revision
        As in :func:`model_cost`.
    modules : callable
        Picks from the names of all modules.
    latent_shape : (channels, height, width)
        Of the latents that are denoised.

    Raises
    ------
    UserError
        As :func:`model_cost`, and for a module that the U-Net does not have.
    """
    configs = configurations(name_or_path, revision)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**configs["unet"])
    chosen = modules(module_names(unet))
    return activation_shapes(unet, chosen, latent_shape, (1, unet.config.cross_attention_dim))


def _count(network: Any, *inputs: torch.Tensor) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return float(counter.get_total_flops())


def configurations(name_or_path: str, revision: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the configurations of the three networks: the model's own, or its family's.

    Parameters
    ----------
    name_or_path, revision
        As in :func:`model_cost`.

    Returns
    -------
    dict
        Of ``unet``, ``vae`` and ``text_encoder``: arguments of their classes.

    Raises
    ------
    UserError
        As :func:`model_cost`.
    """
    try:
        folder = find_pipeline(name_or_path, revision, local_files_only=True).path
    except UserError:
        for family, configs in _PUBLISHED.items():
            if f"/{family}" in name_or_path:
                return configs
        raise
    return {part: _read(folder / part / "config.json") for part in _SD1}


def _read(path: Path) -> dict[str, Any]:
    raw = json.loads(path.read_text())
    return {key: value for key, value in raw.items() if not key.startswith("_")}
