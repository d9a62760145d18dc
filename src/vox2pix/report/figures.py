"""The report's own figures: still ones by matplotlib, saved as files, and one to hover over."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.report.labels import Metric, label
from vox2pix.seeds import rng_for
from vox2pix.store import replacing, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores = Mapping[str, Sequence[float | None]]
_INK = "#123456"  # in the page it becomes the colour of the text, light or dark
_COLOUR = "#4477aa"
_GRID, _CLEAR = "rgba(128,128,128,0.3)", "rgba(0,0,0,0)"
_PIXELS = 115  # of the page, an inch of a figure at most
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vox2pix",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    ),
}


def scores_figure(metrics: Sequence[Metric], scores: Sequence[Scores]) -> "Figure":
    """Draw the scores of single images: one panel per metric, a box and points per condition.

    Boxes span the quartiles with the median, whiskers 1.5 times as much at most.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for each in scores for name in each))
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(max(3.2, 2.0 * len(metrics)), 0.7 + 0.32 * len(names)), layout="constrained"
        )
        axes = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for panel, metric, of_metric in zip(axes, metrics, scores, strict=True):
            for row, name in enumerate(names):
                scaled = _scaled(metric, of_metric.get(name, ()))
                values = np.array([value for value in scaled if value is not None], np.float64)
                if not len(values):
                    continue
                rng = rng_for(0, metric.name, name)
                panel.scatter(
                    values,
                    row + rng.uniform(-0.22, 0.22, len(values)),
                    s=3,
                    color=_COLOUR,
                    alpha=0.35,
                    linewidths=0,
                    rasterized=True,
                )
                lines = {"color": _INK, "linewidth": 0.9}
                panel.boxplot(
                    values,
                    positions=[row],
                    orientation="horizontal",
                    widths=0.55,
                    showfliers=False,
                    medianprops=lines | {"linewidth": 1.8},
                    boxprops=lines,
                    whiskerprops=lines,
                    capprops=lines,
                )
            panel.set_title(metric.label.replace(", ", "\n", 1))
            panel.set_xlabel("percent" if metric.is_share else "")
        axes[0].set_yticks(range(len(names)), [label(name).heading for name in names])
        axes[0].invert_yaxis()
    return figure


def decoding_figure(r: Mapping[str, NDArray[np.floating]], titles: Mapping[str, str]) -> "Figure":
    """Draw how well each target was decoded: a histogram of the r (n_features,) of its values."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6 * len(r), 2.1), layout="constrained")
        axes = figure.subplots(1, len(r), squeeze=False)[0]
        for panel, (name, values) in zip(axes, r.items(), strict=True):
            panel.hist(values[np.isfinite(values)], bins=np.linspace(-1, 1, 61), color=_COLOUR)
            panel.axvline(0, color=_INK, linewidth=0.9, linestyle=":")
            panel.set_title(titles[name])
            panel.set_xlabel("Pearson r over test images")
            panel.set_ylabel(f"values of {name}")
    return figure


def save_figure(figure: "Figure", path: Path, title: str) -> str:
    """Save a figure as SVG and PNG; return it as ``<svg>`` for the page.

    ``path`` has no suffix. The element takes the page's colours and shrinks with it; ``title`` is
    for those who cannot see it.
    """
    import matplotlib as mpl
    from markupsafe import escape

    drawn = StringIO()
    with mpl.rc_context(_STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out now, not once a format
        figure.savefig(drawn, format="svg", transparent=True, dpi=200, metadata={"Date": None})
        with replacing(path.with_suffix(".png")) as partial:
            figure.savefig(partial, format="png", dpi=200, facecolor="white")
    svg = drawn.getvalue()
    write_text(path.with_suffix(".svg"), svg)
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Names are unlike those of the other figures of the page.
    svg = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{path.stem}-", svg)
    svg = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg {} \1>", svg, count=1)
    names = f'role="img" aria-label="{escape(title)}" xmlns:xlink="http://www.w3.org/1999/xlink"'
    width = f'style="max-width: {figure.get_figwidth() * _PIXELS:.0f}px"'
    return svg.replace("{}", f"{names} {width}", 1)


def hover_figure(
    metrics: Sequence[Metric],
    scores: Sequence[Scores],
    images: Sequence[str],
    first: int,
) -> str:
    """Describe the scores of single images for plotly: each point names its image.

    Returns JSON of ``data``, ``layout`` and ``config`` with the metric ``first``, and of
    ``choices``: for each metric the ``title`` of its axis and the values ``y`` of each condition.
    """
    import json

    from markupsafe import escape

    names = list(dict.fromkeys(name for each in scores for name in each))
    texts = [str(escape(text)) for text in images]  # plotly reads them as HTML
    choices = [
        {
            "title": "percent" if metric.is_share else "",
            "y": [_scaled(metric, each.get(name, ())) for name in names],
        }
        for metric, each in zip(metrics, scores, strict=True)
    ]
    data = [
        {
            "type": "box",
            "name": label(name).heading,
            "y": choices[first]["y"][row],
            "text": texts,
            "hovertemplate": "%{text}: %{y:.4~g}<extra></extra>",
            "boxpoints": "all",
            "jitter": 0.5,
            "pointpos": 0,
            "marker": {"size": 4, "opacity": 0.5, "color": _COLOUR},
            "line": {"width": 1},
            "fillcolor": _CLEAR,
        }
        for row, name in enumerate(names)
    ]
    axis = {"gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID, "automargin": True}
    layout = {
        "showlegend": False,
        "height": 360,
        "margin": {"l": 56, "r": 8, "t": 16, "b": 40},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "xaxis": axis,
        "yaxis": axis | {"title": {"text": choices[first]["title"]}},
    }
    config = {
        "displaylogo": False,
        "responsive": True,
        "toImageButtonOptions": {"format": "svg", "filename": "scores"},
    }
    return json.dumps({"data": data, "layout": layout, "config": config, "choices": choices})


def _scaled(metric: Metric, values: Sequence[float | None]) -> list[float | None]:
    """Return shares in percent, other values as they are."""
    scale = 100 if metric.is_share else 1
    return [None if value is None else round(value * scale, 4) for value in values]
