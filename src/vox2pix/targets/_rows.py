"""Values of a target for a set of stimuli, each cached under the content it comes from."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vox2pix.config import digest
from vox2pix.store import KeyedRows
from vox2pix.targets._stored import StoredFeatures
from vox2pix.targets._target import FeatureModel, FloatArray

ROWS_A_FILE = 250


class FeatureRows:
    """Values of one target for stimuli, each cached under the content that it comes from.

    Parameters
    ----------
    folder : Path
        Folder of the rows in the cache.
    read : callable
        ``read(stimulus_ids)`` returns their contents: images or captions.
    key : callable
        ``key(stimulus_id, content)`` returns the key of a row.
    compute : callable
        ``compute(stimulus_ids, contents)`` returns the rows.
    """

    def __init__(
        self,
        folder: Path,
        read: Callable[[Sequence[str]], Any],
        key: Callable[[str, Any], str],
        compute: Callable[[Sequence[str], Any], FloatArray],
    ) -> None:
        self._rows = KeyedRows(folder)
        self._read, self._key, self._compute = read, key, compute
        self._keys: dict[str, str] = {}

    def unknown(self, stimulus_ids: Sequence[str]) -> list[str]:
        """List the stimuli whose keys were not determined yet, each once."""
        return [i for i in dict.fromkeys(stimulus_ids) if i not in self._keys]

    def keys(self, stimulus_ids: Sequence[str]) -> dict[str, str]:
        """Return the key of each stimulus; contents are read where it is not determined yet."""
        for ids in blocks(self.unknown(stimulus_ids)):
            contents = self._read(ids)
            self._keys |= {i: self._key(i, c) for i, c in zip(ids, contents, strict=True)}
        return {i: self._keys[i] for i in stimulus_ids}

    def learn(self, keys: Mapping[str, str]) -> None:
        """Take keys that were determined before."""
        self._keys |= keys

    def absent(self, stimulus_ids: Sequence[str], check: bool = False) -> list[str]:
        """List one stimulus, the first, for each content that has no row.

        With `check` the rows are read, and those that are damaged count as absent.
        """
        keys = self.keys(stimulus_ids)
        missing = set(self._rows.missing(list(keys.values()), check))
        first = {key: i for i, key in reversed(keys.items()) if key in missing}
        return [i for i, key in keys.items() if first.get(key) == i]

    def compute(self, stimulus_ids: Sequence[str]) -> None:
        """Compute and write the rows of stimuli, if one of them is absent."""
        keys = list(self.keys(stimulus_ids).values())
        if self._rows.missing(keys):
            self._rows.add(keys, self._compute(stimulus_ids, self._read(stimulus_ids)))

    def files(self, stimulus_ids: Sequence[str]) -> list[Path]:
        """List the files that hold the rows of stimuli."""
        return self._rows.files(list(self.keys(stimulus_ids).values()))

    def stored(self, stimulus_ids: Sequence[str]) -> StoredFeatures:
        """Return the rows of stimuli without reading them; absent ones are computed first."""
        for ids in blocks(self.absent(stimulus_ids)):
            self.compute(ids)
        keys = self.keys(stimulus_ids)
        return StoredFeatures(self._rows, [keys[i] for i in stimulus_ids])

    def load(self, stimulus_ids: Sequence[str]) -> FloatArray:
        """Return the rows of stimuli; those that are absent are computed first."""
        return self.stored(stimulus_ids).read()


def blocks(stimulus_ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield so many stimuli as share a file."""
    for start in range(0, len(stimulus_ids), ROWS_A_FILE):
        yield tuple(stimulus_ids[start : start + ROWS_A_FILE])


def feature_folder(
    cache: Path, name: str, model: FeatureModel, settings: Mapping[str, Any] | None = None
) -> Path:
    """Return the folder of a target's rows in the cache, named by the model and the settings."""
    of = {"model": model.identity, "dtype": str(model.dtype), **(settings or {})}
    return cache / f"{name}-{digest(of)}"


def content_key(content: bytes, name: str = "") -> str:
    """Return the key of a row: the hash of what it is computed from, and of a name."""
    state = hashlib.blake2b(content, digest_size=16)
    state.update(name.encode())
    return state.hexdigest()
