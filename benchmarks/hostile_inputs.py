"""Inputs that somebody wrote to do harm: to run code, to read other files, to fill the memory.

Each is written by the format's own library where that library allows it. ``MARK`` is a file that
code in an input would make, ``SECRET`` what a reader would return that left its own file.
"""

import bz2
import gzip
import io
import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from PIL import Image

MARK = "executed"
SECRET = b"the secret of somebody else that no reader may return, whatever a file says of it."
BETAS = np.arange(24, dtype=np.float32).reshape(6, 4)
_HUGE = 200_000_000  # bytes that a few kilobytes unpack to
Write = Callable[[Path], None]


@dataclass(frozen=True)
class Hostile:
    """One hostile input.

    Attributes
    ----------
    kind, name : str
        Its format, and what it tries.
    reader : str
        Which of :func:`read`'s readers reads it.
    write : callable
        Writes it into a folder that holds ``secret``, and from which code would make ``MARK``.
    """

    kind: str
    name: str
    reader: str
    write: Write


class Bomb:
    """An object whose unpickling makes a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / MARK),)


# --- reading -------------------------------------------------------------------------------------


def read(reader: str, path: Path) -> str:
    """Read an input as the commands do; return ``"secret"`` if a byte of the secret came back."""
    seen = b"".join(_bytes(part) for part in _READERS[reader](path))
    return "secret" if SECRET[:16] in seen else "read"


def _bytes(part: Any) -> bytes:
    return part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode()


def _own(path: Path) -> Iterator[Any]:
    from vox2pix.data import open_folder

    subject = open_folder(path / "own")
    source = subject.betas_source.responses  # as stored: betas() turns bytes into float32
    yield source.read(slice(0, 6), np.arange(4))
    yield from subject.stimulus_source.iter_pictures(["a"])
    yield subject.stimulus_source.captions(["a"])


def _images(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.inputs import open_images

    found = open_images(next(p for p in path.iterdir() if p.name.startswith("images")))
    yield found.ids
    yield found.raw(0, 0)


def _volume(path: Path) -> Iterator[Any]:
    from vox2pix.data.volumes import read_image

    yield read_image(next(p for p in path.iterdir() if p.name.startswith("volume")))


def _matlab(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.matlab import read_matlab

    yield read_matlab(path / "design.mat", ["masterordering"])


def _weights(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.networks.torchvision_models import _read_state

    yield dict(_read_state(next(p for p in path.iterdir() if p.name.startswith("weights"))))


def _model(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.models import check_model_folder

    check_model_folder(path / "model", "model", ("vocab.json",))
    yield "a model"


def _vision(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.networks.transformers_models import load

    yield load(path / "model").config


def _config(path: Path) -> Iterator[Any]:
    from vox2pix.config import load_config

    yield load_config(path / "experiment.toml")


def _captions(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.captions import read_captions

    yield read_captions(next(p for p in path.iterdir() if p.name.startswith("captions")))


def _json(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.text import read_json

    yield read_json(path / "input.json", 2**20, unique=True)


def _labels(path: Path) -> Iterator[Any]:
    from vox2pix.data.rois import read_labels

    yield read_labels(path / "labels.ctab")


def _imports(path: Path) -> Iterator[Any]:
    """Import what takes long, which is no case's own."""
    import torch
    import transformers

    yield transformers.AutoModel, transformers.CLIPVisionModelWithProjection, torch.zeros(1)


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "imports": _imports,
    "own": _own,
    "images": _images,
    "volume": _volume,
    "matlab": _matlab,
    "weights": _weights,
    "model": _model,
    "vision": _vision,
    "config": _config,
    "captions": _captions,
    "json": _json,
    "labels": _labels,
}


def write_own(folder: Path, responses: bool = True) -> Path:
    """Write a sound folder of one's own data and return it."""
    own = folder / "own"
    (own / "images").mkdir(parents=True)
    if responses:
        np.save(own / "responses.npy", BETAS)
    (own / "trials.csv").write_text("stimulus_id\n" + "a\nb\n" * 3)
    (own / "captions.csv").write_text("stimulus_id,caption\na,a ball\nb,a cube\n")
    for name in "ab":
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(own / "images" / f"{name}.png")
    return own


# --- zarr ----------------------------------------------------------------------------------------


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
    data = codec.encode(np.zeros(_HUGE, np.uint8))
    _zarr2(lambda d: d.update(compressor={"id": packer}), folder, bytes(data))


def _chunk_pipe(folder: Path) -> None:
    place = _zarr2(lambda d: None, folder)
    (place / "0.0.0").unlink()
    os.mkfifo(place / "0.0.0")


def _deep(n: int = 100_000) -> bytes:
    return b"[" * n + b"]" * n


def _zarr_cases() -> Iterator[Hostile]:
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


# --- HDF5 ----------------------------------------------------------------------------------------


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


def _hdf5_cases() -> Iterator[Hostile]:
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


# --- NumPy, torch, safetensors, MATLAB -----------------------------------------------------------


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
        archive.writestr("images.npy", bytes(_HUGE))
    content = (folder / "images.npz").read_bytes()
    huge, small = struct.pack("<I", _HUGE), struct.pack("<I", 256)
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
        archive.writestr("archive/data.pkl", bytes(_HUGE))


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


def _number_cases() -> Iterator[Hostile]:
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
        ("nested header", _deep(), b""),
    ):
        write = partial(_safetensors, header, body)
        yield Hostile("safetensors", name, "weights", write)
    mat = partial(Hostile, "MATLAB")
    yield mat("structure", "matlab", partial(_mat, lambda _: {"a": 1}))
    yield mat("cells", "matlab", partial(_mat, lambda _: np.array([{}, "a"], object)))
    yield mat("bomb of 8 GB", "matlab", _mat_bomb)


# --- images, volumes -----------------------------------------------------------------------------


def _image(fill: Callable[[Path], None], folder: Path) -> None:
    fill(write_own(folder) / "images" / "a.png")


def _saved(form: str, path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, form)


def _postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")


def _png(width: int, height: int, path: Path, bits: int = 8, extra: bytes = b"") -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress(bytes((3 * width * bits // 8 + 1) * min(height, 2000)), 9)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    content += extra and chunk(b"zTXt", b"k\0\0" + extra)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _animated(path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), n, np.uint8)) for n in (0, 90)]
    frames[0].save(path, "PNG", save_all=True, append_images=frames[1:])


def _outward(path: Path) -> None:
    path.unlink()
    other = path.parents[2] / "other.png"
    Image.fromarray(np.frombuffer(SECRET[:64], np.uint8).reshape(8, 8)).save(other)
    path.symlink_to(other)


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            listening.bind(path.name)
        finally:
            os.chdir(here)


def _image_cases() -> Iterator[Hostile]:
    case = partial(Hostile, "PNG, JPEG")
    for form in ("GIF", "TIFF", "PPM", "ICO"):
        yield case(f"is {form}", "own", partial(_image, partial(_saved, form)))
    for name, fill in (
        ("is PostScript", _postscript),
        ("2,500 million pixels", partial(_png, 50_000, 50_000)),
        ("100 million pixels", partial(_png, 10_000, 10_000)),
        ("16 bits a channel", partial(_png, 8, 8, bits=16)),
        ("text that unpacks to 200 MB", partial(_png, 8, 8, extra=zlib.compress(bytes(_HUGE)))),
        ("animated", _animated),
        ("link out of the folder", _outward),
        ("pipe", _pipe),
        ("device", _device),
        ("socket", _socket),
    ):
        yield case(name, "own", partial(_image, fill))


def _nifti(**fields: Any) -> bytes:
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    header = bytearray(image.to_bytes())
    for at, packed in fields.values():
        header[at : at + len(packed)] = packed
    return bytes(header)


def _volume_of(name: str, content: Callable[[], bytes], folder: Path) -> None:
    (folder / name).write_bytes(content())


def _pair(folder: Path) -> None:
    """Name another file for the values, as NIfTI pairs do."""
    (folder / "volume.nii").write_bytes(_nifti(magic=(344, b"ni1\0")))
    (folder / "volume.img").write_bytes(SECRET * 10)


def _entities() -> bytes:
    lines = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    begin = '<?xml version="1.0"?><!DOCTYPE GIFTI [<!ENTITY a0 "ha">'
    return f"{begin}{lines}]><GIFTI>&a9;</GIFTI>".encode()


def _volume_cases() -> Iterator[Hostile]:
    case = partial(Hostile, "NIfTI, MGH")
    for name, file, content in (
        ("values before the header", "volume.nii", lambda: _nifti(o=(108, struct.pack("<f", 0)))),
        ("values at 1e30", "volume.nii", lambda: _nifti(o=(108, struct.pack("<f", 1e30)))),
        ("values at NaN", "volume.nii", lambda: _nifti(o=(108, struct.pack("<f", np.nan)))),
        ("scaled by infinity", "volume.nii", lambda: _nifti(o=(112, struct.pack("<f", np.inf)))),
        (
            "sizes that overflow",
            "volume.nii",
            lambda: _nifti(d=(40, struct.pack("<8h", 7, *[32767] * 7))),
        ),
        ("negative sizes", "volume.nii", lambda: _nifti(d=(40, struct.pack("<4h", 3, -4, -4, 4)))),
        ("colours", "volume.nii", lambda: _nifti(d=(70, struct.pack("<hh", 128, 24)))),
        ("goes on for 200 MB", "volume.nii.gz", lambda: gzip.compress(_nifti() + bytes(_HUGE))),
        ("packed by bzip2", "volume.nii.bz2", lambda: bz2.compress(_nifti())),
        ("is GIFTI with entities", "volume.nii", _entities),
        ("is PAR of Philips", "volume.nii", lambda: b"# === DATA DESCRIPTION FILE ===\n" * 20),
        (
            "MGH of negative sizes",
            "volume.mgh",
            lambda: struct.pack(">7i", 1, -4, -4, 4, 1, 3, 0) + bytes(400),
        ),
        (
            "MGH of 2^93 values",
            "volume.mgh",
            lambda: struct.pack(">7i", 1, *[2**31 - 1] * 3, 1, 3, 0) + bytes(400),
        ),
    ):
        yield case(name, "volume", partial(_volume_of, file, content))
    yield case("header that names a pair", "volume", _pair)


# --- models, text, links -------------------------------------------------------------------------


def _model_of(file: str, content: Any, folder: Path, reader_weights: bool = True) -> None:
    from safetensors.numpy import save_file

    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "clip_vision_model"}')
    (model / "vocab.json").write_text("{}")
    if reader_weights:
        save_file({"a": np.zeros(2, np.float32)}, model / "model.safetensors")
    text = content if isinstance(content, str) else json.dumps(content)
    (model / file).write_text(text)


def _model_link(folder: Path) -> None:
    _model_of("config.json", {}, folder)
    (folder / "model/vocab.json").unlink()
    (folder / "model/vocab.json").symlink_to(folder / "secret")


def _code_in(folder: Path) -> None:
    """Write a module and a setting by which transformers would import it."""
    code = f"import os\nos.mkdir({str(folder / MARK)!r})\nclass M: pass\n"
    settings = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.M", "AutoModel": "evil.M"}}
    _model_of("config.json", settings, folder)
    (folder / "model/evil.py").write_text(code)


def _only_pickle(folder: Path) -> None:
    _model_of("config.json", {"model_type": "vit"}, folder, reader_weights=False)
    (folder / "model/pytorch_model.bin").write_bytes(pickle.dumps(Bomb(folder)))


def _model_cases() -> Iterator[Hostile]:
    case = partial(Hostile, "models")
    yield case("code of its own", "vision", _code_in)
    yield case("weights as pickle", "vision", _only_pickle)
    for key, value in (
        ("auto_map", {"AutoModel": "other/place--code.Model"}),
        ("custom_pipelines", {"a": "b"}),
        ("trust_remote_code", True),
        ("quantization_config", {"quant_method": "x"}),
        ("_attn_implementation", "someone/kernel"),
        ("transformers_weights", "../../other.safetensors"),
    ):
        yield case(f"setting {key}", "model", partial(_model_of, "config.json", {key: value}))
    for key in ("vocab_file", "merges_file", "auto_map"):
        write = partial(_model_of, "tokenizer_config.json", {key: "../secret"})
        yield case(f"tokenizer with {key}", "model", write)
    adapter = {"base_model_name_or_path": "someone/else"}
    yield case("adapter", "model", partial(_model_of, "adapter_config.json", adapter))
    index = {"weight_map": {"a": "../../other.safetensors"}}
    name = "model.safetensors.index.json"
    yield case("shards elsewhere", "model", partial(_model_of, name, index, reader_weights=False))
    yield case("nested settings", "model", partial(_model_of, "config.json", _deep().decode()))
    yield case("link to a secret", "model", _model_link)


def _text(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _own_link(name: str, folder: Path) -> None:
    path = write_own(folder) / name
    path.unlink()
    path.symlink_to(folder / "secret")


def _own_special(name: str, make: Write, folder: Path) -> None:
    make(write_own(folder) / name)


def _text_cases() -> Iterator[Hostile]:
    for name, content in (
        ("100,000 brackets", _deep()),
        ("a key twice", b'{"a": 1, "a": 2}'),
        ("2 MB of zeros", bytes(2**21)),
        ("number of 10,000 digits", b"9" * 10_000),
    ):
        yield Hostile("JSON", name, "json", partial(_text, "input.json", content))
    for name, content in (
        ("100,000 brackets", b"a = " + _deep()),
        ("2 MB", b"# " + b"a" * 2**21),
        ("number of 10,000 digits", b"seed = " + b"9" * 10_000),
    ):
        yield Hostile("TOML", name, "config", partial(_text, "experiment.toml", content))
    yield Hostile("TOML", "pipe", "config", lambda folder: _pipe(folder / "experiment.toml"))
    packed = gzip.compress(b"stimulus_id,caption\n" + b"a,b\n" * 1000)
    for name, file, content in (
        ("packed", "captions.csv.gz", packed),
        ("zero bytes", "captions.csv", b"stimulus_id,caption\na,\0b\n"),
        ("one quote to the end", "captions.csv", b'stimulus_id,caption\na,"' + b"b\n" * 9),
    ):
        yield Hostile("CSV", name, "captions", partial(_text, file, content))
    yield Hostile("CSV", "device", "captions", lambda folder: _device(folder / "captions.csv"))
    yield Hostile("ctab", "8 MB", "labels", partial(_text, "labels.ctab", b"1 a\n" * 2**21))
    yield Hostile("ctab", "pipe", "labels", lambda folder: _pipe(folder / "labels.ctab"))
    for name in ("captions.csv", "trials.csv", "responses.npy"):
        yield Hostile("links", f"{name} to a secret", "own", partial(_own_link, name))
        for kind, make in (("a pipe", _pipe), ("a device", _device)):
            yield Hostile("links", f"{name} is {kind}", "own", partial(_own_special, name, make))


def cases() -> list[Hostile]:
    """List every case."""
    return [
        *_zarr_cases(),
        *_hdf5_cases(),
        *_number_cases(),
        *_image_cases(),
        *_volume_cases(),
        *_model_cases(),
        *_text_cases(),
    ]
