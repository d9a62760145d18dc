"""A model as its configuration tells: layers, shapes and steps, without any weights."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from vox2pix.diffusion.networks import check_kind
from vox2pix.diffusion.pipeline_folder import find_pipeline, network_config, scheduler_config
from vox2pix.diffusion.probe import activation_shapes, module_names
from vox2pix.diffusion.sampling import make_sampler, sampler_config
from vox2pix.diffusion.schedule import DenoisingPlan, Schedule, plan_denoising
from vox2pix.errors import UserError

# Published configurations of the Stable Diffusion 1.x family, for planning before the weights
# are there: unet/config.json, vae/config.json, text_encoder/config.json and
# scheduler/scheduler_config.json of CompVis/stable-diffusion-v1-4, as far as they differ from the
# classes' defaults.
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
_PUBLISHED = {"stable-diffusion-v1": _SD1, "stable-diffusion-2": _SD2}
_NETWORKS = ("unet", "vae", "text_encoder")


class ModelOutline:
    """What can be asked of a latent diffusion model before its weights are loaded.

    The U-Net is built on torch's meta device, where it takes no memory.

    Parameters
    ----------
    name_or_path, revision
        As for :meth:`vox2pix.diffusion.LatentDiffusion.from_pretrained`.
    local_files_only : bool
        Ask no hub: for a model that is not on this machine, take the published configuration of
        its family.

    Raises
    ------
    UserError
        If the model cannot be had, its configuration cannot be read, or it is of another kind.
    """

    def __init__(
        self, name_or_path: str, revision: str | None = None, local_files_only: bool = False
    ) -> None:
        configs = configurations(name_or_path, revision, local_files_only)
        try:
            with torch.device("meta"):
                self._unet = UNet2DConditionModel.from_config(configs["unet"])
            self._sampler_config = sampler_config(configs["scheduler"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"the configuration of the model {name_or_path!r} makes no U-Net with a sampler "
                f"({error}); fetch or save the pipeline again"
            ) from error
        check_kind(self._unet)
        self._n_text = int(self._unet.config.cross_attention_dim)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """As :attr:`vox2pix.diffusion.LatentDiffusion.latent_shape`."""
        channels, side = self._unet.config.in_channels, self._unet.config.sample_size
        return (channels, side, side)

    @property
    def module_names(self) -> tuple[str, ...]:
        """As :attr:`vox2pix.diffusion.LatentDiffusion.module_names`."""
        return module_names(self._unet)

    def activation_shapes(
        self, modules: Sequence[str], latent_shape: Sequence[int]
    ) -> dict[str, tuple[int, ...]]:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.activation_shapes`.

        Raises
        ------
        UserError
            For a module that the U-Net does not have.
        """
        return activation_shapes(self._unet, modules, latent_shape, (1, self._n_text))

    def plan(
        self, strength: float | None, steps: int, schedule: Schedule = "diffusers"
    ) -> DenoisingPlan:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.plan`.

        Raises
        ------
        ValueError
            For steps or a strength outside their range.
        """
        timesteps = make_sampler(self._sampler_config, steps).timesteps.tolist()
        return plan_denoising(timesteps, strength, schedule)


def configurations(
    name_or_path: str, revision: str | None = None, local_files_only: bool = True
) -> dict[str, dict[str, Any]]:
    """Return the configurations of a model's parts: its own, or its family's.

    Parameters
    ----------
    name_or_path, revision, local_files_only
        As for :class:`ModelOutline`.

    Returns
    -------
    dict
        Of ``unet``, ``vae``, ``text_encoder`` and ``scheduler``: arguments of their classes.

    Raises
    ------
    UserError
        As :class:`ModelOutline`.
    """
    try:
        folder = find_pipeline(name_or_path, revision, local_files_only).path
    except UserError:
        if not local_files_only:
            raise
        for family, configs in _PUBLISHED.items():
            if f"/{family}" in name_or_path:
                return configs
        raise
    found = {part: network_config(folder, part) for part in _NETWORKS}
    return {**found, "scheduler": scheduler_config(folder)}
