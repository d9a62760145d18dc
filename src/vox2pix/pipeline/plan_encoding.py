"""The stages of an encoding analysis, priced as :mod:`vox2pix.pipeline.plan` prices a run's."""

from math import prod
from pathlib import Path

from vox2pix.compute import sgemm_rate
from vox2pix.config import Config
from vox2pix.diffusion import Architecture, ModelCost
from vox2pix.pipeline.encoding import layers_of, steps_at
from vox2pix.pipeline.plan import (
    READ_BYTES_A_SECOND,
    SHARE_OF_SGEMM,
    Plan,
    StagePlan,
    add_up,
    plan_data,
    plan_features,
    shape_of,
)
from vox2pix.pipeline.sizes import Sizes, experiment_sizes
from vox2pix.targets import TracePlan, trace_bytes
from vox2pix.targets._reduction import DIRECTIONS_AT_ONCE
from vox2pix.targets._rows import ROWS_A_FILE
from vox2pix.targets._trace import MAX_FEATURES

_JOINT_MODELS = 7  # ratios of penalties that a model of two feature spaces tries
_VOXEL_BLOCK = 2048  # of EncodingModel


def plan_encoding(config: Config, path: Path, flops_a_second: float | None = None) -> Plan:
    """Estimate an encoding analysis as :func:`vox2pix.pipeline.plan` estimates a run.

    Parameters
    ----------
    config, path, flops_a_second
        As for :func:`vox2pix.pipeline.plan`.

    Raises
    ------
    UserError
        As there; if a layer is unknown.
    """
    architecture = Architecture.from_pretrained(
        config.model.name, config.model.revision, local_files_only=True
    )
    cost = ModelCost(architecture)
    sizes = experiment_sizes(config, path, {"voxels": config.encode.rois}, "encode")
    measured = flops_a_second or sgemm_rate(config.compute.device)
    rate = SHARE_OF_SGEMM * measured
    shapes = architecture.activation_shapes(
        layers_of(config, architecture.module_names), shape_of("z", config, cost)
    )
    widths = _widths(config, cost, sizes, shapes)
    stages = (
        plan_data(config, sizes, rate),
        _plan_averaging(config, sizes),
        plan_features(config, cost, sizes, rate),
        _plan_trace(config, cost, sizes, shapes, architecture, rate),
        _plan_reduction(config, cost, sizes, widths, rate),
        _plan_models(config, sizes, widths, rate),
        _plan_shares(config, cost, sizes, rate),
    )
    n_voxels = sizes.n_voxels["voxels"]
    facts = (*sizes.facts, f"{n_voxels:,} voxels; {len(widths)} feature spaces")
    return add_up(facts, stages, measured, config.compute.device)


def _widths(
    config: Config, cost: ModelCost, sizes: Sizes, shapes: dict[str, tuple[int, ...]]
) -> dict[str, int]:
    """Return the features of each space that is modelled alone, before it is reduced."""
    z, c = prod(shape_of("z", config, cost)), prod(shape_of("c", config, cost))
    if not sizes.has_captions:
        return {"z": z}
    widths: dict[str, int] = {name: c if name == "c" else z for name in config.encode.latents}
    for layer, shape in shapes.items():
        for moment in config.encode.layer_moments:
            widths[f"{layer} at {moment:g}"] = min(prod(shape), MAX_FEATURES)
    return widths


def _plan_averaging(config: Config, sizes: Sizes) -> StagePlan:
    n_voxels, block = sizes.n_voxels["voxels"], config.compute.voxel_block
    n = sizes.n_train + sizes.n_test
    read = sizes.beta_bytes * -(-n_voxels // block)
    return StagePlan(
        "responses",
        f"mean responses of {n_voxels:,} voxels",
        read,
        4.0 * n_voxels * n,
        4.0 * min(block, n_voxels) * n * 2 + 2.5e9,
        read / READ_BYTES_A_SECOND,
    )


def _plan_trace(
    config: Config,
    cost: ModelCost,
    sizes: Sizes,
    shapes: dict[str, tuple[int, ...]],
    architecture: Architecture,
    rate: float,
) -> StagePlan:
    wanted, n = config.encode, sizes.n_train + sizes.n_test
    if not sizes.has_captions:
        return StagePlan("trace", "no captions, nothing to denoise with", 0, 0, 0, 0)
    schedule = config.generate.schedule
    n_run = len(architecture.plan(wanted.strength, wanted.steps, schedule).timesteps)
    plan = TracePlan(
        strengths=(wanted.strength, *wanted.strengths),
        strength=wanted.strength,
        latent_steps=steps_at(wanted.moments, n_run),
        modules=tuple(shapes),
        module_steps=steps_at(wanted.layer_moments, n_run),
        steps=wanted.steps,
        schedule=schedule,
    )
    written = sum(trace_bytes(plan, n, shape_of("z", config, cost), shapes).values())
    n_steps = sum(int(wanted.steps * strength) for strength in plan.passes)
    flops = n * n_steps * (1 if wanted.guidance == 1 else 2) * cost.denoise_flops
    shard = 250 * written / n
    return StagePlan(
        "trace",
        f"{len(plan.passes)} denoisings of {n:,} images",
        0,
        written,
        cost.n_parameters * 4.0 + shard + 4.0 * n * prod(shape_of("c", config, cost)) + 2e9,
        flops / rate,
    )


def _plan_reduction(
    config: Config, cost: ModelCost, sizes: Sizes, widths: dict[str, int], rate: float
) -> StagePlan:
    n, k = sizes.n_train, config.encode.n_components
    beside_z, z = _beside_z(config, sizes), prod(shape_of("z", config, cost))
    own = widths | ({"z": z} if beside_z else {})
    if "z_c" in own:
        beside_z -= {(config.encode.strength, 1)}
    flops = memory = written = 0.0
    inputs = 4.0 * (n + sizes.n_test) * sum(own.get(name, 0) for name in ("z", "c"))
    for p in (*own.values(), *[z] * len(beside_z)):
        if p <= k:
            continue
        side, kept = min(n, p), min(n - 1, k)
        flops += 2 * (2.0 * n * p * side + 9.0 * side**3) + 2.0 * (n + sizes.n_test) * p * kept
        # The eigenvectors; then directions in double and in single precision.
        found = max(8.0 * 3 * side**2 + 2**30, 8.0 * n * kept + 12.0 * p * kept)
        memory = max(memory, found + 8.0 * (DIRECTIONS_AT_ONCE + 2 * ROWS_A_FILE) * p + inputs)
        written += 4.0 * ((n + sizes.n_test) * kept + p * kept)
    return StagePlan(
        "reduce", f"spaces of more than {k:,} features", written, written, memory, flops / rate
    )


def _fit_flops(n: int, p: int, n_voxels: int, n_test: int, n_alphas: int) -> float:
    """Count one model: products in float64 at half the rate, voxels in float32."""
    side = min(n, p)
    once = 2 * (2.0 * n * p * side + 9.0 * side**3)
    return once + n_voxels * (2.0 * n * side + 2.0 * n_alphas * side + 2.0 * n_test * side)


def _plan_models(config: Config, sizes: Sizes, widths: dict[str, int], rate: float) -> StagePlan:
    n, n_test, n_voxels = sizes.n_train, sizes.n_test, sizes.n_voxels["voxels"]
    kept = [min(p, config.encode.n_components) for p in widths.values()]
    flops = sum(_fit_flops(n, p, n_voxels, n_test, 15) for p in kept)
    read = 4.0 * n * n_voxels * len(kept)
    return StagePlan(
        "encode",
        f"{len(kept)} models of every voxel",
        read,
        4.0 * n_voxels * (5 * len(kept) + n_test * len(config.encode.latents)),
        _fit_memory(config, sizes, max(kept)),
        flops / rate + read / READ_BYTES_A_SECOND,
    )


def _plan_shares(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    n, n_test, n_voxels = sizes.n_train, sizes.n_test, sizes.n_voxels["voxels"]
    n_pairs = len(_beside_z(config, sizes))
    p = 2 * min(prod(shape_of("z", config, cost)), config.encode.n_components)
    flops = n_pairs * _JOINT_MODELS * _fit_flops(n, p, n_voxels, n_test, 15)
    read = 4.0 * n * n_voxels * n_pairs * _JOINT_MODELS
    return StagePlan(
        "divide",
        f"unique variance in {n_pairs} pairs",
        read,
        8.0 * n_voxels * 6 * n_pairs,
        _fit_memory(config, sizes, p) + 3 * 4.0 * n_test * n_voxels,
        flops / rate + read / READ_BYTES_A_SECOND,
    )


def _beside_z(config: Config, sizes: Sizes) -> set[tuple[float, float]]:
    """Name the z_c that share a model with z, each once: by strength and moment."""
    if not sizes.has_captions:
        return set()
    wanted = config.encode
    along = {(wanted.strength, moment) for moment in wanted.moments}
    return along | {(strength, 1) for strength in wanted.strengths}


def _fit_memory(config: Config, sizes: Sizes, p: int) -> float:
    """Return the bytes of one model: features, eigenvectors, a block of voxels, predictions."""
    n, n_test, n_voxels = sizes.n_train, sizes.n_test, sizes.n_voxels["voxels"]
    shard = 4.0 * min(config.compute.voxel_block, n_voxels) * n
    block = 8.0 * 3 * min(_VOXEL_BLOCK, n_voxels) * n
    return 12.0 * n * p + 28.0 * min(n, p) ** 2 + shard + block + 8.0 * n_test * n_voxels + 0.5e9
