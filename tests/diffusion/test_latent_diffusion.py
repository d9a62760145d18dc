"""The adapter against diffusers' own pipelines and the networks called by hand."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.errors import UserError

CAPTIONS = [("a red disc", "one disc, red"), ("two blue squares at night",), ("", "x", "y")]
SEEDS = [11, 2**62 + 3, 5]


def as_pipeline(kind, parts: SimpleNamespace):
    """Return diffusers' own pipeline over the same components."""
    pipeline = kind(
        vae=parts.vae,
        unet=parts.unet,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        scheduler=DDIMScheduler.from_config(parts.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random_latents(rng, n: int = 3) -> np.ndarray:
    return rng.standard_normal((n, 4, 8, 8)).astype(np.float32)


def test_sizes_and_identity(model, components):
    assert model.image_size == 16
    assert model.downsampling == 2
    assert model.latent_shape == (4, 8, 8)
    assert model.latent_shape_at(20) == (4, 10, 10)
    assert model.conditioning_shape == (12, 16)
    assert model.prediction_type == components.scheduler.config.prediction_type
    assert model.identity["latent_scale"] == model.latent_scale == 0.18215
    assert json.loads(json.dumps(model.identity)) == model.identity
    assert set(model.identity["sha256"]) == {"vae", "unet", "text_encoder"}


def test_identity_follows_the_weights(components):
    changed = copy.deepcopy(components)
    with torch.no_grad():
        next(changed.unet.parameters()).add_(1e-3)
    before = LatentDiffusion.from_components(**vars(components), device="cpu").identity["sha256"]
    after = LatentDiffusion.from_components(**vars(changed), device="cpu").identity["sha256"]
    assert before["vae"] == after["vae"]
    assert before["unet"] != after["unet"]


def test_encode_is_the_scaled_mode_of_the_posterior(model, components, rng):
    images = rng.random((3, 16, 20, 3), dtype=np.float32)
    with torch.inference_mode():
        batch = torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
        expected = components.vae.encode(batch).latent_dist.mode() * 0.18215
    latents = model.encode_images(images)
    assert latents.dtype == np.float32
    assert latents.shape == (3, 4, 8, 10)
    np.testing.assert_allclose(latents, expected.numpy(), atol=1e-6)


def test_encode_draws_each_rows_own_sample(model, components, rng):
    images = rng.random((3, 16, 16, 3), dtype=np.float32)
    with torch.inference_mode():
        batch = torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
        posterior = components.vae.encode(batch).latent_dist
        expected = posterior.sample(generators(SEEDS)) * 0.18215
    latents = model.encode_images(images, seeds=SEEDS)
    np.testing.assert_allclose(latents, expected.numpy(), atol=1e-6)
    alone = model.encode_images(images[1:2], seeds=SEEDS[1:2])
    np.testing.assert_allclose(alone, latents[1:2], atol=1e-5)


def test_decode_equals_the_autoencoder(model, components, rng):
    latents = random_latents(rng) * 3
    with torch.inference_mode():
        drawn = components.vae.decode(torch.from_numpy(latents) / 0.18215).sample
    expected = (drawn / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    images = model.decode_latents(latents, batch_size=2)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, expected, atol=1e-5)
    assert images.min() >= 0
    assert images.max() <= 1


def test_captions_are_embedded_as_diffusers_does_and_averaged(model, components):
    pipeline = as_pipeline(StableDiffusionPipeline, components)
    expected = []
    for paraphrases in CAPTIONS:
        with torch.inference_mode():
            states = pipeline.encode_prompt(list(paraphrases), "cpu", 1, False)[0]
        expected.append(states.mean(0).numpy())
    embedded = model.embed_captions(CAPTIONS, batch_size=4)
    assert embedded.dtype == np.float32
    assert embedded.shape == (3, 12, 16)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    assert np.abs(embedded[0] - embedded[1]).max() > 0.1


def test_long_captions_are_cut(model):
    long = "a very long caption " * 20
    np.testing.assert_allclose(
        model.embed_captions([(long,)]), model.embed_captions([(long + "with more",)]), atol=1e-6
    )


def test_empty_prompt_is_the_empty_caption_and_read_only(model):
    np.testing.assert_allclose(model.empty_prompt, model.embed_captions([("",)])[0], atol=1e-5)
    assert model.empty_prompt is model.empty_prompt
    with pytest.raises(ValueError, match="read-only"):
        model.empty_prompt[0, 0] = 1


@pytest.mark.parametrize(("strength", "eta"), [(0.8, 0.0), (0.37, 0.0), (1.0, 0.0), (0.8, 0.7)])
def test_denoise_equals_diffusers_image_to_image(model, components, rng, strength, eta):
    latents = random_latents(rng)
    conditioning = model.embed_captions(CAPTIONS)
    empty = np.broadcast_to(model.empty_prompt, conditioning.shape)
    expected = as_pipeline(StableDiffusionImg2ImgPipeline, components)(
        image=torch.from_numpy(latents),
        prompt_embeds=torch.from_numpy(conditioning),
        negative_prompt_embeds=torch.tensor(empty),
        strength=strength,
        num_inference_steps=10,
        guidance_scale=5.0,
        eta=eta,
        generator=generators(SEEDS),
        output_type="latent",
    ).images
    denoised = model.denoise(
        {"start": latents, "text": conditioning},
        SEEDS,
        strength=strength,
        steps=10,
        guidance=5.0,
        eta=eta,
    )
    assert denoised.dtype == np.float32
    np.testing.assert_allclose(denoised, expected.numpy(), atol=1e-4)
    # far beyond the tolerance: the conditioning and the guidance take part
    without = model.denoise({"start": latents}, SEEDS, strength=strength, steps=10, eta=eta)
    assert np.abs(denoised - without).max() > 1e-2


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_pure_noise_equals_diffusers_text_to_image(model, components, guidance):
    conditioning = model.embed_captions(CAPTIONS)
    empty = np.broadcast_to(model.empty_prompt, conditioning.shape)
    expected = as_pipeline(StableDiffusionPipeline, components)(
        prompt_embeds=torch.from_numpy(conditioning),
        negative_prompt_embeds=torch.tensor(empty),
        num_inference_steps=10,
        guidance_scale=guidance,
        generator=generators(SEEDS),
        output_type="np",
    ).images
    denoised = model.denoise({"text": conditioning}, SEEDS, steps=10, guidance=guidance)
    np.testing.assert_allclose(model.decode_latents(denoised), expected, atol=1e-4)


def test_takagi2023_noises_one_step_further(model, components, rng):
    latents = random_latents(rng, 1)
    plan = model.plan(0.8, 50, "takagi2023")
    assert (plan.noise_timestep, plan.timesteps[0]) == (801, 781)
    # with 10 steps: 1, 101, ..., 901, of which 8 are run
    plan = model.plan(0.8, 10, "takagi2023")
    assert (plan.noise_timestep, plan.timesteps[0]) == (801, 701)
    c = torch.from_numpy(model.embed_captions(CAPTIONS[:1]))
    # the published sampler, written out: noise with the level at index 8, denoise from 7
    scheduler = DDIMScheduler.from_config(components.scheduler.config)
    scheduler.set_timesteps(10)
    level = scheduler.alphas_cumprod[801]
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(7))
    z = level.sqrt() * torch.from_numpy(latents) + (1 - level).sqrt() * noise
    with torch.inference_mode():
        for timestep in range(701, 0, -100):
            output = components.unet(z, timestep, encoder_hidden_states=c).sample
            z = scheduler.step(output, timestep, z).prev_sample
    denoised = model.denoise(
        {"start": latents, "text": c}, [7], steps=10, schedule="takagi2023", guidance=1
    )
    np.testing.assert_allclose(denoised, z.numpy(), atol=1e-4)
    plain = model.denoise({"start": latents, "text": c}, [7], steps=10, guidance=1)
    assert np.abs(plain - denoised).max() > 1e-3


def test_no_conditioning_is_the_empty_prompt_at_any_guidance(model, rng):
    latents = random_latents(rng, 2)
    empty = model.empty_prompt[None]
    for guidance in (1.0, 5.0):
        np.testing.assert_allclose(
            model.denoise({"start": latents}, [1, 2], steps=5, guidance=guidance),
            model.denoise({"start": latents, "text": empty}, [1, 2], steps=5, guidance=guidance),
            atol=1e-4,
        )


def test_a_row_does_not_depend_on_its_batch(model, rng):
    latents = random_latents(rng, 5)
    conditioning = rng.standard_normal((5, 12, 16)).astype(np.float32)
    seeds = np.arange(5) + 100
    at_once = model.denoise(
        {"start": latents, "text": conditioning}, seeds, steps=5, batch_size=8, eta=0.5
    )
    for size in (1, 2, 3):
        batched = model.denoise(
            {"start": latents, "text": conditioning}, seeds, steps=5, batch_size=size, eta=0.5
        )
        np.testing.assert_allclose(batched, at_once, atol=1e-4)
    turned = model.denoise(
        {"start": latents[::-1], "text": conditioning[::-1]}, seeds[::-1], steps=5, eta=0.5
    )
    np.testing.assert_allclose(turned[::-1], at_once, atol=1e-4)
    images = model.decode_latents(at_once)
    np.testing.assert_allclose(model.decode_latents(at_once, batch_size=2), images, atol=1e-5)
    np.testing.assert_allclose(
        model.encode_images(images, batch_size=2), model.encode_images(images), atol=1e-5
    )
    np.testing.assert_allclose(
        model.embed_captions(CAPTIONS, batch_size=1), model.embed_captions(CAPTIONS), atol=1e-5
    )


def test_the_same_call_gives_the_same_bytes(model, rng):
    latents = random_latents(rng, 2)
    first, second = (model.denoise({"start": latents}, [3, 4], steps=5) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert not np.allclose(first, model.denoise({"start": latents}, [5, 4], steps=5)[0], atol=1e-3)


def test_one_latent_gives_several_samples(model, rng):
    latents = random_latents(rng, 1)
    samples = model.denoise({"start": latents}, [1, 2, 1], steps=5)
    np.testing.assert_allclose(samples[0], samples[2], atol=1e-5)
    assert np.abs(samples[0] - samples[1]).max() > 1e-2


def test_callback_sees_every_step_of_every_batch(model, rng):
    calls = []
    latents = random_latents(rng, 3)
    denoised = model.denoise(
        {"start": latents},
        SEEDS,
        steps=10,
        batch_size=2,
        callback=lambda step, timestep, z: calls.append((step, timestep, z)),
    )
    timesteps = model.plan(0.8, 10).timesteps
    expected = [(step, timestep) for step, timestep in enumerate(timesteps)] * 2
    assert [call[:2] for call in calls] == expected
    last = np.concatenate([z for step, _, z in calls if step == len(timesteps) - 1])
    np.testing.assert_array_equal(last, denoised)
    assert np.abs(calls[0][2] - calls[1][2]).max() > 1e-4


def test_any_family_scheduler_becomes_the_same_ddim(components, rng):
    """SD 1.x ships PNDM's configuration; outdated ones clip samples and start at 0."""
    config = dict(components.scheduler.config)
    outdated = DDIMScheduler.from_config({**config, "clip_sample": True, "steps_offset": 0})
    pndm = PNDMScheduler.from_config({**config, "skip_prk_steps": True})
    latents = random_latents(rng, 1)
    parts = vars(components)
    results = [
        LatentDiffusion.from_components(**{**parts, "scheduler": each}, device="cpu").denoise(
            {"start": latents}, [1], steps=10
        )
        for each in (components.scheduler, outdated, pndm)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_half_precision_stays_near_float32(components, model, rng):
    half = LatentDiffusion.from_components(
        **vars(copy.deepcopy(components)), device="cpu", dtype="bfloat16"
    )
    latents = random_latents(rng, 2)
    rough = half.denoise({"start": latents}, [1, 2], steps=5)
    exact = model.denoise({"start": latents}, [1, 2], steps=5)
    assert rough.dtype == np.float32
    assert half.empty_prompt.dtype == np.float32
    assert np.corrcoef(rough.ravel(), exact.ravel())[0, 1] > 0.99


def test_nothing_in_nothing_out(model):
    assert model.encode_images(np.empty((0, 16, 16, 3))).shape == (0, 4, 8, 8)
    assert model.decode_latents(np.empty((0, 4, 8, 8))).shape == (0, 16, 16, 3)
    assert model.embed_captions([]).shape == (0, 12, 16)
    assert model.denoise({}, []).shape == (0, 4, 8, 8)


def test_threads_and_gradients_are_left_alone(model, rng):
    threads = torch.get_num_threads()
    model.denoise({}, [1], steps=2)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def nan_at(row: int, *shape: int) -> np.ndarray:
    array = np.zeros(shape, np.float32)
    array[row, 0] = np.nan
    return array


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode_images(np.full((1, 16, 16, 3), 255.0)), "divide 8-bit images by"),
        (lambda m: m.encode_images(np.zeros((1, 15, 16, 3))), "image side 15 is no multiple"),
        (lambda m: m.encode_images(np.zeros((1, 3, 16, 16))), r"not \(1, 3, 16, 16\)"),
        (lambda m: m.encode_images(np.zeros((16, 16, 3))), "images must have 4 dimensions"),
        (lambda m: m.encode_images(nan_at(2, 4, 16, 16, 3)), r"infinite values in rows \[2\]"),
        (lambda m: m.encode_images(np.zeros((2, 16, 16, 3)), [1]), "1 seeds for 2 images"),
        (lambda m: m.decode_latents(np.zeros((1, 3, 8, 8))), r"shape \(n, 4, height, width\)"),
        (lambda m: m.decode_latents(nan_at(0, 1, 4, 8, 8)), r"latents hold NaN .* rows \[0\]"),
        (lambda m: m.embed_captions(["a disc"]), r"captions\[0\] must be a sequence"),
        (lambda m: m.embed_captions([("a",), ()]), r"captions\[1\] must be a sequence"),
        (lambda m: m.denoise({"text": np.zeros((1, 9, 16))}, [1]), r"shape \(n, 12, 16\)"),
        (lambda m: m.denoise({"start": np.zeros((2, 4, 8, 8))}, [1, 2, 3]), "2 rows for 3 seeds"),
        (lambda m: m.denoise({}, [0.5]), "seeds must be a row of integers"),
        (lambda m: m.denoise({}, [[1]]), "seeds must be a row of integers"),
        (lambda m: m.denoise({}, [1], steps=0), "steps 0 is outside 1 to 1000"),
        (lambda m: m.denoise({}, [1], steps=1001), "steps 1001 is outside 1 to 1000"),
        (
            lambda m: m.denoise({}, [1], steps=1000),
            "steps 1000 needs timestep 1000, and the last trained one is 999",
        ),
        (lambda m: m.denoise({}, [1], batch_size=0), "batch_size 0 is less than 1"),
        (lambda m: m.latent_shape_at(17), "image side 17 is no multiple of 2"),
    ],
)
def test_bad_arrays_are_named(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_components_that_do_not_fit_are_refused(components):
    config = dict(components.unet.config)
    parts = vars(components)

    def wrap(**changed) -> LatentDiffusion:
        return LatentDiffusion.from_components(**{**parts, **changed}, device="cpu")

    depth = UNet2DConditionModel.from_config({**config, "in_channels": 5})
    with pytest.raises(UserError, match="takes 5 channels and the autoencoder's latents have 4"):
        wrap(unet=depth)
    wide = UNet2DConditionModel.from_config({**config, "cross_attention_dim": 24})
    with pytest.raises(UserError, match="text of width 24 and the text encoder's is 16"):
        wrap(unet=wide)
    oblong = UNet2DConditionModel.from_config({**config, "sample_size": (8, 12)})
    with pytest.raises(UserError, match="no square"):
        wrap(unet=oblong)
    tokenizer = copy.deepcopy(components.tokenizer)
    tokenizer.add_tokens(["<extra>"])
    with pytest.raises(UserError, match="The tokenizer has 515 tokens and the text encoder 514"):
        wrap(tokenizer=tokenizer)


def test_a_port_that_the_model_lacks_is_refused(model):
    assert model.ports == ("start", "text")
    with pytest.raises(UserError, match="no port 'image'; it takes start and text"):
        model.denoise({"image": np.zeros((1, 4))}, [1])
