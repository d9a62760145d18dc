"""Images a second of a diffusion model, beside a plain loop that draws one at a time.

    python benchmarks/generation.py [--small] [--compile] [--cuda]

The plain loop is what research code does: for each image it embeds the caption and the empty
prompt, draws z and encodes it again, asks the U-Net twice a step, once without and once with the
caption, and decodes. Both draw the same images with the phantom's model, float32, on the CPU;
``difference`` is the largest one between their pixels, in [0, 1].

Below, each setting of ``[compute]`` beside the default.

With ``--cuda`` it times Stable Diffusion v1.4 at its real size, with random weights, in bfloat16,
and compares it with the rate of a large matrix product.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from results import machine, option_parser, show
from vox2pix.compute import sgemm_rate
from vox2pix.diffusion import Architecture, LatentDiffusion, ModelCost, Tuning
from vox2pix.diffusion._architecture import configurations
from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.phantom.scenes import captions, render, scene

FloatArray = NDArray[np.float32]
STABLE_DIFFUSION = "CompVis/stable-diffusion-v1-4"
CONDITIONS = ("z", "c", "z+c")
STRENGTH, GUIDANCE = 0.8, 5.0


class PlainLoop:
    """One image at a time, over components of diffusers."""

    def __init__(self, folder: str, steps: int) -> None:
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            folder, safety_checker=None, torch_dtype=torch.float32
        )
        config = {**self.pipeline.scheduler.config, "clip_sample": False, "steps_offset": 1}
        self.scheduler = DDIMScheduler.from_config(config)
        self.steps = steps

    def embed(self, caption: str) -> torch.Tensor:
        """Return the text encoder's states of a caption."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(
            caption,
            padding="max_length",
            max_length=self.pipeline.text_encoder.config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        )
        return self.pipeline.text_encoder(tokens.input_ids).last_hidden_state

    @torch.no_grad()
    def draw(self, condition: str, z: FloatArray, caption: str, seed: int) -> FloatArray:
        """Draw one image."""
        vae, unet, scheduler = self.pipeline.vae, self.pipeline.unet, self.scheduler
        scale = vae.config.scaling_factor
        text = self.embed(caption if "c" in condition else "")
        empty = self.embed("")
        scheduler.set_timesteps(self.steps)
        noise = torch.randn((1, *z.shape), generator=torch.Generator().manual_seed(seed))
        timesteps, latents = scheduler.timesteps, noise
        if "z" in condition:
            coarse = (vae.decode(torch.from_numpy(z)[None] / scale).sample / 2 + 0.5).clamp(0, 1)
            coarse = (coarse * 255).round() / 255
            start = vae.encode(coarse * 2 - 1).latent_dist.mode() * scale
            timesteps = timesteps[-int(self.steps * STRENGTH) :]
            latents = scheduler.add_noise(start, noise, timesteps[:1])
        for timestep in timesteps:
            without = unet(latents, timestep, encoder_hidden_states=empty).sample
            with_text = unet(latents, timestep, encoder_hidden_states=text).sample
            output = without + GUIDANCE * (with_text - without)
            latents = scheduler.step(output, timestep, latents).prev_sample
        image = (vae.decode(latents / scale).sample / 2 + 0.5).clamp(0, 1)
        return np.asarray(image[0].permute(1, 2, 0))


class Experiment:
    """Inputs of some scenes, and both ways to draw from them, on the CPU."""

    def __init__(self, small: bool) -> None:
        self.n_plain, self.n_ours, self.steps, self.rounds = (
            (1, 4, 5, 1) if small else (4, 32, 20, 2)
        )
        self.settings = ReconstructionSettings(STRENGTH, self.steps, GUIDANCE, samples=1)
        self.ours = phantom()
        self.plain = PlainLoop(str(find_pipeline("phantom").path), self.steps)
        scenes = [scene(i) for i in range(self.n_ours)]
        self.captions = [captions(each)[0] for each in scenes]
        self.inputs = {
            "z": self.ours.encode_images(np.stack([render(each) for each in scenes])),
            "c": self.ours.embed_captions([(caption,) for caption in self.captions]),
        }
        self.seeds = image_seeds(0, [str(i) for i in range(self.n_ours)], 1)

    def drawn(self, model: LatentDiffusion, condition: str, **options: Any) -> FloatArray:
        """Draw all scenes by vox2pix."""
        inputs = {name: self.inputs[name] for name in condition.split("+")}
        how = {"seeds": self.seeds, "settings": self.settings, **options}
        return reconstruct(model, inputs, **how)[:, 0]

    def one_by_one(self, condition: str) -> FloatArray:
        """Draw some scenes by the plain loop."""
        z, seeds = self.inputs["z"], self.seeds[:, 0]
        return np.stack(
            [
                self.plain.draw(condition, z[i], self.captions[i], int(seeds[i]))
                for i in range(self.n_plain)
            ]
        )


def on_cpu(small: bool, with_compile: bool) -> dict[str, Any]:
    """Time both ways in turn, condition by condition, and every setting beside the default."""
    it = Experiment(small)
    conditions = [one_condition(it, condition) for condition in CONDITIONS]
    variants = ways_to_compute(it, with_compile)
    times = in_turn(list(variants.values()), it.rounds)
    default = times[0]
    cost = ModelCost(Architecture.from_pretrained("phantom"))
    n_passes = 2 * len(it.ours.plan(STRENGTH, it.steps).timesteps)
    flops = n_passes * cost.denoise_flops + 2 * cost.decode_flops + cost.encode_flops
    rate = sgemm_rate("cpu")
    return {
        "steps": it.steps,
        "threads": torch.get_num_threads(),
        "conditions": conditions,
        "settings": [
            {
                "setting": name,
                "speed": default[0] / seconds,
                "difference": float(np.abs(images - default[1]).max()),
                "mean_difference": float(np.abs(images - default[1]).mean()),
            }
            for name, (seconds, images) in zip(variants, times, strict=True)
        ],
        "gflops_matrix_product": rate / 1e9,
        "share_of_matrix_product": it.n_ours * flops / default[0] / rate,
    }


def one_condition(it: Experiment, condition: str) -> dict[str, Any]:
    """Time both ways to draw one condition."""
    ways = [lambda: it.one_by_one(condition), lambda: it.drawn(it.ours, condition)]
    (slow, expected), (fast, images) = in_turn(ways, it.rounds)
    return {
        "condition": condition,
        "plain_a_second": it.n_plain / slow,
        "ours_a_second": it.n_ours / fast,
        "ratio": (it.n_ours / fast) / (it.n_plain / slow),
        "difference": float(np.abs(images[: it.n_plain] - expected).max()),
    }


def ways_to_compute(it: Experiment, with_compile: bool) -> dict[str, Callable[[], FloatArray]]:
    """Return the default and every other setting of ``[compute]``, by name."""
    auto = f"batch_size = {it.ours.batch_size(GUIDANCE)} (auto)"
    variants: dict[str, Callable[[], FloatArray]] = {auto: lambda: it.drawn(it.ours, "z+c")}
    for size in (1, 4, 8, 32):
        variants[f"batch_size = {size}"] = lambda size=size: it.drawn(
            it.ours, "z+c", batch_size=size
        )
    tuned = {
        "channels_last = false": phantom(tuning=Tuning(channels_last=False)),
        'attention = "plain"': phantom(tuning=Tuning(attention="plain")),
        'dtype = "bfloat16"': phantom(dtype="bfloat16"),
    }
    if with_compile:
        tuned["compile = true"] = phantom(tuning=Tuning(compile=True))
    for name, model in tuned.items():
        variants[name] = lambda model=model: it.drawn(model, "z+c")
    variants["overlap = true"] = lambda: it.drawn(it.ours, "z+c", overlap=True)
    return variants


def phantom(**options: Any) -> LatentDiffusion:
    """Return the model that ships with the package, on the CPU."""
    return LatentDiffusion.from_pretrained("phantom", device="cpu", **options)


def in_turn(
    ways: Sequence[Callable[[], FloatArray]], rounds: int
) -> list[tuple[float, FloatArray]]:
    """Run every way once to warm up, then all in turn; return least seconds and images."""
    results = [way() for way in ways]
    seconds = np.empty((rounds, len(ways)))
    for row in seconds:
        for column, way in enumerate(ways):
            began = time.perf_counter()
            way()
            row[column] = time.perf_counter() - began
    return list(zip(seconds.min(axis=0).tolist(), results, strict=True))


def stable_diffusion(tuning: Tuning) -> LatentDiffusion:
    """Return Stable Diffusion v1.4's networks with random weights, in bfloat16 on the GPU."""
    configs = configurations(STABLE_DIFFUSION)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    with torch.device("cuda"):
        networks = {
            "vae": AutoencoderKL(**configs["vae"]),
            "unet": UNet2DConditionModel(**configs["unet"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }
    return LatentDiffusion.from_components(
        **networks,
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
        scheduler=PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        device="cuda",
        dtype="bfloat16",
        tuning=tuning,
    )


def bf16_rate(size: int = 8192, repeats: int = 20) -> float:
    """Measure a bfloat16 matrix product on the GPU, in operations a second."""
    matrix = torch.rand(size, size, device="cuda", dtype=torch.bfloat16)
    matrix @ matrix
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        matrix @ matrix
    torch.cuda.synchronize()
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def on_cuda(small: bool, with_compile: bool) -> dict[str, Any]:
    """Time Stable Diffusion's real size on the GPU."""
    steps, rounds = (3, 1) if small else (50, 2)
    model = stable_diffusion(Tuning(compile=with_compile))
    c = model.embed_captions([("a dog on a beach",)])
    size = model.batch_size(GUIDANCE)
    settings = ReconstructionSettings(steps=steps, guidance=GUIDANCE, samples=2 * size)
    seeds = np.arange(2 * size)[None]

    def drawn(overlap: bool) -> FloatArray:
        return reconstruct(model, {"c": c}, seeds=seeds, settings=settings, overlap=overlap)[0]

    ways = [lambda overlap=overlap: drawn(overlap) for overlap in (False, True)]
    ways[0]()
    torch.cuda.reset_peak_memory_stats()
    (plain, images), (overlapped, _) = in_turn(ways, rounds)
    cost, rate = ModelCost(Architecture.from_pretrained(STABLE_DIFFUSION)), bf16_rate()
    flops = 2 * steps * cost.denoise_flops + cost.decode_flops
    return {
        "gpu": torch.cuda.get_device_name(),
        "steps": steps,
        "batch_size": size,
        "images_a_second": len(images) / plain,
        "overlap_speed": plain / overlapped,
        "tflops_matrix_product": rate / 1e12,
        "share_of_matrix_product": len(images) * flops / plain / rate,
        "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9,
        "finite": bool(np.isfinite(images).all()),
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""
    cpu, gpu = figures["cpu"], figures["cuda"]
    lines = [
        f"The phantom's model, float32, {cpu['steps']} steps, guidance {GUIDANCE:g}, "
        f"{cpu['threads']} threads: images a second",
        f"{'condition':<12}{'one by one':>12}{'ours':>9}{'ratio':>8}{'difference':>13}",
    ]
    lines += [
        f"{row['condition']:<12}{row['plain_a_second']:>12.2f}{row['ours_a_second']:>9.2f}"
        f"{row['ratio']:>8.2f}{row['difference']:>13.1e}"
        for row in cpu["conditions"]
    ]
    lines += [
        "",
        f"z+c at {cpu['share_of_matrix_product']:.0%} of the measured matrix product's "
        f"{cpu['gflops_matrix_product']:.0f} GFLOP/s",
        "",
        f"{'[compute], z+c':<28}{'speed':>8}{'difference':>13}{'mean':>10}",
    ]
    lines += [
        f"{row['setting']:<28}{row['speed']:>8.2f}{row['difference']:>13.1e}"
        f"{row['mean_difference']:>10.1e}"
        for row in cpu["settings"]
    ]
    lines.append("")
    if gpu is None:
        why = "there is no CUDA device here" if figures["cuda_was_asked_for"] else "ask by --cuda"
        return "\n".join([*lines, f"Stable Diffusion v1.4 on a GPU: not timed, {why}."])
    lines += [
        f"Stable Diffusion v1.4, random weights, bfloat16, {gpu['steps']} steps, {gpu['gpu']}:",
        f"{gpu['images_a_second']:.2f} images a second in batches of {gpu['batch_size']}, "
        f"{gpu['share_of_matrix_product']:.0%} of the measured matrix product's "
        f"{gpu['tflops_matrix_product']:.0f} TFLOP/s,",
        f"{gpu['peak_memory_gb']:.1f} GB at most; with overlap = true {gpu['overlap_speed']:.2f} "
        "times that speed",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print, write."""
    parser = option_parser(__doc__)
    parser.add_argument("--compile", action="store_true", help="time torch.compile too")
    parser.add_argument("--cuda", action="store_true", help="time Stable Diffusion on the GPU too")
    options = parser.parse_args()
    has_gpu = options.cuda and torch.cuda.is_available()
    figures = {
        "benchmark": "generation",
        "machine": machine(),
        "cpu": on_cpu(options.small, options.compile),
        "cuda_was_asked_for": options.cuda,
        "cuda": on_cuda(options.small, options.compile) if has_gpu else None,
    }
    show(figures, table(figures), options, "generation")


if __name__ == "__main__":
    main()
