"""The run folder: arrays, tables and marks that survive a kill; what is not ours is never changed.

Whatever appears under its own name is complete, and readers check what they read.
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
from vox2pix.store.owned import (
    MARKER,
    claim,
    marker_of,
    refuse_links,
    require_our_file,
    require_ours,
)
from vox2pix.store.provenance import machine, peak_memory
from vox2pix.store.sharded import ShardedArray, damaged_arrays
from vox2pix.store.swap import damaged_files, require_replaceable, swapped_in

__all__ = [
    "MARKER",
    "KeyedRows",
    "RunFolder",
    "ShardedArray",
    "checksum",
    "claim",
    "content_hashes",
    "damaged_arrays",
    "damaged_files",
    "file_hash",
    "holds_arrays",
    "load_arrays",
    "machine",
    "marker_of",
    "peak_memory",
    "read_checked_json",
    "read_json",
    "refuse_links",
    "replacing",
    "require_our_file",
    "require_ours",
    "require_replaceable",
    "save_arrays",
    "swapped_in",
    "write_checked_json",
    "write_json",
    "write_table",
    "write_text",
    "writing",
]
