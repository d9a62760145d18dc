"""Decoders of a run as a folder that can be passed on, and taken in place of the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from vox2pix.config import Config, for_others
from vox2pix.data import Subject
from vox2pix.data.faults import Faults
from vox2pix.data.folder_voxels import voxel_columns
from vox2pix.data.origin import Dataset, Origin
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError
from vox2pix.pipeline.experiment import decoded_subject, targets
from vox2pix.pipeline.run import Run, open_run
from vox2pix.store import RunFolder, load_arrays, save_arrays, swapped_in, write_json, write_text
from vox2pix.untrusted.files import one_line, require_inside
from vox2pix.untrusted.safetensors_files import check_safetensors
from vox2pix.untrusted.text import read_json

_RECORD, _VOXELS, _MOMENTS = "decoder.json", "voxels.csv", "training.safetensors"
_MOMENT_NAMES = ("mean", "sd", "raw_mean", "raw_sd")
_LARGEST_RECORD = 2**24
_Row = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class DecoderRecord(BaseModel):
    """What ``decoder.json`` says of exported decoders."""

    model_config = ConfigDict(frozen=True)

    subject: str
    dataset: Dataset
    unit: str  # of the responses that decoders take
    space: str
    shape: tuple[int, ...] | None
    affine: tuple[_Row, _Row, _Row, _Row] | None
    n_train_trials: int
    n_train_stimuli: int
    has_captions: bool
    mean_r: dict[str, float]  # of each target over test stimuli
    key: str  # of the stage that fitted them
    config: dict[str, Any]
    version: str  # of vox2pix


@dataclass(frozen=True, eq=False)
class NoStimuli:
    """The stimuli of a subject whose data did not come with the decoders."""

    has_captions: bool

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Refuse: there are none."""
        raise UserError("Exported decoders hold no images of their training.")

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Refuse: there are none."""
        raise UserError("Exported decoders hold no captions of their training.")

    def missing_images(self, stimulus_ids: Sequence[str], faults: Any) -> tuple[str, ...]:
        """Return all: there are none."""
        return tuple(stimulus_ids)

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Any) -> tuple[str, ...]:
        """Return all: there are none."""
        return tuple(stimulus_ids)

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Return nothing: nothing is read."""
        return {}


# --- writing --------------------------------------------------------------------------------------


def export_decoders(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the decoders of a finished run as a folder that others can apply.

    It holds the weights (safetensors), where each voxel is and in which regions, mean and spread
    of the training responses, the settings, and a card; no response, image or caption.

    Parameters
    ----------
    run : str or Path
        Folder of a run that `vox2pix run` finished.
    out : str or Path, optional
        The folder to make, beside the run and named after it if absent.

    Returns
    -------
    Path
        The folder; :func:`vox2pix.transfer` takes it in place of the run.

    Raises
    ------
    UserError
        If the run has no decoders, or the folder is not ours.
    """
    source = open_fitted_run(Path(run))
    subject, path = source.subject, source.path
    folder = Path(out) if out is not None else path.with_name(f"{path.resolve().name}-decoders")
    r = {
        name: float(np.nanmean(load_arrays(path / f"decoded/{name}.safetensors")["r"]))
        for name in targets(source)
    }
    record = DecoderRecord(
        subject=subject.name,
        dataset=subject.origin.dataset,
        unit=subject.origin.unit,
        space=subject.space,
        shape=subject.shape,
        affine=None if subject.affine is None else subject.affine.tolist(),
        n_train_trials=subject.train.n_trials,
        n_train_stimuli=len(subject.train.stimulus_ids),
        has_captions=subject.has_captions,
        mean_r=r,
        key=str(source.folder.key("decode")),
        config=for_others(source.config).model_dump(mode="json", exclude_none=True),
        version=version("vox2pix"),
    )
    with swapped_in(folder, "decoder") as partial:
        (partial / "decoders").mkdir()
        for name in targets(source):
            arrays = load_arrays(path / f"decoders/{name}.safetensors")
            save_arrays(partial / f"decoders/{name}.safetensors", arrays)
        save_arrays(partial / _MOMENTS, training_moments(source))
        table = subject.voxels.copy()
        table[list(subject.rois)] = table[list(subject.rois)].astype(int)
        table.to_csv(partial / _VOXELS, index=False)
        write_json(partial / _RECORD, record.model_dump(mode="json"))
        write_text(partial / "README.md", _card(record, source.config.decode.rois))
    return folder


def moments_of(sessions: Iterator[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return mean and standard deviation of each voxel over the trials of all sessions.

    Sums are taken of differences from the first trial, so that a large baseline costs no digits.
    """
    n, first, total, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
    for betas in sessions:
        if n == 0:
            first = betas[0].astype(np.float64)
            total, squares = np.zeros((2, len(first)))
        moved = betas - first
        n, total, squares = n + len(betas), total + moved.sum(0), squares + (moved**2).sum(0)
    mean = total / n
    return {"mean": first + mean, "sd": np.sqrt(np.maximum(squares / n - mean**2, 0))}


def _card(record: DecoderRecord, rois: Mapping[str, Sequence[str]]) -> str:
    """Return the card of exported decoders, in Markdown."""
    rows = "\n".join(
        f"| {name} | {' + '.join(rois[name])} | {r:.3f} |" for name, r in record.mean_r.items()
    )
    return f"""# Decoders of {record.subject}

Ridge regressions from fMRI responses to inputs of a latent diffusion model, fitted by vox2pix
{record.version} on {record.n_train_trials:,} trials of {record.n_train_stimuli:,} stimuli
({record.dataset.name}; {record.space}; {record.unit}).

| target | voxels of | mean r over test stimuli |
|---|---|---|
{rows}

They belong to the voxels of this one person, in `voxels.csv`, and mean nothing in another brain.
`training.safetensors` has mean and standard deviation of each voxel over the training trials, as
decoders read them and (`raw_`) in the unit above. No response, image or caption is in this folder.

    vox2pix transfer THIS_FOLDER --data OTHER_RESPONSES

Terms: {record.dataset.licence} Decoders are derived from these data: pass them on as the data's
terms allow.
"""


# --- reading --------------------------------------------------------------------------------------


def open_source(path: Path) -> Run:
    """Open a finished run, or exported decoders in its place."""
    return _opened(path) if (path / _RECORD).exists() else open_fitted_run(path)


def open_fitted_run(path: Path) -> Run:
    """Open a run whose decoders are there, undamaged."""
    source = open_run(path)
    if not source.folder.was_done("decode") or source.folder.damaged("decode"):
        raise UserError(
            f"{path} has no decoders, or damaged ones; run `vox2pix run` with its experiment file."
        )
    return source


def is_exported(source: Run) -> bool:
    """Return whether decoders came without the data that they were fitted on."""
    return isinstance(source.subject.stimulus_source, NoStimuli)


def training_moments(source: Run) -> dict[str, NDArray[np.float64]]:
    """Return mean and standard deviation of each voxel over the training trials, (n_voxels,) each.

    ``mean`` and ``sd`` are of responses as decoders read them, ``raw_mean`` and ``raw_sd`` of those
    in the data's own unit; they differ where decoders read responses standardised by session.
    """
    if is_exported(source):
        return load_arrays(source.path / _MOMENTS)
    raw, read = source.subject, decoded_subject(source)
    of_raw = moments_of(betas for _, betas in raw.train.iter_betas())
    moments = of_raw
    if read is not raw:
        moments = moments_of(betas for _, betas in read.train.iter_betas())
    return moments | {f"raw_{name}": values for name, values in of_raw.items()}


def decoder_key(source: Run) -> str:
    """Return what identifies the decoders."""
    if is_exported(source):
        return _record_of(source.path).key
    return str(source.folder.key("decode"))


def _record_of(path: Path) -> DecoderRecord:
    try:
        return DecoderRecord.model_validate(read_json(path / _RECORD, _LARGEST_RECORD))
    except ValidationError as error:
        raise UserError(
            f"{path / _RECORD} describes no decoders ({one_line(error)[:200]}): export them again."
        ) from error


def _voxels_of(path: Path) -> pd.DataFrame:
    """Read where voxels are and in which regions, checked as a person's own table is."""
    faults = Faults()
    columns = voxel_columns(path / _VOXELS, read_table(path / _VOXELS), faults)
    faults.raise_first()
    return pd.DataFrame(columns)


def _opened(path: Path) -> Run:
    """Open exported decoders, files that somebody else may have written."""
    record = _record_of(path)
    try:
        config = Config.model_validate(record.config)
    except ValidationError as error:
        raise UserError(
            f"{path / _RECORD} holds no settings of an experiment: export the decoders again."
        ) from error
    files = [path / f"decoders/{name}.safetensors" for name in record.mean_r]
    require_inside(path, [*files, path / _VOXELS, path / _MOMENTS, path / _RECORD])
    headers = {file: check_safetensors(file) for file in (*files, path / _MOMENTS)}
    voxels = _voxels_of(path)
    for name in _MOMENT_NAMES:
        if headers[path / _MOMENTS].get(name) != ("F64", (len(voxels),)):
            raise UserError(
                f"{path / _MOMENTS} has no {name} of each voxel in float64, and {_VOXELS} has "
                f"{len(voxels):,} voxels: export the decoders again."
            )
    empty = pd.DataFrame({"stimulus_id": [], "session": [], "run": [], "split": []}, dtype=object)
    source = Run(config, RunFolder(path))
    subject = Subject(
        record.subject,
        empty,
        voxels,
        record.space,
        None,  # type: ignore[arg-type]  # no response is read
        NoStimuli(record.has_captions),
        record.shape,
        None if record.affine is None else np.array(record.affine),
        origin=Origin(record.dataset, "exported decoders", record.unit),
    )
    for name, file in zip(record.mean_r, files, strict=True):
        n_voxels = int(subject.voxel_mask(config.decode.rois.get(name, ())).sum())
        _, shape = headers[file].get("coef", ("", ()))
        if shape[1:] != (n_voxels,):
            raise UserError(
                f"{file} has weights of shape {shape}, and {_VOXELS} has {n_voxels:,} voxels of "
                "its regions: export the decoders again."
            )
    source.subject = subject
    return source
