"""Rows of numbers, each under a key that names its content."""

import hashlib
import json
from collections.abc import Sequence
from itertools import filterfalse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.store.files import checksum, load_arrays, replacing


class KeyedRows:
    """Rows of numbers, each under a key that names its content; shared by runs and subjects.

    A batch of rows is one safetensors file. Nothing is ever changed, so that any number of
    processes may add at once; the worst they can do is to compute a row twice. Opening reads the
    files' headers alone, for a folder may hold the rows of many subjects; values are compared with
    their checksum when they are read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int]] = {}
        self._checksums: dict[Path, str] = {}
        self._sound: set[Path] = set()
        self._damaged: set[Path] = set()
        self._seen: set[Path] = set()
        self._look()

    def missing(self, keys: Sequence[str], check: bool = False) -> list[str]:
        """List the keys without a row, each once, in the order given.

        With ``check`` the rows are read, too: a file whose values are not as written is
        removed, and its rows are missing.
        """
        self._look_for(keys)
        while check and (damaged := next(filterfalse(self._is_sound, self.files(keys)), None)):
            self._give_up(damaged)
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def files(self, keys: Sequence[str]) -> list[Path]:
        """List the files that hold the rows of ``keys``, each once."""
        self._look_for(keys)
        return sorted({self._places[key][0] for key in keys if key in self._places})

    def add(self, keys: Sequence[str], rows: NDArray[Any]) -> None:
        """Write rows."""
        from safetensors.numpy import save_file

        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} keys for {len(rows)} rows.")
        path = self.folder / f"{self._name(keys)}.safetensors"
        # One entry: several are written in an order that differs from process to process.
        metadata = {"contents": json.dumps({"keys": list(keys), "checksum": checksum(rows)})}
        with replacing(path) as partial:
            save_file({"rows": np.ascontiguousarray(rows)}, partial, metadata=metadata)
        self._damaged.discard(path)
        self._sound.discard(path)
        self._index(path)

    def load(self, keys: Sequence[str]) -> NDArray[Any]:
        """Return the rows of ``keys`` in their order."""
        absent = self.missing(keys)
        if absent:
            raise UserError(f"{self.folder} lacks {len(absent)} rows; rerun to compute them.")
        by_file: dict[Path, list[tuple[int, int]]] = {}
        for position, key in enumerate(keys):
            path, row = self._places[key]
            by_file.setdefault(path, []).append((position, row))
        out: NDArray[Any] | None = None
        for path, pairs in by_file.items():
            rows = self._read(path)
            if out is None:
                out = np.empty((len(keys), *rows.shape[1:]), rows.dtype)
            positions, places = zip(*pairs, strict=True)
            out[list(positions)] = rows[list(places)]
        if out is None:
            raise ValueError("No keys were given.")
        return out

    def _look_for(self, keys: Sequence[str]) -> None:
        """Look at new files if a key has no row here: others may have added it."""
        if any(key not in self._places for key in keys):
            self._look()

    def _look(self) -> None:
        """Index files that were not looked at yet, or were damaged then."""
        files = self.folder.glob("[!.]*.safetensors")  # hidden ones are being written
        for path in sorted(set(files) - self._seen - self._damaged):
            self._index(path)

    def _index(self, path: Path) -> None:
        """Learn the keys of a file; one whose header is damaged is passed over."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                contents = json.loads(file.metadata()["contents"])
            keys, self._checksums[path] = contents["keys"], contents["checksum"]
            sound = self._name(keys) == path.stem
        except (OSError, KeyError, TypeError, ValueError, SafetensorError):
            sound = False
        if not sound:
            return
        self._seen.add(path)
        for row, key in enumerate(keys):
            self._places[key] = (path, row)

    def _read(self, path: Path) -> NDArray[Any]:
        """Read the rows of a file; the first time, compare them with their checksum."""
        rows = load_arrays(path)["rows"]
        if path not in self._sound:
            if checksum(rows) != self._checksums[path]:
                raise UserError(
                    f"{path} is damaged (its values are not those that were written); rerun."
                )
            self._sound.add(path)
        return rows

    def _is_sound(self, path: Path) -> bool:
        try:
            return path in self._sound or len(self._read(path)) > 0
        except UserError:
            return False

    def _give_up(self, path: Path) -> None:
        """Remove a damaged file, and index again where else its rows are."""
        try:
            path.unlink(missing_ok=True)
        except OSError:
            self._damaged.add(path)  # it stays
        self._places, self._seen = {}, set()
        self._look()

    @staticmethod
    def _name(keys: Sequence[str]) -> str:
        return hashlib.blake2b("".join(keys).encode(), digest_size=8).hexdigest()
