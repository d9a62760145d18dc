"""The three networks, moved to where they compute and laid out for it: tensors in and out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from vox2pix.diffusion.image_port import make_port
from vox2pix.diffusion.ip_adapter import IPAdapter
from vox2pix.diffusion.text import TextEncoders, as_tuple
from vox2pix.diffusion.unclip import UnClip
from vox2pix.errors import UserError

Attention = Literal["fused", "plain"]


@dataclass(frozen=True)
class Tuning:
    """How the networks compute; none of it changes an image by more than rounding.

    In float32 an image in [0, 1] moves by less than 1e-3 (about 1e-5 on most), with the same
    settings on CPU by nothing.

    Attributes
    ----------
    channels_last : bool
        Keep weights and activations with the channels last in memory, as fast convolutions read
        them: the autoencoder decodes faster so on CPU, and half precision on tensor cores.
    attention : {"fused", "plain"}
        torch's scaled-dot-product kernels, which never hold the matrix of all pairs of places,
        or two matrix products and a softmax.
    compile : bool
        Compile the U-Net by ``torch.compile``: minutes at the first batch of each shape, and a
        C++ compiler, for a faster step. Layers are recorded without.
    """

    channels_last: bool = True
    attention: Attention = "fused"
    compile: bool = False


class Networks:
    """Autoencoder, U-Net and text encoder on one device, for inference only.

    The networks are changed in place; with an IP-Adapter the U-Net gets its layers. Without a
    tokenizer they embed no captions. Raises UserError if the components do not fit together, or
    nothing can be compiled here.
    """

    def __init__(
        self,
        vae: Any,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        device: torch.device,
        dtype: torch.dtype,
        tuning: Tuning,
        image: IPAdapter | UnClip | None = None,
    ) -> None:
        encoders = as_tuple(text_encoder)
        _check_fit(vae, unet, len(encoders))
        self.device, self.dtype = device, dtype
        self.text = TextEncoders(
            [_frozen(encoder, device, dtype) for encoder in encoders],
            as_tuple(tokenizer) if tokenizer is not None else [None] * len(encoders),
            unet.config.cross_attention_dim,
        )
        # Stable Diffusion XL's autoencoder overflows in half precision; others do not
        overflows = len(encoders) > 1 and vae.config.force_upcast and dtype == torch.float16
        self.vae = _laid_out(_frozen(vae, device, torch.float32 if overflows else dtype), tuning)
        self.unet = _laid_out(_frozen(unet, device, dtype), tuning)
        is_plain, is_planned = tuning.attention == "plain", device.type == "meta"
        self.image_port = make_port(self.unet, image, is_plain, is_planned)
        self._stepped = _compiled(self.unet) if tuning.compile else self.unet

    @property
    def latent_scale(self) -> float:
        """The number that the autoencoder's latents are multiplied by."""
        return float(self.vae.config.scaling_factor)

    @property
    def latent_channels(self) -> int:
        """Channels of latents."""
        return int(self.vae.config.latent_channels)

    @property
    def downsampling(self) -> int:
        """Image pixels to one latent pixel, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def posterior(self, pixels: torch.Tensor) -> Any:
        """Return the distribution of unscaled latents of pixels (n, 3, height, width) in [0, 1]."""
        return self.vae.encode((pixels * 2 - 1).to(self.vae.dtype)).latent_dist

    def images(self, z: torch.Tensor) -> torch.Tensor:
        """Return images (n, height, width, 3), float32 in [0, 1], of scaled latents."""
        drawn = self.vae.decode((z / self.latent_scale).to(self.vae.dtype), return_dict=False)[0]
        return (drawn.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1)

    @cached_property
    def empty_prompt(self) -> torch.Tensor:
        """Conditioning by the empty caption, (rows, width), float32; computed once."""
        return self.text.embed([""])[0]

    @property
    def without(self) -> torch.Tensor:
        """Conditioning that guidance leads away from: zeros in Stable Diffusion XL."""
        empty = self.empty_prompt
        return torch.zeros_like(empty) if self.text.pooled_width else empty

    def predict(
        self,
        z: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        image: torch.Tensor | None = None,
        watched: bool = False,
    ) -> torch.Tensor:
        """Return the U-Net's output, float32, for noisy latents of text and an image.

        The image is as its port prepares it. Hooks on the U-Net's modules are only sure to be
        called where it is `watched`: compiled code has the hooks of the time when it was compiled.
        """
        unet = self.unet if watched else self._stepped
        height, width = (side * self.downsampling for side in z.shape[2:])
        states, added = self.text.arguments(text.to(self.dtype), (height, width))
        more = {} if self.image_port is None else self.image_port.arguments(image, len(z))
        output: torch.Tensor = unet(
            z.to(self.dtype),
            timestep,
            encoder_hidden_states=states,
            added_cond_kwargs={**added, **more.pop("added_cond_kwargs", {})},
            return_dict=False,
            **more,
        )[0]
        return output.float()

    def guided(
        self,
        z: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor | None,
        image: torch.Tensor | None,
        guidance: float,
        watched: bool = False,
    ) -> torch.Tensor:
        """Return the U-Net's guided output, from one batch of latents without and with conditions.

        Without are the empty prompt (zeros in Stable Diffusion XL) and, as in diffusers' pipelines,
        zeros for the image. Where neither text nor an image is given, or at a scale of 1, every row
        is once in the batch.
        """
        with_text = self.empty_prompt.expand(len(z), -1, -1) if text is None else text
        if guidance == 1 or (text is None and image is None):
            return self.predict(z, timestep, with_text, image, watched)
        images = None if image is None else torch.cat([torch.zeros_like(image), image])
        texts = torch.cat([self.without.expand(len(z), -1, -1), with_text])
        both = self.predict(torch.cat([z, z]), timestep, texts, images, watched)
        without, conditioned = both[: len(z)], both[len(z) :]
        return without + guidance * (conditioned - without)


def _frozen(network: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a network to where it computes, for inference only."""
    # only where it is needed: diffusers warns of any cast
    if network.dtype != dtype:
        network = network.to(dtype)
    return network.to(device).eval().requires_grad_(False)


def _laid_out(network: Any, tuning: Tuning) -> Any:
    """Apply the memory layout and the kind of attention of the tuning."""
    last, first = torch.channels_last, torch.contiguous_format
    network.to(memory_format=last if tuning.channels_last else first)
    network.set_attn_processor(
        AttnProcessor2_0() if tuning.attention == "fused" else AttnProcessor()
    )
    return network


def _compiled(unet: Any) -> Any:
    """Compile a U-Net, once something small shows that this machine can."""
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=unet.device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"compute.compile is true, but torch cannot compile here ({reason}); install a C++ "
            "compiler, or set it to false."
        ) from error
    return torch.compile(unet)


_REMEDY = "; use the components of one Stable Diffusion 1.x, 2.x or XL text-to-image model."


def _check_fit(vae: Any, unet: Any, n_text_encoders: int) -> None:
    """Refuse components of different models, and kinds of model that need other inputs."""
    config = unet.config
    sizes = (config.sample_size, config.cross_attention_dim)
    added = None if n_text_encoders == 1 else "text_time"
    if config.addition_embed_type != added or not all(isinstance(n, int) for n in sizes):
        raise UserError(f"The U-Net needs inputs beside latents and text, or no square{_REMEDY}")
    channels, inputs = vae.config.latent_channels, config.in_channels
    if channels != inputs:
        raise UserError(
            f"The U-Net takes {inputs} channels and the autoencoder's latents have {channels}, as "
            f"in models for depth or inpainting{_REMEDY}"
        )
    if getattr(vae.config, "latents_mean", None) is not None:
        raise UserError(f"The autoencoder's latents have a mean of their own{_REMEDY}")
