"""Collections of pictures as labs keep them: a folder of files, or an array in a file."""

import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.pictures import read_picture
from vox2pix.errors import UserError
from vox2pix.evaluation.pictures import Pictures

_FILES = (".png", ".jpg", ".jpeg")
_IDS = ("ids", "stimulus_id")
_PICTURES = "pictures"
_OVERSHOOT = 1e-3  # of float pictures, by rounding
_CHANNELS = (1, 3, 4)
_NAMED = 3  # ids that an error sentence names


@dataclass(frozen=True)
class PictureCollection:
    """Pictures by id, read one at a time.

    Attributes
    ----------
    source : Path
        Where they lie.
    ids : tuple of str
        An id a stimulus: the names of files, what an array's ``ids`` say, or row numbers from 0.
    numbered : bool
        Whether the ids are but row numbers.
    n_samples : int
        Pictures a stimulus.
    raw : callable
        Row and sample, from 0, to an array (height, width[, channels]) as it is stored.
    """

    source: Path
    ids: tuple[str, ...]
    numbered: bool
    n_samples: int
    raw: Callable[[int, int], NDArray[Any]]

    def picture(self, row: int, sample: int = 0) -> Pictures:
        """Return a picture.

        8-bit values are divided by 255, grey is repeated over the three colours, an opaque alpha
        channel is left out.

        Parameters
        ----------
        row, sample : int
            From 0.

        Returns
        -------
        ndarray of float32, shape (height, width, 3)
            RGB in [0, 1].

        Raises
        ------
        UserError
            For a file that cannot be read, transparency, NaN, or floats outside [0, 1].
        """
        which = f" (sample {sample})" if self.n_samples > 1 else ""
        return _unit(self.raw(row, sample), f"{self.source}: picture {self.ids[row]!r}{which}")


@dataclass(frozen=True)
class Pairs:
    """Originals and reconstructions that belong together.

    Attributes
    ----------
    ids : tuple of str
        Of the stimuli, in the order of the originals.
    truth_rows, reconstruction_rows : tuple of int
        The rows of each stimulus in the two collections.
    by : str
        How they were paired, for the reader.
    """

    ids: tuple[str, ...]
    truth_rows: tuple[int, ...]
    reconstruction_rows: tuple[int, ...]
    by: str


def open_pictures(path: str | Path, samples: str | None = None) -> PictureCollection:
    """Open a collection of pictures; they are read when they are asked for.

    - A folder of PNG or JPEG files; a file's stem is its id. With a ``samples`` pattern such as
      ``{id}_{sample}.png`` or ``{sample}/{id}.png``, matched against paths within the folder, a
      stimulus has several pictures, in the natural order of their sample names.
    - ``.npy``, ``.npz``, ``.zarr`` or a ``.pt`` (tensors only: nothing that the file may hold is
      run): an array (n, height, width), (n, height, width, channels) or (n, n_samples, height,
      width, channels); channels may stand before height, as torch has them. npz, zarr groups and
      a dictionary in ``.pt`` hold ``pictures`` and perhaps ``ids`` or ``stimulus_id``.

    Values are uint8, or float in [0, 1].

    Parameters
    ----------
    path : str or Path
        The folder or the file.
    samples : str, optional
        The pattern of a folder's files, with ``{id}`` and ``{sample}``.

    Raises
    ------
    UserError
        If there is no picture, an id stands twice, stimuli have unequal numbers of samples, or
        the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; name a folder of pictures or an array file")
    if path.is_dir() and not _is_zarr(path):
        return _open_files(path, samples)
    if samples is not None:
        raise UserError(
            f"the pattern {samples!r} is for a folder of files; the samples of {path} are its "
            "second axis (n, n_samples, height, width, channels)"
        )
    return _open_array(path)


def pair(truth: PictureCollection, reconstructions: PictureCollection) -> Pairs:
    """Pair originals and reconstructions by id.

    Equal ids belong together, whole numbers also with other leading zeros. Where one side has no
    ids but row numbers that do not match, and the counts are equal, rows are paired in order,
    files in the natural order of their names.

    Raises
    ------
    UserError
        If a picture has no partner, two ids of a side differ in leading zeros only, or there are
        fewer than two stimuli.
    """
    if truth.n_samples > 1:
        raise UserError(
            f"{truth.source} holds {truth.n_samples} pictures a stimulus; there is one original "
            "a stimulus: give an array (n, height, width, 3)"
        )
    for canonical in (str, _without_zeros):
        here = [canonical(name) for name in truth.ids]
        there = {canonical(name): row for row, name in enumerate(reconstructions.ids)}
        distinct = len(set(here)) == len(here) and len(there) == len(reconstructions.ids)
        if distinct and set(here) == set(there):
            rows = tuple(there[name] for name in here)
            found = Pairs(truth.ids, tuple(range(len(here))), rows, "by id")
            break
    else:
        found = _pair_in_order(truth, reconstructions)
    if len(found.ids) < 2:
        raise UserError(
            f"{truth.source} holds one picture; evaluation needs at least two, for each is "
            "compared with the others"
        )
    return found


def _pair_in_order(truth: PictureCollection, reconstructions: PictureCollection) -> Pairs:
    """Pair rows in order where a side has no ids, or say which pictures lack a partner."""
    n_truth, n_there = len(truth.ids), len(reconstructions.ids)
    if (truth.numbered or reconstructions.numbered) and n_truth == n_there:
        rows = tuple(range(n_truth))
        ids = reconstructions.ids if truth.numbered else truth.ids
        return Pairs(ids, rows, rows, "in order, for one side has no ids")
    for lone, other, words in (
        (truth, reconstructions, "no reconstruction"),
        (reconstructions, truth, "no original"),
    ):
        known = {_without_zeros(name) for name in other.ids}
        absent = [name for name in lone.ids if _without_zeros(name) not in known]
        if absent:
            named = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
            raise UserError(
                f"{len(absent)} of {len(lone.ids)} pictures in {lone.source} have {words} in "
                f"{other.source} ({named}); give both sides the same ids, or name several samples "
                "a stimulus with --samples '{id}_{sample}.png'"
            )
    alike: dict[tuple[Path, str], list[str]] = {}
    for side in (truth, reconstructions):
        for name in side.ids:
            alike.setdefault((side.source, _without_zeros(name)), []).append(name)
    (source, _), names = next(item for item in alike.items() if len(item[1]) > 1)
    raise UserError(
        f"{source}: the ids {' and '.join(names)} differ in leading zeros only, and "
        "which of them is meant cannot be told; remove or rename all but one"
    )


def _open_files(folder: Path, samples: str | None) -> PictureCollection:
    """Open a folder of files."""
    pattern = _pattern(samples) if samples else None
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _FILES)
    names = [path.relative_to(folder).as_posix() for path in files]
    found: dict[str, dict[str, Path]] = {}
    for path, name in zip(files, names, strict=True):
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if pattern is None:
            if path.parent != folder:
                continue
            key, sample = path.stem, ""
        else:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            key, sample = match["id"], match["sample"]
        before = found.setdefault(key, {}).setdefault(sample, path)
        if before != path:
            raise UserError(f"{before} and {path} have the same id {key!r}; remove one of them")
    if not found:
        wanted = f"that match {samples!r}" if samples else "(.png, .jpg, .jpeg)"
        raise UserError(f"{folder} holds no pictures {wanted}")
    ids = tuple(sorted(found, key=_natural))
    counts = {len(of_id) for of_id in found.values()}
    if len(counts) > 1:
        few = min(ids, key=lambda name: len(found[name]))
        raise UserError(
            f"{folder}: stimuli have from {min(counts)} to {max(counts)} samples, {few!r} has "
            f"{min(counts)}; give all the same number"
        )
    paths = [[found[name][sample] for sample in sorted(found[name], key=_natural)] for name in ids]
    return PictureCollection(
        folder, ids, False, counts.pop(), lambda row, sample: _read_file(paths[row][sample])
    )


def _open_array(path: Path) -> PictureCollection:
    """Open a file that holds an array, and perhaps ids."""
    kind = path.suffix.lower()
    openers: dict[str, Callable[[Path], Any]] = {
        ".npy": lambda p: np.load(p, mmap_mode="r", allow_pickle=False),
        ".npz": lambda p: dict(np.load(p, allow_pickle=False)),
        ".zarr": _open_zarr,
        ".pt": _open_tensors,
        ".pth": _open_tensors,
    }
    if kind not in openers and not _is_zarr(path):
        raise UserError(
            f"{path} is no collection of pictures; give a folder of PNG or JPEG files, or .npy, "
            ".npz, .zarr or .pt"
        )
    try:
        content = openers.get(kind, _open_zarr)(path)
    except UserError:
        raise
    except Exception as error:  # damaged files raise errors of nearly every kind
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path} cannot be read ({lines[0]}); save the pictures again as a plain array"
        ) from error
    members = dict(content) if isinstance(content, Mapping) else {_PICTURES: content}
    told = next((members.pop(key) for key in _IDS if key in members), None)
    name = _PICTURES if _PICTURES in members else next(iter(members), "")
    if not hasattr(members.get(name), "shape") or (name != _PICTURES and len(members) > 1):
        raise UserError(
            f"{path} holds {', '.join(map(str, members)) or 'nothing'}; name the array of "
            "pictures 'pictures'"
        )
    n_samples, raw = _layout(members[name], path)
    n = members[name].shape[0]
    if told is None:
        return PictureCollection(path, tuple(map(str, range(n))), True, n_samples, raw)
    ids = tuple(str(each) for each in np.asarray(told).ravel().tolist())
    if len(ids) != n:
        raise UserError(f"{path} holds {n} pictures but {len(ids)} ids; give each picture its id")
    repeated = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if repeated:
        raise UserError(
            f"{path}: the id {repeated[0]!r} stands more than once; join pictures of one stimulus "
            "along a second axis, as samples"
        )
    return PictureCollection(path, ids, False, n_samples, raw)


def _layout(array: Any, path: Path) -> tuple[int, Callable[[int, int], NDArray[Any]]]:
    """Return how many samples an array holds, and how one picture is taken from it."""
    shape = tuple(array.shape)
    coloured = len(shape) in (4, 5)
    channels_last = coloured and shape[-1] in _CHANNELS
    channels_first = coloured and not channels_last and shape[-3] in _CHANNELS
    if 0 in shape or not (len(shape) == 3 or channels_last or channels_first):
        raise UserError(
            f"{path} has shape {shape}; pictures are (n, height, width, 3), or (n, n_samples, "
            "height, width, 3)"
        )
    has_samples = len(shape) == 5

    def raw(row: int, sample: int) -> NDArray[Any]:
        picture = _taken(array, row, sample, has_samples)
        return np.moveaxis(picture, 0, -1) if channels_first else picture

    return shape[1] if has_samples else 1, raw


def _taken(array: Any, row: int, sample: int, has_samples: bool) -> NDArray[Any]:
    """Return one picture of an array or a tensor."""
    picture = array[row, sample] if has_samples else array[row]
    if hasattr(picture, "is_floating_point"):  # a tensor; NumPy knows no bfloat16
        picture = picture.float() if picture.is_floating_point() else picture
    return np.asarray(picture)


def _unit(raw: NDArray[Any], what: str) -> Pictures:
    """Return a picture as float32 RGB in [0, 1]."""
    if raw.ndim == 2:
        raw = raw[..., None]
    if raw.dtype == np.uint8:
        values = raw.astype(np.float32) / np.float32(255)
    elif raw.dtype == np.bool_ or np.issubdtype(raw.dtype, np.floating):
        values = raw.astype(np.float32)
    else:
        raise UserError(f"{what} is {raw.dtype}; save pictures as uint8 or as floats in [0, 1]")
    if not np.isfinite(values).all():
        raise UserError(f"{what} holds NaN or infinite values; draw it again or leave it out")
    low, high = float(values.min()), float(values.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise UserError(
            f"{what} has values from {low:g} to {high:g}, and floats must be in [0, 1]; divide "
            "values up to 255 by 255, or take (x + 1) / 2 of values in [-1, 1]"
        )
    if values.shape[-1] == 4:
        if values[..., 3].min() < 1:
            raise UserError(f"{what} is transparent; lay it over a background and save it as RGB")
        values = values[..., :3]
    return np.ascontiguousarray(np.broadcast_to(values.clip(0, 1), (*values.shape[:2], 3)))


def _read_file(path: Path) -> NDArray[Any]:
    """Read a picture file, with its alpha channel if it has one."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass  # the common reader says what is wrong
    return read_picture(path)


def _open_zarr(path: Path) -> Any:
    """Open a zarr array, or a group as its members."""
    import zarr

    content = zarr.open(path, mode="r")
    return dict(content.arrays()) if isinstance(content, zarr.Group) else content


def _open_tensors(path: Path) -> Any:
    """Read tensors, running nothing that the file may hold."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own text runs over pages
        raise UserError(
            f"{path} holds more than tensors, lists and words, and code in it is not run; save "
            "a plain tensor, or a dictionary of 'pictures' and 'ids'"
        ) from error


def _is_zarr(path: Path) -> bool:
    return any((path / mark).exists() for mark in ("zarr.json", ".zarray", ".zgroup"))


def _pattern(samples: str) -> re.Pattern[str]:
    """Turn ``{id}_{sample}.png`` into a regular expression."""
    if samples.count("{id}") != 1 or samples.count("{sample}") != 1:
        raise UserError(
            f"the pattern {samples!r} must hold {{id}} and {{sample}} once each, such as "
            "'{id}_{sample}.png'"
        )
    escaped = re.escape(samples)
    for name, part in (("id", "[^/]+"), ("sample", "[^/]+?")):
        escaped = escaped.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{part})")
    return re.compile(escaped)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _without_zeros(name: str) -> str:
    return str(int(name)) if name.isdecimal() else name
