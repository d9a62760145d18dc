"""Stage 5 of a reconstruction: images of every condition, ceiling and control."""

from collections.abc import Mapping, Sequence
from typing import Any

from vox2pix.config import Config
from vox2pix.diffusion import LatentDiffusion
from vox2pix.generation import reconstruct
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.drawings import (
    Drawing,
    as_bytes,
    donors,
    drawings_of,
    noise_seeds,
    planned_drawings,
    reconstruction_settings,
    stored_images,
)
from vox2pix.pipeline.experiment import FloatArray, as_drawn, decoded, features, n_rows, targets
from vox2pix.pipeline.inputs import adapter_hashes
from vox2pix.pipeline.reporter import report_damage
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import load_arrays
from vox2pix.targets import Condition, Target


def compute(
    model: LatentDiffusion,
    condition: Condition,
    values: Mapping[str, FloatArray],
    config: Config,
    stimulus_ids: tuple[str, ...],
    samples: int,
    targets: Mapping[str, Target],
) -> FloatArray:
    """Draw the images of a condition, (n, samples, size, size, 3), float32 in [0, 1].

    `values` are those of its targets, (n, *shape) each; seeds of the noise belong to the stimuli.
    """
    batch_size = config.compute.batch_size
    if not condition.denoised:
        (name,) = condition.targets
        return targets[name].images(model, values[name], batch_size)[:, None]
    return reconstruct(
        model,
        {name: values[name] for name in condition.targets},
        seeds=noise_seeds(config, stimulus_ids, samples),
        settings=reconstruction_settings(config, samples),
        targets=targets,
        batch_size=batch_size,
        overlap=config.compute.overlap,
    )


def values_of(run: Run, drawing: Drawing) -> dict[str, FloatArray]:
    """Return the values of a drawing's targets for the test stimuli, from its source."""
    values = {name: _values(run, drawing, name) for name in drawing.condition.targets}
    if drawing.source == "true":
        return values
    found = targets(run)
    values = {name: as_drawn(run, found[name], decoded) for name, decoded in values.items()}
    if drawing.source == "swapped":
        order = donors(len(run.test_ids), run.config.seed)
        for name in values:
            if found[name].carries == "content":
                values[name] = values[name][order]
    return values


def _values(run: Run, drawing: Drawing, name: str) -> FloatArray:
    if drawing.source == "true":
        return features(run, name, run.test_ids)
    if drawing.source in ("mean", "noise", "held-out"):
        arrays = load_arrays(run.path / f"decoded/{name}-controls.safetensors")
        values = arrays[drawing.source.replace("-", "_")]
        return values if len(values) > 1 else values.repeat(len(run.test_ids), axis=0)
    if drawing.source == "shuffled":
        return decoded(run, name)[donors(len(run.test_ids), run.config.seed)]
    return decoded(run, name)


def _draw(run: Run) -> Sequence[str]:
    return _draw_all(run, "Drawing images", _conditions(run))


def _draw_controls(run: Run) -> Sequence[str]:
    return _draw_all(run, "Drawing controls", _controls(run))


def _draw_all(run: Run, title: str, drawings: Sequence[Drawing]) -> Sequence[str]:
    """Draw what is absent, shard by shard."""
    run.reporter.begin(title, sum(d.samples for d in drawings) * len(run.test_ids), "images")
    items = []
    for drawing in drawings:
        out = stored_images(run, drawing)
        pending = out.pending()
        report_damage(run.reporter, out)
        n_pending = sum(n_rows(out, shard) for shard in pending)
        run.reporter.advance((len(run.test_ids) - n_pending) * drawing.samples)
        items += [(drawing, shard, n_rows(out, shard)) for shard in pending]
    for (drawing, _, n), _ in run.workers.each(_draw_shard, run, items):
        run.reporter.advance(n * drawing.samples)
    return ()


def _draw_shard(run: Run, item: tuple[Drawing, int, int]) -> None:
    """Draw the images of some test stimuli, unless they are there."""
    drawing, shard, _ = item
    out = stored_images(run, drawing)
    if not out.pending([shard]):
        return
    rows = out.rows(shard)
    values = run.cached("stage", drawing, lambda: values_of(run, drawing))
    images = compute(
        run.model,
        drawing.condition,
        {name: of[rows] for name, of in values.items()},
        run.config,
        run.test_ids[rows],
        drawing.samples,
        targets(run),
    )
    out.write(shard, as_bytes(images, run.config.run_protocol.truncates))


def _conditions(run: Run) -> list[Drawing]:
    return [d for d in drawings_of(run) if not d.is_audit_only]


def _controls(run: Run) -> list[Drawing]:
    return [d for d in drawings_of(run) if d.is_audit_only]


def _are_drawn(run: Run) -> bool:
    return not any(stored_images(run, drawing).pending() for drawing in _conditions(run))


def _controls_are_drawn(run: Run) -> bool:
    return not any(stored_images(run, drawing).pending() for drawing in _controls(run))


def _settings(config: Config) -> Sequence[Any]:
    protocol = config.run_protocol
    return [
        config.generate.model_copy(update={"ip_adapter": None}),  # its contents are hashed
        config.seed,
        protocol.one_noise,
        protocol.truncates,
        protocol.samples_start,
    ]


def _cost(p: Planned, audit_only: bool) -> Cost | None:
    generate, size = p.config.generate, p.model.image_size
    if audit_only and not p.config.audit.enabled:
        return None
    flops, n_images = 0.0, 0
    for drawing in planned_drawings(p.config, p.sizes.has_captions):
        if drawing.is_audit_only != audit_only:
            continue
        n = p.sizes.n_test * drawing.samples
        n_images += n
        flops += n * p.model.decode_flops
        if not drawing.condition.denoised:
            continue
        ports = {p.ports[name] for name in drawing.condition.targets}
        passes = 1 if ports == {"start"} or generate.guidance == 1 else 2
        strength = generate.strength if "start" in ports else 1.0
        flops += n * max(1, int(generate.steps * strength)) * passes * p.model.denoise_flops
        flops += p.sizes.n_test * p.model.encode_flops
    shard = p.config.compute.shard_size * generate.samples * size**2 * 3 * 8.0
    return Cost(
        "audit-drawing" if audit_only else "generate",
        f"{n_images:,} images of {size} px",
        0,
        n_images * size**2 * 3.0,
        p.model.n_parameters * 4.0 + shard + 2e9,
        p.seconds(flops),
    )


DRAW = Stage(
    "generate",
    "Drawing",
    _draw,
    _settings,
    after=("decode",),
    inputs=adapter_hashes,
    is_sound=_are_drawn,
    cost=lambda p: _cost(p, audit_only=False),
)
DRAW_CONTROLS = Stage(
    "audit-drawing",
    "Drawing of controls",
    _draw_controls,
    _settings,
    after=("audit-decoding",),
    inputs=adapter_hashes,
    is_sound=_controls_are_drawn,
    cost=lambda p: _cost(p, audit_only=True),
)
