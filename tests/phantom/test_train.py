"""The training itself, for a step or two: that it runs, learns, resumes and leaves a pipeline."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTokenizer

from vox2pix.phantom import train as training
from vox2pix.phantom.architecture import build_tokenizer
from vox2pix.phantom.card import measure, write_card
from vox2pix.phantom.scenes import captions, scene


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pipeline folder after one step of each stage."""
    out = tmp_path_factory.mktemp("model")
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "CACHED_SCENES", 100)
    training.train(out, steps=dict.fromkeys(training.STEPS, 1))
    patch.undo()
    return out


def test_training_leaves_a_folder_that_diffusers_reads(trained):
    pipe = StableDiffusionPipeline.from_pretrained(
        trained, torch_dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    made = pipe(["a red ball in the sky"], num_inference_steps=1, output_type="np").images
    assert made.shape == (1, 64, 64, 3)
    assert np.isfinite(made).all()


def test_the_text_encoder_is_the_text_tower_of_the_contrastive_pair(trained):
    pair = load_file(trained / "encoders" / "model.safetensors")
    text = load_file(trained / "text_encoder" / "model.safetensors")
    name = "encoder.layers.0.mlp.fc1.weight"
    [mine] = [v for k, v in text.items() if k.endswith(name)]
    torch.testing.assert_close(mine, pair[f"text_model.{name}"])


def test_the_card_tells_what_was_measured(trained, monkeypatch):
    monkeypatch.setattr("vox2pix.phantom.card.SAMPLING_STEPS", 1)
    figures = measure(trained, n=6)
    assert 0 < figures["psnr_db"] < 20
    assert 0 <= figures["sampled_all"] <= figures["sampled_kind"] <= 1
    text = write_card(trained, figures, 6).read_text()
    assert f"{figures['psnr_db']:.2f} dB" in text
    assert "6 held-out scenes" in text


def fit_line(out, steps):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    weights = torch.tensor([[1.0, -2.0, 0.5]])

    def loss(step, rng):
        x = torch.from_numpy(rng.standard_normal((64, 3), dtype=np.float32))
        return (model(x) - x @ weights.T).square().mean()

    training._fit("line", model, loss, steps, 0.05, out, torch.device("cpu"), 0)
    return model.weight.detach()


def test_training_finds_the_minimum(tmp_path):
    found = fit_line(tmp_path, 300)
    torch.testing.assert_close(found, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.05, rtol=0)


def test_a_training_cut_off_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    whole = fit_line(tmp_path / "whole", 40)
    monkeypatch.setattr(training, "_CHECKPOINT_EVERY_S", 0.0)
    real, left = training._save, [25]

    def stop(*arguments):
        real(*arguments)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "cut", 40)
    monkeypatch.setattr(training, "_save", real)
    torch.testing.assert_close(fit_line(tmp_path / "cut", 40), whole, atol=0, rtol=0)


def test_the_tokenizer_knows_the_scenes_words_and_spells_out_others(tmp_path):
    corpus = [text for i in range(300) for text in captions(scene(i))]
    made = build_tokenizer(tmp_path, corpus)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    for text in (*corpus[:20], "Zebras at 42 °C, naïvely"):
        assert made(text).input_ids == again(text).input_ids
    assert again.tokenize("a red ball") == ["a</w>", "red</w>", "ball</w>"]
    assert len(again.tokenize("zebra")) > 1
    assert again.unk_token_id not in again("ünïcode").input_ids[1:-1]


def test_a_conditioning_is_one_caption_their_mean_or_the_empty_prompt():
    made = np.random.default_rng(0)
    states = torch.from_numpy(made.standard_normal((40, 5, 3, 4), dtype=np.float32))
    empty = torch.from_numpy(made.standard_normal((3, 4), dtype=np.float32))
    got = training._conditioning(states, empty, np.random.default_rng(1))
    found = {"one": 0, "mean": 0, "empty": 0}
    for told, mixed in zip(states, got, strict=True):
        choices = {"mean": told.mean(0, keepdim=True), "empty": empty[None], "one": told}
        [kind] = [k for k, v in choices.items() if (v - mixed).abs().amax((1, 2)).min() < 1e-5]
        found[kind] += 1
    assert found["one"] > 8
    assert found["mean"] > 8
    assert found["empty"] >= 1


def test_captions_are_embedded_as_the_text_encoder_does(trained, monkeypatch):
    from transformers import CLIPTextModel

    monkeypatch.setattr(training, "CACHED_SCENES", 200)
    text = CLIPTextModel.from_pretrained(trained / "text_encoder", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(trained / "tokenizer")
    states = training._caption_states(text, tokenizer, torch.device("cpu"))
    told = captions(scene(150, training.TRAINING_SCENES))
    with torch.no_grad():
        expected = text(training._tokenize(tokenizer, [told[3]])).last_hidden_state[0]
    assert states.shape == (200, len(told), *expected.shape)
    torch.testing.assert_close(states[150, 3].float(), expected, atol=2e-3, rtol=2e-3)


def test_times_cover_the_schedule_and_its_middle_most():
    times = training._times(6400, np.random.default_rng(0))
    assert times.min() >= 0
    assert times.max() < 1000
    shares = np.histogram(times, bins=5, range=(0, 1000))[0] / len(times)
    assert shares[2] > 1.5 * max(shares[0], shares[4])
    assert shares.min() > 0.1


def test_things_are_the_kinds_where_they_stand(monkeypatch):
    monkeypatch.setattr(training, "CACHED_SCENES", 30)
    things = training._things(16)
    kinds = list(training.KINDS)
    for i in range(30):
        shown = scene(i, training.TRAINING_SCENES)
        front = shown.objects[0]
        assert things[i, int(front.y * 16), int(front.x * 16)] == kinds.index(front.kind)
        named = {kinds[k] for k in things[i].unique() if k < len(kinds)}
        assert named <= {thing.kind for thing in shown.objects}
        assert (things[i] == len(kinds)).any()


def test_the_judge_of_latents_learns_and_its_loss_reaches_latents():
    torch.manual_seed(0)
    judge = training.LatentJudge(width=16, depth=1)
    things = torch.randint(0, len(training.KINDS) + 1, (8, 4, 4))
    codes = torch.randn(len(training.KINDS) + 1, 8)
    latents = codes[things].permute(0, 3, 1, 2).clone().requires_grad_()
    optimiser = torch.optim.Adam(judge.parameters(), 0.02)
    first = training._naming_loss(judge, latents, things)
    for _ in range(150):
        optimiser.zero_grad()
        loss = training._naming_loss(judge, latents, things)
        loss.backward()
        optimiser.step()
    assert loss < 0.1 * first
    assert latents.grad.abs().sum() > 0
    assert (judge(latents).argmax(1) == things).float().mean() > 0.95
