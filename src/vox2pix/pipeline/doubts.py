"""Features for the audit's doubts: from a mean brain, a noise brain, and held-out clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.decoding import RidgeDecoder
from vox2pix.evaluation.audit import clusters
from vox2pix.pipeline.latents import FloatArray, c_of, z_of
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import FeatureSpace, feature_spaces, make_decoder, units
from vox2pix.seeds import rng_for
from vox2pix.store import load_arrays, save_arrays

_FILE = "decoded/{}-doubts.safetensors"
_CLUSTERS = "decoded/clusters.safetensors"
_TRIALS_AT_ONCE = 1024


def decode_doubts(run: Run) -> Sequence[str]:
    """Predict features where nothing, or less, should be predictable."""
    if not run.config.audit.enabled:
        return ()
    n_train, n_clusters = len(run.subject.train.stimulus_ids), run.config.audit.clusters
    labels = _cluster_labels(run)
    save_arrays(run.path / _CLUSTERS, {"train": labels[:n_train], "test": labels[n_train:]})
    spaces = feature_spaces(run)
    run.reporter.begin("Decoding for the audit", len(spaces) * n_clusters, "fits")
    written = [_CLUSTERS]
    for space in spaces:
        arrays = _from_null_brains(run, space)
        arrays["held_out"] = _from_other_clusters(run, space, labels)
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


def _cluster_labels(run: Run) -> NDArray[np.intp]:
    """Group training and then test stimuli that are alike in c, or in z without captions."""
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    rows = (c_of if run.subject.has_captions else z_of)(run, ids).reshape(len(ids), -1)
    return clusters(rows, min(run.config.audit.clusters, len(ids)), run.config.seed)


def _from_null_brains(run: Run, space: FeatureSpace) -> dict[str, NDArray[Any]]:
    """Predict from the mean training response, and from noise with each voxel's mean and SD."""
    train, test = run.subject.train, run.subject.test
    decoder = RidgeDecoder.from_arrays(
        load_arrays(run.path / "decoders" / f"{space.name}.safetensors")
    )
    mean = units(train.mean_betas(space.rois), run.config.protocol).mean(axis=0)
    measured = units(test.mean_betas(space.rois), run.config.protocol)[: len(run.test_ids)]
    noise = rng_for(run.config.seed, "noise brain", space.name).standard_normal(measured.shape)
    noise = measured.mean(axis=0) + measured.std(axis=0) * noise.astype(np.float32)
    shape = space.stored(run, run.test_ids[:1]).row_shape
    return {
        name: decoder.predict(responses).reshape(-1, *shape).astype(np.float32)
        for name, responses in (("mean", mean[None]), ("noise", noise))
    }


def _from_other_clusters(
    run: Run, space: FeatureSpace, labels: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Predict each test stimulus by a decoder that saw no picture of its cluster."""
    train, test = run.subject.train, run.subject.test
    of_train, of_test = np.split(labels, [len(train.stimulus_ids)])
    betas = units(train.betas(space.rois), run.config.protocol)
    responses = units(test.mean_betas(space.rois), run.config.protocol)[: len(run.test_ids)]
    targets = space.stored(run, train.stimulus_ids)
    predicted = np.empty((len(responses), *targets.row_shape), np.float32)
    for cluster in range(run.config.audit.clusters):
        held_out = of_test == cluster
        if held_out.any():
            kept = np.flatnonzero(of_train[train.stimulus_rows] != cluster)
            decoder = make_decoder(run.config)
            if decoder.selection == "cv":
                decoder.fit(betas[kept], targets, rows=train.stimulus_rows[kept])
            else:  # without a second copy of the trials
                some = np.array_split(kept, -(-len(kept) // _TRIALS_AT_ONCE))
                blocks = ((betas[rows], train.stimulus_rows[rows]) for rows in some)
                decoder.fit_stream(blocks, targets)
            found = decoder.predict(responses[held_out])
            predicted[held_out] = found.reshape(-1, *targets.row_shape)
        run.reporter.advance(1)
    return predicted
