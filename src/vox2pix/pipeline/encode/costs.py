"""What models of voxels cost: shared by the stages that fit them."""

from dataclasses import dataclass
from math import prod

from vox2pix.pipeline.costs import Planned
from vox2pix.pipeline.encoding import compared_spaces, layers_of
from vox2pix.targets import DENOISED, MAX_FEATURES

_N_ALPHAS = 15
_VOXEL_BLOCK = 2048  # of EncodingModel


@dataclass(frozen=True)
class Widths:
    """Features of each space before it is reduced."""

    alone: tuple[int, ...]  # spaces that are modelled alone
    beside_start: tuple[int, ...]  # denoised latents that share a model with the start, once
    inputs: tuple[int, ...]  # targets that are read
    reduced: tuple[int, ...]  # spaces that are reduced, each once


def widths(p: Planned) -> Widths:
    """Return the features of the spaces that an experiment asks for."""
    encode, of_targets = p.config.encode, {n: prod(shape) for n, shape in p.shapes.items()}
    asked = compared_spaces(p.config)
    if not p.can_denoise or p.start is None:
        alone = tuple(of_targets[n] for n in asked if n in of_targets)
        return Widths(alone, (), alone, alone)
    start, denoised = of_targets[p.start], prod(p.start_shape)
    compared = {n: denoised if n == DENOISED else of_targets.get(n) for n in asked}
    shapes = p.architecture.activation_shapes(
        layers_of(p.config, p.architecture.module_names), p.start_shape
    )
    layers = [
        min(prod(shape), MAX_FEATURES) for shape in shapes.values() for _ in encode.layer_moments
    ]
    pairs = {(encode.strength, moment) for moment in encode.moments}
    pairs |= {(strength, 1.0) for strength in encode.strengths}
    own = [width for width in compared.values() if width is not None]
    alone = (*own, *layers)
    # The denoised latent at the end is one space, whoever asks for it.
    more = len(pairs - {(encode.strength, 1.0)}) if DENOISED in compared else len(pairs)
    start_too = [start] if pairs and p.start not in compared else []
    return Widths(
        alone,
        (denoised,) * len(pairs),
        tuple(of_targets[n] for n in compared if n in of_targets),
        (*alone, *start_too, *[denoised] * more),
    )


def fit_flops(p: Planned, width: int) -> float:
    """Count one model: products in float64 at half the rate, voxels in float32."""
    n, n_test, n_voxels = p.sizes.n_train, p.sizes.n_test, p.sizes.n_voxels["voxels"]
    side = min(n, width)
    once = 2 * (2.0 * n * width * side + 9.0 * side**3)
    return once + n_voxels * (2.0 * n * side + 2.0 * _N_ALPHAS * side + 2.0 * n_test * side)


def fit_memory(p: Planned, width: int) -> float:
    """Return the bytes of one model: features, eigenvectors, a block of voxels, predictions."""
    n, n_test, n_voxels = p.sizes.n_train, p.sizes.n_test, p.sizes.n_voxels["voxels"]
    shard = 4.0 * min(p.config.compute.voxel_block, n_voxels) * n
    block = 8.0 * 3 * min(_VOXEL_BLOCK, n_voxels) * n
    return (
        12.0 * n * width + 28.0 * min(n, width) ** 2 + shard + block + 8.0 * n_test * n_voxels + 5e8
    )
