"""Values of voxels back in brain space: volumes, surfaces, files.

A *surface* is ``{"lh": (n_vertices,), "rh": (n_vertices,)}``, with NaN where there is no value.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from vox2pix.data import Subject
from vox2pix.data.faults import Faults
from vox2pix.data.labels import read_label_image
from vox2pix.data.nsd_layout import HEMISPHERES
from vox2pix.data.volumes import load_image
from vox2pix.errors import UserError
from vox2pix.store import replacing

__all__ = [
    "Surface",
    "finite_mean",
    "has_transforms",
    "sample_volume",
    "save_map",
    "to_surface",
    "to_volume",
    "volume_to_surface",
]

Surface = dict[str, NDArray[np.float32]]

_STRUCTURES = {"lh": "CortexLeft", "rh": "CortexRight"}
# What NSD calls its functional volumes in the names of transforms.
_SOURCES = {"func1pt8mm": "func1pt8", "func1mm": "func1pt0"}
# Grey-matter surfaces at 25, 50 and 75 % of the depth from the pial to the white surface.
_LAYERS = ("layerB1", "layerB2", "layerB3")
# NSD's coordinate of a vertex outside the scanned volume.
_NOWHERE = 9999


def to_volume(subject: Subject, values: ArrayLike) -> nib.Nifti1Image:
    """Return one value per voxel as a float32 volume (X, Y, Z), NaN outside the voxels."""
    flat = _per_voxel(subject, values)
    if subject.shape is None or not {"x", "y", "z"} <= set(subject.voxels.columns):
        raise UserError(
            f"{subject.name} is in the space {subject.space!r}, which has no voxel indices "
            "x, y, z: open the data in a volume space to make a volume."
        )
    if subject.affine is None:
        raise UserError(
            f"{subject.name} has no affine, so its voxels have no position in millimetres: "
            "add a brain mask or a label image to the data."
        )
    volume = np.full(subject.shape, np.nan, np.float32)
    volume[tuple(subject.voxels[["x", "y", "z"]].to_numpy().T)] = flat
    return nib.Nifti1Image(volume, subject.affine)


def to_surface(subject: Subject, values: ArrayLike) -> Surface:
    """Return one value per vertex as a float32 surface, NaN outside the vertices opened."""
    flat = _per_voxel(subject, values)
    if subject.shape is None or not {"hemi", "vertex"} <= set(subject.voxels.columns):
        raise UserError(
            f"{subject.name} is in the space {subject.space!r}, which is not a surface: "
            "open the data on a surface, or use the dataset's transform to one."
        )
    surface = {}
    for hemi, n_vertices in zip(HEMISPHERES, subject.shape, strict=True):
        here = (subject.voxels["hemi"] == hemi).to_numpy()
        surface[hemi] = np.full(n_vertices, np.nan, np.float32)
        surface[hemi][subject.voxels["vertex"].to_numpy()[here]] = flat[here]
    return surface


def save_map(
    subject: Subject,
    values: ArrayLike,
    folder: Path,
    name: str,
    surface_format: Literal["gifti", "mgh"] = "gifti",
) -> list[Path]:
    """Write one value per voxel as files that neuroimaging software opens; return their paths.

    ``NAME.nii.gz`` of a volume; ``lh.NAME.func.gii`` and ``rh.NAME.func.gii``, or ``lh.NAME.mgh``
    and ``rh.NAME.mgh``, of a surface. The same values give the same bytes; each file appears whole.
    """
    paths = []
    for file, content in _files(subject, values, name, surface_format):
        with replacing(folder / file) as partial:
            partial.write_bytes(content)
        paths.append(folder / file)
    return paths


def has_transforms(subject: Subject, root: Path) -> bool:
    """Tell whether NSD's ``root`` has what :func:`volume_to_surface` needs."""
    folder = root / "nsddata/ppdata" / subject.name / "transforms"
    return subject.space in _SOURCES and (folder / "lh.white-to-fsaverage.mgz").is_file()


def volume_to_surface(
    subject: Subject,
    values: ArrayLike,
    root: Path,
    interpolation: Literal["linear", "nearest"] = "linear",
) -> Surface:
    """Resample an NSD volume, one value per voxel, to fsaverage (163,842 vertices per hemisphere).

    The volume is sampled at each vertex of the subject's own grey-matter surfaces (25, 50 and 75 %
    of the depth) and averaged over them; each vertex of fsaverage gets the value of the subject's
    nearest vertex. ``linear`` leaves out the voxels without a value and divides by the weight of
    the others (NaN where they have half the weight or less); ``nearest`` is for regions and other
    labels.

    Notes
    -----
    The files are those of NSD's ``nsd_mapdata`` (https://github.com/cvnlab/nsdcode, function
    ``transform_data``): ``lh.func1pt8-to-layerB2.mgz`` (n, 1, 1, 3) holds the coordinates in the
    volume of each of the subject's own n vertices, counted from 1 at the middle of the first voxel,
    9999 where there is none; ``lh.white-to-fsaverage.mgz`` (163842, 1, 1) holds the number of the
    subject's vertex, counted from 1, for each vertex of fsaverage. Unlike there, voxels without a
    value do not count as zeros.
    """
    if subject.space not in _SOURCES:
        raise UserError(
            f"{subject.name} is in the space {subject.space!r}; transforms to fsaverage start "
            f"from {' or '.join(_SOURCES)}: open it in one of these."
        )
    volume = np.asarray(to_volume(subject, values).dataobj)
    folder = root / "nsddata/ppdata" / subject.name / "transforms"
    return {
        hemi: _on_fsaverage(volume, folder, hemi, _SOURCES[subject.space], interpolation)
        for hemi in HEMISPHERES
    }


def sample_volume(
    volume: ArrayLike, coordinates: ArrayLike, interpolation: Literal["linear", "nearest"]
) -> NDArray[np.float32]:
    """Sample a volume (X, Y, Z) with gaps (NaN) at points (n_points, 3), counted from 0.

    NaN outside the volume, for points that are NaN, and where voxels without a value have half the
    weight or more.
    """
    array = np.asarray(volume, np.float64)
    points = np.asarray(coordinates, np.float64).T
    with np.errstate(invalid="ignore"):
        limits = np.array(array.shape)[:, None] - 1
        inside = ((points >= 0) & (points <= limits)).all(axis=0)
    finite = np.isfinite(array)
    order = 1 if interpolation == "linear" else 0
    sums, weights = (
        map_coordinates(image, points[:, inside], order=order, mode="nearest")
        for image in (np.where(finite, array, 0.0), finite.astype(float))
    )
    out = np.full(points.shape[1], np.nan, np.float32)
    out[inside] = np.where(weights > 0.5, sums / np.maximum(weights, 0.5), np.nan)
    return out


def finite_mean(rows: ArrayLike) -> NDArray[np.float32]:
    """Return the mean over the first axis of the values that are not NaN, NaN where none is."""
    array = np.asarray(rows, np.float64)
    finite = np.isfinite(array)
    counts = finite.sum(axis=0)
    sums = np.where(finite, array, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)


def _per_voxel(subject: Subject, values: ArrayLike) -> NDArray[np.float32]:
    """Return the values as float32 after checking that there is one per voxel."""
    flat = np.asarray(values)
    if flat.shape != (len(subject.voxels),):
        raise UserError(
            f"A map of shape {flat.shape} does not fit {subject.name}, opened with "
            f"{len(subject.voxels)} voxels: open the ROIs that the values were computed for."
        )
    return flat.astype(np.float32)


def _files(
    subject: Subject, values: ArrayLike, name: str, surface_format: str
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file of a map."""
    if "vertex" not in subject.voxels.columns:
        yield f"{name}.nii.gz", gzip.compress(to_volume(subject, values).to_bytes(), mtime=0)
        return
    for hemi, surface in to_surface(subject, values).items():
        if surface_format == "mgh":
            image = nib.MGHImage(surface.reshape(-1, 1, 1), np.eye(4))
            yield f"{hemi}.{name}.mgh", image.to_bytes()
        else:
            meta = {"AnatomicalStructurePrimary": _STRUCTURES[hemi]}
            array = nib.gifti.GiftiDataArray(
                surface, intent="NIFTI_INTENT_NONE", datatype="float32", meta={"Name": name}
            )
            gifti = nib.GiftiImage(darrays=[array], meta=nib.gifti.GiftiMetaData(meta))
            yield f"{hemi}.{name}.func.gii", gifti.to_bytes()


def _on_fsaverage(
    volume: NDArray[np.float32],
    folder: Path,
    hemi: str,
    source: str,
    interpolation: Literal["linear", "nearest"],
) -> NDArray[np.float32]:
    """Carry a volume to one hemisphere of fsaverage."""
    paths = [folder / f"{hemi}.{source}-to-{layer}.mgz" for layer in _LAYERS]
    present = [path for path in paths if path.is_file()]
    if not present:
        raise UserError(f"{paths[1]} does not exist: add NSD's transforms to {folder}.")
    own = finite_mean([sample_volume(volume, _points(path), interpolation) for path in present])
    path = folder / f"{hemi}.white-to-fsaverage.mgz"
    # Every number may be that of a vertex.
    numbers = read_label_image(path, Faults(), in_table=range(2**32), surface=True)
    nearest = numbers.values.astype(np.intp) - 1
    if not 0 <= nearest.min() <= nearest.max() < len(own):
        raise UserError(
            f"{path} names vertices {nearest.min() + 1} to {nearest.max() + 1}, {present[0].name} "
            f"has 1 to {len(own)}: the files belong to different subjects."
        )
    return own[nearest]


def _points(path: Path) -> NDArray[np.float64]:
    """Read a transform as coordinates (n_vertices, 3) counted from 0, NaN for nowhere."""
    image = load_image(path).values
    if image.ndim != 4 or image.shape[1:] != (1, 1, 3):
        raise UserError(
            f"{path} has shape {image.shape}, not (n_vertices, 1, 1, 3): replace the file."
        )
    points = image[:, 0, 0].astype(np.float64)
    points[points == _NOWHERE] = np.nan
    return points - 1
