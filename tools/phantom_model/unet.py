"""The U-Net over 4 x 16 x 16 latents and its noise schedule."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor

from tools.phantom_model import autoencoder
from tools.phantom_model.scene_sets import Renders, cached, draw_indices, object_counts
from tools.phantom_model.text_tower import WIDTH, TextStates
from tools.phantom_model.training import Place, Schedule, compile_network, fit
from vox2pix.store import write_json

SCHEDULE = Schedule(steps=24_000, decay_steps=6_000, rate=1e-3)
BATCH = 64
MEAN_SHARE, EMPTY_SHARE = 0.3, 0.1


def build() -> UNet2DConditionModel:
    """Return an untrained U-Net, conditioned on text by cross-attention at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """Return the noise schedule that the U-Net is trained on.

    A cosine schedule (Nichol & Dhariwal 2021) and the v target (Salimans & Ho 2022): a small
    latent drowns sooner than the 64 x 64 latents that Stable Diffusion's schedule was made for.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def train(out: Path, renders: Renders, schedule: Schedule, place: Place) -> int:
    """Train the U-Net and write ``unet``, ``scheduler`` and ``model_index.json``.

    A U-Net that is there already, without checkpoints, is trained further.

    The loss is the plain squared error of v. Weights on cells with objects would depend on the
    target, so that the optimum over-predicts objects.
    """
    n = len(renders.images)
    latents = scene_latents(out, renders)
    states_of = TextStates(out)
    key = autoencoder.weights_hash(out / "text_encoder")
    states = states_of.of_training_scenes(out / "cache" / f"states-{key}-{n}.npy", n)
    empty = states_of([""])[0].to(place.device)
    counts = object_counts(n)
    scheduler = build_scheduler()
    unet = start(out)
    # Plain matrix products: at 64 tokens they run faster than the fused kernel's backward.
    unet.set_attn_processor(AttnProcessor())
    if place.compiled:
        compile_network(unet)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        chosen = draw_indices(counts, BATCH, rng)
        target = torch.from_numpy(latents[chosen]).to(place.device)
        some = torch.from_numpy(states[chosen]).to(place.device)
        noise = torch.from_numpy(rng.standard_normal(target.shape, dtype=np.float32))
        noise = noise.to(place.device)
        times = torch.from_numpy(draw_times(BATCH, rng)).to(place.device)
        noisy = scheduler.add_noise(target, noise, times)
        found = unet(noisy, times, conditioning(some, empty, rng), return_dict=False)[0]
        return (found.float() - scheduler.get_velocity(target, noise, times)).square().mean()

    steps = fit("unet", unet, loss, schedule, place)
    unet.half().save_pretrained(out / "unet")
    scheduler.save_pretrained(out / "scheduler")
    _write_index(out)
    return steps


def start(out: Path) -> UNet2DConditionModel:
    """Return the U-Net of the folder, to train further, or an untrained one.

    Checkpoints, where there are some, come before it.
    """
    if not (out / "unet").exists():
        return build()
    return UNet2DConditionModel.from_pretrained(out / "unet", use_safetensors=True).float()


def scene_latents(out: Path, renders: Renders) -> NDArray[np.float32]:
    """Encode the training scenes once: scaled latents, (scenes, 4, 16, 16)."""
    vae = autoencoder.load(out)

    def rows(start: int, stop: int) -> NDArray[np.float32]:
        images, _ = renders.batch(np.arange(start, stop), torch.device("cpu"))
        return autoencoder.encode(vae, images).numpy()

    n = len(renders.images)
    key = autoencoder.weights_hash(out / "vae")
    return cached(out / "cache" / f"latents-{key}-{n}.npy", n, rows)


def conditioning(states: Tensor, empty: Tensor, rng: np.random.Generator) -> Tensor:
    """Return one caption's states of each scene, or the mean of all, or the empty prompt's.

    Stable Diffusion is asked for the mean over an image's captions, which it never saw in
    training; here the mean is part of training. Some are empty, for guidance.

    ``states`` is (batch, captions, tokens, width). ``empty`` is (tokens, width).
    """
    batch, n_captions = states.shape[:2]
    weights = np.eye(n_captions, dtype=np.float32)[rng.integers(0, n_captions, batch)]
    kind = rng.random(batch)
    weights[kind < MEAN_SHARE] = 1 / n_captions
    weights[kind > 1 - EMPTY_SHARE] = 0
    share = torch.from_numpy(weights).to(states.device)
    mixed = torch.einsum("bk,bktw->btw", share, states.float())
    return mixed + (1 - share.sum(1)).view(-1, 1, 1) * empty


def draw_times(batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one stratified time per sample: all of the schedule, its middle three times as often.

    Between noise and image is where shapes are settled (Esser et al. 2024, section 3.1, weigh
    the middle for the same reason).
    """
    even = (np.arange(batch) + rng.random(batch)) / batch
    return (1000 * (even + 0.5 * np.sin(2 * np.pi * even) / (2 * np.pi))).astype(np.int64)


def _write_index(out: Path) -> None:
    """Write the file by which diffusers knows the folder."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(out / "model_index.json", index)
