"""Rows of numbers, each under a key that names its content."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.store.files import checksum, load_arrays, replacing


class KeyedRows:
    """Rows of numbers, each under a key that names its content; shared by runs and subjects.

    A batch of rows is one safetensors file. Nothing is ever changed, so that any number of
    processes may add at once; the worst they can do is to compute a row twice.

    Parameters
    ----------
    folder : Path
        Where the files lie; made when the first rows are added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int]] = {}
        self._seen: set[Path] = set()
        self._look()

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List the keys without a row, each once, in the order given."""
        if any(key not in self._places for key in keys):
            self._look()  # others may have added what was not there
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def add(self, keys: Sequence[str], rows: NDArray[Any]) -> None:
        """Write rows.

        Raises
        ------
        ValueError
            If there are not as many rows as keys.
        """
        from safetensors.numpy import save_file

        if len(keys) != len(rows):
            raise ValueError(f"{len(keys)} keys for {len(rows)} rows.")
        path = self.folder / f"{self._name(keys)}.safetensors"
        # One entry: several are written in an order that differs from process to process.
        told = json.dumps({"keys": list(keys), "checksum": checksum(rows)})
        with replacing(path) as partial:
            save_file({"rows": np.ascontiguousarray(rows)}, partial, metadata={"told": told})
        self._index(path)

    def load(self, keys: Sequence[str]) -> NDArray[Any]:
        """Return the rows of ``keys`` in their order.

        Raises
        ------
        UserError
            If a key has no row.
        """
        absent = self.missing(keys)
        if absent:
            raise UserError(f"{self.folder} lacks {len(absent)} rows; run again to compute them.")
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for position, key in enumerate(keys):
            path, row = self._places[key]
            wanted.setdefault(path, []).append((position, row))
        out: NDArray[Any] | None = None
        for path, pairs in wanted.items():
            rows = load_arrays(path)["rows"]
            if out is None:
                out = np.empty((len(keys), *rows.shape[1:]), rows.dtype)
            positions, places = zip(*pairs, strict=True)
            out[list(positions)] = rows[list(places)]
        if out is None:
            raise ValueError("No keys were given.")
        return out

    def _look(self) -> None:
        """Learn what lies in files that were not looked at yet."""
        found = self.folder.glob("[!.]*.safetensors")  # hidden ones are being written
        for path in sorted(set(found) - self._seen):
            self._index(path)

    def _index(self, path: Path) -> None:
        """Learn the keys of a file; one that is damaged is passed over, and computed again."""
        from safetensors import SafetensorError, safe_open

        self._seen.add(path)
        try:
            with safe_open(local_copy(path), framework="numpy") as file:
                told, rows = json.loads(file.metadata()["told"]), file.get_tensor("rows")
                keys = told["keys"]
                sound = checksum(rows) == told["checksum"] and self._name(keys) == path.stem
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            return
        for row, key in enumerate(keys):
            self._places[key] = (path, row)

    @staticmethod
    def _name(keys: Sequence[str]) -> str:
        return hashlib.blake2b("".join(keys).encode(), digest_size=8).hexdigest()
