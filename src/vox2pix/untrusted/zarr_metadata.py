"""What a zarr document may ask for: a fixed list of codecs, types and layouts."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

# Codecs that turn bytes into bytes or numbers into numbers and run nothing. What is not listed
# (pickle and others that build Python objects, plug-ins) is refused by its name.
_PACKERS = ("blosc", "zstd", "gzip", "zlib", "lz4")
_CHECKSUMS = ("crc32c", "crc32", "adler32", "fletcher32")
_FILTERS = ("delta", "shuffle", "fixedscaleoffset", "bitround", "quantize", "astype", "packbits")
_STRINGS = ("vlen-utf8",)

V2_CODECS = (*_PACKERS, *_CHECKSUMS, *_FILTERS, *_STRINGS)
V3_CODECS = (
    "bytes",
    "transpose",
    "sharding_indexed",
    "blosc",
    "zstd",
    "gzip",
    "crc32c",
    *_STRINGS,
    *(f"numcodecs.{name}" for name in (*_PACKERS, *_CHECKSUMS, *_FILTERS)),
)
V3_TYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "string",
    "fixed_length_utf32",
)
_LARGEST_CHUNK = 2**31  # blosc packs no more at once
_STRING_CHUNK = 2**28  # of texts, whose length no document states


@dataclass(frozen=True)
class ChunkRule:
    """What a chunk may unpack to."""

    packer: str  # the codec that the stored bytes were packed by, ``""`` where by none
    n_bytes: int  # of the values of a chunk, by its document
    n_inner: int = 0  # chunks of a shard; 0 without sharding
    index_bytes: int = 0  # of a shard's index
    index_first: bool = False  # whether the index is at the start of the shard


def check_v2(document: dict[str, Any]) -> ChunkRule:
    """Check a ``.zarray`` document; a ValueError names what is not allowed."""
    filters = [_name_of(entry, "id") for entry in document.get("filters") or []]
    compressor = document.get("compressor")
    packer = "" if compressor is None else _name_of(compressor, "id")
    _require_allowed([*filters, packer] if packer else filters, V2_CODECS)
    stated = document.get("dtype")
    if not isinstance(stated, str):
        raise ValueError(f"its values are records ({stated})")
    dtype = np.dtype(stated)
    if dtype.hasobject and filters[:1] != ["vlen-utf8"]:
        raise ValueError("its values are Python objects")
    if document.get("dimension_separator", ".") not in (".", "/"):
        raise ValueError(f"its chunks are named by {document['dimension_separator']!r}")
    _require_one_packer([*filters, packer])
    chunk = _shape(document.get("chunks"), "chunks")
    _shape(document.get("shape"), "shape", least=0)
    size = _chunk_bytes(chunk, None if dtype.hasobject else dtype.itemsize)
    return ChunkRule(_short(packer or (filters[-1] if filters else "")), size)


def check_v3(document: dict[str, Any]) -> ChunkRule:
    """Check the ``zarr.json`` of an array; a ValueError names what is not allowed."""
    if document.get("storage_transformers"):
        raise ValueError("it asks for storage transformers")
    kind = document.get("data_type")
    name = _name_of(kind, "name")
    if name not in V3_TYPES:
        raise ValueError(f"its values are of type {name!r}")
    keys = document.get("chunk_key_encoding") or {}
    if _name_of(keys, "name") not in ("default", "v2"):
        raise ValueError(f"its chunks are named by the rule {_name_of(keys, 'name')!r}")
    grid = document.get("chunk_grid") or {}
    if _name_of(grid, "name") != "regular":
        raise ValueError(f"its chunk grid is {_name_of(grid, 'name')!r}")
    outer = _shape(_settings(grid).get("chunk_shape"), "chunk_shape")
    _shape(document.get("shape"), "shape", least=0)
    return _check_codecs(document.get("codecs"), outer, _item_bytes(name, kind))


def _check_codecs(codecs: Any, chunk: tuple[int, ...], item: int | None) -> ChunkRule:
    """Check a chain of codecs; that of a shard's chunks as well."""
    names = _chain(codecs)
    _require_allowed(names, V3_CODECS)
    _require_one_packer(names)
    if "sharding_indexed" not in names:
        return ChunkRule(_short(names[-1]), _chunk_bytes(chunk, item))
    if names != ["sharding_indexed"]:
        raise ValueError("its shards are packed once more")
    settings = _settings(codecs[0])
    inner = _shape(settings.get("chunk_shape"), "chunk_shape of its shards")
    if "sharding_indexed" in _chain(settings.get("codecs")):
        raise ValueError("its shards hold shards")
    index = _chain(settings.get("index_codecs"))
    if index not in (["bytes"], ["bytes", "crc32c"]):
        raise ValueError(f"the index of its shards is packed by {', '.join(index)}")
    rule = _check_codecs(settings.get("codecs"), inner, item)
    n_inner = prod(-(-whole // part) for whole, part in zip(chunk, inner, strict=False))
    return ChunkRule(
        rule.packer,
        rule.n_bytes,
        n_inner,
        16 * n_inner + 4 * (index[-1] == "crc32c"),
        settings.get("index_location", "end") == "start",
    )


def _chain(codecs: Any) -> list[str]:
    if not isinstance(codecs, list) or not 0 < len(codecs) < 9:
        raise ValueError("its list of codecs is damaged")
    return [_name_of(entry, "name") for entry in codecs]


def _require_allowed(names: list[str], allowed: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise ValueError(f"it asks for the codec {unknown[0]!r}")


def _require_one_packer(names: list[str]) -> None:
    """Raise if packed values are packed once more: 1 kB could unpack to terabytes."""
    packers = [name for name in names if _short(name) in _PACKERS]
    if len(packers) > 1:
        raise ValueError(f"it is packed twice ({', '.join(packers)})")


def _short(name: str) -> str:
    return name.removeprefix("numcodecs.")


def _name_of(entry: Any, key: str) -> str:
    """Return the name of a codec, a type or a rule: an object's, or the text itself."""
    name = entry.get(key) if isinstance(entry, dict) else entry
    if not isinstance(name, str) or len(name) > 80:
        raise ValueError(f"it holds {str(entry)[:80]!r} where a name belongs")
    return name


def _settings(entry: Any) -> dict[str, Any]:
    settings = entry.get("configuration") if isinstance(entry, dict) else None
    if not isinstance(settings, dict):
        raise ValueError("its settings are damaged")
    return settings


def _item_bytes(name: str, kind: Any) -> int | None:
    """Return the bytes of one value, None for texts of any length."""
    if name == "string":
        return None
    if name == "fixed_length_utf32":
        length = _settings(kind).get("length_bytes")
        if not isinstance(length, int) or not 0 < length <= 4096:
            raise ValueError(f"its texts have {length} bytes each")
        return length
    return int(np.dtype(name).itemsize)


def _shape(value: Any, what: str, least: int = 1) -> tuple[int, ...]:
    whole = isinstance(value, list) and len(value) <= 32
    if not whole or not all(type(n) is int and least <= n < 2**62 for n in value):
        raise ValueError(f"its {what} is {str(value)[:80]}")
    return tuple(value)


def _chunk_bytes(chunk: tuple[int, ...], item: int | None) -> int:
    """Return the bytes that a chunk unpacks to."""
    if item is None:
        return _STRING_CHUNK
    size = prod(chunk) * item
    if size > _LARGEST_CHUNK:
        raise ValueError(f"its chunks unpack to {size / 1e9:,.1f} GB each")
    return size
