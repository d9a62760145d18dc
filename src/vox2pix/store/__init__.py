"""The run folder: arrays, tables and marks that survive a kill at any moment.

Whatever appears under its own name is complete: files are written beside their place and renamed
into it, and a shard of an array counts only once its mark, with the checksum of its values, is
there. Readers check what they read.
"""

from vox2pix.store.contents import content_hashes
from vox2pix.store.files import (
    checksum,
    file_hash,
    holds_arrays,
    load_arrays,
    read_checked_json,
    read_json,
    replacing,
    save_arrays,
    write_checked_json,
    write_json,
    write_table,
    write_text,
    writing,
)
from vox2pix.store.folder import RunFolder
from vox2pix.store.keyed import KeyedRows
from vox2pix.store.provenance import machine, peak_memory
from vox2pix.store.sharded import ShardedArray, damaged_arrays

__all__ = [
    "KeyedRows",
    "RunFolder",
    "ShardedArray",
    "checksum",
    "content_hashes",
    "damaged_arrays",
    "file_hash",
    "holds_arrays",
    "load_arrays",
    "machine",
    "peak_memory",
    "read_checked_json",
    "read_json",
    "replacing",
    "save_arrays",
    "write_checked_json",
    "write_json",
    "write_table",
    "write_text",
    "writing",
]
