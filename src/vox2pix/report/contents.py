"""What a run folder holds, read as far as it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vox2pix.config import Config, for_others, load_config
from vox2pix.data.origin import DataRecord
from vox2pix.errors import UserError
from vox2pix.evaluation.records import MetricRecord
from vox2pix.report.gallery import Gallery, load_gallery
from vox2pix.report.labels import DECODED, fullness, in_group
from vox2pix.store import (
    MARKER,
    RunFolder,
    ShardedArray,
    load_arrays,
    marker_of,
    read_json,
    refuse_links,
)

Model = TypeVar("Model", bound=BaseModel)


class Audit(BaseModel):
    """One check of the audit; the verdict is None where it could not be computed.

    ``figure`` is relative to the run folder; ``alt`` says what it shows.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    verdict: Literal["pass", "warn", "fail"] | None
    sentence: str
    figure: str | None = None
    alt: str | None = None


class EncodingFigure(BaseModel):
    """One figure of the encoding analysis, with its files relative to ``encoding/``.

    ``html`` is a page where it can be turned.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    alt: str
    png: str | None = None
    svg: str | None = None
    html: str | None = None


@dataclass(frozen=True, eq=False)
class RunContents:
    """One run, as far as it got.

    ``config`` lacks the places of its folders: pages are sent to others. ``scores`` has one row per
    image, condition, metric and direction; ``drawings`` holds uint8 images (n_stimuli, n_samples,
    height, width, 3) by condition; ``decoded_r`` Pearson's r (n_features,) over test images of each
    decoded value, by target; ``targets`` describes each as the run recorded it; ``data`` is None
    before the data stage is finished.
    """

    path: Path
    config: Config
    records: tuple[MetricRecord, ...]
    scores: pd.DataFrame
    drawings: Mapping[str, ShardedArray]
    gallery: Gallery | None
    decoded_r: Mapping[str, NDArray[np.float64]]
    audits: tuple[Audit, ...]
    encoding_figures: tuple[EncodingFigure, ...]
    model: Mapping[str, Any]
    targets: Mapping[str, Any]
    provenance: Mapping[str, Any]
    data: DataRecord | None = None

    @cached_property
    def stimulus_ids(self) -> tuple[str, ...]:
        """The test stimuli, in the order of the images; none where nothing names them."""
        if self.gallery is not None:
            return tuple(self.gallery.stimulus_ids)
        return tuple(self.scores["stimulus_id"].unique())

    @property
    def only_encoded(self) -> bool:
        """Whether voxels were modelled, and no image drawn."""
        return bool(self.encoding_figures) and not self.drawings

    @property
    def subject(self) -> str:
        """The subject, by what was read, not by the settings."""
        return "the subject" if self.data is None else self.data.subject

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """All conditions, in the order of their records; those without a record follow by name."""
        return tuple(dict.fromkeys([*(r.condition for r in self.records), *sorted(self.drawings)]))

    @cached_property
    def judged(self) -> str | None:
        """The condition that is reported first: decoded from the brain, from most targets."""
        return max(in_group(self.conditions, DECODED), key=fullness, default=None)

    def inside(self, name: str) -> Path | None:
        """Return a file of the run folder by its relative name; None if it is not there.

        A name that leads out of the run folder counts as not there: the page is sent to others.
        """
        path = (self.path / name).resolve()
        within = path.is_relative_to(self.path.resolve())
        return path if within and path.is_file() else None

    def table(self, name: str) -> pd.DataFrame | None:
        """Read a CSV file of the run folder; None if it is not there or empty."""
        path = self.inside(name)
        if path is None:
            return None
        try:
            return pd.read_csv(path)
        except pd.errors.EmptyDataError:
            return None


CONFIG_MARK = "config"  # of the run folder, holds the checksum of config.toml


def run_config(path: Path) -> Config:
    """Read the resolved experiment of a run folder."""
    marker = marker_of(path)
    if marker is None or marker.kind != "run" or not (path / "config.toml").exists():
        raise UserError(
            f"{path} is no run folder: it has no config.toml beside the marker of a run "
            f"({MARKER}). Name a folder that `vox2pix run` made."
        )
    refuse_links(path)
    if RunFolder(path).damaged(CONFIG_MARK):
        raise UserError(
            f"{path / 'config.toml'} is not as the run wrote it. Rerun with the experiment file."
        )
    return load_config(path / "config.toml")


def read_run(path: Path) -> RunContents:
    """Read what a run folder holds, of a run that is finished or not."""
    config = run_config(path)
    gallery = load_gallery(path / "gallery")
    scores = read_scores(path / "scores.csv")
    n_stimuli = len(gallery.stimulus_ids) if gallery else scores["stimulus_id"].nunique()
    return RunContents(
        path=path,
        config=for_others(config),
        records=read_records(path / "metrics.json"),
        scores=scores,
        drawings=_drawings(path, n_stimuli),
        gallery=gallery,
        decoded_r={
            name: load_arrays(file)["r"]
            for name in config.decode.rois
            if (file := path / "decoded" / f"{name}.safetensors").exists()
        },
        audits=_models(path / "audit.json", Audit),
        encoding_figures=_models(path / "encoding" / "figures.json", EncodingFigure),
        model=_json(path / "model.json"),
        targets=_json(path / "targets.json"),
        provenance=_json(path / "provenance.json"),
        data=_data(path),
    )


def _data(path: Path) -> DataRecord | None:
    """Read what a run recorded of its data; an encoding analysis alone has a record of its own."""
    files = (path / "data.json", path / "encoding" / "data.json")
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return None
    try:
        return DataRecord.model_validate(read_json(file))
    except ValidationError as error:
        raise UserError(f"{file} has another form ({error}). Rerun to write it again.") from None


def _drawings(path: Path, n_stimuli: int) -> dict[str, ShardedArray]:
    """Open the images of each condition: those that were scored, else the newest.

    Folders of earlier settings may be beside them; where stimuli are listed, images of another
    number of them are of earlier settings too.
    """
    folder = RunFolder(path)
    key = folder.key("generate")
    if key is None and folder.was_done("generate"):
        raise UserError(f"{path / 'stages' / 'generate.json'} is damaged. Rerun to repair it.")
    folders = sorted(
        (path / "images").glob(f"*-{key or '*'}"), key=lambda folder: folder.stat().st_mtime
    )
    opened = {folder.name.rpartition("-")[0]: ShardedArray.existing(folder) for folder in folders}
    return {
        name: images
        for name, images in opened.items()
        if images is not None and n_stimuli in (0, images.shape[0])
    }


def read_scores(path: Path) -> pd.DataFrame:
    """Read the scores of each image; a table without rows where there are none."""
    columns = ["stimulus_id", "condition", "metric", "direction", "original", "score"]
    if not path.exists():
        return pd.DataFrame({name: pd.Series(dtype=object) for name in columns})
    text = dict.fromkeys(columns[:-1], str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"score": ["", "nan"]})


def read_records(path: Path) -> tuple[MetricRecord, ...]:
    """Read the records of a run or an evaluation; none where there are none."""
    return _models(path, MetricRecord)


def _json(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.exists() else {}


def _models(path: Path, model: type[Model]) -> tuple[Model, ...]:
    """Read a JSON list of models; none if the file is not there."""
    if not path.exists():
        return ()
    values: Sequence[Any] = read_json(path)
    try:
        return tuple(model.model_validate(each) for each in values)
    except (ValidationError, TypeError) as error:
        raise UserError(f"{path} has another form ({error}). Rerun to write it again.") from None
