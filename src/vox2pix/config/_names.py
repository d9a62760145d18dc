"""A short name for settings, and what a wrong name was probably meant to be."""

import difflib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def digest(settings: Any) -> str:
    """Return 16 hex digits that name settings by their JSON form: equal settings, equal digits."""
    if isinstance(settings, BaseModel):
        settings = settings.model_dump(mode="json")
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown name: the nearest known one, or all of them."""
    names = list(allowed)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names)}."


def without_place(name: str) -> str:
    """Return the name of a model or encoder, an absolute path shortened to its last part."""
    return Path(name).name if Path(name).is_absolute() else name
