"""A target of one's own, from its class to its images: no line of the package names it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import Field

from vox2pix.config import Config
from vox2pix.data import open_folder
from vox2pix.errors import UserError
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.targets import (
    TARGETS,
    FeatureRows,
    Target,
    ceilings_of,
    conditions_of,
    default_conditions,
    encode_start,
    fullest,
    make_targets,
    parse_condition,
    register,
    targets_of,
)
from vox2pix.targets._rows import content_key, feature_folder
from vox2pix.targets._target import DEFAULT_START

IDS = ("red", "green", "mixed")


class Tint(Target):
    """The mean colour of an image; denoising starts from a uniform image of that colour."""

    name: ClassVar = "tint"
    port: ClassVar = "start"
    computed_from: ClassVar = "image"
    carries: ClassVar = "layout"
    description: ClassVar = "the tint, the mean colour of the image"

    gain: float = Field(default=1.0, gt=0, description="what colours are multiplied by")

    def shape(self, sizes):
        return (3,)

    def rows(self, model, subject, cache: Path, *, seed=0, batch_size="auto") -> FeatureRows:
        return FeatureRows(
            feature_folder(cache, "tint", model, {"gain": self.gain}),
            lambda ids: subject.images(ids, size=16),
            lambda stimulus_id, image: content_key(image.tobytes()),
            lambda ids, images: self.gain * images.mean((1, 2)),
        )

    def images(self, model, values, batch_size="auto"):
        size = model.image_size
        return np.broadcast_to(values[:, None, None], (len(values), size, size, 3)).clip(0, 1)

    def port_input(self, model, values, *, seeds=None, start=DEFAULT_START, batch_size="auto"):
        return encode_start(model, self.images(model, values), seeds, start, batch_size)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr("vox2pix.targets._registry.TARGETS", dict(TARGETS))
    return register(Tint)


@pytest.fixture
def subject(tmp_path):
    (tmp_path / "images").mkdir()
    pixels = np.zeros((3, 16, 16, 3), np.uint8)
    pixels[0, ..., 0] = pixels[1, ..., 1] = pixels[2, :8] = 255
    for name, image in zip(IDS, pixels, strict=True):
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
    np.save(tmp_path / "responses.npy", np.eye(3, dtype=np.float32))
    trials = {"stimulus_id": IDS, "session": 1, "run": 1}
    pd.DataFrame(trials).to_csv(tmp_path / "trials.csv", index=False)
    pd.DataFrame({"V1": [1, 1, 1]}).to_csv(tmp_path / "voxels.csv", index=False)
    return open_folder(tmp_path)


def experiment(**tables) -> Config:
    return Config.model_validate({"name": "x", "data": {"source": "phantom"}, **tables})


def test_an_experiment_names_it(registered):
    config = experiment(decode={"tint": {"rois": ["V1"], "gain": 0.5}, "c": ["ventral"]})
    targets = targets_of(config)
    assert list(targets.items()) == [("tint", Tint(gain=0.5)), ("c", TARGETS["c"]())]
    assert config.decode.rois == {"tint": ("V1",), "c": ("ventral",)}
    drawn = ["tint-decode", "tint", "c", "tint+c"]
    assert [str(c) for c in conditions_of(config, targets)] == drawn
    assert [str(c) for c in ceilings_of(config, targets)] == drawn[1:]
    assert str(fullest(conditions_of(config, targets), targets)) == "tint+c"


def test_what_an_experiment_cannot_mean_is_refused_with_its_file(registered):
    file = Path("mine.toml")
    with pytest.raises(UserError, match=r"mine\.toml: There is no target 'tnt'; did you mean"):
        targets_of(experiment(decode={"tnt": ["V1"]}), file=file)
    with pytest.raises(UserError, match=r"mine\.toml: There is no setting 'decode\.tint\.gian'"):
        targets_of(experiment(decode={"tint": {"rois": ["V1"], "gian": 2}}), file=file)
    for conditions, message in (
        (
            ["tint+c", "c+tint"],
            r"names one condition twice: tint\+c and c\+tint",
        ),
        (["z"], "names the target 'z', which is not decoded; choose from tint, c"),
    ):
        config = experiment(
            decode={"tint": ["V1"], "c": ["V2"]}, generate={"conditions": conditions}
        )
        with pytest.raises(UserError, match=message):
            conditions_of(config, targets_of(config))


def test_it_has_settings_of_its_own(registered):
    assert make_targets({"tint": {"gain": 0.5}, "c": {}})["tint"] == Tint(gain=0.5)
    with pytest.raises(
        UserError, match=r"'decode\.tint\.gain' is -1, but: Input should be greater"
    ):
        make_targets({"tint": {"gain": -1}})


def test_its_rows_are_computed_once_and_belong_to_its_settings(model, subject, tmp_path):
    rows = Tint().rows(model, subject, tmp_path / "cache")
    expected = [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5]]
    np.testing.assert_allclose(rows.load(IDS), expected, atol=1e-6)
    assert rows.absent(IDS) == []
    darker = Tint(gain=0.5).rows(model, subject, tmp_path / "cache")
    assert darker.absent(IDS) == list(IDS)
    np.testing.assert_allclose(darker.load(IDS), np.divide(expected, 2), atol=1e-6)
    assert rows.stored(IDS).row_shape == Tint().shape(model)


def test_images_are_drawn_from_it(registered, model):
    colours = np.array([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    seeds = image_seeds(0, ["a", "b"], 2)
    settings = ReconstructionSettings(strength=0.5, steps=4, samples=2)
    images = reconstruct(model, {"tint": colours}, seeds=seeds, settings=settings)
    # by hand: a uniform image in 8 bit, encoded, denoised without text, decoded
    uniform = np.tile(np.rint(colours[:, None, None] * 255) / 255, (1, 64, 64, 1))
    start = model.encode_images(uniform).repeat(2, axis=0)
    latents = model.denoise({"start": start}, seeds.ravel(), strength=0.5, steps=4)
    expected = model.decode_latents(latents).reshape(images.shape)
    np.testing.assert_allclose(images, expected, atol=1e-4)
    assert np.abs(images[0] - images[1]).mean() > 0.01  # far beyond the tolerance


def test_conditions_combine_it_with_what_enters_elsewhere(registered, model):
    targets = make_targets({"tint": {}, "z": {}, "c": {}})
    for name in ("tint", "c+tint", "tint-decode"):
        assert str(parse_condition(name, targets, model.ports)) == name
    message = (
        "'z' and 'tint' cannot be drawn together: both enter the generator at the port 'start'"
    )
    with pytest.raises(UserError, match=message):
        parse_condition("z+tint", targets, model.ports)
    rng, seeds = np.random.default_rng(0), image_seeds(0, ["a"], 5)
    z = rng.standard_normal((1, *model.latent_shape)).astype(np.float32)
    with pytest.raises(UserError, match=message):
        reconstruct(model, {"z": z, "tint": np.zeros((1, 3))}, seeds=seeds)
    assert [str(c) for c in default_conditions(targets)] == [
        "tint-decode", "z-decode", "tint", "z", "c", "tint+c", "z+c",
    ]  # fmt: skip
