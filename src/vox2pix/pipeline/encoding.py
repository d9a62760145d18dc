"""What several stages of an encoding analysis need: feature spaces, responses, places of files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config, suggest
from vox2pix.data import Subject
from vox2pix.encoding import EncodingModel
from vox2pix.errors import UserError
from vox2pix.pipeline.experiment import features, solver_device, start_target, targets
from vox2pix.pipeline.reporter import report_damage
from vox2pix.pipeline.run import Run
from vox2pix.store import ShardedArray, read_json
from vox2pix.targets import DENOISED, Latent, TracePlan, check_ports, reduced

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Analyses:
    """The feature spaces of an experiment, by the analysis that asks for them."""

    alone: tuple[Latent, ...]  # targets and the denoised latent, compared with each other
    strengths: tuple[Latent, ...] = ()  # in one model with the start, at noise levels
    moments: tuple[Latent, ...] = ()  # the same, along the denoising
    layers: tuple[Latent, ...] = ()  # modules of the U-Net, in each the moments
    trace: TracePlan | None = None  # what has to be denoised for them

    @property
    def scored(self) -> tuple[Latent, ...]:
        """The spaces that are modelled alone, each once."""
        return tuple(dict.fromkeys((*self.alone, *self.layers)))

    @property
    def beside_start(self) -> tuple[Latent, ...]:
        """The denoised latents that share a model with the start, each once."""
        return tuple(dict.fromkeys((*self.strengths, *self.moments)))

    @property
    def denoised(self) -> tuple[Latent, ...]:
        """The spaces that come from denoising, each once."""
        every = dict.fromkeys((*self.scored, *self.beside_start))
        return tuple(latent for latent in every if latent.strength is not None)


def analyses(run: Run) -> Analyses:
    """Return the feature spaces that the settings ask for.

    Without something to start from and something to denoise with (captions), only the targets
    themselves are left.
    """
    return cast(Analyses, run.cached("analyses", "all", lambda: _analyses(run)))


def _analyses(run: Run) -> Analyses:
    config, names = run.config.encode, list(targets(run))
    asked = compared_spaces(run.config)
    if start_of(run) is None:
        alone = [name for name in asked if name in names]
        return Analyses(tuple(Latent(name) for name in alone or names[:1]))
    check_ports(names, targets(run))  # all are denoised together
    moments = steps_at(config.moments, n_steps_run(run))
    layer_moments = steps_at(config.layer_moments, n_steps_run(run))
    modules = layers_of(run.config, run.architecture.module_names)
    strength = config.strength
    compared = [name for name in asked if name in (*names, DENOISED)]
    return Analyses(
        alone=tuple(Latent(n, strength) if n == DENOISED else Latent(n) for n in compared),
        strengths=tuple(Latent(DENOISED, each) for each in config.strengths),
        moments=tuple(Latent(DENOISED, strength, step) for step in moments),
        layers=tuple(Latent(m, strength, step) for m in modules for step in layer_moments),
        trace=trace_plan(run.config, moments, modules, layer_moments)
        if DENOISED in compared or config.strengths or moments or modules
        else None,
    )


def compared_spaces(config: Config) -> tuple[str, ...]:
    """Return the spaces that are compared: those named, or every target and the denoised latent."""
    every = (*config.decode.targets, DENOISED)
    for name in config.encode.latents or ():
        if name not in every:
            raise UserError(
                f"encode.latents names {name!r}, which is no target of this experiment; "
                f"{suggest(name, every)}"
            )
    return config.encode.latents or every


def trace_plan(
    config: Config,
    moments: tuple[int, ...],
    modules: tuple[str, ...],
    layer_moments: tuple[int, ...],
) -> TracePlan:
    """Return what has to be denoised for an analysis."""
    encode = config.encode
    return TracePlan(
        strengths=tuple(dict.fromkeys((encode.strength, *encode.strengths))),
        strength=encode.strength,
        latent_steps=moments,
        modules=modules,
        module_steps=layer_moments,
        steps=encode.steps,
        guidance=encode.guidance,
        schedule=config.generate.schedule,
    )


def start_of(run: Run) -> str | None:
    """Return the target that denoising starts from, if there is one to denoise it with, too."""
    found = targets(run)
    return start_target(found) if len(found) > 1 else None


def n_steps_run(run: Run) -> int:
    """Return the number of denoising steps that are run at ``encode.strength``."""
    encode, schedule = run.config.encode, run.config.generate.schedule
    return len(run.architecture.plan(encode.strength, encode.steps, schedule).timesteps)


def layers_of(config: Config, names: Sequence[str]) -> tuple[str, ...]:
    """Return the modules of the U-Net that an experiment asks for, of those named."""
    return default_layers(names) if config.encode.layers is None else config.encode.layers


def default_layers(names: Sequence[str]) -> tuple[str, ...]:
    """Return five blocks of a U-Net: the first two, the middle one and the last two."""
    down, up = (
        sorted(n for n in names if n.startswith(f"{side}_blocks.") and n.count(".") == 1)
        for side in ("down", "up")
    )
    return (*down[:2], "mid_block", *up[-2:])


def steps_at(moments: Sequence[float], n_run: int) -> tuple[int, ...]:
    """Return the steps that end at shares in (0, 1] of a denoising of ``n_run`` steps."""
    return tuple(dict.fromkeys(max(0, math.ceil(moment * n_run) - 1) for moment in moments))


# --- feature spaces ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reduced:
    """A feature space of few dimensions: scores, features before, explained variance."""

    scores: ShardedArray
    n_features: int
    explained_variance: float


class Spaces:
    """The feature spaces of a run, over its training and then its test stimuli."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._n_train = len(run.subject.train.stimulus_ids)
        self._reduced: dict[Latent, Reduced] = {}
        self._targets: dict[str, FloatArray] = {}

    def reduced(self, latent: Latent) -> Reduced:
        """Return a space, reduced if that was not done yet."""
        if latent not in self._reduced:
            self._reduced[latent] = self._reduce(self._whole(latent))
        return self._reduced[latent]

    def split(self, latent: Latent) -> tuple[FloatArray, FloatArray]:
        """Return the scores of the training and of the test stimuli."""
        scores = self.reduced(latent).scores.read()
        return scores[: self._n_train], scores[self._n_train :]

    def _whole(self, latent: Latent) -> ShardedArray | FloatArray:
        if latent.strength is None:  # a target; read once
            name = latent.layer
            if name not in self._targets:
                self._targets[name] = features(self._run, name, self._run.stimulus_ids)
            return self._targets[name]
        folder = trace_folder(self._run) / latent.name
        traced = ShardedArray.existing(folder)
        if traced is None:
            raise UserError(f"{folder} is missing; rerun to compute it again.")
        return traced

    def _reduce(self, whole: ShardedArray | FloatArray) -> Reduced:
        scores, reduction = reduced(
            whole,
            np.arange(whole.shape[0]) < self._n_train,
            encoding_folder(self._run) / "spaces",
            n_components=self._run.config.encode.n_components,
            seed=self._run.config.seed,
        )
        share = 1.0 if reduction is None else float(reduction.explained_variance_ratio.sum())
        return Reduced(scores, int(np.prod(whole.shape[1:])), share)


def spaces(run: Run) -> Spaces:
    """Open the feature spaces of a run, once for all items of a stage."""
    return cast(Spaces, run.cached("stage", "spaces", lambda: Spaces(run)))


def same_space(run: Run, latent: Latent) -> Latent:
    """Return the latent with the same values: after the last step it is the one at the end."""
    if latent.layer != DENOISED or latent.step != n_steps_run(run) - 1:
        return latent
    return replace(latent, step=None)


# --- responses and models ------------------------------------------------------------------------


class StoredResponses:
    """Mean responses on disk, (n_voxels, n_stimuli), read a slice of voxels at a time."""

    def __init__(self, array: ShardedArray) -> None:
        self._array = array
        self.shape = array.shape[::-1]
        self._last: tuple[int, FloatArray] | None = None

    def __getitem__(self, key: tuple[slice, slice]) -> FloatArray:
        """Return responses (n_stimuli, n_voxels of the slice)."""
        columns = range(*key[1].indices(self.shape[1]))
        size = self._array.shard_size
        parts = []
        for shard in range(columns.start // size, (columns.stop - 1) // size + 1):
            rows = self._array.rows(shard)
            first, last = max(columns.start, rows.start), min(columns.stop, rows.stop)
            parts.append(self._shard(shard)[first - rows.start : last - rows.start])
        return np.concatenate(parts)[:: columns.step].T[key[0]]

    def _shard(self, shard: int) -> FloatArray:
        """Return a shard; the last one stays in memory, for slices come in order."""
        if self._last is None or self._last[0] != shard:
            self._last = (shard, self._array.read(shard))
        return self._last[1]


def stored_responses(run: Run) -> dict[str, ShardedArray]:
    """Return the mean responses to ``train`` and ``test`` stimuli, each (n_voxels, n_stimuli)."""
    shapes = {"train": len(run.subject.train.stimulus_ids), "test": len(run.test_ids)}
    folder = encoding_folder(run) / f"responses-{run.keys['responses']}"
    n_voxels, block = len(run.subject.voxels), run.config.compute.voxel_block
    stored = {
        name: ShardedArray(folder / name, (n_voxels, n), np.float32, block)
        for name, n in shapes.items()
    }
    for array in stored.values():
        report_damage(run.reporter, array)
    return stored


def encoding_model(config: Config) -> EncodingModel:
    """Return the model from features to voxels, not fitted."""
    encode, device = config.encode, solver_device(config)
    return EncodingModel(encode.alphas, selection=encode.selection, device=device)


def region_masks(run: Run) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of each region that is named, or of all where none is."""
    names = [name for name in run.config.encode.rois if name != "all"]
    return {name: run.subject.voxel_mask(name) for name in names or ["all"]}


# --- places of files -----------------------------------------------------------------------------


def encoding_folder(run: Run) -> Path:
    """Return the folder of a run's encoding analysis."""
    return run.path / "encoding"


def trace_folder(run: Run) -> Path:
    """Return the folder of the latents of the denoising, one array below its name each."""
    return encoding_folder(run) / "latents" / str(read_json(_trace_file(run))["folder"])


def _trace_file(run: Run) -> Path:
    return encoding_folder(run) / "trace.json"


def space_folders(run: Run) -> list[str]:
    """Return the folders with the scores of the feature spaces, relative to the run's."""
    recorded = read_json(encoding_folder(run) / "spaces.json")
    return list(dict.fromkeys(str(space["scores"]) for space in recorded))


def scores_path(run: Run, latent: Latent) -> Path:
    """Return the file with the scores of a space's model."""
    return encoding_folder(run) / f"scores-{run.keys['encode']}" / f"{slug(latent)}.safetensors"


def unique_path(run: Run, latent: Latent) -> Path:
    """Return the file with what the start and a denoised latent explain, shared and unique."""
    name = slug(same_space(run, latent))
    return encoding_folder(run) / f"unique-{run.keys['divide']}" / f"{name}.safetensors"


def slug(latent: Latent) -> str:
    """Return a latent's name as part of a file name."""
    return latent.name.replace(":", "-")


def by_step(layers: Sequence[Latent]) -> dict[int, list[Latent]]:
    """Group layers by the step in which they are taken."""
    groups: dict[int, list[Latent]] = {}
    for latent in layers:
        assert latent.step is not None
        groups.setdefault(latent.step, []).append(latent)
    return groups


def has_space(subject: Subject) -> bool:
    """Whether values of voxels can be put on a map of a known volume or mesh."""
    in_volume = {"x", "y", "z"} <= set(subject.voxels.columns) and subject.affine is not None
    return is_surface(subject) or (in_volume and subject.shape is not None)


def is_surface(subject: Subject) -> bool:
    """Whether the voxels are vertices of a mesh of known size."""
    return subject.shape is not None and {"hemi", "vertex"} <= set(subject.voxels.columns)
