"""safetensors: a header of JSON and the bytes that it describes, no more and no less."""

import struct
from math import prod
from pathlib import Path
from typing import Any

from vox2pix.buckets import local_copy
from vox2pix.untrusted.files import damage_named, require_file
from vox2pix.untrusted.text import parse_json

_LONGEST_HEADER = 100_000_000  # bytes: the format's own bound
_BITS = {
    "BOOL": 8,
    **{f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": bits for bits in (16, 32, 64)},
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "C64": 64,
}


def check_safetensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Check the header of a safetensors file; return type and shape of each tensor by name.

    Refused are headers that are too long, repeat a name, have an unknown type, or place tensors so
    that they overlap, leave gaps or end beyond the file.
    """
    require_file(path)
    with damage_named(path, "no safetensors file", "fetch or save it again"):
        here = local_copy(path)
        size = here.stat().st_size
        with here.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size - 8, _LONGEST_HEADER):
                raise ValueError(f"its header would have {length} bytes")
            header = parse_json(path, stream.read(length), unique=True)
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        header.pop("__metadata__", None)
        spans = sorted(_span(name, entry) for name, entry in header.items())
        end = 0
        for start, stop in spans:
            if start != end:
                raise ValueError("the places of its tensors overlap or leave gaps")
            end = stop
        if 8 + length + end != size:
            raise ValueError(f"{size} bytes, and its header describes {8 + length + end}")
        return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's bytes are, after comparing their number with its shape."""
    shape, (start, stop) = entry["shape"], entry["data_offsets"]
    numbers = [*shape, start, stop]
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"shape or place of {name[:80]!r} is damaged")
    if entry["dtype"] not in _BITS:
        raise ValueError(f"{name[:80]!r} is of type {str(entry['dtype'])[:20]!r}")
    if prod(shape) * _BITS[entry["dtype"]] != 8 * (stop - start):
        raise ValueError(f"{name[:80]!r} of shape {shape} does not fit its {stop - start} bytes")
    return start, stop


def load_safetensors(path: Path) -> dict[str, Any]:
    """Read the tensors of a safetensors file."""
    from safetensors.torch import load_file

    check_safetensors(path)
    with damage_named(path, "no safetensors file", "fetch or save it again"):
        tensors: dict[str, Any] = load_file(local_copy(path))
        return tensors
