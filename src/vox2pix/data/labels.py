"""The one reader of masks, label images and maps: a value read a little wrong selects other voxels.

Tools store whole numbers as floats or with a slope, mark "outside" by -1, 0 or NaN, and flip axes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.volumes import Image, Place, image_place, image_shape, load_image
from vox2pix.errors import UserError

# Largest distance from a whole number at which a float is read as that number.
_TOLERANCE = 1e-3
# An integer type with a slope rounds by up to half a slope; beyond this, labels are not certain.
_COARSEST = 0.25
# Labels fit NIfTI's and FreeSurfer's 32 bits.
_LARGEST = 2**31 - 1
# What -1 becomes where it is stored without a sign.
_WRAPPED = (2**8 - 1, 2**16 - 1, 2**32 - 1)
# Part of a voxel by which two grids may be apart at a corner: affines are stored as float32 and
# written with few decimals, and a hundredth of a voxel never changes which voxel is meant.
_APART = 1e-2


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image are."""

    path: Path
    shape: tuple[int, ...]  # (X, Y, Z), or (n_vertices,) of a surface
    # (4, 4), voxel indices to millimetres; None on a surface, and where the header has none
    affine: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class GridImage:
    """One value per voxel or vertex."""

    grid: Grid
    values: NDArray[Any]  # int64 for labels and masks, 0 outside; float64 for maps


def read_label_image(
    path: Path, faults: Faults, in_table: Collection[int] = (), surface: bool = False
) -> GridImage:
    """Read a label image: whole numbers, 0 where no label applies.

    Values at or below 0 and NaN become 0, with a note for NaN and for labels below -1. Floats
    within 0.001 of a whole number, or within half the slope of an integer type, are that
    number. Infinite, fractional and too large numbers are refused, and what looks like -1
    stored without a sign unless ``in_table`` (numbers in a label table) holds it.
    """
    image = load_image(path)
    whole = _whole_numbers(image, faults)
    _require_no_wrapped(path, whole, in_table)
    low = whole < -1
    if low.any():
        faults.note(
            f"{path} holds {_count(low, 'value')} below -1 (the lowest {whole.min()}): "
            "they count as outside."
        )
    return _on_grid(image, np.maximum(whole, 0), surface, faults)


def read_mask(path: Path, faults: Faults) -> GridImage:
    """Read a mask of a volume as 0 and 1: above 0 inside; 0, negative or NaN outside.

    Notes say where values are NaN, negative or of several kinds. Probabilities are refused: a
    threshold is a choice.
    """
    image = load_image(path)
    whole = _whole_numbers(image, faults)
    _require_no_wrapped(path, whole, ())
    below = whole < 0
    if below.any():
        faults.note(f"{path} holds {_count(below, 'value')} below 0: they count as outside.")
    inside = np.unique(whole[whole > 0])
    if len(inside) > 1:
        faults.note(
            f"{path} holds {len(inside)} different values above 0 ({_listed(inside)}): all of "
            "them count as inside."
        )
    return _on_grid(image, (whole > 0).astype(np.int64), False, faults)


def read_map(path: Path, faults: Faults, surface: bool = False) -> GridImage:
    """Read a map of numbers, e.g. ncsnr, as float64."""
    image = load_image(path)
    return _on_grid(image, image.values.astype(np.float64), surface, faults)


def joined(images: Sequence[GridImage]) -> GridImage:
    """Return the vertices of both hemispheres one after the other; a volume as it is."""
    if len(images) == 1:
        return images[0]
    values = np.concatenate([image.values for image in images])
    return GridImage(Grid(images[0].grid.path, values.shape, None), values)


def read_grid(path: Path, faults: Faults) -> Grid:
    """Return the grid of a volume or a series of volumes, from its header."""
    place = image_place(path)
    return Grid(path, image_shape(path)[:3], _affine(path, place, faults))


def require_same_grid(one: Grid, other: Grid, faults: Faults, by_index: bool = False) -> None:
    """Raise if two images differ in shape, or a corner of the grid by over a hundredth of a voxel.

    With ``by_index`` the layout pairs voxels by index, so that another origin only earns a note
    (NSD's files were written by several programs).
    """
    if one.shape != other.shape:
        raise UserError(
            f"{one.path} has shape {one.shape}, {other.path} has {other.shape}: the files belong "
            "to different spaces or subjects."
        )
    if one.affine is None or other.affine is None:
        return
    corners = np.array([[*c, 1] for c in product(*((0, n - 1) for n in one.shape))], float)
    difference = (corners @ (one.affine - other.affine).T)[:, :3]
    tolerance = _APART * np.linalg.norm(one.affine[:3, :3], axis=0).min()
    apart = float(np.linalg.norm(difference, axis=1).max())
    if apart <= tolerance:
        return
    turned = float(np.linalg.norm(difference - difference[0], axis=1).max()) > tolerance
    if by_index and not turned:
        faults.note(
            f"{one.path} and {other.path} have origins {apart:.4g} mm apart in their headers: "
            "their voxels are paired by index, as NSD's are."
        )
        return
    how = "turned, flipped or scaled" if turned else "shifted"
    raise UserError(
        f"{one.path} is {how} against {other.path} (up to {apart:.4g} mm apart; axes "
        f"{_axes(one.affine)} and {_axes(other.affine)}): resample one of them to the other's "
        "grid, or reorient both with nibabel.as_closest_canonical if only axes run another way."
    )


def _whole_numbers(image: Image, faults: Faults) -> NDArray[np.int64]:
    """Return values as whole numbers, NaN as 0, or refuse those that are none."""
    values, path = image.values, image.path
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        if missing.any():
            faults.note(f"{path} holds {_count(missing, 'NaN value')}: they count as outside.")
            values = np.where(missing, 0, values)
        rounded = np.rint(values)
        # a slope of 1 or more rounds nothing: what is fractional then comes from the intercept
        half = 0.501 * image.slope
        tolerance = half if _TOLERANCE < half <= _COARSEST else _TOLERANCE
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(values - rounded) <= tolerance)
        if wrong.any():
            raise UserError(
                f"{path} holds {_count(wrong, 'value')} that {_are_none(wrong)}, the "
                f"first {float(values[wrong][0]):.6g}: labels and masks are whole numbers; choose "
                "a threshold for probabilities (values > 0.5), or save the labels as integers."
            )
        values = rounded
    large = (values > _LARGEST) | (values < -_LARGEST - 1)
    large &= values != _WRAPPED[-1]
    if large.any():
        raise UserError(
            f"{path} holds {_count(large, 'value')} beyond 32 bits, the first "
            f"{values[large][0]}: labels are smaller; save the image with a signed integer type."
        )
    return values.astype(np.int64)


def _require_no_wrapped(path: Path, whole: NDArray[np.int64], in_table: Collection[int]) -> None:
    """Refuse 255, 65535 and the like beside smaller labels: most probably -1 without its sign."""
    present = np.unique(whole)
    for value in _WRAPPED:
        others = present[(present > 0) & (present < value)]
        alone = not others.size and value != _WRAPPED[-1]
        if value not in present or value in in_table or alone or value - 1 in others:
            continue
        raise UserError(
            f"{path} holds {value} in {_count(whole == value, 'place')}, which no label table "
            f"names, beside labels up to {others.max() if others.size else 0}: most probably -1 "
            "was stored without a sign; save the image with a signed integer type."
        )


def _on_grid(image: Image, values: NDArray[Any], surface: bool, faults: Faults) -> GridImage:
    """Return values of shape (X, Y, Z) without further axes, or (n_vertices,), and their grid."""
    path, shape = image.path, values.shape
    if surface:
        if sum(n > 1 for n in shape) > 1:
            raise UserError(
                f"{path} has shape {shape}, not one value per vertex: replace the file."
            )
        return GridImage(Grid(path, (values.size,), None), values.ravel(order="F"))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise UserError(f"{path} has shape {shape}, not (X, Y, Z): give one volume.")
    grid = Grid(path, shape[:3], _affine(path, image.place, faults))
    return GridImage(grid, values.reshape(shape[:3]))


def _affine(path: Path, place: Place, faults: Faults) -> NDArray[np.float64] | None:
    """Return the affine that is used, and say so where there are two."""
    if place.two_affines:
        faults.note(f"{path} has a qform and an sform that differ: the sform is used.")
    return place.affine


def _axes(affine: NDArray[np.float64]) -> str:
    """Return the directions in which the axes run, e.g. RAS."""
    from nibabel.orientations import aff2axcodes

    return "".join(code or "?" for code in aff2axcodes(affine))


def _count(where: NDArray[np.bool_], what: str) -> str:
    """Return a number and what it counts."""
    n = int(where.sum())
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _are_none(where: NDArray[np.bool_]) -> str:
    return "is no whole number" if int(where.sum()) == 1 else "are no whole numbers"


def _listed(values: NDArray[np.int64]) -> str:
    """Return the first few numbers, for a message."""
    names = [str(value) for value in values[:4]]
    return ", ".join(names) + (", ..." if len(values) > 4 else "")
