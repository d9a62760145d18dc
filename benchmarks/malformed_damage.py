"""Damage files: cut, flip, replace and contradict what is in them."""

import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray


def _put(path: Path, content: bytes) -> None:
    """Replace a file, so that what it was linked to stays as it is."""
    path.unlink()
    path.write_bytes(content)


def cut(share: float, path: Path) -> None:
    """Cut a file to a share of its length."""
    _put(path, path.read_bytes()[: int(share * path.stat().st_size)])


def flip(seed: int, span: tuple[float, float], path: Path) -> None:
    """Flip bits of some bytes within a part of a file."""
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    first, last = (int(share * (len(content) - 1)) for share in span)
    content[chance.randint(first, last)] ^= 1 << chance.randrange(8)
    _put(path, bytes(content))


def become(content: bytes, path: Path) -> None:
    """Replace a file by other content."""
    _put(path, content)


def folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    """Put a link to itself in the place of a file."""
    path.unlink()
    path.symlink_to(path)


def closed(path: Path) -> None:
    """Take away the right to read a file."""
    _put(path, path.read_bytes())
    path.chmod(0)


def replaced(old: str, new: str, path: Path) -> None:
    """Replace a text in a file."""
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path} does not hold {old!r}.")
    _put(path, text.replace(old, new, 1).encode("utf-8", "surrogateescape"))


def lines(change: Callable[[list[str]], list[str]], path: Path) -> None:
    """Change the lines of a text file."""
    _put(path, "\n".join(change(path.read_text().splitlines())).encode() + b"\n")


def column(change: Callable[[list[str]], list[str]], separator: str, path: Path) -> None:
    """Change each row of a table."""
    rows = [line.split(separator) for line in path.read_text().splitlines()]
    _put(path, "\n".join(separator.join(change(row)) for row in rows).encode() + b"\n")


def array(change: Callable[[NDArray[Any]], NDArray[Any]], path: Path) -> None:
    """Rewrite an array file with other values."""
    if path.suffix == ".npy":
        array = change(np.load(path))
        path.unlink()
        np.save(path, array, allow_pickle=True)
    elif path.suffix == ".npz":
        members = dict(np.load(path))
        name = next(n for n in ("responses", "images") if n in members)
        members[name] = change(members[name])
        path.unlink()
        np.savez(path, **members)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            name = next(iter(file))
            array = change(file[name][:])
        path.unlink()
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=array)
    elif path.suffix in (".mgh", ".mgz"):
        image = nib.load(path)
        array = change(np.asarray(image.dataobj))
        path.unlink()
        nib.save(nib.MGHImage(array, image.affine), path)
    else:
        image = nib.load(path)
        array = change(np.asarray(image.dataobj))
        path.unlink()
        nib.save(nib.Nifti1Image(array, image.affine), path)


def some(value: float, array: NDArray[Any]) -> NDArray[Any]:
    """Set some values of an array."""
    out = array.astype(np.float32)
    out[out > 0] = value
    return out


def absurd_npy(path: Path) -> None:
    """Promise more values than there are."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }"
    header = header.ljust(117) + b"\n"
    _put(path, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(400))


def absurd_npz(path: Path) -> None:
    """Promise more values than there are."""
    name = "responses" if "responses" in path.name else "images"
    plain = path.with_name("absurd.npy")
    plain.touch()
    absurd_npy(plain)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(plain, f"{name}.npy")
    plain.unlink()


def absurd_hdf5(path: Path) -> None:
    """Promise more values than there are."""
    with h5py.File(path) as file:
        name, shape = next((n, file[n].shape) for n in file)
    path.unlink()
    with h5py.File(path, "w") as file:  # nothing is stored, all of it is fill value
        file.create_dataset(
            name, (*shape[:1], *(n * 100_000 for n in shape[1:])), "f4", chunks=(1,) * len(shape)
        )


def absurd_image(path: Path) -> None:
    """Let a header tell of thousands of gigabytes."""
    import gzip

    content = path.read_bytes()
    packed = content[:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(content) if packed else content)
    if ".mg" in path.name:
        raw[4:20] = struct.pack(">4i", 30_000, 30_000, 30_000, 1)
    else:
        raw[40:56] = struct.pack("<8h", 4, 30_000, 30_000, 1_000, 12, 1, 1, 1)
    _put(path, gzip.compress(bytes(raw)) if packed else bytes(raw))


def absurd_png(path: Path) -> None:
    """Promise more pixels than there are."""
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    _put(path, content[:8] + ihdr + content[33:])


def absurd_safetensors(path: Path) -> None:
    """Promise a longer header than there is."""
    _put(path, struct.pack("<Q", 2**62) + path.read_bytes()[8:])


def wrong_safetensors(key: str, value: Any, path: Path) -> None:
    """Change what the header says of the first tensor."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first][key] = value
    text = json.dumps(header).encode()
    _put(path, struct.pack("<Q", len(text)) + text + content[8 + length :])


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]], path: Path) -> None:
    """Change the tensors in a file."""
    from safetensors.numpy import load_file, save_file

    tensors = change(load_file(path))
    path.unlink()
    save_file(tensors, path)


def with_nan(tensors: dict[str, Any]) -> dict[str, Any]:
    """Set a value of each tensor to NaN."""
    first = next(iter(tensors))
    tensors[first] = np.full_like(tensors[first], np.nan)
    return tensors
