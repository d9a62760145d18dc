"""Hostile images, volumes, models, tables and links."""

import bz2
import gzip
import json
import os
import pickle
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from hostile_arrays import deep
from hostile_cases import HUGE, MARK, SECRET, Bomb, Hostile, Write, write_own


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


def image_cases() -> Iterator[Hostile]:
    """Yield hostile images."""
    case = partial(Hostile, "PNG, JPEG")
    for form in ("GIF", "TIFF", "PPM", "ICO"):
        yield case(f"is {form}", "own", partial(_image, partial(_saved, form)))
    for name, fill in (
        ("is PostScript", _postscript),
        ("2,500 million pixels", partial(_png, 50_000, 50_000)),
        ("100 million pixels", partial(_png, 10_000, 10_000)),
        ("16 bits per channel", partial(_png, 8, 8, bits=16)),
        ("text that unpacks to 200 MB", partial(_png, 8, 8, extra=zlib.compress(bytes(HUGE)))),
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


def volume_cases() -> Iterator[Hostile]:
    """Yield hostile volumes."""
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
        ("goes on for 200 MB", "volume.nii.gz", lambda: gzip.compress(_nifti() + bytes(HUGE))),
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


def model_cases() -> Iterator[Hostile]:
    """Yield hostile models."""
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
    yield case("nested settings", "model", partial(_model_of, "config.json", deep().decode()))
    yield case("link to a secret", "model", _model_link)


def _text(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _own_link(name: str, folder: Path) -> None:
    path = write_own(folder) / name
    path.unlink()
    path.symlink_to(folder / "secret")


def _own_special(name: str, make: Write, folder: Path) -> None:
    make(write_own(folder) / name)


def text_cases() -> Iterator[Hostile]:
    """Yield hostile tables, configurations and links."""
    for name, content in (
        ("100,000 brackets", deep()),
        ("a key twice", b'{"a": 1, "a": 2}'),
        ("2 MB of zeros", bytes(2**21)),
        ("number of 10,000 digits", b"9" * 10_000),
    ):
        yield Hostile("JSON", name, "json", partial(_text, "input.json", content))
    for name, content in (
        ("100,000 brackets", b"a = " + deep()),
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
