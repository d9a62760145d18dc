"""Files by URL: paths in buckets, and copies of what is read from them on this machine.

Nothing is written to a bucket.

Whatever has methods of :class:`pathlib.Path` may be given as a path. Local paths stay as they are
and cost nothing; fsspec and its like are imported when the first URL is opened.
"""

from vox2pix.buckets.cache import cache_folder, local_copy, open_binary, zarr_store
from vox2pix.buckets.paths import (
    as_path,
    bucket_errors,
    file_versions,
    is_remote,
    is_url,
    size_and_version,
)

__all__ = [
    "as_path",
    "bucket_errors",
    "cache_folder",
    "file_versions",
    "is_remote",
    "is_url",
    "local_copy",
    "open_binary",
    "size_and_version",
    "zarr_store",
]
