"""The targets and conditions of an experiment, from its settings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vox2pix.config import Config
from vox2pix.errors import UserError
from vox2pix.targets._conditions import (
    Condition,
    default_ceilings,
    default_conditions,
    parse_condition,
)
from vox2pix.targets._registry import make_targets
from vox2pix.targets._target import Target


def targets_of(
    config: Config, names: Iterable[str] | None = None, file: Path | None = None
) -> dict[str, Target]:
    """Return the targets of an experiment with their settings, by name.

    `names` asks for other targets than those that are decoded, such as latents of the encoding
    analysis; those without a table ``[decode.NAME]`` have their default settings. `file` is the
    experiment file, for messages about what cannot be.
    """
    decoded = config.decode.targets
    chosen = decoded if names is None else names
    own = {name: decoded[name].settings if name in decoded else {} for name in chosen}
    try:
        return make_targets(own)
    except UserError as error:
        raise UserError(f"{file}: {error}" if file else str(error)) from None


def conditions_of(
    config: Config, targets: Mapping[str, Target], ports: Sequence[str] | None = None
) -> tuple[Condition, ...]:
    """Return what is drawn from decoded values: ``generate.conditions``, or the default ones.

    A condition that :func:`parse_condition` refuses, or that is named twice, is a UserError.
    """
    if config.generate.conditions is None:
        return default_conditions(targets)
    return _parsed("generate.conditions", config.generate.conditions, targets, ports)


def ceilings_of(
    config: Config, targets: Mapping[str, Target], ports: Sequence[str] | None = None
) -> tuple[Condition, ...]:
    """Return what is drawn from true values: ``generate.ceilings``, or the default ones."""
    if config.generate.ceilings is None:
        return default_ceilings(targets)
    return _parsed("generate.ceilings", config.generate.ceilings, targets, ports)


def _parsed(
    key: str, names: Iterable[str], targets: Mapping[str, Target], ports: Sequence[str] | None
) -> tuple[Condition, ...]:
    conditions = tuple(parse_condition(name, targets, ports) for name in names)
    drawn: dict[tuple[frozenset[str], bool], Condition] = {}
    for condition in conditions:
        same = drawn.setdefault((frozenset(condition.targets), condition.denoised), condition)
        if same is not condition:
            raise UserError(f"{key} names one condition twice: {same} and {condition}.")
    return conditions
