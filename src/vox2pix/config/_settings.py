"""Settings that are given beside an experiment file, such as ``generate.steps=20``."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from vox2pix.errors import UserError


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Return settings written as ``NAME=VALUE``, by their dotted names.

    A value is written as in TOML; what is no TOML, such as a bare word, is a text.

    Raises
    ------
    UserError
        If one has no equals sign or no name, or is given twice.
    """
    settings: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip()
        if not equals or not all(name.split(".")):
            raise UserError(f"--set takes NAME=VALUE, such as generate.steps=20, not {each!r}.")
        if name in settings:
            raise UserError(f"--set gives {name} twice.")
        settings[name] = _value(text.strip())
    return settings


def _value(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text


def with_settings(raw: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment, as it was read, with some settings replaced or added.

    Regions in short, ``decode.z = ["early"]``, become a table where one of its settings is given.
    """
    changed = dict(raw)
    for name, value in settings.items():
        table, (*path, last) = changed, name.split(".")
        for depth, key in enumerate(path):
            inner = table.get(key, {})
            if isinstance(inner, list) and path[0] == "decode" and depth == 1:
                inner = {"rois": inner}
            if not isinstance(inner, dict):
                owner = ".".join(path[: depth + 1])
                raise UserError(f"--set {name}: {owner} is {inner!r}, which has no settings.")
            table[key] = dict(inner)
            table = table[key]
        table[last] = value
    return changed
