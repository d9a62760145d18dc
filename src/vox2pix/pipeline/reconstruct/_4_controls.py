"""Stage 4 of a reconstruction: decode where nothing, or less, should be predictable.

From the mean training response, from noise with the mean and the deviation of every voxel, and
by decoders that saw no stimulus of the test stimulus's cluster.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data import mean_betas_of
from vox2pix.decoding import RidgeDecoder
from vox2pix.evaluation.audit import clusters
from vox2pix.pipeline.costs import Cost, Planned, decoder_flops, decoder_memory
from vox2pix.pipeline.drawings import CLUSTERS, why_not_held_out
from vox2pix.pipeline.experiment import (
    FloatArray,
    content_target,
    decoded_subject,
    features,
    flat,
    in_protocol_units,
    make_decoder,
    published_reliability,
    stored_features,
    targets,
)
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.seeds import rng_for
from vox2pix.store import holds_arrays, load_arrays, save_arrays

_CONTROLS = "null"
_TRIALS_AT_ONCE = 1024


def compute(train: FloatArray, test: FloatArray, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Return the responses of both null conditions, from mean responses (n_stimuli, n_voxels).

    ``mean`` (1, n_voxels) is the mean training response; ``noise`` (n_test, n_voxels) is Gaussian
    with the mean and the standard deviation of every voxel over the test stimuli.
    """
    # Means and deviations in float64: a large baseline would leave float32 few digits for them.
    noise = rng.standard_normal(test.shape)
    noise = test.mean(axis=0, dtype=np.float64) + test.std(axis=0, dtype=np.float64) * noise
    mean = train.mean(axis=0, dtype=np.float64)
    return {"mean": mean[None].astype(np.float32), "noise": noise.astype(np.float32)}


def _decode_controls(run: Run) -> Sequence[str]:
    if not run.config.audit.enabled:
        return ()
    _save_clusters(run)
    reason = why_not_held_out(run)
    if reason:
        run.reporter.say(f"Held-out clusters: not computed, {reason}")
    n_clusters = 0 if reason else run.config.audit.clusters
    names = list(targets(run))
    # Long ones first, so that no worker is left alone with one at the end.
    items: list[tuple[str, int | str]] = [
        (name, cluster) for name in reversed(names) for cluster in range(n_clusters)
    ]
    items += [(name, _CONTROLS) for name in names]
    run.reporter.begin("Decoding controls", len(items), "parts")
    for _ in run.workers.each(_decode_part, run, items):
        run.reporter.advance(1)
    for name in names:
        save_arrays(run.path / _file(name), _joined(run, name, n_clusters))
    return [CLUSTERS, *map(_file, names)]


def _file(name: str) -> str:
    return f"decoded/{name}-controls.safetensors"


def _save_clusters(run: Run) -> None:
    """Group training and then test stimuli that are similar in content, and save the labels."""
    ids, n_train = run.stimulus_ids, len(run.subject.train.stimulus_ids)
    rows = flat(features(run, content_target(targets(run)), ids))
    labels = clusters(rows, min(run.config.audit.clusters, len(ids)), run.config.seed)
    train, test = labels[:n_train], labels[n_train:]
    n_left = min(np.count_nonzero(train != k) for k in np.unique(test))
    save_arrays(run.path / CLUSTERS, {"train": train, "test": test, "n_left": np.array([n_left])})


def _joined(run: Run, name: str, n_clusters: int) -> dict[str, NDArray[Any]]:
    """Join the parts of a target: ``mean``, ``noise`` and ``held_out``, (n, *shape) each."""
    shape = stored_features(run, name, run.test_ids[:1]).row_shape
    null = load_arrays(_part(run, name, _CONTROLS))
    arrays = {control: predicted.reshape(-1, *shape) for control, predicted in null.items()}
    if n_clusters:
        arrays["held_out"] = np.empty((len(run.test_ids), *shape), np.float32)
    for cluster in range(n_clusters):
        part = load_arrays(_part(run, name, cluster))
        arrays["held_out"][part["rows"]] = part["predicted"].reshape(-1, *shape)
    return arrays


def _part(run: Run, name: str, part: int | str) -> Path:
    folder = run.path / "decoded" / f"parts-{run.keys['audit-decoding']}"
    return folder / f"{name}-{part}.safetensors"


def _decode_part(run: Run, item: tuple[str, int | str]) -> None:
    """Predict from null responses, or the test stimuli of a cluster, unless that is done."""
    name, part = item
    path = _part(run, name, part)
    if holds_arrays(path):
        return
    of = _held_out(run, name, part) if isinstance(part, int) else _from_controls(run, name)
    save_arrays(path, of)


def _from_controls(run: Run, name: str) -> dict[str, NDArray[Any]]:
    decoder = RidgeDecoder.from_arrays(load_arrays(run.path / f"decoders/{name}.safetensors"))
    subject = decoded_subject(run)
    both = mean_betas_of([subject.train, subject.test], run.config.decode.rois[name])
    train, test = (in_protocol_units(betas, run.config) for betas in both)
    rng = rng_for(run.config.seed, "noise brain", name)
    responses = compute(train, test[: len(run.test_ids)], rng)
    return {
        control: decoder.predict(betas).astype(np.float32) for control, betas in responses.items()
    }


def _held_out(run: Run, name: str, cluster: int) -> dict[str, NDArray[Any]]:
    """Predict the test stimuli of a cluster by a decoder that saw no stimulus of it."""
    labels, rois = load_arrays(run.path / CLUSTERS), run.config.decode.rois[name]
    subject = decoded_subject(run)
    train, test = subject.train, subject.test
    rows = np.flatnonzero(labels["test"] == cluster)
    betas, responses, y = run.cached(
        "stage",
        name,
        lambda: (
            in_protocol_units(train.betas(rois), run.config),
            in_protocol_units(test.mean_betas(rois), run.config),
            stored_features(run, name, train.stimulus_ids),
        ),
    )
    predicted = np.empty((0, y.shape[1]), np.float32)
    if rows.size:
        others = np.flatnonzero(labels["train"][train.stimulus_rows] != cluster)
        decoder, reliability = make_decoder(run.config), published_reliability(run, rois)
        stimuli = train.stimulus_rows
        if decoder.selection == "cv":
            n_left = len(np.unique(stimuli[others]))
            decoder.set_params(n_folds=min(decoder.n_folds, n_left))
            decoder.fit(betas[others], y, stimuli=stimuli[others], reliability=reliability)
        else:  # without a second copy of the trials
            some = np.array_split(others, -(-len(others) // _TRIALS_AT_ONCE))
            blocks = ((betas[k], stimuli[k]) for k in some)
            decoder.fit_stream(blocks, y, reliability=reliability)
        predicted = decoder.predict(responses[rows]).astype(np.float32)
    return {"rows": rows, "predicted": predicted}


def _cost(p: Planned) -> Cost | None:
    if not p.config.audit.enabled:
        return None
    k, sizes = p.config.audit.clusters, p.sizes
    n, m = (round(size * (k - 1) / k) for size in (sizes.n_train_trials, sizes.n_train))
    fits = [(n, sizes.n_voxels[name], m, prod(shape)) for name, shape in p.shapes.items()]
    # The responses of all clusters stay in memory beside those of the others.
    betas = max(4.0 * sizes.n_train_trials * sizes.n_voxels[name] for name in p.shapes)
    reading = 2 * len(fits) * sizes.beta_bytes
    return Cost(
        "audit-decoding",
        f"{k * len(fits)} held-out decoders",
        reading,
        4.0 * (1 + 2 * sizes.n_test) * sum(prod(shape) for shape in p.shapes.values()),
        max(decoder_memory(p.config, *fit) for fit in fits) + betas + 1.05e9,
        p.seconds(k * sum(decoder_flops(p.config, *fit) for fit in fits), reading),
    )


CONTROLS = Stage(
    "audit-decoding",
    "Decoding of controls",
    _decode_controls,
    lambda config: [config.audit],
    after=("decode",),
    leftovers="decoded",
    cost=_cost,
)
