"""Data in a bucket equal those on disk, and little of them is moved."""

import h5py
import numpy as np
import pandas as pd
import pytest

from buckets.server import Fault
from vox2pix.data import check, open_folder, open_nsd
from vox2pix.errors import UserError

ROIS = ("early", "ventral")


def assert_equal(here, there):
    pd.testing.assert_frame_equal(there.trials, here.trials)
    pd.testing.assert_frame_equal(there.voxels, here.voxels)
    ids = here.test.stimulus_ids
    assert there.captions(ids) == here.captions(ids)
    np.testing.assert_array_equal(there.images(ids), here.images(ids))
    for split in ("train", "test"):
        expected = getattr(here, split).betas()
        assert getattr(there, split).betas().tobytes() == expected.tobytes()


def in_bucket(s3, root):
    bucket = s3.new_bucket()
    s3.upload(root, bucket)
    s3.proxy.reset()
    return f"s3://{bucket}"


@pytest.mark.parametrize("volume", ["hdf5", "nifti"])
def test_a_subject_in_a_bucket_equals_the_one_on_disk(s3, nsd, volume):
    tree = nsd(volume=volume)
    url = in_bucket(s3, tree.root)
    assert_equal(open_nsd(tree.root, rois=ROIS), open_nsd(url, rois=ROIS))


def test_surface_responses_in_a_bucket_equal_those_on_disk(s3, nsd):
    tree = nsd(surface=True)
    url = in_bucket(s3, tree.root)
    here, there = (
        open_nsd(root, rois=ROIS, space="fsaverage5", sessions=[1]) for root in (tree.root, url)
    )
    assert_equal(here, there)
    assert not s3.proxy.asked("betas_session02")


def test_only_the_blocks_of_the_voxels_wanted_are_moved_and_only_once(s3, nsd, tmp_path):
    tree = nsd()
    path = tree.folder / "betas_session01.hdf5"
    shape = (750, 7, 60, 60)  # chunked as NSD's: all trials of a voxel together, 38 MB
    with h5py.File(path, "w") as file:
        betas = file.create_dataset("betas", shape, np.int16, chunks=(750, 1, 1, 1))
        betas[:] = np.random.default_rng(0).integers(-999, 999, shape, dtype=np.int16)
    url = in_bucket(s3, tree.folder)
    from vox2pix.buckets import as_path
    from vox2pix.data.volumes import read_hdf5

    voxels = np.argwhere(np.ones((12, 8, 3), bool)) + np.array(
        [20, 5, 2]
    )  # some rows of three slices
    file = as_path(f"{url}/betas_session01.hdf5")
    values = read_hdf5(file, voxels)
    assert values.tobytes() == read_hdf5(path, voxels).tobytes()
    moved, size = s3.proxy.sent("session01"), path.stat().st_size
    assert moved < 0.2 * size
    s3.proxy.reset()
    assert read_hdf5(file, voxels).tobytes() == values.tobytes()
    assert not s3.proxy.sent("session01")


def test_a_file_that_changed_in_the_bucket_is_read_anew(s3, nsd):
    from vox2pix.buckets import as_path, local_copy

    bucket = s3.new_bucket()
    s3.client.put_object(Bucket=bucket, Key="a.csv", Body=b"one")
    path = as_path(f"s3://{bucket}/a.csv")
    assert local_copy(path).read_bytes() == b"one"
    s3.client.put_object(Bucket=bucket, Key="a.csv", Body=b"two")
    assert local_copy(path).read_bytes() == b"two"


@pytest.mark.parametrize("kind", ["unavailable", "cut"])
def test_requests_that_fail_now_and_then_are_repeated(s3, nsd, kind):
    tree = nsd()
    url = in_bucket(s3, tree.root)
    s3.proxy.delay = 0.01
    s3.proxy.faults += [Fault(kind, "betas_session", times=2), Fault(kind, "expdesign", times=1)]
    assert_equal(open_nsd(tree.root, rois=ROIS), open_nsd(url, rois=ROIS))
    assert not any(fault.times for fault in s3.proxy.faults)


def test_a_bucket_that_never_answers_is_one_sentence_and_no_missing_file(s3, nsd, monkeypatch):
    tree = nsd()
    url = in_bucket(s3, tree.root)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    for match in ("ncsnr", "betas_session01"):
        s3.proxy.faults[:] = [
            Fault("unavailable", match, method, times=999) for method in ("GET", "HEAD")
        ]
        with pytest.raises(UserError, match=r"cannot be reached, though it was tried .* network"):
            open_nsd(url, rois=ROIS)


def test_no_bucket_no_access_and_no_network_are_told_apart(s3, nsd, monkeypatch):
    with pytest.raises(UserError, match="there is no such bucket"):
        open_nsd("s3://not-here-at-all")
    url = in_bucket(s3, nsd().root)
    s3.proxy.faults.append(Fault("denied", times=999))
    with pytest.raises(UserError, match=r"access is denied.*AWS_PROFILE"):
        open_nsd(url)
    s3.proxy.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(UserError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        open_nsd("s3://elsewhere")


@pytest.mark.parametrize("attempts", ["many", "0", "-1", "1.5"])
def test_a_number_of_attempts_that_is_none_is_one_sentence(attempts, monkeypatch):
    from vox2pix.buckets import as_path

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    with pytest.raises(UserError, match=rf"AWS_MAX_ATTEMPTS is '{attempts}': give a whole number"):
        as_path("s3://bucket/folder")


def test_data_are_asked_for_without_credentials_unless_there_are_some(s3, nsd, monkeypatch):
    from vox2pix.buckets import as_path

    assert not as_path("s3://open-data").storage_options["anon"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", "/nowhere")
    assert as_path("s3://open-data").storage_options["anon"]


@pytest.mark.parametrize("form", ["npy", "npz", "h5", "zarr", "zarr-group"])
def test_a_folder_of_ones_own_in_a_bucket_equals_the_one_on_disk(s3, folder, form):
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(6, 5)).astype(np.float32)
    root = folder(
        betas, list("abcabd"), form, split=["train"] * 2 + ["test"] + ["train"] * 2 + ["test"]
    )
    root.joinpath("trials.csv").write_text(
        root.joinpath("trials.csv").read_text().replace("c,", "e,")
    )
    here, there = open_folder(root), open_folder(in_bucket(s3, root))
    pd.testing.assert_frame_equal(there.trials, here.trials)
    assert there.train.betas().tobytes() == here.train.betas().tobytes()
    ids = here.train.stimulus_ids
    np.testing.assert_array_equal(there.images(ids), here.images(ids))


def test_the_check_reads_a_bucket_too(s3, nsd):
    tree = nsd()
    url = in_bucket(s3, tree.root)
    here, there = check(tree.root), check(url)
    assert (there.layout, there.train, there.rois, there.ncsnr) == (
        here.layout, here.train, here.rois, here.ncsnr,
    )  # fmt: skip


def test_other_kinds_of_url_are_read_too(nsd):
    tree = nsd()
    pytest.importorskip("upath")
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(tree.root), "/tree", recursive=True)
    here = open_nsd(tree.root, rois=ROIS)
    assert_equal(here, open_nsd("memory://tree", rois=ROIS))
    assert_equal(here, open_nsd(f"file://{tree.root}", rois=ROIS))
    memory.rm("/tree", recursive=True)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    import sys

    for name in ("s3fs", "upath", "vox2pix.buckets.remote"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'vox2pix\[s3\]'"):
        open_nsd("s3://natural-scenes-dataset")


def test_an_experiment_names_its_data_by_url(tmp_path):
    pytest.importorskip("upath")
    from vox2pix.config import load_config

    file = tmp_path / "a.toml"
    file.write_text('name = "a"\n[data]\nsource = "nsd"\npath = "memory://tree"\n')
    data = load_config(file).data
    assert data.path == "memory://tree"
    assert str(data.root(tmp_path)) == "memory://tree"
    file.write_text('name = "a"\n[data]\nsource = "nsd"\npath = "tree"\n')
    assert load_config(file).data.root(tmp_path) == tmp_path / "tree"
