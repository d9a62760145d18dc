"""What the drawing stage hands to the generator, and what becomes of the images."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.conftest import experiment
from vox2pix.generation import ReconstructionSettings
from vox2pix.pipeline.drawings import noise_seeds, planned_drawings
from vox2pix.pipeline.reconstruct import _5_draw
from vox2pix.seeds import seed_for
from vox2pix.targets import targets_of

IDS = ("a", "b", "c", "d", "e")


def seeds_by_hand(config, names, samples):
    return [[seed_for(config.seed, "picture", i, k) for k in range(samples)] for i in names]


@pytest.mark.parametrize("protocol", ["default", "takagi2023"])
def test_a_seed_belongs_to_its_stimulus_and_sample(protocol):
    config = experiment(protocol=protocol)
    names = ["one noise for all"] * 5 if protocol == "takagi2023" else IDS
    expected = seeds_by_hand(config, names, 3)
    np.testing.assert_array_equal(noise_seeds(config, IDS, 3), expected)
    np.testing.assert_array_equal(noise_seeds(config, IDS[3:], 2), np.array(expected)[3:, :2])
    assert len(np.unique(expected)) == (3 if protocol == "takagi2023" else 15)


@pytest.mark.parametrize("protocol", ["default", "takagi2023"])
def test_every_condition_is_drawn_with_the_experiments_settings(monkeypatch, protocol):
    generate = {"samples": 2, "steps": 7, "strength": 0.6, "guidance": 2.5}
    config = experiment(protocol=protocol, generate=generate)
    targets = targets_of(config)
    rng = np.random.default_rng(0)
    values = {"z": rng.random((5, 2)), "c": rng.random((5, 3)), "other": rng.random((5, 1))}
    calls = []
    monkeypatch.setattr(
        _5_draw, "reconstruct", lambda model, inputs, **how: calls.append((model, inputs, how))
    )
    drawn = [d for d in planned_drawings(config, True) if d.condition.denoised]
    for drawing in drawn:
        _5_draw.compute("model", drawing.condition, values, config, IDS, drawing.samples, targets)
    released = protocol == "takagi2023"
    names = ["one noise for all"] * 5 if released else IDS
    for drawing, (model, inputs, how) in zip(drawn, calls, strict=True):
        assert model == "model"
        assert {name: id(of) for name, of in inputs.items()} == {
            name: id(values[name]) for name in drawing.condition.targets
        }
        seeds = how.pop("seeds")
        np.testing.assert_array_equal(seeds, seeds_by_hand(config, names, drawing.samples))
        assert how == {
            "settings": ReconstructionSettings(
                strength=0.6,
                steps=7,
                guidance=2.5,
                schedule="takagi2023" if released else "diffusers",
                samples=drawing.samples,
                truncate=released,
                sample_start=released,
            ),
            "targets": targets,
            "batch_size": 8,
            "overlap": config.compute.overlap,
        }
    assert {d.name for d in drawn} >= {"z", "c", "z+c", "true-z+c", "shuffled", "swapped"}


@pytest.mark.parametrize("protocol", ["default", "takagi2023"])
def test_a_shard_is_drawn_from_its_own_rows_and_written_as_bytes(monkeypatch, protocol):
    config = experiment(protocol=protocol)
    drawing = planned_drawings(config, True)[-1]
    rng = np.random.default_rng(0)
    values = {name: rng.random((5, 4)) for name in drawing.condition.targets}
    images = rng.random((2, drawing.samples, 3, 3, 3)).astype(np.float32)
    given, written = [], []

    class Out:
        def pending(self, shards):
            return shards

        def rows(self, shard):
            return slice(3 * shard, min(3 * shard + 3, 5))

        def write(self, shard, stored):
            written.append((shard, stored))

    monkeypatch.setattr(_5_draw, "stored_images", lambda run, drawing: Out())
    monkeypatch.setattr(_5_draw, "values_of", lambda run, drawing: values)
    monkeypatch.setattr(_5_draw, "targets", lambda run: "targets")
    monkeypatch.setattr(_5_draw, "compute", lambda *args: given.append(args) or images)
    run = SimpleNamespace(
        config=config, model="model", test_ids=IDS, cached=lambda slot, name, make: make()
    )
    _5_draw._draw_shard(run, (drawing, 1, 2))
    [(model, condition, own, settings, ids, samples, targets)] = given
    assert (model, condition, settings, targets) == ("model", drawing.condition, config, "targets")
    assert (ids, samples) == (("d", "e"), drawing.samples)
    assert list(own) == list(values)
    for name in own:
        np.testing.assert_array_equal(own[name], values[name][3:])
    [(shard, stored)] = written
    scaled = images.astype(float) * 255
    expected = np.floor(scaled) if protocol == "takagi2023" else np.round(scaled)
    assert (shard, stored.dtype) == (1, np.uint8)
    np.testing.assert_array_equal(stored, expected)
    assert (np.floor(scaled) != np.round(scaled)).any()
