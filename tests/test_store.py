import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.errors import UserError
from vox2pix.store import (
    KeyedRows,
    RunFolder,
    ShardedArray,
    checksum,
    claim,
    damaged_arrays,
    load_arrays,
    machine,
    read_json,
    replacing,
    save_arrays,
    write_json,
    write_table,
)
from vox2pix.store.owned import being_written


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- files -------------------------------------------------------------------------------------


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_come_back_as_they_went(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    arrays = {"x": numbers(3, 4).T, "n": np.arange(5)}
    save_arrays(path, arrays)
    back = load_arrays(path)
    assert set(back) == {"x", "n"}
    np.testing.assert_array_equal(back["x"], arrays["x"])
    np.testing.assert_array_equal(back["n"], arrays["n"])


def test_missing_and_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match=r"a\.safetensors is missing; rerun"):
        load_arrays(path)
    save_arrays(path, {"x": numbers(100)})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"a\.safetensors is damaged"):
        load_arrays(path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")


def test_a_table_quotes_what_csv_needs_quoted(tmp_path):
    import pandas as pd

    rows = [{"id": "00001", "caption": 'a "red", ball'}, {"id": "00002", "caption": "x\ny"}]
    write_table(tmp_path / "t.csv", rows)
    assert pd.read_csv(tmp_path / "t.csv", dtype=str).to_dict("records") == rows


@given(st.sampled_from(["<f4", "<f8", "|u1"]), st.integers(0, 5), st.integers(1, 5))
def test_a_checksum_knows_type_shape_and_every_value(dtype, n, m):
    array = np.arange(n * m).reshape(n, m).astype(dtype)
    assert checksum(array) == checksum(np.asfortranarray(array))
    assert checksum(array) != checksum(array.reshape(m, n)) or n == m
    if array.size:
        other = array.copy()
        other.flat[-1] += 1
        assert checksum(other) != checksum(array)


# --- arrays in shards ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 23), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_an_array_written_in_any_order_is_the_array(tmp_path_factory, n, size, seed):
    values = numbers(n, 3, seed=seed)
    array = ShardedArray(tmp_path_factory.mktemp("a"), values.shape, "f4", size)
    order = np.random.default_rng(seed).permutation(array.n_shards)
    for done, shard in enumerate(order):
        assert len(array.pending()) == array.n_shards - done
        array.write(int(shard), values[array.rows(int(shard))])
    again = ShardedArray(array.folder, values.shape, "f4", size)
    assert again.pending() == []
    np.testing.assert_array_equal(again.read(), values)
    np.testing.assert_array_equal(again.read(0), values[:size])


def test_a_shard_without_its_mark_or_with_other_bytes_is_done_again(tmp_path):
    values = numbers(10, 2)
    array = ShardedArray(tmp_path, values.shape, "f4", 4)
    for shard in range(3):
        array.write(shard, values[array.rows(shard)])
    (tmp_path / "done" / "00001").unlink()
    [chunk] = [p for p in (tmp_path / "values" / "c").rglob("0") if p.parent.name == "2"]
    damaged = bytearray(chunk.read_bytes())
    damaged[-3] ^= 0xFF
    chunk.write_bytes(damaged)
    assert ShardedArray(tmp_path, values.shape, "f4", 4).pending() == [1, 2]
    with pytest.raises(UserError, match=r"Shard 1 of .* is missing or damaged; rerun"):
        array.read()
    array.write(1, values[4:8])
    array.write(2, values[8:])
    np.testing.assert_array_equal(array.read(), values)


def test_a_sound_shard_of_other_values_than_its_mark_says_is_done_again(tmp_path):
    values = numbers(10, 2)
    array = ShardedArray(tmp_path, values.shape, "f4", 4)
    for shard in range(3):
        array.write(shard, values[array.rows(shard)])
    zarr.open_array(tmp_path / "values", mode="r+")[5] = 7  # a chunk that can be read
    assert ShardedArray(tmp_path, values.shape, "f4", 4).pending() == [1]
    with pytest.raises(UserError, match=r"Shard 1 of .* is missing or damaged; rerun"):
        array.read(1)


def test_an_array_keeps_the_shards_it_was_written_in(tmp_path):
    values = numbers(10, 2)
    array = ShardedArray(tmp_path, values.shape, "f4", 4)
    for shard in range(3):
        array.write(shard, values[array.rows(shard)])
    other = ShardedArray(tmp_path, values.shape, "f4", 7)
    assert other.pending() == []
    np.testing.assert_array_equal(other.read(), values)
    np.testing.assert_array_equal(other.take([9, 0, 5]), values[[9, 0, 5]])


def test_checksums_are_those_of_the_values_of_each_shard(tmp_path):
    array = ShardedArray(tmp_path / "a", (5, 3), np.float32, 2)
    values = numbers(5, 3)
    for shard in (0, 2):
        array.write(shard, values[array.rows(shard)])
    with pytest.raises(UserError, match=r"Shard 1 of .* is missing or damaged"):
        array.checksums()
    array.write(1, values[2:4])
    assert array.checksums() == [checksum(values[:2]), checksum(values[2:4]), checksum(values[4:])]


def test_a_shard_of_the_wrong_shape_is_refused(tmp_path):
    array = ShardedArray(tmp_path, (10, 2), "f4", 4)
    with pytest.raises(ValueError, match=r"Shard 2 has shape \(2, 2\), not \(4, 2\)"):
        array.write(2, numbers(4, 2))


# --- rows under keys -----------------------------------------------------------------------------


def test_rows_are_found_by_key_in_any_order_across_files(tmp_path):
    rows = KeyedRows(tmp_path)
    values = numbers(6, 2, 3)
    rows.add(["a", "b", "c"], values[:3])
    rows.add(["d", "e", "f"], values[3:])
    again = KeyedRows(tmp_path)
    assert again.missing(["x", "a", "y", "x"]) == ["x", "y"]
    np.testing.assert_array_equal(again.load(["f", "a", "f"]), values[[5, 0, 5]])
    with pytest.raises(UserError, match="lacks 1 rows; rerun"):
        again.load(["a", "x"])


def test_the_keys_of_a_damaged_file_are_missing_until_it_is_written_again(tmp_path):
    rows = KeyedRows(tmp_path)
    rows.add(["a", "b"], numbers(2, 50))
    rows.add(["c"], numbers(1, 50))
    path = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_size)[-1]
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"damaged \(its values are not those that were written\)"):
        KeyedRows(tmp_path).load(["c", "b"])
    again = KeyedRows(tmp_path)
    assert again.missing(["c"], check=True) == [] and path.exists()  # others are not looked at
    assert again.missing(["a", "b", "c"], check=True) == ["a", "b"]
    assert not path.exists()
    again.add(["a", "b"], numbers(2, 50))
    np.testing.assert_array_equal(KeyedRows(tmp_path).load(["b"])[0], numbers(2, 50)[1])


def test_rows_of_a_damaged_file_are_found_in_another_that_has_them(tmp_path):
    rows = KeyedRows(tmp_path)
    values = numbers(3, 4)
    rows.add(["a", "b"], values[:2])
    rows.add(["b", "c"], values[1:])
    used = rows.files(["b"])[0]
    used.write_bytes(used.read_bytes()[:-1] + b"?")
    again = KeyedRows(tmp_path)
    assert len(again.missing(["a", "b", "c"], check=True)) == 1
    np.testing.assert_array_equal(again.load(["b"])[0], values[1])


def test_opening_reads_headers_and_no_values(tmp_path, monkeypatch):
    KeyedRows(tmp_path).add(["a", "b"], numbers(2, 5000))
    monkeypatch.setattr("vox2pix.store.keyed.load_arrays", None)
    again = KeyedRows(tmp_path)
    assert again.missing(["b", "c"]) == ["c"]
    [path] = tmp_path.iterdir()
    assert again.files(["a", "b", "c"]) == [path]


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_a_file_without_a_header_is_passed_over(tmp_path, content):
    (tmp_path / "0123456789abcdef.safetensors").write_bytes(content)
    assert KeyedRows(tmp_path).missing(["a"]) == ["a"]


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    partial = tmp_path / ".abc.123.partial.safetensors"
    partial.write_bytes(b"half")
    assert KeyedRows(tmp_path).missing(["a"]) == ["a"]
    assert partial.exists()


def test_rows_and_keys_must_match(tmp_path):
    with pytest.raises(ValueError, match="2 keys for 3 rows"):
        KeyedRows(tmp_path).add(["a", "b"], numbers(3, 1))


# --- the run folder ------------------------------------------------------------------------------


def test_a_stage_is_done_under_its_key_while_its_outputs_stand(tmp_path):
    folder = RunFolder(tmp_path / "run")
    write_json(folder.path / "out.json", [1])
    assert not folder.is_done("decode", "k1")
    assert not folder.was_done("decode")
    folder.mark_done("decode", "k1", ["out.json"])
    assert folder.is_done("decode", "k1")
    assert not folder.is_done("decode", "k2")
    write_json(folder.path / "out.json", [2])
    assert not folder.is_done("decode", "k1")
    assert folder.was_done("decode")
    (folder.path / "out.json").unlink()
    assert not folder.is_done("decode", "k1")


def _hold(path, held):
    with RunFolder(path).lock():
        held.set()
        signal.pause()


def test_a_folder_takes_one_run_at_a_time_and_is_free_after_a_kill(tmp_path):
    context = multiprocessing.get_context("fork")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(10)
    with pytest.raises(UserError, match="Another run is at work in"), RunFolder(tmp_path).lock():
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with RunFolder(tmp_path).lock():
        pass


def test_a_run_folder_on_a_disk_without_file_locks_is_one_sentence(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"without file locks \(No locks available\)"),
        RunFolder(tmp_path).lock(),
    ):
        pass


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    digits = 2 * "0123456789abcdef"
    ours = [
        f".metrics.json.{digits}.partial",
        f"decoders/.c.safetensors.{digits}.partial",
        f"images/z/values/c/0.{digits}.partial",
    ]
    theirs = [
        f".thesis.md.{digits}.partial",
        f"notes/.c.safetensors.{digits}.partial",
        f"decoders/0.{digits}.partial",
        "decoders/thesis.partial",
        "decoders/.c.safetensors.0123.partial",
        "images/z/values/c/0.12ab.partial",
    ]
    folder = tmp_path / "run"
    claim(folder, "run")
    for name in (*ours, *theirs):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    simulated = folder / f".phantom-01234567.{digits}.partial"
    simulated.mkdir()
    being_written("simulation").write(simulated)
    with RunFolder(folder).lock():
        assert not any((folder / name).exists() for name in ours)
        assert all((folder / name).exists() for name in theirs)
        assert not simulated.exists()


def test_a_run_folder_under_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"is not a folder|cannot be written to"):
            RunFolder(path).lock().__enter__()


def test_provenance_can_be_written_as_json():
    info = json.loads(json.dumps(machine()))
    assert info["packages"]["torch"].startswith("2.")
    assert info["cores"] >= 1


# --- damage --------------------------------------------------------------------------------------


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_values_of_saved_arrays_that_changed_on_disk_are_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": numbers(100)})
    flip(path)
    with pytest.raises(UserError, match=r"a\.safetensors is damaged \(its values are not those"):
        load_arrays(path)


def test_the_mark_of_a_stage_is_held_against_itself(tmp_path):
    folder = RunFolder(tmp_path)
    write_json(tmp_path / "out.json", [1])
    folder.mark_done("decode", "k1", ["out.json"])
    assert folder.damaged("decode") == []
    mark = tmp_path / "stages" / "decode.json"
    mark.write_text(mark.read_text().replace("k1", "k2"))
    assert not folder.is_done("decode", "k2")
    assert folder.damaged("decode") == ["stages/decode.json"]
    folder.mark_done("decode", "k1", ["out.json"])
    flip(tmp_path / "out.json")
    assert folder.damaged("decode") == ["out.json"]
    assert folder.damaged("never done") == []


@pytest.mark.parametrize("name", ["values/zarr.json", "done/array"])
@pytest.mark.parametrize("place", [40, 120, -1])
def test_a_damaged_description_is_repaired_and_shards_stay(tmp_path, name, place):
    values = numbers(10, 2)
    array = ShardedArray(tmp_path, values.shape, "f4", 4)
    for shard in range(3):
        array.write(shard, values[array.rows(shard)])
    content = (tmp_path / name).read_bytes()
    flip(tmp_path / name, place if abs(place) < len(content) else 0)
    if name == "values/zarr.json":
        assert damaged_arrays(tmp_path) == [tmp_path]
        with pytest.raises(UserError, match=r"zarr\.json is damaged"):
            ShardedArray.existing(tmp_path)
    again = ShardedArray(tmp_path, values.shape, "f4", 4)
    assert again.repaired
    assert again.pending() == []
    np.testing.assert_array_equal(again.read(), values)
    assert not ShardedArray(tmp_path, values.shape, "f4", 4).repaired


def test_a_shard_that_was_never_written_is_pending_but_not_damaged(tmp_path):
    values = numbers(10, 2)
    array = ShardedArray(tmp_path, values.shape, "f4", 4)
    array.write(0, values[:4])
    array.write(1, values[4:8])
    flip(tmp_path / "done" / "00001")
    assert array.pending() == [1, 2]
    assert array.damaged == [1]
    assert damaged_arrays(tmp_path) == [tmp_path]


def test_keys_of_rows_that_changed_on_disk_are_not_believed(tmp_path):
    rows = KeyedRows(tmp_path)
    rows.add(["aaaa", "b"], numbers(2, 5))
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b"aaaa", b"aaac"))
    assert KeyedRows(tmp_path).missing(["aaaa", "aaac", "b"]) == ["aaaa", "aaac", "b"]


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free space"), (errno.EROFS, "make its folder writable")]
)
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path, monkeypatch, number, remedy):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"x": numbers(3)})
    before = path.read_bytes()

    def refuses(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vox2pix.store.files.os.fsync", refuses)
    with pytest.raises(UserError, match=rf"a\.safetensors could not be written .*{remedy}"):
        save_arrays(path, {"x": numbers(4)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_shard_that_finds_the_disk_full_stays_pending(tmp_path):
    script = f"""
import resource, signal, sys
import numpy as np
from vox2pix.errors import UserError
from vox2pix.store import ShardedArray
array = ShardedArray(__import__("pathlib").Path({str(tmp_path / "a")!r}), (4, 9999), "f4", 2)
array.write(0, np.random.default_rng(0).random((2, 9999), np.float32))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    array.write(1, np.random.default_rng(1).random((2, 9999), np.float32))
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "could not be written (File too large); free space" in done.stdout, done.stderr
    assert ShardedArray(tmp_path / "a", (4, 9999), "f4", 2).pending() == [1]
