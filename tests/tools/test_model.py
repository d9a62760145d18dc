"""The networks that ship: what their card says, and that a few images bear it out."""

import json

import pytest

from tools.phantom_model import card, detector
from vox2pix.diffusion.pipeline_folder import find_pipeline

N_BY_CARD, N_HERE = 200, 16


@pytest.fixture(scope="module")
def folder():
    return find_pipeline("phantom").path


@pytest.fixture(scope="module")
def stated(folder):
    return json.loads((folder / "card.json").read_text())


def test_the_card_holds_what_the_model_was_made_for(stated):
    assert stated["n"] == N_BY_CARD
    assert stated["psnr_db"] >= 26
    assert stated["renders"]["count"] >= 0.97
    assert stated["renders"]["pair"] >= 0.95
    assert stated["weights_mb"] <= 45


def test_a_few_images_bear_the_card_out(folder, stated):
    table, figures = card.measure(folder, detector.load(card.DETECTOR), N_HERE)
    assert figures["psnr_db"] == pytest.approx(stated["psnr_db"], abs=1)
    assert figures["weights_mb"] == pytest.approx(stated["weights_mb"])
    for name in card.ROWS:
        for figure in ("count", "pair"):
            error = stated[name][f"{figure}_se"] * (N_BY_CARD / N_HERE) ** 0.5
            assert abs(table[name][figure] - stated[name][figure]) <= 4 * error + 0.02, (
                name,
                figure,
            )


def test_the_card_that_ships_is_the_one_that_its_figures_make(folder, stated, tmp_path):
    (tmp_path / "training.json").write_text((folder / "training.json").read_text())
    table = {name: stated.pop(name) for name in card.ROWS}
    n = stated.pop("n")
    assert (
        card.write_card(tmp_path, table, stated, n).read_text()
        == (folder / "README.md").read_text()
    )
