"""Texts and names in HDF5: those of the file itself, of any length."""

import h5py
import numpy as np
import pytest

from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import names_in, read_texts, read_whole


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = [b"secret"]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["list"] = ["a", "long " * 50, "é"]
        file["fixed"] = np.array([b"ab", b"c"])
        file["group/one"] = "word"
        file["numbers"] = np.zeros(3)
        file["references"] = np.array([file["list"].ref], h5py.ref_dtype)
        file["pieces"] = h5py.Empty("f")
        file["link"] = h5py.SoftLink("/list")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/secret")
        layout = h5py.VirtualLayout((1,), h5py.string_dtype())
        layout[0] = h5py.VirtualSource("other.h5", "secret", (1,))[0]
        file.create_virtual_dataset("virtual", layout)
        file["bytes"] = np.array([b"\xff"])
    return path


def test_texts_of_any_length(path):
    assert read_texts(path, "list") == ["a", "long " * 50, "é"]
    assert read_texts(path, "fixed") == ["ab", "c"]
    assert read_texts(path, "group/one") == ["word"]


@pytest.mark.parametrize("chunks", [None, True])
def test_values_that_were_never_written_are_refused(tmp_path, chunks):
    """Nothing of them is stored, and as many could be asked for as a file likes."""
    path, shape = tmp_path / "small.h5", (40, 1000)
    with h5py.File(path, "w") as file:
        file.create_dataset("texts", (40,), "S10000", chunks=chunks)
        file.create_dataset("numbers", shape, "i8", chunks=chunks)
        file.create_dataset("zeros", data=np.zeros(shape), chunks=chunks,
                            compression="gzip" if chunks else None)  # fmt: skip
        file.create_dataset("none", data=np.zeros((0, 3)))
    assert path.stat().st_size < 400_000
    for read, name in ((read_texts, "texts"), (read_whole, "numbers")):
        with pytest.raises(UserError, match=rf"'{name}' has shape .* none of its values were wri"):
            read(path, name)
    np.testing.assert_array_equal(read_whole(path, "zeros"), np.zeros(shape))
    assert read_whole(path, "none").shape == (0, 3)


def test_names(path):
    assert names_in(path, "group") == ("one",)
    assert {"list", "group", "link"} <= set(names_in(path))
    assert names_in(path, "nothing") == names_in(path, "numbers") == ()


@pytest.mark.parametrize(
    "name",
    ["numbers", "references", "pieces", "link", "elsewhere", "virtual", "bytes", "group", "no"],
)
def test_what_are_no_texts_of_the_file_is_refused(path, name):
    with pytest.raises(UserError) as refusal:
        read_texts(path, name)
    assert str(path) in str(refusal.value)
    assert "secret" not in str(refusal.value)
