"""The readers there are, by name: a new one is one file and one line here."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vox2pix.config import COMPANIONS, DataConfig, suggest
from vox2pix.data.bdata import BdataSource
from vox2pix.data.bids import BidsSource
from vox2pix.data.folder import FolderSource
from vox2pix.data.glmsingle import GlmsingleSource
from vox2pix.data.nsd import NsdSource
from vox2pix.data.nsd_imagery import NsdImagerySource
from vox2pix.data.source import Source
from vox2pix.data.things import ThingsSource
from vox2pix.errors import UserError

SOURCES: dict[str, type[Source]] = {
    kind.name: kind
    for kind in (
        NsdSource,
        NsdImagerySource,
        FolderSource,
        GlmsingleSource,
        BidsSource,
        ThingsSource,
        BdataSource,
    )
}

_SHARED = ("subject", "sessions", "space", "betas", *COMPANIONS)
"""Settings of ``[data]`` that several layouts take."""


def find_source(name: str) -> type[Source]:
    """Return the reader of a name; an unknown one is a UserError with the nearest name.

    A simulated subject, ``phantom``, is a tree in NSD's layout.
    """
    if name == "phantom":
        return NsdSource
    if name not in SOURCES:
        raise UserError(
            f"There is no reader of data {name!r}; {suggest(name, ('phantom', *SOURCES))}"
        )
    return SOURCES[name]


def source_of(data: DataConfig, root: Path) -> Source:
    """Return the data that settings describe, at their root.

    Refused are settings without effect on this layout, options that it does not have, and values
    that cannot be.
    """
    kind = find_source(data.source)
    for name in _SHARED:
        if name not in kind.model_fields and data.source != "phantom":
            given, default = getattr(data, name), DataConfig.model_fields[name].default
            if given != default:
                raise UserError(
                    f"The setting data.{name} is {str(given)!r} and has no effect on "
                    f"{kind.title}: remove it."
                )
    shared = {name: getattr(data, name) for name in _SHARED if name in kind.model_fields}
    own = own_options(kind)
    for name in data.options:
        if name not in own:
            hint = suggest(name, own) if own else "it has none."
            raise UserError(f"There is no option data.options.{name} of {kind.title}; {hint}")
    return _made(kind, {"root": root, **shared, **data.options})


def own_options(kind: type[Source]) -> list[str]:
    """Return the names of the options that only this layout has."""
    return [name for name in kind.model_fields if name not in ("root", *_SHARED)]


def recognised(root: Path) -> type[Source]:
    """Return the layout of what is at a place; a folder of a person's own if it is none other."""
    for kind in SOURCES.values():
        if kind is not FolderSource and kind.recognises(root):
            return kind
    return FolderSource


def _made(kind: type[Source], settings: dict[str, Any]) -> Source:
    try:
        return kind(**settings)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    prefix = "data.options" if first["loc"][0] in own_options(kind) else "data"
    message = first["msg"].removeprefix("Value error, ")
    raise UserError(f"'{prefix}.{key}' is {first['input']!r}, but: {message}.")
