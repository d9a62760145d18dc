"""Maps on the cortex: flattened, inflated, to be turned in a browser, and slices of a volume.

A value colours the cell around its vertex: the part of the surface that is nearer to it, along
the edges, than to its neighbours. Values are not interpolated to vertices that have none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from vox2pix.encoding.figures import (
    NORMAL,
    SMALL,
    WIDTH,
    Categories,
    Plot,
    Scale,
    finished,
    new_figure,
)
from vox2pix.errors import UserError
from vox2pix.store import replacing

__all__ = ["flat_map", "inflated_views", "save_turning_cortex", "slice_mosaic"]

# Vertices a hemisphere of fsaverage5, which are the first of those of fsaverage.
_N_VERTICES = 10_242
_LETTER, _LINE = 0.06, 0.115  # inches: a letter's width and a line's height in small letters
_SIDES = {"lh": "left", "rh": "right"}
_NAMES = {"lh": "Left hemisphere", "rh": "Right hemisphere"}
_SULCUS, _GYRUS = 0.62, 0.82  # grey
# Room for a hemisphere, flattened and inflated: width and height in millimetres of the surface.
_FLAT_SIZE, _INFLATED_SIZE = (326.0, 286.0), (222.0, 152.0)

Volume = nib.Nifti1Image
SurfaceMap = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Mesh:
    """One hemisphere of fsaverage5: points (n_vertices, 3), triangles (n_faces, 3), sulci."""

    points: NDArray[np.float64]
    faces: NDArray[np.intp]
    sulcus: NDArray[np.bool_]


def flat_map(
    values: SurfaceMap,
    scale: Scale | Categories,
    rois: Mapping[str, SurfaceMap] | None = None,
    title: str = "",
) -> Plot:
    """Show a map on the flattened cortex, over the curvature of fsaverage5 (dark sulci).

    ``values`` are ``lh`` and ``rh``, (10242,) on fsaverage5 or (163842,) on fsaverage, of which the
    first 10,242 are drawn; NaN is not coloured. ``rois`` are outlined and named, each a mapping
    like ``values``, above 0.5 inside.
    """
    figure = new_figure(4.0)
    panels = figure.subplots(1, 2)
    drawn = _on_fsaverage5(values)
    outlines = {name: _on_fsaverage5(mask) for name, mask in (rois or {}).items()}
    for ax, hemi in zip(panels, _SIDES, strict=True):
        mesh = _mesh("flat", hemi)
        points = mesh.points[:, :2]
        _draw_cells(ax, points, mesh.faces, scale.colours(drawn[hemi]), mesh.sulcus)
        for mask in outlines.values():
            _draw_outline(ax, points, mesh.faces, mask[hemi] > 0.5)
        used = np.isin(np.arange(_N_VERTICES), mesh.faces)  # the cuts leave some vertices out
        inside = {name: points[used & (mask[hemi] > 0.5)] for name, mask in outlines.items()}
        _write_names(ax, inside, inch=2 * _FLAT_SIZE[0] / WIDTH)
        _frame(ax, _FLAT_SIZE, points[used], _NAMES[hemi])
    scale.add_key(figure, list(panels), _beyond(scale, drawn))
    return _described(figure, title, "Flattened cortex, both hemispheres", scale, drawn, rois)


def inflated_views(
    values: SurfaceMap,
    scale: Scale | Categories,
    rois: Mapping[str, SurfaceMap] | None = None,
    title: str = "",
) -> Plot:
    """Show a map on the inflated cortex from the side, from the middle and from below.

    Arguments are those of :func:`flat_map`; regions are outlined without their names.
    """
    figure = new_figure(4.3)
    panels = figure.subplots(2, 3)
    drawn = _on_fsaverage5(values)
    outlines = [_on_fsaverage5(mask) for mask in (rois or {}).values()]
    for row, hemi in zip(panels, _SIDES, strict=True):
        mesh = _mesh("infl", hemi)
        colours = scale.colours(drawn[hemi])
        outward = -1.0 if hemi == "lh" else 1.0  # along x, from left to right
        views = {
            "lateral": ((outward, 0, 0), (0, 0, 1)),
            "medial": ((-outward, 0, 0), (0, 0, 1)),
            "ventral": ((0, 0, -1), (outward, 0, 0)),
        }
        for ax, (name, (toward, up)) in zip(row, views.items(), strict=True):
            points, faces, light = _seen_from(mesh, np.array(toward, float), np.array(up, float))
            _draw_cells(ax, points, faces, colours, mesh.sulcus, light)
            for mask in outlines:
                _draw_outline(ax, points, faces, mask[hemi] > 0.5)
            _frame(ax, _INFLATED_SIZE, points, f"{_NAMES[hemi]}, {name}")
    scale.add_key(figure, list(panels.flat), _beyond(scale, drawn))
    return _described(
        figure, title, "Inflated cortex from the side, the middle and below", scale, drawn, rois
    )


def save_turning_cortex(values: SurfaceMap, scale: Scale, path: Path, title: str = "") -> None:
    """Write an HTML page with the inflated cortex, to be turned without a network.

    ``values`` are those of :func:`flat_map`. A page has some 1.6 MB; the script that all pages of
    a folder share, ``plotly.min.js``, is beside them (5 MB). nilearn's ``view_surf`` would write
    2.7 MB per page, with a script of its own in each.
    """
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.plotting import plot_surf_stat_map
    from nilearn.surface import PolyMesh, SurfaceImage

    files = fetch_surf_fsaverage("fsaverage5")  # part of nilearn: nothing is downloaded
    mesh = PolyMesh(**{side: files[f"infl_{side}"] for side in _SIDES.values()})
    drawn = _on_fsaverage5(values)
    parts = {side: drawn[hemi].astype(np.float32) for hemi, side in _SIDES.items()}
    curvature = {side: files[f"curv_{side}"] for side in _SIDES.values()}
    page = plot_surf_stat_map(
        stat_map=SurfaceImage(mesh, parts),
        bg_map=SurfaceImage(mesh, curvature),
        hemi="both",
        view="posterior",  # where visual cortex is
        engine="plotly",
        cmap=scale.cmap,
        vmin=scale.low,
        vmax=scale.high,
        symmetric_cbar=False,
        title=f"{title}<br><sub>{scale.label}</sub>",
    ).figure
    page.update_layout(width=None, height=None, autosize=True)
    with replacing(path) as partial:
        page.write_html(partial, include_plotlyjs="directory", default_height="96vh")


def slice_mosaic(
    values: Volume,
    scale: Scale | Categories,
    rois: Mapping[str, Volume] | None = None,
    underlay: Volume | None = None,
    n_slices: int = 12,
    title: str = "",
) -> Plot:
    """Show axial slices of a map (X, Y, Z) through the voxels that have a value (not NaN).

    ``rois`` are outlined, each an image of the same grid, above 0.5 inside; the name is in the
    slice that shows most of the region. The ``underlay`` (a mean image, a mask) is shown in greys.
    Up to ``n_slices`` are spread evenly from the lowest to the highest slice with a value.
    """
    image = nib.as_closest_canonical(values)
    drawn = np.asarray(image.dataobj, float)
    layers = np.flatnonzero(np.isfinite(drawn).any(axis=(0, 1)))
    if not layers.size:
        raise UserError("No voxel of the map has a value: there is no slice to show.")
    masks = {name: _canonical(mask, image) > 0.5 for name, mask in (rois or {}).items()}
    greys = None if underlay is None else np.nan_to_num(_canonical(underlay, image))
    extent = [np.isfinite(drawn), *masks.values()] if greys is None else [greys > 0]
    x, y = (_span(extent, axis) for axis in (0, 1))
    chosen = layers[np.unique(np.linspace(0, len(layers) - 1, n_slices).round().astype(int))]
    sizes = np.asarray(image.header.get_zooms()[:3], float)
    n_columns = min(len(chosen), 6)
    n_rows = -(-len(chosen) // n_columns)
    ratio = (y.stop - y.start) * sizes[1] / ((x.stop - x.start) * sizes[0])
    height = n_rows * (WIDTH / n_columns * ratio + 0.2) + 0.8
    figure = new_figure(height)
    panels = figure.subplots(n_rows, n_columns, squeeze=False)
    largest = {name: chosen[mask.sum(axis=(0, 1))[chosen].argmax()] for name, mask in masks.items()}
    inch = (x.stop - x.start) * n_columns / WIDTH
    for ax, layer in zip(panels.flat, chosen, strict=False):
        if greys is not None:
            ax.imshow(
                greys[x, y, layer].T, cmap="gray", origin="lower", aspect=sizes[1] / sizes[0],
                vmin=0, vmax=1.5 * float(np.quantile(greys[greys > 0], 0.99)),
                interpolation="nearest",
            )  # fmt: skip
        ax.imshow(
            scale.colours(drawn[x, y, layer].T), origin="lower", aspect=sizes[1] / sizes[0],
            interpolation="nearest",
        )  # fmt: skip
        cut = {name: mask[x, y, layer] for name, mask in masks.items()}
        for mask in cut.values():
            _draw_lines(ax, _pixel_edges(mask))
        named = [name for name in cut if largest[name] == layer]
        _write_names(ax, {name: np.argwhere(cut[name]).astype(float) for name in named}, inch)
        height_mm = float((image.affine @ [0, 0, layer, 1])[2])
        ax.set_title(f"z = {height_mm:.1f} mm", fontsize=SMALL, pad=2)
    for ax in panels.flat:
        ax.set_axis_off()
    for x_place, letter in ((0.02, "L"), (0.98, "R")):
        panels[0, 0].text(
            x_place, 0.04, letter, fontsize=SMALL, ha="left" if letter == "L" else "right",
            transform=panels[0, 0].transAxes,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip
    scale.add_key(figure, list(panels.flat), _beyond(scale, {"volume": drawn}))
    return _described(
        figure, title, f"{len(chosen)} axial slices, left is left", scale, {"volume": drawn}, rois
    )


# --- surfaces ------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _mesh(kind: str, hemi: str) -> _Mesh:
    """Read a surface of fsaverage5 that comes with nilearn."""
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")  # part of nilearn: nothing is downloaded
    side = _SIDES[hemi]
    mesh = load_surf_mesh(files[f"{kind}_{side}"])
    sulcus = load_surf_data(files[f"curv_{side}"]) > 0
    return _Mesh(np.asarray(mesh.coordinates, float), np.asarray(mesh.faces, np.intp), sulcus)


def _on_fsaverage5(values: SurfaceMap) -> dict[str, NDArray[np.float64]]:
    """Return the part of a map that is on fsaverage5."""
    for hemi in _SIDES:
        if hemi not in values or len(values[hemi]) not in (_N_VERTICES, 163_842):
            sizes = {name: len(side) for name, side in values.items()}
            raise UserError(
                f"A map with the vertices {sizes} cannot be drawn: give lh and rh with "
                f"{_N_VERTICES} vertices (fsaverage5) or 163842 (fsaverage)."
            )
    return {hemi: np.asarray(values[hemi][:_N_VERTICES], float) for hemi in _SIDES}


def _draw_cells(
    ax: Axes,
    points: NDArray[np.float64],
    faces: NDArray[np.intp],
    colours: NDArray[np.float64],
    sulcus: NDArray[np.bool_],
    light: NDArray[np.float64] | None = None,
) -> None:
    """Draw the share of each vertex in each face, a quadrangle, over the greys of the curvature.

    Only the greys take the light (n_faces,), so that colours keep their meaning.
    """
    corners = points[faces]
    after, before = np.roll(corners, -1, axis=1), np.roll(corners, 1, axis=1)
    middle = np.broadcast_to(corners.mean(axis=1, keepdims=True), corners.shape)
    # One array is drawn fast, though the type of the argument does not allow it.
    quads: Any = np.stack([corners, (corners + after) / 2, middle, (corners + before) / 2], axis=2)
    grey = np.where(sulcus, _SULCUS, _GYRUS)[faces]
    if light is not None:
        grey = grey * light[:, None]
    over, alpha = colours[faces][..., :3], colours[faces][..., 3:]
    collection = PolyCollection(
        quads.reshape(-1, 4, 2),
        facecolors=(alpha * over + (1 - alpha) * grey[..., None]).reshape(-1, 3),
        antialiaseds=False,
        rasterized=True,
    )
    # Its extent takes long to compute, and the axes have limits anyway.
    collection.set_in_layout(False)
    ax.add_collection(collection, autolim=False)


def _draw_outline(
    ax: Axes, points: NDArray[np.float64], faces: NDArray[np.intp], inside: NDArray[np.bool_]
) -> None:
    """Draw the border between the cells inside a region and the others."""
    corners, member = points[faces], inside[faces]
    borders = []
    for i, j in ((0, 1), (1, 2), (2, 0)):
        crossed = member[:, i] != member[:, j]
        halfway = (corners[crossed, i] + corners[crossed, j]) / 2
        borders.append(np.stack([halfway, corners[crossed].mean(axis=1)], axis=1))
    _draw_lines(ax, np.concatenate(borders))


def _draw_lines(ax: Axes, segments: NDArray[np.float64]) -> None:
    """Draw segments (n, 2, 2) that show on light and on dark, as one line with gaps."""
    gaps = np.full((len(segments), 1, 2), np.nan)
    x, y = np.concatenate([segments, gaps], axis=1).reshape(-1, 2).T
    ax.plot(
        x, y, color="black", linewidth=0.8, solid_capstyle="round", rasterized=True,
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
    )  # fmt: skip


def _write_names(ax: Axes, regions: Mapping[str, NDArray[np.float64]], inch: float) -> None:
    """Write the name of each region (n_points, 2) in its middle, or below a name already there."""
    places = {}
    for name, points in regions.items():
        if len(points):
            away = np.square(points - np.median(points, axis=0)).sum(axis=1)
            places[name] = points[away.argmin()]
    written: list[tuple[float, float, float]] = []
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        width = _LETTER * inch * len(name)
        for other_x, other_y, other_width in written:  # from above to below
            if abs(x - other_x) < (width + other_width) / 2:
                y = min(y, other_y - _LINE * inch)
        written.append((x, y, width))
        ax.text(
            x, y, name, fontsize=SMALL, ha="center", va="center",
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )  # fmt: skip


def _seen_from(
    mesh: _Mesh, toward: NDArray[np.float64], up: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Return points on the screen, the faces seen, the farthest first, and their light."""
    points = mesh.points @ np.column_stack([np.cross(up, toward), up])
    a, b, c = (mesh.points[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    facing = normals @ toward / np.linalg.norm(normals, axis=1)
    seen = np.flatnonzero(facing > 0)
    depth = (mesh.points @ toward)[mesh.faces[seen]].mean(axis=1)
    order = seen[depth.argsort(kind="stable")]
    return points, mesh.faces[order], 0.7 + 0.3 * facing[order]


def _frame(ax: Axes, size: tuple[float, float], points: NDArray[np.float64], title: str) -> None:
    """Centre the points in a window of this size, without a frame."""
    x, y = (points.min(axis=0) + points.max(axis=0)) / 2
    ax.set(
        xlim=(x - size[0] / 2, x + size[0] / 2),
        ylim=(y - size[1] / 2, y + size[1] / 2),
        aspect="equal",
    )
    ax.set_axis_off()
    ax.set_title(title, fontsize=NORMAL)


# --- volumes -------------------------------------------------------------------------------------


def _canonical(image: Volume, like: Volume) -> NDArray[np.float64]:
    """Return an image's values, axes to the right, to the front and up, on the map's grid."""
    turned = nib.as_closest_canonical(image)
    if turned.shape != like.shape or not np.allclose(turned.affine, like.affine, atol=1e-3):
        raise UserError(
            f"Images of shape {turned.shape} and {like.shape} are on different grids: "
            "resample one of them."
        )
    return np.asarray(turned.dataobj, float)


def _span(masks: list[NDArray[np.bool_]], axis: int) -> slice:
    """Return the range of an axis that masks fill, with a margin of one voxel."""
    others = tuple(i for i in range(3) if i != axis)
    filled = np.flatnonzero(np.logical_or.reduce(masks).any(axis=others))
    return slice(max(0, int(filled[0]) - 1), int(filled[-1]) + 2)


def _pixel_edges(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the segments (n, 2, 2) between the pixels inside a mask and the others."""
    padded = np.pad(mask, 1)
    segments = []
    for axis in (0, 1):
        cells = np.argwhere(np.diff(padded.astype(np.int8), axis=axis) != 0) - 1.0
        start, stop = cells.copy(), cells.copy()
        start[:, axis] += 0.5
        stop[:, axis] += 0.5
        start[:, 1 - axis] -= 0.5
        stop[:, 1 - axis] += 0.5
        segments.append(np.stack([start, stop], axis=1))
    return np.concatenate(segments)


# --- all -----------------------------------------------------------------------------------------


def _beyond(
    scale: Scale | Categories, drawn: Mapping[str, NDArray[np.float64]]
) -> tuple[bool, bool]:
    """Tell whether values are below or above the scale."""
    if isinstance(scale, Categories):
        return False, False
    finite = np.concatenate([part[np.isfinite(part)] for part in drawn.values()])
    return bool((finite < scale.low).any()), bool((finite > scale.high).any())


def _described(
    figure: Figure,
    title: str,
    view: str,
    scale: Scale | Categories,
    drawn: Mapping[str, NDArray[np.float64]],
    rois: Mapping[str, Any] | None,
) -> Plot:
    """Finish a map, with a sentence on what it shows."""
    finite = np.concatenate([part[np.isfinite(part)] for part in drawn.values()])
    if isinstance(scale, Categories):
        counts = np.bincount(finite.astype(int), minlength=len(scale.names))
        summary = ", ".join(f"{name} {n}" for name, n in zip(scale.names, counts, strict=True))
    elif finite.size:
        summary = f"median {np.median(finite):.2f}, from {finite.min():.2f} to {finite.max():.2f}"
    else:
        summary = "none"
    outlined = f", with outlines of {', '.join(rois)}" if rois else ""
    alt = f"{view}{outlined}, coloured by {scale.label} at {finite.size} places ({summary})."
    return finished(figure, title, alt)
