"""Conditions: the sets of targets that images are drawn from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from vox2pix.config import suggest
from vox2pix.errors import UserError
from vox2pix.targets._target import Target

_PREVIEW = "-decode"


@dataclass(frozen=True)
class Condition:
    """A set of targets, in the order in which it names them; ``str()`` gives its name."""

    targets: tuple[str, ...]
    denoised: bool = True  # NAME-decode is the image of a target without denoising

    def __str__(self) -> str:
        """Such as ``z+c`` or ``z-decode``."""
        return "+".join(self.targets) if self.denoised else f"{self.targets[0]}{_PREVIEW}"


def parse_condition(
    name: str, targets: Mapping[str, Target], ports: Sequence[str] | None = None
) -> Condition:
    """Return the condition of a name.

    Parameters
    ----------
    name : str
        Targets joined by ``+``, such as ``z+c``, or ``z-decode``.
    targets : mapping of str to Target
        Those of the experiment.
    ports : sequence of str, optional
        What the generator takes, from :attr:`vox2pix.diffusion.LatentDiffusion.ports`.

    Raises
    ------
    UserError
        For a target that the experiment does not have, two targets on one port, a port that the
        generator does not have, or ``NAME-decode`` of a target that gives no image.
    """
    if name.endswith(_PREVIEW):
        target = name.removesuffix(_PREVIEW)
        _check_known(name, (target,), targets)
        if not targets[target].has_preview():
            raise UserError(
                f"The condition {name!r} cannot be drawn: {target} gives no image without "
                f"denoising. Draw {target!r} instead."
            )
        return Condition((target,), denoised=False)
    condition = Condition(tuple(name.split("+")))
    _check_known(name, condition.targets, targets)
    check_ports(condition.targets, targets, ports)
    return condition


def check_ports(
    names: Iterable[str], targets: Mapping[str, Target], ports: Sequence[str] | None = None
) -> None:
    """Refuse targets that share a port, or whose port the generator does not have."""
    taken: dict[str, str] = {}
    for name in names:
        port = targets[name].port
        if ports is not None and port not in ports:
            raise UserError(
                f"The target {name!r} enters the generator at the port {port!r}, and this model "
                f"has {', '.join(ports)}. {targets[name].remedy}, or leave {name} out."
            )
        if port in taken:
            raise UserError(
                f"{taken[port]!r} and {name!r} cannot be drawn together: both enter the generator "
                f"at the port {port!r}. Choose one of them."
            )
        taken[port] = name


def default_conditions(targets: Mapping[str, Target]) -> tuple[Condition, ...]:
    """Return what is drawn where an experiment names no conditions.

    Every target that gives an image without denoising, then each target alone, then those of
    all ports together (once per choice where several targets share a port).
    """
    previews = [
        Condition((name,), denoised=False) for name in targets if targets[name].has_preview()
    ]
    return (*previews, *default_ceilings(targets))


def default_ceilings(targets: Mapping[str, Target]) -> tuple[Condition, ...]:
    """Return what is drawn from true features by default: :func:`default_conditions`, denoised."""
    by_port: dict[str, list[str]] = {}
    for name, target in targets.items():
        by_port.setdefault(target.port, []).append(name)
    together = [Condition(names) for names in product(*by_port.values())]
    return tuple(dict.fromkeys([*(Condition((name,)) for name in targets), *together]))


def fullest(conditions: Iterable[Condition], targets: Mapping[str, Target]) -> Condition:
    """Return the condition that uses most of what is decoded: the one that an audit judges.

    Among conditions of as many targets, those that are denoised come first, then those with
    content, then the first. Without any condition it is the fullest of the default ones.
    """

    def rank(condition: Condition) -> tuple[int, bool, bool]:
        has_content = any(targets[name].carries == "content" for name in condition.targets)
        return len(condition.targets), condition.denoised, has_content

    return max([*conditions] or default_conditions(targets), key=rank)


def _check_known(condition: str, names: Iterable[str], targets: Mapping[str, Target]) -> None:
    for name in names:
        if name not in targets:
            raise UserError(
                f"The condition {condition!r} names the target {name!r}, which is not decoded; "
                f"{suggest(name, targets)}"
            )
