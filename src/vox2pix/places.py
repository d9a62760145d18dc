"""Folders of data and models of an experiment file that may be moved together with them.

``config.toml`` names folders in full and, in its table ``[moved]``, relative to itself; the second
name counts where the first does not exist.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOVED = "moved"
_DATA = ("path", "stimuli", "images", "captions", "rois", "test")
_FOLDERS = (*(("data", key) for key in _DATA), ("model", "name"), ("evaluate", "encoder"))


def folder_and_rest(name: str) -> tuple[str, str]:
    """Split what names a folder: its path, and the layer and size that may follow an encoder's.

    E.g. ``/models/clip:pooler_output@224``; a folder may have a colon or an ``@`` in its own name.
    """
    folder = name if Path(name).is_dir() else re.split("[:@]", name)[0]
    return folder, name.removeprefix(folder)


def from_here(settings: Mapping[str, Any], here: Path) -> dict[str, str]:
    """Return the table ``[moved]`` of an experiment: each local folder, relative to ``here``."""
    moved = {}
    for table, key in _FOLDERS:
        folder, _ = folder_and_rest(str(settings.get(table, {}).get(key, "")))
        if Path(folder).is_absolute():
            moved[f"{table}.{key}"] = Path(os.path.relpath(folder, here.resolve())).as_posix()
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
    """Take the table ``[moved]`` out of an experiment, and its folders where others are gone."""
    moved = raw.get(MOVED)
    if not isinstance(moved, dict) or any(not isinstance(p, str) for p in moved.values()):
        return raw  # refused as any setting that there is not
    raw = {key: value for key, value in raw.items() if key != MOVED}
    for table, key in _FOLDERS:
        near, given = moved.get(f"{table}.{key}"), raw.get(table)
        if near is None or not isinstance(given, dict) or not isinstance(given.get(key), str):
            continue
        folder, rest = folder_and_rest(given[key])
        if Path(folder).is_absolute() and not Path(folder).exists():
            there = (file.parent / near).resolve()
            if there.exists():
                raw[table] = given | {key: f"{there}{rest}"}
    return raw
