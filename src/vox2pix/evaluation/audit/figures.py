"""One small figure a finding."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.audit.finding import Finding
from vox2pix.seeds import rng_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "black"
_COLOUR, _OTHER, _LIMIT = "#4477aa", "#999933", "#cc6677"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}
_POINTS: Any = {"s": 9, "alpha": 0.5, "linewidths": 0}
_GUIDE: Any = {"color": _INK, "linewidth": 0.9, "linestyle": ":"}
_INCH_A_ROW = 0.42


def audit_figure(finding: Finding) -> tuple["Figure", str]:
    """Draw a finding; return the figure and what it shows, for those who cannot see it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    name = "control" if finding.name.endswith(" control") else finding.name.split(",")[0]
    if name not in _DRAWN:
        raise ValueError(f"There is no figure of {finding.name!r}.")
    height, draw = _DRAWN[name]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, height), layout="constrained")
        shown = draw(figure.subplots(), finding)
    return figure, f"{shown} {finding.sentence}"


def _two_strips(names: tuple[str, str], other: str, of_name: str) -> Callable[[Any, Finding], str]:
    """Return what draws the scores of a finding above others of the same images."""

    def draw(panel: Any, finding: Finding) -> str:
        first, second = (name.format(finding.name) for name in names)
        rows = {first: finding.details["scores"], second: finding.details[other]}
        chance = finding.references["chance"]
        _strips(panel, rows, "score of a test image", chance, "chance")
        return f"Scores of single test images {of_name.format(finding.name)}."

    return draw


def _swap(panel: Any, finding: Finding) -> str:
    # Each lead in units of its own spread: layout and content are measured on two scales.
    leads = {
        label: finding.details[key] / (np.std(finding.details[key]) or 1)
        for label, key in (
            ("layout", "layout_lead"),
            ("content", "content_lead"),
        )
    }
    _strips(panel, leads, "nearer to its own donor by (SD)", 0, "")
    return "By how much swapped images are nearer to the donor that they should follow."


def _strips(
    panel: Any, rows: Mapping[str, NDArray[Any]], xlabel: str, guide: float, guide_name: str
) -> None:
    """Draw a row of points for each set of scores, with its mean, and a line to compare with."""
    panel.axvline(guide, **_GUIDE)
    if guide_name:
        above = panel.get_xaxis_transform()
        panel.text(guide, 1.02, guide_name, ha="center", va="bottom", transform=above)
    for row, (label, scores) in enumerate(rows.items()):
        jitter = rng_for(0, label).uniform(-0.2, 0.2, len(scores))
        panel.scatter(scores, row + jitter, color=_COLOUR, **_POINTS)
        panel.plot([scores.mean()] * 2, [row - 0.32, row + 0.32], color=_INK, linewidth=2)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel(xlabel)


def _baseline(panel: Any, finding: Finding) -> str:
    shown, drawn = finding.details["baseline_scores"], finding.details["scores"]
    panel.scatter(shown, drawn, color=_COLOUR, **_POINTS)
    panel.axline((shown.mean(), shown.mean()), slope=1, **_GUIDE)
    panel.plot(shown.mean(), drawn.mean(), "+", color=_INK, markersize=12, markeredgewidth=2)
    panel.set_xlabel("score of the nearest training image")
    panel.set_ylabel("score of the reconstruction")
    panel.set_aspect("equal", "datalim")
    return "Each test image's score by its nearest training image and by its reconstruction."


def _distance(panel: Any, finding: Finding) -> str:
    far, scores = finding.details["distances"], finding.details["scores"]
    panel.scatter(far, scores, color=_COLOUR, **_POINTS)
    panel.axhline(finding.references["chance"], **_GUIDE)
    order = np.argsort(far, kind="stable")
    for half in (order[: len(far) // 2], order[len(far) // 2 :]):
        mean = scores[half].mean()
        panel.plot([far[half].min(), far[half].max()], [mean, mean], color=_INK, linewidth=2)
    panel.set_xlabel("distance to the nearest training stimulus (1 - r)")
    panel.set_ylabel("score")
    return "Score of each test image against its distance to training, with means of both halves."


def _spectra(panel: Any, finding: Finding) -> str:
    lines = {"true": _OTHER, "predicted": _COLOUR}
    for name, colour in lines.items():
        sigma = finding.details[name]
        # The mean is gone, and with it one direction, which rounding leaves near zero.
        sigma = sigma[sigma > 1e-6 * finding.details["true"].max()]
        panel.semilogy(np.arange(1, len(sigma) + 1), sigma, color=colour, label=name)
    panel.set_xlabel("direction")
    panel.set_ylabel("singular value")
    panel.legend()
    return "Singular values of the true and of the predicted features, in falling order."


def _duplicates(panel: Any, finding: Finding) -> str:
    distance = finding.details["distance"]
    # As good as every hash has half of its bits set, so that two differ in an even number of them.
    panel.hist(distance, np.arange(-1, distance.max() + 2, 2), color=_COLOUR, rwidth=0.9)
    threshold = finding.references["threshold in bits"]
    zone = {"color": _LIMIT, "alpha": 0.25, "linewidth": 0, "label": "near-duplicates"}
    panel.axvspan(-1, threshold + 1, **zone)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1))
    panel.set_xlim(left=-1)
    panel.set_xlabel("bits to the nearest training image, of 64")
    panel.set_ylabel("test images")
    return "How many bits of the perceptual hash part test images from the nearest training one."


def _copies(panel: Any, finding: Finding) -> str:
    drawn = finding.details["r_reconstructions"]
    originals = finding.details["r_originals"]
    x = np.linspace(min(0, originals.min()), 1, 200)
    panel.fill_between(
        x, np.maximum(0.95, (1 + x) / 2), 1, color=_LIMIT, alpha=0.25, linewidth=0, label="copies"
    )
    panel.scatter(
        np.repeat(originals, drawn.shape[1]), drawn.ravel(), color=_COLOUR, clip_on=False, **_POINTS
    )
    panel.axline((0.5, 0.5), slope=1, **_GUIDE)
    panel.set_xlim(x[0], 1)
    panel.set_ylim(min(0, float(drawn.min())), 1)
    panel.set_xlabel("r of the original with its nearest")
    panel.set_ylabel("r of the reconstruction with its nearest")
    panel.legend(loc="lower right")
    return "Correlation of reconstructions and of originals with their nearest training images."


def _diversity(panel: Any, finding: Finding) -> str:
    names = ("originals", "reconstructions")
    panel.barh(names, [finding.references[name] for name in names], 0.6, color=[_OTHER, _COLOUR])
    panel.invert_yaxis()
    panel.set_xlabel("mean distance between images (1 - r)")
    return "How much originals differ from each other, and how much reconstructions do."


_Draw = Callable[[Any, Finding], str]
_STRIPS = 0.75 + 2 * _INCH_A_ROW
_DRAWN: dict[str, tuple[float, _Draw]] = {
    "control": (
        _STRIPS,
        _two_strips(("real responses", "{}"), "null_scores", "of the real responses and the {}"),
    ),
    "ceiling": (
        _STRIPS,
        _two_strips(
            ("decoded features", "true features"),
            "ceiling_scores",
            "drawn from decoded and from true features",
        ),
    ),
    "held-out clusters": (
        _STRIPS,
        _two_strips(
            ("ordinary training", "cluster held out"),
            "held_out_scores",
            "with ordinary training and with their cluster held out",
        ),
    ),
    "within clusters": (
        _STRIPS,
        _two_strips(
            ("among all", "within its cluster"),
            "within_scores",
            "identified among all others and within their cluster",
        ),
    ),
    "swap": (_STRIPS, _swap),
    "diversity": (1.3, _diversity),
    "retrieval baseline": (3.4, _baseline),
    "distance to training": (2.6, _distance),
    "effective rank": (2.4, _spectra),
    "near duplicates": (2.2, _duplicates),
    "copies": (3.4, _copies),
}
