import itertools
import json
import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.phantom.scenes import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    Scene,
    SceneObject,
    captions,
    render,
    scene,
)

indices = st.integers(0, 10**9)


def one(kind="ball", colour="red", background="sky", x=0.5, y=0.5, size=0.25, angle=0.0):
    thing = SceneObject(kind, colour, x, y, size, angle)
    return Scene(background, (thing,), light=-1.5, horizon=0.4, texture=(0.0, 1.0, 2.0, 3.0))


@given(indices, st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_scene_is_the_same_for_ever_and_its_main_object_the_largest(index, seed):
    drawn = scene(index, seed)
    assert drawn == scene(index, seed)
    assert 1 <= len(drawn.objects) <= 3
    assert all(drawn.objects[0].size > other.size for other in drawn.objects[1:])
    assert drawn.background in BACKGROUNDS


def test_scenes_differ_and_use_everything_evenly():
    scenes = [scene(i) for i in range(3000)]
    assert len(set(scenes)) == 3000
    for names, of in (
        (KINDS, lambda s: s.objects[0].kind),
        (COLOURS, lambda s: s.objects[0].colour),
        (BACKGROUNDS, lambda s: s.background),
    ):
        counts = np.array([sum(of(s) == name for s in scenes) for name in names])
        expected = 3000 / len(names)
        assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert len(KINDS) >= 8
    assert len(COLOURS) >= 8
    assert len(BACKGROUNDS) >= 6


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="0 or more, not -1"):
        scene(-1)


@given(indices, st.sampled_from([16, 64, 97]))
@settings(max_examples=20, deadline=None)
def test_images_are_floats_in_range_at_any_size(index, size):
    image = render(scene(index), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_a_scene_looks_the_same_at_any_size():
    for index in range(12):
        small = render(scene(index), 64)
        large = render(scene(index), 256).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_where_and_as_large_as_the_scene_says(kind):
    for x, y, size in itertools.product((0.3, 0.7), (0.3, 0.7), (0.12, 0.25)):
        red, blue = (render(one(kind, c, "night", x, y, size), 128) for c in ("red", "blue"))
        covered = np.argwhere(abs(red - blue).sum(2) > 0.5)
        middle = (covered.min(0) + covered.max(0)) / 2 / 128
        extent = (np.ptp(covered, axis=0) + 1) / 128
        np.testing.assert_allclose(middle, (y, x), atol=0.3 * size)
        assert (extent > 1.2 * size).all()
        assert (extent < 2.2 * size).all()


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_shaded_without_seams(kind):
    image = render(one(kind, "white", "night", size=0.29), 256)[..., 1]
    inside = image > 0.55
    jump = abs(np.diff(image, axis=1))[inside[:, 1:] & inside[:, :-1]]
    assert np.quantile(jump, 0.98) < 0.06


def test_every_colour_and_kind_can_be_told_apart():
    middles = {c: render(one("box", c), 64)[32, 32] for c in COLOURS}
    for a, b in itertools.combinations(middles, 2):
        assert np.linalg.norm(middles[a] - middles[b]) > 0.15, (a, b)
    masks = {k: render(one(k, "white", "night"), 64)[16:48, 16:48, 1] > 0.5 for k in KINDS}
    for a, b in itertools.combinations(masks, 2):
        overlap = (masks[a] & masks[b]).sum() / (masks[a] | masks[b]).sum()
        assert overlap < 0.87, (a, b)


def test_the_main_object_stands_in_front():
    behind = SceneObject("box", "blue", 0.5, 0.72, 0.14, 0.0)
    front = SceneObject("box", "red", 0.5, 0.5, 0.25, 0.0)
    both = Scene("sky", (front, behind), -1.5, 0.4, (0.0, 1.0, 2.0, 3.0))
    red, _, blue = render(both, 64)[40, 32]
    assert red > blue


@given(indices)
@settings(max_examples=100, deadline=None)
def test_captions_name_what_is_there_main_object_first(index):
    drawn = scene(index)
    texts = captions(drawn)
    assert len(set(texts)) == 5
    for text in texts:
        places = [text.index(f"{o.colour} {o.kind}") for o in drawn.objects]
        assert places[0] == min(places)
        assert len(text.split()) <= 28
    keyword = {"night": "night", "wall": "brick"}.get(drawn.background, drawn.background)
    assert all(keyword in text for text in texts)


def test_every_word_of_a_caption_is_one_that_the_model_was_trained_on():
    file = files("vox2pix.phantom") / "model" / "tokenizer" / "vocab.json"
    vocabulary = json.loads(file.read_text())
    texts = " ".join(text for i in range(300) for text in captions(scene(i)))
    assert {w for w in re.findall(r"[a-z]+", texts) if f"{w}</w>" not in vocabulary} == set()
