"""Printed results, each with the protocol that it was computed by."""

from dataclasses import dataclass

COLUMNS = ("PixCorr", "SSIM", "AlexNet(2)", "AlexNet(5)", "Inception", "CLIP", "EffNet-B", "SwAV")
"""The eight metrics of the field's table; the last two are distances, lower is better."""


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table, means over NSD subjects 1, 2, 5 and 7, computed by ``protocol``.

    ``values`` are in the order of :data:`COLUMNS`, identification in per cent.
    """

    protocol: str
    method: str
    values: tuple[float, ...]
    source: str
    note: str = ""


@dataclass(frozen=True)
class PublishedRetrieval:
    """Published top-1 retrieval among 300 candidates, in per cent; chance is 1/3.

    ``original`` is with the image fixed (the papers' "image retrieval", ``fwd`` in MindEye's code),
    ``reconstruction`` with the brain's embedding fixed ("brain retrieval", ``bwd``).
    """

    method: str
    original: float
    reconstruction: float
    source: str


_TABLE = "MindEye2 (Scotti et al. 2024), table 1"
_PAPER = "MindEye2 (Scotti et al. 2024)"
_BLENDS = "of blends, 0.75 of the enhanced image and 0.25 of the low-level one"

_NEW = "perhaps of the images of the follow-up paper, not of those of CVPR 2023"
_RAW = "before the refinement by SDXL"
_HOUR = f"one hour of data for each subject; {_BLENDS}"
_LOW = "its low-level branch alone: best in pixels, worst in content"
_OWN = "collected from its own paper"

PUBLISHED: tuple[PublishedRow, ...] = tuple(
    PublishedRow("mindeye2", method, values, source, note)
    for method, values, source, note in (
        (
            "Takagi & Nishimoto",
            (0.246, 0.410, 78.9, 85.6, 83.8, 82.1, 0.811, 0.504),
            _TABLE,
            _NEW,
        ),
        ("Brain-Diffuser", (0.273, 0.365, 94.4, 96.6, 91.3, 90.9, 0.728, 0.421), _TABLE, ""),
        ("MindEye1", (0.319, 0.360, 92.8, 96.9, 94.6, 93.3, 0.648, 0.377), _TABLE, ""),
        ("MindEye2", (0.322, 0.431, 96.1, 98.6, 95.4, 93.0, 0.619, 0.344), _TABLE, _BLENDS),
        ("MindEye2 unrefined", (0.278, 0.328, 95.2, 99.0, 96.4, 94.5, 0.622, 0.343), _PAPER, _RAW),
        ("MindEye2, 1 hour", (0.195, 0.419, 84.2, 90.6, 81.2, 79.2, 0.810, 0.468), _PAPER, _HOUR),
        ("MindEye2 low-level", (0.399, 0.539, 70.5, 65.1, 52.9, 57.2, 0.984, 0.673), _PAPER, _LOW),
        ("Brain-IT", (0.386, 0.486, 98.4, 99.5, 97.3, 96.4, 0.564, 0.320), "Brain-IT (2025)", _OWN),
    )
)
"""Printed results, to compare with one's own under the same protocol."""

PUBLISHED_RETRIEVAL: tuple[PublishedRetrieval, ...] = (
    PublishedRetrieval("Brain-Diffuser", 18.8, 26.3, _PAPER),
    PublishedRetrieval("MindEye1", 90.0, 84.1, _PAPER),
    PublishedRetrieval("MindEye2", 98.8, 98.3, _PAPER),
    PublishedRetrieval("MindEye2, 1 hour", 79.0, 57.4, _PAPER),
)
"""Of embeddings decoded from the brain, not of images: ``vox2pix evaluate`` has no such number."""


def published_under(protocol: str) -> tuple[PublishedRow, ...]:
    """Return the published rows that were computed by a protocol."""
    return tuple(row for row in PUBLISHED if row.protocol == protocol)
