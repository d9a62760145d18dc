"""Pipelines that cannot decode, and an honest one, on the phantom's scenes."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import RidgeCV

from vox2pix.evaluation import pixcorr, two_way_scores
from vox2pix.evaluation.audit import Audit, AuditInputs, audit, clusters, nearest_training
from vox2pix.phantom.scenes import BACKGROUNDS, COLOURS, KINDS, Scene, render, scene

N_TRAIN, N_TEST, N_VOXELS, N_Z = 400, 80, 250, 64


def layout_of(images: np.ndarray) -> np.ndarray:
    """Images at 8 x 8, as rows."""
    n, size = len(images), images.shape[1] // 8
    return images.reshape(n, 8, size, 8, size, 3).mean(axis=(2, 4)).reshape(n, -1)


def grey_of(images: np.ndarray) -> np.ndarray:
    """The same in grey."""
    return layout_of(images).reshape(len(images), 64, 3).mean(axis=2)


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlate rows."""
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


def content_of(shown: Scene) -> np.ndarray:
    """What a scene shows: its background, and the kind and the colour of its main object."""
    names = (shown.background, shown.objects[0].kind, shown.objects[0].colour)
    lists = (BACKGROUNDS, KINDS, COLOURS)
    return np.concatenate(
        [np.eye(len(a))[list(a).index(b)] for a, b in zip(lists, names, strict=True)]
    )


def tint_of(images: np.ndarray) -> np.ndarray:
    """The mean colour of images less their mean grey."""
    mean = images.mean(axis=(1, 2))
    return mean - mean.mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class World:
    """Scenes, their z (grey layout) and c (what is shown, tint), and a brain of both."""

    training: np.ndarray
    test: np.ndarray
    features: np.ndarray
    test_features: np.ndarray
    responses: np.ndarray
    test_responses: np.ndarray
    labels: np.ndarray
    training_labels: np.ndarray

    def decoded(self, responses: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Read features from responses, trained on some rows."""
        rows = np.arange(N_TRAIN) if rows is None else rows
        model = RidgeCV(np.logspace(1, 4, 4)).fit(self.responses[rows], self.features[rows])
        return model.predict(responses)


@cache
def world() -> World:
    rng = np.random.default_rng(0)
    scenes = [scene(i) for i in range(N_TRAIN + N_TEST)]
    images = np.stack([render(shown, 32) for shown in scenes])
    content = np.stack([content_of(shown) for shown in scenes])
    features = np.hstack([3 * content, 10 * tint_of(images), 5 * grey_of(images)])
    signal = features @ rng.normal(size=(features.shape[1], N_VOXELS))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    responses = signal + 1.3 * rng.normal(size=signal.shape)
    labels = clusters(content @ rng.normal(size=(content.shape[1], 12)), 6)
    first, rest = slice(N_TRAIN), slice(N_TRAIN, None)
    return World(
        training=images[first],
        test=images[rest],
        features=features[first],
        test_features=features[rest],
        responses=responses[first],
        test_responses=responses[rest],
        labels=labels[rest],
        training_labels=labels[first],
    )


def honest(decoded: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw the decoded layout in the decoded tint, smooth, with grain."""
    rng = np.random.default_rng(seed)
    grey, tint = decoded[:, -N_Z:].reshape(-1, 8, 8) / 5, decoded[:, -N_Z - 3 : -N_Z] / 10
    coarse = grey[..., None] + tint[:, None, None]
    smooth = gaussian_filter(coarse.repeat(4, axis=1).repeat(4, axis=2), (0, 1.5, 1.5, 0))
    return np.clip(smooth + 0.05 * rng.normal(size=smooth.shape), 0, 1).astype(np.float32)


def right_cluster(decoded: np.ndarray, seed: int = 0) -> np.ndarray:
    """Paint some training image of the cluster that the nearest training features are in."""
    w, rng = world(), np.random.default_rng(seed)
    nearest, _ = nearest_training(decoded, w.features)
    members = [np.flatnonzero(w.training_labels == w.training_labels[i]) for i in nearest]
    return w.training[[rng.choice(rows) for rows in members]]


def mean_image(decoded: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.repeat(world().training.mean(axis=0)[None], len(decoded), axis=0)


def copier(decoded: np.ndarray, seed: int = 0) -> np.ndarray:
    nearest, _ = nearest_training(decoded, world().features)
    return world().training[nearest]


def scores(drawn: np.ndarray) -> np.ndarray:
    """Identify images by their layout, both directions."""
    found = two_way_scores(layout_of(world().test), layout_of(drawn))
    return (found["original"] + found["reconstruction"]) / 2


@cache
def inputs_of(generator) -> AuditInputs:
    """Run a generator on every brain that the audit asks for."""
    w, rng = world(), np.random.default_rng(7)
    decoded = w.decoded(w.test_responses)
    drawn = generator(decoded)
    order = np.roll(np.arange(N_TEST), 1)
    spread, centre = w.responses.std(axis=0), w.responses.mean(axis=0)
    noise = centre + spread * rng.normal(size=w.test_responses.shape)
    held_out = np.empty_like(decoded)
    for label in np.unique(w.labels):
        rows = np.flatnonzero(w.training_labels != label)
        mine = w.labels == label
        held_out[mine] = w.decoded(w.test_responses[mine], rows)
    mean_brain = np.repeat(centre[None], N_TEST, axis=0)
    swapped = generator(np.hstack([decoded[order, :-N_Z], decoded[:, -N_Z:]]))
    return AuditInputs(
        scores=scores(drawn),
        baseline_scores=scores(copier(decoded)),
        layout_scores=pixcorr(w.test, drawn),
        baseline_layout_scores=pixcorr(w.test, copier(decoded)),
        ceiling_scores=scores(generator(w.test_features)),
        held_out_embeddings=layout_of(generator(held_out))[:, None],
        shuffled_scores=scores(generator(decoded[order])),
        mean_scores=scores(generator(w.decoded(mean_brain))),
        noise_scores=scores(generator(w.decoded(noise))),
        true_features=w.test_features,
        predicted_features=decoded,
        training_features=w.features,
        labels=w.labels,
        originals=w.test,
        reconstructions=drawn[:, None],
        training_images=w.training,
        original_embeddings=layout_of(w.test),
        embeddings=layout_of(drawn)[:, None],
        swap_similarities={
            "layout_to_layout_donor": alike(grey_of(swapped), grey_of(w.test)),
            "layout_to_content_donor": alike(grey_of(swapped), grey_of(w.test[order])),
            "content_to_layout_donor": -np.linalg.norm(tint_of(swapped) - tint_of(w.test), axis=1),
            "content_to_content_donor": -np.linalg.norm(
                tint_of(swapped) - tint_of(w.test[order]), axis=1
            ),
        },
    )


def verdicts(found: Audit) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in found.findings}


def test_an_honest_pipeline_passes() -> None:
    found = audit(inputs_of(honest))
    assert not found.not_computed
    assert 0.8 < np.mean(inputs_of(honest).scores) < 0.97
    assert found.verdict == "pass", [f.sentence for f in found.findings if f.verdict != "pass"]


def test_painting_a_training_image_of_the_right_cluster_is_caught() -> None:
    found = audit(inputs_of(right_cluster))
    assert np.mean(inputs_of(right_cluster).scores) > 0.55  # the usual score looks like decoding
    failed = [name for name, verdict in verdicts(found).items() if verdict == "fail"]
    assert {"within clusters", "copies", "retrieval baseline"} <= set(failed)


def test_the_mean_image_is_caught() -> None:
    found = audit(inputs_of(mean_image))
    given = verdicts(found)
    for name in ("shuffled control", "retrieval baseline", "diversity", "within clusters"):
        assert given[name] == "fail", name
    assert "the generator or the metric is blind" in found.not_computed["ceiling"]


def test_copying_the_nearest_training_image_is_caught() -> None:
    inputs = inputs_of(copier)
    assert np.mean(inputs.scores) > 0.75  # it does decode, and yet it draws nothing
    given = verdicts(audit(inputs))
    assert given["copies"] == given["retrieval baseline"] == "fail"
    assert given["shuffled control"] == "pass"


def test_what_is_missing_is_named_with_its_reason() -> None:
    whole = inputs_of(honest)
    few = AuditInputs(scores=whole.scores, baseline_scores=whole.baseline_scores)
    found = audit(few)
    assert [finding.name for finding in found.findings] == ["retrieval baseline"]
    assert found.not_computed["ceiling"] == "there are no ceiling scores"
    assert found.not_computed["swap"] == "there are no swap similarities"
    expected = "there are no true features and no training features"
    assert found.not_computed["distance to training"] == expected
    assert len(found.not_computed) == 13
    assert audit(AuditInputs()).findings == ()


def test_the_same_seed_gives_the_same_findings() -> None:
    inputs = inputs_of(honest)
    records = [[f.record() for f in audit(replace(inputs, seed=s)).findings] for s in (1, 1, 2)]
    assert records[0] == records[1] != records[2]


@pytest.mark.parametrize("generator", [honest, mean_image])
def test_every_sentence_is_one_sentence_with_its_numbers(generator) -> None:
    for finding in audit(inputs_of(generator)).findings:
        assert finding.sentence.endswith(".")
        assert "nan" not in finding.sentence
        assert any(letter.isdigit() for letter in finding.sentence)
