"""Data and models of an experiment file that may be moved together with them.

``config.toml`` names them in full and, in its table ``[moved]``, relative to itself; the second
name counts where the first does not exist.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MOVED = "moved"
_DATA = ("path", "stimuli", "images", "captions", "rois", "test")
_PLACES: tuple[tuple[str, ...], ...] = (
    *(("data", key) for key in _DATA),
    ("model", "name"),
    ("generate", "ip_adapter"),
    ("evaluate", "encoder"),
    ("decode", "*", "encoder"),  # of any target
)


def folder_and_rest(name: str) -> tuple[str, str]:
    """Split what names a folder: its path, and the layer and size that may follow an encoder's.

    E.g. ``/models/clip:pooler_output@224``; a folder may have a colon or an ``@`` in its own name.
    """
    folder = name if Path(name).is_dir() else re.split("[:@]", name)[0]
    return folder, name.removeprefix(folder)


def from_here(settings: Mapping[str, Any], here: Path) -> dict[str, str]:
    """Return the table ``[moved]`` of an experiment: each local place, relative to ``here``."""
    moved = {}
    for keys, name in _named(settings):
        place, _ = folder_and_rest(name)
        if Path(place).is_absolute():
            moved[".".join(keys)] = Path(os.path.relpath(place, here.resolve())).as_posix()
    return moved


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest names that tell folders apart: the last parts of their paths."""
    full = [folder.resolve() for folder in folders]
    for n_parts in range(1, max((len(path.parts) for path in full), default=1) + 1):
        names = ["/".join(path.parts[-n_parts:]) for path in full]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {path.name}" for number, path in enumerate(full, start=1)]


def where_they_are(raw: dict[str, Any], file: Path) -> dict[str, Any]:
    """Take the table ``[moved]`` out of an experiment, and its places where others are gone."""
    moved = raw.get(MOVED)
    if not isinstance(moved, dict) or any(not isinstance(p, str) for p in moved.values()):
        return raw  # refused as any setting that there is not
    raw = {key: value for key, value in raw.items() if key != MOVED}
    for keys, name in list(_named(raw)):
        near = moved.get(".".join(keys))
        place, rest = folder_and_rest(name)
        if near is None or not Path(place).is_absolute() or Path(place).exists():
            continue
        there = (file.parent / near).resolve()
        if there.exists():
            raw = _with(raw, keys, f"{there}{rest}")
    return raw


def _named(
    settings: Mapping[str, Any], patterns: Sequence[tuple[str, ...]] = _PLACES
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys of each setting that may name a place, and what it names."""
    for first, *below in patterns:
        for key in settings if first == "*" else (first,):
            value = settings.get(key)
            if not below and isinstance(value, str):
                yield (key,), value
            elif below and isinstance(value, Mapping):
                yield from (((key, *keys), name) for keys, name in _named(value, [tuple(below)]))


def _with(settings: Mapping[str, Any], keys: tuple[str, ...], value: str) -> dict[str, Any]:
    """Return settings with another value of one of them."""
    first, *below = keys
    return {**settings, first: _with(settings[first], tuple(below), value) if below else value}
