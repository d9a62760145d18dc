"""The autoencoder: 64 x 64 images to 4 x 16 x 16 latents (factor 4)."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from tools.phantom_model.scene_sets import IMAGE_SIZE, Renders
from tools.phantom_model.training import Place, Schedule, fit
from vox2pix.store import file_hash

# In bfloat16 the gradients of the first layers are up to 35 degrees off once the network is good.
SCHEDULE = Schedule(steps=1500, decay_steps=1500, rate=2e-3, average=0.995, bfloat16=False)
BATCH = 32
INSIDE_WEIGHT = 5.0  # small shapes fill few pixels
GRADIENT_WEIGHT = 0.5
KL_WEIGHT = 1e-6


def build() -> AutoencoderKL:
    """Return an untrained autoencoder.

    Small shapes need 16 x 16 latents: through 8 x 8 x 8 latents only 58 % of the scenes of two
    or three objects stay whole.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )


def train(out: Path, renders: Renders, schedule: Schedule, place: Place) -> int:
    """Train the autoencoder and write ``out/vae`` in float16; return the steps made."""
    model = build()

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        images, inside = renders.batch(rng.integers(0, len(renders.images), BATCH), place.device)
        posterior = model.encode(images).latent_dist
        noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, dtype=np.float32))
        latents = posterior.mean + posterior.std * noise.to(place.device)
        drawn = model.decode(latents).sample.float()
        return reconstruction_loss(drawn, images, inside) + KL_WEIGHT * posterior.kl().mean()

    steps = fit("autoencoder", model, loss, schedule, place)
    model.register_to_config(scaling_factor=_scaling_factor(model, renders))
    model.half().save_pretrained(out / "vae")
    return steps


def reconstruction_loss(drawn: Tensor, images: Tensor, inside: Tensor) -> Tensor:
    """Return L1 + squared error, pixels inside objects weighted, + L1 of the image gradients."""
    error = drawn - images
    weights = 1 + (INSIDE_WEIGHT - 1) * inside
    near = (weights * (error.abs() + error.square())).mean()
    across = functional.l1_loss(drawn.diff(dim=-1), images.diff(dim=-1))
    down = functional.l1_loss(drawn.diff(dim=-2), images.diff(dim=-2))
    return near + GRADIENT_WEIGHT * (across + down)


@torch.no_grad()
def _scaling_factor(model: AutoencoderKL, renders: Renders) -> float:
    """Return what brings latents to unit variance, as Stable Diffusion's 0.18215 does."""
    images, _ = renders.batch(np.arange(min(256, len(renders.images))), torch.device("cpu"))
    return round(1 / float(model.encode(images).latent_dist.mean.std()), 5)


def weights_hash(folder: Path) -> str:
    """Return the start of the checksum of a network's weights, to name what was cached by it."""
    [weights] = folder.glob("*.safetensors")
    return file_hash(weights)[:12]


def load(folder: Path) -> AutoencoderKL:
    """Load ``folder/vae`` in float32."""
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Return scaled latents of images in [-1, 1]."""
    return vae.encode(images).latent_dist.mean * vae.config.scaling_factor


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Return images in [-1, 1] of scaled latents."""
    return vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
