"""z and c of a run's stimuli, from the cache that runs share."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.compute import resolve_device, resolve_dtype
from vox2pix.config import Config, without_place
from vox2pix.errors import UserError
from vox2pix.pipeline.run import Run
from vox2pix.store import claim, read_checked_json, read_json, write_checked_json
from vox2pix.targets import FeatureRows, StoredFeatures, targets_of
from vox2pix.targets._rows import blocks

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float32]
MODEL_FILE = "model.json"


def extract_latents(run: Run) -> None:
    """Compute z and c of every stimulus into the shared cache.

    Raises
    ------
    UserError
        If z cannot be taken at the size asked for.
    """
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    size = run.config.decode.targets["z"].settings.get("image_size")
    if size is not None and size % run.model.downsampling:
        raise UserError(
            f"decode.z.image_size is {size}, but {run.config.model.name} takes multiples of "
            f"{run.model.downsampling} pixels."
        )
    claim(run.cache, "features")
    _extract(run, "z", ids, "images")
    if run.subject.has_captions:
        _extract(run, "c", ids, "captions")


def check_model(run: Run) -> None:
    """Load the model if features are still to be found, so that what is wrong with it shows now.

    Raises
    ------
    UserError
        If it cannot be loaded, or computed with where the experiment says.
    """
    resolve_device(run.config.compute.device)
    if not _keys_path(run, "z").exists():
        run.model  # noqa: B018


def _extract(run: Run, space: str, ids: Sequence[str], unit: str) -> None:
    """Find what every stimulus's row is kept under, then compute the rows that are not there."""
    rows = feature_rows(run, space)
    unknown = rows.unknown(ids)
    if unknown:
        run.reporter.begin(f"Reading {unit}", len(unknown), unit)
        for item, keys in run.workers.each(_keys, run, [(space, some) for some in blocks(unknown)]):
            rows.learn(keys)
            run.reporter.advance(len(item[1]))
        told = {"model": run.model.identity, "keys": rows.keys(ids)}
        write_checked_json(_keys_path(run, space), told)
    absent = set(rows.absent(ids, check=True))
    run.reporter.begin(f"Extracting {space}", len(ids), unit)
    run.reporter.advance(len(ids) - len(absent))
    # A block holds the same stimuli wherever and whenever it is computed.
    items = [(space, tuple(i for i in some if i in absent)) for some in blocks(ids)]
    for item, _ in run.workers.each(_compute, run, [item for item in items if item[1]]):
        run.reporter.advance(len(item[1]))


def _keys(run: Run, item: tuple[str, tuple[str, ...]]) -> dict[str, str]:
    """Find what the rows of some stimuli are kept under."""
    space, ids = item
    return feature_rows(run, space).keys(ids)


def _compute(run: Run, item: tuple[str, tuple[str, ...]]) -> None:
    """Compute the rows of some stimuli into the cache."""
    space, ids = item
    feature_rows(run, space).compute(ids)


def feature_rows(run: Run, space: str) -> FeatureRows:
    """Return z or c of the run's stimuli, opened once, and again once their keys are known."""
    path = _keys_path(run, space)
    return run.kept(space, (path, path.exists()), lambda: _open(run, space))


class KnownModel:
    """The model of a run whose features are there: it is loaded if one has to be computed again.

    Parameters
    ----------
    run : Run
        The experiment.
    identity : dict
        Of the model that the features are of.
    """

    def __init__(self, run: Run, identity: dict[str, Any]) -> None:
        self._run, self.identity = run, identity

    @property
    def dtype(self) -> "torch.dtype":
        """Precision of the networks."""
        return resolve_dtype(self._run.config.compute.dtype)

    @property
    def image_size(self) -> int:
        """Side of its images in pixels."""
        return int(self.identity["image_size"])

    def encode_images(self, *of: Any, **how: Any) -> FloatArray:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.encode_images`."""
        return self._run.model.encode_images(*of, **how)

    def embed_captions(self, *of: Any, **how: Any) -> FloatArray:
        """As :meth:`vox2pix.diffusion.LatentDiffusion.embed_captions`."""
        return self._run.model.embed_captions(*of, **how)


def _open(run: Run, space: str) -> FeatureRows:
    # What is missing or damaged is found again by reading.
    told = read_checked_json(_keys_path(run, space)) or {}
    model = KnownModel(run, told["model"]) if "model" in told else run.model
    rows = targets_of(run.config, [space])[space].rows(
        model,
        run.subject,
        run.cache,
        seed=run.config.seed,
        batch_size=run.config.compute.batch_size,
    )
    rows.learn(told.get("keys", {}))
    return rows


def _keys_path(run: Run, space: str) -> Path:
    """Return where it stands what each stimulus's row is kept under, so that it is read once."""
    key = run.keys.get("features") or run.keys.get("encoding-features") or "unknown"
    return run.path / "features" / f"{space}-{key}.json"


def stored_z(run: Run, ids: Sequence[str]) -> StoredFeatures:
    """Return z of stimuli as it lies in the cache."""
    return feature_rows(run, "z").stored(ids)


def stored_c(run: Run, ids: Sequence[str]) -> StoredFeatures:
    """Return c of stimuli as it lies in the cache."""
    return feature_rows(run, "c").stored(ids)


def z_of(run: Run, ids: Sequence[str]) -> FloatArray:
    """Return z of stimuli, shape (n_stimuli, channels, height, width)."""
    return feature_rows(run, "z").load(ids)


def c_of(run: Run, ids: Sequence[str]) -> FloatArray:
    """Return c of stimuli, shape (n_stimuli, n_tokens, width)."""
    return feature_rows(run, "c").load(ids)


def feature_files(run: Run) -> list[str]:
    """List the files with the run's z and c, by name from its folder.

    Those of the cache, and those that tell which row of it is whose.
    """
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    spaces = ("z", "c") if run.subject.has_captions else ("z",)
    files = [file for space in spaces for file in feature_rows(run, space).files(ids)]
    files += [_keys_path(run, space) for space in spaces]
    return [Path(os.path.relpath(file, run.path)).as_posix() for file in files]


def feature_settings(config: Config) -> Sequence[Any]:
    """Pick the settings that change z and c: not where the model lies, whose files are hashed."""
    model = config.model.model_copy(update={"name": without_place(config.model.name)})
    own = {name: target.settings for name, target in config.decode.targets.items()}
    return [model, own, config.compute.dtype, config.seed]


def image_size(run: Run) -> int:
    """Return the side of the model's images in pixels, as the features stage noted it."""
    return int(read_json(run.path / MODEL_FILE)["image_size"])
