"""A run folder in a bucket and its copy on this machine."""

import errno
import fcntl
import sys
import time

import pytest

from buckets.server import Fault
from vox2pix.buckets import as_path, working_copy
from vox2pix.errors import UserError


@pytest.fixture
def remote(s3):
    return as_path(f"s3://{s3.new_bucket()}/runs/one", signed=True)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("[!.]*")
        if path.is_file()
    }


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_local_folder_is_its_own_working_copy(tmp_path):
    with working_copy(tmp_path) as here:
        assert here == tmp_path


def test_the_bucket_is_as_the_folder_was_left_and_another_machine_goes_on(
    s3, remote, tmp_path, monkeypatch
):
    with working_copy(remote) as here:
        write(here, a="1", deep__b="2", audit__c="3")
    assert contents(remote) == {"a": "1", "deep/b": "2", "audit/c": "3"}
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "another machine"))
    with working_copy(remote) as here:
        assert contents(here) == {"a": "1", "deep/b": "2", "audit/c": "3"}
        (here / "audit/c").unlink()
        write(here, a="changed")
    assert contents(remote) == {"a": "changed", "deep/b": "2"}
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "copies"))
    with working_copy(remote) as here:  # the first one, whose copy is old
        assert contents(here) == {"a": "changed", "deep/b": "2"}


def test_what_did_not_change_is_not_moved_again(s3, remote):
    with working_copy(remote) as here:
        write(here, a="1", b="2")
    s3.proxy.reset()
    with working_copy(remote) as here:
        write(here, b="22")
    put = [r.path.split("?")[0][-2:] for r in s3.proxy.asked("/one/", "PUT")]
    assert put == ["ck", "ck", "/b"]  # the lock, that it is still ours, and what changed
    assert not s3.proxy.asked("/one/a")


def test_work_that_was_not_carried_over_before_a_kill_is_kept(s3, remote, tmp_path):
    with working_copy(remote) as here:
        write(here, a="1")
    write(here, a="newer", shard="made, then killed")
    with working_copy(remote) as again:
        assert again == here
        assert contents(again) == {"a": "newer", "shard": "made, then killed"}
    assert contents(remote) == {"a": "newer", "shard": "made, then killed"}


def test_marks_are_put_after_the_data_that_they_vouch_for(s3, remote):
    with working_copy(remote) as here:
        write(
            here, pictures__done__00000="mark", stages__data="mark", zz="data", pictures__c="data"
        )
    put = [r.path.split("/one/")[1] for r in s3.proxy.asked("/one/", "PUT")]
    shard, stage = put.index("pictures/done/00000"), put.index("stages/data")
    assert stage > shard > max(put.index(name) for name in ("zz", "pictures/c"))


def test_the_lock_is_renewed_while_files_come_and_go(s3, remote, tmp_path, monkeypatch):
    module = sys.modules["vox2pix.buckets.working_copy"]
    with working_copy(remote) as here:
        write(here, a="1")
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "another machine"))
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    upload, copy_to, beats = module._upload, module.copy_to, []

    def count(slow):
        def counted(*given):
            before = len(s3.proxy.asked(".lock", "PUT"))
            time.sleep(1)
            beats.append(len(s3.proxy.asked(".lock", "PUT")) - before)
            return slow(*given)

        return counted

    monkeypatch.setattr(module, "copy_to", count(copy_to))
    monkeypatch.setattr(module, "_upload", count(upload))
    with working_copy(remote) as here:
        write(here, b="2")
    assert len(beats) == 2 and min(beats) > 1
    assert contents(remote) == {"a": "1", "b": "2"}


def test_an_error_in_the_run_still_brings_its_files_over_and_frees_the_lock(remote):
    with pytest.raises(ZeroDivisionError), working_copy(remote) as here:
        write(here, a="1")
        raise ZeroDivisionError
    assert contents(remote) == {"a": "1"}
    assert not (remote / ".lock").exists()


def test_two_runs_at_once_are_refused_on_this_machine_and_on_another(
    s3, remote, tmp_path, monkeypatch
):
    with working_copy(remote):
        with pytest.raises(UserError, match="on this machine"), working_copy(remote):
            pass
        monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "another machine"))
        with pytest.raises(UserError, match="Another run is at work"), working_copy(remote):
            pass


def test_a_bucket_that_fails_while_files_are_brought_here_loses_nothing(s3, remote, monkeypatch):
    with working_copy(remote) as here:
        write(here, a="1", b="2")
    (here / "a").unlink()
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    impatient = as_path(str(remote), signed=True)
    s3.proxy.faults.append(Fault("unavailable", "/one/a", times=99))
    with pytest.raises(UserError, match="cannot be reached"), working_copy(impatient):
        pass
    s3.proxy.reset()
    assert contents(remote) == {"a": "1", "b": "2"}


def test_a_bucket_that_cannot_be_written_to_is_one_sentence(s3, remote):
    s3.proxy.faults.append(Fault("denied", method="PUT", times=9))
    with pytest.raises(UserError, match="access is denied"), working_copy(remote):
        pass


def break_off_while(s3, remote, change, name):
    """Let a run change its files, and die when the first of some requests has gone through."""
    s3.proxy.faults.append(Fault("denied", f"/one/{name}", "PUT", times=99))
    with pytest.raises(UserError, match="access is denied"), working_copy(remote) as here:
        change(here)
    s3.proxy.reset()


def test_a_push_that_broke_off_half_way_is_ended_by_the_next_run(s3, remote):
    with working_copy(remote) as here:
        write(here, a="1", gone="1", stages__one="1")

    def change(here):
        (here / "gone").unlink()
        write(here, a="22", b="22", stages__one="22")

    break_off_while(s3, remote, change, "stages/")
    assert contents(remote)["a"] == "22"  # the data are there, the mark is not
    assert contents(remote)["stages/one"] == "1"
    left = {"a": "22", "b": "22", "stages/one": "22"}
    with working_copy(remote) as here:
        assert contents(here) == left
    assert contents(remote) == left


def test_what_another_machine_wrote_since_a_broken_push_is_kept(s3, remote, tmp_path, monkeypatch):
    with working_copy(remote) as here:
        write(here, a="1", b="1")
    break_off_while(s3, remote, lambda here: write(here, a="22"), "a")
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "another machine"))
    with working_copy(remote) as there:
        write(there, b="333")
    monkeypatch.setenv("VOX2PIX_CACHE", str(tmp_path / "copies"))
    with working_copy(remote) as here:
        assert contents(here) == {"a": "1", "b": "333"}


def test_a_damaged_note_of_what_was_carried_over_costs_time_and_nothing_else(remote):
    with working_copy(remote) as here:
        write(here, a="1")
    (here.parents[1] / "pushed.json").write_text('{"a": [1, 2')
    with working_copy(remote) as here:
        assert contents(here) == {"a": "1"}


def test_a_run_that_lost_its_lock_writes_nothing_more(s3, remote):
    with (
        pytest.raises(UserError, match=r"Another run took .* over"),
        working_copy(remote) as here,
    ):
        write(here, a="of the first")
        (remote / ".lock").write_text('{"run": "another"}')
    assert contents(remote) == {}
    assert (remote / ".lock").read_text() == '{"run": "another"}'
    assert contents(here) == {"a": "of the first"}


def test_the_root_of_a_bucket_is_no_run_folder(s3):
    root = as_path(f"s3://{s3.new_bucket()}", signed=True)
    with pytest.raises(UserError, match="s3://BUCKET/FOLDER"), working_copy(root):
        pass


def test_a_disk_without_file_locks_is_one_sentence(remote, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"without file locks .*VOX2PIX_CACHE"),
        working_copy(remote),
    ):
        pass
