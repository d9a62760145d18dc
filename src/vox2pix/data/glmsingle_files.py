"""The files that GLMsingle writes: betas of a model, and the design."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.file_betas import TrialArray
from vox2pix.data.volumes import hdf5_shape, read_hdf5
from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import names_in, read_whole
from vox2pix.untrusted.matlab import is_matlab_hdf5, read_matlab
from vox2pix.untrusted.numpy_pickles import read_pickled_dict

MODELS = ("TYPED_FITHRF_GLMDENOISE_RR", "TYPEC_FITHRF_GLMDENOISE", "TYPEB_FITHRF")
"""Models of single trials, the most complete first; ``TYPEA_ONOFF`` is none."""
_SUFFIXES = (".hdf5", ".h5", ".mat", ".npy")
_DESIGN = "DESIGNINFO"
_SESSIONS = "sessionindicator"
_OPTIONS = ("params", "opt")  # where Python and MATLAB keep the options of the call


def is_output(name: str) -> bool:
    """Return whether a file has the name of one of the models, or of the design."""
    stem, point, suffix = name.rpartition(".")
    return stem in (*MODELS, _DESIGN) and f"{point}{suffix}" in _SUFFIXES


@dataclass(frozen=True, eq=False)
class SessionFiles:
    """Betas of one output folder, and how their axes run."""

    betas: Path
    array: str  # name of the betas in the file
    shape: tuple[int, ...]  # of the voxels: (X, Y, Z), or that of a list
    n_trials: int
    trials_last: bool
    values: NDArray[Any] | None = None  # of a pickle, which is read as a whole

    @property
    def is_list(self) -> bool:
        """Whether voxels are a list, and not a volume."""
        return len(self.shape) == 1 or self.shape[1:] == (1, 1)


def find_files(folder: Path, model: str, faults: Faults) -> SessionFiles:
    """Return the betas of the model that was named, or of the most complete one, with a note."""
    models = (model,) if model else MODELS
    if model and model not in MODELS:
        raise UserError(f"There is no model {model!r} of single trials: {', '.join(MODELS)}.")
    there = [folder / f"{m}{s}" for m in models for s in _SUFFIXES]
    there = [path for path in there if path.is_file()]
    if not there:
        raise UserError(f"{folder} has no {' or '.join(models)} ({', '.join(_SUFFIXES)}).")
    path = there[0]
    if len(there) > 1:
        others = ", ".join(other.name for other in there[1:])
        faults.note(f"{path} is read; {folder.name} also holds {others}.")
    elif not model and path.name.partition(".")[0] != MODELS[0]:
        faults.note(f"{path} is read: {folder} has no {MODELS[0]}.")
    if path.suffix == ".npy":
        values = read_pickled_dict(path).get("betasmd")
        if not isinstance(values, np.ndarray):
            raise UserError(f"{path} has no array 'betasmd': name GLMsingle's own output.")
        faults.note(
            f"{path} is a pickle of {values.nbytes / 1e9:,.1f} GB that is read as a whole; "
            "GLMsingle's wanthdf5 = 1 writes a file that is read in parts."
        )
        return _files(path, "betasmd", values.shape, values.dtype, True, values)
    if path.suffix == ".mat":
        if not is_matlab_hdf5(path):
            raise UserError(f"{path} is no MATLAB file of version 7.3: save it with -v7.3.")
        return _files(path, "modelmd", hdf5_shape(path, "modelmd"), None, False)
    return _files(path, "betasmd", hdf5_shape(path, "betasmd"), None, True)


def _files(
    path: Path,
    array: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | None,
    trials_last: bool,
    values: NDArray[Any] | None = None,
) -> SessionFiles:
    if len(shape) not in (2, 4) or 0 in shape or (dtype is not None and dtype.kind not in "fiu"):
        order = "(X, Y, Z, n_trials) or (n_voxels, n_trials)"
        raise UserError(
            f"{path}: {array} has shape {shape}, not numbers of shape {order}"
            f"{'' if trials_last else ', the axes reversed'}: name GLMsingle's own output."
        )
    if trials_last:
        return SessionFiles(path, array, shape[:-1], shape[-1], True, values)
    return SessionFiles(path, array, shape[:0:-1], shape[0], False)


@dataclass(frozen=True, eq=False)
class _InFile:
    """Betas in HDF5."""

    files: SessionFiles
    places: NDArray[np.intp]  # (n_voxels, n_axes): indices of each column

    @property
    def path(self) -> Path:
        return self.files.betas

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        return read_hdf5(
            self.path,
            self.places[voxels],
            self.files.array,
            trials,
            trials_last=self.files.trials_last,
        )


@dataclass(frozen=True, eq=False)
class _InMemory:
    """Betas of a pickle."""

    path: Path
    values: NDArray[Any]  # (X, Y, Z, n_trials), or (n_voxels, n_trials)
    places: NDArray[np.intp]

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        where = tuple(self.places[voxels].T)
        picked: NDArray[Any] = self.values[..., trials][where].T
        return picked


def open_betas(files: SessionFiles, places: NDArray[np.intp]) -> TrialArray:
    """Return the betas of some voxels, at their indices (n_voxels, n_axes)."""
    if files.values is not None:
        return _InMemory(files.betas, files.values, places)
    return _InFile(files, places)


@dataclass(frozen=True, eq=False)
class Design:
    """Which condition each trial of a folder showed, and in which run."""

    path: Path
    conditions: NDArray[np.int64]  # (n_trials,), numbered from ``base``
    runs: NDArray[np.int64]  # (n_runs,): trials in each
    sessions: NDArray[np.int64] | None  # (n_runs,): session of each, from 1
    base: int  # 0 in Python, 1 in MATLAB

    def frame(self, number: int, several: bool) -> pd.DataFrame:
        """Return session, run, row and folder of each trial; runs are counted in their session.

        ``number`` is that of the folder: the session, where there are several folders, or where
        GLMsingle was not told of sessions.
        """
        n_runs = len(self.runs)
        of_run = np.full(n_runs, number) if several or self.sessions is None else self.sessions
        within = np.array([np.sum(of_run[: i + 1] == of_run[i]) for i in range(n_runs)], int)
        run = np.repeat(np.arange(n_runs), self.runs)
        return pd.DataFrame(
            {
                "session": of_run[run],
                "run": within[run],
                "row": np.arange(len(run)),
                "folder": number,
            }
        )


def read_design(files: SessionFiles, faults: Faults) -> Design:
    """Read ``DESIGNINFO`` beside the betas, written by Python or by MATLAB."""
    places = [files.betas.with_name(f"{_DESIGN}{suffix}") for suffix in _SUFFIXES]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"{files.betas.parent} has no {_DESIGN} (.npy, .mat or .hdf5), which says the "
            "condition of each trial: add it, or name a table with the columns trial and "
            "stimulus_id."
        )
    content = _contents(path)
    if _SESSIONS not in content and path.suffix == ".mat" and not is_matlab_hdf5(path):
        faults.note(
            f"{path} is a MATLAB file up to version 7, of which {_SESSIONS} is not read: its "
            "trials are of one session; save it with -v7.3 to keep sessions apart."
        )
    base = 1 if path.suffix == ".mat" else 0
    order, runs = (_whole(path, name, content.get(name)) for name in ("stimorder", "numtrialrun"))
    if order is None or len(order) != files.n_trials:
        n = "no" if order is None else len(order)
        raise UserError(
            f"{path}: stimorder has {n} trials, {files.betas} {files.n_trials}: the files belong "
            "to different fits."
        )
    if order.min() < base:
        raise UserError(
            f"{path}: stimorder holds {order.min()}, and conditions count from {base} there: the "
            "file is damaged."
        )
    if runs is None or runs.sum() != len(order) or (runs < 0).any():
        raise UserError(f"{path}: numtrialrun does not add up to its {len(order)} trials.")
    sessions = _whole(path, _SESSIONS, content.get(_SESSIONS))
    if sessions is not None and (len(sessions) != len(runs) or sessions.min() < 1):
        raise UserError(
            f"{path}: sessionindicator gives {len(sessions)} sessions from {sessions.min()}, and "
            f"there are {len(runs)} runs: numbers count from 1."
        )
    return Design(path, order, runs, sessions, base)


def _contents(path: Path) -> Mapping[str, Any]:
    """Return the arrays of a design; ``sessionindicator`` is among the options of the call."""
    names = ("stimorder", "numtrialrun")
    if path.suffix == ".npy":
        content = read_pickled_dict(path)
        options = [content.get(group) for group in _OPTIONS]
        own: Mapping[str, Any] = next((o for o in options if isinstance(o, dict)), {})
        return {**content, _SESSIONS: own.get(_SESSIONS)}
    if path.suffix == ".mat" and not is_matlab_hdf5(path):
        return read_matlab(path, (*names, _SESSIONS))
    content = {name: read_whole(path, name) for name in names}
    for group in ("/", *_OPTIONS):
        if _SESSIONS in names_in(path, group):
            content[_SESSIONS] = read_whole(path, f"{group}/{_SESSIONS}")
    return content


def _whole(path: Path, name: str, values: Any) -> NDArray[np.int64] | None:
    """Return a row of whole numbers, of an array or a flat list; None if it is absent.

    Lists of lists are not looked into: a small pickle can nest one list in itself, over and over.
    """
    if values is None:
        return None
    while isinstance(values, list) and len(values) == 1:
        (values,) = values
    is_row = isinstance(values, np.ndarray | int | float) or (
        isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    )
    numbers = np.asarray(values if is_row else ()).ravel()
    if not numbers.size or numbers.dtype.kind not in "iuf" or (numbers % 1 != 0).any():
        raise UserError(f"{path}: {name} is no row of whole numbers: name GLMsingle's own file.")
    return numbers.astype(np.int64)
