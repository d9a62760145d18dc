"""The stages of an encoding analysis, in their order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vox2pix.config import Config
from vox2pix.pipeline import encoding
from vox2pix.pipeline.encoding_maps import draw_figures, tabulate
from vox2pix.pipeline.latents import feature_settings, model_hashes
from vox2pix.pipeline.page import page_is_there, write_page
from vox2pix.pipeline.preparation import phantom_is_sound
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run, Stage, input_files, open_run
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


def _data_settings(config: Config) -> Sequence[Any]:
    what = config.data.model_dump(mode="json", exclude={"path"})
    return [what, config.encode.rois]


def _draw(run: Run) -> Sequence[str]:
    draw_figures(run)
    return ("encoding/figures.json", *run.folder.files("encoding/figures/*"))


def _arrays_are_sound(run: Run, folder: str) -> bool:
    """Tell whether the arrays below ``encoding/`` are as they were written; name those not."""
    damaged = damaged_arrays(encoding.encoding_folder(run) / folder)
    for path in damaged:
        run.reporter.say(f"{path.relative_to(run.path)} is damaged")
    return not damaged


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
        lambda c: _encode_settings(c, _DENOISING),
        is_sound=lambda run: _arrays_are_sound(run, "latents"),
    ),
    Stage(
        "reduce",
        "Feature spaces",
        encoding.reduce,
        lambda c: [c.encode.n_components],
        is_sound=lambda run: _arrays_are_sound(run, "spaces"),
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
