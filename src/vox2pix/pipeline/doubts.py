"""Features for the audit's doubts: from a mean brain, a noise brain, and held-out clusters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data import mean_betas_of
from vox2pix.decoding import RidgeDecoder
from vox2pix.evaluation.audit import clusters
from vox2pix.pipeline.latents import FloatArray, c_of, z_of
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import FeatureSpace, feature_spaces, make_decoder, units
from vox2pix.seeds import rng_for
from vox2pix.store import holds_arrays, load_arrays, save_arrays

_FILE = "decoded/{}-doubts.safetensors"
_CLUSTERS = "decoded/clusters.safetensors"
_PART = "{}-{}.safetensors"
_NULL_BRAINS = "null"
_TRIALS_AT_ONCE = 1024
_FEWEST = 3  # training images of a decoder: one held out leaves two, which have a difference


def decode_doubts(run: Run) -> Sequence[str]:
    """Predict features where nothing, or less, should be predictable.

    Nothing is held out where hardly a training image would be left (:func:`why_not_held_out`).
    """
    if not run.config.audit.enabled:
        return ()
    n_train, n_clusters = len(run.subject.train.stimulus_ids), run.config.audit.clusters
    labels = _cluster_labels(run)
    n_left = min(np.count_nonzero(labels[:n_train] != k) for k in np.unique(labels[n_train:]))
    save_arrays(
        run.path / _CLUSTERS,
        {"train": labels[:n_train], "test": labels[n_train:], "n_left": np.array([n_left])},
    )
    reason = why_not_held_out(run)
    if reason:
        run.reporter.say(f"Held-out clusters: not computed, {reason}")
    spaces = feature_spaces(run)
    # Long ones first, so that no worker is left alone with one at the end: c is wider than z.
    items: list[tuple[str, int | str]] = [
        (space.name, cluster)
        for space in reversed(spaces)
        for cluster in range(0 if reason else n_clusters)
    ]
    items += [(space.name, _NULL_BRAINS) for space in spaces]
    run.reporter.begin("Decoding for the audit", len(items), "parts")
    for _ in run.workers.each(_decode_part, run, items):
        run.reporter.advance(1)
    written = [_CLUSTERS]
    for space in spaces:
        shape = space.stored(run, run.test_ids[:1]).row_shape
        null = load_arrays(_parts(run) / _PART.format(space.name, _NULL_BRAINS))
        arrays = {name: predicted.reshape(-1, *shape) for name, predicted in null.items()}
        if not reason:
            arrays["held_out"] = np.empty((len(run.test_ids), *shape), np.float32)
        for cluster in range(0 if reason else n_clusters):
            part = load_arrays(_parts(run) / _PART.format(space.name, cluster))
            arrays["held_out"][part["rows"]] = part["predicted"].reshape(-1, *shape)
        save_arrays(run.path / _FILE.format(space.name), arrays)
        written.append(_FILE.format(space.name))
    return written


def doubtful_features(run: Run, space: str, source: str) -> FloatArray:
    """Return features of the test stimuli from ``mean``, ``noise`` or ``held-out``."""
    stored = load_arrays(run.path / _FILE.format(space))[source.replace("-", "_")]
    return np.broadcast_to(stored, (len(run.test_ids), *stored.shape[1:])).copy()


def test_clusters(run: Run) -> NDArray[np.intp]:
    """Return the cluster of each test stimulus, as it was found for decoding."""
    return load_arrays(run.path / _CLUSTERS)["test"]


def why_not_held_out(run: Run) -> str:
    """Return why no cluster can be held out of training; empty if it can, or is not known yet."""
    path = run.path / _CLUSTERS
    if not run.config.audit.enabled or not holds_arrays(path):
        return ""
    n_left = int(load_arrays(path)["n_left"][0])
    if n_left >= _FEWEST:
        return ""
    return (
        f"without one of the {run.config.audit.clusters} clusters (audit.clusters) {n_left} "
        f"training images are left, and a decoder needs {_FEWEST}"
    )


def _cluster_labels(run: Run) -> NDArray[np.intp]:
    """Group training and then test stimuli that are alike in c, or in z without captions."""
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    rows = (c_of if run.subject.has_captions else z_of)(run, ids).reshape(len(ids), -1)
    return clusters(rows, min(run.config.audit.clusters, len(ids)), run.config.seed)


def _parts(run: Run) -> Path:
    """Return where predictions of clusters and of null brains lie until all are there."""
    return run.path / "decoded" / f"parts-{run.keys['audit-decoding']}"


def _decode_part(run: Run, item: tuple[str, int | str]) -> None:
    """Predict from null brains, or the test stimuli of a cluster, unless that is done."""
    name, part = item
    path = _parts(run) / _PART.format(name, part)
    if holds_arrays(path):
        return
    space = next(space for space in feature_spaces(run) if space.name == name)
    found = _held_out(run, space, part) if isinstance(part, int) else _from_null_brains(run, space)
    save_arrays(path, found)


def _from_null_brains(run: Run, space: FeatureSpace) -> dict[str, NDArray[Any]]:
    """Predict from the mean training response, and from noise with each voxel's mean and SD."""
    decoder = RidgeDecoder.from_arrays(
        load_arrays(run.path / "decoders" / f"{space.name}.safetensors")
    )
    both = mean_betas_of([run.subject.train, run.subject.test], space.rois)
    train, test = (units(betas, run.config) for betas in both)
    measured = test[: len(run.test_ids)]
    # Means and deviations in float64: a large baseline would leave float32 few digits for them.
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    noise = rng_for(run.config.seed, "noise brain", space.name).standard_normal(measured.shape)
    spread = measured.std(axis=0, dtype=np.float64)
    noise = (measured.mean(axis=0, dtype=np.float64) + spread * noise).astype(np.float32)
    brains = {"mean": mean[None], "noise": noise}
    return {name: decoder.predict(brain).astype(np.float32) for name, brain in brains.items()}


def _held_out(run: Run, space: FeatureSpace, cluster: int) -> dict[str, NDArray[Any]]:
    """Predict the test stimuli of a cluster by a decoder that saw no image of it."""
    labels = load_arrays(run.path / _CLUSTERS)
    train, test = run.subject.train, run.subject.test
    rows = np.flatnonzero(labels["test"] == cluster)
    betas, responses, targets = run.kept(
        "stage",
        space.name,
        lambda: (
            units(train.betas(space.rois), run.config),
            units(test.mean_betas(space.rois), run.config),
            space.stored(run, train.stimulus_ids),
        ),
    )
    predicted = np.empty((0, targets.shape[1]), np.float32)
    if rows.size:
        kept = np.flatnonzero(labels["train"][train.stimulus_rows] != cluster)
        decoder = make_decoder(run.config)
        if decoder.selection == "cv":
            n_left = len(np.unique(train.stimulus_rows[kept]))
            decoder.set_params(n_folds=min(decoder.n_folds, n_left))
            decoder.fit(betas[kept], targets, stimuli=train.stimulus_rows[kept])
        else:  # without a second copy of the trials
            some = np.array_split(kept, -(-len(kept) // _TRIALS_AT_ONCE))
            decoder.fit_stream(((betas[k], train.stimulus_rows[k]) for k in some), targets)
        predicted = decoder.predict(responses[rows]).astype(np.float32)
    return {"rows": rows, "predicted": predicted}
