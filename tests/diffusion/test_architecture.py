import json
import shutil

import pytest

from vox2pix.diffusion import Architecture, LatentDiffusion
from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.errors import UserError
from vox2pix.store import read_json

CONFIG = find_pipeline("phantom").path / "unet" / "config.json"
N_BLOCKS = len(read_json(CONFIG)["block_out_channels"])


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(find_pipeline("phantom").path, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_architecture_alone_equals_that_of_the_loaded_model(folder, spacing):
    edit(folder / "scheduler/scheduler_config.json", timestep_spacing=spacing)
    edit(folder / "unet/config.json", optimization_step=7)  # what training tools leave there
    alone = Architecture.from_pretrained(str(folder))
    model = LatentDiffusion.from_pretrained(folder, device="cpu")
    for name in ("ports", "image_size", "latent_scale", "conditioning_shape", "prediction_type"):
        assert getattr(alone, name) == getattr(model, name)
    assert alone.latent_shape_at(32) == model.latent_shape_at(32)
    assert alone.module_names == model.module_names
    assert alone.latent_shape == model.latent_shape
    modules = ("mid_block", "up_blocks.0")
    channels, height, width = model.latent_shape
    smaller = (channels, height // 2, width // 2)
    expected = model.activation_shapes(modules, smaller)
    assert alone.activation_shapes(modules, smaller) == expected
    # trailing spacing has one timestep more than asked for at 61 steps
    for strength, steps in ((0.8, 50), (0.3, 61), (1.0, 7), (None, 10)):
        assert alone.plan(strength, steps) == model.plan(strength, steps)


def test_stable_diffusion_is_planned_before_its_weights_are_there():
    model = Architecture.from_pretrained("CompVis/stable-diffusion-v1-4", local_files_only=True)
    plan = model.plan(0.8, 50)
    assert (plan.noise_timestep, len(plan.timesteps)) == (781, 40)
    assert model.conditioning_shape == (77, 768)
    assert model.latent_shape_at(320) == (4, 40, 40)
    assert "down_blocks.3" in model.module_names
    with pytest.raises(UserError, match=r"no module .up_blocks\.4.; did you mean up_blocks"):
        model.activation_shapes(["up_blocks.4"], model.latent_shape)


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("unet/config.json", "{", "config.json"),
        ("scheduler/scheduler_config.json", "[]", "scheduler_config.json"),
        ("unet/config.json", '{"block_out_channels": "wide"}', "makes no U-Net"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(folder, file, content, named):
    (folder / file).write_text(content)
    with pytest.raises(UserError, match=named):
        Architecture.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"sample_size": [64, 48]},
        {"cross_attention_dim": [96] * N_BLOCKS},
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16,
        },
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_model_of_another_kind_is_refused(folder, change):
    edit(folder / "unet/config.json", **change)
    with pytest.raises(UserError, match="inputs beside latents and text, or no square"):
        Architecture.from_pretrained(str(folder))
