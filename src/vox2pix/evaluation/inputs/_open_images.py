"""Collections of images as labs keep them: a folder of files, or an array in a file."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.folders import open_folder, originals_pattern, samples_pattern
from vox2pix.untrusted.numpy_files import NpzFile, open_npy
from vox2pix.untrusted.torch_files import load_tensors
from vox2pix.untrusted.zarr_folders import is_zarr, open_zarr

_IDS = ("ids", "stimulus_id")
_IMAGES = "images"
_CHANNELS = (1, 3, 4)


def open_images(
    path: str | Path,
    samples: str | None = None,
    *,
    originals: str | None = None,
    without: str | None = None,
) -> ImageCollection:
    """Open a collection of images; they are read when they are asked for.

    - A folder of PNG or JPEG files; a file's stem is its id. With a ``samples`` pattern such as
      ``{id}_{sample}.png`` or ``{sample}/{id}.png``, matched against paths within the folder, a
      stimulus has several images, in the natural order of their sample names.
    - ``.npy``, ``.npz``, ``.zarr`` or a ``.pt`` (tensors only: nothing that the file may hold is
      run): an array (n, height, width), (n, height, width, channels) or (n, n_samples, height,
      width, channels); channels may come before height, as torch has them. npz, zarr groups and
      a dictionary in ``.pt`` hold ``images`` and perhaps ``ids`` or ``stimulus_id``.

    Values are uint8, or float in [0, 1].

    Parameters
    ----------
    path : str or Path
        The folder or the file.
    samples : str, optional
        The pattern of a folder's files, with ``{id}`` and ``{sample}``.
    originals, without : str, optional
        The pattern, as in ``{id}_org.png``, of the originals in a folder that holds other images
        too: to read them alone, or to leave them out.

    Raises
    ------
    UserError
        If there is no image, ids or numbers of samples do not fit, the samples seem to hold the
        original, the shape of an array is ambiguous, or the file cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist. Name a folder of images or an array file.")
    if path.is_dir() and not is_zarr(path):
        pattern = samples_pattern(samples) if samples is not None else None
        if originals is not None:
            pattern = originals_pattern(originals)
        return open_folder(path, pattern, originals_pattern(without) if without else None)
    if samples is not None or originals is not None:
        raise UserError(
            f"The pattern {samples or originals!r} is for a folder of files; the samples of "
            f"{path} are its second axis (n, n_samples, height, width, channels)."
        )
    return _open_array(path)


def _open_array(path: Path) -> ImageCollection:
    """Open a file that holds an array, and perhaps ids."""
    kind = path.suffix.lower()
    openers: dict[str, Callable[[Path], Any]] = {
        ".npy": open_npy,
        ".npz": NpzFile,
        ".zarr": open_zarr,
        ".pt": load_tensors,
        ".pth": load_tensors,
    }
    if kind not in openers and not is_zarr(path):
        raise UserError(
            f"{path} is no collection of images. Give a folder of PNG or JPEG files, or .npy, "
            ".npz, .zarr or .pt."
        )
    content = openers.get(kind, open_zarr)(path)
    members = dict(content) if isinstance(content, Mapping) else {_IMAGES: content}
    given_ids = next((members.pop(key) for key in _IDS if key in members), None)
    name = _IMAGES if _IMAGES in members else next(iter(members), "")
    if not hasattr(members.get(name), "shape") or (name != _IMAGES and len(members) > 1):
        raise UserError(
            f"{path} holds {', '.join(map(str, members)) or 'nothing'}. Name the array of "
            "images 'images'."
        )
    n_samples, raw, notes = _layout(members[name], path)
    n = members[name].shape[0]
    if given_ids is None:
        ids = tuple(map(str, range(n)))
        return ImageCollection(path, ids, True, n_samples, raw, notes=notes)
    ids = _id_texts(given_ids, path)
    if len(ids) != n:
        raise UserError(f"{path} holds {n} images but {len(ids)} ids. Give each image its id.")
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise UserError(
            f"{path}: the id {repeated[0]!r} occurs more than once. Join images of one stimulus "
            "along a second axis, as samples."
        )
    return ImageCollection(path, ids, False, n_samples, raw, notes=notes)


def _id_texts(given: Any, path: Path) -> tuple[str, ...]:
    """Return the ids of an array file as text: whole floats as whole numbers, bytes as UTF-8."""
    ids = np.asarray(given)
    if ids.ndim != 1:
        raise UserError(f"{path}: ids have the shape {ids.shape}. Give one id per stimulus, (n,).")
    texts = []
    for each in ids.tolist():
        if isinstance(each, float):
            if not each.is_integer():
                raise UserError(f"{path}: the id {each} is no whole number. Save ids as text.")
            each = int(each)
        texts.append(each.decode(errors="replace") if isinstance(each, bytes) else str(each))
    return tuple(texts)


def _layout(
    array: Any, path: Path
) -> tuple[int, Callable[[int, int], NDArray[Any]], tuple[str, ...]]:
    """Return how many samples an array holds, how one image is taken from it, and notes."""
    shape = tuple(array.shape)
    coloured = len(shape) in (4, 5)
    channels_last = coloured and shape[-1] in _CHANNELS
    channels_first = coloured and not channels_last and shape[-3] in _CHANNELS
    if 0 in shape or not (len(shape) == 3 or channels_last or channels_first):
        raise UserError(
            f"{path} has shape {shape}; images are (n, height, width, 3), or (n, n_samples, "
            "height, width, 3)."
        )
    if not coloured and shape[-1] in _CHANNELS[1:]:
        raise UserError(
            f"{path} has shape {shape}, which is one colour image, or {shape[0]} grey images that "
            f"are {shape[-1]} pixels wide. Save images as (n, height, width, 3)."
        )
    if channels_last and shape[-3] in (1, 3):
        raise UserError(
            f"{path} has shape {shape}, where channels may come first or last. "
            "Save images as (n, height, width, 3) higher than 3 pixels."
        )
    has_samples = len(shape) == 5
    notes = (f"{path} has shape {shape}: channels are read before height and width",)

    def raw(row: int, sample: int) -> NDArray[Any]:
        image = _taken(array, row, sample, has_samples)
        return np.moveaxis(image, 0, -1) if channels_first else image

    return shape[1] if has_samples else 1, raw, notes if channels_first else ()


def _taken(array: Any, row: int, sample: int, has_samples: bool) -> NDArray[Any]:
    """Return one image of an array or a tensor."""
    image = array[row, sample] if has_samples else array[row]
    if hasattr(image, "is_floating_point"):  # a tensor; NumPy knows no bfloat16
        image = image.float() if image.is_floating_point() else image
    return np.asarray(image)
