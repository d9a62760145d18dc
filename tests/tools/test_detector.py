"""The detector's targets and peaks, and what the card makes of its findings."""

import json

import numpy as np
import pytest
import torch

from tools.phantom_model import card, detector
from tools.phantom_model.scene_sets import held_out_scenes, rendered
from vox2pix.phantom.scenes import COLOURS, KINDS


class Perfect(detector.Detector):
    """Gives logits that say what the scenes hold."""

    def __init__(self, scenes):
        super().__init__()
        self.right = detector.targets(scenes)

    def forward(self, images):
        logits = {"centre": torch.logit(self.right["centre"].clamp(1e-4, 1 - 1e-4))}
        for name, classes in (("kind", KINDS), ("colour", COLOURS)):
            one_hot = torch.nn.functional.one_hot(self.right[name].clamp(0), len(classes))
            logits[name] = one_hot.permute(0, 3, 1, 2).float()
        return logits


def test_peaks_of_the_targets_are_the_objects():
    scenes = held_out_scenes(60, (1, 2, 3))
    detected = Perfect(scenes).detect(rendered(scenes))
    assert [sorted(f) for f in detected] == [
        sorted((o.kind, o.colour) for o in s.objects) for s in scenes
    ]


def test_a_few_images_can_be_learned():
    torch.manual_seed(0)
    scenes = held_out_scenes(2, (2, 3))
    images, goal = rendered(scenes), detector.targets(scenes)
    model = detector.Detector()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(40):
        optimiser.zero_grad()
        detector.detection_loss(model(images), goal).backward()
        optimiser.step()
    figures = card.agreement(model.eval().detect(images), scenes)
    assert figures["pair"] > 0.8
    assert model.backgrounds(images) == [s.background for s in scenes]


def test_held_out_scenes_have_the_numbers_of_objects_asked_for():
    scenes = held_out_scenes(20, (2, 3))
    assert {len(s.objects) for s in scenes} == {2, 3}
    assert held_out_scenes(5, (2, 3)) == scenes[:5]


def test_agreement_counts_objects_wherever_they_are():
    scenes = held_out_scenes(3, (2,))
    right = [[(o.kind, o.colour) for o in s.objects] for s in scenes]
    twice = [right[0][::-1], [*right[1], *right[1]], [right[2][0], ("ball", "none")]]
    figures = card.agreement(twice, scenes)
    assert figures["count"] == pytest.approx(2 / 3)
    assert figures["all"] == pytest.approx(1 / 3)
    assert figures["pair"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert figures["objects"] == pytest.approx(8 / 3)
    assert figures["count_se"] == pytest.approx(np.std([1, 0, 1], ddof=1) / np.sqrt(3))


def test_the_card_says_what_was_measured(trained, monkeypatch):
    monkeypatch.setattr(card, "SAMPLING_STEPS", 2)
    by = detector.load(trained / "detector" / "model.safetensors")
    table, figures = card.measure(trained, by, n=4)
    assert set(table) == set(card.ROWS)
    assert 0 < figures["psnr_db"] < 20
    text = card.write_card(trained, table, figures, 4).read_text()
    assert f"{figures['psnr_db']:.2f} dB" in text
    assert "4 held-out scenes" in text
    assert json.loads((trained / "card.json").read_text())["caption"] == table["caption"]
    assert card.sheet(trained, n=2, scale=1).shape == (5 * 64, 2 * 64, 3)
