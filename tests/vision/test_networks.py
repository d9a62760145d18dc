import importlib.resources
import importlib.util
import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ViTConfig,
    ViTModel,
)

from vox2pix.errors import UserError
from vox2pix.evaluation import (
    NetworkUnavailableError,
    Resizing,
    encoder_hashes,
    image_encoder,
    network,
    two_way,
)
from vox2pix.vision._network import NetworkName, parse_name

ENCODERS = Path(str(importlib.resources.files("vox2pix"))) / "phantom" / "model" / "encoders"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 8,
    }
    config = CLIPConfig(
        text_config=tower
        | {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
        vision_config=tower | {"image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    save_settings(folder)
    return folder


def save_settings(folder: Path, **changed: object) -> None:
    """Save an image processor beside a model of 32 pixels: [-1, 1] unless something is changed."""
    half = [0.5, 0.5, 0.5]
    settings = {
        "do_resize": True,
        "size": 32,
        "resample": 3,
        "image_mean": half,
        "image_std": half,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | changed))


@pytest.fixture
def clip_copy(clip_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip_folder, tmp_path / "clip"))


def images(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((n, size, size, 3), dtype=np.float32)


def embeddings(folder: Path, pixels: np.ndarray) -> np.ndarray:
    """Ask the transformers model itself; pixels (n, height, width, 3), normalised."""
    model = CLIPModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        values = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
        vision = model.vision_model(pixel_values=values)
        return (vision.pooler_output @ model.visual_projection.weight.T).numpy()


def test_is_the_models_image_embedding(clip_folder: Path) -> None:
    given = images(3, 32)
    features = image_encoder(clip_folder, "cpu")(given)
    assert features.dtype == np.float32
    assert features.shape == (3, 8)
    np.testing.assert_allclose(features, embeddings(clip_folder, 2 * given - 1), atol=1e-5)


def test_brings_images_to_the_models_size(clip_folder: Path) -> None:
    given = images(1, 50)
    channels = [
        np.asarray(Image.fromarray(given[0, ..., i]).resize((32, 32), Image.Resampling.BICUBIC))
        for i in range(3)
    ]
    resized = np.clip(np.stack(channels, axis=-1), 0, 1)[None]
    expected = embeddings(clip_folder, 2 * resized - 1)
    np.testing.assert_allclose(image_encoder(clip_folder, "cpu")(given), expected, atol=1e-4)


def test_takes_the_models_own_mean_and_deviation(clip_copy: Path) -> None:
    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    save_settings(clip_copy, image_mean=mean, image_std=std)
    given = images(2, 32)
    expected = embeddings(clip_copy, (given - np.array(mean)) / np.array(std))
    np.testing.assert_allclose(image_encoder(clip_copy, "cpu")(given), expected, atol=1e-5)
    save_settings(clip_copy, do_normalize=False)
    expected = embeddings(clip_copy, given)
    np.testing.assert_allclose(image_encoder(clip_copy, "cpu")(given), expected, atol=1e-5)
    save_settings(clip_copy, image_mean=0.5)
    with pytest.raises(UserError, match=r"image_mean is 0\.5, and must be a list of three numbers"):
        image_encoder(clip_copy, "cpu")


def test_the_batch_size_changes_nothing(clip_folder: Path) -> None:
    given = images(7, 32)
    whole = image_encoder(clip_folder, "cpu", batch_size=7)(given)
    for batch_size in (1, 3, 64):
        features = image_encoder(str(clip_folder), "cpu", batch_size)(given)
        np.testing.assert_allclose(features, whole, atol=1e-5)
    with pytest.raises(ValueError, match="at least one image, not 0"):
        image_encoder(clip_folder, batch_size=0)


def test_pixels_need_no_network() -> None:
    given = images(3, 4)
    np.testing.assert_array_equal(image_encoder("pixels")(given), given.reshape(3, -1))


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(UserError, match=r"no image encoder 'resnet'. Give 'phantom', 'pixels', a"):
        image_encoder("resnet")


def hub(monkeypatch: pytest.MonkeyPatch, cached: Path | None, fetched: Path | None) -> list[dict]:
    """Stand in for the hub's client; return what it is asked."""
    asked: list[dict] = []

    def snapshot_download(name: str, **options: object) -> str:
        asked.append({"name": name, **options})
        if options.get("local_files_only"):
            if cached is None:
                raise LocalEntryNotFoundError("not in the cache")
            return str(cached)
        if fetched is None:
            raise ConnectionError("the network is unreachable.\nmore")
        return str(fetched)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_hub_name_in_the_cache_asks_no_network(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, cached=clip_folder, fetched=None)
    given = images(2, 32)
    features = image_encoder("openai/clip-vit-large-patch14", "cpu")(given)
    np.testing.assert_array_equal(features, image_encoder(clip_folder, "cpu")(given))
    assert [request["local_files_only"] for request in asked] == [True]


def test_a_hub_name_is_fetched_as_safetensors_only(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clip_folder / "config.json", tmp_path)  # a cache that holds a part
    for cached in (None, tmp_path):
        asked = hub(monkeypatch, cached=cached, fetched=clip_folder)
        image_encoder("openai/clip-vit-large-patch14", "cpu")
        assert [request["name"] for request in asked] == ["openai/clip-vit-large-patch14"] * 2
        for request in asked:
            files = ["config.json", "preprocessor_config.json", "processor_config.json"]
            files += ["model.safetensors"]
            files += ["pytorch_model.bin", "flax_model.msgpack", "tokenizer.json", "README.md"]
            kept = list(filter_repo_objects(files, allow_patterns=request["allow_patterns"]))
            assert kept == files[:4]


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, cached=None, fetched=None)
    sentence = (
        r"Cannot get the image encoder 'openai/clip' from the Hugging Face Hub \(the network is "
        r"unreachable\). Check the name and the network, or give a local folder"
    )
    with pytest.raises(UserError, match=sentence):
        image_encoder("openai/clip")


def test_a_path_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, cached=None, fetched=None)
    for name in (Path("models/clip"), str(tmp_path / "clip"), "models/clip/large", "../clip"):
        with pytest.raises(UserError, match="There is no image encoder"):
            image_encoder(name)
    assert asked == []


def test_a_folder_without_a_vision_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        image_encoder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="does not hold a JSON object"):
        image_encoder(tmp_path)
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=9, intermediate_size=8, **settings)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="of type 'bert', which does not look at images"):
        image_encoder(tmp_path)


def test_weights_that_are_not_all_there(clip_copy: Path) -> None:
    path = clip_copy / "model.safetensors"
    weights = load_file(path)
    save_file(
        {k: v for k, v in weights.items() if k != "visual_projection.weight"},
        path,
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=r"lacks 1 tensors .* first is visual_projection"):
        image_encoder(clip_copy, "cpu")
    path.write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is no safetensors file"):
        image_encoder(clip_copy, "cpu")
    path.unlink()
    torch.save(weights, clip_copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="safe_serialization=True"):
        image_encoder(clip_copy, "cpu")


def test_phantom_absent_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match=r"missing from the package .* Reinstall vox2pix"):
        image_encoder("phantom")


@pytest.mark.skipif(not ENCODERS.is_dir(), reason="the phantom's encoders are not trained yet")
def test_phantom_knows_a_scene_again_in_a_poor_image() -> None:
    from vox2pix.phantom.scenes import render, scene

    seen = np.stack([render(scene(i, 72), 64) for i in range(24)])
    noise = np.random.default_rng(0).normal(0, 0.05, seen.shape)
    poor = np.clip(0.8 * seen + 0.1 + noise, 0, 1).astype(np.float32)
    encode = image_encoder("phantom", "cpu")
    assert two_way(encode(seen), encode(poor)).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("alexnet:features.4@224", ("alexnet", "features.4", 224)),
        ("owner/model-x@518", ("owner/model-x", None, 518)),
        ("phantom:hidden_states.2", ("phantom", "hidden_states.2", None)),
        ("pixels", ("pixels", None, None)),
    ],
)
def test_names_hold_layer_and_size(name: str, parts: tuple) -> None:
    assert parse_name(name) == NetworkName(*parts)


def test_hidden_states_are_read_by_number(clip_folder: Path) -> None:
    given = images(2, 32)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.inference_mode():
        values = torch.from_numpy(2 * given - 1).permute(0, 3, 1, 2).contiguous()
        told = model.vision_model(pixel_values=values, output_hidden_states=True).hidden_states
    for number in (0, 1, 2):
        name = f"{clip_folder.name}:hidden_states.{number}@32"
        features = network(name, weights=clip_folder.parent, device="cpu")(given)
        np.testing.assert_allclose(features, told[number].flatten(1).numpy(), atol=1e-5)
    name = f"{clip_folder.name}:vision_model.encoder.layers.0"
    by_module = network(name, weights=clip_folder.parent, device="cpu")
    np.testing.assert_allclose(by_module(given), told[1].flatten(1).numpy(), atol=1e-5)


def test_any_vision_model_of_transformers_is_read(tmp_path: Path) -> None:
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = ViTModel(ViTConfig(image_size=32, patch_size=16, intermediate_size=8, **settings))
    model.save_pretrained(tmp_path / "vit")
    save_settings(tmp_path / "vit")
    given = images(2, 32)
    features = network(f"{tmp_path / 'vit'}:last_hidden_state", device="cpu")(given)
    with torch.inference_mode():
        values = torch.from_numpy(2 * given - 1).permute(0, 3, 1, 2)
        expected = model.eval()(values).last_hidden_state.flatten(1).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    with pytest.raises(UserError, match="no features of layer 'pooler_output' at 48 pixels"):
        network("vit@48", weights=tmp_path)


def test_a_protocol_decides_how_images_are_resized(clip_folder: Path) -> None:
    given = images(1, 64)
    name = f"{clip_folder.name}:image_embeds@32"
    plain = network(
        name, weights=clip_folder.parent, resizing=Resizing("bilinear", False, 48), device="cpu"
    )
    channels_first = torch.from_numpy(given).permute(0, 3, 1, 2)
    for size in (48, 32):
        channels_first = torch.nn.functional.interpolate(channels_first, size, mode="bilinear")
    resized = channels_first.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(plain(given), embeddings(clip_folder, 2 * resized - 1), atol=1e-5)
    smooth = network(name, weights=clip_folder.parent, device="cpu")
    assert np.abs(smooth(given) - plain(given)).max() > 1e-3


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, cached=None, fetched=None)
    sentence = r"Put its folder clip-vit-large-patch14 .* or allow --download \(1,710 MB\)"
    with pytest.raises(NetworkUnavailableError, match=sentence):
        network("clip-vit-large-patch14:image_embeds@224")
    assert [request["name"] for request in asked] == ["openai/clip-vit-large-patch14"]
    assert asked[0]["local_files_only"] is True


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed"
)
def test_an_absent_torchvision_is_named_with_its_extra() -> None:
    sentence = r"pip install 'vox2pix\[metrics\]'; the default protocol and all transformers"
    with pytest.raises(NetworkUnavailableError, match=sentence):
        network("alexnet:features.4@224")


def test_edges_are_the_length_of_the_lumas_gradient() -> None:
    ramp = np.tile(np.linspace(0, 0.7, 8, dtype=np.float32)[None, :, None], (8, 1, 3))
    edges = network("edges")(ramp[None]).reshape(8, 8)
    # The neighbours to either side differ by 0.2; scikit-image takes the mean square of two axes.
    np.testing.assert_allclose(edges[1:-1, 1:-1], 0.2 / np.sqrt(2), atol=1e-6)
    assert network("edges@4")(ramp[None]).shape == (1, 16)


def test_hashes_name_the_files_of_a_network(clip_folder: Path) -> None:
    files = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert set(encoder_hashes(clip_folder)) == files
    assert encoder_hashes("edges@64") == {}


@pytest.mark.slow
def test_clip_of_the_protocols_has_its_shapes(tmp_path: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    folder = tmp_path / "clip-vit-large-patch14"
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    for layer, width in {
        "image_embeds": 768,
        "hidden_states.6": 257 * 1024,
        "hidden_states.12": 257 * 1024,
    }.items():
        name = f"clip-vit-large-patch14:{layer}@224"
        features = network(name, weights=tmp_path, device="cpu")(images(1, 100))
        assert features.shape == (1, width)
