"""What the stored bytes of a zarr chunk unpack to, read from their own headers."""

import zlib

_BLOCK = 128 * 1024  # zstd: the most that one block unpacks to
_ZSTD = 0xFD2FB528
_STEP = 2**20


def exceeds(data: bytes, packer: str, limit: int) -> bool:
    """Return whether a chunk unpacks to more than it may."""
    if packer == "blosc":
        return int.from_bytes(data[4:8], "little") > limit
    if packer == "lz4":
        return int.from_bytes(data[:4], "little") > limit
    if packer == "zstd":
        return _zstd_bytes(data, limit) > limit
    if packer in ("gzip", "zlib"):
        return _deflate_exceeds(data, limit)
    return False


def _deflate_exceeds(data: bytes, limit: int) -> bool:
    """Unpack step by step, and stop where it is too much."""
    if 1032 * len(data) <= limit:
        return False
    total, rest = 0, data
    while rest:
        unpacker = zlib.decompressobj(47)  # gzip or zlib, by the header
        try:
            while rest and not unpacker.eof:
                total += len(unpacker.decompress(rest, _STEP))
                rest = unpacker.unconsumed_tail
                if total > limit:
                    return True
        except zlib.error:
            return False  # whoever unpacks it says so
        rest = unpacker.unused_data
    return False


def _zstd_bytes(data: bytes, limit: int) -> int:
    """Return what zstd frames unpack to by their headers, or at most by their blocks.

    RFC 8878, section 3.1.1: a frame states its size, or ends with the block that is marked as its
    last; a block states how many bytes it has and unpacks to at most 128 kB.
    """
    at, total = 0, 0
    while int.from_bytes(data[at : at + 4], "little") == _ZSTD and total <= limit:
        flags = data[at + 4] if len(data) > at + 4 else 0
        single, size_flag = bool(flags & 32), flags >> 6
        width = (1 if single else 0, 2, 4, 8)[size_flag]
        start = at + 5 + (not single) + (0, 1, 2, 4)[flags & 3]
        stated = int.from_bytes(data[start : start + width], "little")
        if width:
            # zstd writes nothing beyond the stated size, and what follows it is an error
            return total + stated + (256 if width == 2 else 0)
        at = start
        is_last = False
        while not is_last and at + 3 <= len(data):
            header = int.from_bytes(data[at : at + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            total += size if kind < 2 else _BLOCK
            at += 3 + (1 if kind == 1 else size)
        at += 4 if flags & 4 else 0  # the checksum of the frame
    return total
