"""Names of conditions, targets and metrics, and how their values are written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vox2pix.evaluation.protocols import PROTOCOLS
from vox2pix.evaluation.records import MetricRecord
from vox2pix.targets import TARGETS

RETRIEVAL = "retrieval"
SEEN = "seen"
DECODED, CEILING, CONTROL = "from the brain", "ceiling", "control"


class Label(NamedTuple):
    """What a condition is called, what its images are made from, and its group."""

    heading: str
    note: str = ""
    group: str = ""


_NAMED = {
    SEEN: Label("seen", "the original"),
    "shuffled": Label("shuffled", "responses to another image", CONTROL),
    "mean-response": Label("mean response", "the mean response to all images", CONTROL),
    "noise-response": Label("noise", "random responses", CONTROL),
    "held-out": Label("held out", "its cluster left out of training", CONTROL),
    "swapped": Label("swapped", "its layout, the content of another image", CONTROL),
    RETRIEVAL: Label("retrieval", "the nearest training image, no drawing", CONTROL),
}
_LOOKED_UP, _TRUE, _NO_DIFFUSION = "decoded ", "true-", "-decode"


def targets_of(condition: str) -> tuple[str, ...]:
    """Return the targets that a condition combines, such as z and c of ``true-z+c``."""
    if not condition or condition in _NAMED or condition.startswith(_LOOKED_UP):
        return ()
    return tuple(condition.removeprefix(_TRUE).removesuffix(_NO_DIFFUSION).split("+"))


def label(condition: str) -> Label:
    """Return what a condition is called in reports."""
    if condition in _NAMED:
        return _NAMED[condition]
    if condition.startswith(_LOOKED_UP):
        target = condition.removeprefix(_LOOKED_UP)
        return Label(condition, f"compared with the true {target} of all test images")
    targets = targets_of(condition)
    is_ceiling, undiffused = condition.startswith(_TRUE), condition.endswith(_NO_DIFFUSION)
    name = " + ".join(targets) + _NO_DIFFUSION * undiffused
    note = f"{'true' if is_ceiling else 'decoded'} {listed(targets)}"
    return Label(
        f"ceiling {name}" if is_ceiling else name,
        note + ", no diffusion" * undiffused,
        CEILING if is_ceiling else DECODED,
    )


def in_group(conditions: Iterable[str], group: str) -> list[str]:
    """Return the conditions of a group: from decoded targets the fullest last, ceilings first."""
    own = [name for name in conditions if label(name).group == group]
    return sorted(own, key=fullness, reverse=group == CEILING)


def fullness(condition: str) -> tuple[int, bool, bool]:
    """Return a sort key by which the fullest condition, as the audit judges it, comes last."""
    names = targets_of(condition)
    has_content = any(TARGETS[name].carries == "content" for name in names if name in TARGETS)
    return len(names), not condition.endswith(_NO_DIFFUSION), has_content


_SPACE = "\N{NO-BREAK SPACE}"
_METRICS = {"pixcorr": "PixCorr", "ssim": "SSIM"}
_FIXED = {"original": "original fixed", "reconstruction": "reconstruction fixed"}


@dataclass(frozen=True, order=True)
class Metric:
    """One column of the tables: what is measured, and by whose definition."""

    protocol: str
    name: str
    direction: str

    @classmethod
    def of(cls, record: MetricRecord) -> "Metric":
        """Name the column that a record belongs to."""
        return cls(record.protocol, record.metric, record.direction or "")

    @property
    def label(self) -> str:
        """Its name in words."""
        encoder = self.name.removeprefix("two-way ")
        identifies = self.is_share and not self.is_retrieval
        name = f"Identification ({encoder})" if identifies else _METRICS.get(encoder, encoder)
        parts = [name, _FIXED.get(self.direction, self.direction)]
        return ", ".join(part for part in parts if part)

    @property
    def is_retrieval(self) -> bool:
        """Whether decoded features are looked up; no image is drawn for that."""
        return self.name.startswith("top-")

    @property
    def is_share(self) -> bool:
        """Whether it is a share of pairs, identification, written in percent."""
        return bool(self.direction)

    @property
    def low_is_good(self) -> bool:
        """Whether a lower value is better."""
        metrics = PROTOCOLS[self.protocol].metrics if self.protocol in PROTOCOLS else ()
        return any(metric.name == self.name and metric.lower_is_better for metric in metrics)

    def written(self, value: float, signed: bool = False) -> str:
        """Write a value: percent with one decimal, others with three; a dash if there is none."""
        if not math.isfinite(value):
            return "–"
        sign = "+" if signed else ""
        text = f"{100 * value:{sign}.1f} %" if self.is_share else f"{value:{sign}.3f}"
        return text.replace("-", "−").replace(" ", _SPACE)

    def interval(self, low: float, high: float, signed: bool = False) -> str:
        """Write an interval, the unit once."""
        first, second = self.written(low, signed), self.written(high, signed)
        return first.removesuffix(f"{_SPACE}%") + f" to {second}"


def counted(n: int, thing: str) -> str:
    """Write a number of things: 1 test image, 1,000 test images."""
    return f"{n:,} {thing}{'s' * (n != 1)}"


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
