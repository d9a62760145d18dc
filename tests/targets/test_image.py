"""The target image: the encoder's own embeddings, cached by image and encoder, at full length."""

import importlib.resources
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection as VisionModel

from diffusion.conftest import save_adapter
from vox2pix.data import open_folder
from vox2pix.diffusion import Architecture, IPAdapter, LatentDiffusion, ModelCost
from vox2pix.errors import UserError
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.targets import default_conditions, make_targets, parse_condition, usable
from vox2pix.targets.image import ImageEmbedding
from vox2pix.vision import encoder_size

PHANTOM = Path(str(importlib.resources.files("vox2pix"))) / "phantom" / "model" / "encoders"
IDS = ("wide", "square", "again")


@pytest.fixture(scope="module")
def tower(tmp_path_factory) -> Path:
    """A folder as transformers saves a CLIP image encoder: random weights, crop at the centre."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("encoders") / "tower"
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = CLIPVisionConfig(
        **sizes, num_attention_heads=2, image_size=32, patch_size=8, projection_dim=20
    )
    VisionModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


@pytest.fixture
def subject(tmp_path):
    """Three stimuli without captions; two of them are the same image."""
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    folder.mkdir()
    pixels = {
        "wide": rng.integers(0, 256, (48, 64, 3)),
        "square": rng.integers(0, 256, (50, 50, 3)),
    }
    for name, image in {**pixels, "again": pixels["wide"]}.items():
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{name}.png")
    np.save(tmp_path / "responses.npy", np.eye(3, dtype=np.float32))
    trials = {"stimulus_id": IDS, "session": 1, "run": 1}
    pd.DataFrame(trials).to_csv(tmp_path / "trials.csv", index=False)
    pd.DataFrame({"V1": [1, 1, 1]}).to_csv(tmp_path / "voxels.csv", index=False)
    return open_folder(tmp_path)


def by_transformers(folder: Path, root: Path) -> np.ndarray:
    """Embed the image files by transformers' own processor and model."""
    images = [Image.open(root / "images" / f"{name}.png").convert("RGB") for name in IDS]
    pixels = CLIPImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    with torch.inference_mode():
        return VisionModel.from_pretrained(folder)(pixels["pixel_values"]).image_embeds.numpy()


def test_embeddings_are_those_of_the_encoder_as_transformers_computes_them(
    model, subject, tower, tmp_path
):
    target = ImageEmbedding(encoder=str(tower))
    rows = target.rows(model, subject, tmp_path / "cache").load(IDS)
    assert rows.shape == (3, *target.shape(model)) == (3, 20)
    expected = by_transformers(tower, tmp_path)
    # its processor rounds to 8 bit after resizing
    np.testing.assert_allclose(rows, expected, atol=5e-3 * np.abs(expected).max())
    assert np.abs(rows[0] - rows[1]).max() > 20 * np.abs(rows - expected).max()
    np.testing.assert_array_equal(rows[0], rows[2])


def test_rows_belong_to_the_encoder_and_to_no_diffusion_model(model, subject, tower, tmp_path):
    cache = tmp_path / "cache"
    rows = ImageEmbedding(encoder=str(tower)).rows(model, subject, cache)
    assert rows.absent(IDS) == ["wide", "square"]  # one row for equal images
    rows.load(IDS)
    moved = shutil.copytree(tower, tmp_path / "elsewhere")
    same = ImageEmbedding(encoder=str(moved)).rows(model, subject, cache)
    assert same.absent(IDS) == []
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    other = ImageEmbedding(encoder=str(moved)).rows(model, subject, cache)
    assert other.absent(IDS) == ["wide", "square"]
    phantom = ImageEmbedding().rows(model, subject, cache)
    assert phantom.absent(IDS) == ["wide", "square"]
    assert phantom.load(IDS).shape == (3, 64)


def test_decoded_embeddings_get_the_mean_norm_of_the_training_ones(model, subject, tower, tmp_path):
    target = ImageEmbedding(encoder=str(tower))
    stored = target.rows(model, subject, tmp_path / "cache").stored(IDS)
    statistics = target.training_statistics(stored)
    expected = np.mean([np.sqrt((row**2).sum()) for row in stored.read()])
    np.testing.assert_allclose(statistics["mean_norm"], [expected], rtol=1e-6)
    rng = np.random.default_rng(0)
    decoded = (rng.standard_normal((4, 20)) * [[0.1], [1], [10], [0]]).astype(np.float32)
    rescaled = target.rescaled(decoded, statistics)
    assert rescaled.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rescaled[:3], axis=1), expected, rtol=1e-5)
    for before, after in zip(decoded[:3], rescaled[:3], strict=True):  # the direction stays
        cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
        assert cosine == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(rescaled[3], 0)


def test_it_is_drawn_beside_a_start_and_text_and_without_captions(model):
    targets = make_targets({"z": {}, "c": {}, "image": {}})
    assert list(usable(targets, has_captions=False)) == ["z", "image"]
    ports = ("start", "text", "image")
    for name in ("image", "z+image", "image+c", "z+image+c"):
        assert str(parse_condition(name, targets, ports)) == name
    names = [str(c) for c in default_conditions(usable(targets, has_captions=False))]
    assert names == ["z-decode", "z", "image", "z+image"]
    with pytest.raises(UserError, match=r"'image', .* start, text\. Name an IP-Adapter .*generate"):
        parse_condition("z+image", targets, model.ports)


def test_images_are_drawn_from_it(tmp_path):
    plain = LatentDiffusion.from_pretrained("phantom", device="cpu")
    file = save_adapter(plain.networks.unet, 64, tmp_path / "adapter.safetensors")
    adapted = LatentDiffusion.from_pretrained("phantom", device="cpu", ip_adapter=IPAdapter(file))
    rng, seeds = np.random.default_rng(0), image_seeds(0, ["a", "b"], 2)
    embeddings = rng.standard_normal((2, 64)).astype(np.float32)
    z = rng.standard_normal((2, *adapted.latent_shape)).astype(np.float32)
    settings = ReconstructionSettings(strength=0.5, steps=4, samples=2)
    values = {"z": z, "image": embeddings}
    images = reconstruct(adapted, values, seeds=seeds, settings=settings)
    coarse = np.rint(adapted.decode_latents(z) * 255) / 255
    ports = {
        "start": adapted.encode_images(coarse).repeat(2, axis=0),
        "image": embeddings.repeat(2, axis=0),
    }
    latents = adapted.denoise(ports, seeds.ravel(), strength=0.5, steps=4)
    expected = adapted.decode_latents(latents).reshape(images.shape)
    np.testing.assert_allclose(images, expected, atol=1e-3)
    without = reconstruct(adapted, {"z": z}, seeds=seeds, settings=settings)
    assert np.abs(images - without).mean() > 0.01  # far beyond the tolerance


def test_an_encoder_that_the_model_was_not_trained_with_is_refused(tower, tmp_path):
    plain = LatentDiffusion.from_pretrained("phantom", device="cpu")
    file = save_adapter(plain.networks.unet, 64, tmp_path / "adapter.safetensors")
    architecture = Architecture.from_pretrained("phantom", ip_adapter=IPAdapter(file))
    assert ImageEmbedding().shape(architecture) == (64,)
    with pytest.raises(UserError, match=r"encoder is 'tower', .* 20 numbers, .* takes 64: choose"):
        ImageEmbedding(encoder=str(tower)).shape(architecture)


def test_sizes_are_those_of_the_networks(tower):
    for folder, whole in ((tower, VisionModel), (PHANTOM, CLIPModel)):
        loaded = whole.from_pretrained(folder)
        parts = (
            [loaded] if whole is VisionModel else [loaded.vision_model, loaded.visual_projection]
        )
        n_parameters = sum(p.numel() for part in parts for p in part.parameters())
        found = encoder_size(str(folder))
        assert (found.n_parameters, found.width) == (n_parameters, loaded.config.projection_dim)
    target = ImageEmbedding(encoder=str(tower))
    assert target.memory() == 4 * encoder_size(str(tower)).n_parameters
    cost = ModelCost(Architecture.from_pretrained("phantom"))
    # 17 tokens through 2 blocks of 12 width^2 weights each, multiplied and added
    assert target.flops(cost) > 2 * 17 * 2 * (4 * 32**2 + 2 * 32 * 64)


def test_published_encoders_are_planned_before_they_are_there(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # OpenCLIP's table of models: millions of parameters of the image towers
    for name, width, millions in (
        ("openai/clip-vit-large-patch14", 768, 304),
        ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 1024, 632),
        ("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 1280, 1844),
    ):
        found = encoder_size(name)
        assert found.width == width
        assert found.n_parameters == pytest.approx(millions * 1e6, rel=0.01)
    with pytest.raises(UserError, match="somebody/other is not here"):
        encoder_size("somebody/other")


def test_a_model_that_is_no_clip_is_refused(tower, tmp_path):
    other = shutil.copytree(tower, tmp_path / "other")
    text = (other / "config.json").read_text()
    (other / "config.json").write_text(text.replace('"clip_vision_model"', '"vit"'))
    with pytest.raises(UserError, match=r"type 'vit', and the embedding of an image is that of a"):
        encoder_size(str(other))
