import gzip
from itertools import product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from vox2pix.data import Subject, open_nsd
from vox2pix.encoding.maps import (
    finite_mean,
    sample_volume,
    save_map,
    to_surface,
    to_volume,
    volume_to_surface,
)
from vox2pix.errors import UserError
from vox2pix.phantom import simulate

SHAPE = (6, 7, 8)
AFFINE = np.array([[1.8, 0, 0, -9], [0, 1.8, 0, -80], [0, 0, 1.8, -16], [0, 0, 0, 1]])


def person(voxels, space="func1pt8mm", shape=SHAPE, affine=AFFINE):
    return Subject("subj01", pd.DataFrame(), voxels, space, None, None, shape, affine)


@pytest.fixture
def volume_subject():
    """Every voxel but the first slice."""
    places = [place for place in product(*map(range, SHAPE)) if place[0] > 0]
    return person(pd.DataFrame(places, columns=["x", "y", "z"]))


@pytest.fixture
def surface_subject():
    table = pd.DataFrame({"hemi": ["lh", "rh", "rh"], "vertex": [2, 0, 4]})
    return person(table, "fsaverage5", (5, 6), None)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return simulate(
        tmp_path_factory.mktemp("phantom") / "nsd", sessions=1, trials_per_session=30, n_shared=2,
        space="both", n_early=200, n_ventral=200, image_size=16,
    )  # fmt: skip


def test_a_volume_holds_each_value_at_its_voxel_and_nan_elsewhere(volume_subject):
    values = np.random.default_rng(0).normal(size=len(volume_subject.voxels))
    image = to_volume(volume_subject, values)
    array = np.asarray(image.dataobj)
    assert array.dtype == np.float32
    assert image.shape == SHAPE
    np.testing.assert_array_equal(image.affine, AFFINE)
    for (x, y, z), value in zip(volume_subject.voxels.to_numpy(), values, strict=True):
        assert array[x, y, z] == np.float32(value)
    assert np.isnan(array[0]).all()


def test_a_surface_holds_each_value_at_its_vertex_and_nan_elsewhere(surface_subject):
    surface = to_surface(surface_subject, [1.5, 2.5, 3.5])
    nan = np.nan
    np.testing.assert_array_equal(surface["lh"], [nan, nan, 1.5, nan, nan])
    np.testing.assert_array_equal(surface["rh"], [2.5, nan, nan, nan, 3.5, nan])


def test_a_region_saved_from_a_volume_is_the_one_in_the_label_image(phantom, tmp_path):
    subject = open_nsd(phantom, rois=("early", "ventral"))
    (path,) = save_map(subject, subject.voxels["early"], tmp_path, "early")
    assert path == tmp_path / "early.nii.gz"
    labels = nib.load(phantom / "nsddata/ppdata/subj01/func1pt8mm/roi/streams.nii.gz")
    saved = nib.load(path)
    np.testing.assert_array_equal(saved.get_fdata() == 1, labels.get_fdata() == 1)
    np.testing.assert_array_equal(saved.get_fdata() == 0, labels.get_fdata() == 5)
    np.testing.assert_allclose(saved.affine, labels.affine)


@pytest.mark.parametrize("form", ["gifti", "mgh"])
def test_a_region_saved_from_a_surface_is_the_one_in_the_label_image(phantom, tmp_path, form):
    subject = open_nsd(phantom, rois=("early", "ventral"), space="fsaverage5")
    paths = save_map(subject, subject.voxels["early"], tmp_path, "early", form)
    ending = "early.func.gii" if form == "gifti" else "early.mgh"
    assert paths == [tmp_path / f"lh.{ending}", tmp_path / f"rh.{ending}"]
    for hemi, path in zip(("lh", "rh"), paths, strict=True):
        image = nib.load(path)
        saved = image.agg_data() if form == "gifti" else image.get_fdata().ravel()
        label = phantom / f"nsddata/freesurfer/fsaverage5/label/{hemi}.streams.mgz"
        labels = nib.load(label).get_fdata().ravel()
        np.testing.assert_array_equal(saved == 1, labels == 1)
        np.testing.assert_array_equal(saved == 0, labels == 5)


def test_a_gifti_file_names_its_hemisphere_and_map(surface_subject, tmp_path):
    _, right = save_map(surface_subject, [1, 2, 3], tmp_path, "r")
    image = nib.load(right)
    assert image.meta["AnatomicalStructurePrimary"] == "CortexRight"
    assert image.darrays[0].meta["Name"] == "r"
    assert image.darrays[0].data.dtype == np.float32


def test_the_same_map_gives_the_same_bytes(volume_subject, surface_subject, tmp_path):
    for subject in (volume_subject, surface_subject):
        values = np.arange(len(subject.voxels))
        first = [path.read_bytes() for path in save_map(subject, values, tmp_path / "a", "r")]
        second = [path.read_bytes() for path in save_map(subject, values, tmp_path / "b", "r")]
        assert first == second
    compressed = (tmp_path / "a/r.nii.gz").read_bytes()
    assert compressed[4:8] == bytes(4)  # gzip's time stamp
    assert gzip.decompress(compressed)
    assert not list(tmp_path.rglob("*partial*"))


@pytest.mark.parametrize(
    ("change", "function", "words"),
    [
        ({}, to_surface, "'func1pt8mm', which is not a surface"),
        ({"affine": None}, to_volume, "has no affine"),
        ({"shape": None}, to_volume, "no voxel indices x, y, z"),
    ],
)
def test_a_space_that_does_not_fit_is_one_sentence(volume_subject, change, function, words):
    subject = person(volume_subject.voxels, **change)
    with pytest.raises(UserError, match=words):
        function(subject, np.zeros(len(subject.voxels)))


def test_a_surface_makes_no_volume(surface_subject):
    with pytest.raises(UserError, match="'fsaverage5', which has no voxel indices"):
        to_volume(surface_subject, [1, 2, 3])


def test_a_map_of_another_size_is_one_sentence(volume_subject, surface_subject, tmp_path):
    with pytest.raises(UserError, match=r"shape \(5,\) does not fit subj01, opened with 280 vox"):
        to_volume(volume_subject, np.zeros(5))
    with pytest.raises(UserError, match=r"shape \(2,\) does not fit subj01, opened with 3 vox"):
        save_map(surface_subject, np.zeros(2), tmp_path / "none", "r")
    assert not (tmp_path / "none").exists()


# --- to fsaverage --------------------------------------------------------------------------------


def naive_linear(volume, point):
    """Weights of the eight voxels around a point, without those that have no value."""
    if np.isnan(point).any() or (point < 0).any() or (point > np.array(volume.shape) - 1).any():
        return np.nan
    total = weight = 0.0
    corner = np.floor(point).astype(int)
    for offset in product((0, 1), repeat=3):
        place = corner + offset
        share = np.prod(1 - np.abs(place - point))
        if share > 0 and np.isfinite(volume[tuple(place)]):
            total += share * volume[tuple(place)]
            weight += share
    return total / weight if weight > 0.5 else np.nan


def test_linear_sampling_leaves_out_voxels_without_a_value():
    rng = np.random.default_rng(1)
    volume = rng.normal(size=SHAPE)
    volume[rng.random(SHAPE) < 0.3] = np.nan
    points = rng.uniform(-0.5, np.array(SHAPE) - 0.5, (300, 3))
    points[0] = np.nan
    expected = [naive_linear(volume, point) for point in points]
    assert 0.2 < np.isnan(expected).mean() < 0.8
    np.testing.assert_allclose(sample_volume(volume, points, "linear"), expected, rtol=1e-5)


def test_nearest_sampling_takes_the_voxel_itself():
    rng = np.random.default_rng(2)
    volume = rng.normal(size=SHAPE)
    volume[rng.random(SHAPE) < 0.3] = np.nan
    points = rng.uniform(0, np.array(SHAPE) - 1, (300, 3))
    expected = volume[tuple(np.rint(points).astype(int).T)]
    np.testing.assert_array_equal(
        sample_volume(volume, points, "nearest"), expected.astype(np.float32)
    )


def test_the_mean_is_over_what_is_there():
    rows = [[1, np.nan, np.nan], [3, 5, np.nan]]
    np.testing.assert_array_equal(finite_mean(rows), [2, 5, np.nan])


@pytest.fixture
def transforms(tmp_path):
    """NSD's transform files of a subject with 50 vertices of its own, and what is in them."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "nsddata/ppdata/subj01/transforms"
    folder.mkdir(parents=True)
    points, nearest = {}, {}
    for hemi in ("lh", "rh"):
        for layer in ("layerB1", "layerB2", "layerB3"):
            inside = rng.uniform([2, 1, 1], SHAPE, (50, 3)).astype(np.float32)  # counted from 1
            inside[:5] = 9999
            points[hemi, layer] = inside
            image = nib.MGHImage(inside.reshape(50, 1, 1, 3), np.eye(4))
            nib.save(image, folder / f"{hemi}.func1pt8-to-{layer}.mgz")
        nearest[hemi] = rng.integers(1, 51, 163_842).astype(np.int32)
        image = nib.MGHImage(nearest[hemi].reshape(-1, 1, 1), np.eye(4))
        nib.save(image, folder / f"{hemi}.white-to-fsaverage.mgz")
    return SimpleNamespace(root=tmp_path, folder=folder, points=points, nearest=nearest)


@pytest.mark.parametrize("layers", [("layerB1", "layerB2", "layerB3"), ("layerB2",)])
def test_a_linear_volume_arrives_on_fsaverage_as_it_was(transforms, volume_subject, layers):
    for path in transforms.folder.glob("*-to-layer*"):
        if not any(layer in path.name for layer in layers):
            path.unlink()
    # a function that linear interpolation reproduces, of coordinates counted from 0
    values = volume_subject.voxels.to_numpy() @ [1.0, 10.0, 100.0]
    surface = volume_to_surface(volume_subject, values, transforms.root)
    for hemi in ("lh", "rh"):
        own = [(transforms.points[hemi, layer] - 1) @ [1.0, 10.0, 100.0] for layer in layers]
        expected = np.mean(own, axis=0)
        expected[:5] = np.nan
        assert surface[hemi].shape == (163_842,)
        np.testing.assert_allclose(surface[hemi], expected[transforms.nearest[hemi] - 1], rtol=1e-5)


def test_a_region_arrives_on_fsaverage_without_new_values(transforms, volume_subject):
    for path in transforms.folder.glob("*-to-layerB[13]*"):
        path.unlink()
    inside = (volume_subject.voxels["y"] > 3).to_numpy()
    surface = volume_to_surface(volume_subject, inside, transforms.root, "nearest")
    own = np.rint(transforms.points["rh", "layerB2"][:, 1] - 1) > 3
    expected = np.where(np.arange(50) < 5, np.nan, own)[transforms.nearest["rh"] - 1]
    np.testing.assert_array_equal(surface["rh"], expected)


def test_transforms_that_do_not_serve_are_one_sentence(transforms, volume_subject, surface_subject):
    values = np.zeros(len(volume_subject.voxels))
    with pytest.raises(UserError, match="'fsaverage5'; transforms to fsaverage start from func1"):
        volume_to_surface(surface_subject, [1, 2, 3], transforms.root)
    with pytest.raises(UserError, match=r"lh.func1pt8-to-layerB2.mgz does not exist: add NSD's"):
        volume_to_surface(volume_subject, values, transforms.root / "elsewhere")
    path = transforms.folder / "lh.white-to-fsaverage.mgz"
    nib.save(nib.MGHImage(np.full((163_842, 1, 1), 51, np.int32), np.eye(4)), path)
    with pytest.raises(UserError, match=r"51 to 51, lh.func1pt8-to-layerB1.mgz has 1 to 50"):
        volume_to_surface(volume_subject, values, transforms.root)
    path = transforms.folder / "lh.func1pt8-to-layerB1.mgz"
    nib.save(nib.MGHImage(np.zeros((50, 1, 1), np.float32), np.eye(4)), path)
    with pytest.raises(UserError, match=r"has shape \(50, 1, 1\), not \(n_vertices, 1, 1, 3\)"):
        volume_to_surface(volume_subject, values, transforms.root)
