"""Stage 3 of a reconstruction: ridge from the voxels of each target's regions to the target."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config, for_others
from vox2pix.decoding import PER_TARGET
from vox2pix.linear import pearson_r, r2_score
from vox2pix.pipeline.costs import (
    TARGETS_AT_ONCE,
    Cost,
    Planned,
    decoder_flops,
    decoder_memory,
)
from vox2pix.pipeline.experiment import (
    FloatArray,
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
from vox2pix.store import holds_arrays, load_arrays, save_arrays

Arrays = dict[str, NDArray[Any]]
Block = tuple[int, int]


def compute(truth: FloatArray, parts: Sequence[tuple[Block, Arrays]]) -> tuple[Arrays, Arrays]:
    """Join the blocks of a target, and score what they predict of the test stimuli.

    `truth` is (n_test, *shape). A part has its first and last + 1 value, and a decoder with its
    predictions (n_test, n_values of the block). Returns ``predicted`` (n_test, *shape) with ``r``
    and ``r2`` (n_values,), and the whole decoder.
    """
    n_values = prod(truth.shape[1:])
    predicted = np.empty((len(truth), n_values), np.float32)
    decoder: Arrays = {}
    for block, arrays in parts:
        for name, values in arrays.items():
            if name == "predicted":
                predicted[:, slice(*block)] = values
            elif name in PER_TARGET:
                whole = decoder.setdefault(
                    name, np.empty((n_values, *values.shape[1:]), values.dtype)
                )
                whole[slice(*block)] = values
            else:
                decoder[name] = values
    scored: Arrays = {
        "predicted": predicted.reshape(truth.shape),
        "r": pearson_r(flat(truth), predicted),
        "r2": r2_score(flat(truth), predicted),
    }
    return scored, decoder


def _decode(run: Run) -> Sequence[str]:
    """Fit decoders on single trials, a block of values each; predict from the test means."""
    names = list(found := targets(run))
    blocks = {name: _blocks(run, name) for name in names}
    items = [(name, block) for name in names for block in blocks[name]]
    run.reporter.begin(f"Decoding {' and '.join(names)}", len(items), "decoders")
    for _ in run.workers.each(_decode_block, run, items):
        run.reporter.advance(1)
    run.clear_cached()
    for name in names:
        truth = features(run, name, run.test_ids)
        parts = [(block, load_arrays(_part(run, name, block))) for block in blocks[name]]
        scored, decoder = compute(truth, parts)
        training = stored_features(run, name, run.subject.train.stimulus_ids)
        statistics = found[name].training_statistics(training)
        save_arrays(run.path / "decoded" / f"{name}.safetensors", scored)
        save_arrays(run.path / "decoders" / f"{name}.safetensors", {**statistics, **decoder})
        run.reporter.say(_summary(run.config, name, truth, scored, decoder))
    return [f"{what}/{name}.safetensors" for name in names for what in ("decoded", "decoders")]


def _blocks(run: Run, name: str) -> list[Block]:
    """Return the values that are fitted together, as first and last + 1 of each block.

    Penalties chosen value by value do not depend on what else is fitted. One penalty for all
    does, and folds go through the trials so often that they do it once.
    """
    n = stored_features(run, name, run.test_ids[:1]).shape[1]
    decoder = make_decoder(run.config)
    size = n if decoder.selection == "cv" or not decoder.alpha_per_target else TARGETS_AT_ONCE
    return [(lo, min(lo + size, n)) for lo in range(0, n, size)]


def _part(run: Run, name: str, block: Block) -> Path:
    """Return the file of a block, until the whole decoder is there."""
    return run.path / "decoders" / f"parts-{run.keys['decode']}" / f"{name}-{block[0]}.safetensors"


def _decode_block(run: Run, item: tuple[str, Block]) -> None:
    """Fit the decoder of some values on single trials, predict them, and write both.

    Trials are read a session at a time, where folds need no more, and decomposed once for all
    blocks that this process fits one after another. At 30,000 trials, 15,000 voxels and 60,000
    values this stays under 12 GB (``benchmarks/ridge.py --full``).
    """
    name, block = item
    path, rois, config = _part(run, name, block), run.config.decode.rois[name], run.config
    if holds_arrays(path):
        return
    subject, decoder = decoded_subject(run), make_decoder(config)
    train, reliability = subject.train, published_reliability(run, rois)
    y = run.cached("targets", name, lambda: stored_features(run, name, train.stimulus_ids))
    if decoder.selection == "cv":
        X = in_protocol_units(train.betas(rois), config)
        decoder.fit(X, y, stimuli=train.stimulus_rows, reliability=reliability)
    else:
        held = run.slot("stage", ("decode", name))
        if not held:
            sessions = (
                (in_protocol_units(betas, config), train.stimulus_rows[trials.index])
                for trials, betas in train.iter_betas(rois)
            )
            held.append(decoder.decompose_stream(sessions, y, reliability=reliability))
        is_all = block == (0, y.shape[1])  # then they need not be in memory together
        decoder.fit_decomposed(held[0], y if is_all else y[:, slice(*block)])
    test = run.cached("test", rois, lambda: subject.test.mean_betas(rois))
    predicted = decoder.predict(in_protocol_units(test[: len(run.test_ids)], config))
    save_arrays(path, decoder.to_arrays() | {"predicted": predicted.astype(np.float32)})


def _summary(config: Config, name: str, truth: FloatArray, scored: Arrays, decoder: Arrays) -> str:
    y, predicted = flat(truth), flat(scored["predicted"])
    message = (
        f"{name} from {'+'.join(config.decode.rois[name])}: mean r {np.nanmean(scored['r']):.3f} "
        f"over {y.shape[1]:,} values of {len(y):,} test images"
    )
    if config.run_protocol.by_image and y.shape[1] > 1:  # what the authors call accuracy
        by_image = np.nanmean(pearson_r(y.T, predicted.T))
        message += f"; r across values, mean over test images: {by_image:.3f}"
    if config.decode.uses_reliability:
        n_voxels = decoder["coef"].shape[1]
        message += (
            f"; voxels weighted by reliability to the power {decoder['power'].item():g}, "
            f"{len(decoder['dropped']):,} of {n_voxels:,} left out"
        )
    return message


def _settings(config: Config) -> Sequence[Any]:
    protocol = config.run_protocol
    own = for_others(config).decode.model_dump(mode="json", exclude={"targets"})
    return [own, protocol.released_ridge, protocol.beta_scale]


def _cost(p: Planned) -> Cost:
    n, m = p.sizes.n_train_trials, p.sizes.n_train
    sizes = {name: (n, p.sizes.n_voxels[name], m, prod(s)) for name, s in p.shapes.items()}
    flops = sum(decoder_flops(p.config, *size) for size in sizes.values())
    memory = max(decoder_memory(p.config, *size) for size in sizes.values())
    written = sum(4.0 * t * (n_voxels + p.sizes.n_test) for _, n_voxels, _, t in sizes.values())
    reading = 2 * len(sizes) * p.sizes.beta_bytes  # trials of training, then of test images
    what = " and ".join(f"{t:,} values of {name}" for name, (*_, t) in sizes.items())
    return Cost("decode", what, reading, written, memory + 1.05e9, p.seconds(flops, reading))


DECODE = Stage(
    "decode",
    "Decoding",
    _decode,
    _settings,
    after=("data", "features"),
    leftovers="decoders",
    cost=_cost,
)
