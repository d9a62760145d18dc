"""Files by their contents: read again only where they may have changed."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.errors import UserError
from vox2pix.store import contents
from vox2pix.store.contents import content_hashes


@pytest.fixture(autouse=True)
def _as_if_files_were_large_and_old(monkeypatch):
    monkeypatch.setattr(contents, "ALWAYS_READ", 0)
    monkeypatch.setattr(contents, "_SETTLED_NS", 0)


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The names of the files that are read, as they are read."""
    seen, real = [], contents._hash
    monkeypatch.setattr(contents, "_hash", lambda p, *a: seen.append(p.name) or real(p, *a))
    return seen


def made(root: Path, **files: str) -> dict[str, Path]:
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        (root / name).write_text(text)
    return {name: root / name for name in files}


def expected(files: dict[str, Path]) -> dict[str, str]:
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in sorted(files.items())}


def hashes(root: Path, files: dict[str, Path], **how) -> dict[str, str]:
    return content_hashes(root, files, root.parent / "records", **how)


def test_what_did_not_change_is_read_once(tmp_path, read):
    files = made(tmp_path / "data", b="two", a="one", c="")
    for _ in range(3):
        assert list(hashes(tmp_path / "data", files).items()) == list(expected(files).items())
    assert read == ["a", "b", "c"]
    assert hashes(tmp_path / "data", files, verify=True) == expected(files)
    assert read == ["a", "b", "c"] * 2


def rewrite(path: Path) -> None:
    before = path.stat()
    path.write_text("ONE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_text("ONE")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, swap, lambda p: p.write_text("longer"), os.utime])
def test_what_may_have_changed_is_read_again_and_nothing_else(tmp_path, read, change):
    files = made(tmp_path / "data", a="one", b="two")
    hashes(tmp_path / "data", files)
    read.clear()
    change(files["a"])
    assert hashes(tmp_path / "data", files) == expected(files)
    assert read == ["a"]
    hashes(tmp_path / "data", files)
    assert read == ["a"]


def test_files_of_another_root_have_a_record_of_their_own(tmp_path, read):
    one, other = made(tmp_path / "one", a="1"), made(tmp_path / "other", a="2")
    for _ in range(2):
        assert hashes(tmp_path / "one", one) == expected(one)
        assert hashes(tmp_path / "other", other) == expected(other)
    assert len(read) == 2


def test_what_changed_just_now_is_not_taken_for_settled(tmp_path, read, monkeypatch):
    monkeypatch.setattr(contents, "_SETTLED_NS", 3600 * 10**9)
    files = made(tmp_path / "data", a="one")
    os.utime(files["a"], (1, 1))  # which anybody can set
    for _ in range(2):
        hashes(tmp_path / "data", files)
    assert read == ["a", "a"]


def test_little_is_always_read_and_leaves_no_record(tmp_path, read, monkeypatch):
    monkeypatch.setattr(contents, "ALWAYS_READ", 6)
    files = made(tmp_path / "data", a="one", b="two")
    for _ in range(2):
        hashes(tmp_path / "data", files)
    assert read == ["a", "b"] * 2
    assert not (tmp_path / "records").exists()


@given(damage=st.binary(max_size=40), at=st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_damaged_record_is_no_record(tmp_path_factory, damage, at):
    root = tmp_path_factory.mktemp("root") / "data"
    files = made(root, a="one", b="two")
    hashes(root, files)
    record = next((root.parent / "records").iterdir())
    content = record.read_bytes()
    record.write_bytes(content[:at] + damage + content[at + len(damage) + 1 :])
    assert hashes(root, files) == expected(files)
    assert hashes(root, files) == expected(files)


def test_progress_is_in_bytes_of_what_is_read(tmp_path):
    files = made(tmp_path / "data", a="12345", b="123")
    steps = []
    hashes(tmp_path / "data", files, progress=lambda *n: steps.append(n))
    assert steps == [(5, 8), (8, 8)]
    files["a"].write_text("1234")
    hashes(tmp_path / "data", files, progress=lambda *n: steps.append(n))
    assert steps[2:] == [(4, 4)]


def test_what_cannot_be_read_is_one_sentence(tmp_path, monkeypatch):
    files = made(tmp_path / "data", a="one")
    with pytest.raises(UserError, match=r"data/b cannot be read \(No such file or directory\)"):
        hashes(tmp_path / "data", files | {"b": tmp_path / "data" / "b"})

    def denied(self, *args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UserError, match=r"data/a cannot be read \(Permission denied\)"):
        hashes(tmp_path / "data", files)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    files = made(tmp_path / "data", a="one")

    def grow(done: int, total: int) -> None:
        with files["a"].open("a") as file:
            file.write("more")
        assert done <= total

    with pytest.raises(UserError, match="a changed while it was read"):
        hashes(tmp_path / "data", files, progress=grow)


def test_a_record_that_cannot_be_written_is_done_without(tmp_path, read):
    files = made(tmp_path / "data", a="one")
    (tmp_path / "records").write_text("a file, no folder")
    for _ in range(2):
        assert hashes(tmp_path / "data", files) == expected(files)
    assert read == ["a", "a"]
    assert stat.S_ISREG((tmp_path / "records").stat().st_mode)
