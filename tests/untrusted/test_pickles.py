"""Dictionaries that NumPy pickled: read as NumPy reads them, and nothing else is run."""

import os
import pickle
import struct

import numpy as np
import pytest

from vox2pix.errors import UserError
from vox2pix.untrusted.numpy_pickles import read_pickled_dict

RNG = np.random.default_rng(0)
CONTENT = {
    "betasmd": RNG.normal(size=(3, 4, 2, 5)).astype(np.float32),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4))),
    "big": np.array([1, 2, 300], ">i4"),
    "half": np.array([0.5], np.float16),
    "flags": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 3)),
    "ragged": [np.zeros(2), np.ones(3)],
    "objects": np.array([np.ones(2), None, "x"], object),
    "options": {"tr": 1.6, "n": 3, "large": 2**70, "no": None, "yes": True, "where": ("a", b"b")},
    "scalar": np.float64(2.5),
    "order": [np.int64(3), 4],
}


def same(ours, theirs) -> bool:
    """Compare what was read with what NumPy reads; tuples are lists, scalars are numbers."""
    if isinstance(theirs, dict):
        return set(ours) == set(theirs) and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, np.ndarray) and theirs.dtype != object:
        native = [each.dtype.newbyteorder("=") for each in (ours, theirs)]
        return native[0] == native[1] and np.array_equal(ours, theirs)
    if isinstance(theirs, list | tuple | np.ndarray):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(getattr(theirs, "item", lambda: theirs)()) and ours == theirs


def test_what_numpy_wrote_is_read(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, CONTENT)
    assert same(read_pickled_dict(path), np.load(path, allow_pickle=True).item())
    assert not same(read_pickled_dict(path), CONTENT | {"big": np.array([1, 2, 3], ">i4")})


@pytest.mark.parametrize("protocol", [3, 4])
def test_protocols_and_older_names(tmp_path, protocol):
    """NumPy 1 calls the module ``numpy.core``."""
    raw = pickle.dumps(np.array(CONTENT, object), protocol=protocol)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    assert new in raw
    if protocol == 4:  # texts carry their length, frames that of all that follows
        new, old = b"\x8c\x16" + new, b"\x8c\x15" + old
        length = struct.unpack("<Q", raw[3:11])[0] - raw.count(new)
        raw = raw[:3] + struct.pack("<Q", length) + raw[11:]
    assert same(read_pickled_dict(write(tmp_path, raw.replace(new, old))), CONTENT)


def write(folder, stream: bytes):
    """Write a pickle as the object that an npy file holds."""
    path = folder / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        file.write(stream)
    return path


class Runs:
    """What a pickle runs when it is read."""

    def __init__(self, function, *arguments):
        self.how = (function, arguments)

    def __reduce__(self):
        return self.how


def array_of(dtype_state: tuple, values: object, code: str = "f8", shape: tuple = (1,)) -> bytes:
    """Assemble the pickle of a dictionary with one array, field by field."""

    def put(value: object) -> bytes:
        return pickle.dumps(value, 3)[2:-1]

    module = b"cnumpy._core.multiarray\n_reconstruct\n"
    made = module + b"(cnumpy\nndarray\n" + put((0,)) + put(b"b") + b"tR"
    dtype = b"cnumpy\ndtype\n" + put((code, False, True)) + b"R" + put(dtype_state) + b"b"
    state = b"(" + put(1) + put(shape) + dtype + b"\x89" + put(values) + b"tb"
    return b"\x80\x03}" + put("a") + made + state + b"s."


PLAIN = (3, "<", None, None, None, -1, -1, 0)
CIRCLE: list = []
CIRCLE.append(CIRCLE)
LAUGHS: list = ["ha"]
for _ in range(60):
    LAUGHS = [LAUGHS, LAUGHS]
DEEP: list = []
for _ in range(40):
    DEEP = [DEEP]

HOSTILE = {
    "a command": pickle.dumps({"a": Runs(os.system, "touch hacked")}),
    "a function": pickle.dumps({"a": os.system}),
    "eval": pickle.dumps({"a": Runs(eval, "1")}),
    "another name of numpy": b"\x80\x03cnumpy\nload\n\x85R.",
    "a part of a name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93.",
    "a file of one's own": pickle.dumps({"a": __import__("pathlib").Path("x")}),
    "a state of a name": b"\x80\x03cnumpy\nndarray\n}b.",
    "a call of an array": b"\x80\x03cnumpy\nndarray\n(K\x01tR.",
    "an instruction for objects": b"\x80\x03cnumpy\nndarray\n)\x81.",
    "a persistent name": b"\x80\x03Psecret\n.",
    "an extension": b"\x80\x03\x82\x01.",
    "fields of objects as bytes": array_of(
        (3, "|", None, ("a",), {"a": (np.dtype("f8"), 0)}, 8, 1, 0), b"\x41" * 8, "V8"
    ),
    "objects as bytes": array_of((3, "|", None, None, None, -1, -1, 63), b"\x41" * 8, "O8"),
    "records": array_of(PLAIN, b"\x41" * 8, "V8"),
    "too few bytes": array_of(PLAIN, b"\x00" * 7),
    "a negative shape": array_of(PLAIN, b"", shape=(-1,)),
    "too many axes": array_of(PLAIN, b"\x00" * 8, shape=(1,) * 40),
    "a shape beyond memory": array_of(PLAIN, b"\x00" * 8, shape=(2**62,)),
    "a circle": pickle.dumps({"a": CIRCLE}),
    "a deep one": pickle.dumps({"a": DEEP}),
    "lists of the same lists": pickle.dumps({"a": LAUGHS}),
    "a memo beyond memory": b"\x80\x03}r\xff\xff\xff\x7f" + b"Rs.",
    "bytes beyond memory": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
    "a broken one": pickle.dumps(CONTENT)[:-40],
    "no dictionary": pickle.dumps([1, 2]),
    "numbers as names": pickle.dumps({1: 2}),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, HOSTILE[name])
    with pytest.raises(UserError) as refusal:
        read_pickled_dict(path)
    sentence = str(refusal.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert not (tmp_path / "hacked").exists()


def test_a_plain_array_by_fields_is_read(tmp_path):
    """The assembled pickles fail for what was changed in them, not for how they are assembled."""
    read = read_pickled_dict(write(tmp_path, array_of(PLAIN, struct.pack("<d", 2.5))))
    np.testing.assert_array_equal(read["a"], [2.5])


def test_the_remedy_is_named(tmp_path):
    path = write(tmp_path, HOSTILE["a command"])
    with pytest.raises(UserError, match=r"system'; .* runs nothing: .*wanthdf5"):
        read_pickled_dict(path)
    np.save(path, np.zeros(3))
    with pytest.raises(UserError, match=r"holds float64 of shape \(3,\), not one dictionary"):
        read_pickled_dict(path)
