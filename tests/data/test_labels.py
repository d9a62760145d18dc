"""Masks, label images and maps as tools save them, against the numbers that were meant."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.faults import Faults
from vox2pix.data.labels import (
    Grid,
    read_grid,
    read_label_image,
    read_map,
    read_mask,
    require_same_grid,
)
from vox2pix.errors import UserError

AFFINE = np.array([[1.8, 0, 0, -70], [0, 1.8, 0, -90], [0, 0, 1.8, -60], [0, 0, 0, 1]])
INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float32", "float64"]


def save(path, values, affine=AFFINE, stored=None):
    """Save as nibabel does when a header's type differs from that of the array."""
    image = nib.Nifti1Image(values, affine)
    if stored is not None:
        image.header.set_data_dtype(stored)
    nib.save(image, path)
    return path


def labels(path, **options):
    faults = Faults()
    return read_label_image(path, faults, **options), faults.notes


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_labels_survive_any_type_and_slope(tmp_path_factory, data):
    """Saved as floats under a header of any type: read back as the numbers that were meant."""
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    highest = data.draw(st.integers(1, 60))
    lowest = data.draw(st.sampled_from([0, -1]))
    meant = rng.integers(lowest, highest + 1, (3, 4, 5))
    stored = data.draw(st.sampled_from([*INTEGERS, *FLOATS]))
    array = meant.astype(data.draw(st.sampled_from(["int16", "float32", "float64"])))
    if data.draw(st.booleans()):
        array = array[..., None]  # a fourth axis of length 1
    path = tmp_path_factory.mktemp("labels") / data.draw(st.sampled_from(["a.nii", "a.nii.gz"]))
    if array.dtype.kind == "i" and not (
        np.issubdtype(np.dtype(stored), np.floating) or np.iinfo(stored).min <= lowest
    ):
        stored = "int16"
    save(path, array, stored=stored)
    image, _ = labels(path)
    np.testing.assert_array_equal(image.values, np.maximum(meant, 0))
    np.testing.assert_allclose(image.grid.affine, AFFINE, atol=1e-5)
    assert image.grid.shape == (3, 4, 5)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_slopes_are_undone_or_refused(tmp_path_factory, data):
    """Integers under a slope and an intercept: whole numbers within its step, or a refusal."""
    slope = data.draw(st.floats(1e-4, 3))
    meant = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 8, (3, 3, 3))
    raw = np.rint(meant / slope)
    path = tmp_path_factory.mktemp("slopes") / "a.nii"
    image = nib.Nifti1Image(raw.astype(np.int32), AFFINE)
    image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    try:
        read_values = labels(path)[0].values
    except UserError as error:
        assert "no whole number" in str(error)
        assert slope > 2e-3  # a finer step always gives the number that was meant
    else:
        away = np.abs(read_values - raw * np.float32(slope))
        assert away.max() <= max(1e-3, 0.2501)
        if slope < 0.5:
            np.testing.assert_array_equal(read_values, meant)


def test_an_atlas_saved_by_nibabels_usual_idiom(tmp_path):
    """float64 under an int16 header gives 4.99997 for 5 and 1.5e-05 for 0."""
    meant = np.arange(-1, 7, dtype=np.int16).reshape(2, 2, 2)
    first = save(tmp_path / "a.nii.gz", meant)
    image = nib.load(first)
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine, image.header), first)
    raw = np.asarray(nib.load(first).dataobj)
    assert (raw != meant).any()  # the fault is there
    np.testing.assert_array_equal(labels(first)[0].values, np.maximum(meant, 0))


def test_probabilities_are_refused(tmp_path):
    values = np.zeros((2, 2, 2), np.float32)
    values[0, 0] = 0.3, 0.7
    path = save(tmp_path / "p.nii.gz", values)
    for read in (read_label_image, read_mask):
        with pytest.raises(
            UserError,
            match=r"p\.nii\.gz holds 2 values that are no whole numbers, the first 0\.3: .*"
            r"threshold for probabilities",
        ):
            read(path, Faults())
    values[0, 0, 1] = 1
    with pytest.raises(UserError, match=r"holds 1 value that is no whole number"):
        read_mask(save(path, values), Faults())
    with pytest.raises(UserError, match=r"whole numbers?, the first 0\.29"):
        read_mask(save(path, values, stored=np.uint8), Faults())


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_labels_are_refused(tmp_path, value):
    values = np.zeros((2, 2, 2), np.float32)
    values[1, 1, 1] = value
    with pytest.raises(UserError, match=r"1 value that is no whole number, the first -?inf"):
        labels(save(tmp_path / "a.nii", values))


def test_nan_and_negative_values_are_outside(tmp_path):
    values = np.array([np.nan, -1, 0, 1, 2, np.nan, -5, 3], np.float32).reshape(2, 2, 2)
    path = save(tmp_path / "a.nii.gz", values)
    image, notes = labels(path)
    np.testing.assert_array_equal(image.values.ravel(), [0, 0, 0, 1, 2, 0, 0, 3])
    assert notes == (
        f"{path} holds 2 NaN values: they count as outside.",
        f"{path} holds 1 value below -1 (the lowest -5): they count as outside.",
    )
    faults = Faults()
    mask = read_mask(path, faults)
    np.testing.assert_array_equal(mask.values.ravel(), [0, 0, 0, 1, 1, 0, 0, 1])
    assert faults.notes == (
        f"{path} holds 2 NaN values: they count as outside.",
        f"{path} holds 2 values below 0: they count as outside.",
        f"{path} holds 3 different values above 0 (1, 2, 3): all of them count as inside.",
    )


@pytest.mark.parametrize("inside", [1, 255, 7])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_masks_of_one_value(tmp_path, inside, dtype):
    values = np.zeros((2, 2, 2), dtype)
    values[0] = inside
    faults = Faults()
    mask = read_mask(save(tmp_path / "m.nii", values), faults)
    np.testing.assert_array_equal(mask.values, values > 0)
    assert faults.notes == ()


@pytest.mark.parametrize(
    ("dtype", "wrapped"),
    [("uint8", 255), ("uint16", 65535), ("int32", 255), ("uint32", 2**32 - 1), ("float32", 65535)],
)
def test_minus_one_without_its_sign_is_refused(tmp_path, dtype, wrapped):
    values = np.array([wrapped, 0, 1, 2, 3, 4, 5, wrapped], dtype).reshape(2, 2, 2)
    path = save(tmp_path / "a.nii", values)
    for read in (read_label_image, read_mask):
        with pytest.raises(UserError, match=rf"holds {wrapped} in 2 places, .*labels up to 5: mo"):
            read(path, Faults())
    if wrapped < 2**31:  # a label table may name it
        assert labels(path, in_table=[wrapped])[0].values.max() == wrapped


def test_labels_up_to_255_are_no_wrapped_ones(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.testing.assert_array_equal(labels(save(tmp_path / "a.nii", values))[0].values, values)


@pytest.mark.parametrize("value", [2**40, -(2**40), 1e30])
def test_labels_beyond_32_bits_are_refused(tmp_path, value):
    values = np.array([0, 1, 2, value], np.float64)
    with pytest.raises(UserError, match="1 value beyond 32 bits"):
        labels(save(tmp_path / "a.nii", values.reshape(2, 2, 1)))


@pytest.mark.parametrize("shape", [(4, 4), (2, 2, 2, 3), (8,)])
def test_what_is_no_volume_is_refused(tmp_path, shape):
    path = save(tmp_path / "a.nii", np.ones(shape, np.int16))
    with pytest.raises(UserError, match=r"not \(X, Y, Z\): give one volume"):
        labels(path)


def test_surfaces(tmp_path):
    values = np.arange(-1, 9, dtype=np.float32)
    for shape in ((10, 1, 1), (1, 10, 1)):
        path = tmp_path / "lh.a.mgz"
        nib.save(nib.MGHImage(values.reshape(shape), np.eye(4)), path)
        image, _ = labels(path, surface=True)
        np.testing.assert_array_equal(image.values, np.maximum(values, 0))
        assert image.grid.affine is None
    nib.save(nib.MGHImage(values.reshape(5, 2, 1), np.eye(4)), path)
    with pytest.raises(UserError, match=r"lh\.a\.mgz has shape \(5, 2, 1\), not one value per"):
        labels(path, surface=True)


def test_maps_are_read_as_they_are(tmp_path):
    values = np.array([0.3, -1, np.nan, np.inf], np.float32).reshape(2, 2, 1, 1)
    image = read_map(save(tmp_path / "m.nii", values), Faults())
    np.testing.assert_array_equal(image.values, values.astype(float)[..., 0])


# where the voxels lie


def grid(affine, shape=(6, 4, 5), name="a.nii"):
    return Grid(name, shape, affine)


def corner_distance(one, other, shape):
    """Return the largest distance of a voxel's middle, voxel by voxel."""
    distances = []
    for index in np.ndindex(*shape):
        places = [nib.affines.apply_affine(affine, index) for affine in (one, other)]
        distances.append(np.linalg.norm(places[0] - places[1]))
    return max(distances)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-6, 1))
def test_grids_are_the_same_within_a_hundredth_of_a_voxel(seed, exponent):
    rng = np.random.default_rng(seed)
    other = AFFINE.copy()
    other[:3] += rng.normal(size=(3, 4)) * 10**exponent
    away = corner_distance(AFFINE, other, (6, 4, 5))
    if 0.01 < away / 0.018 < 0.999:
        require_same_grid(grid(AFFINE), grid(other), Faults())
    elif away > 0.018001:
        with pytest.raises(UserError, match=r"a\.nii is (turned|shifted)"):
            require_same_grid(grid(AFFINE), grid(other), Faults())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_images_are_refused_with_both_files(axis):
    flipped = AFFINE.copy()
    flipped[:3, 3] += flipped[:3, axis] * ((6, 4, 5)[axis] - 1)
    flipped[:3, axis] *= -1
    for by_index in (False, True):
        with pytest.raises(
            UserError,
            match=r"a\.nii is turned, flipped or scaled against b\.nii .*axes \w{3} and RAS.*"
            "resample .*nibabel.as_closest_canonical",
        ):
            require_same_grid(grid(flipped), grid(AFFINE, name="b.nii"), Faults(), by_index)


def test_shifted_images_are_refused_or_noted():
    moved = AFFINE.copy()
    moved[0, 3] += 3.6
    with pytest.raises(UserError, match=r"a\.nii is shifted against b\.nii \(up to 3\.6 mm"):
        require_same_grid(grid(moved), grid(AFFINE, name="b.nii"), Faults())
    faults = Faults()
    require_same_grid(grid(moved), grid(AFFINE, name="b.nii"), faults, by_index=True)
    assert "a.nii and b.nii have origins 3.6 mm apart" in faults.notes[0]


def test_images_of_other_shapes_are_refused():
    with pytest.raises(UserError, match=r"a\.nii has shape \(6, 4, 5\), b\.nii has \(6, 4, 4\)"):
        require_same_grid(grid(AFFINE), grid(AFFINE, (6, 4, 4), "b.nii"), Faults())


def test_an_image_without_an_affine_says_nothing(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((2, 2, 2), np.int16), affine=None)
    assert read_grid(path, Faults()).affine is None
    require_same_grid(grid(None), grid(AFFINE), Faults())
    require_same_grid(grid(AFFINE), grid(None), Faults())


def test_two_affines_in_one_header_are_noted(tmp_path):
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.int16), AFFINE)
    flipped = AFFINE * np.array([[-1, 1, 1, 1]] * 4)
    image.header.set_sform(AFFINE, 1)
    image.header.set_qform(flipped, 1)
    nib.save(image, tmp_path / "a.nii")
    faults = Faults()
    np.testing.assert_allclose(read_grid(tmp_path / "a.nii", faults).affine, AFFINE, atol=1e-5)
    assert faults.notes == (f"{tmp_path / 'a.nii'} has a qform and an sform that differ: the sform "
                            "is used.",)  # fmt: skip
    image.header.set_sform(AFFINE, 4)  # another space: they may differ
    nib.save(image, tmp_path / "a.nii")
    faults = Faults()
    read_grid(tmp_path / "a.nii", faults)
    assert faults.notes == ()


@pytest.mark.parametrize("broken", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_affine_that_places_nothing_is_refused(tmp_path, broken):
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.int16), AFFINE)
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[280:328] = broken[:3].astype(np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(UserError, match=r"a\.nii has an affine that places no voxels"):
        read_grid(tmp_path / "a.nii", Faults())


def test_a_damaged_image_is_named(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.ones((20, 20, 20), np.int16))
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole)[:-30])
    with pytest.raises(UserError, match=r"a\.nii\.gz "):
        labels(path)
