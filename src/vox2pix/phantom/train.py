"""Train the phantom's networks: ``python -m vox2pix.phantom.train --out FOLDER``.

Six stages, each resumed from its checkpoint: a tokenizer, the autoencoder, the contrastive
encoders, the judge, a judge of latents, the U-Net. Every step draws its scenes and its noise from
a seed of its own, so that a resumed training is the same training. The same code runs on CPU and
GPU.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from vox2pix.phantom.architecture import (
    PICTURE_SIZE,
    Judge,
    LatentJudge,
    build_autoencoder,
    build_encoders,
    build_scheduler,
    build_tokenizer,
    build_unet,
)
from vox2pix.phantom.scenes import KINDS, Scene, captions, render, scene
from vox2pix.seeds import rng_for, seed_for
from vox2pix.store import claim, file_hash, read_json, replacing, write_json

TRAINING_SCENES = 71  # the set that networks are trained on ...
HELD_OUT_SCENES = 72  # ... and the one that they are judged on
STAGES = ("tokenizer", "autoencoder", "encoders", "judge", "latent_judge", "unet")
STEPS = {
    "autoencoder": 2400,
    "encoders": 700,
    "judge": 2500,
    "latent_judge": 2000,
    "unet": 22_500,
}
CACHED_SCENES = 40_000
OBJECT_WEIGHT, EMPTY_WEIGHT = 2.0, 0.5  # of a cell in losses; objects fill a quarter of them
NAMING_WEIGHT = 0.1
DECAY = 0.3
ENCODER_INPUT = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 64, "width": 64},
}
"""How the encoders want their images, in the form of transformers."""

_CHECKPOINT_EVERY_S = 60.0
_TEACHER = "latent_judge-trained.safetensors"  # only training needs it


def train(
    out: Path,
    stages: tuple[str, ...] = STAGES,
    steps: dict[str, int] | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> None:
    """Train the named stages into a diffusers pipeline folder.

    Parameters
    ----------
    out : Path
        The pipeline folder; checkpoints go to ``out/checkpoints``.
    stages : tuple of str
        Which of ``STAGES``, in that order; each needs those before it.
    steps : dict of str to int, optional
        Optimiser steps of each stage; ``STEPS`` where absent.
    device : str
        Where torch computes.
    seed : int
        Seed of the weights, scenes and noise.
    """
    steps = STEPS | (steps or {})
    claim(out, "model")
    for stage in stages:
        torch.manual_seed(seed_for(seed, stage))
        _RUN[stage](out, steps.get(stage, 0), torch.device(device), seed)
        path = out / "training.json"
        trained = read_json(path) if path.exists() else {}
        write_json(path, trained | {stage: steps[stage]} if stage in steps else trained)


# --- stages ------------------------------------------------------------------------------------


def _train_tokenizer(out: Path, steps: int, device: torch.device, seed: int) -> None:
    corpus = (text for i in range(4000) for text in captions(scene(i, TRAINING_SCENES)))
    build_tokenizer(out / "tokenizer", corpus)


def _train_autoencoder(out: Path, steps: int, device: torch.device, seed: int) -> None:
    model = build_autoencoder()

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        pictures, _ = _scenes(step, 32, device)
        posterior = model.encode(pictures).latent_dist
        latents = posterior.mean + posterior.std * _normal(posterior.mean.shape, rng, device)
        drawn = model.decode(latents).sample
        error = functional.l1_loss(drawn, pictures) + functional.mse_loss(drawn, pictures)
        return error + 1e-6 * posterior.kl().float().mean()

    _fit("autoencoder", model, loss, steps, 1.5e-3, out, device, seed)
    model.register_to_config(scaling_factor=_scaling_factor(model, device))
    model.half().save_pretrained(out / "vae")


def _train_encoders(out: Path, steps: int, device: torch.device, seed: int) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    model = build_encoders(tokenizer)

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        pictures, scenes = _scenes(step, 128, device)
        texts = [str(rng.choice(captions(s))) for s in scenes]
        tokens = _tokenize(tokenizer, texts).to(device)
        return model(input_ids=tokens, pixel_values=pictures, return_loss=True).loss

    _fit("encoders", model, loss, steps, 1e-3, out, device, seed)
    model.half().save_pretrained(out / "encoders")
    write_json(out / "encoders" / "preprocessor_config.json", ENCODER_INPUT)
    text = CLIPTextModel(model.config.text_config)
    source = {k: v for k, v in model.state_dict().items() if k.startswith("text_model.")}
    wanted = text.state_dict()
    renamed = {k: source[k if k in source else f"text_model.{k}"] for k in wanted}
    text.load_state_dict(renamed)
    text.half().save_pretrained(out / "text_encoder")


def _train_judge(out: Path, steps: int, device: torch.device, seed: int) -> None:
    model = Judge()

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        pictures, scenes = _scenes(step, 64, device)
        noise = float(rng.uniform(0, 0.08)) * _normal(pictures.shape, rng, device)
        logits = model((pictures + noise) / 2 + 0.5)
        labels = [labels_of(s) for s in scenes]
        targets = {
            head: torch.tensor([names.index(label[head]) for label in labels], device=device)
            for head, names in Judge.heads.items()
        }
        return torch.stack([functional.cross_entropy(logits[h], targets[h]) for h in targets]).sum()

    _fit("judge", model, loss, steps, 2e-3, out, device, seed)
    (out / "judge").mkdir(exist_ok=True)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()},
        out / "judge" / "model.safetensors",
    )


def _train_latent_judge(out: Path, steps: int, device: torch.device, seed: int) -> None:
    model = LatentJudge()
    vae = AutoencoderKL.from_pretrained(out / "vae", torch_dtype=torch.float32).to(device).eval()
    latents = _cached(out, "vae", lambda: _scene_latents(vae, device))
    things = _things(latents.shape[-1])

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        indices = torch.from_numpy(rng.integers(0, len(latents), 128))
        clean = latents[indices].to(device)
        spread = torch.from_numpy(rng.uniform(0, 1, (128, 1, 1, 1)).astype(np.float32)).to(device)
        noisy = clean + spread * _normal(clean.shape, rng, device)
        return _naming_loss(model, noisy, things[indices].to(device))

    _fit("latent_judge", model, loss, steps, 2e-3, out, device, seed)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, out / "checkpoints" / _TEACHER
    )


def _train_unet(out: Path, steps: int, device: torch.device, seed: int) -> None:
    vae = AutoencoderKL.from_pretrained(out / "vae", torch_dtype=torch.float32).to(device).eval()
    text = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)
    text = text.to(device).eval()
    tokenizer = CLIPTokenizer.from_pretrained(out / "tokenizer")
    scheduler: DDIMScheduler = build_scheduler()
    unet: UNet2DConditionModel = build_unet()
    latents = _cached(out, "vae", lambda: _scene_latents(vae, device))
    things = _things(latents.shape[-1])
    teacher = LatentJudge()
    teacher.load_state_dict(load_file(out / "checkpoints" / _TEACHER))
    teacher.to(device).eval().requires_grad_(False)
    signal = scheduler.alphas_cumprod.sqrt().view(-1, 1, 1, 1)
    spread = (1 - scheduler.alphas_cumprod).sqrt().view(-1, 1, 1, 1)
    states = _cached(out, "text_encoder", lambda: _caption_states(text, tokenizer, device))
    empty = _states(text, tokenizer, [""], device)[0]
    # Plain matrix products: at 16 tokens they run twice as fast as the fused kernel's backward.
    unet.set_attn_processor(AttnProcessor())

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        indices = torch.from_numpy(rng.integers(0, len(latents), 64))
        target, named = latents[indices].to(device), things[indices].to(device)
        conditioning = _conditioning(states[indices].to(device), empty, rng)
        noise = _normal(target.shape, rng, device)
        times = torch.from_numpy(_times(64, rng)).to(device)
        noisy = scheduler.add_noise(target, noise, times)
        velocity = scheduler.get_velocity(target, noise, times)
        predicted = unet(noisy, times, conditioning).sample.float()
        error = ((predicted - velocity).square() * _weights(named)[:, None]).mean()
        # The picture that a velocity stands for (Salimans & Ho 2022, appendix D). What an object
        # is makes little of the squared error, so that it alone teaches kinds slowly; a network
        # that judges the predicted picture does so at once (compare Lin & Yang 2024).
        clean = signal[times.cpu()].to(device) * noisy - spread[times.cpu()].to(device) * predicted
        return error + NAMING_WEIGHT * _naming_loss(teacher, clean, named)

    _fit("unet", unet, loss, steps, 6e-4, out, device, seed)
    unet.half().save_pretrained(out / "unet")
    scheduler.save_pretrained(out / "scheduler")
    _write_index(out)


_RUN: dict[str, Callable[[Path, int, torch.device, int], None]] = {
    "tokenizer": _train_tokenizer,
    "autoencoder": _train_autoencoder,
    "encoders": _train_encoders,
    "judge": _train_judge,
    "latent_judge": _train_latent_judge,
    "unet": _train_unet,
}


# --- what the stages share ---------------------------------------------------------------------


def labels_of(scene: Scene) -> dict[str, str]:
    """Return what the judge should say of a scene."""
    main = scene.objects[0]
    return {"kind": main.kind, "colour": main.colour, "background": scene.background}


def _scenes(step: int, batch: int, device: torch.device) -> tuple[Tensor, list[Scene]]:
    """Draw a step's own scenes: pictures in [-1, 1], shape (batch, 3, 64, 64)."""
    scenes = [scene(step * batch + i, TRAINING_SCENES) for i in range(batch)]
    pictures = np.stack([render(s, PICTURE_SIZE) for s in scenes])
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2) * 2 - 1
    return tensor.to(device, memory_format=torch.channels_last), scenes


def _normal(shape: torch.Size, rng: np.random.Generator, device: torch.device) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)).to(device)


def _tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    return tokens.input_ids


def _conditioning(states: Tensor, empty: Tensor, rng: np.random.Generator) -> Tensor:
    """Return one caption's states of each scene, or the mean of all five, or the empty prompt's.

    Stable Diffusion is asked for the mean over an image's captions, which it never saw in
    training; here the mean is part of training. One in ten is empty, for guidance.

    ``states`` has shape (batch, captions, tokens, width), ``empty`` (tokens, width).
    """
    batch, told = states.shape[:2]
    weights = np.full((batch, told), 1 / told, dtype=np.float32)
    single = rng.random(batch) < 0.5
    weights[single] = np.eye(told, dtype=np.float32)[rng.integers(0, told, int(single.sum()))]
    weights[rng.random(batch) < 0.1] = 0
    share = torch.from_numpy(weights).to(states.device)
    mixed = torch.einsum("bk,bktw->btw", share, states.float())
    return mixed + (1 - share.sum(1)).view(-1, 1, 1) * empty


@torch.no_grad()
def _states(
    text: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str], device: torch.device
) -> Tensor:
    return text(_tokenize(tokenizer, texts).to(device)).last_hidden_state


def _caption_states(text: CLIPTextModel, tokenizer: CLIPTokenizer, device: torch.device) -> Tensor:
    """Embed all captions of the cached scenes once: float16, (scenes, captions, tokens, width)."""
    blocks = []
    for start in range(0, CACHED_SCENES, 100):
        told = [captions(scene(i, TRAINING_SCENES)) for i in range(start, start + 100)]
        embedded = _states(text, tokenizer, [t for texts in told for t in texts], device)
        blocks.append(embedded.view(100, -1, *embedded.shape[1:]).half().cpu())
    return torch.cat(blocks)


@torch.no_grad()
def _scaling_factor(model: AutoencoderKL, device: torch.device) -> float:
    """Return what brings latents to unit variance, as Stable Diffusion's 0.18215 does."""
    pictures, _ = _scenes(0, 256, device)
    return round(1 / float(model.encode(pictures).latent_dist.mean.std()), 5)


def _times(batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one stratified time a sample: all of the schedule, its middle three times as often.

    Between noise and picture is where shapes are settled (Esser et al. 2024, section 3.1, weigh
    the middle for the same reason).
    """
    even = (np.arange(batch) + rng.random(batch)) / batch
    return (1000 * (even + 0.5 * np.sin(2 * np.pi * even) / (2 * np.pi))).astype(np.int64)


def _things(size: int) -> Tensor:
    """Name what stands in each cell of each cached scene's latent.

    Returns
    -------
    Tensor of int64, shape (scenes, size, size)
        Place in ``KINDS`` of the object in front; ``len(KINDS)`` where there is none.
    """
    kinds = list(KINDS)
    ticks = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(ticks, ticks)
    things = np.full((CACHED_SCENES, size, size), len(kinds))
    for i in range(CACHED_SCENES):
        for thing in reversed(scene(i, TRAINING_SCENES).objects):
            near = np.hypot(x - thing.x, y - thing.y) < thing.size + 0.25 / size
            things[i, near] = kinds.index(thing.kind)
    return torch.from_numpy(things)


def _weights(things: Tensor) -> Tensor:
    return torch.where(things < len(KINDS), OBJECT_WEIGHT, EMPTY_WEIGHT)


def _naming_loss(judge: LatentJudge, latents: Tensor, things: Tensor) -> Tensor:
    """Return the weighted cross-entropy of what a judge sees in each cell."""
    each = functional.cross_entropy(judge(latents).float(), things, reduction="none")
    return (each * _weights(things)).mean()


def _cached(out: Path, network: str, embed: Callable[[], Tensor]) -> Tensor:
    """Return what a frozen network makes of the cached scenes, from a file once it is there."""
    (weights,) = (out / network).glob("*.safetensors")
    path = out / "checkpoints" / f"{network}-{file_hash(weights)[:12]}.safetensors"
    if not path.exists():
        with replacing(path) as partial:
            save_file({"scenes": embed().contiguous()}, partial)
    return load_file(path)["scenes"]


@torch.no_grad()
def _scene_latents(vae: AutoencoderKL, device: torch.device) -> Tensor:
    """Encode the cached scenes: float32, shape (scenes, channels, height, width)."""
    blocks = []
    for step in range(CACHED_SCENES // 100):
        pictures, _ = _scenes(step, 100, device)
        blocks.append(vae.encode(pictures).latent_dist.mean.cpu())
    return torch.cat(blocks) * vae.config.scaling_factor


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


def _fit(
    name: str,
    model: nn.Module,
    loss_of: Callable[[int, np.random.Generator], Tensor],
    steps: int,
    peak_rate: float,
    out: Path,
    device: torch.device,
    seed: int,
) -> None:
    """Minimise a loss with AdamW; leave the moving average of the weights in ``model``.

    The rate is constant until it falls in a straight line over the last ``DECAY`` of the steps,
    so that a longer training can go on from a shorter one's checkpoint.

    Weights, their moving average and the optimiser's moments are checkpointed every minute.
    """
    model.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    parameters = dict(model.named_parameters())
    average = {k: v.detach().clone() for k, v in parameters.items()}
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=peak_rate, weight_decay=0.01, betas=(0.9, 0.99)
    )
    checkpoint = out / "checkpoints" / f"{name}.safetensors"
    first = _restore(checkpoint, model, average, optimiser)
    began = saved = time.monotonic()
    for step in range(first, steps):
        rate = peak_rate * min(1, (step + 1) / 100, (steps - step) / (DECAY * steps))
        optimiser.param_groups[0]["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(step, rng_for(seed, name, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), list(parameters.values()), 1 - decay)
        if step % 50 == 0:
            pace = (time.monotonic() - began) / (step - first + 1)
            print(f"{name} {step}/{steps} loss {loss.item():.4f} {pace:.2f} s/step", flush=True)
        if time.monotonic() - saved > _CHECKPOINT_EVERY_S or step == steps - 1:
            _save(checkpoint, model, average, optimiser)
            saved = time.monotonic()
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(average[key])
    model.to("cpu").eval()


def _save(
    path: Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint beside the old one, then take its place."""
    moments = optimiser.state_dict()["state"]
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average/{k}": v for k, v in average.items()}
    tensors |= {f"moment/{i}/{k}": v for i, m in moments.items() for k, v in m.items()}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with replacing(path) as partial:
        save_file(tensors, partial)


def _restore(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> int:
    """Load a checkpoint if there is one; return the step to go on from."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
    for key, value in average.items():
        value.copy_(tensors[f"average/{key}"])
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("moment/"):
            _, index, what = key.split("/")
            moments.setdefault(int(index), {})[what] = value
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    return int(next(iter(moments.values()))["step"])


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m vox2pix.phantom.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the pipeline folder to write")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--steps", type=int, help="optimiser steps of the one stage named")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    steps = dict.fromkeys(options.stages, options.steps) if options.steps else None
    train(options.out, tuple(options.stages), steps, options.device, options.seed)


if __name__ == "__main__":
    main()
