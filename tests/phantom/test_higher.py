"""Tuning to content: what a scene shows moves the voxels, where it is hardly does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from vox2pix.phantom import higher
from vox2pix.phantom.scenes import BACKGROUNDS, COLOURS, KINDS, scene
from vox2pix.seeds import rng_for

SCENES = [scene(index, 5) for index in range(300)]
CAPTIONS = [
    ("a black dog on the grass", "the dog runs"),
    ("a red car in the street",),
    ("a dog beside a red car", "one dog and one car"),
    ("the street at night",),
]


def tuned(content, streams=("ventral",) * 200, seed=1):
    n_voxels = len(streams)
    smoothing = sparse.eye(n_voxels, format="csr")
    return higher.draw_higher_tuning(content, streams, smoothing, rng_for(seed, "tuning"))


def explained(target, content, group):
    """Share of the variance of each column of target that a group of content explains."""
    columns = np.array(content.groups) == group
    design = np.column_stack([np.ones(len(target)), content.values[:, columns]])
    fit = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return 1 - ((target - fit) ** 2).mean(axis=0) / target.var(axis=0)


def test_scene_content_says_what_is_there():
    content = higher.scene_content(SCENES)
    column = {name: k for k, name in enumerate(content.names)}
    for row, shown in enumerate(SCENES):
        values = content.values[row]
        main = shown.objects[0]
        assert values[column[f"kind {main.kind}"]] == 1
        assert values[column[f"colour {main.colour}"]] == 1
        assert values[column[f"background {shown.background}"]] == 1
        assert values[column[f"count {len(shown.objects)}"]] == 1
        assert values[column[f"conjunction {main.colour} {main.kind}"]] == 1
        kinds = {thing.kind for thing in shown.objects}
        assert {name for name in KINDS if values[column[f"kind {name}"]] > 0} == kinds
        np.testing.assert_allclose(
            content.position[row], [2 * main.x - 1, 1 - 2 * main.y], rtol=1e-5
        )
    n_pairs = len(KINDS) * (len(COLOURS) + len(BACKGROUNDS))
    assert len(content.names) == len(KINDS) + len(COLOURS) + len(BACKGROUNDS) + 3 + n_pairs


def test_responses_are_scaled_and_mostly_of_the_profile():
    content = higher.scene_content([scene(index, 6) for index in range(1500)])
    streams = ("ventral",) * 100 + ("lateral",) * 100 + ("parietal",) * 100
    responses = higher.respond(content, tuned(content, streams))
    np.testing.assert_allclose(responses.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(responses.std(axis=0), 1, rtol=1e-3)
    kind = explained(responses, content, "kind").reshape(3, 100).mean(axis=1)
    count = explained(responses, content, "count").reshape(3, 100).mean(axis=1)
    assert kind[1] > kind[0] > kind[2]
    assert count[2] > count[1] > count[0]
    assert kind[0] == pytest.approx(0.38, abs=0.08)


def test_position_matters_little():
    content = higher.scene_content(SCENES)
    tuning = tuned(content)
    turned = replace(content, position=-content.position)
    one, other = higher.respond(content, tuning), higher.respond(turned, tuning)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True)]
    assert min(r) > 0.95
    assert np.abs(one - other).max() > 0.05


def test_a_linear_decoder_tells_the_content_from_noise_free_responses():
    content = higher.scene_content([scene(index, 7) for index in range(900)])
    responses = higher.respond(content, tuned(content))
    simple = [k for k, group in enumerate(content.groups) if group != "conjunction"]
    train, test = slice(0, 700), slice(700, 900)
    gram = responses[train].T @ responses[train] + 20 * np.eye(200)
    targets = content.values[:, simple]
    weights = np.linalg.solve(gram, responses[train].T @ (targets[train] - targets[train].mean(0)))
    decoded = responses[test] @ weights
    r = [np.corrcoef(decoded[:, k], targets[test][:, k])[0, 1] for k in range(len(simple))]
    assert np.mean(r) > 0.85


def test_smoothing_makes_neighbours_alike():
    content = higher.scene_content(SCENES)
    pairs = sparse.csr_matrix(np.kron(np.eye(100), np.full((2, 2), np.sqrt(0.5))))
    tuning = higher.draw_higher_tuning(content, ("ventral",) * 200, pairs, rng_for(2, "t"))
    same = np.mean([np.corrcoef(*tuning.weights[k : k + 2])[0, 1] for k in range(0, 200, 2)])
    apart = np.mean([np.corrcoef(*tuning.weights[k : k + 2])[0, 1] for k in range(1, 198, 2)])
    assert same == pytest.approx(0.5, abs=0.05)
    assert apart == pytest.approx(0.0, abs=0.05)


def test_shares_sum_to_one_and_vary():
    tuning = tuned(higher.scene_content(SCENES))
    np.testing.assert_allclose(tuning.shares.sum(axis=1), 1, rtol=1e-5)
    mean = dict(zip(tuning.groups, tuning.shares.mean(axis=0), strict=True))
    assert mean["kind"] == pytest.approx(0.38, abs=0.04)
    assert mean["conjunction"] == pytest.approx(0.08, abs=0.03)
    assert tuning.shares[:, 0].std() > 0.05


def test_caption_content_counts_words():
    content = higher.caption_content(CAPTIONS)
    column = {name: content.values[:, k] for k, name in enumerate(content.names)}
    np.testing.assert_allclose(column["word dog"], [1, 0, 1, 0])
    np.testing.assert_allclose(column["word grass"], [0.5, 0, 0, 0])
    np.testing.assert_allclose(column["word car"], [0, 1, 1, 0])
    assert "word the" not in column
    np.testing.assert_allclose(column["car red"], [0, 1, 0.5, 0])
    assert set(content.groups) == {"word", "conjunction"}
    assert not content.position.any()


def test_caption_content_drives_voxels():
    content = higher.caption_content(CAPTIONS)
    responses = higher.respond(content, tuned(content, ("ventral", "parietal")))
    assert responses.shape == (4, 2)
    np.testing.assert_allclose(responses.std(axis=0), 1, rtol=1e-4)


def test_captions_without_words_are_refused():
    with pytest.raises(ValueError, match="no word to be tuned to"):
        higher.caption_content([("the a",), ("of",)])


def test_rows_select_images():
    content = higher.scene_content(SCENES)
    some = content.rows(np.array([4, 2]))
    np.testing.assert_array_equal(some.values, content.values[[4, 2]])
    np.testing.assert_array_equal(some.position, content.position[[4, 2]])
