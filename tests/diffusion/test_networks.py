"""Settings that make networks faster and leave images the same."""

import copy
import shutil

import numpy as np
import pytest
import torch

from vox2pix.diffusion import LatentDiffusion, Tuning
from vox2pix.diffusion.probe import Probe
from vox2pix.errors import UserError

SEEDS = [1, 2, 3]


def tuned(components, **settings) -> LatentDiffusion:
    parts = vars(copy.deepcopy(components))
    return LatentDiffusion.from_components(**parts, device="cpu", tuning=Tuning(**settings))


def drawn(model: LatentDiffusion) -> np.ndarray:
    c = model.embed_captions([("a red disc",), ("a blue square",), ("",)])
    z = model.encode_images(np.random.default_rng(0).random((3, 16, 16, 3), dtype=np.float32))
    return model.decode_latents(model.denoise({"start": z, "text": c}, SEEDS, steps=10))


@pytest.mark.parametrize("settings", [{"channels_last": False}, {"attention": "plain"}])
def test_settings_leave_images_the_same(components, model, settings):
    np.testing.assert_allclose(drawn(tuned(components, **settings)), drawn(model), atol=1e-3)


def test_settings_reach_the_networks(components):
    parts = copy.deepcopy(components)
    for settings, is_last, kind in (
        (Tuning(), True, "AttnProcessor2_0"),
        (Tuning(False, "plain"), False, "AttnProcessor"),
        (Tuning(), True, "AttnProcessor2_0"),
    ):
        LatentDiffusion.from_components(**vars(parts), device="cpu", tuning=settings)
        for network in (parts.unet, parts.vae):
            weight = (
                network.conv_in.weight if network is parts.unet else network.encoder.conv_in.weight
            )
            assert weight.is_contiguous(memory_format=torch.channels_last) == is_last
            assert {type(each).__name__ for each in network.attn_processors.values()} == {kind}


def test_the_same_settings_give_the_same_bytes(components):
    first, second = (drawn(tuned(components)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_identity_knows_weights_not_settings(components):
    every = [Tuning(), Tuning(channels_last=False), Tuning(attention="plain")]
    parts = vars(copy.deepcopy(components))
    identities = [
        LatentDiffusion.from_components(**parts, device="cpu", tuning=each).identity
        for each in every
    ]
    assert identities[0] == identities[1] == identities[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="nothing compiles without a compiler")
def test_compiled_steps_give_the_same_images_and_layers(components, model):
    fast = tuned(components, compile=True)
    np.testing.assert_allclose(drawn(fast), drawn(model), atol=1e-3)
    seen = []
    probe = Probe(("mid_block",), (1,), lambda step, timestep, found: seen.append(found))
    for each in (fast, model):
        each.denoise({}, SEEDS, steps=3, probe=probe)
    np.testing.assert_allclose(seen[0]["mid_block"], seen[1]["mid_block"], atol=1e-3)


def test_a_machine_that_cannot_compile_is_told_so(components, monkeypatch):
    def refuse(function):
        raise RuntimeError("no C++ compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(UserError, match=r"cannot compile here \(no C\+\+ compiler\); install"):
        tuned(components, compile=True)


def test_half_precision_stays_within_what_is_stated(components, model):
    half = LatentDiffusion.from_components(
        **vars(copy.deepcopy(components)), device="cpu", dtype="bfloat16"
    )
    difference = np.abs(drawn(half) - drawn(model))
    assert 0 < difference.mean() < 0.02
    assert difference.max() < 0.2
