"""The training loop: that it finds a minimum, survives stopping, and decays from any step."""

import copy

import pytest
import torch
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from torch import nn
from torch.nn.functional import cosine_similarity

from tools.phantom_model import training
from tools.phantom_model.training import Place, Schedule, fit, step_of

WEIGHTS = torch.tensor([[1.0, -2.0, 0.5]])


def fit_line(folder, steps, decay_steps):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step, rng):
        x = torch.from_numpy(rng.standard_normal((64, 3), dtype="float32"))
        return (model(x).float() - x @ WEIGHTS.T).square().mean()

    schedule = Schedule(steps, decay_steps, rate=0.05, average=0.9)
    made = fit("line", model, loss, schedule, Place(folder, torch.device("cpu")))
    return model.weight.detach(), made


def test_training_finds_the_minimum(tmp_path):
    trained, made = fit_line(tmp_path, 120, 60)
    assert made == 180
    torch.testing.assert_close(trained, WEIGHTS, atol=0.05, rtol=0)


@pytest.mark.parametrize("stop_after", [25, 50])  # in the constant phase, and in the decay
def test_a_stopped_training_continues_as_if_it_had_not_been(tmp_path, monkeypatch, stop_after):
    whole, _ = fit_line(tmp_path / "whole", 40, 20)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", -1.0)
    save, left = training.State.save, [stop_after]

    def stop(self, path):
        save(self, path)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.State, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "cut", 40, 20)
    monkeypatch.setattr(training.State, "save", save)
    continued, _ = fit_line(tmp_path / "cut", 40, 20)
    torch.testing.assert_close(continued, whole, atol=0, rtol=0)


def test_a_stopped_training_continues_where_weights_are_channels_last(tmp_path):
    def fit_filter(folder, *steps):
        folder.mkdir(exist_ok=True)
        for end in steps:
            torch.manual_seed(0)
            model = nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)

            def loss(step, rng, model=model):
                x = torch.from_numpy(rng.standard_normal((4, 8, 6, 6), dtype="float32"))
                return (model(x).float() - x[:, :, 1:-1, 1:-1]).square().mean()

            place = Place(folder, torch.device("cpu"))
            fit("filter", model, loss, Schedule(end, 0, rate=0.05, average=0.0), place)
        return model.weight.detach()

    whole, cut = fit_filter(tmp_path / "whole", 30), fit_filter(tmp_path / "cut", 15, 30)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)


def test_a_decay_starts_from_any_checkpoint_and_leaves_it(tmp_path):
    fit_line(tmp_path, 30, 0)
    _, made = fit_line(tmp_path, 0, 10)
    assert made == 40
    assert step_of(tmp_path / "line.safetensors") == 30
    assert step_of(tmp_path / "line-30-decay-10.safetensors") == 40
    longer, _ = fit_line(tmp_path, 50, 10)
    whole, _ = fit_line(tmp_path / "whole", 50, 10)
    torch.testing.assert_close(longer, whole, atol=0, rtol=0)


def test_a_parameter_can_have_a_faster_rate():
    torch.manual_seed(0)
    model = nn.ModuleDict({"slow": nn.Linear(1, 1), "fast": nn.Linear(1, 1)})
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    state = training.State(model, {"fast.": 4.0})
    state.descend(sum(p.sum() for p in model.parameters()), 0.01, 0.9)
    moved = {k: (v - before[k]).abs().max().item() for k, v in model.named_parameters()}
    assert moved["fast.bias"] == pytest.approx(4 * moved["slow.bias"], rel=0.05)


class Upsampling(nn.Module):
    """An upsampler followed by a residual block."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 32, 3, padding=1)
        self.up = UpDecoderBlock2D(32, 32, num_layers=1, resnet_groups=8)
        self.flat = UpDecoderBlock2D(32, 32, num_layers=1, resnet_groups=8, add_upsample=False)
        self.last = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, images):
        return self.last(self.flat(self.up(self.first(images))))


@pytest.mark.slow
def test_a_compiled_network_has_the_gradients_of_the_plain_one():
    torch.manual_seed(0)
    plain = Upsampling()
    compiled = copy.deepcopy(plain)
    training.compile_network(compiled)
    images = torch.randn(8, 4, 8, 8)
    for network in (plain, compiled):
        with torch.autocast("cpu", torch.bfloat16):
            network(images).float().square().mean().backward()
    for expected, trained in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert cosine_similarity(trained.grad.flatten(), expected.grad.flatten(), 0) > 0.95
