"""Texts and names in HDF5: those of the file itself, of any length."""

import h5py
import numpy as np
import pytest

from vox2pix.errors import UserError
from vox2pix.untrusted.hdf5 import names_in, read_texts


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
