"""Files by URL, with the methods of :class:`pathlib.Path`; nothing is written to a bucket.

Local paths stay as they are; fsspec and its like are imported when the first URL is opened.
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
