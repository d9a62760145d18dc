"""The stages of an encoding analysis, in their order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vox2pix.config import Config
from vox2pix.pipeline import encoding
from vox2pix.pipeline.encoding_maps import draw_figures, tabulate
from vox2pix.pipeline.inputs import input_files, model_hashes
from vox2pix.pipeline.latents import feature_settings
from vox2pix.pipeline.page import page_is_there, write_page
from vox2pix.pipeline.preparation import phantom_is_sound
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run, Stage, open_run
from vox2pix.store import damaged_arrays

_DENOISING = {
    "latents",
    "strength",
    "strengths",
    "moments",
    "layers",
    "layer_moments",
    "steps",
    "guidance",
}
_MODELS = {"alphas", "selection", "null", "permutations"}


def _encode_settings(config: Config, names: set[str]) -> Sequence[Any]:
    return [config.encode.model_dump(mode="json", include=names)]


def _denoising_settings(config: Config) -> Sequence[Any]:
    own = _encode_settings(config, _DENOISING)
    return [*own, config.generate.schedule, config.run_protocol.one_noise]


def _data_settings(config: Config) -> Sequence[Any]:
    what = config.data.model_dump(mode="json", exclude={"path"})
    return [what, config.encode.rois]


def _draw(run: Run) -> Sequence[str]:
    draw_figures(run)
    return ("encoding/figures.json", *run.folder.written("encoding/figures"))


def _are_sound(run: Run, folders: Sequence[Path]) -> bool:
    """Tell whether the arrays below some folders are as they were written; name those not."""
    damaged = [path for folder in folders for path in damaged_arrays(folder)]
    for path in damaged:
        run.reporter.say(f"{path.relative_to(run.path)} is damaged")
    return not damaged


def _trace_is_sound(run: Run) -> bool:
    if encoding.analyses(run).trace is None:
        return True
    return _are_sound(run, [encoding.trace_folder(run)])


def _spaces_are_sound(run: Run) -> bool:
    # A space that was not reduced is the trace's own array.
    own = [f for f in encoding.scores_of_spaces(run) if f.startswith("encoding/spaces/")]
    return _are_sound(run, [run.path / folder for folder in own])


ENCODING_STAGES = (
    Stage("encoding-data", "Data", encoding.prepare, _data_settings, input_files, phantom_is_sound),
    Stage(
        "responses",
        "Mean responses",
        encoding.average,
        lambda c: [],
        is_sound=encoding.responses_are_there,
    ),
    Stage("encoding-features", "Features", encoding.extract, feature_settings, model_hashes),
    Stage(
        "trace",
        "Denoising",
        encoding.denoise,
        _denoising_settings,
        is_sound=_trace_is_sound,
    ),
    Stage(
        "reduce",
        "Feature spaces",
        encoding.reduce,
        lambda c: [c.encode.n_components],
        is_sound=_spaces_are_sound,
    ),
    Stage("encode", "Encoding models", encoding.encode, lambda c: _encode_settings(c, _MODELS)),
    Stage("divide", "Unique variance", encoding.divide, lambda c: [c.encode.resamples]),
    Stage("encoding-tables", "Tables and maps", tabulate, lambda c: [c.encode.q]),
    Stage("encoding-figures", "Figures", _draw, lambda c: [c.name]),
    Stage("encoding-report", "Report", write_page, lambda c: [], is_sound=page_is_there),
)


def redraw(path: Path, reporter: Reporter | None = None) -> list[Path]:
    """Draw the figures of an encoding analysis again, from its tables.

    Parameters
    ----------
    path : Path
        A run folder that was encoded.
    reporter : Reporter, optional
        Who is told how the work goes; nobody if absent.

    Returns
    -------
    list of Path
        The PNG files.

    Raises
    ------
    UserError
        If the folder is no run, or was not encoded.
    """
    run = open_run(path, reporter)
    run.rois = run.config.encode.rois
    with run.folder.lock():
        return draw_figures(run)
