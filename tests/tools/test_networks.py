"""What each stage of training learns from and leaves behind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from tools.phantom_model import autoencoder, scene_sets, text_tower, unet
from vox2pix.diffusion import LatentDiffusion
from vox2pix.phantom.scenes import COLOURS, KINDS, captions, render, scene


def test_training_leaves_a_folder_that_diffusers_and_vox2pix_read(trained):
    pipe = StableDiffusionPipeline.from_pretrained(
        trained, torch_dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    made = pipe(["a red ball in the sky"], num_inference_steps=1, output_type="np").images
    assert made.shape == (1, 64, 64, 3)
    assert np.isfinite(made).all()
    model = LatentDiffusion.from_pretrained(trained, device="cpu")
    assert model.latent_shape == (4, 16, 16)


def test_the_text_encoder_is_the_text_tower_of_the_contrastive_pair(trained):
    pair = load_file(trained / "encoders" / "model.safetensors")
    text = load_file(trained / "text_encoder" / "model.safetensors")
    name = "encoder.layers.0.mlp.fc1.weight"
    [mine] = [v for k, v in text.items() if k.endswith(name)]
    torch.testing.assert_close(mine, pair[f"text_model.{name}"])


def test_latents_have_unit_variance(trained):
    latents = unet.scene_latents(trained, scene_sets.Renders(trained / "cache", 24))
    assert latents.std() == pytest.approx(1, abs=0.05)


def test_rendered_scenes_are_cached_with_their_coverage(tmp_path):
    renders = scene_sets.Renders(tmp_path, 6)
    again = scene_sets.Renders(tmp_path, 6)
    images, inside = again.batch(np.array([4, 1]), torch.device("cpu"))
    assert np.array_equal(renders.images, again.images)
    for row, index in enumerate((4, 1)):
        shown = scene_sets.training_scene(index)
        expected = torch.from_numpy(render(shown, 64)).permute(2, 0, 1) * 2 - 1
        torch.testing.assert_close(images[row], expected, atol=1 / 127, rtol=0)
        # Without its objects a scene differs inside them and nowhere else.
        bare = render(scene_sets.Scene(shown.background, (), shown.light, shown.horizon,
                                       shown.texture), 64)  # fmt: skip
        differs = abs(bare - render(shown, 64)).max(-1) > 0
        assert not (inside[row, 0].bool().numpy() & ~differs).any()
        assert inside[row].sum() > 0.8 * differs.sum()


def test_scenes_of_several_objects_come_three_times_as_often():
    counts = np.array([1, 2, 3, 1])
    drawn = scene_sets.draw_indices(counts, 40_000, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [1 / 8, 3 / 8, 3 / 8, 1 / 8], atol=0.01)


def test_the_autoencoder_loss_counts_pixels_inside_objects_five_times():
    images = torch.zeros(1, 3, 8, 8)
    drawn = torch.full_like(images, 0.5)  # no gradient: only the first part counts
    nowhere, everywhere = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    base = autoencoder.reconstruction_loss(drawn, images, nowhere)
    assert float(base) == pytest.approx(0.5 + 0.25)
    full = autoencoder.reconstruction_loss(drawn, images, everywhere)
    assert float(full) == pytest.approx(5 * float(base))


def test_the_tokenizer_knows_the_scenes_words_and_spells_out_others(tmp_path):
    corpus = [text for i in range(300) for text in captions(scene(i))]
    made = text_tower.build_tokenizer(tmp_path, corpus)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    for text in (*corpus[:20], "Zebras at 42 °C, naïvely"):
        assert made(text).input_ids == again(text).input_ids
    assert again.tokenize("a red ball") == ["a</w>", "red</w>", "ball</w>"]
    assert len(again.tokenize("zebra")) > 1
    assert again.unk_token_id not in again("ünïcode").input_ids[1:-1]


def test_slots_are_the_objects_in_their_order_then_none():
    some = [scene(i) for i in range(12)]
    kinds, colours = text_tower.slot_targets(some)
    for row, shown in enumerate(some):
        things = [(o.kind, o.colour) for o in shown.objects]
        names = (
            [(*KINDS, "none")[k] for k in kinds[row]],
            [(*COLOURS, "none")[k] for k in colours[row]],
        )
        assert list(zip(*names, strict=True)) == things + [("none", "none")] * (3 - len(things))


def test_the_slot_head_learns_what_states_hold():
    torch.manual_seed(0)
    shown = [scene(i) for i in range(16)]
    states = torch.randn(16, 5, 96)
    head = text_tower.SlotHead()
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    goal = text_tower.slot_targets(shown)
    first = text_tower.slot_loss(head(states), goal)
    for _ in range(100):
        optimiser.zero_grad()
        loss = text_tower.slot_loss(head(states), goal)
        loss.backward()
        optimiser.step()
    assert loss < 0.05 * first


def test_captions_are_embedded_as_the_text_encoder_does(trained):
    states_of = text_tower.TextStates(trained)
    [path] = (trained / "cache").glob("states-*-24.npy")
    states = states_of.of_training_scenes(path, 24)
    texts = captions(scene_sets.training_scene(20))
    encoder = CLIPTextModel.from_pretrained(trained / "text_encoder", dtype=torch.float32).eval()
    tokens = CLIPTokenizer.from_pretrained(trained / "tokenizer")(
        texts[3], padding="max_length", max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        expected = encoder(tokens.input_ids).last_hidden_state[0]
    assert states.shape == (24, len(texts), *expected.shape)
    one = torch.from_numpy(states[20, 3].astype("float32"))
    torch.testing.assert_close(one, expected, atol=2e-3, rtol=2e-3)


def test_a_conditioning_is_one_caption_their_mean_or_the_empty_prompt():
    made = np.random.default_rng(0)
    states = torch.from_numpy(made.standard_normal((400, 5, 3, 4), dtype=np.float32))
    empty = torch.from_numpy(made.standard_normal((3, 4), dtype=np.float32))
    got = unet.conditioning(states, empty, np.random.default_rng(1))
    counts = {"one": 0, "mean": 0, "empty": 0}
    for captioned, mixed in zip(states, got, strict=True):
        choices = {"mean": captioned.mean(0, keepdim=True), "empty": empty[None], "one": captioned}
        [kind] = [k for k, v in choices.items() if (v - mixed).abs().amax((1, 2)).min() < 1e-5]
        counts[kind] += 1
    assert counts["mean"] / 400 == pytest.approx(0.3, abs=0.07)
    assert counts["empty"] / 400 == pytest.approx(0.1, abs=0.05)


def test_times_cover_the_schedule_and_its_middle_most():
    times = unet.draw_times(6400, np.random.default_rng(0))
    assert times.min() >= 0
    assert times.max() < 1000
    shares = np.histogram(times, bins=5, range=(0, 1000))[0] / len(times)
    assert shares[2] > 1.5 * max(shares[0], shares[4])
    assert shares.min() > 0.1


def test_a_unet_that_is_there_is_trained_further(trained, tmp_path):
    expected = load_file(trained / "unet" / "diffusion_pytorch_model.safetensors")
    found = unet.start(trained).state_dict()
    assert found.keys() == expected.keys()
    assert all(value.dtype == torch.float32 for value in found.values())
    assert all(torch.equal(found[key].half(), value) for key, value in expected.items())
    shapes = {key: value.shape for key, value in found.items()}
    assert {key: value.shape for key, value in unet.start(tmp_path).state_dict().items()} == shapes


def test_what_is_trained_so_far_is_a_model_that_reads():
    folder = Path(__file__).parents[2] / "tools" / "phantom_model" / "trained"
    model = LatentDiffusion.from_pretrained(folder, device="cpu")
    assert model.latent_shape == (4, 16, 16)
    c = model.embed_captions([["a red ball"], ["a blue ball"]])
    assert c.shape[0] == 2 and np.abs(c[0] - c[1]).max() > 0.1
