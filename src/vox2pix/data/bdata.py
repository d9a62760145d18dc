"""Reader of BData, the format of Kamitani lab's data sets (bdpy; Horikawa 2017, Shen 2019)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.data.faults import Faults
from vox2pix.data.file_betas import TrialArray
from vox2pix.data.lab import Found, LabSource, dropped_blanks
from vox2pix.data.names import nearest
from vox2pix.data.subject import VOXEL_COLUMNS, Subject
from vox2pix.data.volumes import hdf5_shape, read_hdf5
from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import names_in, open_hdf5, read_texts, read_whole, require_stored

_SUFFIXES = (".h5", ".hdf5")
_STIMULUS_KEYS = ("stimulus_id", "Label", "stimulus_name")
_TYPES = {1: "train", 2: "test"}  # of DataType in GOD; 3 is imagery
_SPLITS = (("train", re.compile("train", re.IGNORECASE)), ("test", re.compile("test", re.I)))
_MILLION = 10**6
_SYNSETS = 10**6  # the numbers of ImageNet's are above (n01440764 is the first)


def open_bdata(
    path: str | Path,
    *,
    files: str = "",
    label: str = "",
    leave_out: str = "",
    images: str | Path | None = None,
    captions: str | Path | None = None,
    test: float | str | Path | None = None,
) -> Subject:
    """Open one person's BData in HDF5, such as GOD and Deep Image Reconstruction are shared in.

    Parameters
    ----------
    path : str or Path
        The ``.h5`` file, or a folder with several of one person. A file holds voxels and labels as
        columns of ``dataset``, and ``metadata``, which says which columns are what.
    files : str
        Which files of a folder to read: names or patterns such as ``sub-01_*``, joined by commas.
    label : str
        Key of the stimulus; by default the first there is of ``stimulus_id``, ``Label`` and
        ``stimulus_name``.
    leave_out : str
        Trials to leave out, such as ``Label=26`` (fixation in Deep Image Reconstruction's imagery),
        joined by commas.
    images, captions, test
        As in :func:`vox2pix.open_glmsingle`. Without images (they are shared on request only)
        everything but what needs them can be done.

    Returns
    -------
    Subject
        Space ``array``. Regions are the keys ``ROI_*``, without ``ROI_``. A stimulus id is the text
        that ``vmap`` has for the number; or, for numbers such as 1518878.005958 (WordNet's synset,
        and six decimals for the image), the image's name, ``n01518878_5958``; or the whole number.
        The split is ``DataType`` (1 training, 2 test; others are left out), else the files' own
        names (``Training``, ``Test``), unless ``test`` says it.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check` lists all.
    """
    return BdataSource(
        root=Path(path), files=files, label=label, leave_out=leave_out, images=images,
        captions=captions, test=test,
    ).open()  # fmt: skip


class BdataSource(LabSource):
    """BData in HDF5: voxels and labels as columns of one array."""

    name: ClassVar[str] = "bdata"
    title: ClassVar[str] = "BData"

    files: str = Field(
        default="", description="which files of the folder, e.g. `sub-01_*`, joined by commas"
    )
    label: str = Field(default="", description="key of the stimulus, e.g. `stimulus_id`")
    leave_out: str = Field(
        default="", description="trials to leave out, e.g. `Label=26`, joined by commas"
    )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether a file, or one in the folder, has a table of columns beside an array."""
        if not isinstance(root, Path):
            return False
        paths = [root] if root.is_file() else sorted(root.glob("*")) if root.is_dir() else []
        return any(_is_bdata(path) for path in paths)

    def reads(self, name: str) -> bool:
        """Return whether a file may be read, by its ending and the patterns."""
        path = PurePosixPath(name)
        return path.parent == PurePosixPath(".") and self._is_chosen(path)

    def holds(self, name: PurePosixPath) -> bool:
        """Return no: only files of the folder itself are read."""
        return False

    def _is_chosen(self, path: PurePosixPath) -> bool:
        patterns = [part.strip() for part in self.files.split(",") if part.strip()]
        fits = not patterns or any(path.match(pattern) for pattern in patterns)
        return path.suffix in _SUFFIXES and fits

    def find(self, faults: Faults) -> Found:
        """Return the arrays, trials and voxels of the layout."""
        root = self.require_local()
        tables = [_read(path) for path in self._paths(root, faults)]
        for other in tables[1:]:
            _require_same_voxels(tables[0], other)
        key = _stimulus_key(tables[0], self.label)
        frames, arrays, number = [], dict[int, TrialArray](), 0
        for table in tables:
            frame = _trials(table, key, len(tables) > 1, self.test is None, faults)
            frame = _without(frame, table, self.leave_out, faults)
            for session in sorted(set(frame["session"])):
                number += 1
                frame.loc[frame["session"] == session, "number"] = number
                arrays[number] = _Columns(table.path, table.array, table.voxels)
            frames.append(frame)
        trials = pd.concat(frames, ignore_index=True)
        trials["session"] = trials.pop("number").astype(int)
        if len(tables) > 1:
            faults.note(
                f"Sessions are counted over {len(tables)} files in the order of their names."
            )
        trials = dropped_blanks(trials, f"{tables[0].path} ({key})", faults)
        return Found(
            name=root.stem if root.is_file() else root.name,
            trials=trials,
            arrays=arrays,
            voxels=pd.DataFrame(_regions(tables[0], faults), index=range(len(tables[0].voxels))),
            space="array",
            unit="as in the file, not converted",
            where=str(root),
        )

    def _paths(self, root: Path, faults: Faults) -> list[Path]:
        if root.is_file():
            if not _is_bdata(root):
                raise UserError(
                    f"{root} is no BData in HDF5: convert a MATLAB file by "
                    "bdpy.BData(name).save('name.h5')."
                )
            return [root]
        there = [
            path for path in sorted(root.iterdir()) if self._is_chosen(PurePosixPath(path.name))
        ]
        paths = [path for path in there if _is_bdata(path)]
        if not paths:
            raise UserError(
                f"{root} has no BData in HDF5 (.h5){f' of {self.files}' if self.files else ''}: "
                "convert MATLAB files by bdpy.BData(name).save('name.h5')."
            )
        if len(paths) < len(there):
            faults.note(f"{len(there) - len(paths)} HDF5 files of {root} are no BData.")
        return paths


@dataclass(frozen=True, eq=False)
class _Table:
    """The columns of a file by their keys."""

    path: Path
    array: str  # name of the array
    n_trials: int
    keys: dict[str, NDArray[np.float64]]  # values of each column, NaN where a key does not apply

    @property
    def voxels(self) -> NDArray[np.intp]:
        """Columns that are voxels."""
        return np.flatnonzero(self.keys["VoxelData"] == 1)

    def column(self, key: str) -> NDArray[np.float64]:
        """Return the values of a label, one per trial."""
        columns = np.flatnonzero(self.keys[key] == 1)
        if len(columns) != 1:
            raise UserError(f"{self.path} has {len(columns)} columns of {key!r}, not one.")
        with open_hdf5(self.path, self.array) as array:
            return np.asarray(array[:, int(columns[0])], float)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Columns of an array (n_trials, n_columns)."""

    path: Path
    array: str
    voxels: NDArray[np.intp]

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        return read_hdf5(self.path, self.voxels[voxels][:, None], self.array, trials)


def _is_bdata(path: Path) -> bool:
    if path.suffix not in _SUFFIXES or not path.is_file():
        return False
    try:
        inside = names_in(path)
    except UserError:
        return False
    return bool({"dataset", "dataSet"} & set(inside)) and bool(
        {"metadata", "metaData"} & set(inside)
    )


def _read(path: Path) -> _Table:
    """Read which columns are what; older files spell the names in another way."""
    inside = names_in(path)
    array = "dataset" if "dataset" in inside else "dataSet"
    metadata = "metadata" if "metadata" in inside else "metaData"
    shape = hdf5_shape(path, array)
    names = read_texts(path, f"{metadata}/key")
    of_values = hdf5_shape(path, f"{metadata}/value")
    if len(shape) != 2 or 0 in shape or of_values != (len(names), shape[1]):
        raise UserError(
            f"{path} has an array of shape {shape} and {len(names)} keys of shape {of_values}: "
            "one value per key and column is needed; save it again by bdpy."
        )
    with open_hdf5(path, array) as whole:
        require_stored(path, whole)
    rows = read_whole(path, f"{metadata}/value").astype(float)
    if len(set(names)) < len(names):
        raise UserError(f"{path} has a key twice among {', '.join(names[:20])}.")
    keys = dict(zip(names, rows, strict=True))
    if "VoxelData" not in keys or not (keys["VoxelData"] == 1).any():
        raise UserError(f"{path} has no columns of voxels (key VoxelData): name another file.")
    return _Table(path, array, shape[0], keys)


def _require_same_voxels(first: _Table, other: _Table) -> None:
    """Raise if two files have other voxels: they are of two people, or of two masks."""
    same = len(first.voxels) == len(other.voxels) and set(_roi_keys(first)) == set(_roi_keys(other))
    same = same and all(
        np.array_equal(first.keys[k][first.voxels], other.keys[k][other.voxels], equal_nan=True)
        for k in (*_roi_keys(first), *(f"voxel_{axis}" for axis in "xyz"))
        if k in first.keys and k in other.keys
    )
    if not same:
        raise UserError(
            f"{first.path} and {other.path} have other voxels: choose the files of one person and "
            "one mask by data.options.files."
        )


def _roi_keys(table: _Table) -> list[str]:
    return [key for key in table.keys if key.startswith("ROI_")]


def _regions(table: _Table, faults: Faults) -> dict[str, NDArray[np.bool_]]:
    """Return the flags of each region."""
    flags = {
        key.removeprefix("ROI_"): table.keys[key][table.voxels] == 1 for key in _roi_keys(table)
    }
    empty = [name for name, mask in flags.items() if not mask.any()]
    if empty:
        faults.note(f"{len(empty)} regions of {table.path} have no voxel (such as {empty[0]}).")
    wrong = [name for name in flags if name in VOXEL_COLUMNS or name.casefold() == "all"]
    if wrong:
        faults.note(f"The region {wrong[0]} of {table.path} is left out: its name is taken.")
    return {name: mask for name, mask in flags.items() if name not in (*empty, *wrong)}


def _stimulus_key(table: _Table, label: str) -> str:
    keys = [
        key for key in table.keys if key != "VoxelData" and not key.startswith(("ROI_", "voxel_"))
    ]
    if label and label not in table.keys:
        raise UserError(f"{table.path} has no key {label!r}; {nearest(label, keys)}")
    key = label or next((each for each in _STIMULUS_KEYS if each in table.keys), "")
    if not key:
        raise UserError(
            f"{table.path} has none of {', '.join(_STIMULUS_KEYS)} (it has {', '.join(keys)}): "
            "name the key of the stimulus by data.options.label."
        )
    return key


def _trials(
    table: _Table, key: str, several: bool, wants_split: bool, faults: Faults
) -> pd.DataFrame:
    """Return a row per trial; the stimulus is empty where the file has none (rest)."""
    labels, texts = table.column(key), _texts(table.path, key)
    if not texts:
        _require_digits(table, key, labels)
    ids = stimulus_ids(labels, texts, f"{table.path} ({key})")
    frame = pd.DataFrame(
        {
            "stimulus_id": ids,
            "session": _numbers(table, "Session", 1),
            "run": _numbers(table, "Run", 0),
            "row": np.arange(table.n_trials),
        }
    )
    if "DataType" in table.keys:
        side = pd.Series(table.column("DataType")).map(_TYPES)
        others = int(side.isna().sum())
        if others:
            faults.note(
                f"{others:,} of {len(frame):,} trials of {table.path} are neither training nor "
                "test by DataType (imagery) and are left out."
            )
        return frame.assign(**({"split": side} if wants_split else {}))[side.notna()]
    if wants_split and (named := _side(table.path, several)):
        faults.note(f"Trials of {table.path.name} are for {named}, by the name of the file.")
        return frame.assign(split=named)
    return frame


def _require_digits(table: _Table, key: str, labels: NDArray[np.float64]) -> None:
    """Raise if labels such as 1518878.005958 may have lost the image in a float of 32 bits.

    That holds 24 binary digits: with six decimals numbers up to 16.777216, and 1518878.005958
    becomes the whole number 1518878, as every other image of its synset.
    """
    with open_hdf5(table.path, table.array) as array:
        kind = array.dtype
    if kind.kind != "f" or kind.itemsize >= 8:
        return
    exact = 2 ** (np.finfo(kind).nmant + 1)  # whole numbers below are all held
    shown = labels[~np.isnan(labels)]
    most = min(exact, _SYNSETS) if (shown == np.rint(shown)).all() else exact / _MILLION
    if (np.abs(shown) > most).any():
        raise UserError(
            f"{table.path}: {key} holds {np.abs(shown).max():.6f} as {kind}, which has too few "
            "digits to tell images apart: save the array as float64, or with a vmap."
        )


def _side(path: Path, several: bool) -> str:
    """Return what a file is for, by its name; several files must say it each."""
    sides = [side for side, pattern in _SPLITS if pattern.search(path.stem)]
    if len(sides) == 1 and several:
        return sides[0]
    if several:
        raise UserError(
            f"{path} says neither Training nor Test in its name: choose files by "
            "data.options.files, or name the stimuli for test by data.test."
        )
    return ""


def _without(frame: pd.DataFrame, table: _Table, leave_out: str, faults: Faults) -> pd.DataFrame:
    """Return the trials without those of some values."""
    for part in filter(None, (each.strip() for each in leave_out.split(","))):
        key, equals, value = part.partition("=")
        if not equals or key not in table.keys:
            raise UserError(
                f"The option leave_out has {part!r}: give a key and its number, such as Label=26; "
                f"{nearest(key, table.keys)}"
            )
        try:
            number = float(value)
        except ValueError:
            raise UserError(f"The option leave_out has {part!r}: {value!r} is no number.") from None
        hit = np.isclose(table.column(key)[frame["row"].to_numpy()], number, rtol=0, atol=1e-7)
        faults.note(f"{int(hit.sum()):,} trials of {table.path.name} with {part} are left out.")
        frame = frame[~hit]
    return frame


def _numbers(table: _Table, key: str, otherwise: int) -> NDArray[np.int64]:
    """Return a label as whole numbers; ``otherwise`` where the file has none."""
    if key not in table.keys:
        return np.full(table.n_trials, otherwise)
    values = np.nan_to_num(table.column(key), nan=float(otherwise))
    if (values != np.floor(values)).any():
        raise UserError(f"{table.path}: {key} holds numbers that are not whole.")
    return values.astype(np.int64)


def _texts(path: Path, key: str) -> dict[float, str]:
    """Return the text of each number of a label, by ``vmap``; none if the file has none."""
    return {
        float(name): read_texts(path, f"vmap/{key}/{name}")[0]
        for name in names_in(path, f"vmap/{key}")
    }


def stimulus_ids(values: NDArray[np.float64], texts: dict[float, str], where: str) -> list[str]:
    """Return the name of each stimulus, empty for NaN.

    Numbers are formatted, never compared: 1518878.005958 is no number that a float holds.
    """
    shown = values[~np.isnan(values)]
    if texts:
        missing = sorted(set(shown.tolist()) - set(texts))
        if missing:
            raise UserError(f"{where} holds {missing[0]:g}, which its vmap has no text for.")
        return ["" if np.isnan(value) else texts[float(value)] for value in values]
    if (np.abs(shown - np.rint(shown)) < 0.5 / _MILLION).all():
        return ["" if np.isnan(value) else str(round(value)) for value in values]
    return list(_image_names(values))


def _image_names(values: NDArray[np.float64]) -> Iterator[str]:
    for value in values:
        if np.isnan(value):
            yield ""
            continue
        synset, _, image = f"{value:.6f}".partition(".")
        yield f"n{int(synset):08d}_{int(image)}"
