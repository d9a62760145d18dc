"""Latents along the denoising trajectory: z_c, and activations of the U-Net's modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.random_projection import SparseRandomProjection

from vox2pix.config import digest
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for
from vox2pix.store import ShardedArray, checksum, read_json, write_json
from vox2pix.targets._projection import Distortion, measure_distortion, random_projection

if TYPE_CHECKING:
    from vox2pix.diffusion import LatentDiffusion
    from vox2pix.diffusion.batches import BatchSize
    from vox2pix.diffusion.schedule import Schedule

FloatArray = NDArray[np.float32]
Projections = Mapping[str, Callable[[], SparseRandomProjection]]
MAX_FEATURES = 16_384
DENOISED = "z_c"
"""Name of the latent after denoising with every target, as the paper has it."""
# 120 pairs show a projection's distortion; more rows, each whole in memory, would show no more.
_N_MEASURED = 16


@dataclass(frozen=True)
class Latent:
    """One feature space of the diffusion model.

    Attributes
    ----------
    layer : str
        ``"z"``, ``"c"``, ``"z_c"`` (the latent after denoising with both), or the dotted name of
        a module of the U-Net.
    strength : float, optional
        Of the noise that z was brought to; none for z and c.
    step : int, optional
        After which step of the denoising (for a module: in which), counted from 0 among the
        steps that are run; z_c without one is that at the end.
    """

    layer: str
    strength: float | None = None
    step: int | None = None

    @property
    def name(self) -> str:
        """Such as ``z``, ``z_c@0.8`` or ``mid_block@0.8:step12``."""
        strength = "" if self.strength is None else f"@{self.strength:g}"
        return f"{self.layer}{strength}" + ("" if self.step is None else f":step{self.step}")


@dataclass(frozen=True)
class TracePlan:
    """Which latents to take, in which denoising runs.

    Attributes
    ----------
    strengths : tuple of float
        Each in (0, 1]; z_c at the end is taken at each, and at `strength` where steps are.
    strength : float
        At which z_c and modules are taken step by step.
    latent_steps : tuple of int
        Steps after which z_c is taken, counted from 0 among the ``int(steps * strength)`` run.
    modules : tuple of str
        Dotted names of modules of the U-Net.
    module_steps : tuple of int
        Steps in which the modules are taken.
    steps : int
        Length of the whole schedule.
    guidance : float
        Scale of classifier-free guidance.
    schedule : {"diffusers", "takagi2023"}
        As for :meth:`vox2pix.diffusion.LatentDiffusion.denoise`.
    """

    strengths: tuple[float, ...] = (0.8,)
    strength: float = 0.8
    latent_steps: tuple[int, ...] = ()
    modules: tuple[str, ...] = ()
    module_steps: tuple[int, ...] = ()
    steps: int = 50
    guidance: float = 5.0
    schedule: Schedule = "diffusers"

    @property
    def passes(self) -> dict[float, tuple[Latent, ...]]:
        """The latents of each denoising pass, by its strength, in their order."""
        within = [Latent(DENOISED, self.strength, step) for step in self.latent_steps]
        for module in self.modules:
            within += [Latent(module, self.strength, step) for step in self.module_steps]
        strengths = dict.fromkeys((*self.strengths, *([self.strength] if within else [])))
        return {
            strength: (Latent(DENOISED, strength), *(within if strength == self.strength else ()))
            for strength in strengths
        }

    @property
    def latents(self) -> tuple[Latent, ...]:
        """All latents that a trace writes."""
        return tuple(latent for latents in self.passes.values() for latent in latents)


class Tracing:
    """Latents of denoising each stimulus's inputs, once per strength, on disk.

    The start is noised to the strength and denoised with the rest, such as z with c in Takagi &
    Nishimoto (CVPR 2023); a stimulus's noise is the same at every strength. Activations of more
    than `max_features` values go through a seeded sparse random projection, the same for all rows
    and steps of a module.

    A pass is computed shard by shard, in any order and by any process (:meth:`run` does all), and
    continues where it was stopped: a shard is done again if any array of its pass lacks it.
    Arrays are stored under a name that follows from the model, the inputs, the stimuli, the seed
    and the schedule, so that other steps, modules or strengths add to what is there. Rows depend
    on neither batch nor shard size beyond floating-point rounding.

    Parameters
    ----------
    model : LatentDiffusion
        The model that the inputs belong to.
    ports : mapping of str to ndarray of float32, shape (n_stimuli, ...)
        What each port of the model takes; arrays may be mapped from files. There must be a
        ``"start"``.
    stimulus_ids : sequence of str
        Of the rows; a stimulus's noise belongs to its id.
    folder : Path
        Root of traces.
    plan : TracePlan
        What to take.
    seed : int
        The run's seed, of noise and projections.
    sample : int
        Number of the noise sample: another one is another trace.
    one_noise : bool
        Whether all stimuli have the same noise.
    batch_size : int or "auto"
        Stimuli denoised at once.
    shard_size : int
        Rows of a shard where a pass is new; one shard of all arrays of a pass is in memory.
    max_features : int
        Most features of a row of activations.

    Attributes
    ----------
    folder : Path
        Folder of this trace; each array is under its latent's name.
    arrays : dict of str to ShardedArray
        By :attr:`Latent.name`; each (n_stimuli, n_features), float32, a row flattened in C order.

    Raises
    ------
    UserError
        For a module that the model does not have, or a step that is not run.
    ValueError
        For rows that do not match, or settings outside their range.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        ports: Mapping[str, FloatArray],
        stimulus_ids: Sequence[str],
        folder: Path,
        plan: TracePlan,
        *,
        seed: int = 0,
        sample: int = 0,
        one_noise: bool = False,
        batch_size: BatchSize = "auto",
        shard_size: int = 250,
        max_features: int = MAX_FEATURES,
    ) -> None:
        n = len(stimulus_ids)
        for port, values in ports.items():
            if len(values) != n:
                raise ValueError(f"{port} has {len(values)} rows for {n} stimuli.")
        latent_shape = ports["start"].shape[1:]
        _check_steps(model, plan)
        shapes = model.activation_shapes(plan.modules, latent_shape)
        counts = _n_features(latent_shape, shapes, max_features)
        settings = [model.identity, str(model.dtype), plan.steps, plan.guidance, plan.schedule]
        inputs = [list(stimulus_ids), {port: checksum(values) for port, values in ports.items()}]
        key = digest([settings, inputs, seed, sample, one_noise, max_features])
        self.folder = folder / f"trace-{key}"
        names = ["one noise for all"] * n if one_noise else stimulus_ids
        seeds = np.array([seed_for(seed, "trace", i, sample) for i in names], np.int64)
        # Modules of one size share a matrix, of hundreds of megabytes; it is drawn when needed.
        matrix = cache(lambda n_features: random_projection(n_features, max_features, seed))
        sizes = {module: prod(shape) for module, shape in shapes.items()}
        self._plan = plan
        self._projections = {
            m: partial(matrix, size) for m, size in sizes.items() if size > max_features
        }
        self._source = _Source(model, ports, seeds, batch_size)
        self._passes: dict[float, dict[str, ShardedArray]] = {}
        for strength, latents in plan.passes.items():
            ours = self._passes[strength] = {}
            size = shard_size
            for latent in latents:
                shape = (n, counts[latent.layer])
                ours[latent.name] = array = ShardedArray(
                    self.folder / latent.name, shape, np.float32, size
                )
                size = array.shard_size  # what is there already sets the shards of all
        self.arrays = {k: v for arrays in self._passes.values() for k, v in arrays.items()}

    def run(self, progress: Callable[[int], None] = lambda done: None) -> None:
        """Compute what is absent; `progress` receives the number of stimuli done, pass by pass."""
        pending = self.pending()
        every = sum(arrays[next(iter(arrays))].shape[0] for arrays in self._passes.values())
        done = every - sum(self.n_rows(*one) for one in pending)
        if done:
            progress(done)
        for one in pending:
            self.compute(*one)
            progress(self.n_rows(*one))

    def pending(self) -> list[tuple[float, int]]:
        """List the (strength, shard) that any array of the pass lacks, pass by pass."""
        return [
            (strength, shard)
            for strength, arrays in self._passes.items()
            for shard in sorted({s for array in arrays.values() for s in array.pending()})
        ]

    def n_rows(self, strength: float, shard: int) -> int:
        """Return the stimuli of a shard."""
        rows = next(iter(self._passes[strength].values())).rows(shard)
        return int(rows.stop - rows.start)

    def compute(self, strength: float, shard: int) -> None:
        """Denoise the stimuli of a shard, and write what its arrays lack."""
        arrays = self._passes[strength]
        absent = [name for name, array in arrays.items() if array.pending([shard])]
        if absent:
            rows = arrays[absent[0]].rows(shard)
            values = self._source.record(rows, self._plan, strength, self._projections)
            for name in absent:
                arrays[name].write(shard, values[name])

    def distortions(self) -> dict[str, Distortion]:
        """Return what projections do to distances, by module, measured where it is not recorded.

        Measured on the first 16 stimuli, in the first step in which the module is taken.
        """
        return _distortions(self._source, self._plan, self._projections, self.folder)


def trace_bytes(
    plan: TracePlan,
    n_stimuli: int,
    latent_shape: Sequence[int],
    activation_shapes: Mapping[str, Sequence[int]],
    max_features: int = MAX_FEATURES,
) -> dict[str, int]:
    """Return the bytes that a trace's arrays take on disk before compression, by latent.

    Shapes of the plan's modules come from
    :meth:`vox2pix.diffusion.Architecture.activation_shapes`.
    """
    counts = _n_features(latent_shape, activation_shapes, max_features)
    itemsize = np.dtype(np.float32).itemsize
    return {latent.name: itemsize * n_stimuli * counts[latent.layer] for latent in plan.latents}


@dataclass(frozen=True)
class _Source:
    """What passes start from: inputs by port, and one seed per stimulus."""

    model: LatentDiffusion
    ports: Mapping[str, FloatArray]
    seeds: NDArray[np.int64]
    batch_size: BatchSize

    def record(
        self,
        rows: slice,
        plan: TracePlan,
        strength: float,
        projections: Projections,
    ) -> dict[str, FloatArray]:
        """Return the latents of one pass over some stimuli, by name, flat and projected."""
        from vox2pix.diffusion.probe import Probe  # loads torch, which reports do without

        parts: defaultdict[str, list[FloatArray]] = defaultdict(list)

        def add(layer: str, step: int | None, values: FloatArray) -> None:
            flat = values.reshape(len(values), -1)
            if layer in projections:
                flat = projections[layer]().transform(flat)
            parts[Latent(layer, strength, step).name].append(flat)

        def after_step(step: int, timestep: int, latents: FloatArray) -> None:
            if step in plan.latent_steps:
                add(DENOISED, step, latents)

        def in_step(step: int, timestep: int, activations: dict[str, FloatArray]) -> None:
            for module, values in activations.items():
                add(module, step, values)

        stepwise = strength == plan.strength
        final = self.model.denoise(
            {port: values[rows] for port, values in self.ports.items()},
            self.seeds[rows],
            strength=strength,
            steps=plan.steps,
            guidance=plan.guidance,
            schedule=plan.schedule,
            batch_size=self.batch_size,
            callback=after_step if stepwise else None,
            probe=Probe(plan.modules, plan.module_steps, in_step) if stepwise else None,
        )
        add(DENOISED, None, final)
        return {name: np.concatenate(batches) for name, batches in parts.items()}


def _distortions(
    source: _Source,
    plan: TracePlan,
    projections: Projections,
    folder: Path,
) -> dict[str, Distortion]:
    """Return how projections distort distances; measure and record what is absent."""
    if not plan.module_steps:
        return {}
    places = {module: folder / "distortions" / f"{module}.json" for module in projections}
    absent = tuple(module for module, path in places.items() if not path.exists())
    if absent:
        step = plan.module_steps[0]
        first = replace(plan, latent_steps=(), modules=absent, module_steps=(step,))
        whole = source.record(slice(_N_MEASURED), first, plan.strength, {})
        for module in absent:
            rows = whole[Latent(module, plan.strength, step).name]
            measured = measure_distortion(rows, projections[module]().transform(rows))
            write_json(places[module], asdict(measured))
    return {module: Distortion(**read_json(path)) for module, path in places.items()}


def _n_features(
    latent_shape: Sequence[int],
    activation_shapes: Mapping[str, Sequence[int]],
    max_features: int,
) -> dict[str, int]:
    """Return the features of each layer after projection; z_c is never projected."""
    counts = {module: min(prod(shape), max_features) for module, shape in activation_shapes.items()}
    return {DENOISED: prod(latent_shape), **counts}


def _check_steps(model: LatentDiffusion, plan: TracePlan) -> None:
    """Refuse strengths and steps that cannot be run before hours of those that can."""
    n_run = {s: len(model.plan(s, plan.steps, plan.schedule).timesteps) for s in plan.passes}
    for step in (*plan.latent_steps, *plan.module_steps):
        if plan.strength in n_run and not 0 <= step < n_run[plan.strength]:
            raise UserError(
                f"Step {step} is not run: strength {plan.strength:g} of {plan.steps} steps runs "
                f"steps 0 to {n_run[plan.strength] - 1}; choose one of these."
            )
