"""z and c of a run's stimuli, from the cache that runs share."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config
from vox2pix.diffusion.pipeline_folder import find_pipeline, hash_files
from vox2pix.errors import UserError
from vox2pix.features import conditioning_features, latent_features
from vox2pix.features.extract import conditioning_folder, latent_folder
from vox2pix.pipeline.run import Run

FloatArray = NDArray[np.float32]
Progress = Callable[[int], None]


def extract_latents(run: Run) -> None:
    """Compute z and c of every stimulus into the shared cache.

    Raises
    ------
    UserError
        If z cannot be taken at the size asked for.
    """
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    size = run.config.model.z_picture_size
    if size is not None and size % run.model.downsampling:
        raise UserError(
            f"model.z_picture_size is {size}, but {run.config.model.name} takes multiples of "
            f"{run.model.downsampling} pixels."
        )
    run.reporter.begin("Extracting z", len(ids), "pictures")
    z_of(run, ids, run.reporter.advance)
    if run.subject.has_captions:
        run.reporter.begin("Extracting c", len(ids), "captions")
        c_of(run, ids, run.reporter.advance)


def _quietly(done: int) -> None:
    """Take no note of progress: what is read back was counted when it was computed."""


def z_of(run: Run, ids: Sequence[str], progress: Progress = _quietly) -> FloatArray:
    """Return z of stimuli, shape (n_stimuli, channels, height, width)."""
    wanted = run.config.model
    return latent_features(
        run.model,
        run.subject,
        ids,
        run.cache,
        picture_size=wanted.z_picture_size,
        posterior=wanted.z_posterior,
        seed=run.config.seed,
        batch_size=run.config.compute.batch_size,
        progress=progress,
    )


def c_of(run: Run, ids: Sequence[str], progress: Progress = _quietly) -> FloatArray:
    """Return c of stimuli, shape (n_stimuli, n_tokens, width)."""
    return conditioning_features(
        run.model,
        run.subject,
        ids,
        run.cache,
        batch_size=run.config.compute.batch_size,
        progress=progress,
    )


def feature_files(run: Run) -> list[str]:
    """List the files of the cache that hold the run's z and c, by their names from its folder."""
    wanted = run.config.model
    folders = [
        latent_folder(
            run.model, run.cache, wanted.z_picture_size, wanted.z_posterior, run.config.seed
        ),
        conditioning_folder(run.model, run.cache),
    ]
    files = [file for folder in folders for file in sorted(folder.glob("[!.]*.safetensors"))]
    return [Path(os.path.relpath(file, run.path)).as_posix() for file in files]


def feature_settings(config: Config) -> Sequence[Any]:
    """Pick the settings that change z and c."""
    return [config.model, config.compute.dtype, config.seed]


def model_hashes(run: Run) -> dict[str, str]:
    """Hash the files of the diffusion model."""
    return hash_files(find_pipeline(run.config.model.name, run.config.model.revision).path)
