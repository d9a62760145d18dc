"""Paths by URL, and errors of buckets as messages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from vox2pix.errors import UserError
from vox2pix.outside import holds_secrets

# Any of these says that requests are to be signed; without one, data are read anonymously.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_ATTEMPTS = 6  # of each request, with growing pauses: half a minute at most


def is_url(place: str | Path) -> bool:
    """Return whether a place is named by a URL."""
    return "://" in str(place)


def is_remote(path: Path) -> bool:
    """Return whether a path, as :func:`as_path` returns it, is remote."""
    return not isinstance(path, Path)


def as_path(place: str | Path, *, endpoint: str | None = None) -> Path:
    """Return the path that a person named, on this machine or by URL.

    ``place`` is a local path, ``s3://bucket/key``, or another URL that fsspec opens; what is
    remote has ``Path``'s methods without being one. Requests to S3 carry credentials if the
    environment or ``~/.aws/credentials`` has some. ``endpoint`` is the URL of an S3 server;
    ``AWS_ENDPOINT_URL``, or Amazon's, by default. A URL that carries a password or key is
    refused.
    """
    text = str(place)
    if not isinstance(place, str | Path):
        return place
    if not is_url(text):
        return Path(place)
    if holds_secrets(text):
        raise UserError(
            f"The URL {text} carries a password or key, which would be saved and printed; take it "
            "out, and give it as the AWS tools take it (AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY)."
        )
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    options = _s3_options(endpoint) if text.startswith("s3://") else {}
    try:
        if text.startswith("s3://"):
            import s3fs  # noqa: F401 - named here if it is not installed
        from vox2pix.buckets.remote import RemotePath

        return cast(Path, RemotePath(text, **options))
    except ImportError as error:
        raise UserError(
            f"{text} cannot be opened without {error.name}: pip install 'vox2pix[s3]'."
        ) from None
    except ValueError as error:
        raise UserError(f"{text} cannot be opened: {error}.") from None


def _s3_options(endpoint: str | None) -> dict[str, Any]:
    """Return how S3 is asked: with which credentials, and how patiently."""
    given = any(os.environ.get(name) for name in _CREDENTIALS)
    signed = given or Path("~/.aws/credentials").expanduser().is_file()
    attempts = os.environ.get("AWS_MAX_ATTEMPTS") or str(_ATTEMPTS)
    if not attempts.isdecimal() or int(attempts) < 1:
        raise UserError(f"AWS_MAX_ATTEMPTS is '{attempts}': give a whole number from 1 on.")
    retries = {"mode": "standard", "total_max_attempts": int(attempts)}
    endpoints = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    return {
        "anon": not signed,
        "endpoint_url": endpoint or next(filter(None, endpoints), None),
        "use_listings_cache": not signed,
        "config_kwargs": {"retries": retries, "connect_timeout": 10, "read_timeout": 60},
    }


def file_versions(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size in bytes and version of each file below a folder, hidden ones excepted.

    The version is the time of change of a local file, the ETag of an object.
    """
    if is_remote(folder):
        return _objects_below(folder)
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): size_and_version(path) for path in files}


def _objects_below(folder: Any) -> dict[str, tuple[int, str]]:
    """List remote files by few requests."""
    with bucket_errors(folder):
        listed = folder.fs.find(folder.path, detail=True)
    start = len(folder.path.rstrip("/")) + 1
    return {
        name[start:]: _size_and_version(info)
        for name, info in listed.items()
        if not name.rpartition("/")[2].startswith(".")
    }


def size_and_version(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes, and what changes when it does."""
    if isinstance(path, Path):
        stat = path.stat()
        return stat.st_size, str(stat.st_mtime_ns)
    with bucket_errors(path):
        info = path.fs.info(path.path)
    return _size_and_version(info)


def _size_and_version(info: Any) -> tuple[int, str]:
    """Read what a listing says of a remote file."""
    names = ("ETag", "LastModified", "mtime", "created")
    version = next((str(info[name]) for name in names if info.get(name)), "")
    return int(info["size"] or 0), version.strip('"')


@contextmanager
def bucket_errors(path: Any) -> Iterator[None]:
    """Turn what goes wrong between here and a bucket into one ``UserError``.

    A missing file stays a ``FileNotFoundError``, as for a local one: the caller knows its purpose.
    """
    try:
        yield
    except FileNotFoundError as error:
        if error_code(error) == "NoSuchBucket" or "bucket does not exist" in str(error):
            raise UserError(f"{path}: there is no such bucket; correct its name.") from error
        raise
    except PermissionError as error:
        raise UserError(
            f"{path}: access is denied ({_short(error)}). Give credentials as the AWS tools take "
            "them (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or ask its owner."
        ) from error
    except UserError:
        raise
    except Exception as error:
        if not _is_of_connection(error):
            raise
        raise UserError(
            f"{path} cannot be reached, though it was tried several times ({_short(error)}): "
            "check the network and AWS_ENDPOINT_URL, then rerun."
        ) from error


def _is_of_connection(error: Exception) -> bool:
    """Return whether an exception comes from the network or the server, not from our code."""
    kinds = ("botocore", "aiobotocore", "aiohttp", "fsspec")
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.startswith(kinds)


def error_code(error: BaseException) -> str:
    """Return S3's own code of an error."""
    response = getattr(error.__cause__ or error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
