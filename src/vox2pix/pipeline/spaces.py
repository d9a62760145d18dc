"""The feature spaces of a run, and the decoders that predict them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vox2pix.config import Config
from vox2pix.decoding import RidgeDecoder
from vox2pix.pipeline.latents import FloatArray, c_of, z_of
from vox2pix.pipeline.run import Run


@dataclass(frozen=True)
class FeatureSpace:
    """What is decoded.

    Attributes
    ----------
    name : {"z", "c"}
        Its name.
    targets : callable
        ``targets(run, stimulus_ids)``, the features of stimuli, (n_stimuli, ...).
    rois : tuple of str
        The regions that predict it.
    """

    name: str
    targets: Callable[[Run, Sequence[str]], FloatArray]
    rois: tuple[str, ...]


def feature_spaces(run: Run) -> list[FeatureSpace]:
    """Return z, and c where there are captions."""
    z = FeatureSpace("z", z_of, run.config.decode.z)
    c = FeatureSpace("c", c_of, run.config.decode.c)
    return [z, c] if run.subject.has_captions else [z]


def make_decoder(config: Config) -> RidgeDecoder:
    """Return the decoder that an experiment names, not fitted."""
    if config.protocol == "takagi2023":
        return RidgeDecoder.takagi2023(config.decode.alphas)
    decode = config.decode
    chosen: dict[str, Any] = {} if decode.alphas is None else {"alphas": decode.alphas}
    return RidgeDecoder(
        selection=decode.selection, alpha_per_target=decode.alpha_per_target, **chosen
    )


def units(betas: FloatArray, protocol: str) -> FloatArray:
    """Return percent signal change, or NSD's raw integers, as the released code used them."""
    return betas * np.float32(300) if protocol == "takagi2023" else betas
