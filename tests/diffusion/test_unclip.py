"""Images drawn by an unCLIP model, against diffusers' pipeline and the steps written out."""

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
    DDPMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from diffusion.conftest import SCHEDULER, save_adapter, tiny_components
from diffusion.test_latent_diffusion import generators
from vox2pix.diffusion import Architecture, IPAdapter, LatentDiffusion, ModelCost, UnClip
from vox2pix.diffusion._architecture import configurations
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for

WIDTH = 12
SEEDS = [11, 2**62 + 3]


def narrow_unclip() -> SimpleNamespace:
    """Return Stable Diffusion 2.1 unCLIP's build, but for widths, its text encoder and 128 px."""
    torch.manual_seed(0)
    published, tiny = configurations("stabilityai/stable-diffusion-2-1-unclip"), tiny_components()
    narrow = {
        "block_out_channels": (32, 64, 64, 64),
        "attention_head_dim": (2, 4, 4, 4),
        "sample_size": 16,
        "cross_attention_dim": 16,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * WIDTH,
    }
    normalizer = StableUnCLIPImageNormalizer(WIDTH)
    with torch.no_grad():
        normalizer.mean.normal_()
        normalizer.std.uniform_(0.5, 2)
    return SimpleNamespace(
        vae=AutoencoderKL(**published["vae"] | {"block_out_channels": (32,) * 4}).eval(),
        unet=UNet2DConditionModel(**published["unet"] | narrow).eval(),
        text_encoder=tiny.text_encoder,
        tokenizer=tiny.tokenizer,
        scheduler=DDIMScheduler(**SCHEDULER, prediction_type="v_prediction"),
        image_normalizer=normalizer,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    )


def as_unclip(parts: SimpleNamespace) -> StableUnCLIPImg2ImgPipeline:
    """Return diffusers' own pipeline over the same components."""
    config = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        image_size=8, patch_size=8, projection_dim=WIDTH,
    )  # fmt: skip
    pipeline = StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(),
        image_encoder=CLIPVisionModelWithProjection(config),
        **vars(parts),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def wrapped(parts: SimpleNamespace, noise_level: int = 0, **changed) -> LatentDiffusion:
    own = vars(copy.deepcopy(parts))
    image = UnClip(own.pop("image_normalizer"), own.pop("image_noising_scheduler"), noise_level)
    return LatentDiffusion.from_components(**{**own, "image": image, "device": "cpu", **changed})


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    return narrow_unclip()


@pytest.fixture(scope="module")
def model(parts) -> LatentDiffusion:
    return wrapped(parts)


@pytest.fixture(scope="module")
def inputs(model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "start": rng.standard_normal((2, *model.latent_shape)).astype(np.float32),
        "text": rng.standard_normal((2, *model.conditioning_shape)).astype(np.float32),
        "image": rng.standard_normal((2, WIDTH)).astype(np.float32),
    }


def noise_of_embeddings() -> list[torch.Generator]:
    return generators([seed_for(seed, "image embedding") for seed in SEEDS])


@pytest.mark.parametrize(
    ("names", "level", "guidance"),
    [(("image",), 0, 5.0), (("image", "text"), 300, 5.0), (("image",), 300, 1.0)],
)
def test_from_noise_it_is_diffusers_pipeline(parts, inputs, names, level, guidance):
    model = wrapped(parts, level)
    ports = {name: inputs[name] for name in names}
    empty = torch.tensor(np.broadcast_to(model.empty_prompt, (2, *model.conditioning_shape)))
    noise = [torch.randn(model.latent_shape, generator=each) for each in generators(SEEDS)]
    expected = as_unclip(copy.deepcopy(parts))(
        image_embeds=torch.from_numpy(ports["image"]),
        prompt_embeds=torch.from_numpy(ports["text"]) if "text" in ports else empty,
        negative_prompt_embeds=empty,
        noise_level=level,
        guidance_scale=guidance,
        num_inference_steps=4,
        latents=torch.stack(noise),
        generator=noise_of_embeddings(),
        output_type="latent",
    ).images.numpy()
    drawn = model.denoise(ports, SEEDS, steps=4, guidance=guidance)
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    other = model.denoise(
        ports | {"image": ports["image"][::-1]}, SEEDS, steps=4, guidance=guidance
    )
    assert np.abs(other - drawn).max() > 1e-2  # far beyond the tolerance


@pytest.mark.parametrize("names", [("start", "image"), ("start", "text", "image"), ("start",)])
def test_from_a_start_it_is_the_steps_written_out(parts, model, inputs, names):
    ports = {name: inputs[name] for name in names}
    scheduler = DDIMScheduler.from_config(parts.scheduler.config)
    scheduler.set_timesteps(4)  # 751, 501, 251, 1
    level = scheduler.alphas_cumprod[501]
    noise = torch.stack([torch.randn(model.latent_shape, generator=g) for g in generators(SEEDS)])
    z = level.sqrt() * torch.from_numpy(ports["start"]) + (1 - level).sqrt() * noise
    empty = torch.tensor(np.broadcast_to(model.empty_prompt, (2, *model.conditioning_shape)))
    text = torch.from_numpy(ports.get("text", empty.numpy()))
    zeros = torch.zeros(2, 2 * WIDTH)
    classes = zeros
    if "image" in ports:
        normalizer, alpha = parts.image_normalizer, parts.image_noising_scheduler.alphas_cumprod[0]
        own = torch.stack([torch.randn(WIDTH, generator=each) for each in noise_of_embeddings()])
        with torch.inference_mode():
            scaled = (torch.from_numpy(ports["image"]) - normalizer.mean) / normalizer.std
            noised = alpha.sqrt() * scaled + (1 - alpha).sqrt() * own
            noised = noised * normalizer.std + normalizer.mean
        step = get_timestep_embedding(
            torch.zeros(2), WIDTH, flip_sin_to_cos=True, downscale_freq_shift=0
        )
        classes = torch.cat([noised, step], dim=1)
    with torch.inference_mode():
        for t in (501, 251, 1):
            e = [
                parts.unet(z, t, encoder_hidden_states=c, class_labels=labels).sample
                for c, labels in ((empty, zeros), (text, classes))
            ]
            z = scheduler.step(e[0] + 5 * (e[1] - e[0]), t, z).prev_sample
    drawn = model.denoise(ports, SEEDS, strength=0.75, steps=4)
    np.testing.assert_allclose(drawn, z.numpy(), atol=1e-4)


def test_the_noise_of_an_embedding_belongs_to_its_row(parts, inputs):
    model = wrapped(parts, 300)
    ports = {"image": inputs["image"]}
    both = model.denoise(ports, SEEDS, steps=2)
    alone = model.denoise({"image": ports["image"][1:]}, SEEDS[1:], steps=2)
    np.testing.assert_allclose(alone, both[1:], atol=1e-4)
    less = wrapped(parts, 0).denoise(ports, SEEDS, steps=2)
    assert np.abs(less - both).max() > 1e-3


def test_what_does_not_fit_is_refused(parts, model, tmp_path):
    adapter = IPAdapter(save_adapter(parts.unet, WIDTH, tmp_path / "adapter.safetensors"))
    for image in (None, adapter):
        with pytest.raises(UserError, match="takes embeddings of images by itself, as in unCLIP"):
            wrapped(parts, image=image)
    with pytest.raises(UserError, match="takes no embeddings of images by itself, and unCLIP"):
        wrapped(parts, unet=tiny_components().unet)
    narrow = UnClip(StableUnCLIPImageNormalizer(8), parts.image_noising_scheduler)
    with pytest.raises(UserError, match="takes embeddings of 12 numbers, and the image normaliser"):
        wrapped(parts, image=narrow)
    for level in (-1, 1000):
        with pytest.raises(UserError, match=f"is 0 to 999, not {level}"):
            wrapped(parts, level)


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory) -> Path:
    """Return the folder that diffusers itself writes."""
    folder = tmp_path_factory.mktemp("models") / "unclip"
    as_unclip(copy.deepcopy(parts)).save_pretrained(folder)
    return folder


def test_a_saved_pipeline_is_read_and_planned(saved, model, inputs, tmp_path):
    loaded = LatentDiffusion.from_pretrained(saved, device="cpu")
    assert loaded.ports == ("start", "text", "image")
    assert loaded.embedding_width == WIDTH
    assert "image_normalizer/diffusion_pytorch_model.safetensors" in loaded.identity["sha256"]
    assert "image_noising_scheduler/scheduler_config.json" in loaded.identity["sha256"]
    np.testing.assert_allclose(
        loaded.denoise(inputs, SEEDS, steps=2), model.denoise(inputs, SEEDS, steps=2), atol=1e-5
    )
    planned = Architecture.from_pretrained(saved)
    for name in ("ports", "embedding_width", "module_names"):
        assert getattr(planned, name) == getattr(loaded, name)
    modules = ("mid_block", "up_blocks.0")
    assert planned.activation_shapes(modules) == loaded.activation_shapes(modules)
    assert ModelCost(planned).denoise_flops > 0
    with pytest.raises(UserError, match="use it without an IP-Adapter"):
        LatentDiffusion.from_pretrained(saved, ip_adapter=IPAdapter(tmp_path / "any"))
    lacking = shutil.copytree(saved, tmp_path / "lacking")
    (lacking / "image_normalizer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="image_normalizer"):
        LatentDiffusion.from_pretrained(lacking)


def test_a_noise_level_is_for_unclip_models(saved, inputs, saved_pipeline):
    noisy = LatentDiffusion.from_pretrained(saved, device="cpu", noise_level=300)
    exact = LatentDiffusion.from_pretrained(saved, device="cpu")
    ports = {"image": inputs["image"]}
    apart = noisy.denoise(ports, SEEDS, steps=2) - exact.denoise(ports, SEEDS, steps=2)
    assert np.abs(apart).max() > 1e-3
    with pytest.raises(UserError, match="noise level of 300 is for embeddings of unCLIP models"):
        LatentDiffusion.from_pretrained(saved_pipeline, noise_level=300)


def test_the_published_model_is_planned_before_it_is_there(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    planned = Architecture.from_pretrained(
        "stabilityai/stable-diffusion-2-1-unclip", local_files_only=True
    )
    assert planned.ports == ("start", "text", "image")
    assert (planned.embedding_width, planned.image_size) == (1024, 768)


def test_identity_names_the_normaliser(model, parts):
    changed = copy.deepcopy(parts)
    with torch.no_grad():
        changed.image_normalizer.mean.add_(1)
    first, second = (json.dumps(m.identity["sha256"]) for m in (model, wrapped(changed)))
    assert first != second
