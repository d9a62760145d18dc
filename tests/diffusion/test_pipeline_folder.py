"""Pipeline folders: the ones diffusers writes, older layouts, and every way to be broken."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.diffusion.pipeline_folder import find_pipeline, hash_files
from vox2pix.errors import UserError


def load(folder) -> LatentDiffusion:
    return LatentDiffusion.from_pretrained(folder, device="cpu")


@pytest.fixture
def broken(saved_pipeline, tmp_path) -> Path:
    """Return a copy of the pipeline folder to break."""
    return Path(shutil.copytree(saved_pipeline, tmp_path / "broken"))


def draw(model: LatentDiffusion) -> np.ndarray:
    """Return images that every component takes part in."""
    text = model.embed_captions([("a red disc",)])
    z = model.encode_images(np.full((1, 16, 16, 3), 0.25, np.float32))
    return model.decode_latents(model.denoise({"start": z, "text": text}, [3], steps=5))


def test_a_saved_pipeline_draws_what_diffusers_loads(saved_pipeline):
    pipeline = StableDiffusionPipeline.from_pretrained(saved_pipeline, safety_checker=None)
    names = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
    oracle = LatentDiffusion.from_components(
        **{name: getattr(pipeline, name) for name in names}, device="cpu"
    )
    np.testing.assert_array_equal(draw(load(saved_pipeline)), draw(oracle))


def test_identity_names_files_and_hashes(saved_pipeline, tmp_path):
    identity = load(saved_pipeline).identity
    assert identity["name"] == "tiny"
    assert identity["revision"] is None
    weights = "unet/diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256((saved_pipeline / weights).read_bytes()).hexdigest()
    assert identity["sha256"][weights] == digest
    assert set(identity["sha256"]) >= {
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
    }
    # another place, the same model
    moved = shutil.copytree(saved_pipeline, tmp_path / "elsewhere" / "tiny")
    assert load(moved).identity == identity
    # what the model does not read is not part of it
    (Path(moved) / "README.md").write_text("a model card")
    assert hash_files(Path(moved)) == identity["sha256"]


def test_names_of_tensors_and_files_as_in_the_first_releases(saved_pipeline, broken):
    """Stable Diffusion v1.4's files name attention and text layers in an older way."""
    expected = draw(load(saved_pipeline))
    path = broken / "vae/diffusion_pytorch_model.safetensors"
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(path).items():
        for new, old in older.items():
            if ".attentions." in name:
                name = name.replace(new, old)
        tensors[name] = tensor
    assert any(".query." in name for name in tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    path = broken / "text_encoder/model.safetensors"
    tensors = {
        f"text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in load_file(path).items()
    }
    tensors["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    save_file(tensors, path, metadata={"format": "pt"})
    fast = json.loads((broken / "tokenizer/tokenizer.json").read_text())
    (broken / "tokenizer/tokenizer.json").unlink()
    (broken / "tokenizer/vocab.json").write_text(json.dumps(fast["model"]["vocab"]))
    (broken / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    np.testing.assert_array_equal(draw(load(broken)), expected)


def test_sharded_weights_are_read_and_hashed(saved_pipeline, broken):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(saved_pipeline / "unet")
    shutil.rmtree(broken / "unet")
    unet.save_pretrained(broken / "unet", max_shard_size="40KB")
    shards = sorted(path.name for path in (broken / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    model = load(broken)
    assert {f"unet/{shard}" for shard in shards} < set(model.identity["sha256"])
    np.testing.assert_array_equal(draw(model), draw(load(saved_pipeline)))


@pytest.mark.parametrize(
    "file",
    [
        "vae/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_missing_file_is_named(broken, file):
    (broken / file).unlink()
    with pytest.raises(UserError, match=f"broken lacks {file}; fetch or save the whole pipeline"):
        load(broken)


def test_a_missing_tokenizer_is_named(broken):
    shutil.rmtree(broken / "tokenizer")
    with pytest.raises(UserError, match=r"lacks tokenizer/vocab.json and tokenizer/merges.txt"):
        load(broken)


def test_pickled_weights_are_refused(broken):
    path = broken / "unet/diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(UserError, match=r"unet holds pickled weights only.*safetensors"):
        load(broken)


def test_incomplete_weights_are_refused(broken):
    """The loaders would warn and go on with random numbers."""
    for part in ("vae/diffusion_pytorch_model", "text_encoder/model"):
        path = broken / f"{part}.safetensors"
        tensors = load_file(path)
        whole = path.read_bytes()
        gone = sorted(tensors)[-1]
        del tensors[gone]
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"lack 1 tensors .* fetch or save this component"):
            load(broken)
        path.write_bytes(whole)
    load(broken)


def test_truncated_weights_are_refused(broken):
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        path = broken / f"{part}.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UserError, match=rf"{path.parent.name}.*safetensors is .*fetch or save"):
            load(broken)
        path.write_bytes(whole)


def test_weights_of_another_size_are_refused(broken):
    path = broken / "unet/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "block_out_channels": [8, 24]}))
    with pytest.raises(UserError, match=r"Cannot read .*unet \("):
        load(broken)


def test_another_kind_of_pipeline_is_refused(broken):
    path = broken / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "unet": ["diffusers", "SD3Transformer2DModel"]}))
    with pytest.raises(UserError, match="unet is SD3Transformer2DModel, and vox2pix reads UNet2D"):
        load(broken)
    path.write_text(json.dumps({**index, "text_encoder": [None, None]}))
    with pytest.raises(UserError, match="text_encoder is missing, and vox2pix reads CLIPTextModel"):
        load(broken)


def test_a_folder_that_is_no_pipeline_or_not_json(broken):
    (broken / "model_index.json").write_text("{")
    with pytest.raises(UserError, match=r"model_index\.json is truncated"):
        load(broken)
    (broken / "model_index.json").write_text("[]")
    with pytest.raises(UserError, match=r"model_index.json does not hold a JSON object"):
        load(broken)
    with pytest.raises(UserError, match=r"unet is not a diffusers pipeline folder \(no model_ind"):
        load(broken / "unet")


@pytest.mark.parametrize("name", ["no-such-model", "./models/sd", "/models/sd", "a/b/c", ""])
def test_a_missing_folder_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not name:
        (tmp_path / "empty").mkdir()
        name = str(tmp_path / "empty" / "gone")
    with pytest.raises(UserError, match=f"There is no model folder '{name}'.*'phantom'"):
        find_pipeline(name)


def test_a_misspelt_phantom_is_guessed():
    with pytest.raises(UserError, match=r"'phantm' \(did you mean 'phantom'\?\)"):
        find_pipeline("phantm")


def test_the_phantom_is_in_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path / name)
    with pytest.raises(UserError, match=r"not in the package.*reinstall vox2pix"):
        find_pipeline("phantom")
    (tmp_path / "vox2pix/phantom/model").mkdir(parents=True)
    found = find_pipeline("phantom")
    assert (found.path, found.name, found.revision) == (
        tmp_path / "vox2pix/phantom/model",
        "phantom",
        None,
    )


def test_a_hub_that_does_not_answer(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("Name or service not known\nand a long trace")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(UserError) as caught:
        find_pipeline("CompVis/stable-diffusion-v1-4", revision="fp16")
    assert str(caught.value) == (
        "Cannot get the model 'CompVis/stable-diffusion-v1-4' at revision 'fp16' on the Hugging "
        "Face Hub (Name or service not known); check the name, the revision, the network and your "
        "access to the model, or give a folder that holds a downloaded copy."
    )


def test_a_model_that_the_cache_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"'CompVis/sd' in this machine's cache \("):
        find_pipeline("CompVis/sd", local_files_only=True)


def test_the_hub_gives_only_what_is_read(saved_pipeline, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked = {}

    def download(name, revision, local_files_only, allow_patterns):
        from huggingface_hub.utils import filter_repo_objects

        asked.update(name=name, revision=revision, local_files_only=local_files_only)
        files = [
            path.relative_to(saved_pipeline).as_posix()
            for path in saved_pipeline.rglob("*")
            if path.is_file()
        ]
        files += [
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "safety_checker/model.safetensors",
            "sd-v1-4.ckpt",
            "unet/pipeline.py",
        ]
        target = tmp_path / commit
        for file in filter_repo_objects(files, allow_patterns=allow_patterns):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(saved_pipeline / file, target / file)
        return str(target)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = LatentDiffusion.from_pretrained("lab/tiny", revision="main", device="cpu")
    assert asked == {"name": "lab/tiny", "revision": "main", "local_files_only": False}
    assert (model.identity["name"], model.identity["revision"]) == ("lab/tiny", commit)
    assert model.identity["sha256"] == load(saved_pipeline).identity["sha256"]
