import re
from functools import cache
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.text import Text
from PIL import Image

from vox2pix.encoding.figures import (
    PALETTE,
    Categories,
    Scale,
    curves,
    latent_comparison,
    layer_step_maps,
    save_figure,
)

AXES = ("strength", "Noise added before denoising (strength)", "Unique variance, % of variance")
ROIS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
LABEL = "Pearson r, test images"


def heat_table(rois=ROIS, layers=("down 1", "bottleneck", "up 1"), steps=(0, 16, 32)):
    rng = np.random.default_rng(0)
    rows = [(roi, layer, step) for roi in rois for layer in layers for step in steps]
    table = pd.DataFrame(rows, columns=["roi", "layer", "step"])
    return table.assign(mean_r=rng.uniform(0.05, 0.5, len(table)))


def curve_table(rois=ROIS, latents=("z", "z_c")):
    rows = [(roi, latent, s) for roi in rois for latent in latents for s in (0.8, 0.2, 0.5)]
    table = pd.DataFrame(rows, columns=["roi", "latent", "strength"])
    table["value"] = np.random.default_rng(1).uniform(-1, 12, len(table))
    return table.assign(low=table["value"] - 1, high=table["value"] + 2)


def comparison_table(rois=ROIS, latents=("z", "c", "z_c")):
    return curve_table(rois, latents).query("strength == 0.5").drop(columns="strength")


CHARTS = {
    "heat": lambda: layer_step_maps(heat_table(), LABEL, title="Layers"),
    "one heat": lambda: layer_step_maps(heat_table(ROIS[:1], ("mid",)), LABEL, title="Layers"),
    "curves": lambda: curves(curve_table(), *AXES, "Noise"),
    "one curve": lambda: curves(curve_table(ROIS[:1]), *AXES),
    "points": lambda: latent_comparison(
        comparison_table(), LABEL, dict.fromkeys(ROIS, 14.0), "Latents by region"
    ),
    "few points": lambda: latent_comparison(comparison_table(ROIS[:2]), LABEL, {}, "Latents"),
}


@cache
def chart(name):
    return CHARTS[name]()


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("name", CHARTS)
def test_letters_are_large_enough_and_inside_the_page(name):
    figure = chart(name).figure
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= 7.2
    assert all(text.get_fontsize() >= 7 for text in texts(figure))
    page, tight = figure.bbox_inches, figure.get_tightbbox()
    assert tight.x0 >= -0.01
    assert tight.y0 >= -0.01
    assert tight.x1 <= page.x1 + 0.01
    assert tight.y1 <= page.y1 + 0.01


@pytest.mark.parametrize("name", CHARTS)
def test_a_sentence_says_what_a_figure_shows(name):
    alt = chart(name).alt
    assert alt[0].isupper()
    assert alt.endswith(".")
    assert "early" in alt
    assert not re.search(r"nan|\. [A-Z]", alt)


def test_figures_leave_nothing_open():
    before = Gcf.get_num_fig_managers()
    CHARTS["points"]()
    assert Gcf.get_num_fig_managers() == before


def test_a_figure_saved_twice_is_the_same_bytes_and_carries_its_sentence(tmp_path):
    plots = [CHARTS["few points"](), CHARTS["few points"]()]
    saved = [save_figure(plot, tmp_path / str(i) / "a.b") for i, plot in enumerate(plots)]
    saved.append(save_figure(plots[0], tmp_path / "2" / "a.b"))
    assert [path.name for path in saved[0]] == ["a.b.png", "a.b.svg"]
    for paths in saved[1:]:
        for path, first in zip(paths, saved[0], strict=True):
            assert path.read_bytes() == first.read_bytes()
    with Image.open(saved[0][0]) as image:
        assert image.info["Description"] == plots[0].alt
        assert image.size == tuple(200 * plots[0].figure.get_size_inches())
    assert plots[0].alt in "".join(ElementTree.parse(saved[0][1]).getroot().itertext())


def test_a_heat_map_writes_each_number_at_its_layer_and_step():
    table = heat_table(ROIS[:2])
    table.loc[(table["roi"] == "early") & (table["layer"] == "up 1"), "mean_r"] = np.nan
    figure = layer_step_maps(table, LABEL).figure
    panels = figure.axes[:2]
    assert [ax.get_title() for ax in panels] == ["early", "midventral"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "down 1",
        "bottleneck",
        "up 1",
    ]
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["0", "16", "32"]
    for ax, roi in zip(panels, ROIS, strict=False):
        scored = table[(table["roi"] == roi) & table["mean_r"].notna()]
        places = {text.get_position(): text.get_text() for text in ax.texts}
        assert len(places) == len(scored)
        for row in scored.itertuples():
            place = ((0, 16, 32).index(row.step), ("down 1", "bottleneck", "up 1").index(row.layer))
            assert places[place] == f"{row.mean_r:.2f}".lstrip("0")
    assert figure.get_supxlabel() == "Denoising steps done"
    assert figure.axes[-1].get_ylabel() == LABEL


def test_heat_maps_share_one_scale():
    table = heat_table(ROIS[:2], ("a",), (0, 1)).assign(mean_r=[0.1, 0.4, 0.2, 0.1])
    figure = layer_step_maps(table, LABEL).figure
    early, other = (ax.images[0].get_array() for ax in figure.axes[:2])
    viridis = matplotlib.colormaps["viridis"]
    np.testing.assert_allclose(early[0, 0], viridis(0.25))
    np.testing.assert_allclose(early[0, 1], viridis(1.0))
    np.testing.assert_array_equal(early[0, 0], other[0, 1])


def test_curves_run_through_the_values_within_their_bands():
    table = curve_table(ROIS[:2])
    figure = curves(table, *AXES).figure
    for ax, roi in zip(figure.axes[:2], ROIS, strict=False):
        assert ax.get_title() == roi
        lines = {line.get_label(): line for line in ax.lines}
        for latent, band in zip(("z", "z_c"), ax.collections, strict=True):
            one = table[(table["roi"] == roi) & (table["latent"] == latent)]
            one = one.sort_values("strength")
            np.testing.assert_array_equal(lines[latent].get_xdata(), [0.2, 0.5, 0.8])
            np.testing.assert_array_equal(lines[latent].get_ydata(), one["value"])
            outline = band.get_paths()[0].vertices[:, 1]
            assert (outline.min(), outline.max()) == (one["low"].min(), one["high"].max())
    assert figure.get_supylabel() == "Unique variance, % of variance"
    assert figure.get_supxlabel() == "Noise added before denoising (strength)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["z", "z_c"]


def test_points_stand_at_their_region_with_interval_and_ceiling():
    table = comparison_table(ROIS[:3])
    figure = latent_comparison(table, LABEL, {"early": 14.0, "midlateral": 15.0}).figure
    (ax,) = figure.axes
    assert ax.get_ylabel() == LABEL
    assert [label.get_text() for label in ax.get_xticklabels()] == list(ROIS[:3])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "z",
        "c",
        "z_c",
        "noise ceiling",
    ]
    for latent, drawn in zip(("z", "c", "z_c"), ax.containers, strict=True):
        one = table[table["latent"] == latent]
        points, _, (bars,) = drawn.lines
        np.testing.assert_array_equal(np.round(points.get_xdata()), [0, 1, 2])
        np.testing.assert_allclose(points.get_ydata(), one["value"])
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, one[["low", "high"]])
    ceilings = np.array(ax.collections[-1].get_segments())
    np.testing.assert_array_equal(ceilings[:, 0, 1], [14, 15])
    np.testing.assert_array_equal(ceilings[:, :, 0].mean(axis=1), [0, 2])


def test_more_latents_than_colours_are_refused():
    with pytest.raises(ValueError, match="There are 9 latents: draw 8 at most"):
        latent_comparison(comparison_table(ROIS[:1], tuple("abcdefghi")), LABEL)
    with pytest.raises(ValueError, match="There are 9 names: give 1 to 8"):
        Categories("Best layer", tuple("abcdefghi"))


def test_a_scale_clips_numbers_and_leaves_nan_clear():
    colours = Scale(LABEL, 0, 0.5, "cividis").colours([-1.0, 0.25, 2.0, np.nan])
    cividis = matplotlib.colormaps["cividis"]
    np.testing.assert_allclose(colours[:3], [cividis(0.0), cividis(0.5), cividis(1.0)])
    assert colours[3, 3] == 0


def test_categories_have_the_colours_of_the_palette():
    colours = Categories("Best layer", ("down", "up")).colours([1, np.nan, 0])
    assert [matplotlib.colors.to_hex(colour).upper() for colour in colours[[0, 2]]] == [
        PALETTE[1],
        PALETTE[0],
    ]
    assert colours[1, 3] == 0
