"""What is ours and what is not: markers, folders swapped in whole, kills at every step."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from vox2pix.errors import UserError
from vox2pix.store import claim, damaged_files, marker_of, require_ours, swap, swapped_in
from vox2pix.store.owned import (
    EDITED,
    MARKER,
    Marker,
    being_written,
    is_inside,
    partial_name,
    refuse_links,
    remove_files,
    remove_tree,
)

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from user_files_inputs import own_tree, snapshot

KILLED = 9


def contents(folder: Path) -> dict[str, str]:
    """Read every file below a folder, but for markers."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARKER
    }


def fill(folder: Path, text: str, names: tuple[str, ...] = ("a.json", "deep/er/b.csv")) -> None:
    """Swap a folder in."""
    with swapped_in(folder, "evaluation") as new:
        for name in names:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(f"{text} {name}")


# --- whose a folder is ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_folder_of_ones_own_is_never_claimed(tmp_path, seed):
    mine = tmp_path / "mine"
    own_tree(mine, seed)
    before = snapshot(tmp_path)
    for refused in (claim, require_ours):
        with pytest.raises(UserError, match="holds files that vox2pix did not write"):
            refused(mine, "run")
    with pytest.raises(UserError, match="did not write"), swapped_in(mine, "evaluation"):
        pass
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "marker",
    [
        "", "{}", "[]", "null", "vox2pix", '{"made_by": "me", "kind": "run", "version": 1}',
        '{"made_by": "vox2pix", "kind": "thesis", "version": 1}',
        '{"made_by": "vox2pix", "kind": "run", "version": 2}',
        '{"made_by": "vox2pix", "kind": ["run"], "version": 1}',
        '{"made_by": "vox2pix", "kind": "run", "version": 1, "files": ["a"]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_marker_that_we_did_not_write_is_none(tmp_path, marker):
    (tmp_path / MARKER).write_text(marker)
    assert marker_of(tmp_path) is None
    with pytest.raises(UserError, match="did not write"):
        claim(tmp_path, "run")
    assert (tmp_path / MARKER).read_text() == marker


def test_a_marker_behind_a_link_is_none(tmp_path):
    claim(tmp_path / "ours", "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MARKER).symlink_to(tmp_path / "ours" / MARKER)
    assert marker_of(tmp_path / "ours") == Marker("run")
    assert marker_of(tmp_path / "mine") is None


def test_an_empty_folder_and_one_of_the_same_kind_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").write_text("a file manager's")
    for name in ("empty", "new/deep", "empty"):
        claim(tmp_path / name, "run")
        require_ours(tmp_path / name, "run")
        with pytest.raises(UserError, match="holds a run, and an evaluation would be written"):
            require_ours(tmp_path / name, "evaluation")
    assert (tmp_path / "empty" / ".DS_Store").exists()


def test_results_of_other_inputs_are_refused(tmp_path):
    with swapped_in(tmp_path / "out", "evaluation", source="labA"):
        pass
    require_ours(tmp_path / "out", "evaluation", "labA")
    with pytest.raises(UserError, match=r"holds an evaluation of other inputs; .* --out"):
        require_ours(tmp_path / "out", "evaluation", "labB")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "b/../../a", "link/a", "", ".."])
def test_names_that_lead_elsewhere_are_left_alone(tmp_path, name):
    ours = tmp_path / "ours"
    ours.mkdir()
    (tmp_path / "a").write_text("mine")
    (ours / "link").symlink_to(tmp_path)
    assert not is_inside(ours, name)
    remove_files(ours, [name])
    assert (tmp_path / "a").read_text() == "mine" and (ours / "link").is_symlink()


def test_removing_a_tree_does_not_follow_links(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("thesis")
    ours = partial_name(tmp_path / "x")
    (ours / "deep").mkdir(parents=True)
    being_written("gallery").write(ours)
    (ours / "deep" / "link").symlink_to(tmp_path / "mine")
    remove_tree(ours)
    assert not ours.exists() and (tmp_path / "mine" / "thesis").read_text() == "thesis"
    with pytest.raises(ValueError, match="no temporary folder of ours"):
        remove_tree(tmp_path / "mine")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_links_and_pipes_at_any_depth_are_refused_by_name(tmp_path, make):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    refuse_links(tmp_path)
    make(tmp_path / "a" / "b" / "odd")
    with pytest.raises(UserError, match=r"a/b/odd is "):
        refuse_links(tmp_path)


# --- folders that appear whole -------------------------------------------------------------------


def test_a_new_folder_replaces_the_old_and_what_others_put_there_moves_on(tmp_path):
    out = tmp_path / "out"
    fill(out, "old", ("a.json", "gone.csv", "deep/er/gone.csv"))
    (out / "notes.md").write_text("mine")
    (out / "deep" / "er" / "mine.txt").write_text("mine")
    (out / "empty").mkdir()
    fill(out, "new")
    assert contents(out) == {
        "a.json": "new a.json", "deep/er/b.csv": "new deep/er/b.csv",
        "notes.md": "mine", "deep/er/mine.txt": "mine",
    }  # fmt: skip
    assert (out / "empty").is_dir() and damaged_files(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", EDITED)
def test_edits_of_what_is_meant_to_be_edited_are_kept(tmp_path, kind):
    out = tmp_path / "out"
    for text in ("old", "new"):
        with swapped_in(out, kind) as new:
            (new / "a.csv").write_text(text)
    (out / "a.csv").write_text("mine")
    with pytest.raises(UserError, match=r"a\.csv was changed since"), swapped_in(out, kind) as new:
        (new / "a.csv").write_text("newer")
    assert (out / "a.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_in_the_way_that_is_not_ours_is_refused(tmp_path):
    out = tmp_path / "out"
    fill(out, "old", ("a.json",))
    (out / "b.csv").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"out/b\.csv is in the way of an evaluation"):
        fill(out, "new", ("b.csv",))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["a.json", "deep/er/b.csv", MARKER])
def test_files_of_two_folders_side_by_side_are_noticed(tmp_path, name):
    fill(tmp_path / "one", "one")
    fill(tmp_path / "two", "two")
    assert damaged_files(tmp_path / "one") == []
    if name == MARKER:
        (tmp_path / "one" / name).unlink()
    else:
        (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    assert damaged_files(tmp_path / "one") == [name]


def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path):
    fill(tmp_path / "out", "old")
    before = snapshot(tmp_path)
    with pytest.raises(ZeroDivisionError), swapped_in(tmp_path / "out", "evaluation") as new:
        (new / "half").write_text("x")
        raise ZeroDivisionError
    assert snapshot(tmp_path) == before


def _kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process, as SIGKILL does, before the step-th change of the disk."""
    left = step

    def dying(real):
        def act(*given, **how):
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(KILLED)
            return real(*given, **how)

        return act

    for name in ("replace", "rename", "unlink", "rmdir", "mkdir", "fsync", "open"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(swap, "_exchange_names", dying(swap._exchange_names))


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_whole(tmp_path, monkeypatch, in_one_step):
    if not in_one_step:  # as on a disk that cannot exchange two names
        monkeypatch.setattr(swap, "_exchange_names", lambda first, second: False)
    states = set()
    for step in range(100):
        out = tmp_path / str(step) / "out"
        fill(out, "old")
        (out / "notes.md").write_text("mine")
        child = os.fork()
        if child == 0:
            try:
                _kill_at(step, monkeypatch)
                fill(out, "new")
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.waitstatus_to_exitcode(status)
        if out.exists() or in_one_step:
            assert damaged_files(out) == []
            words = {text.split()[0] for text in contents(out).values() if text != "mine"}
            assert len(words) == 1
            states |= words
        mine = [path for path in out.parent.rglob("notes.md") if path.read_text() == "mine"]
        assert len(mine) == 1
        fill(out, "last")  # whatever was left, the next command puts it right
        assert contents(out)["a.json"] == "last a.json" and damaged_files(out) == []
        if ended == 0:
            break
    else:
        pytest.fail("the folder was never finished")
    assert states == {"old", "new"} and step > 10


def test_a_folder_that_another_process_is_writing_is_left_alone(tmp_path):
    digits = iter(f"{n:032x}" for n in range(9))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, elsewhere = platform.node(), "another.machine"
    folders = {}
    for process, host in ((os.getpid(), here), (ended.pid, elsewhere), (ended.pid, here)):
        folder = tmp_path / f".out.{next(digits)}.partial"
        folder.mkdir()
        Marker("evaluation", process=process, host=host).write(folder)
        folders[process, host] = folder
    fill(tmp_path / "out", "new")
    assert [folder.exists() for folder in folders.values()] == [True, True, False]


def test_no_place_is_told_by_a_marker(tmp_path):
    fill(tmp_path / "out", "new")
    marker = (tmp_path / "out" / MARKER).read_text()
    assert str(tmp_path) not in marker and platform.node() not in marker
    assert set(json.loads(marker)) == {"made_by", "kind", "version", "files"}


# --- systems without fcntl -----------------------------------------------------------------------


def test_the_package_is_imported_where_there_is_no_fcntl_and_no_resource():
    script = """
import builtins
real = builtins.__import__
def without(name, given=None, *more, **how):
    # psutil, on Linux, needs resource itself
    asks = (given or {}).get("__name__", "").startswith(("vox2pix", "filelock"))
    if asks and name in ("fcntl", "resource"):
        raise ModuleNotFoundError(name=name)
    return real(name, given, *more, **how)
builtins.__import__ = without
import vox2pix, vox2pix.cli, vox2pix.pipeline, vox2pix.report, vox2pix.phantom
from vox2pix.store import peak_memory
assert peak_memory() > 1e6
"""
    subprocess.run([sys.executable, "-c", script], check=True)
