"""Stage 2 of an encoding analysis: denoise every stimulus, and store latents and activations."""

from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any, cast

from vox2pix.config import Config
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.encoding import (
    analyses,
    encoding_folder,
    layers_of,
    steps_at,
    trace_folder,
    trace_plan,
)
from vox2pix.pipeline.experiment import FloatArray, arrays_are_sound, features, targets
from vox2pix.pipeline.inputs import adapter_hashes
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import write_json
from vox2pix.targets import StartSettings, Tracing, trace_bytes

_ROWS_A_SHARD = 250
_SETTINGS = {
    "latents",
    "strength",
    "strengths",
    "moments",
    "layers",
    "layer_moments",
    "steps",
    "guidance",
}


def _denoise(run: Run) -> Sequence[str]:
    """Denoise every stimulus once per noise level, shard by shard."""
    plan = analyses(run).trace
    if plan is None:
        return ()
    n_all = len(run.stimulus_ids) * len(plan.passes)
    run.reporter.begin("Denoising", n_all, "images")
    tracing = _tracing(run)
    distortions = {module: asdict(d) for module, d in tracing.distortions().items()}
    pending = tracing.pending()
    run.reporter.advance(n_all - sum(tracing.n_rows(*shard) for shard in pending))
    for shard, _ in run.workers.each(_denoise_shard, run, pending):
        run.reporter.advance(tracing.n_rows(*shard))
    write_json(encoding_folder(run) / "projections.json", distortions)
    write_json(encoding_folder(run) / "trace.json", {"folder": tracing.folder.name})
    own = f"encoding/latents/{tracing.folder.name}"
    marks = [f"{own}/{name}/done/*" for name in tracing.arrays]
    return (
        "encoding/projections.json",
        "encoding/trace.json",
        *(name for part in (f"{own}/distortions/*", *marks) for name in run.folder.files(part)),
    )


def _denoise_shard(run: Run, shard: tuple[float, int]) -> None:
    _tracing(run).compute(*shard)


def _tracing(run: Run) -> Tracing:
    """Open the trace of all stimuli, once for all its shards."""
    plan, ids = analyses(run).trace, run.stimulus_ids
    assert plan is not None

    def opened() -> Tracing:
        return Tracing(
            run.model,
            {target.port: _port_input(run, name) for name, target in targets(run).items()},
            ids,
            folder=encoding_folder(run) / "latents",
            plan=plan,
            seed=run.config.seed,
            one_noise=run.config.run_protocol.one_noise,
            batch_size=run.config.compute.batch_size,
        )

    return cast(Tracing, run.cached("stage", plan, opened))


def _port_input(run: Run, name: str) -> FloatArray:
    """Return what the port of a target takes for all stimuli; a start is taken as it is."""
    return targets(run)[name].port_input(
        run.model,
        features(run, name, run.stimulus_ids),
        start=StartSettings(through_image=False),
        batch_size=run.config.compute.batch_size,
    )


def _settings(config: Config) -> Sequence[Any]:
    own = config.encode.model_dump(mode="json", include=_SETTINGS)
    generate = config.generate
    image = [generate.ip_adapter_scale, generate.noise_level]
    return [own, generate.schedule, *image, config.run_protocol.one_noise]


def _is_sound(run: Run) -> bool:
    return analyses(run).trace is None or arrays_are_sound(run, [trace_folder(run)])


def _cost(p: Planned) -> Cost | None:
    architecture, encode = p.architecture, p.config.encode
    if not p.can_denoise:
        return None
    schedule, n = p.config.generate.schedule, p.n_stimuli
    n_run = len(architecture.plan(encode.strength, encode.steps, schedule).timesteps)
    modules = layers_of(p.config, architecture.module_names)
    shapes = architecture.activation_shapes(modules, p.start_shape)
    plan = trace_plan(
        p.config, steps_at(encode.moments, n_run), modules, steps_at(encode.layer_moments, n_run)
    )
    written = sum(trace_bytes(plan, n, p.start_shape, shapes).values())
    n_steps = sum(int(encode.steps * strength) for strength in plan.passes)
    flops = n * n_steps * (1 if encode.guidance == 1 else 2) * p.model.denoise_flops
    inputs = 4.0 * n * sum(prod(shape) for shape in p.shapes.values())
    return Cost(
        "trace",
        f"{len(plan.passes)} denoising runs of {n:,} images",
        0,
        written,
        p.model.n_parameters * 4.0 + _ROWS_A_SHARD * written / n + inputs + 2e9,
        p.seconds(flops),
    )


DENOISE = Stage(
    "trace",
    "Denoising",
    _denoise,
    _settings,
    after=("encoding-features",),
    inputs=adapter_hashes,
    is_sound=_is_sound,
    cost=_cost,
)
