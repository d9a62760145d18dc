"""Recorded activations against hooks set by hand on the bare U-Net."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.diffusion.probe import Probe, activation_shapes
from vox2pix.errors import UserError

MODULES = ("down_blocks.0", "mid_block", "up_blocks.1", "mid_block.attentions.0", "conv_out")


@pytest.fixture
def inputs(rng):
    z = rng.standard_normal((3, 4, 8, 8)).astype(np.float32)
    c = rng.standard_normal((3, 12, 16)).astype(np.float32)
    return z, c


def record(model, z, c, steps=(1,), modules=MODULES, **options):
    seen = []
    probe = Probe(modules, steps, lambda *told: seen.append(told))
    ports = {"start": z} if c is None else {"start": z, "text": c}
    out = model.denoise(ports, [1, 2, 3], strength=0.5, steps=8, probe=probe, **options)
    return out, seen


def by_hand(unet, z, timestep, c):
    """Return what MODULES give for one call of the bare U-Net."""
    seen, handles = {}, []
    for name, module in unet.named_modules():
        if name in MODULES:

            def hook(module, inputs, output, name=name):
                seen[name] = (output[0] if isinstance(output, tuple) else output).clone()

            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        unet(torch.from_numpy(z), timestep, encoder_hidden_states=torch.from_numpy(c))
    for handle in handles:
        handle.remove()
    return {name: tensor.numpy() for name, tensor in seen.items()}


def no_hooks(unet):
    return not any(module._forward_hooks for module in unet.modules())


@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_activations_are_those_of_the_bare_unet_given_the_text(model, components, inputs, guidance):
    z, c = inputs
    before = []
    model.denoise(
        {"start": z, "text": c},
        [1, 2, 3],
        strength=0.5,
        steps=8,
        guidance=guidance,
        callback=lambda step, timestep, latents: before.append(latents),
    )
    _, [(step, timestep, seen)] = record(model, z, c, guidance=guidance)
    assert (step, timestep) == (1, model.plan(0.5, 8).timesteps[1])
    expected = by_hand(components.unet, before[0], timestep, c)
    assert set(seen) == set(MODULES)
    for name in MODULES:
        assert seen[name].dtype == np.float32
        np.testing.assert_allclose(seen[name], expected[name], rtol=1e-4, atol=1e-5)


def test_without_conditioning_the_empty_prompt_is_what_is_seen(model, components, inputs):
    z, _ = inputs
    c = np.tile(model.empty_prompt, (3, 1, 1))
    _, [(_, _, alone)] = record(model, z, None)
    _, [(_, _, given)] = record(model, z, c, guidance=1)
    for name in MODULES:
        np.testing.assert_array_equal(alone[name], given[name])


def test_recording_changes_nothing_and_comes_in_batches_at_the_steps_asked_for(model, inputs):
    z, c = inputs
    watched, seen = record(model, z, c, steps=(0, 3), batch_size=2)
    plain = model.denoise({"start": z, "text": c}, [1, 2, 3], strength=0.5, steps=8, batch_size=2)
    np.testing.assert_array_equal(watched, plain)
    assert [(step, len(found["mid_block"])) for step, _, found in seen] == [
        (0, 2),
        (3, 2),
        (0, 1),
        (3, 1),
    ]


def test_what_was_recorded_is_a_copy(model, inputs):
    z, c = inputs
    _, [(_, _, first), (_, _, second)] = record(model, z, c, steps=(0, 3))
    assert not np.shares_memory(first["mid_block"], second["mid_block"])
    assert abs(first["mid_block"] - second["mid_block"]).max() > 0


def test_hooks_are_gone_whatever_happens(model, components, inputs, monkeypatch):
    z, c = inputs
    record(model, z, c)
    assert no_hooks(components.unet)

    def fail(*args, **kwargs):
        assert components.unet.mid_block._forward_hooks  # it fails in the midst of a recorded step
        raise RuntimeError("a fault")

    monkeypatch.setattr(components.unet.conv_out, "forward", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        record(model, z, c, steps=(0,))
    assert no_hooks(components.unet)


def test_every_name_offered_gives_an_array(model, inputs):
    z, c = inputs
    _, [(_, _, seen)] = record(model, z, c, modules=model.module_names)
    assert set(seen) == set(model.module_names)
    assert all(len(found) == 3 for found in seen.values())
    assert "up_blocks" not in model.module_names


def test_an_unknown_module_names_the_nearest(model, inputs):
    z, c = inputs
    with pytest.raises(UserError, match=r"no module 'mid_blok'; did you mean mid_block"):
        record(model, z, c, modules=("mid_blok",))
    with pytest.raises(UserError, match=r"no module 'down_blocks'.*down_blocks\.[01]"):
        model.activation_shapes(("down_blocks",))


def test_shapes_are_known_without_weights(model, components, inputs):
    z, c = inputs
    _, [(_, _, seen)] = record(model, z, c)
    shapes = model.activation_shapes(MODULES)
    assert shapes == {name: found.shape[1:] for name, found in seen.items()}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**components.unet.config)

    def predict(z, step, text, watched):
        return unet(z, step, encoder_hidden_states=text)

    networks = SimpleNamespace(unet=unet, device=torch.device("meta"), predict=predict)
    assert activation_shapes(networks, MODULES, (4, 8, 8), (12, 16)) == shapes
    larger = activation_shapes(networks, ("mid_block",), (4, 16, 16), (12, 16))
    assert larger["mid_block"][1] == 2 * shapes["mid_block"][1]


def test_the_phantom_has_the_blocks_of_its_architecture():
    config = json.loads((find_pipeline("phantom").path / "unet/config.json").read_text())
    channels, size = config["block_out_channels"], config["sample_size"]
    last, expected = len(channels) - 1, {}
    for i, width in enumerate(channels):  # every down block but the last halves the grid
        size //= 1 if i == last else 2
        expected[f"down_blocks.{i}"] = (width, size, size)
    expected["mid_block"] = (channels[-1], size, size)
    for i, width in enumerate(reversed(channels)):  # every up block but the last doubles it
        size *= 1 if i == last else 2
        expected[f"up_blocks.{i}"] = (width, size, size)
    model = LatentDiffusion.from_pretrained("phantom", device="cpu")
    assert set(expected) < set(model.module_names)
    assert model.activation_shapes(tuple(expected)) == expected
