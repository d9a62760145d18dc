"""Stage 1 of a reconstruction: open the subject, and refuse what would fail late."""

from collections.abc import Sequence
from typing import Any

from vox2pix.config import Config
from vox2pix.pipeline.inputs import input_files
from vox2pix.pipeline.preparation import data_cost, phantom_is_sound, prepare_subject
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage


def _prepare(run: Run) -> Sequence[str]:
    return prepare_subject(run, "run")


def _settings(config: Config) -> Sequence[Any]:
    """Return what is read, but not its place."""
    return [config.data.settings(), config.decode.rois]


DATA = Stage(
    "data",
    "Data",
    _prepare,
    _settings,
    inputs=input_files,
    is_sound=phantom_is_sound,
    cost=data_cost,
)
