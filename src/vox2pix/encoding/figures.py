"""Figures of encoding results: colour scales, heat maps, curves, comparisons, files.

Figures are made without pyplot: there is no global state. Sizes are those of print, 183 mm wide
at most, with letters of 7 points or more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from vox2pix.store import replacing

__all__ = [
    "NORMAL",
    "PALETTE",
    "SMALL",
    "WIDTH",
    "Categories",
    "Plot",
    "Scale",
    "curves",
    "finished",
    "latent_comparison",
    "layer_step_maps",
    "new_figure",
    "save_figure",
]

WIDTH = 7.2  # inches, a page's full width
SMALL, NORMAL = 7, 8  # points
_DPI = 200
# Okabe & Ito (2008), "Color Universal Design", without its black and with grey at the end.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#999999",
)
_MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Plot:
    """A figure, and one plain sentence (``alt``) for readers who cannot see it."""

    figure: Figure
    alt: str


@dataclass(frozen=True)
class Scale:
    """Colours of numbers from ``low`` to ``high``; values beyond have the colour of the end.

    ``label`` says what is coloured, with its unit. For differences take a diverging ``cmap`` such
    as ``PuOr_r`` and ends that are equal but for the sign.
    """

    label: str
    low: float
    high: float
    cmap: str = "viridis"

    def colours(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return RGBA of each value, transparent for NaN."""
        numbers = np.ma.masked_invalid(np.asarray(values, float))
        return np.asarray(self._mappable().to_rgba(numbers))

    def add_key(
        self,
        figure: Figure,
        axes: Sequence[Axes],
        beyond: tuple[bool, bool],
        location: Literal["bottom", "right"] = "bottom",
    ) -> None:
        """Add the colour bar, pointed at the ends beyond which there are values."""
        extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}
        bar = figure.colorbar(
            self._mappable(),
            ax=axes,
            location=location,
            shrink=0.45 if location == "bottom" else 0.8,
            aspect=28,
            pad=0.03,
            extend=extend.get(beyond, "both"),
        )
        bar.set_label(self.label, fontsize=NORMAL)
        bar.ax.tick_params(labelsize=SMALL)

    def _mappable(self) -> ScalarMappable:
        cmap = matplotlib.colormaps[self.cmap].with_extremes(bad=(0, 0, 0, 0))
        return ScalarMappable(Normalize(self.low, self.high), cmap)


@dataclass(frozen=True)
class Categories:
    """Colours of up to eight kinds, safe for colour-blind readers.

    Value i of a map is the colour of ``names[i]``; ``label`` says what the kinds are.
    """

    label: str
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= len(PALETTE):
            raise ValueError(f"There are {len(self.names)} names: give 1 to {len(PALETTE)}.")

    def colours(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return RGBA of each value, transparent for NaN."""
        numbers = np.asarray(values, float)
        finite = np.isfinite(numbers)
        table = np.array([to_rgba(colour) for colour in PALETTE[: len(self.names)]])
        out = np.zeros((*numbers.shape, 4))
        out[finite] = table[numbers[finite].astype(int)]
        return out

    def add_key(self, figure: Figure, axes: Sequence[Axes], beyond: tuple[bool, bool]) -> None:
        """Add the legend; kinds have no ends to be beyond."""
        del axes, beyond
        figure.legend(
            handles=[
                Patch(facecolor=colour, edgecolor="0.3", linewidth=0.4, label=name)
                for colour, name in zip(PALETTE, self.names, strict=False)
            ],
            loc="outside lower center",
            ncols=min(len(self.names), 5),
            title=self.label,
            fontsize=SMALL,
            title_fontsize=NORMAL,
            frameon=False,
        )


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of a size in inches with a constrained layout."""
    return Figure((width, height), dpi=_DPI, layout="constrained")


def finished(figure: Figure, title: str, alt: str) -> Plot:
    """Add a title in the upper left corner, unless it is empty, and fix the layout.

    A layout that is computed again at each drawing starts from the last one and moves a little: the
    same figure would not give the same file twice.
    """
    if title:
        figure.suptitle(title, fontsize=NORMAL + 1, x=0.01, horizontalalignment="left")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    return Plot(figure, alt)


def save_figure(plot: Plot, path: Path) -> list[Path]:
    """Write a figure as ``path`` + ``.png`` (200 dpi) and ``.svg``, with its sentence inside.

    The same figure gives the same bytes with the same version of matplotlib.
    """
    # A canvas of its own draws once; Figure.savefig draws twice, first to settle the layout.
    settings: dict[str, tuple[Any, dict[str, Any]]] = {
        ".png": (FigureCanvasAgg, {"Software": None}),
        ".svg": (FigureCanvasSVG, {"Date": None, "Creator": None}),
    }
    paths = []
    # ids in SVG files are random without a salt
    with matplotlib.rc_context({"svg.hashsalt": "vox2pix"}):
        for suffix, (canvas, metadata) in settings.items():
            target = path.with_name(f"{path.name}{suffix}")
            plot.figure.set_dpi(_DPI)  # SVG leaves it at 72
            with replacing(target) as partial:
                draw = getattr(canvas(plot.figure), f"print_{suffix[1:]}")
                draw(partial, metadata={"Description": plot.alt, **metadata})
            paths.append(target)
    return paths


def layer_step_maps(
    table: pd.DataFrame, label: str, value: str = "mean_r", title: str = ""
) -> Plot:
    """Show a number by layer and denoising step, one panel per region.

    The table is that of :func:`~vox2pix.encoding.tables.roi_summary`. Layers and regions are drawn
    in the order of their first rows, on one scale; ``label`` says what the column ``value`` is,
    with its unit.
    """
    rois, layers = list(pd.unique(table["roi"])), list(pd.unique(table["layer"]))
    steps = sorted(pd.unique(table["step"]))
    figure, panels = _region_panels(rois, 0.24 * len(layers) + 0.45, 0.5, lowest=2.3)
    numbers = table[value].to_numpy(float)
    scale = Scale(label, min(0.0, float(np.nanmin(numbers))), float(np.nanmax(numbers)))
    for ax, roi in zip(panels.flat, rois, strict=False):
        one = table[table["roi"] == roi].pivot(index="layer", columns="step", values=value)
        grid = one.reindex(index=layers, columns=steps).to_numpy(float)
        colours = scale.colours(grid)
        ax.imshow(colours, aspect="auto", interpolation="nearest")
        _style(ax, roi)
        ax.set_xticks(range(len(steps)), [str(step) for step in steps])
        ax.set_yticks(range(len(layers)), layers)
        ax.tick_params(length=0, labelbottom=True)
        ax.spines[:].set_visible(False)
        if len(steps) * panels.shape[1] <= 24:
            _write_cells(ax, grid, colours)
    figure.supxlabel("Denoising steps done", fontsize=NORMAL)
    scale.add_key(figure, list(panels.flat), (False, False), "right")
    alt = (
        f"Heat maps of {_words(label)} by layer and denoising step, one panel per region "
        f"({', '.join(rois)}): {_peaks(table, value)}."
    )
    return finished(figure, title, alt)


def curves(table: pd.DataFrame, x: str, x_label: str, label: str, title: str = "") -> Plot:
    """Show a number of each latent along noise levels or denoising steps, one panel per region.

    The table has one row per region, latent and place: ``roi``, ``latent``, ``value`` (which
    ``label`` describes, with its unit), the ends of its interval ``low`` and ``high``, and the
    column that ``x`` names. ValueError if there are more latents than colours (eight).
    """
    rois, latents = list(pd.unique(table["roi"])), _latents(table)
    figure, panels = _region_panels(rois, 1.7, 0.6)
    for ax, roi in zip(panels.flat, rois, strict=False):
        ax.axhline(0, color="0.6", linewidth=0.6)
        for latent, colour, marker in zip(latents, PALETTE, _MARKERS, strict=False):
            one = table[(table["roi"] == roi) & (table["latent"] == latent)]
            one = one.sort_values(x)
            places = one[x].to_numpy(float)
            ax.fill_between(
                places, one["low"].to_numpy(float), one["high"].to_numpy(float),
                color=colour, alpha=0.25, linewidth=0,
            )  # fmt: skip
            ax.plot(
                places, one["value"].to_numpy(float), color=colour, marker=marker,
                markersize=3, linewidth=1.2, label=latent,
            )  # fmt: skip
        _style(ax, roi)
        ax.tick_params(labelbottom=True)
    figure.supxlabel(x_label, fontsize=NORMAL)
    figure.supylabel(label, fontsize=NORMAL)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper right", ncols=len(names), fontsize=SMALL, frameon=False
    )
    first, last = (table[table[x] == end] for end in (table[x].min(), table[x].max()))
    alt = (
        f"Curves with intervals of {_words(label)} against {_words(x_label)}, one panel "
        f"per region ({', '.join(rois)}), one line per latent ({', '.join(latents)}): "
        f"mean over regions {_means(first)} at the left end and {_means(last)} at the right."
    )
    return finished(figure, title, alt)


def latent_comparison(
    table: pd.DataFrame,
    label: str,
    ceilings: Mapping[str, float] | None = None,
    title: str = "",
) -> Plot:
    """Compare latents by region, with intervals and the noise ceiling (in the unit of ``value``).

    The table has one row per region and latent: ``roi``, ``latent``, ``value``, ``low``, ``high``.
    ValueError if there are more latents than colours (eight).
    """
    rois, latents = list(pd.unique(table["roi"])), _latents(table)
    width = min(WIDTH, max(4.0, 1.0 + 0.9 * len(rois)))
    figure = new_figure(3.0, width)
    ax = figure.subplots()
    offsets = (np.arange(len(latents)) - (len(latents) - 1) / 2) * 0.7 / len(latents)
    for i, latent in enumerate(latents):
        one = table[table["latent"] == latent].set_index("roi").reindex(rois)
        y, low, high = (one[name].to_numpy(float) for name in ("value", "low", "high"))
        ax.errorbar(
            np.arange(len(rois)) + offsets[i], y, [y - low, high - y], fmt=_MARKERS[i],
            color=PALETTE[i], markersize=4, elinewidth=1, capsize=2, label=latent,
        )  # fmt: skip
    handles, names = ax.get_legend_handles_labels()
    if ceilings:
        shown = [i for i, roi in enumerate(rois) if roi in ceilings]
        handles += [
            ax.hlines(
                [ceilings[rois[i]] for i in shown], np.array(shown) - 0.42, np.array(shown) + 0.42,
                colors="0.35", linestyles="dashed", linewidth=1,
            )
        ]  # fmt: skip
        names += ["noise ceiling"]
    ax.axhline(0, color="0.6", linewidth=0.6)
    _style(ax, "")
    ax.set_xticks(range(len(rois)), rois)
    ax.set_ylabel(label, fontsize=NORMAL)
    ax.set_xlim(-0.5, len(rois) - 0.5)
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(len(names), int(width / 0.85)),
        fontsize=SMALL,
        frameon=False,
    )
    alt = (
        f"Points with intervals of {_words(label)} of the latents {', '.join(latents)} by region: "
        + "; ".join(f"{roi} {_means(table[table['roi'] == roi])}" for roi in rois)
        + "."
    )
    return finished(figure, title, alt)


def _region_panels(
    rois: Sequence[str], panel: float, rest: float, lowest: float = 0
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure with one panel per region, up to four side by side; sizes in inches."""
    n_columns = min(len(rois), 4)
    n_rows = -(-len(rois) // n_columns)
    figure = new_figure(max(lowest, n_rows * panel + rest))
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for ax in panels.flat[len(rois) :]:
        ax.set_axis_off()
    return figure, panels


def _latents(table: pd.DataFrame) -> list[str]:
    """Return the latents of a table, if there are colours for them."""
    latents = list(pd.unique(table["latent"]))
    if len(latents) > len(PALETTE):
        raise ValueError(f"There are {len(latents)} latents: draw {len(PALETTE)} at most.")
    return latents


def _style(ax: Axes, title: str) -> None:
    """Set the sizes of letters and lines."""
    ax.set_title(title, fontsize=NORMAL)
    ax.tick_params(labelsize=SMALL, width=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_linewidth(0.6)


def _write_cells(ax: Axes, grid: NDArray[Any], colours: NDArray[np.float64]) -> None:
    """Write the numbers into a heat map, white on dark and black on light cells."""
    luminance = colours[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    for (row, column), number in np.ndenumerate(grid):
        if np.isfinite(number):
            text = f"{number:.2f}".replace("0.", ".", 1)
            dark = luminance[row, column] < 0.5
            ax.text(
                column, row, text, ha="center", va="center", fontsize=SMALL,
                color="white" if dark else "black",
            )  # fmt: skip


def _words(label: str) -> str:
    """Return a label as part of a sentence."""
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def _means(table: pd.DataFrame) -> str:
    """Return the mean value of each latent in words."""
    means = table.groupby("latent", sort=False)["value"].mean()
    return ", ".join(f"{latent} {value:.2f}" for latent, value in means.items())


def _peaks(table: pd.DataFrame, value: str) -> str:
    """Return the best layer and step of each region in words."""
    best = table.loc[table.groupby("roi", sort=False)[value].idxmax()]
    return "; ".join(
        f"{row['roi']} is highest in {row['layer']} at step {row['step']} ({row[value]:.2f})"
        for _, row in best.iterrows()
    )
