"""Hostile arrays: zarr, HDF5, NumPy, torch, safetensors and MATLAB."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hostile_cases import HUGE, SECRET, Bomb, Hostile, write_own


def _zarr2(change: Callable[[dict[str, Any]], None], folder: Path, chunk: bytes = b"") -> Path:
    """Write a version 2 array of one chunk whose document was changed."""
    place = folder / "images.zarr"
    place.mkdir()
    document = {
        "zarr_format": 2,
        "shape": [2, 8, 8],
        "chunks": [2, 8, 8],
        "dtype": "|u1",
        "compressor": None,
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    change(document)
    (place / ".zarray").write_text(json.dumps(document))
    (place / "0.0.0").write_bytes(chunk or bytes(128))
    return place


def _zarr3(change: Callable[[dict[str, Any]], None], folder: Path) -> None:
    import zarr

    zarr.save_array(folder / "images.zarr", np.zeros((2, 8, 8), np.uint8))
    path = folder / "images.zarr" / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _pickle_codec(key: str, folder: Path) -> None:
    codec = {"id": "pickle", "protocol": 5}
    entry = [codec] if key == "filters" else codec
    _zarr2(lambda d: d.update({key: entry, "dtype": "|O"}), folder, pickle.dumps(Bomb(folder)))


def _pickle_in_group(folder: Path) -> None:
    (folder / "images.zarr").mkdir()
    (folder / "images.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    _pickle_codec("filters", folder / "images.zarr")
    (folder / "images.zarr" / "images.zarr").rename(folder / "images.zarr" / "images")


def _pickle_consolidated(folder: Path) -> None:
    """Let the array's own document be sound and the consolidated one name the codec."""
    import zarr

    group = zarr.open_group(folder / "images.zarr", mode="w", zarr_format=2)
    group.create_array("images", data=np.zeros((2, 8, 8), np.uint8), compressors=None)
    own = json.loads((folder / "images.zarr/images/.zarray").read_text())
    bad = {**own, "filters": [{"id": "pickle", "protocol": 5}], "dtype": "|O"}
    metadata = {".zgroup": {"zarr_format": 2}, "images/.zarray": bad}
    text = json.dumps({"zarr_consolidated_format": 1, "metadata": metadata})
    (folder / "images.zarr/.zmetadata").write_text(text)
    (folder / "images.zarr/images/0.0.0").write_bytes(pickle.dumps(Bomb(folder)))


def _chunk_link(folder: Path) -> None:
    place = _zarr2(lambda d: d.update(shape=[1, 4, 8], chunks=[1, 4, 8]), folder)
    (place / "0.0.0").unlink()
    (place / "0.0.0").symlink_to(folder / "secret")


def _chunk_bomb(packer: str, folder: Path) -> None:
    import numcodecs

    codec = numcodecs.get_codec({"id": packer})
    data = codec.encode(np.zeros(HUGE, np.uint8))
    _zarr2(lambda d: d.update(compressor={"id": packer}), folder, bytes(data))


def _chunk_pipe(folder: Path) -> None:
    place = _zarr2(lambda d: None, folder)
    (place / "0.0.0").unlink()
    os.mkfifo(place / "0.0.0")


def deep(n: int = 100_000) -> bytes:
    """Return JSON that is nested deeply."""
    return b"[" * n + b"]" * n


def zarr_cases() -> Iterator[Hostile]:
    """Yield hostile zarr folders."""
    case = partial(Hostile, "zarr")
    yield case("pickle as filter", "images", partial(_pickle_codec, "filters"))
    yield case("pickle as compressor", "images", partial(_pickle_codec, "compressor"))
    yield case("pickle in a group", "images", _pickle_in_group)
    for codec in ("json2", "msgpack2", "categorize", "vlen-array", "base64", "of_a_plugin"):
        change = partial(_put, {"filters": [{"id": codec}]})
        yield case(f"codec {codec}", "images", partial(_zarr2, change))
    for codec in ("numcodecs.pickle", "numcodecs.pcodec", "of_a_plugin", "vlen-bytes"):
        change = partial(_put, {"codecs": [{"name": "bytes"}, {"name": codec}]})
        yield case(f"codec {codec}, v3", "images", partial(_zarr3, change))
    nested = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, 8, 8],
            "codecs": [{"name": "of_a_plugin"}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        },
    }
    yield case("codec in a shard", "images", partial(_zarr3, partial(_put, {"codecs": [nested]})))
    for key, value in (
        ("storage_transformers", [{"name": "x"}]),
        ("chunk_key_encoding", {"name": "suffix"}),
        ("data_type", {"name": "of_a_plugin"}),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [2**40, 8, 8]}}),
    ):
        yield case(f"{key} of its own", "images", partial(_zarr3, partial(_put, {key: value})))
    for key, value in (
        ("chunks", [2**40, 8, 8]),
        ("dtype", [["a", "|O"]]),
        ("dtype", "|O"),
        ("dimension_separator", "/../"),
        ("compressor", {"id": ["pickle"]}),
    ):
        yield case(f"{key}: {value}", "images", partial(_zarr2, partial(_put, {key: value})))
    yield case("chunk linked to a secret", "images", _chunk_link)
    yield case("chunk that is a pipe", "images", _chunk_pipe)
    for packer in ("gzip", "zlib", "zstd", "lz4", "blosc"):
        yield case(f"bomb, {packer}", "images", partial(_chunk_bomb, packer))


def _put(values: dict[str, Any], document: dict[str, Any]) -> None:
    document.update(values)


def _hdf5(fill: Callable[[h5py.File, Path], None], folder: Path) -> None:
    own = write_own(folder, responses=False)
    with h5py.File(own / "responses.h5", "w") as file:
        fill(file, folder)


def _external(file: h5py.File, folder: Path) -> None:
    # a text of 96 bytes is six rows of four float32
    file.create_dataset("responses", (6, 4), "f4", external=[(str(folder / "secret"), 0, 96)])


def _other(folder: Path) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = np.frombuffer(SECRET[:64] + SECRET[:32], "f4").reshape(6, 4)
    return folder / "other.h5"


def _external_link(file: h5py.File, folder: Path) -> None:
    file["responses"] = h5py.ExternalLink(str(_other(folder)), "x")


def _soft_over_external(file: h5py.File, folder: Path) -> None:
    file["there"] = h5py.ExternalLink(str(_other(folder)), "/")
    file["responses"] = h5py.SoftLink("/there/x")


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((6, 4), "f4")
    layout[:] = h5py.VirtualSource(str(_other(folder)), "x", (6, 4))
    file.create_virtual_dataset("responses", layout)


def _filter(number: int, file: h5py.File, folder: Path) -> None:
    """Write a chunk that says that it was packed by a plug-in."""
    stored = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    stored.set_chunk((6, 4))
    stored.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple((6, 4))
    h5py.h5d.create(file.id, b"responses", h5py.h5t.IEEE_F32LE, space, dcpl=stored)


def _twice_packed(file: h5py.File, folder: Path) -> None:
    stored = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    stored.set_chunk((6, 4))
    stored.set_deflate(9)
    stored.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
    space = h5py.h5s.create_simple((6, 4))
    h5py.h5d.create(file.id, b"responses", h5py.h5t.IEEE_F32LE, space, dcpl=stored)


def _large_chunk(file: h5py.File, folder: Path) -> None:
    shape = (6, 2**28)
    file.create_dataset("responses", shape, "f4", chunks=(1, 2**29), maxshape=(6, None))


def _references(file: h5py.File, folder: Path) -> None:
    file.create_dataset("responses", (6, 4), dtype=h5py.ref_dtype)


def _texts(file: h5py.File, folder: Path) -> None:
    file.create_dataset("responses", (6, 4), dtype=h5py.string_dtype())


def _records(file: h5py.File, folder: Path) -> None:
    file.create_dataset("responses", (6, 4), dtype=[("a", "f4", (50_000,))])


def hdf5_cases() -> Iterator[Hostile]:
    """Yield hostile HDF5 files."""
    case = partial(Hostile, "HDF5")
    for name, fill in (
        ("external storage", _external),
        ("external link", _external_link),
        ("soft link over an external one", _soft_over_external),
        ("virtual data set", _virtual),
        ("packed twice", _twice_packed),
        ("chunks of 2 GB", _large_chunk),
        ("references", _references),
        ("texts of any length", _texts),
        ("records of 200 kB", _records),
    ):
        yield case(name, "own", partial(_hdf5, fill))
    for number in (32001, 32015, 32026, 307, 65000):
        yield case(f"filter {number}", "own", partial(_hdf5, partial(_filter, number)))


def _npy(folder: Path, array: Any = None) -> None:
    array = np.array([[Bomb(folder)]], object) if array is None else array
    np.save(write_own(folder, responses=False) / "responses.npy", array, allow_pickle=True)


def _npy_header(text: bytes, folder: Path) -> None:
    begin = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text))
    (write_own(folder, responses=False) / "responses.npy").write_bytes(begin + text + bytes(96))


def _npy_is_pickle(folder: Path) -> None:
    (write_own(folder, responses=False) / "responses.npy").write_bytes(pickle.dumps(Bomb(folder)))


def _npz(folder: Path) -> None:
    np.savez(folder / "images.npz", images=np.array([Bomb(folder)], object))


def _npz_packed(method: int, folder: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 8, 8), np.uint8))
    with zipfile.ZipFile(folder / "images.npz", "w", method) as archive:
        archive.writestr("images.npy", buffer.getvalue())


def _npz_flag(folder: Path) -> None:
    """Say that a member is encrypted."""
    _npz_packed(zipfile.ZIP_STORED, folder)
    content = bytearray((folder / "images.npz").read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    (folder / "images.npz").write_bytes(content)


def _npz_path(folder: Path) -> None:
    with zipfile.ZipFile(folder / "images.npz", "w") as archive:
        archive.writestr("../../images.npy", b"")


def _npz_bomb(folder: Path) -> None:
    """Promise a few bytes in the directory and unpack to many."""
    with zipfile.ZipFile(folder / "images.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(HUGE))
    content = (folder / "images.npz").read_bytes()
    huge, small = struct.pack("<I", HUGE), struct.pack("<I", 256)
    (folder / "images.npz").write_bytes(content.replace(huge, small))


def _pt(make: Callable[[Path], Any], folder: Path, name: str = "images.pt") -> None:
    import torch

    torch.save(make(folder), folder / name)


def _laughs(folder: Path) -> Any:
    nested: Any = ["a"] * 10
    for _ in range(9):
        nested = [nested] * 10
    import torch

    return {"images": torch.zeros(2, 8, 8), "ids": nested}


def _expanded(folder: Path) -> Any:
    import torch

    return torch.zeros(1, 1, 1).expand(2**33, 8, 8)


def _sparse(folder: Path) -> Any:
    import torch

    place, value = torch.zeros(3, 1, dtype=torch.long), torch.ones(1)
    return torch.sparse_coo_tensor(place, value, (2**20, 2**10, 2**10))


def _meta(folder: Path) -> Any:
    import torch

    return torch.zeros(2**20, 2**10, 2**10, device="meta")


def _script(folder: Path) -> None:
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "images.pt"))


def _pt_pickle(folder: Path) -> None:
    (folder / "images.pt").write_bytes(pickle.dumps(Bomb(folder)))


def _pt_deflated(folder: Path) -> None:
    _pt(lambda _: np.zeros(0), folder)
    with zipfile.ZipFile(folder / "images.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(HUGE))


def _safetensors(header: Any, body: bytes, folder: Path) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    begin = struct.pack("<Q", len(text))
    (folder / "weights.safetensors").write_bytes(begin + text + body)


def _mat(value: Callable[[Path], Any], folder: Path) -> None:
    from scipy.io import savemat

    savemat(folder / "design.mat", {"masterordering": value(folder)})


def _mat_bomb(folder: Path) -> None:
    """Let a packed variable promise 8 GB."""
    name = b"masterordering".ljust(16, b"\0")
    inner = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 32768, 32768)
    inner += struct.pack("<II", 1, 14) + name + struct.pack("<II", 9, 2**31 - 8)
    element = struct.pack("<II", 14, 2**31 - 1) + inner + bytes(10_000)
    packed = zlib.compress(element)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    (folder / "design.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)


def number_cases() -> Iterator[Hostile]:
    """Yield hostile files of NumPy, torch, safetensors and MATLAB."""
    npy, npz = partial(Hostile, "npy"), partial(Hostile, "npz")
    yield npy("Python objects", "own", _npy)
    yield npy("is a pickle", "own", _npy_is_pickle)
    yield npy("records", "own", partial(_npy, array=np.zeros((6, 4), [("a", "O")])))
    yield npy("header of 5,000 brackets", "own", partial(_npy_header, b"(" * 5000))
    yield npy("header of 5,000 signs", "own", partial(_npy_header, b"-" * 5000 + b"1"))
    yield npy("header of 1 MB", "own", partial(_npy_header, b" " * 2**20))
    yield npz("Python objects", "images", _npz)
    yield npz("packed by bzip2", "images", partial(_npz_packed, zipfile.ZIP_BZIP2))
    yield npz("packed by lzma", "images", partial(_npz_packed, zipfile.ZIP_LZMA))
    yield npz("encrypted", "images", _npz_flag)
    yield npz("name that leaves the file", "images", _npz_path)
    yield npz("bomb", "images", _npz_bomb)
    pt = partial(Hostile, "pt")
    for name, make in (
        ("code", Bomb),
        ("code in a dictionary", lambda folder: {"images": Bomb(folder)}),
        ("lists that explode", _laughs),
        ("expanded to 2 TB", _expanded),
        ("sparse, 4 TB", _sparse),
        ("without values, 4 TB", _meta),
    ):
        yield pt(name, "images", partial(_pt, make))
    yield pt("TorchScript", "images", _script)
    yield pt("is a pickle", "images", _pt_pickle)
    yield pt("packed bomb", "images", _pt_deflated)
    yield pt("code among weights", "weights", partial(_pt, Bomb, name="weights.pth"))
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for name, header, body in (
        ("a name twice", b'{"a": %s, "a": %s}' % ((json.dumps(tensor).encode(),) * 2), bytes(8)),
        ("tensors that overlap", {"a": tensor, "b": tensor}, bytes(8)),
        ("bytes behind the tensors", {"a": tensor}, bytes(80)),
        ("shape of 2^62", {"a": {**tensor, "shape": [2**31, 2**31]}}, bytes(8)),
        ("negative place", {"a": {**tensor, "data_offsets": [-8, 0]}}, bytes(8)),
        ("nested header", deep(), b""),
    ):
        write = partial(_safetensors, header, body)
        yield Hostile("safetensors", name, "weights", write)
    mat = partial(Hostile, "MATLAB")
    yield mat("structure", "matlab", partial(_mat, lambda _: {"a": 1}))
    yield mat("cells", "matlab", partial(_mat, lambda _: np.array([{}, "a"], object)))
    yield mat("bomb of 8 GB", "matlab", _mat_bomb)
