import socket
from itertools import combinations

import matplotlib
import nibabel as nib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from nilearn.datasets import fetch_surf_fsaverage
from nilearn.surface import load_surf_data, load_surf_mesh

from vox2pix.encoding import cortex
from vox2pix.encoding.cortex import flat_map, inflated_views, slice_mosaic
from vox2pix.encoding.figures import PALETTE, Categories, Scale, save_figure
from vox2pix.errors import UserError

N = 10_242
SCALE = Scale("Pearson r, test images", 0, 0.5)
SIDES = {"lh": "left", "rh": "right"}


def patch(hemi, centre, size):
    """The vertices of fsaverage5 nearest to one of them."""
    points = load_surf_mesh(fetch_surf_fsaverage()[f"flat_{SIDES[hemi]}"]).coordinates
    return np.square(points - points[centre]).sum(axis=1).argsort()[:size]


def region(centre, size):
    mask = {}
    for hemi in SIDES:
        mask[hemi] = np.zeros(N)
        mask[hemi][patch(hemi, centre, size)] = 1
    return mask


@pytest.fixture(scope="module")
def values():
    """A tenth of the vertices with a value, the others without."""
    rng = np.random.default_rng(0)
    return {
        hemi: np.where(rng.random(N) < 0.1, rng.uniform(0, 0.7, N), np.nan).astype(np.float32)
        for hemi in SIDES
    }


@pytest.fixture(scope="module")
def drawn(values):
    rois = {"early": region(100, 300), "ventral": region(110, 200)}
    return flat_map(values, SCALE, rois, "z")


def segments(ax):
    """The pieces of the last outline."""
    return ax.lines[-1].get_xydata().reshape(-1, 3, 2)[:, :2]


def cells(ax):
    return ax.collections[0].get_facecolors().reshape(-1, 3, 4)


def test_only_vertices_with_a_value_are_coloured(drawn, values):
    viridis = matplotlib.colormaps["viridis"]
    for ax, hemi in zip(drawn.figure.axes, SIDES, strict=False):
        faces = load_surf_mesh(fetch_surf_fsaverage()[f"flat_{SIDES[hemi]}"]).faces
        sulcus = load_surf_data(fetch_surf_fsaverage()[f"curv_{SIDES[hemi]}"]) > 0
        corner = values[hemi][faces]  # the value of the vertex of each cell
        finite = np.isfinite(corner)
        assert 0.05 < finite.mean() < 0.2
        np.testing.assert_allclose(cells(ax)[finite], viridis(corner[finite] / 0.5), atol=0.005)
        grey = cells(ax)[~finite][:, :3]
        assert (np.ptp(grey, axis=1) == 0).all()
        dark = grey[:, 0] < 0.7
        np.testing.assert_array_equal(dark, sulcus[faces][~finite])


def test_a_cell_lies_around_its_vertex(drawn):
    mesh = load_surf_mesh(fetch_surf_fsaverage().flat_left)
    quads = drawn.figure.axes[0].collections[0].get_paths()
    for i in (0, 1, 2, 3000):
        a, b, c = np.roll(mesh.coordinates[mesh.faces[i // 3], :2], -(i % 3), axis=0)
        expected = [a, (a + b) / 2, (a + b + c) / 3, (a + c) / 2]
        np.testing.assert_allclose(quads[i].vertices[:4], expected, atol=1e-4)


def test_the_colour_bar_names_its_unit_and_points_to_values_beyond(drawn):
    bar = drawn.figure.axes[-1]
    assert bar.get_xlabel() == "Pearson r, test images"
    assert [ax.get_title() for ax in drawn.figure.axes[:2]] == [
        "Left hemisphere",
        "Right hemisphere",
    ]
    assert drawn.figure.get_suptitle() == "z"
    assert drawn.alt.startswith("Flattened cortex, both hemispheres, with outlines of early, vent")
    assert drawn.alt.endswith("to 0.70).")


def test_an_outline_separates_the_cells_inside_from_the_others():
    one = {hemi: np.zeros(N) for hemi in SIDES}
    one["lh"][5000] = 1
    nothing = {hemi: np.full(N, np.nan) for hemi in SIDES}
    left, right = flat_map(nothing, SCALE, {"seed": one}).figure.axes[:2]
    mesh = load_surf_mesh(fetch_surf_fsaverage().flat_left)
    around = mesh.faces[(mesh.faces == 5000).any(axis=1)]
    outline = segments(left)
    assert len(outline) == 2 * len(around)
    middles = mesh.coordinates[around].mean(axis=1)[:, :2]
    np.testing.assert_allclose(
        np.unique(outline[:, 1].round(3), axis=0), np.unique(middles.round(3), axis=0), atol=0.01
    )
    assert [text.get_text() for text in left.texts] == ["seed"]
    assert len(segments(right)) == 0
    assert not right.texts


def test_names_of_regions_do_not_overlap():
    # seven regions of the visual streams crowd into one corner of the map
    rois = {f"midlateral {i}": region(100 + i, 30) for i in range(4)}
    nothing = {hemi: np.full(N, np.nan) for hemi in SIDES}
    figure = flat_map(nothing, SCALE, rois).figure
    figure.draw_without_rendering()
    for ax in figure.axes[:2]:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) == 4
        assert not any(a.shrunk(1, 0.8).overlaps(b) for a, b in combinations(boxes, 2))


def test_fsaverage_is_drawn_by_its_first_vertices(drawn, values):
    rest = np.full(163_842 - N, 0.4, np.float32)
    large = flat_map({hemi: np.concatenate([side, rest]) for hemi, side in values.items()}, SCALE)
    for ax, expected in zip(large.figure.axes[:2], drawn.figure.axes, strict=False):
        np.testing.assert_array_equal(cells(ax), cells(expected))


def test_a_map_on_another_surface_is_one_sentence():
    with pytest.raises(UserError, match=r"'lh': 5, 'rh': 5} cannot be drawn: give lh and rh with"):
        flat_map({"lh": np.zeros(5), "rh": np.zeros(5)}, SCALE)
    with pytest.raises(UserError, match="cannot be drawn"):
        inflated_views({"lh": np.zeros(N)}, SCALE)


def test_nothing_is_fetched(monkeypatch, values):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    cortex._mesh.cache_clear()
    flat_map(values, SCALE)


def test_the_best_layer_has_a_colour_and_a_name():
    layers = ("down", "mid", "up")
    best = {hemi: np.full(N, np.nan) for hemi in SIDES}
    best["lh"][:3000], best["rh"][:2000] = 0, 2
    plot = flat_map(best, Categories("Best layer", layers))
    shown = {
        tuple(colour) for colour in cells(plot.figure.axes[0]).reshape(-1, 4) if np.ptp(colour[:3])
    }
    assert shown == {to_rgba(PALETTE[0])}
    legend = plot.figure.legends[0]
    assert legend.get_title().get_text() == "Best layer"
    assert [text.get_text() for text in legend.get_texts()] == list(layers)
    assert "down 3000, mid 0, up 2000" in plot.alt


def test_inflated_views_show_the_side_that_faces_the_viewer():
    """Values are where the vertex is, so that each view's colours say what it shows."""
    places = {}
    for hemi, side in SIDES.items():
        x, _, z = load_surf_mesh(fetch_surf_fsaverage()[f"infl_{side}"]).coordinates.T
        outward = x if hemi == "rh" else -x
        places[hemi] = np.where(outward > 20, 0.0, np.where(outward < -20, 1.0, np.nan))
        places[hemi][np.abs(z) > 30] = np.nan
        places[hemi][(z < -55)] = 2.0
    plot = inflated_views(places, Categories("Side", ("outer", "inner", "lower")))
    figure = plot.figure
    assert [ax.get_title() for ax in figure.axes] == [
        f"{side} hemisphere, {view}"
        for side in ("Left", "Right")
        for view in ("lateral", "medial", "ventral")
    ]
    colours = [to_rgba(colour) for colour in PALETTE[:3]]
    shares = np.array(
        [
            [(ax.collections[0].get_facecolors() == colour).all(axis=1).mean() for ax in row]
            for colour in colours
            for row in (figure.axes[:3], figure.axes[3:])
        ]
    )
    np.testing.assert_array_equal(shares.argmax(axis=1), [0, 0, 1, 1, 2, 2])


def test_a_map_saved_twice_is_the_same_bytes(tmp_path, drawn):
    first, second = (save_figure(drawn, tmp_path / name) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


# --- slices --------------------------------------------------------------------------------------


def test_slices_show_left_on_the_left_whatever_the_order_in_the_file():
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])  # first voxel on the right
    array = np.full((6, 5, 4), np.nan, np.float32)
    array[1, 3, 2] = 0.5
    array[4, 3, 2] = 0.0
    figure = slice_mosaic(nib.Nifti1Image(array, affine), SCALE).figure
    assert [ax.get_title() for ax in figure.axes[:-1]] == ["z = 6.0 mm"]
    shown = figure.axes[0].images[0].get_array()
    row = shown[shown[..., 3].any(axis=1).argmax()]
    x = np.flatnonzero(row[:, 3])
    viridis = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(row[x], [viridis(0.0), viridis(1.0)])
    assert x[1] - x[0] == 3


def test_slices_keep_the_size_of_voxels_and_say_their_height():
    affine = np.diag([2.0, 3.0, 1.5, 1.0])
    affine[2, 3] = -10
    array = np.full((6, 5, 20), np.nan, np.float32)
    array[2:4, 2, 3:18] = 0.3
    figure = slice_mosaic(nib.Nifti1Image(array, affine), SCALE, n_slices=3).figure
    assert [ax.get_title() for ax in figure.axes[:3]] == [
        "z = -5.5 mm",
        "z = 5.0 mm",
        "z = 15.5 mm",
    ]
    assert figure.axes[0].get_aspect() == 1.5
    assert figure.axes[-1].get_xlabel() == SCALE.label


def test_a_region_in_slices_is_outlined_along_its_voxels_and_named_once():
    array = np.full((6, 6, 3), 0.3, np.float32)
    mask = np.zeros((6, 6, 3), np.float32)
    mask[2:4, 2, 1], mask[2, 2, 2] = 1, 1
    volume, roi = (nib.Nifti1Image(part, np.eye(4)) for part in (array, mask))
    figure = slice_mosaic(volume, SCALE, {"early": roi}, underlay=volume).figure
    below, middle, above = figure.axes[:3]
    assert len(segments(middle)) == 6  # two voxels side by side
    assert len(segments(above)) == 4
    assert len(segments(below)) == 0
    corners = segments(above).reshape(-1, 2)
    np.testing.assert_array_equal(
        np.unique(corners, axis=0), [[x, y] for x in (1.5, 2.5) for y in (1.5, 2.5)]
    )
    assert [text.get_text() for text in middle.texts] == ["early"]
    assert [text.get_text() for text in below.texts] == ["L", "R"]


def test_slices_that_cannot_be_shown_are_one_sentence():
    empty = nib.Nifti1Image(np.full((3, 3, 3), np.nan, np.float32), np.eye(4))
    with pytest.raises(UserError, match="No voxel of the map has a value"):
        slice_mosaic(empty, SCALE)
    volume = nib.Nifti1Image(np.ones((3, 3, 3), np.float32), np.eye(4))
    other = nib.Nifti1Image(np.ones((3, 3, 4), np.float32), np.eye(4))
    with pytest.raises(UserError, match="are on different grids"):
        slice_mosaic(volume, SCALE, underlay=other)
