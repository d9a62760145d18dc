"""Names of conditions and metrics, and how their values are written."""

import math
from dataclasses import dataclass

from vox2pix.evaluation.protocols import PROTOCOLS
from vox2pix.evaluation.records import MetricRecord

RETRIEVAL = "retrieval"
CONDITIONS = {
    "z-decode": ("z-decode", "decoded z, no diffusion"),
    "z": ("z", "decoded z, empty prompt"),
    "c": ("c", "decoded c, from noise"),
    "z+c": ("z + c", "decoded z and c"),
    "true-z-decode": ("ceiling z-decode", "true z, no diffusion"),
    "true-z": ("ceiling z", "true z"),
    "true-c": ("ceiling c", "true c"),
    "true-z+c": ("ceiling", "true z and c"),
    "shuffled": ("shuffled brain", "another image's responses"),
    "mean-brain": ("mean brain", "the mean response"),
    "noise-brain": ("noise brain", "random responses"),
    "held-out": ("held out", "its cluster left out of training"),
    "swapped": ("swapped", "its z, another image's c"),
    RETRIEVAL: ("retrieval", "the nearest training image, undrawn"),
    "decoded z": ("decoded z", "held against the z of all test images"),
    "decoded c": ("decoded c", "held against the c of all test images"),
}
"""Heading and small print of each condition; others go by their own name."""

DECODED = ("z-decode", "z", "c", "z+c")
CEILINGS = ("true-z+c", "true-z", "true-c", "true-z-decode")

_SPACE = "\N{NO-BREAK SPACE}"
_METRICS = {"pixcorr": "PixCorr", "ssim": "SSIM"}
_FIXED = {"original": "original fixed", "reconstruction": "reconstruction fixed"}


@dataclass(frozen=True, order=True)
class Metric:
    """One column of the tables: what is measured, and by whose definition.

    Attributes
    ----------
    protocol, name, direction : str
        As in :class:`~vox2pix.evaluation.records.MetricRecord`; ``direction`` is empty where
        there is none.
    """

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
        known = f"Identification ({encoder})" if identifies else _METRICS.get(encoder, encoder)
        parts = [known, _FIXED.get(self.direction, self.direction)]
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
        known = PROTOCOLS[self.protocol].metrics if self.protocol in PROTOCOLS else ()
        return any(metric.name == self.name and metric.lower_is_better for metric in known)

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


def heading(condition: str) -> str:
    """Return what a condition is called in the page."""
    return CONDITIONS.get(condition, (condition, ""))[0]


def small_print(condition: str) -> str:
    """Return what a condition was drawn from, empty if unknown."""
    return CONDITIONS.get(condition, ("", ""))[1]


def counted(n: int, thing: str) -> str:
    """Say how many there are of a thing: 1 test image, 1,000 test images."""
    return f"{n:,} {thing}{'s' * (n != 1)}"


def listed(names: list[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""
