from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vox2pix.report import Rows, choose_rows, contact_sheet, save_sheet


def flat(*greys: float, size: int = 32) -> np.ndarray:
    return np.stack([np.full((size, size, 3), grey, np.float32) for grey in greys])


def coloured(*colours: tuple[float, float, float]) -> np.ndarray:
    return np.stack([np.full((32, 32, 3), colour, np.float32) for colour in colours])


RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def centres(sheet: Image.Image, colour: tuple[float, float, float]) -> tuple[float, float] | None:
    """Return where a colour lies on the sheet, (x, y), as fractions of it."""
    wanted = np.round(np.array(colour) * 255)
    y, x = np.nonzero((np.asarray(sheet) == wanted).all(axis=-1))
    return (x.mean() / sheet.width, y.mean() / sheet.height) if len(x) else None


def place(sheet: Image.Image, colour: tuple[float, float, float]) -> tuple[float, float]:
    found = centres(sheet, colour)
    assert found is not None
    return found


def test_ranks_best_median_worst() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6])
    rows = choose_rows(scores, 1, score_name="PixCorr of z + c")
    assert rows.indices == (1, 2, 0)
    assert rows.groups == ("best", "median", "worst")
    assert rows.rule == (
        "The 9 test images are ranked by PixCorr of z + c; shown: best, median and worst."
    )
    rows = choose_rows(scores, 2, score_name="PixCorr")
    assert rows.indices == (1, 6, 8, 2, 5, 0)
    assert rows.rule.endswith("shown: best, median and worst, 2 each.")


def test_ties_go_to_the_second_score_then_to_the_first_place() -> None:
    scores = [1, 1, 1, 0.5, 0.5, 0.5]
    rows = choose_rows(scores, 1, score_name="a", ties=[1, 3, 2, 1, 1, 1], ties_name="PixCorr")
    assert rows.indices == (1, 0, 5)
    assert "ranked by a, ties by PixCorr;" in rows.rule
    assert choose_rows(scores, 1, score_name="a").indices == (0, 2, 5)


def test_few_stimuli() -> None:
    rows = choose_rows([0.3], score_name="a")
    assert (rows.indices, rows.groups) == ((0,), ("median",))
    assert rows.rule == "There is one test image."
    rows = choose_rows([0.1, 0.3], score_name="a")
    assert rows.groups == ("best", "worst")
    assert rows.rule == "The 2 test images are ranked by a; shown: best and worst."


@pytest.mark.parametrize("n", range(1, 12))
@pytest.mark.parametrize("n_each", [1, 2, 3, 5])
def test_no_stimulus_is_shown_twice(n: int, n_each: int) -> None:
    scores = np.random.default_rng(n).random(n)
    rows = choose_rows(scores, n_each, score_name="a")
    assert len(set(rows.indices)) == len(rows.indices) == len(rows.groups)
    if n > 1:
        assert rows.indices[0] == np.argmax(scores)
        assert rows.indices[-1] == np.argmin(scores)
    assert len(rows.indices) <= 3 * n_each


def test_refuses_scores_that_have_no_rank() -> None:
    with pytest.raises(ValueError, match="finite to be ranked"):
        choose_rows([1.0, np.nan], score_name="a")
    with pytest.raises(ValueError, match="one per stimulus"):
        choose_rows([], score_name="a")
    with pytest.raises(ValueError, match="2 scores but 1 to break ties"):
        choose_rows([1.0, 2.0], score_name="a", ties=[1.0], ties_name="b")
    with pytest.raises(ValueError, match="at least one image of each group, not 0"):
        choose_rows([1.0, 2.0], 0, score_name="a")


def test_columns_go_right_and_rows_go_down() -> None:
    columns = {"seen": coloured(RED, GREEN), "z+c": coloured(BLUE, (1.0, 0.0, 1.0))}
    sheet = contact_sheet(columns, ["a", "b"], title="t")
    assert place(sheet, RED)[0] == place(sheet, GREEN)[0] < place(sheet, BLUE)[0]
    assert place(sheet, RED)[1] == place(sheet, BLUE)[1] < place(sheet, GREEN)[1]


def test_rows_choose_and_order() -> None:
    columns = {"seen": coloured(RED, GREEN, BLUE)}
    rows = Rows((2, 0), ("best", "worst"), "By hand.")
    sheet = contact_sheet(columns, ["a", "b", "c"], title="t", rows=rows)
    assert centres(sheet, GREEN) is None
    assert place(sheet, BLUE)[1] < place(sheet, RED)[1]


def test_every_text_is_drawn_and_makes_room() -> None:
    columns = {"seen": flat(0.5, 0.6), "z": flat(0.2, 0.3)}
    plain = contact_sheet(columns, ["a", "b"], title="t")
    rule = contact_sheet(
        columns, ["a", "b"], title="t", rows=Rows((0, 1), ("best", "worst"), "Why.")
    )
    short = contact_sheet(columns, ["a", "b"], title="t", captions=["a ball", ""])
    long = contact_sheet(columns, ["a", "b"], title="t", captions=["a ball " * 40, "x" * 400])
    noted = contact_sheet(columns, ["a", "b"], title="t", notes=["id. 97 %", "id. 3 %"])
    assert plain.height < short.height < long.height
    assert plain.width == long.width
    assert noted.width > plain.width
    assert rule.height > plain.height
    other = contact_sheet(columns, ["a", "c"], title="t")
    assert np.asarray(other).tobytes() != np.asarray(plain).tobytes()


def test_texts_stay_on_the_sheet() -> None:
    sheet = contact_sheet(
        {"a column of a very long name indeed": flat(0.5)},
        ["stimulus" * 20],
        title="title " * 40,
        captions=["W" * 500],
        notes=["note " * 20],
        scale=1,
    )
    ink = np.asarray(sheet).min(axis=(0, 2)) < 250
    assert not ink[:30].any()
    assert not ink[-30:].any()


def test_small_images_keep_their_squares() -> None:
    pattern = (np.indices((10, 10)).sum(axis=0) % 2).astype(np.float32)
    column = np.repeat(pattern[None, ..., None], 3, axis=-1)
    sheet = contact_sheet({"seen": column}, ["a"], title="", scale=1)
    tile = np.asarray(sheet)[-200:, -197:-35].reshape(-1, 3)
    assert ((tile == 0).all(axis=1) | (tile == 255).all(axis=1)).mean() > 0.95


def test_shape_is_kept() -> None:
    wide = np.zeros((1, 20, 40, 3), np.float32)
    sheet = contact_sheet({"seen": wide}, ["a"], title="", scale=1)
    dark = (np.asarray(sheet)[-240:] == 0).all(axis=-1)
    assert dark.sum(axis=0).max() == pytest.approx(80, abs=4)
    assert dark.sum(axis=1).max() == pytest.approx(160, abs=4)


def test_same_sheet_same_bytes(tmp_path: Path) -> None:
    columns = {"seen": flat(0.1, 0.9), "true-z+c": flat(0.2, 0.8)}
    for name in ("one.png", "two.png"):
        sheet = contact_sheet(columns, ["a", "b"], title="t", captions=["a", "b"])
        save_sheet(sheet, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]
    with Image.open(tmp_path / "one.png") as image:
        assert image.mode == "RGB"
        assert not image.info


def test_refuses_what_does_not_match() -> None:
    two = flat(0.1, 0.2)
    with pytest.raises(ValueError, match="at least one column and one stimulus"):
        contact_sheet({}, ["a"], title="t")
    with pytest.raises(ValueError, match="There are 3 stimulus ids, but 2 in column 'seen'"):
        contact_sheet({"seen": two}, ["a", "b", "c"], title="t")
    with pytest.raises(ValueError, match="but 1 in captions"):
        contact_sheet({"seen": two}, ["a", "b"], title="t", captions=["x"])
    with pytest.raises(ValueError, match="but 3 in notes"):
        contact_sheet({"seen": two}, ["a", "b"], title="t", notes=["x", "y", "z"])
    with pytest.raises(ValueError, match=r"Column 'z' must have the shape"):
        contact_sheet({"seen": two, "z": two[0]}, ["a", "b"], title="t")
    with pytest.raises(ValueError, match="finite floats"):
        contact_sheet({"seen": two * np.nan}, ["a", "b"], title="t")
