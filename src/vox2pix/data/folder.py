"""Reader of a person's own data: a folder of arrays and tables."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.buckets import as_path, is_remote
from vox2pix.data.faults import Faults
from vox2pix.data.folder_voxels import voxel_columns
from vox2pix.data.images import as_rgb, conversions, read_image
from vox2pix.data.labels import read_grid, read_mask, require_same_grid
from vox2pix.data.names import add_missing
from vox2pix.data.no_data import find_left_out, is_empty
from vox2pix.data.origin import Origin, simulated_by, simulation_note
from vox2pix.data.subject import Subject
from vox2pix.data.tables import read_table
from vox2pix.data.trials import read_trials
from vox2pix.data.volumes import (
    image_shape,
    is_there,
    read_nifti,
    require_finite,
)
from vox2pix.errors import UserError
from vox2pix.untrusted.files import READ_ERRORS, damage_named, files_below, require_inside
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.numpy_files import NpzFile, open_npy
from vox2pix.untrusted.zarr_folders import open_zarr

_RESPONSES = (".npy", ".npz", ".h5", ".hdf5", ".zarr", ".nii.gz", ".nii")
_IMAGES = (".png", ".jpg", ".jpeg")
_IMAGE_FOLDERS = ("images", "pictures")
_NAMES = ("responses", "mask", "trials", "voxels", *_IMAGE_FOLDERS, "stimuli", "captions")


def open_folder(path: str | Path) -> Subject:
    """Open a person's own data.

    Of the responses the first trial of each session is read, to leave out voxels without data.

    The folder holds

    ``responses.npy``, ``.npz``, ``.h5`` (``.hdf5``) or ``.zarr``
        Array (n_trials, n_voxels), a number type; in npz, HDF5 and zarr groups it is named
        ``responses``. Values are taken as they are (percent signal change by convention). npz
        cannot be read in parts, so prefer the others where data are large.
    or ``responses.nii.gz`` (``.nii``) with ``mask.nii.gz`` (``.nii``)
        Image (X, Y, Z, n_trials) and mask (X, Y, Z) of whole numbers; the voxels are those where
        the mask is above 0, in the order of their x, y, z indices, z fastest.
    ``trials.csv``
        A row a trial, in the order of the responses. Column ``stimulus_id``; optional ``session``
        and ``run`` (whole numbers, 1 if left out), ``split`` (``train`` or ``test``) and
        ``trial`` (number within session and run, so that rows entered twice are noticed).
        Without ``split`` every trial is for training: the reader does not guess which stimuli to
        hold out, and whoever reads the test split is told to add the column.
    ``voxels.csv`` (optional)
        A row a voxel, in the order of the responses. Columns ``ncsnr``, ``x``, ``y``, ``z``,
        ``hemi``, ``vertex`` mean what they say; every other column is a ROI, 0 or 1 (or false,
        true) a voxel.
    ``images/ID.png`` (``.jpg``, ``.jpeg``; or ``pictures/``), ``stimuli.npz`` or ``stimuli.npy``
        Images by id. ``stimuli.npz`` holds ``images`` (n, height, width[, 3]) and
        ``stimulus_id`` (n,); in ``stimuli.npy`` the id is the number of the row, from 0. uint8, or
        float in [0, 1]; grey is repeated over the three colours.
    ``captions.csv`` (optional)
        Columns ``stimulus_id`` and ``caption``, a row a caption, several a stimulus.

    Parameters
    ----------
    path : str or Path
        The folder, or its URL; its name is the subject's.

    Returns
    -------
    Subject
        Space ``array``, or ``nifti`` for images.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check.check` lists all.
    """
    faults = Faults()
    opened = gather_folder(path, faults)
    faults.raise_first()
    if opened is None:
        raise AssertionError("a folder that cannot be opened has a fault")
    return opened


def is_of_folder(name: str) -> bool:
    """Tell whether a file below a person's own folder belongs to the data, by its name.

    Parameters
    ----------
    name : str
        Path relative to the folder, as POSIX writes it. Other files, such as those of a run that
        lies in the same folder, are not read.
    """
    return name.partition("/")[0].partition(".")[0] in _NAMES


def gather_folder(path: str | Path, faults: Faults) -> Subject | None:
    """Open what can be opened and add every fault; None if responses and trials do not match."""
    folder = as_path(path).resolve()
    if folder.is_dir() and not is_remote(folder):
        with faults.gathered():
            require_inside(folder, files_below(folder, is_of_folder))
    trials = responses = voxels = None
    split = ""
    with faults.gathered():
        trials, split = read_trials(folder, faults)
    with faults.gathered():
        responses = _find_responses(folder, faults)
    if responses is not None:
        with faults.gathered():
            voxels = _read_voxels(folder, responses, faults)
    stimuli = FolderStimuli(folder)
    with faults.gathered():
        stimuli.require_sound(() if trials is None else tuple(trials["stimulus_id"]))
    if trials is None or responses is None or voxels is None:
        return None
    if len(trials) != responses.n_trials:
        faults.add(
            f"{responses.path} holds {responses.n_trials} trials, {folder / 'trials.csv'} "
            f"{len(trials)}: give one row a trial in both."
        )
        return None
    source = FolderBetas(responses, trials["session"].to_numpy(), np.arange(responses.n_voxels))
    remedy = f"remove the trials of session {{session}} from {responses.path.name} and trials.csv."
    sessions = sorted(int(session) for session in trials["session"].unique())
    left_out = find_left_out(folder.name, voxels, source, sessions, remedy, faults)
    origin = Origin()
    with faults.gathered():
        origin = _origin(folder, split, faults)
    trials = trials[~trials["session"].isin(left_out.sessions)].reset_index(drop=True)
    if trials.empty:
        return None
    return Subject(
        folder.name,
        trials,
        voxels[left_out.has_data].reset_index(drop=True),
        "array" if responses.mask is None else "nifti",
        replace(source, columns=source.columns[left_out.has_data]),
        stimuli,
        None if responses.mask is None else responses.mask.shape,
        responses.affine,
        faults.notes,
        left_out.by_region,
        origin,
    )


def _origin(folder: Path, split: str, faults: Faults) -> Origin:
    """Return what the data of a folder are."""
    by = simulated_by(folder)
    if by is not None:
        faults.note(simulation_note(by))
    return Origin("own" if by is None else "simulated", split, "as in the file, not converted")


@dataclass(frozen=True, eq=False)
class ResponsesFile:
    """An array (n_trials, n_voxels) on disk, or an image and its mask."""

    path: Path
    n_trials: int
    n_voxels: int
    mask: NDArray[np.bool_] | None = None  # (X, Y, Z), for an image
    # (4, 4), voxel indices to millimetres, for an image that has one
    affine: NDArray[np.float64] | None = None

    def read(self, trials: slice, voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read consecutive trials of some voxels, shape (n_trials, n_voxels)."""
        if self.mask is not None:
            return read_nifti(self.path, np.argwhere(self.mask)[voxels], trials)
        with _open_array(self.path) as array:
            return np.asarray(array[trials])[:, voxels]


@dataclass(frozen=True, eq=False)
class FolderBetas:
    """Responses of a folder, a session at a time."""

    responses: ResponsesFile
    sessions: NDArray[np.integer]  # (n_trials,): session of each trial
    # (n_voxels,): column of the responses that each row of the voxel table stands for
    columns: NDArray[np.intp]

    def read_session(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read one session as float32 (n_trials, n_voxels); NaN and infinite values raise."""
        rows = np.flatnonzero(self.sessions == session)
        with np.errstate(over="ignore"):
            values = self._read(rows, voxels).astype(np.float32)
        require_finite(values, self.responses.path, session)
        return values

    def no_data(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell which voxels are 0 or NaN in every trial of a session, shape (n_voxels,)."""
        rows = np.flatnonzero(self.sessions == session)
        head = self._read(rows[:1], voxels)
        return is_empty(head, len(rows), lambda some: self._read(rows, voxels[some]))

    def _read(self, rows: NDArray[np.intp], voxels: NDArray[np.intp]) -> NDArray[Any]:
        """Read some trials in the file's own type."""
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        return self.responses.read(span, self.columns[voxels])[rows - rows[0]]


@dataclass(frozen=True, eq=False)
class FolderStimuli:
    """Images and captions of a folder."""

    folder: Path  # the subject's folder

    def require_sound(self, stimulus_ids: Sequence[str]) -> None:
        """Raise if it is unclear which images are meant, or an id is beyond the last image."""
        source = self._source
        if source is None or source.suffix != ".npy":
            _ = self._files  # raises if two files share an id
            return
        with _open_array(source, "images") as array:
            n_images = _n_images(array, source)
        beyond = [i for i in stimulus_ids if i.isdecimal() and int(i) >= n_images]
        if beyond:
            raise UserError(
                f"{self.folder / 'trials.csv'} names stimulus {beyond[0]!r}, but {source} holds "
                f"images 0 to {n_images - 1}: an index is off by one, or use stimuli.npz with ids."
            )

    def missing_images(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without an image, and add a fault for each cause."""
        source = self._source
        if source is None:
            faults.add(self._no_images)
            return tuple(stimulus_ids)
        available: Mapping[str, Any] = {}
        with faults.gathered():
            available = self._places(source)
            missing = tuple(i for i in stimulus_ids if i not in available)
            unread = self._unread_files() if missing and source.is_dir() else {}
            other = [i for i in missing if i in unread]
            if other:
                faults.add(
                    f"{source} has {len(other)} of {len(stimulus_ids)} images in a form that is "
                    f"not read ({unread[other[0]]}): save them as {', '.join(_IMAGES)}, in this "
                    "folder itself."
                )
            rest = [i for i in missing if i not in unread]
            remedy = f"add {rest[0]}.png" if rest and source.is_dir() else "add it"
            add_missing("image", str(source), rest, available, len(stimulus_ids), remedy, faults)
            return missing
        return tuple(stimulus_ids)

    @property
    def _no_images(self) -> str:
        return f"{self.folder} has no images: add images/ID.png, stimuli.npz or stimuli.npy."

    def _unread_files(self) -> dict[str, str]:
        """Return the files that this reader passes over, of other types or deeper down, by id."""
        folder, found = self._source, dict[str, str]()
        if folder is None or not folder.is_dir():
            return found
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file not in self._files.values():
                relative = file.relative_to(folder).as_posix()
                found.setdefault(file.stem, relative)
                found.setdefault(relative, relative)
                found.setdefault(relative.removesuffix(file.suffix), relative)
        return found

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add a fault for each cause."""
        with faults.gathered():
            missing = tuple(i for i in stimulus_ids if i not in self._captions)
            where = str(self.folder / "captions.csv")
            remedy = "add one, or remove the file to go on without captions"
            n_all = len(stimulus_ids)
            add_missing("caption", where, missing, self._captions, n_all, remedy, faults)
            return missing
        return tuple(stimulus_ids)

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Count the images that reading changes, by what it does to them."""
        source = self._source
        counts: Counter[str] = Counter()
        if source is not None and source.is_dir():
            for stimulus_id in stimulus_ids:
                counts.update(conversions(self._files[stimulus_id]))
        return dict(counts)

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Yield images (height, width, 3), uint8 or float32, one at a time."""
        faults = Faults()
        self.missing_images(stimulus_ids, faults)
        faults.raise_first()
        source = self._source
        if source is None:
            raise UserError(self._no_images)
        if source.is_dir():
            for stimulus_id in stimulus_ids:
                yield read_image(self._files[stimulus_id])
            return
        with _open_array(source, "images") as array:
            rows = self._places(source)
            for stimulus_id in stimulus_ids:
                image = np.asarray(array[rows[stimulus_id]])
                yield as_rgb(image, f"{source}, image {stimulus_id}")

    @property
    def has_captions(self) -> bool:
        """Whether there is a ``captions.csv``."""
        return is_there(self.folder / "captions.csv")

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions of each stimulus, in the order of the file."""
        faults = Faults()
        self.missing_captions(stimulus_ids, faults)
        faults.raise_first()
        return [self._captions[i] for i in stimulus_ids]

    @cached_property
    def _source(self) -> Path | None:
        """The one place of images."""
        places = [self.folder / name for name in (*_IMAGE_FOLDERS, "stimuli.npz", "stimuli.npy")]
        return _only(places, "images")

    @cached_property
    def _files(self) -> dict[str, Path]:
        """Image files by id."""
        files: dict[str, Path] = {}
        if self._source is None or not self._source.is_dir():
            return files
        for file in sorted(self._source.iterdir()):
            if file.suffix.lower() not in _IMAGES:
                continue
            if file.stem in files:
                raise UserError(
                    f"{files[file.stem]} and {file} are both images of stimulus "
                    f"{file.stem!r}: remove one."
                )
            files[file.stem] = file
        return files

    def _places(self, source: Path) -> Mapping[str, Any]:
        """Return the file, or the row of an array, of each image by its id."""
        if source.is_dir():
            return self._files
        if source.suffix != ".npy":
            return self._npz_rows
        with _open_array(source, "images") as array:
            return {str(i): i for i in range(_n_images(array, source))}

    @cached_property
    def _npz_rows(self) -> dict[str, int]:
        """Row of each stimulus in ``stimuli.npz``."""
        path = self.folder / "stimuli.npz"
        with _open_array(path, "stimulus_id") as ids, _open_array(path, "images") as images:
            names = [str(i) for i in np.asarray(ids).ravel()]
            n_images = _n_images(images, path)
            if len(set(names)) != n_images or len(names) != n_images:
                raise UserError(
                    f"{path} holds {n_images} images and {len(set(names))} different "
                    "stimulus_id: give each image an id of its own."
                )
        return {name: i for i, name in enumerate(names)}

    @cached_property
    def _captions(self) -> dict[str, tuple[str, ...]]:
        """Captions by stimulus."""
        path = self.folder / "captions.csv"
        table = read_table(path, ("stimulus_id", "caption"))
        gathered: dict[str, list[str]] = {}
        for stimulus_id, caption in zip(table["stimulus_id"], table["caption"], strict=True):
            if caption:
                gathered.setdefault(stimulus_id, []).append(caption)
        return {stimulus_id: tuple(texts) for stimulus_id, texts in gathered.items()}


def _n_images(array: Any, source: Path) -> int:
    """Return how many images an array holds."""
    if len(array.shape) < 3:
        raise UserError(
            f"{source} has images of shape {tuple(array.shape)}: save an array (n, height, "
            "width) or (n, height, width, 3)."
        )
    return int(array.shape[0])


def _read_voxels(folder: Path, responses: ResponsesFile, faults: Faults) -> pd.DataFrame:
    """Read and check ``voxels.csv``; without one, a table of places alone."""
    path = folder / "voxels.csv"
    places = pd.DataFrame(index=range(responses.n_voxels))
    if responses.mask is not None:
        places = pd.DataFrame(np.argwhere(responses.mask), columns=["x", "y", "z"])
    if not is_there(path):
        return places.assign(ncsnr=np.nan)
    table = read_table(path)
    if len(table) != responses.n_voxels:
        raise UserError(
            f"{path} has {len(table)} rows, {responses.path} {responses.n_voxels} voxels: "
            "give one row a voxel."
        )
    columns = voxel_columns(path, table, faults)
    voxels = pd.DataFrame({"ncsnr": np.nan, **dict(places), **columns}, index=places.index)
    if not voxels[list(places)].equals(places):
        faults.add(
            f"{path} lists other x, y, z than the mask of {responses.path}: order the rows by x, "
            "then y, then z, or leave these columns out."
        )
    return voxels


def _find_responses(folder: Path, faults: Faults) -> ResponsesFile:
    """Find the responses and their shape, without reading them."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds trials.csv.")
    path = _only([folder / f"responses{extension}" for extension in _RESPONSES], "responses")
    if path is None:
        raise UserError(
            f"{folder} has no responses: add responses{', responses'.join(_RESPONSES)}."
        )
    if ".nii" in path.suffixes:
        shape = image_shape(path)
        mask_path = _only([folder / "mask.nii.gz", folder / "mask.nii"], "a mask")
        if mask_path is None:
            raise UserError(f"{path} needs a mask: add mask.nii.gz.")
        image = read_mask(mask_path, faults)
        mask = image.values > 0
        if len(shape) != 4 or mask.shape != shape[:3] or not mask.any():
            raise UserError(
                f"{path} has shape {shape} and {mask_path} {mask.shape} with {mask.sum()} voxels: "
                "give (X, Y, Z, n_trials) and a mask (X, Y, Z) that is not empty."
            )
        grid = read_grid(path, faults)
        require_same_grid(image.grid, grid, faults)
        affine = image.grid.affine if grid.affine is None else grid.affine
        if grid.affine is None or image.grid.affine is None:
            faults.note(
                f"{path if grid.affine is None else mask_path} has no affine in its header "
                "(qform and sform codes are 0): voxels of responses and mask are paired by index."
            )
        return ResponsesFile(path, shape[3], int(mask.sum()), mask, affine)
    with _open_array(path) as array:
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu":
        raise UserError(
            f"{path} is {dtype} of shape {shape}: save numbers of shape (n_trials, n_voxels)."
        )
    return ResponsesFile(path, *shape)


def _only(places: Sequence[Path], what: str) -> Path | None:
    """Return the one of the places that exists, none if there is none."""
    found = [place for place in places if is_there(place)]
    if len(found) > 1:
        raise UserError(
            f"{found[0]} and {found[1].name} both hold {what}: keep one, so that it is clear "
            "which is meant."
        )
    return found[0] if found else None


@contextmanager
def _open_array(path: Path, name: str = "responses") -> Iterator[Any]:
    """Open an array of any format lazily: it has shape, dtype and can be sliced."""
    if path.suffix in (".h5", ".hdf5"):
        with open_hdf5(path, name) as dataset:
            yield dataset
        return
    with damage_named(path, f"no file with an array {name!r}", "save it again", READ_ERRORS):
        if path.suffix == ".npy":
            yield open_npy(path)
        elif path.suffix == ".npz":
            yield _member(path, NpzFile(path), name)
        else:
            yield _zarr_array(path, name)


def _zarr_array(path: Path, name: str) -> Any:
    """Open a zarr array, or one of a zarr group, of which no chunk is missing."""
    opened = open_zarr(path, path.parent)
    array: Any = _member(path, opened, name) if isinstance(opened, Mapping) else opened
    if array.nchunks_initialized < array.nchunks:
        raise UserError(
            f"{path} holds {array.nchunks_initialized} of {array.nchunks} chunks, and those that "
            "are missing would be read as zeros: copy it again, or save it with "
            "write_empty_chunks where zeros are meant."
        )
    return array


def _member(path: Path, arrays: Mapping[str, Any], name: str) -> Any:
    """Return one of several arrays."""
    if name not in arrays:
        names = ", ".join(list(arrays)[:20]) or "nothing"
        raise UserError(f"{path} has no array {name!r} (it holds: {names}): save it again.")
    return arrays[name]
