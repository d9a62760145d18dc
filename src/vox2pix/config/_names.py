"""A short name for settings, and what a wrong name was probably meant to be."""

import difflib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def digest(settings: Any) -> str:
    """Return 16 hex digits that name settings: equal settings, equal digits.

    Parameters
    ----------
    settings : pydantic model, dict, list, str, int, float, bool or None
        What to hash, by its JSON form with sorted keys.
    """
    if isinstance(settings, BaseModel):
        settings = settings.model_dump(mode="json")
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names)}."


def without_place(name: str) -> str:
    """Return a model's name without the path of its folder, so that it is the same anywhere.

    Parameters
    ----------
    name : str
        Of a model or an encoder; only an absolute path is shortened, to its last part.
    """
    return Path(name).name if Path(name).is_absolute() else name
