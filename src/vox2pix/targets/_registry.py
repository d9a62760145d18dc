"""The targets there are, by name: a new one is one file and one line here."""

import inspect
import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pydantic import ValidationError

from vox2pix.config import DecodeConfig, TargetConfig, suggest
from vox2pix.errors import UserError
from vox2pix.targets._target import Target
from vox2pix.targets.c import TextConditioning
from vox2pix.targets.image import ImageEmbedding
from vox2pix.targets.z import ImageLatent

TARGETS: dict[str, type[Target]] = {
    "z": ImageLatent,
    "c": TextConditioning,
    "image": ImageEmbedding,
}

_NAME = re.compile(r"[a-z][a-z0-9_]*")
# other keys of [decode], z_c of the encoding analysis, and what else is drawn or scored
_RESERVED = frozenset({*DecodeConfig.model_fields, "z_c", "shuffled", "swapped", "retrieval"})
_DECLARED = ("name", "port", "computed_from", "carries", "description")
AnyTarget = TypeVar("AnyTarget", bound=type[Target])


def register(target: AnyTarget) -> AnyTarget:
    """Add a target of one's own, so that experiments and conditions can name it.

    Parameters
    ----------
    target : subclass of Target
        Its ``name`` is letters, digits and underscores, and not taken. Usable as a decorator.

    Raises
    ------
    ValueError
        If the name is taken, reserved or malformed, or the class declares too little.
    """
    absent = [name for name in _DECLARED if not isinstance(getattr(target, name, None), str)]
    if absent:
        raise ValueError(f"The target {target.__name__} declares no {', '.join(absent)}.")
    if inspect.isabstract(target):
        lacking = ", ".join(sorted(target.__abstractmethods__))
        raise ValueError(f"The target {target.__name__} does not define {lacking}.")
    if not _NAME.fullmatch(target.name) or target.name in _RESERVED:
        raise ValueError(
            f"A target cannot be called {target.name!r}; choose lower-case letters, digits and "
            f"underscores, and none of {', '.join(sorted(_RESERVED))}."
        )
    if TARGETS.get(target.name, target) is not target:
        raise ValueError(f"There is a target {target.name!r} already; choose another name.")
    TARGETS[target.name] = target
    return target


def find_target(name: str) -> type[Target]:
    """Return the target of a name; an unknown one is a UserError with the nearest name.

    Installed packages add theirs by an entry point of the group ``vox2pix.targets``, so that the
    command line and workers know them, too.
    """
    if name not in TARGETS:
        for entry in entry_points(group="vox2pix.targets", name=name):
            register(entry.load())
    if name not in TARGETS:
        raise UserError(f"There is no target {name!r}; {suggest(name, TARGETS)}")
    return TARGETS[name]


def make_targets(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Target]:
    """Return targets by name, each with its own settings, such as ``{"z": {"image_size": 320}}``.

    An unknown target, an unknown setting and a value that cannot be are a UserError.
    """
    return {name: _with_settings(find_target(name), own) for name, own in settings.items()}


def usable(targets: Mapping[str, Target], has_captions: bool) -> dict[str, Target]:
    """Return the targets that can be computed, with captions of the stimuli or without."""
    return {k: t for k, t in targets.items() if has_captions or t.computed_from != "captions"}


def _with_settings(target: type[Target], settings: Mapping[str, Any]) -> Target:
    try:
        return target(**settings)
    except ValidationError as error:
        first = error.errors()[0]
    key = ".".join(("decode", target.name, *map(str, first["loc"])))
    if first["type"] == "extra_forbidden":
        own = (*TargetConfig.model_fields, *target.model_fields)
        raise UserError(f"There is no setting '{key}'; {suggest(str(first['loc'][-1]), own)}")
    value = settings.get(str(first["loc"][0]))
    raise UserError(f"'{key}' is {value!r}, but: {first['msg'].removeprefix('Value error, ')}.")
