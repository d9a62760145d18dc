"""A lock in a bucket: an object that only one can make, with a heartbeat."""

import json
import os
import platform
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from vox2pix.buckets.paths import error_code, said_clearly
from vox2pix.errors import UserError

BEAT_SECONDS = 30.0
EXPIRY_SECONDS = 180.0
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")


@dataclass
class BucketLock:
    """The right to write to a folder of a bucket.

    The lock is an object with a record of its owner, put on the condition that there is none
    (``If-None-Match: *``); each heartbeat replaces it on the condition that it is still the
    owner's (``If-Match``), so that two can never hold it. It is void when no heartbeat came for
    three minutes, by the server's clock alone.

    Parameters
    ----------
    path : Path
        The object.
    copy : str
        Name of the owner's working copy. Whoever has that copy to himself may take the lock that
        its former user left.
    """

    path: Any
    copy: str
    is_lost: bool = False
    _etag: str = ""
    _owner: dict[str, Any] = field(default_factory=dict)
    _one_at_a_time: Any = field(default_factory=threading.Lock, repr=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        UserError
            If another run holds it, or the bucket cannot be written to.
        """
        self._owner = {
            "copy": self.copy,
            "run": uuid.uuid4().hex,
            "host": platform.node(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self._put(IfNoneMatch="*"):
            return
        found = self._look()
        if found is None:  # released in the meantime
            if self._put(IfNoneMatch="*"):
                return
            found = self._look()
        if found is not None:
            owner, etag, age = found
            ended = owner.get("copy") == self.copy or age > EXPIRY_SECONDS
            if ended and self._put(IfMatch=etag):
                return
            raise UserError(
                f"Another run is at work in {self.path.parent} (process {owner.get('process')} on "
                f"{owner.get('host')} since {owner.get('since')}, last heard of {age:.0f} s ago): "
                "wait for it, or name another folder. The lock of a run that died ends "
                f"{EXPIRY_SECONDS / 60:.0f} minutes after it was last heard of."
            )
        raise UserError(f"Another run is starting in {self.path.parent}; wait for it.")

    def beat(self) -> None:
        """Say that the owner lives; note if another has taken the lock."""
        with self._one_at_a_time:
            if not self._put(IfMatch=self._etag):
                self.is_lost = True

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        found = self._look()
        if found and found[0].get("run") == self._owner.get("run"):
            self.path.unlink(missing_ok=True)

    def _put(self, **condition: str) -> bool:
        """Write the record on a condition and tell whether it held."""
        # Each record is another, and so is its ETag: who saw the last one cannot replace this.
        self._owner["beat"] = self._owner.get("beat", 0) + 1
        body = json.dumps(self._owner).encode()
        try:
            with said_clearly(self.path):
                answer = self._call("put_object", Body=body, **condition)
        except FileExistsError:
            return self._is_ours_after_all()
        except UserError as error:
            if error.__cause__ is None or error_code(error.__cause__) not in _TAKEN:
                raise
            return self._is_ours_after_all()
        self._etag = answer["ETag"]
        return True

    def _is_ours_after_all(self) -> bool:
        """Tell whether a request was repeated whose first answer was lost."""
        found = self._look()
        if found is None or found[0].get("run") != self._owner["run"]:
            return False
        self._etag = found[1]
        return True

    def _look(self) -> tuple[dict[str, Any], str, float] | None:
        """Return the record, its ETag and its age in seconds by the server's clock."""
        try:
            with said_clearly(self.path):
                head = self._call("head_object")
                record = self.path.fs.cat_file(self.path.path)
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        try:
            owner = dict(json.loads(record))
        except ValueError:
            owner = {}
        return owner, head["ETag"], (now - head["LastModified"]).total_seconds()

    def _call(self, method: str, **options: Any) -> Any:
        bucket, _, key = self.path.path.partition("/")
        return self.path.fs.call_s3(method, Bucket=bucket, Key=key, **options)
