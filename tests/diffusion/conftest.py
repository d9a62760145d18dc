"""A tiny Stable Diffusion with random weights: the same classes, a thousandth of the size."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from vox2pix.diffusion._architecture import configurations
from vox2pix.diffusion.ip_adapter import adapter_shapes
from vox2pix.diffusion.latent_diffusion import LatentDiffusion

N_TOKENS = 12
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}


def byte_vocabulary() -> dict[str, int]:
    """Return CLIP's smallest vocabulary: every byte, inside and at the end of a word."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = letters + [f"{letter}</w>" for letter in letters]
    return {token: i for i, token in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def tiny_components(prediction_type: str = "epsilon") -> SimpleNamespace:
    """Return networks that differ from Stable Diffusion's in size alone: 16 px, factor 2."""
    torch.manual_seed(0)
    vocabulary = byte_vocabulary()
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=N_TOKENS,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
        )
    )
    # fresh text encoders start near zero, where captions would not matter
    with torch.no_grad():
        for parameter in text_encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    for network in (vae, unet, text_encoder):
        network.eval()
    return SimpleNamespace(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=N_TOKENS),
        scheduler=DDIMScheduler(**SCHEDULER, prediction_type=prediction_type),
    )


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def components(request) -> SimpleNamespace:
    return tiny_components(request.param)


@pytest.fixture(scope="session")
def model(components) -> LatentDiffusion:
    return LatentDiffusion.from_components(**vars(components), device="cpu")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def saved_pipeline(tmp_path_factory) -> Path:
    """Return the folder that diffusers itself writes for the tiny pipeline."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    StableDiffusionPipeline(
        **vars(tiny_components()),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def narrow_stable_diffusion() -> SimpleNamespace:
    """Return Stable Diffusion 1.x as published, but for widths, its text encoder and 128 px."""
    torch.manual_seed(0)
    published, tiny = configurations("CompVis/stable-diffusion-v1-4"), tiny_components()
    narrow = {"block_out_channels": (32, 64, 64, 64)}
    unet = {"sample_size": 16, "cross_attention_dim": 16, **narrow}
    return SimpleNamespace(
        vae=AutoencoderKL(**published["vae"] | {"block_out_channels": (32,) * 4}).eval(),
        unet=UNet2DConditionModel(**published["unet"] | unet).eval(),
        text_encoder=tiny.text_encoder,
        tokenizer=tiny.tokenizer,
        scheduler=DDIMScheduler(**SCHEDULER),
    )


def save_adapter(unet, width: int, path: Path) -> Path:
    """Write a base IP-Adapter of random weights for a U-Net, as the published ones are written."""
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 1)
        for name, shape in adapter_shapes(unet, width).items()
    }
    save_file(tensors, path)
    return path
