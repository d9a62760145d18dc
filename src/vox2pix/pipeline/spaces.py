"""The feature spaces of a run, and the decoders that predict them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vox2pix.compute import resolve_device
from vox2pix.config import Config
from vox2pix.decoding import RidgeDecoder
from vox2pix.linear import TARGET_BLOCK, Decomposition
from vox2pix.pipeline.latents import FloatArray, stored_c, stored_z
from vox2pix.pipeline.run import Run
from vox2pix.targets import StoredFeatures

TARGETS_AT_ONCE = 4 * TARGET_BLOCK  # a multiple, so that the solver's own blocks stay the same


@dataclass(frozen=True)
class FeatureSpace:
    """What is decoded.

    Attributes
    ----------
    name : {"z", "c"}
        Its name.
    stored : callable
        ``stored(run, stimulus_ids)``, the features of stimuli as they lie in the cache.
    rois : tuple of str
        The regions that predict it.
    """

    name: str
    stored: Callable[[Run, Sequence[str]], StoredFeatures]
    rois: tuple[str, ...]

    def targets(self, run: Run, stimulus_ids: Sequence[str]) -> FloatArray:
        """Return the features of stimuli, (n_stimuli, ...)."""
        return self.stored(run, stimulus_ids).read()


def feature_spaces(run: Run) -> list[FeatureSpace]:
    """Return z, and c where there are captions."""
    z = FeatureSpace("z", stored_z, run.config.decode.rois["z"])
    if not run.subject.has_captions:
        return [z]
    return [z, FeatureSpace("c", stored_c, run.config.decode.rois["c"])]


def solver_device(config: Config) -> str | None:
    """Return the torch device of linear models; None for NumPy, as Apple's has no float64."""
    place = resolve_device(config.compute.device)
    return str(place) if place.type == "cuda" else None


def make_decoder(config: Config) -> RidgeDecoder:
    """Return the decoder that an experiment names, not fitted."""
    device, decode = solver_device(config), config.decode
    if config.run_protocol.released_ridge:
        return RidgeDecoder.takagi2023(decode.alphas).set_params(
            alpha_per_target=decode.alpha_per_target, device=device
        )
    chosen: dict[str, Any] = {} if decode.alphas is None else {"alphas": decode.alphas}
    return RidgeDecoder(
        selection=decode.selection,
        alpha_per_target=decode.alpha_per_target,
        device=device,
        **chosen,
    )


def target_blocks(run: Run, space: FeatureSpace) -> list[tuple[int, int]]:
    """Return the features that are fitted together, as first and last + 1 of each block.

    Penalties that are chosen feature by feature do not ask what else is fitted. One penalty for
    all does, and folds go through the trials so often that they do it once.
    """
    n = space.stored(run, run.test_ids[:1]).shape[1]
    decoder = make_decoder(run.config)
    size = n if decoder.selection == "cv" or not decoder.alpha_per_target else TARGETS_AT_ONCE
    return [(lo, min(lo + size, n)) for lo in range(0, n, size)]


def fit_decoder(run: Run, space: FeatureSpace, part: tuple[int, int]) -> RidgeDecoder:
    """Fit the decoder of some features on single trials.

    Trials are read a session at a time, where folds need no more, and decomposed once for all
    features that this process fits one after another. At 30,000 trials, 15,000 voxels and 60,000
    features this stays under 12 GB (``benchmarks/ridge.py --full``).
    """
    train, decoder = run.subject.train, make_decoder(run.config)
    if decoder.selection == "cv":
        X = units(train.betas(space.rois), run.config)
        targets = space.stored(run, train.stimulus_ids)
        return decoder.fit(X, targets, stimuli=train.stimulus_rows)

    def decomposed() -> tuple[Decomposition, StoredFeatures]:
        sessions = (
            (units(betas, run.config), train.stimulus_rows[trials.index])
            for trials, betas in train.iter_betas(space.rois)
        )
        n_stimuli = len(train.stimulus_ids)
        return decoder.decompose_stream(sessions, n_stimuli), space.stored(run, train.stimulus_ids)

    decomposition, targets = run.kept("stage", ("decode", space.name), decomposed)
    is_all = part == (0, targets.shape[1])  # then they need not be in memory together
    some = targets if is_all else targets[:, slice(*part)]
    return decoder.fit_decomposed(decomposition, some)


def units(betas: FloatArray, config: Config) -> FloatArray:
    """Return percent signal change, or NSD's raw integers, as the experiment's protocol has it."""
    scale = config.run_protocol.beta_scale
    return betas if scale == 1 else betas * np.float32(scale)
