"""Files by URL: paths in buckets, and copies of what is read from them on this machine.

Nothing is written to a bucket.

Whatever has methods of :class:`pathlib.Path` may stand where a path is asked for. Local paths stay
as they are and cost nothing; fsspec and its like are imported when the first URL is opened.
"""

from vox2pix.buckets.cache import cache_folder, local_copy, open_binary, zarr_store
from vox2pix.buckets.paths import (
    as_path,
    file_versions,
    is_remote,
    is_url,
    said_clearly,
    size_and_version,
)

__all__ = [
    "as_path",
    "cache_folder",
    "file_versions",
    "is_remote",
    "is_url",
    "local_copy",
    "open_binary",
    "said_clearly",
    "size_and_version",
    "zarr_store",
]
