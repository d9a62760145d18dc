"""Stage 1 of an encoding analysis: open the subject, compute the targets of its stimuli."""

from collections.abc import Sequence
from typing import Any

from vox2pix.config import Config
from vox2pix.pipeline.costs import targets_cost
from vox2pix.pipeline.encoding import analyses
from vox2pix.pipeline.experiment import (
    check_model,
    extract_targets,
    feature_settings,
)
from vox2pix.pipeline.inputs import input_files, target_hashes
from vox2pix.pipeline.preparation import data_cost, phantom_is_sound, prepare_subject
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage


def _prepare(run: Run) -> Sequence[str]:
    """Open the subject, and refuse what would fail after hours of denoising."""
    outputs = prepare_subject(run, "encode")
    check_model(run)
    plan = analyses(run).trace
    if plan is not None:  # names that the model lacks are refused now
        run.architecture.activation_shapes(plan.modules, run.architecture.latent_shape)
    return outputs


def _data_settings(config: Config) -> Sequence[Any]:
    return [config.data.settings(), config.encode.rois]


DATA = Stage(
    "encoding-data",
    "Data",
    _prepare,
    _data_settings,
    inputs=input_files,
    is_sound=phantom_is_sound,
    cost=data_cost,
)
TARGETS = Stage(
    "encoding-features",
    "Targets",
    extract_targets,
    feature_settings,
    after=("encoding-data",),
    inputs=target_hashes,
    cost=targets_cost,
)
