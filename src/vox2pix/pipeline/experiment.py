"""What several stages need: the targets of an experiment, their cached values, its decoder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.compute import resolve_device, resolve_dtype
from vox2pix.config import Config, for_others
from vox2pix.data import Subject, standardized_by_session
from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError
from vox2pix.pipeline.run import Run
from vox2pix.store import (
    ShardedArray,
    claim,
    damaged_arrays,
    load_arrays,
    read_checked_json,
    read_json,
    write_checked_json,
)
from vox2pix.targets import (
    FeatureRows,
    StartSettings,
    StoredFeatures,
    Target,
    blocks,
    targets_of,
    usable,
)

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float32]
MODEL_FILE = "model.json"


# --- targets -------------------------------------------------------------------------------------


def targets(run: Run) -> dict[str, Target]:
    """Return the targets that can be computed for the subject, by name."""
    return usable(targets_of(run.config), run.subject.has_captions)


def content_target(targets: Mapping[str, Target]) -> str:
    """Return the name of the target that stimuli are compared by: with content, else the last."""
    names = [name for name, target in targets.items() if target.carries == "content"]
    return (names or list(targets))[-1]


def start_target(targets: Mapping[str, Target]) -> str | None:
    """Return the name of the target that denoising starts from, if there is one."""
    return next((name for name, target in targets.items() if target.port == "start"), None)


def features(run: Run, name: str, ids: Sequence[str]) -> FloatArray:
    """Return the true values of a target, (n_stimuli, *shape), from the cache."""
    return feature_rows(run, name).load(ids)


def stored_features(run: Run, name: str, ids: Sequence[str]) -> StoredFeatures:
    """Return the true values of a target, read from the cache in blocks of columns."""
    return feature_rows(run, name).stored(ids)


def decoded(run: Run, name: str) -> FloatArray:
    """Return what was decoded from the test responses, (n_test, *shape)."""
    return load_arrays(run.path / "decoded" / f"{name}.safetensors")["predicted"]


def as_drawn(run: Run, target: Target, values: FloatArray) -> FloatArray:
    """Return decoded values as they are drawn: at the scale of the training stimuli's true ones."""
    if not target.is_rescaled():
        return values
    # with the weights, so that whoever gets a decoder can draw from what it predicts
    arrays = load_arrays(run.path / "decoders" / f"{target.name}.safetensors")
    return target.rescaled(values, arrays)


def flat(values: FloatArray) -> FloatArray:
    """Return one row per stimulus."""
    return values.reshape(len(values), -1)


def image_size(run: Run) -> int:
    """Return the side of the model's images in pixels, as the target stage recorded it."""
    return int(read_json(run.path / MODEL_FILE)["image_size"])


# --- the shared cache of true values -------------------------------------------------------------


def extract_targets(run: Run) -> list[str]:
    """Compute every target of every stimulus into the shared cache; return its files."""
    for name, target in targets(run).items():
        try:
            target.shape(run.architecture)
        except ValueError as error:
            raise UserError(
                f"decode.{name} cannot be computed by {run.config.model.name}: {error}."
            ) from None
    claim(run.cache, "features")
    for name in targets(run):
        _extract(run, name)
    return _feature_files(run)


def check_model(run: Run) -> None:
    """Load the model if values are still to be computed, so that its faults show now."""
    resolve_device(run.config.compute.device)
    if any(not _keys_path(run, name).exists() for name in targets(run)):
        run.model  # noqa: B018


def _extract(run: Run, name: str) -> None:
    """Look up what every stimulus is cached under, then compute what is absent."""
    rows, ids = feature_rows(run, name), run.stimulus_ids
    unit = {"image": "images", "captions": "captions"}[targets(run)[name].computed_from]
    unknown = rows.unknown(ids)
    if unknown:
        run.reporter.begin(f"Reading {unit}", len(unknown), unit)
        items = [(name, block) for block in blocks(unknown)]
        for item, keys in run.workers.each(_keys, run, items):
            rows.learn(keys)
            run.reporter.advance(len(item[1]))
        record = {"model": run.model.identity, "keys": rows.keys(ids)}
        write_checked_json(_keys_path(run, name), record)
    absent = set(rows.absent(ids, check=True))
    run.reporter.begin(f"Extracting {name}", len(ids), unit)
    run.reporter.advance(len(ids) - len(absent))
    # A block holds the same stimuli wherever and whenever it is computed.
    items = [(name, tuple(i for i in block if i in absent)) for block in blocks(ids)]
    for item, _ in run.workers.each(_compute, run, [item for item in items if item[1]]):
        run.reporter.advance(len(item[1]))


def _keys(run: Run, item: tuple[str, tuple[str, ...]]) -> dict[str, str]:
    """Look up what some stimuli are cached under."""
    name, ids = item
    return feature_rows(run, name).keys(ids)


def _compute(run: Run, item: tuple[str, tuple[str, ...]]) -> None:
    """Compute a target of some stimuli into the cache."""
    name, ids = item
    feature_rows(run, name).compute(ids)


def feature_rows(run: Run, name: str) -> FeatureRows:
    """Return the cached values of a target, opened once, and again once their keys are known."""
    path = _keys_path(run, name)
    return run.cached(name, (path, path.exists()), lambda: _open(run, name))


class RecordedModel:
    """The model by its recorded identity; it is loaded if a value has to be computed again."""

    def __init__(self, run: Run, identity: dict[str, Any]) -> None:
        self._run, self.identity = run, identity

    @property
    def dtype(self) -> "torch.dtype":
        """Precision of the networks."""
        return resolve_dtype(self._run.config.compute.dtype)

    @property
    def device(self) -> "torch.device":
        """Where networks compute."""
        return resolve_device(self._run.config.compute.device)

    @property
    def image_size(self) -> int:
        """Side of its images in pixels."""
        return int(self.identity["image_size"])

    def encode_images(self, *args: Any, **kwargs: Any) -> FloatArray:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.encode_images`."""
        return self._run.model.encode_images(*args, **kwargs)

    def embed_captions(self, *args: Any, **kwargs: Any) -> FloatArray:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.embed_captions`."""
        return self._run.model.embed_captions(*args, **kwargs)


def _open(run: Run, name: str) -> FeatureRows:
    # What is missing or damaged is found again by reading.
    record = read_checked_json(_keys_path(run, name)) or {}
    model = RecordedModel(run, record["model"]) if "model" in record else run.model
    rows = targets(run)[name].rows(
        model,
        run.subject,
        run.cache,
        seed=run.config.seed,
        batch_size=run.config.compute.batch_size,
    )
    rows.learn(record.get("keys", {}))
    return rows


def _keys_path(run: Run, name: str) -> Path:
    """Return the file with the cache key of each stimulus, so that stimuli are read once."""
    key = run.keys.get("features") or run.keys.get("encoding-features") or "unknown"
    return run.path / "features" / f"{name}-{key}.json"


def _feature_files(run: Run) -> list[str]:
    """List the files with the run's true values, and with their keys, relative to its folder."""
    files = [
        file for name in targets(run) for file in feature_rows(run, name).files(run.stimulus_ids)
    ]
    files += [_keys_path(run, name) for name in targets(run)]
    return [Path(os.path.relpath(file, run.path)).as_posix() for file in files]


def feature_settings(config: Config) -> Sequence[Any]:
    """Return the settings that change true values; files of models are hashed."""
    named = for_others(config)
    own = {name: target.settings for name, target in named.decode.targets.items()}
    return [named.model, own, config.compute.dtype, config.seed]


# --- decoders ------------------------------------------------------------------------------------


def make_decoder(config: Config) -> RidgeDecoder:
    """Return the decoder of an experiment, not fitted."""
    device, decode = solver_device(config), config.decode
    if config.run_protocol.released_ridge:
        return RidgeDecoder.takagi2023(decode.alphas).set_params(
            alpha_per_target=decode.alpha_per_target, device=device
        )
    chosen: dict[str, Any] = {} if decode.alphas is None else {"alphas": decode.alphas}
    return RidgeDecoder(
        selection=decode.selection,
        alpha_per_target=decode.alpha_per_target,
        reliability_powers=decode.reliability_powers,
        min_reliability=decode.min_reliability,
        device=device,
        **chosen,
    )


def decoded_subject(run: Run) -> Subject:
    """Return the subject whose responses decoders read."""
    if run.config.decode.standardize == "session":
        return standardized_by_session(run.subject)
    return run.subject


def published_reliability(run: Run, rois: Sequence[str]) -> NDArray[np.float64] | None:
    """Return ncsnr of the voxels of regions as it came with the data, where that is asked for."""
    if run.config.decode.reliability != "published":
        return None
    return run.subject.voxels["ncsnr"].to_numpy(float)[run.subject.voxel_mask(rois)]


def start_settings(config: Config) -> StartSettings:
    """Return how the start of the denoising is made, by the protocol."""
    protocol = config.run_protocol
    return StartSettings(truncate=protocol.truncates, sample=protocol.samples_start)


def solver_device(config: Config) -> str | None:
    """Return the torch device of linear models; None for NumPy, as Apple's has no float64."""
    place = resolve_device(config.compute.device)
    return str(place) if place.type == "cuda" else None


def in_protocol_units(betas: FloatArray, config: Config) -> FloatArray:
    """Return percent signal change, or NSD's raw integers, as the protocol says."""
    scale = config.run_protocol.beta_scale
    return betas if scale == 1 else betas * np.float32(scale)


# --- arrays that are written shard by shard ------------------------------------------------------


def n_rows(array: ShardedArray, shard: int) -> int:
    """Return the number of rows in a shard."""
    rows = array.rows(shard)
    return int(rows.stop - rows.start)


def arrays_are_sound(run: Run, folders: Sequence[Path]) -> bool:
    """Whether the arrays below some folders are undamaged; those that are not are reported."""
    damaged = [path for folder in folders for path in damaged_arrays(folder)]
    for path in damaged:
        run.reporter.say(f"{path.relative_to(run.path)} is damaged")
    return not damaged
