"""What each stage of an encoding analysis does: latents of the diffusion model explain voxels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from vox2pix.config import Config
from vox2pix.data import mean_betas_of
from vox2pix.encoding import (
    EncodingModel,
    encoding_scores,
    fdr,
    gaussian_p,
    permutation_p,
    unique_means,
    unique_variance,
)
from vox2pix.encoding.tables import write_table
from vox2pix.errors import UserError
from vox2pix.pipeline.latents import c_of, check_model, extract_latents, feature_files, z_of
from vox2pix.pipeline.preparation import prepare_subject
from vox2pix.pipeline.reporter import tell_damage
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import solver_device
from vox2pix.seeds import seed_for
from vox2pix.store import ShardedArray, read_json, save_arrays, write_json
from vox2pix.targets import Latent, TracePlan, Tracing, reduced

FloatArray = NDArray[np.float32]
_TEST_IMAGES_A_BLOCK, _FEWEST_BLOCKS = 10, 12


@dataclass(frozen=True)
class Analyses:
    """The feature spaces of a run, by the analysis that asks for them.

    Attributes
    ----------
    alone : tuple of Latent
        z, c and z_c, compared with each other.
    strengths, moments : tuple of Latent
        z_c that share one model with z: at noise levels, and along the denoising.
    layers : tuple of Latent
        Modules of the U-Net, each alone: layer by layer, in each the moments.
    trace : TracePlan or None
        What has to be denoised for them; None without captions, or where nothing is.
    """

    alone: tuple[Latent, ...]
    strengths: tuple[Latent, ...]
    moments: tuple[Latent, ...]
    layers: tuple[Latent, ...]
    trace: TracePlan | None

    @property
    def scored(self) -> tuple[Latent, ...]:
        """The spaces that are modelled alone, each once."""
        return tuple(dict.fromkeys((*self.alone, *self.layers)))

    @property
    def denoised(self) -> tuple[Latent, ...]:
        """The spaces that come from denoising, each once."""
        every = (*self.alone, *self.strengths, *self.moments, *self.layers)
        return tuple(dict.fromkeys(s for s in every if s.layer not in ("z", "c")))


def analyses(run: Run) -> Analyses:
    """Work out which feature spaces a run's settings ask for.

    Parameters
    ----------
    run : Run
        The experiment. Without captions there is no c, and nothing can be denoised with it: z
        alone is left.
    """
    return cast(Analyses, run.kept("analyses", "all", lambda: _analyses(run)))


def _analyses(run: Run) -> Analyses:
    wanted = run.config.encode
    if not run.subject.has_captions:
        return Analyses((Latent("z"),), (), (), (), None)
    n_run = _n_run(run)
    moments = steps_at(wanted.moments, n_run)
    layer_moments = steps_at(wanted.layer_moments, n_run)
    modules = layers_of(run.config, run.architecture.module_names)
    final = Latent("z_c", wanted.strength)
    denoises = "z_c" in wanted.latents or bool(wanted.strengths or moments or modules)
    return Analyses(
        alone=tuple(final if name == "z_c" else Latent(name) for name in wanted.latents),
        strengths=tuple(Latent("z_c", strength) for strength in wanted.strengths),
        moments=tuple(Latent("z_c", wanted.strength, step) for step in moments),
        layers=tuple(Latent(m, wanted.strength, step) for m in modules for step in layer_moments),
        trace=TracePlan(
            strengths=tuple(dict.fromkeys((wanted.strength, *wanted.strengths))),
            strength=wanted.strength,
            latent_steps=moments,
            modules=modules,
            module_steps=layer_moments,
            steps=wanted.steps,
            guidance=wanted.guidance,
            schedule=run.config.generate.schedule,
        )
        if denoises
        else None,
    )


def _n_run(run: Run) -> int:
    """Count the steps of the denoising whose way is followed."""
    wanted, schedule = run.config.encode, run.config.generate.schedule
    return len(run.architecture.plan(wanted.strength, wanted.steps, schedule).timesteps)


def layers_of(config: Config, names: Sequence[str]) -> tuple[str, ...]:
    """Return the modules of the U-Net that an experiment asks for.

    Parameters
    ----------
    config : Config
        The experiment.
    names : sequence of str
        Of all modules.
    """
    return default_layers(names) if config.encode.layers is None else config.encode.layers


def default_layers(names: Sequence[str]) -> tuple[str, ...]:
    """Return five blocks of a U-Net: the first two, the middle one and the last two.

    Parameters
    ----------
    names : sequence of str
        Of its modules.
    """
    down, up = (
        sorted(n for n in names if n.startswith(f"{side}_blocks.") and n.count(".") == 1)
        for side in ("down", "up")
    )
    return (*down[:2], "mid_block", *up[-2:])


def steps_at(moments: Sequence[float], n_run: int) -> tuple[int, ...]:
    """Return the steps that end at shares of a denoising.

    Parameters
    ----------
    moments : sequence of float
        Shares of the steps that are run, in (0, 1].
    n_run : int
        Steps that are run.
    """
    return tuple(dict.fromkeys(max(0, math.ceil(moment * n_run) - 1) for moment in moments))


# --- latents -------------------------------------------------------------------------------------


def prepare(run: Run) -> Sequence[str]:
    """Open the subject, and refuse what would fail after hours of denoising."""
    outputs = prepare_subject(run, "encode")
    check_model(run)
    plan = analyses(run).trace
    if plan is not None:
        # Names that the model lacks show now.
        run.architecture.activation_shapes(plan.modules, run.architecture.latent_shape)
    if not run.subject.has_captions:
        run.reporter.say("No captions: c and all that is denoised with it are left out.")
    return outputs


def extract(run: Run) -> Sequence[str]:
    """Compute z and c of every stimulus into the shared cache."""
    extract_latents(run)
    return feature_files(run)


def denoise(run: Run) -> Sequence[str]:
    """Denoise every stimulus once a noise level, and keep the latents on the way."""
    plan = analyses(run).trace
    if plan is None:
        return ()
    n_all = len(_ids(run)) * len(plan.passes)
    run.reporter.begin("Denoising", n_all, "images")
    tracing = _tracing(run)
    told = {module: asdict(d) for module, d in tracing.distortions().items()}
    pending = tracing.pending()
    run.reporter.advance(n_all - sum(tracing.n_rows(*one) for one in pending))
    for one, _ in run.workers.each(_denoise_shard, run, pending):
        run.reporter.advance(tracing.n_rows(*one))
    write_json(encoding_folder(run) / "projections.json", told)
    write_json(encoding_folder(run) / "trace.json", {"folder": tracing.folder.name})
    own = f"encoding/latents/{tracing.folder.name}"
    marks = [f"{own}/{name}/done/*" for name in tracing.arrays]
    return (
        "encoding/projections.json",
        "encoding/trace.json",
        *(name for part in (f"{own}/distortions/*", *marks) for name in run.folder.files(part)),
    )


def trace_folder(run: Run) -> Path:
    """Return where the latents of the denoising lie, one array below its name each."""
    told = read_json(encoding_folder(run) / "trace.json")
    return encoding_folder(run) / "latents" / str(told["folder"])


def _denoise_shard(run: Run, item: tuple[float, int]) -> None:
    """Denoise some stimuli from one noise level."""
    _tracing(run).compute(*item)


def _tracing(run: Run) -> Tracing:
    """Open the trace of all stimuli, once for all its shards."""
    plan, ids = analyses(run).trace, _ids(run)
    assert plan is not None

    def open_() -> Tracing:
        return Tracing(
            run.model,
            {"start": z_of(run, ids), "text": c_of(run, ids)},
            ids,
            folder=encoding_folder(run) / "latents",
            plan=plan,
            seed=run.config.seed,
            one_noise=run.config.run_protocol.one_noise,
            batch_size=run.config.compute.batch_size,
        )

    return cast(Tracing, run.kept("stage", plan, open_))


def reduce(run: Run) -> Sequence[str]:
    """Bring every feature space to few dimensions, by components of the training images."""
    wanted = analyses(run)
    shared_with_z = (Latent("z"),) if wanted.strengths or wanted.moments else ()
    every = tuple(dict.fromkeys((*wanted.scored, *wanted.denoised, *shared_with_z)))
    run.reporter.begin("Reducing features", len(every), "spaces")
    # No two workers write one space.
    same = {latent: _same_as(run, latent) for latent in every}
    found = {}
    for latent, told in run.workers.each(_reduce_space, run, dict.fromkeys(same.values())):
        found[latent] = told
        run.reporter.advance(list(same.values()).count(latent))
    spaces = [{"latent": latent.name, **found[same[latent]]} for latent in every]
    write_json(encoding_folder(run) / "spaces.json", spaces)
    files = [
        name
        for scores in scores_of_spaces(run)
        for part in (f"{scores.rpartition('/')[0]}/pca.safetensors", f"{scores}/done/*")
        for name in run.folder.files(part)
    ]
    return ("encoding/spaces.json", *dict.fromkeys(files))


def scores_of_spaces(run: Run) -> list[str]:
    """Name the folders with the scores of the feature spaces, relative to the run's, each once."""
    spaces = read_json(encoding_folder(run) / "spaces.json")
    return list(dict.fromkeys(str(space["scores"]) for space in spaces))


def _reduce_space(run: Run, latent: Latent) -> dict[str, Any]:
    """Reduce one feature space, and describe what became of it."""
    space = _spaces(run).reduced(latent)
    return {
        "n_features": space.n_features,
        "n_components": space.scores.shape[1],
        "explained_variance": space.explained_variance,
        "scores": space.scores.folder.relative_to(run.path).as_posix(),
    }


@dataclass(frozen=True)
class _Reduced:
    """A feature space of few dimensions: its scores, what it had before, and what it kept."""

    scores: ShardedArray
    n_features: int
    explained_variance: float


class _Spaces:
    """Feature spaces of a run over its training and then its test stimuli."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._n_train = len(run.subject.train.stimulus_ids)
        self._found: dict[Latent, _Reduced] = {}
        self._inputs: dict[str, FloatArray] = {}

    def reduced(self, latent: Latent) -> _Reduced:
        """Return a space, reduced where that was not done yet."""
        if latent not in self._found:
            self._found[latent] = self._reduce(self._whole(latent))
        return self._found[latent]

    def split(self, latent: Latent) -> tuple[FloatArray, FloatArray]:
        """Return the scores of the training and of the test stimuli."""
        scores = self.reduced(latent).scores.read()
        return scores[: self._n_train], scores[self._n_train :]

    def _whole(self, latent: Latent) -> ShardedArray | FloatArray:
        if latent.layer in ("z", "c"):
            return self._input(latent.layer)
        folder = trace_folder(self._run) / latent.name
        traced = ShardedArray.existing(folder)
        if traced is None:
            raise UserError(f"{folder} is missing; run again to redo it.")
        return traced

    def _input(self, name: str) -> FloatArray:
        """Return z or c of all stimuli, read once."""
        if name not in self._inputs:
            self._inputs[name] = {"z": z_of, "c": c_of}[name](self._run, _ids(self._run))
        return self._inputs[name]

    def _reduce(self, whole: ShardedArray | FloatArray) -> _Reduced:
        scores, reduction = reduced(
            whole,
            np.arange(whole.shape[0]) < self._n_train,
            encoding_folder(self._run) / "spaces",
            n_components=self._run.config.encode.n_components,
            seed=self._run.config.seed,
        )
        share = 1.0 if reduction is None else float(reduction.explained_variance_ratio.sum())
        return _Reduced(scores, int(np.prod(whole.shape[1:])), share)


def _spaces(run: Run) -> _Spaces:
    """Open the feature spaces of a run, once for all items."""
    return cast(_Spaces, run.kept("stage", "spaces", lambda: _Spaces(run)))


# --- responses -----------------------------------------------------------------------------------


class StoredResponses:
    """Mean responses on disk, read a slice of voxels at a time: what a model is fitted on.

    Parameters
    ----------
    array : ShardedArray, shape (n_voxels, n_stimuli)
        A voxel a row.
    """

    def __init__(self, array: ShardedArray) -> None:
        self._array = array
        self.shape = array.shape[::-1]
        self._held: tuple[int, FloatArray] | None = None

    def __getitem__(self, key: tuple[slice, slice]) -> FloatArray:
        """Return responses (n_stimuli, n_voxels of the slice)."""
        columns = range(*key[1].indices(self.shape[1]))
        shards = range(
            columns.start // self._array.shard_size,
            (columns.stop - 1) // self._array.shard_size + 1,
        )
        parts = []
        for shard in shards:
            rows = self._array.rows(shard)
            first, last = max(columns.start, rows.start), min(columns.stop, rows.stop)
            parts.append(self._shard(shard)[first - rows.start : last - rows.start])
        return np.concatenate(parts)[:: columns.step].T[key[0]]

    def _shard(self, shard: int) -> FloatArray:
        """Return a shard; the last one read is held, for slices come in order."""
        if self._held is None or self._held[0] != shard:
            self._held = (shard, self._array.read(shard))
        return self._held[1]


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
        tell_damage(run.reporter, array)
    return stored


def average(run: Run) -> Sequence[str]:
    """Average responses over repeats, so many voxels at a time, and turn them voxel by voxel."""
    stored = stored_responses(run)
    train, test = stored["train"], stored["test"]
    pending = sorted({*train.pending(), *test.pending()})
    for array in (train, test):
        tell_damage(run.reporter, array)
    run.reporter.begin("Averaging responses", train.shape[0], "voxels")
    run.reporter.advance(train.shape[0] - sum(_length(train.rows(s)) for s in pending))
    for shard, _ in run.workers.each(_average_shard, run, pending):
        run.reporter.advance(_length(train.rows(shard)))
    return ()


def _average_shard(run: Run, shard: int) -> None:
    """Average the responses of some voxels, unless that is done."""
    stored = stored_responses(run)
    train, test = stored["train"], stored["test"]
    if not train.pending([shard]) and not test.pending([shard]):
        return
    voxels = np.zeros(train.shape[0], bool)
    voxels[train.rows(shard)] = True
    shown, drawn = mean_betas_of([run.subject.train, run.subject.test], voxels)
    if train.pending([shard]):
        train.write(shard, shown.T)
    if test.pending([shard]):
        test.write(shard, drawn[: test.shape[1]].T)


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def responses_are_there(run: Run) -> bool:
    """Tell whether all mean responses are stored."""
    return not any(array.pending() for array in stored_responses(run).values())


# --- models --------------------------------------------------------------------------------------


def encode(run: Run) -> Sequence[str]:
    """Fit a model from each space to every voxel, and score it on the test images."""
    wanted = analyses(run)
    run.reporter.begin("Encoding voxels", len(wanted.scored), "models")
    for _ in run.workers.each(_encode_space, run, wanted.scored):
        run.reporter.advance(1)
    return run.folder.files(f"encoding/scores-{run.keys['encode']}/*")


def _encode_space(run: Run, latent: Latent) -> None:
    """Fit a model from one space to every voxel, unless it was; score it."""
    path = scores_path(run, latent)
    if path.exists():
        return
    stored = stored_responses(run)
    y_train = StoredResponses(stored["train"])
    y_test = run.kept("responses", "test", lambda: stored["test"].read().T)
    x_train, x_test = _spaces(run).split(latent)
    model = _model(run)
    repeats = run.subject.train.repeats
    predictions = model.fit_then_predict(
        x_train, y_train, x_test, sample_weight=repeats, relative=True
    )
    scores = encoding_scores(y_test, predictions, model.mean_)
    p = _p(run, scores.r, y_test, predictions)
    arrays = {"r": scores.r, "r2": scores.r2, "p": p, "q": fdr(p), "alpha": model.alpha_}
    if latent in analyses(run).alone:  # these are compared
        arrays |= {"predictions": predictions, "mean": model.mean_}  # less that mean
    save_arrays(path, arrays)


def _model(run: Run) -> EncodingModel:
    wanted = run.config.encode
    device = solver_device(run.config)
    return EncodingModel(wanted.alphas, selection=wanted.selection, device=device)


def _p(
    run: Run, r: NDArray[np.float64], y_test: FloatArray, predictions: NDArray[Any]
) -> NDArray[np.float64]:
    """Hold correlations against the null that the experiment names."""
    wanted = run.config.encode
    if wanted.null == "gaussian":
        return gaussian_p(r, len(y_test))
    return permutation_p(
        y_test,
        predictions,
        _blocks(run),
        n_permutations=wanted.permutations,
        seed=seed_for(run.config.seed, "permutation"),
    )


def _blocks(run: Run) -> NDArray[np.intp]:
    """Group test images that are alike in c (or z), which a permutation keeps together."""
    of = c_of if run.subject.has_captions else z_of
    rows = of(run, run.test_ids).reshape(len(run.test_ids), -1)
    # Fewer blocks have too few orders for any voxel to be significant.
    n_blocks = max(min(_FEWEST_BLOCKS, len(rows)), len(rows) // _TEST_IMAGES_A_BLOCK)
    seed = seed_for(run.config.seed, "blocks") % 2**32
    return np.asarray(KMeans(n_blocks, n_init=3, random_state=seed).fit_predict(rows), np.intp)


def divide(run: Run) -> Sequence[str]:
    """Divide what z and z_c explain together into unique and shared parts."""
    wanted = analyses(run)
    shared_with_z = tuple(dict.fromkeys((*wanted.strengths, *wanted.moments)))
    run.reporter.begin("Unique variance", len(shared_with_z), "models")
    # Latents that are the same one share a file.
    named = {unique_path(run, latent): latent for latent in shared_with_z}
    run.reporter.advance(len(shared_with_z) - len(named))
    for _ in run.workers.each(_divide_space, run, named.values()):
        run.reporter.advance(1)
    return run.folder.files(f"encoding/unique-{run.keys['divide']}/*")


def _divide_space(run: Run, latent: Latent) -> None:
    """Divide what z and one z_c explain, unless that is done."""
    path = unique_path(run, latent)
    if path.exists() and path.with_suffix(".csv").exists():
        return
    stored, spaces = stored_responses(run), _spaces(run)
    parts = unique_variance(
        {"z": spaces.split(Latent("z")), "z_c": spaces.split(latent)},
        StoredResponses(stored["train"]),
        StoredResponses(stored["test"]),
        model=_model(run),
        sample_weight=run.subject.train.repeats,
    )
    means = unique_means(
        parts,
        region_masks(run),
        n_resamples=run.config.encode.resamples,
        seed=seed_for(run.config.seed, "bootstrap"),
    )
    write_table(path.with_suffix(".csv"), means)
    save_arrays(path, _flat(parts.joint, parts.alone, parts.unique, parts.shared))


def _flat(
    joint: NDArray[np.float64],
    alone: Mapping[str, NDArray[np.float64]],
    unique: Mapping[str, NDArray[np.float64]],
    shared: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    named = {f"alone/{name}": values for name, values in alone.items()}
    named |= {f"unique/{name}": values for name, values in unique.items()}
    return {"joint": joint, "shared": shared, **named}


def scores_path(run: Run, latent: Latent) -> Path:
    """Return where the scores of a space's model lie."""
    return encoding_folder(run) / f"scores-{run.keys['encode']}" / f"{slug(latent)}.safetensors"


def unique_path(run: Run, latent: Latent) -> Path:
    """Return where the parts of the variance explained by z and a z_c lie.

    z_c after the last step is z_c: it has no file of its own.
    """
    latent = _same_as(run, latent)
    return encoding_folder(run) / f"unique-{run.keys['divide']}" / f"{slug(latent)}.safetensors"


def _same_as(run: Run, latent: Latent) -> Latent:
    """Return the latent that holds the same numbers: z_c after the last step is z_c."""
    if latent.layer != "z_c" or latent.step is None:
        return latent
    return replace(latent, step=None) if latent.step == _n_run(run) - 1 else latent


def region_masks(run: Run) -> dict[str, NDArray[np.bool_]]:
    """Return the voxels of each region that the experiment names; of all where it names none."""
    names = [name for name in run.config.encode.rois if name != "all"]
    return {name: run.subject.voxel_mask(name) for name in names or ["all"]}


def slug(latent: Latent) -> str:
    """Return a latent's name as part of a file name."""
    return latent.name.replace(":", "-")


# --- what the stages share -----------------------------------------------------------------------


def encoding_folder(run: Run) -> Path:
    """Return where all of a run's encoding analysis lies."""
    return run.path / "encoding"


def _ids(run: Run) -> tuple[str, ...]:
    return (*run.subject.train.stimulus_ids, *run.test_ids)
