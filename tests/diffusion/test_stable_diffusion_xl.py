"""Stable Diffusion XL, with and without an IP-Adapter, against diffusers' own pipelines."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from diffusion.conftest import N_TOKENS, SCHEDULER, save_adapter, tiny_components
from diffusion.test_latent_diffusion import generators
from vox2pix.diffusion import Architecture, IPAdapter, LatentDiffusion, ModelCost
from vox2pix.diffusion._architecture import configurations
from vox2pix.errors import UserError

WIDTH, SCALE, POOLED = 20, 0.7, 12
SEEDS = [11, 2**62 + 3]
CAPTIONS = ["a red disc", "two blue squares at night"]


def narrow_xl() -> SimpleNamespace:
    """Return Stable Diffusion XL as published, but for widths, text encoders and 64 px."""
    torch.manual_seed(0)
    published, tiny = configurations("stabilityai/stable-diffusion-xl-base-1.0"), tiny_components()
    second = CLIPTextConfig(
        **{
            **tiny.text_encoder.config.to_dict(),
            **{"hidden_size": 24, "projection_dim": POOLED, "hidden_act": "gelu"},
        }
    )
    text_encoder_2 = CLIPTextModelWithProjection(second)
    with torch.no_grad():
        for parameter in text_encoder_2.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    narrow = {
        "block_out_channels": (32, 64, 64),
        "attention_head_dim": (2, 4, 4),
        "transformer_layers_per_block": (1, 2, 3),
        "sample_size": 8,
        "cross_attention_dim": 16 + 24,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": POOLED + 6 * 8,
    }
    return SimpleNamespace(
        vae=AutoencoderKL(**published["vae"] | {"block_out_channels": (32,) * 4}).eval(),
        unet=UNet2DConditionModel(**published["unet"] | narrow).eval(),
        text_encoder=tiny.text_encoder,
        text_encoder_2=text_encoder_2.eval(),
        tokenizer=tiny.tokenizer,
        tokenizer_2=copy.deepcopy(tiny.tokenizer),
        scheduler=DDIMScheduler(**SCHEDULER),
    )


def wrapped(parts: SimpleNamespace, **more) -> LatentDiffusion:
    own = vars(copy.deepcopy(parts))
    return LatentDiffusion.from_components(
        vae=own["vae"],
        unet=own["unet"],
        text_encoder=(own["text_encoder"], own["text_encoder_2"]),
        tokenizer=(own["tokenizer"], own["tokenizer_2"]),
        scheduler=own["scheduler"],
        device="cpu",
        **more,
    )


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    return narrow_xl()


@pytest.fixture(scope="module")
def adapter(parts, tmp_path_factory) -> IPAdapter:
    folder = tmp_path_factory.mktemp("adapter")
    return IPAdapter(save_adapter(parts.unet, WIDTH, folder / "ip-adapter.safetensors"), SCALE)


@pytest.fixture(scope="module")
def model(parts, adapter) -> LatentDiffusion:
    return wrapped(parts, image=adapter)


@pytest.fixture(scope="module")
def inputs(model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "start": rng.standard_normal((2, *model.latent_shape)).astype(np.float32),
        "text": model.embed_captions([(caption,) for caption in CAPTIONS]),
        "image": rng.standard_normal((2, WIDTH)).astype(np.float32),
    }


def drawn_by_diffusers(parts, ports, adapter=None, guidance=5.0) -> np.ndarray:
    """Draw one row after the other by diffusers' pipeline, which embeds the prompts itself."""
    from_start = "start" in ports
    kind = StableDiffusionXLImg2ImgPipeline if from_start else StableDiffusionXLPipeline
    pipeline = kind(**vars(copy.deepcopy(parts)), add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        file = adapter.file
        pipeline.load_ip_adapter(
            str(file.parent), "", file.name, image_encoder_folder=None, low_cpu_mem_usage=False
        )
        pipeline.set_ip_adapter_scale(adapter.scale)
    latents = []
    for row, seed in enumerate(SEEDS):
        more = {}
        if from_start:
            more |= {"image": torch.from_numpy(ports["start"][[row]]), "strength": 0.75}
        if "image" in ports:
            image = torch.from_numpy(ports["image"][[row]])[None]
            both = torch.cat([torch.zeros_like(image), image])
            more["ip_adapter_image_embeds"] = [both if guidance > 1 else image]
        drawn = pipeline(
            prompt=CAPTIONS[row] if "text" in ports else "",
            guidance_scale=guidance,
            num_inference_steps=4,
            generator=generators([seed]),
            output_type="latent",
            **more,
        )
        latents.append(drawn.images.numpy()[0])
    return np.stack(latents)


@pytest.mark.parametrize(
    ("names", "guidance"),
    [
        (("start", "text", "image"), 5.0),
        (("image",), 5.0),
        pytest.param(("start", "image"), 5.0, marks=pytest.mark.slow),
        pytest.param(("start", "image"), 1.0, marks=pytest.mark.slow),
    ],
)
def test_through_an_adapter_it_is_diffusers_pipelines(
    model, parts, adapter, inputs, names, guidance
):
    ports = {name: inputs[name] for name in names}
    expected = drawn_by_diffusers(parts, ports, adapter, guidance)
    drawn = model.denoise(ports, SEEDS, strength=0.75, steps=4, guidance=guidance)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    without = {name: ports[name] for name in names if name != "image"}
    plain = model.denoise(without, SEEDS, strength=0.75, steps=4, guidance=guidance)
    assert np.abs(plain - drawn).max() > 1e-2  # far beyond the tolerance


@pytest.mark.parametrize(
    "names", [("start", "text"), pytest.param(("text",), marks=pytest.mark.slow)]
)
def test_without_an_adapter_it_is_diffusers_pipelines(model, parts, inputs, names):
    ports = {name: inputs[name] for name in names}
    expected = drawn_by_diffusers(parts, ports)
    plain = wrapped(parts)
    drawn = plain.denoise(ports, SEEDS, strength=0.75, steps=4)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    np.testing.assert_allclose(
        model.denoise(ports, SEEDS, strength=0.75, steps=4), drawn, atol=1e-4
    )
    assert np.abs(plain.denoise({}, SEEDS, steps=4) - drawn).max() > 1e-2


def test_the_conditioning_has_the_pooled_embedding_in_a_row_of_its_own(model, parts):
    assert model.conditioning_shape == (N_TOKENS + 1, 16 + 24)
    pipeline = StableDiffusionXLPipeline(**vars(copy.deepcopy(parts)), add_watermarker=False)
    with torch.inference_mode():
        states, _, pooled, _ = pipeline.encode_prompt(CAPTIONS)
    embedded = model.embed_captions([CAPTIONS])[0]  # the mean over captions
    np.testing.assert_allclose(embedded[:-1], states.mean(0).numpy(), atol=1e-5)
    np.testing.assert_allclose(embedded[-1, :POOLED], pooled.mean(0).numpy(), atol=1e-5)
    np.testing.assert_array_equal(embedded[-1, POOLED:], 0)


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory) -> Path:
    """Return the folder that diffusers itself writes."""
    folder = tmp_path_factory.mktemp("models") / "xl"
    pipeline = StableDiffusionXLPipeline(**vars(copy.deepcopy(parts)), add_watermarker=False)
    pipeline.save_pretrained(folder)
    return folder


def test_a_saved_pipeline_is_read_and_planned(saved, model, adapter, inputs, tmp_path):
    loaded = LatentDiffusion.from_pretrained(saved, device="cpu", ip_adapter=adapter)
    for part in ("text_encoder_2/model.safetensors", "tokenizer_2/tokenizer_config.json"):
        assert part in loaded.identity["sha256"]
    assert set(model.identity["sha256"]) == {"vae", "unet", "text_encoder", "text_encoder_2"}
    np.testing.assert_allclose(
        loaded.denoise(inputs, SEEDS, steps=2), model.denoise(inputs, SEEDS, steps=2), atol=1e-5
    )
    planned = Architecture.from_pretrained(saved, ip_adapter=adapter)
    for name in ("ports", "embedding_width", "conditioning_shape", "module_names", "latent_scale"):
        assert getattr(planned, name) == getattr(loaded, name)
    modules = ("mid_block", "up_blocks.0")
    assert planned.activation_shapes(modules) == loaded.activation_shapes(modules)
    assert ModelCost(planned).embed_flops > 0
    lacking = shutil.copytree(saved, tmp_path / "lacking")
    shutil.rmtree(lacking / "tokenizer_2")
    with pytest.raises(UserError, match=r"lacks tokenizer_2/vocab\.json and tokenizer_2/merges"):
        LatentDiffusion.from_pretrained(lacking)
    index = json.loads((saved / "model_index.json").read_text())
    other = shutil.copytree(saved, tmp_path / "other")
    index["force_zeros_for_empty_prompt"] = False
    (other / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="force_zeros_for_empty_prompt is not true"):
        LatentDiffusion.from_pretrained(other)


def test_the_published_model_is_planned_before_it_is_there(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    adapter = IPAdapter("ip-adapter_sdxl_vit-h.safetensors")
    planned = Architecture.from_pretrained(
        "stabilityai/stable-diffusion-xl-base-1.0", local_files_only=True, ip_adapter=adapter
    )
    assert planned.image_size == 1024
    assert planned.conditioning_shape == (78, 2048)
    assert planned.embedding_width == 1024
    plain = Architecture.from_pretrained(
        "stabilityai/stable-diffusion-xl-base-1.0", local_files_only=True
    )
    unet = sum(p.numel() for p in plain.networks.unet.parameters())
    assert unet == 2_567_463_684  # the published model's
    second = plain.networks.text.encoders[1]
    assert sum(p.numel() for p in second.parameters()) == 694_659_840


def test_half_precision_leaves_its_autoencoder_in_float32(parts):
    assert wrapped(parts, dtype="float16").networks.vae.dtype == torch.float32
    assert wrapped(parts, dtype="bfloat16").networks.vae.dtype == torch.bfloat16


def test_one_text_encoder_is_too_few(parts):
    own = vars(copy.deepcopy(parts))
    names = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
    with pytest.raises(UserError, match="needs inputs beside latents and text"):
        LatentDiffusion.from_components(**{name: own[name] for name in names}, device="cpu")
