"""Sound files of other libraries are read as they were written, in all usual variants."""

import os
import struct
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
import zarr
from PIL import Image
from scipy.io import savemat

from vox2pix.errors import UserError
from vox2pix.untrusted import files as rules
from vox2pix.untrusted.files import ALLOWED_FOLDERS, require_inside
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.images import open_image
from vox2pix.untrusted.matlab import is_matlab_hdf5, read_matlab
from vox2pix.untrusted.models import check_model_folder
from vox2pix.untrusted.numpy_files import NpzFile, open_npy
from vox2pix.untrusted.safetensors_files import check_safetensors
from vox2pix.untrusted.text import read_json
from vox2pix.untrusted.torch_files import load_tensors
from vox2pix.untrusted.volumes import open_volume, reading_volume
from vox2pix.untrusted.zarr_folders import open_zarr

VALUES = np.random.default_rng(3).normal(size=(12, 10)).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (4, 5)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"chunks": True, "maxshape": (None, 10)},
        {"chunks": (4, 10), "scaleoffset": 4},
        {"compression": "szip"},
    ],
    ids=str,
)
def test_hdf5(tmp_path, options):
    if options.get("compression") == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 has no szip")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/values", data=VALUES, **options)
    with open_hdf5(tmp_path / "a.h5", "group/values") as array:
        np.testing.assert_allclose(array[:], VALUES, atol=1e-4 if "scaleoffset" in options else 0)


def test_hdf5_leaves_the_places_of_plugins_as_they_are(tmp_path):
    places = [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"] = VALUES
    with (
        open_hdf5(tmp_path / "a.h5", "values"),
        pytest.raises(UserError, match="no array 'x'"),
        open_hdf5(tmp_path / "a.h5", "x"),
    ):
        pass
    assert [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())] == places


@pytest.mark.parametrize("packer", [None, "blosc", "zstd", "gzip", "zlib", "lz4"])
@pytest.mark.parametrize("filters", [(), ("shuffle",), ("delta", "crc32c"), ("fixedscaleoffset",)])
def test_zarr_version_2(tmp_path, packer, filters):
    settings = {
        "delta": {"dtype": "<f4"},
        "fixedscaleoffset": {"offset": 0, "scale": 1000, "dtype": "<f4"},
    }
    import numcodecs

    chain = [numcodecs.get_codec({"id": name, **settings.get(name, {})}) for name in filters]
    zarr.create_array(
        tmp_path / "a.zarr",
        data=VALUES,
        chunks=(5, 4),
        zarr_format=2,
        filters=chain or None,
        compressors=packer and numcodecs.get_codec({"id": packer}),
    )
    np.testing.assert_allclose(open_zarr(tmp_path / "a.zarr")[:], VALUES, atol=6e-4)


@pytest.mark.parametrize("shards", [None, (10, 8)])
@pytest.mark.parametrize("codec", ["BloscCodec", "ZstdCodec", "GzipCodec", "Crc32cCodec", None])
def test_zarr_version_3(tmp_path, codec, shards):
    packer = codec and getattr(zarr.codecs, codec)()
    zarr.create_array(
        tmp_path / "a.zarr", data=VALUES, chunks=(5, 4), shards=shards, compressors=packer
    )
    array = open_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(array[:], VALUES)
    np.testing.assert_array_equal(array[3:4], VALUES[3:4])


def test_a_zarr_group_gives_its_arrays(tmp_path):
    for version in (2, 3):
        group = zarr.open_group(tmp_path / f"{version}.zarr", mode="w", zarr_format=version)
        group.create_array("images", data=VALUES)
        group.create_array("ids", data=np.array(["a", "bb"], np.dtypes.StringDType()))
        zarr.consolidate_metadata(tmp_path / f"{version}.zarr")
        opened = open_zarr(tmp_path / f"{version}.zarr")
        np.testing.assert_array_equal(opened["images"][:], VALUES)
        assert list(np.asarray(opened["ids"][:])) == ["a", "bb"]


def test_numpy(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(VALUES))
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy"), VALUES)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", values=VALUES, ids=["a", "b"])
        opened = NpzFile(tmp_path / "a.npz")
        np.testing.assert_array_equal(opened["values"][3:], VALUES[3:])
        assert list(np.asarray(opened["ids"])) == ["a", "b"]


def test_what_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", values=np.zeros(1000))
    monkeypatch.setattr(rules, "free_memory", lambda: 5000)
    with pytest.raises(UserError, match=r"unpacks to .* save the array as npy"):
        NpzFile(tmp_path / "a.npz")["values"][:]


@pytest.mark.parametrize("legacy", [True, False])
def test_torch(tmp_path, legacy):
    content = {"images": torch.from_numpy(VALUES), "ids": ["a", "b"], "n": 3}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    opened = load_tensors(tmp_path / "a.pt")
    np.testing.assert_array_equal(opened["images"].numpy(), VALUES)
    assert opened["ids"] == ["a", "b"]


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    tensors = {
        "a": torch.zeros(3, 2, dtype=torch.bfloat16),
        "b": torch.zeros(0, 4),
        "c": torch.ones(1),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    header = check_safetensors(tmp_path / "a.safetensors")
    assert {n: s for n, (_, s) in header.items()} == {n: tuple(t.shape) for n, t in tensors.items()}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("version", ["4", "5"])
def test_matlab(tmp_path, version, packed):
    if version == "4" and packed:
        pytest.skip("version 4 is never packed")
    content = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((1, 2), np.float64)}
    savemat(tmp_path / "a.mat", content, format=version, do_compression=packed)
    np.testing.assert_array_equal(read_matlab(tmp_path / "a.mat", ["a", "no"])["a"], content["a"])
    assert not is_matlab_hdf5(tmp_path / "a.mat")


def test_matlab_version_73_is_recognised(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["a"] = VALUES
    assert is_matlab_hdf5(tmp_path / "a.mat")
    with open_hdf5(tmp_path / "a.mat", "a") as array:
        np.testing.assert_array_equal(array[:], VALUES)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti(tmp_path, kind, name, order):
    values = VALUES[:, :, None].astype(f"{order}f4")
    image = kind(values, np.diag([2, 2, 2, 1]), kind.header_class(endianness=order))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"from a lab"))
    nib.save(image, tmp_path / name)
    assert open_volume(tmp_path / name).shape == values.shape
    with reading_volume(tmp_path / name) as opened:
        assert type(opened) is kind
        np.testing.assert_array_equal(np.asarray(opened.dataobj), values)


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_mgh(tmp_path, name):
    nib.save(nib.MGHImage(VALUES[:, :, None], np.eye(4)), tmp_path / name)
    with reading_volume(tmp_path / name) as opened:
        np.testing.assert_array_equal(np.asarray(opened.dataobj), VALUES[:, :, None])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA"])
def test_png(tmp_path, mode):
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(mode)
    image.save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as opened:
        assert opened.tobytes() == image.tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}])
def test_jpeg(tmp_path, options):
    for mode in ("RGB", "L", "CMYK"):
        Image.new(mode, (8, 8)).save(tmp_path / "a.jpg", **options)
        with open_image(tmp_path / "a.jpg") as opened:
            assert opened.size == (8, 8)


def test_json(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, "é", null]}')
    assert read_json(tmp_path / "a.json", unique=True) == {"a": [1, 2.5, "é", None]}


# --- links ---------------------------------------------------------------------------------------


def test_links_within_the_folder_and_to_the_folder_are_followed(tmp_path):
    root = tmp_path / "data"
    (root / "raw").mkdir(parents=True)
    (root / "raw" / "a.npy").write_bytes(b"")
    (root / "a.npy").symlink_to("raw/a.npy")
    (tmp_path / "link").symlink_to(root)
    require_inside(root, [root / "a.npy"])
    require_inside(tmp_path / "link", [tmp_path / "link" / "a.npy"])


def test_links_of_datalad_are_followed(tmp_path):
    """git-annex keeps content read-only below .git/annex/objects of the whole data set."""
    content = tmp_path / "set/.git/annex/objects/x/y/KEY/KEY"
    content.parent.mkdir(parents=True)
    np.save(content.with_suffix(".npy"), VALUES)
    folder = tmp_path / "set/sub-01"
    folder.mkdir()
    (folder / "a.npy").symlink_to(os.path.relpath(content.with_suffix(".npy"), folder))
    require_inside(folder, [folder / "a.npy"])
    np.testing.assert_array_equal(open_npy(folder / "a.npy"), VALUES)


def test_links_out_of_the_folder_are_refused_but_where_allowed_by_name(tmp_path, monkeypatch):
    for name in ("data", "disk", "disk2"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk/betas").mkdir()
    (tmp_path / "data/betas").symlink_to(tmp_path / "disk/betas")
    path = tmp_path / "data/betas/session.h5"
    (tmp_path / "disk/betas/session.h5").write_bytes(b"")
    with pytest.raises(UserError, match=rf"is a link to .*disk.*{ALLOWED_FOLDERS}"):
        require_inside(tmp_path / "data", [path])
    monkeypatch.setenv(ALLOWED_FOLDERS, str(tmp_path / "disk2"))
    with pytest.raises(UserError, match="is a link to"):
        require_inside(tmp_path / "data", [path])
    monkeypatch.setenv(ALLOWED_FOLDERS, f"{tmp_path / 'disk2'}{os.pathsep}{tmp_path / 'disk'}")
    require_inside(tmp_path / "data", [path])


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    model = tmp_path / "models--a--b"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots/1").mkdir(parents=True)
    header = b"{}"
    (model / "blobs/w").write_bytes(struct.pack("<Q", len(header)) + header)
    (model / "blobs/c").write_text("{}")
    for name, blob in (("config.json", "c"), ("model.safetensors", "w")):
        (model / "snapshots/1" / name).symlink_to(Path("../../blobs") / blob)
    check_model_folder(model / "snapshots/1", "model")
