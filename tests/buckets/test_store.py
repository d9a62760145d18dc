"""Arrays and rows kept in a bucket: whole, checked, and shared."""

import numpy as np
import pytest

from buckets.server import Fault
from vox2pix.buckets import as_path
from vox2pix.errors import UserError
from vox2pix.store import KeyedRows, ShardedArray, load_arrays, read_json, save_arrays, write_json


@pytest.fixture
def remote(s3):
    return as_path(f"s3://{s3.new_bucket()}/store", signed=True)


def test_arrays_and_json_come_back_as_they_were(remote):
    arrays = {"a": np.arange(6.0).reshape(2, 3)}
    save_arrays(remote / "x.safetensors", arrays)
    np.testing.assert_array_equal(load_arrays(remote / "x.safetensors")["a"], arrays["a"])
    write_json(remote / "y.json", {"a": 1})
    assert read_json(remote / "y.json") == {"a": 1}
    with pytest.raises(UserError, match="is missing; run the stage"):
        load_arrays(remote / "z.safetensors")


def test_an_upload_that_fails_leaves_what_was_there(s3, remote, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    path = as_path(str(remote), signed=True) / "y.json"
    write_json(path, 1)
    s3.proxy.faults.append(Fault("unavailable", "y.json", "PUT", times=99))
    with pytest.raises(UserError, match="cannot be reached"):
        write_json(path, 2)
    s3.proxy.reset()
    assert read_json(path) == 1


def test_shards_in_a_bucket_count_when_their_marks_do_and_are_checked(s3, remote):
    array = ShardedArray(remote / "array", (5, 3), np.float32, 2)
    values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for shard in (0, 2):
        array.write(shard, values[array.rows(shard)])
    again = ShardedArray(remote / "array", (5, 3), np.float32, 2)
    assert again.pending() == [1]
    again.write(1, values[2:4])
    np.testing.assert_array_equal(again.read(), values)
    bucket, _, prefix = str(remote)[5:].partition("/")
    damaged = f"{prefix}/array/values/c/0/0"
    content = s3.client.get_object(Bucket=bucket, Key=damaged)["Body"].read()
    s3.client.put_object(Bucket=bucket, Key=damaged, Body=content[:-9] + b"123456789")
    assert again.pending() == [0]


def test_rows_are_shared_by_whoever_opens_the_bucket(remote):
    rows = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    KeyedRows(remote / "cache").add(["a", "b", "c"], rows)
    again = KeyedRows(remote / "cache")
    assert again.missing(["a", "d"]) == ["d"]
    np.testing.assert_array_equal(again.load(["c", "a"]), rows[[2, 0]])
