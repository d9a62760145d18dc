"""Stable Diffusion v1.4 at its real size, with random weights: shapes and memory.

Run as a program it prints its measurements as JSON; the test runs it so, because the peak memory
of a process never falls and the test session's own would be counted.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusers import DDIMScheduler

from diffusion.conftest import SCHEDULER
from vox2pix.diffusion.ip_adapter import adapter_shapes

GIGABYTE = 1024**3
SCALE = 40.0  # so that an adapter of small random weights has weight


def meta_networks() -> dict:
    """Return the three networks at their published sizes, without memory."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
        unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                max_position_embeddings=77,
                hidden_act="quick_gelu",
            )
        )
    return {"vae": vae, "unet": unet, "text_encoder": text_encoder}


def build_model(networks: dict):
    """Fill networks with small random weights, and make a model of them."""
    import torch
    from diffusers import PNDMScheduler
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    from vox2pix.diffusion import LatentDiffusion

    generator = torch.Generator().manual_seed(0)
    for name, network in networks.items():
        networks[name] = network.to_empty(device="cpu")
        with torch.no_grad():
            for parameter in networks[name].parameters():
                parameter.uniform_(-0.02, 0.02, generator=generator)
    # a buffer, which counts positions and is in no file
    positions = networks["text_encoder"].embeddings.position_ids
    positions.copy_(torch.arange(77).expand_as(positions))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {token: i for i, token in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return LatentDiffusion.from_components(
        **networks,
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            set_alpha_to_one=False,
            skip_prk_steps=True,
            steps_offset=1,
        ),
        device="cpu",
    )


def build_and_denoise() -> dict:
    """Build the networks, encode, embed, take one guided denoising step, decode."""
    networks = meta_networks()
    model = build_model(networks)
    rng = np.random.default_rng(0)
    z = model.encode_images(rng.random((1, 320, 320, 3), dtype=np.float32))
    c = model.embed_captions([("a dog on a beach", "a brown dog by the sea")])
    latents = rng.standard_normal((1, *model.latent_shape)).astype(np.float32)
    denoised = model.denoise({"start": latents, "text": c}, [1], strength=0.02, steps=50)
    coarse = model.decode_latents(z)
    plan = model.plan(0.8, 50, "takagi2023")
    return {
        "n_parameters": {
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in networks.items()
        },
        "image_size": model.image_size,
        "z": z.shape,
        "c": c.shape,
        "coarse": coarse.shape,
        "denoised": denoised.shape,
        "n_steps": len(model.plan(0.02).timesteps),
        "takagi2023": [plan.noise_timestep, plan.timesteps[0], len(plan.timesteps)],
        "finite": bool(np.isfinite(denoised).all()),
        # kilobytes on Linux, bytes on macOS
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }


def draw_through_an_adapter() -> dict:
    """Draw from a latent and an image's embedding, and by diffusers' pipeline from the same."""
    import torch
    from diffusers import StableDiffusionImg2ImgPipeline

    from diffusion.conftest import save_adapter
    from diffusion.test_latent_diffusion import as_pipeline
    from vox2pix.diffusion import IPAdapter, LatentDiffusion

    plain = build_model(meta_networks())
    parts = SimpleNamespace(
        vae=plain.networks.vae,
        unet=plain.networks.unet,
        text_encoder=plain.networks.text.encoders[0],
        tokenizer=plain.networks.text.tokenizers[0],
        scheduler=DDIMScheduler(**SCHEDULER),
    )
    rng = np.random.default_rng(0)
    start = rng.standard_normal((1, *plain.latent_shape)).astype(np.float32)
    image = rng.standard_normal((1, 1024)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        file = save_adapter(parts.unet, 1024, Path(folder) / "ip-adapter_sd15.safetensors")
        model = LatentDiffusion.from_components(
            **vars(parts), device="cpu", image=IPAdapter(file, SCALE)
        )
        ours = model.denoise({"start": start, "image": image}, [1], strength=1.0, steps=2)
        absent = model.denoise({"start": start}, [1], strength=1.0, steps=2)
        pipeline = as_pipeline(StableDiffusionImg2ImgPipeline, parts)
        pipeline.load_ip_adapter(
            folder, "", file.name, image_encoder_folder=None, low_cpu_mem_usage=False
        )
    pipeline.set_ip_adapter_scale(SCALE)
    empty, embedding = torch.tensor(model.empty_prompt)[None], torch.from_numpy(image)[None]
    theirs = pipeline(
        image=torch.from_numpy(start),
        prompt_embeds=empty,
        negative_prompt_embeds=empty,
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embedding), embedding])],
        strength=1.0,
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images.numpy()
    return {
        "n_parameters": sum(np.prod(s) for s in adapter_shapes(parts.unet, 1024).values()).item(),
        "apart": float(np.abs(ours - theirs).max()),
        "by_the_image": float(np.abs(ours - absent).max()),
    }


def measured_in_a_process(what: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
def test_an_image_at_real_size_is_as_by_diffusers():
    measured = measured_in_a_process("draw_through_an_adapter")
    # published: about 22 million
    assert 21e6 < measured["n_parameters"] < 23e6
    assert measured["apart"] < 1e-4
    assert measured["by_the_image"] > 1e-3


@pytest.mark.slow
def test_real_size_with_random_weights():
    measured = measured_in_a_process("build_and_denoise")
    # the published model's parameter counts
    assert measured["n_parameters"] == {
        "vae": 83_653_863,
        "unet": 859_520_964,
        "text_encoder": 123_060_480,
    }
    assert measured["image_size"] == 512
    assert measured["z"] == [1, 4, 40, 40]
    assert measured["c"] == [1, 77, 768]
    assert measured["coarse"] == [1, 320, 320, 3]
    assert measured["denoised"] == [1, 4, 64, 64]
    assert measured["n_steps"] == 1
    assert measured["takagi2023"] == [801, 781, 40]
    assert measured["finite"]
    assert measured["peak_bytes"] < 8 * GIGABYTE


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
