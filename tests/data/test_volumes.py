"""Partial reads of HDF5, NIfTI and MGH files against whole ones."""

import tracemalloc

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.volumes import (
    image_shape,
    load_image,
    read_hdf5,
    read_mgh,
    read_nifti,
    require_finite,
)
from vox2pix.errors import UserError


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_hdf5_reads_the_voxels_asked_for_whatever_the_chunks(tmp_path_factory, data):
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(4))
    chunks = data.draw(st.none() | st.tuples(*(st.integers(1, n) for n in shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.integers(-9999, 9999, shape).astype(np.int16)
    path = tmp_path_factory.mktemp("h5") / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values, chunks=chunks)
    n = data.draw(st.integers(0, 12))
    voxels = np.column_stack([rng.integers(0, size, n) for size in shape[:0:-1]])
    got = read_hdf5(path, voxels)
    x, y, z = voxels.T
    np.testing.assert_array_equal(got, values[:, z, y, x])
    assert got.dtype == np.int16


def test_nifti_reads_a_span_of_trials(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    voxels = np.array([[2, 3, 4], [0, 1, 2]])
    got = read_nifti(tmp_path / "a.nii.gz", voxels, slice(2, 6))
    np.testing.assert_array_equal(got, np.stack([values[2, 3, 4, 2:6], values[0, 1, 2, 2:6]], 1))


def test_a_scale_in_the_header_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(24).reshape(2, 3, 2, 2).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 1)
    nib.save(image, tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").get_fdata()
    got = read_nifti(tmp_path / "a.nii", np.array([[1, 2, 1]]))
    np.testing.assert_allclose(got[:, 0], expected[1, 2, 1])


def test_mgh_with_one_trial_axis(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 1, 1, 4)).astype(np.float32)
    nib.save(nib.MGHImage(values, np.eye(4)), tmp_path / "a.mgh")
    got = read_mgh(tmp_path / "a.mgh", np.array([19, 0, 3]))
    np.testing.assert_array_equal(got, values[[19, 0, 3], 0, 0].T)


@pytest.mark.parametrize("kind", ["contiguous", "slabs", "nifti"])
def test_memory_stays_below_the_volume(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("vox2pix.data.volumes._BLOCK_BYTES", 2**20)
    values = np.zeros((200, 30, 40, 40), np.int16)
    voxels = np.argwhere(np.random.default_rng(0).random((40, 40, 30)) < 0.02)
    if kind == "nifti":
        path = tmp_path / "a.nii"
        nib.save(nib.Nifti1Image(values.transpose(3, 2, 1, 0), np.eye(4)), path)
    else:
        path = tmp_path / "a.hdf5"
        with h5py.File(path, "w") as file:
            chunks = (200, 1, 40, 40) if kind == "slabs" else None
            file.create_dataset("betas", data=values, chunks=chunks)
    whole = values.nbytes
    del values
    tracemalloc.start()
    (read_nifti if kind == "nifti" else read_hdf5)(path, voxels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 4


def test_damage_is_named(tmp_path):
    bad = tmp_path / "a.nii.gz"
    with pytest.raises(UserError, match=r"a\.nii\.gz does not exist"):
        image_shape(bad)
    bad.write_bytes(b"not an image")
    with pytest.raises(
        UserError, match=r"a\.nii\.gz is no image, it is text that begins with 'not an"
    ):
        load_image(bad)


def test_require_finite(tmp_path):
    betas = np.full((3, 2), 3e38, np.float32)
    require_finite(betas, tmp_path, 1)  # large, but finite
    require_finite(np.ones((2, 2), np.int16), tmp_path, 1)
    betas[1, 1], betas[2, 0] = np.inf, -np.inf
    with pytest.raises(UserError, match=r"2 NaN or infinite .* trial 2 of session 5, voxel 2 "):
        require_finite(betas, tmp_path, 5)
