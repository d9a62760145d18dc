import re

import numpy as np
import pytest

from vox2pix.encoding.cortex import save_turning_cortex
from vox2pix.encoding.figures import Scale

N = 10_242


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "cortex_z.html"
    values = {hemi: np.full(163_842, np.nan) for hemi in ("lh", "rh")}  # fsaverage
    values["lh"][:100] = 0.25
    values["rh"][:50] = 0.5
    save_turning_cortex(values, Scale("Pearson r", 0, 0.5), path, "Where z predicts responses")
    return path


def test_a_page_is_small_and_asks_for_the_script_beside_it_alone(page):
    text = page.read_text()
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]*)"', text) == ["plotly.min.js"]
    assert (page.parent / "plotly.min.js").exists()
    assert page.stat().st_size < 2e6
    assert sorted(p.name for p in page.parent.iterdir()) == ["cortex_z.html", "plotly.min.js"]


def test_it_says_what_is_shown_with_its_scale(page):
    text = page.read_text()
    assert "Where z predicts responses" in text
    assert "Pearson r" in text
    assert re.search(r'"cmax":\s*0\.5', text)
    assert re.search(r'"cmin":\s*0(\.0)?\b', text)


def test_only_places_with_a_value_are_coloured(page):
    colours = re.search(r'"vertexcolor":\s*\[(.*?)\]', page.read_text())[1]
    rgb = np.array(re.findall(r"#([0-9a-f]{6})", colours))
    assert len(rgb) == 2 * N
    grey = np.array([c[:2] == c[2:4] == c[4:] for c in rgb])
    assert set(np.flatnonzero(~grey)) == {*range(100), *range(N, N + 50)}
