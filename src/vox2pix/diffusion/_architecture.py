"""What a diffusion model takes, how large its arrays are and which steps it runs: no weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from numpy.typing import ArrayLike
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from vox2pix.diffusion.arrays import FloatArray, as_floats
from vox2pix.diffusion.image_port import image_conditioning
from vox2pix.diffusion.ip_adapter import IPAdapter
from vox2pix.diffusion.networks import Networks, Tuning
from vox2pix.diffusion.pipeline_folder import (
    find_pipeline,
    network_config,
    networks_of,
    scheduler_config,
    unclip_configs,
)
from vox2pix.diffusion.probe import activation_shapes, module_names
from vox2pix.diffusion.sampling import make_sampler, sampler_config
from vox2pix.diffusion.schedule import DenoisingPlan, Schedule, plan_denoising
from vox2pix.errors import UserError

# Published configurations of the Stable Diffusion family, for planning before the weights are
# there: unet/config.json, vae/config.json, text_encoder/config.json and
# scheduler/scheduler_config.json of CompVis/stable-diffusion-v1-4, and of stabilityai's
# stable-diffusion-2, stable-diffusion-2-1-unclip and stable-diffusion-xl-base-1.0, as far as they
# differ from the classes' defaults.
_NOISE_LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
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
    "scheduler": _NOISE_LEVELS,
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
    "scheduler": _NOISE_LEVELS,
}
_SDXL: dict[str, dict[str, Any]] = {
    "unet": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": {**_SD1["vae"], "sample_size": 1024, "scaling_factor": 0.13025},
    "text_encoder": _SD1["text_encoder"],
    "text_encoder_2": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "max_position_embeddings": 77,
        "projection_dim": 1280,
        "vocab_size": 49408,
        "hidden_act": "gelu",
    },
    "scheduler": _NOISE_LEVELS,
}
_UNCLIP = {
    **_SD2,
    "unet": {
        **_SD2["unet"],
        "sample_size": 96,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * 1024,  # of ViT-H/14
    },
    "image_normalizer": {"embedding_dim": 1024},
    "image_noising_scheduler": {"beta_schedule": "squaredcos_cap_v2"},
}
_PUBLISHED = {  # the first name that fits counts
    "stable-diffusion-v1": _SD1,
    "stable-diffusion-2-1-unclip": _UNCLIP,
    "stable-diffusion-2": _SD2,
    "stable-diffusion-xl": _SDXL,
}


class Architecture:
    """The architecture of a latent diffusion model, without its weights or with them.

    :meth:`from_pretrained` builds networks that take no memory (torch's meta device);
    :class:`vox2pix.diffusion.LatentDiffusion` is an architecture with weights.
    """

    def __init__(self, networks: Networks, scheduler: Mapping[str, Any]) -> None:
        self._networks = networks
        self._sampler_config = sampler_config(scheduler)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        *,
        local_files_only: bool = False,
        ip_adapter: IPAdapter | None = None,
    ) -> "Architecture":
        """Read the architecture of a model from its configuration.

        With `local_files_only` the hub is never contacted: for a model that is not on this machine,
        the published configuration of its family is taken, and so for an IP-Adapter. A model of
        another kind is refused.
        """
        configs = configurations(name_or_path, revision, local_files_only)
        meta = torch.device("meta")
        try:
            with meta:
                vae = AutoencoderKL.from_config(configs["vae"])
                unet = UNet2DConditionModel.from_config(configs["unet"])
                text_encoder = _text_encoders(configs)
                image = image_conditioning(_unclip(configs), ip_adapter, 0)
                networks = Networks(
                    vae, unet, text_encoder, None, meta, torch.float32, Tuning(), image
                )
            return Architecture(networks, configs["scheduler"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"The configuration of the model {name_or_path!r} makes no U-Net with a sampler "
                f"({error}). Fetch or save the pipeline again."
            ) from error

    @property
    def networks(self) -> Networks:
        """Autoencoder, U-Net and text encoder."""
        return self._networks

    @property
    def ports(self) -> tuple[str, ...]:
        """Where the model takes inputs: ``start``, ``text`` and, if it takes one, ``image``."""
        image = () if self._networks.image_port is None else ("image",)
        return ("start", "text", *image)

    @property
    def embedding_width(self) -> int | None:
        """Numbers of the embedding that the port ``image`` takes; None without that port."""
        port = self._networks.image_port
        return None if port is None else port.width

    @property
    def prediction_type(self) -> str:
        """What the U-Net predicts: ``"epsilon"`` or ``"v_prediction"``."""
        return str(self._sampler_config["prediction_type"])

    @property
    def latent_scale(self) -> float:
        """The number that the autoencoder's latents are multiplied by (0.18215 in SD 1.x)."""
        return self._networks.latent_scale

    @property
    def downsampling(self) -> int:
        """Image pixels to one latent pixel, along one side."""
        return self._networks.downsampling

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the U-Net was trained to draw."""
        return int(self._networks.unet.config.sample_size) * self.downsampling

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the latent of an image of the native size."""
        return self.latent_shape_at(self.image_size)

    def latent_shape_at(self, image_size: int) -> tuple[int, int, int]:
        """Return the shape (channels, height, width) of the latent of a square image.

        The side in pixels must be a multiple of :attr:`downsampling`.
        """
        self._check_sides(image_size)
        side = image_size // self.downsampling
        return (self._networks.latent_channels, side, side)

    @property
    def conditioning_shape(self) -> tuple[int, int]:
        """Shape (n_tokens, width) of the conditioning of one image.

        In Stable Diffusion XL one row more is the pooled embedding of the text, padded by zeros.
        """
        return self._networks.text.shape

    @property
    def module_names(self) -> tuple[str, ...]:
        """Dotted names of the U-Net's modules that can be recorded, in their own order."""
        return module_names(self._networks.unet)

    def activation_shapes(
        self, modules: Sequence[str], latent_shape: Sequence[int] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Return the output shapes of modules, among :attr:`module_names`, for one latent.

        Found by one pass of the U-Net on a blank latent, which costs nothing without weights. The
        shape of the latent is :attr:`latent_shape` if absent.
        """
        shape = self.latent_shape if latent_shape is None else latent_shape
        return activation_shapes(self._networks, modules, shape, self.conditioning_shape)

    def plan(
        self, strength: float | None, steps: int = 50, schedule: Schedule = "diffusers"
    ) -> DenoisingPlan:
        """Return the noise level and the timesteps that denoising would run.

        As :func:`vox2pix.diffusion.schedule.plan_denoising`; `steps` is the length of the whole
        schedule.
        """
        timesteps = make_sampler(self._sampler_config, steps).timesteps.tolist()
        return plan_denoising(timesteps, strength, schedule)

    def _check_sides(self, *sides: int) -> None:
        """Refuse image sides that the autoencoder cannot halve down to latents."""
        for side in sides:
            if side < 1 or side % self.downsampling:
                raise ValueError(
                    f"image side {side} is no multiple of {self.downsampling}, "
                    "the autoencoder's downsampling; resize the images."
                )

    def _check_latents(self, latents: ArrayLike) -> FloatArray:
        """Return latents as float32 (n, channels, height, width)."""
        z = as_floats(latents, "latents", 4)
        channels = self._networks.latent_channels
        if z.shape[1] != channels:
            raise ValueError(
                f"Latents must have shape (n, {channels}, height, width), not {z.shape}."
            )
        return z

    def _check_text(self, conditioning: ArrayLike) -> FloatArray:
        """Return conditioning as float32 (n, n_tokens, width)."""
        c = as_floats(conditioning, "conditioning", 3)
        if c.shape[1:] != self.conditioning_shape:
            n_tokens, width = self.conditioning_shape
            raise ValueError(
                f"Conditioning must have shape (n, {n_tokens}, {width}), not {c.shape}."
            )
        return c

    def _check_image(self, embeddings: ArrayLike) -> FloatArray:
        """Return embeddings of images as float32 (n, width)."""
        e = as_floats(embeddings, "image embeddings", 2)
        if e.shape[1] != self.embedding_width:
            raise ValueError(
                f"Image embeddings must have shape (n, {self.embedding_width}), not {e.shape}; "
                "take them from the encoder that the model's image conditioning was trained with."
            )
        return e


def _text_encoders(configs: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return the text encoder of a model, or both of Stable Diffusion XL's."""
    encoders = [CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))]
    if "text_encoder_2" in configs:
        second = CLIPTextConfig(**configs["text_encoder_2"])
        encoders.append(CLIPTextModelWithProjection(second))
    return encoders


def _unclip(configs: Mapping[str, Mapping[str, Any]]) -> tuple[Any, Any] | None:
    """Return what unCLIP models have beside the others."""
    if "image_normalizer" not in configs:
        return None
    normalizer = StableUnCLIPImageNormalizer(**configs["image_normalizer"])
    return normalizer, DDPMScheduler.from_config(configs["image_noising_scheduler"])


def configurations(
    name_or_path: str | Path, revision: str | None = None, local_files_only: bool = True
) -> dict[str, dict[str, Any]]:
    """Return arguments of the classes of ``unet``, ``vae``, ``text_encoder`` and ``scheduler``.

    Stable Diffusion XL has ``text_encoder_2``, too, and an unCLIP model ``image_normalizer`` and
    ``image_noising_scheduler``. They are the model's own, or the published ones of its family where
    it is not on this machine.
    """
    try:
        folder = find_pipeline(name_or_path, revision, local_files_only).path
    except UserError:
        if not local_files_only:
            raise
        for family, configs in _PUBLISHED.items():
            if f"/{family}" in str(name_or_path):
                return configs
        raise
    own = {part: network_config(folder, part) for part in networks_of(folder)}
    return {**own, "scheduler": scheduler_config(folder), **unclip_configs(folder)}
