"""Conditions of a reconstruction, against a model whose every step can be worked out by hand."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vox2pix.diffusion import LatentDiffusion
from vox2pix.errors import UserError
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.targets import StartSettings
from vox2pix.targets._start import resize_images, start_seeds
from vox2pix.targets.z import ImageLatent

FACTOR = 4
SETTINGS = ReconstructionSettings(samples=3)


class GlassModel:
    """A see-through model: latents are block means of images, denoising adds and records.

    ``denoise`` returns start * (1 - strength) + the seed's noise + the mean of the conditioning,
    so that each ingredient can be read off the image.
    """

    image_size = 16
    latent_shape = (3, 4, 4)
    device = torch.device("cpu")
    ports = ("start", "text")

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []

    def encode_images(self, images, seeds=None, batch_size=8):
        assert seeds is None, "the start is the posterior's mode"
        n, height, width, _ = images.shape
        blocks = images.reshape(n, height // FACTOR, FACTOR, width // FACTOR, FACTOR, 3)
        return blocks.mean((2, 4)).transpose(0, 3, 1, 2).astype(np.float32)

    def decode_latents(self, latents, batch_size=8):
        images = np.asarray(latents).transpose(0, 2, 3, 1)
        images = images.repeat(FACTOR, axis=1).repeat(FACTOR, axis=2)
        return np.clip(images, 0, 1).astype(np.float32)

    def batch_size(self, guidance):
        return 8

    def denoise(self, ports, seeds, *, batch_size, **settings):
        self.calls.append(SimpleNamespace(seeds=list(seeds), settings=settings))
        assert len(seeds) <= batch_size
        noise = np.array([self.noise(seed) for seed in seeds])[:, None, None, None]
        z = np.zeros((len(seeds), *self.latent_shape)) + noise
        if "start" in ports:
            z += ports["start"] * (1 - settings["strength"])
        if "text" in ports:
            z += ports["text"].mean((1, 2))[:, None, None, None]
        return z.astype(np.float32)

    @staticmethod
    def noise(seed: int) -> float:
        return int(seed) % 97 / 1000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def inputs(rng) -> SimpleNamespace:
    """Return 4 stimuli: z of 8 px images, c, seeds."""
    return SimpleNamespace(
        z=rng.uniform(0.2, 0.8, (4, 3, 2, 2)).astype(np.float32),
        c=rng.uniform(0, 0.4, (4, 5, 7)).astype(np.float32),
        seeds=image_seeds(0, ["a", "b", "c", "d"], 3),
    )


def through_a_file(image: np.ndarray, size: int) -> np.ndarray:
    """Return what an image becomes when it is saved as 8 bit, opened and resized."""
    image = Image.fromarray(np.uint8(np.floor(image * 255 + 0.5)), "RGB")
    return np.asarray(image.resize((size, size), Image.BICUBIC), np.float64) / 255


def expected_image(inputs, condition: str, stimulus: int, sample: int) -> np.ndarray:
    """Return one image of the glass model, step by step."""
    model = GlassModel()
    z = np.full(model.latent_shape, model.noise(inputs.seeds[stimulus, sample]))
    if "z" in condition:
        coarse = model.decode_latents(inputs.z[stimulus : stimulus + 1])[0]
        larger = through_a_file(coarse, 16)
        z = z + 0.2 * model.encode_images(larger[None])[0]
    if "c" in condition:
        z = z + inputs.c[stimulus].mean()
    return model.decode_latents(z[None])[0]


def drawn(inputs, condition: str, model=None, rows: slice = slice(None), **options) -> np.ndarray:
    """Return images of a condition from some rows of the inputs."""
    options = {"settings": SETTINGS, "seeds": inputs.seeds[rows], **options}
    values = {name: getattr(inputs, name)[rows] for name in condition.split("+")}
    return reconstruct(model or GlassModel(), values, **options)


@pytest.mark.parametrize("condition", ["z", "c", "z+c"])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("overlap", [False, True])
def test_conditions_against_the_steps_by_hand(inputs, condition, batch_size, overlap):
    images = drawn(inputs, condition, batch_size=batch_size, overlap=overlap)
    assert images.shape == (4, 3, 16, 16, 3)
    assert images.dtype == np.float32
    for stimulus in range(4):
        for sample in range(3):
            expected = expected_image(inputs, condition, stimulus, sample)
            np.testing.assert_allclose(images[stimulus, sample], expected, atol=1e-6)


def test_the_image_of_z_alone_is_the_plain_decode(inputs):
    model = GlassModel()
    images = ImageLatent().images(model, inputs.z)
    assert images.shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(images, model.decode_latents(inputs.z))
    assert not model.calls


def test_all_conditions_use_the_same_seeds(inputs):
    seen = []
    for condition in ("z", "c", "z+c"):
        model = GlassModel()
        drawn(inputs, condition, model, batch_size=5)
        seen.append([seed for call in model.calls for seed in call.seeds])
    assert seen[0] == seen[1] == seen[2] == inputs.seeds.ravel().tolist()


def test_settings_reach_the_model(inputs):
    model = GlassModel()
    settings = ReconstructionSettings(0.6, 20, 3.0, "takagi2023", samples=3)
    drawn(inputs, "z", model, settings=settings)
    assert model.calls[0].settings == {
        "strength": 0.6,
        "steps": 20,
        "guidance": 3.0,
        "schedule": "takagi2023",
    }


def test_the_released_start_is_cut_to_8_bit_and_a_draw_from_the_posterior(inputs):
    class Drawing(GlassModel):
        def encode_images(self, images, seeds=None, batch_size=8):
            self.given, self.seeds = images, seeds
            return super().encode_images(images)

    model = Drawing()
    settings = ReconstructionSettings(samples=3, truncate=True, sample_start=True)
    drawn(inputs, "z+c", model, settings=settings)
    coarse = model.decode_latents(inputs.z)
    levels = [Image.fromarray((image * 255).astype(np.uint8)) for image in coarse]
    larger = [np.asarray(image.resize((16, 16), Image.BICUBIC)) / 255 for image in levels]
    np.testing.assert_allclose(model.given, larger, atol=1e-6)
    assert len(set(model.seeds)) == 4
    np.testing.assert_array_equal(model.seeds, start_seeds(inputs.seeds))
    assert not set(model.seeds) & set(inputs.seeds.ravel())  # other draws than the noise's


def test_defaults_are_the_papers():
    settings = ReconstructionSettings()
    assert (settings.strength, settings.steps, settings.guidance) == (0.8, 50, 5.0)
    assert (settings.samples, settings.schedule, settings.quantize) == (5, "diffusers", True)


def test_a_stimulus_does_not_depend_on_its_block(inputs):
    whole = drawn(inputs, "z+c")
    for block in (slice(0, 1), slice(1, 4)):
        np.testing.assert_array_equal(drawn(inputs, "z+c", rows=block), whole[block])


def test_no_stimuli_no_images(inputs):
    images = drawn(inputs, "z+c", rows=slice(0))
    assert images.shape == (0, 3, 16, 16, 3)


def test_progress_counts_images(inputs):
    calls = []
    drawn(inputs, "z", batch_size=5, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(5, 12), (10, 12), (12, 12)]


def test_a_batch_is_decoded_beside_the_next_ones_denoising(inputs, monkeypatch):
    model = GlassModel()
    denoise, decode = model.denoise, model.decode_latents
    decodes = threading.Event()

    def wait_for_the_decoding(*args, **settings):
        assert not model.calls or decodes.wait(10), "the first batch is not being decoded"
        return denoise(*args, **settings)

    def decode_at_last(latents, batch_size):
        if latents.shape[1:] == model.latent_shape and model.calls:
            decodes.set()
        return decode(latents)

    monkeypatch.setattr(model, "denoise", wait_for_the_decoding)
    monkeypatch.setattr(model, "decode_latents", decode_at_last)
    drawn(inputs, "c", model, batch_size=6, overlap=True)
    assert len(model.calls) == 2


def test_overlap_draws_the_same_bytes_of_a_real_model(inputs):
    model = LatentDiffusion.from_pretrained("phantom", device="cpu")
    c = model.embed_captions([("a red ball",), ("two boxes on sand",), ("a star at night",)])
    settings = ReconstructionSettings(steps=2, samples=2)
    one, other = (
        reconstruct(
            model,
            {"c": c},
            seeds=inputs.seeds[:3, :2],
            settings=settings,
            batch_size=2,
            overlap=overlap,
        )
        for overlap in (False, True)
    )
    np.testing.assert_array_equal(one, other)


def test_the_start_goes_through_the_autoencoder_even_at_the_same_size(rng):
    model = GlassModel()
    z = rng.uniform(-0.5, 1.5, (2, 3, 4, 4)).astype(np.float32)
    exact = ImageLatent().port_input(model, z, start=StartSettings(quantize=False))
    # what no image can show is gone: the glass model's images end at 0 and 1
    np.testing.assert_allclose(exact, np.clip(z, 0, 1), atol=1e-6)
    coarse = ImageLatent().port_input(model, z, batch_size=1)
    np.testing.assert_allclose(coarse, np.rint(np.clip(z, 0, 1) * 255) / 255, atol=1e-6)
    assert np.abs(coarse - exact).max() > 1e-4
    as_it_is = ImageLatent().port_input(model, z, start=StartSettings(through_image=False))
    np.testing.assert_array_equal(as_it_is, z)


def test_resize_is_pillows(rng):
    # away from 0 and 1: with 8 bit Pillow clips between its two passes, with floats it does not
    images = rng.uniform(0.3, 0.7, (2, 8, 8, 3)).astype(np.float32)
    small = resize_images(images, 20)
    assert small.dtype == np.float32
    for image, resized in zip(images, small, strict=True):
        np.testing.assert_allclose(resized, through_a_file(image, 20), atol=1e-6)
    fine = resize_images(images, 20, quantize=False)
    assert fine.dtype == np.float32
    assert 0 < np.abs(fine - small).max() < 0.01


def test_resize_stays_within_range():
    edge = np.zeros((1, 8, 8, 3), np.float32)
    edge[:, :, 4:] = 1
    for quantize in (True, False):
        resized = resize_images(edge, 20, quantize)
        assert (resized.min(), resized.max()) == (0, 1)


def test_resize_to_the_same_size_only_rounds(rng):
    images = rng.random((1, 8, 8, 3), dtype=np.float32)
    np.testing.assert_array_equal(resize_images(images, 8, quantize=False), images)
    rounded = resize_images(images, 8)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded * 255, np.rint(images * 255), atol=1e-4)


@given(
    ids=st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=6),
    samples=st.integers(1, 4),
    run_seed=st.integers(0, 2**31),
)
def test_seeds_belong_to_stimulus_and_sample(ids, samples, run_seed):
    seeds = image_seeds(run_seed, ids, samples)
    assert seeds.shape == (len(ids), samples)
    assert seeds.dtype == np.int64
    assert len(np.unique(seeds)) == seeds.size
    assert seeds.min() >= 0
    turned = image_seeds(run_seed, ids[::-1], samples + 1)
    np.testing.assert_array_equal(turned[::-1, :samples], seeds)
    assert (image_seeds(run_seed + 1, ids, samples) != seeds).all()


def test_seeds_of_no_stimuli():
    assert image_seeds(0, [], 5).shape == (0, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to draw from: give the values of at least one target"),
        ({"zz": 0}, "no target 'zz'; did you mean 'z'?"),
        ({"true": 0}, "no target 'true'; choose from z, c"),
    ],
)
def test_inputs_that_are_no_targets(inputs, values, message):
    with pytest.raises(UserError, match=message):
        reconstruct(GlassModel(), values, seeds=inputs.seeds)


def test_a_model_without_the_port(inputs):
    model = GlassModel()
    model.ports = ("start",)
    with pytest.raises(UserError, match="'c' enters the generator at the port 'text', and this"):
        drawn(inputs, "z+c", model)


def test_rows_that_do_not_match(inputs):
    with pytest.raises(ValueError, match=r"seeds must have shape \(4, 3\) \(stimuli, samples\)"):
        drawn(inputs, "z", seeds=inputs.seeds[:2])
    inputs.c = inputs.c[:3]
    with pytest.raises(ValueError, match="z has 4 rows and c has 3 rows"):
        drawn(inputs, "z+c")
