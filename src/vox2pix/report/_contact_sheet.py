"""One PNG for the eye: what was seen beside what was read from the brain.

Drawn with Pillow in DejaVu Sans, the fonts that ship with matplotlib, so that the same images
give the same bytes.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from vox2pix.report.labels import Label
from vox2pix.store import replacing

_INK, _GREY, _RULE = (26, 28, 34), (110, 114, 124), (205, 208, 214)
_PAPER, _EDGE = (255, 255, 255), 0.14  # an image's edge: so much black
_BLOCKY = 24  # pixels: images this small are shown as their squares, larger ones smoothed

# In points.
_MARGIN, _GAP, _SPAN_GAP = 36, 8, 26
_TITLE, _TEXT, _SMALL = 20, 12, 11
_LEADING = 1.4  # line height over type size


@dataclass(frozen=True)
class Rows:
    """Which images a sheet shows, in this order, and by which rule, which is drawn on the sheet.

    Each row belongs to one of the ``groups`` best, median and worst.
    """

    indices: tuple[int, ...]
    groups: tuple[str, ...]
    rule: str


def choose_rows(
    scores: ArrayLike,
    n_each: int = 3,
    *,
    score_name: str,
    ties: ArrayLike | None = None,
    ties_name: str = "",
) -> Rows:
    """Choose the best, the median and the worst images by their scores, (n,), higher is better.

    Stimuli are ranked by score, ties by ``ties``, then by position. Best are the first, worst the
    last ``n_each``, median the ``n_each`` about the middle rank; no stimulus is taken twice, so
    that there are fewer of each where there are less than 3 x ``n_each``. The names of the scores
    are for the rule that the sheet shows.
    """
    first = _check_scores(scores)
    second = np.zeros_like(first) if ties is None else _check_scores(ties)
    if len(second) != len(first):
        raise ValueError(f"There are {len(first)} scores but {len(second)} to break ties.")
    if n_each < 1:
        raise ValueError(f"A sheet shows at least one image of each group, not {n_each}.")
    n = len(first)
    ranking = np.lexsort((np.arange(n), -second, -first))
    each = min(n_each, max(1, n // 3))
    groups: dict[str, NDArray[np.intp]] = {"median": ranking}
    if n == 2:
        groups = {"best": ranking[:1], "worst": ranking[1:]}
    elif n > 2:
        middle = (n - each) // 2
        groups = {
            "best": ranking[:each],
            "median": ranking[middle : middle + each],
            "worst": ranking[n - each :],
        }
    return Rows(
        indices=tuple(int(i) for rows in groups.values() for i in rows),
        groups=tuple(name for name, rows in groups.items() for _ in rows),
        rule=_rule_in_words(n, list(groups), each, score_name, ties_name),
    )


def contact_sheet(
    columns: Mapping[str, ArrayLike],
    stimulus_ids: Sequence[str],
    *,
    title: str,
    rows: Rows | None = None,
    captions: Sequence[str] | None = None,
    notes: Sequence[str] | None = None,
    labels: Mapping[str, Label] | None = None,
    tile: int = 160,
    scale: int = 2,
) -> Image.Image:
    """Draw images in columns, one row per stimulus.

    Images up to 24 pixels a side are shown as their squares (nearest), larger ones smoothed
    (Lanczos).

    Parameters
    ----------
    columns : mapping of str to array_like of float, shape (n, height, width, 3)
        What to show, from left to right. RGB in [0, 1]. Sizes may differ between columns.
    stimulus_ids, captions, notes : sequence of str, length n
        Drawn at each row: its id, its caption, and something short such as the score.
    title : str
        Drawn on top.
    rows : Rows, optional
        Which rows to show, from :func:`choose_rows`; all, without groups, if None.
    labels : mapping of str to Label, optional
        Heading, small print and group of columns; those without one go by their names. The group is
        written over neighbours that share it.
    tile, scale : int
        Height and width of an image in points, and pixels per point: 2 is sharp in print and on
        dense screens.
    """
    images = {name: np.asarray(values) for name, values in columns.items()}
    _check_columns(images, stimulus_ids, captions, notes)
    indices = range(len(stimulus_ids)) if rows is None else rows.indices
    groups = [""] * len(indices) if rows is None else rows.groups
    stubs = [_Stub(str(stimulus_ids[i]), notes[i] if notes else "") for i in indices]
    heads = [(labels or {}).get(name, Label(name)) for name in images]
    grid = _layout(heads, stubs, groups, tile, scale)
    strips = [_head(grid, title, "" if rows is None else rows.rule), _column_heads(grid)]
    for place, i in enumerate(indices):
        first = place == 0 or groups[place] != groups[place - 1]
        strips.append(_rule(grid, strong=first and bool(groups[place])))
        strips.append(
            _row(
                grid,
                [values[i] for values in images.values()],
                stubs[place],
                groups[place] if first else "",
                captions[i] if captions else "",
            )
        )
    return _stack(strips, _MARGIN * scale)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, whole or not at all; the same sheet gives the same bytes."""
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")


# --- which rows ----------------------------------------------------------------------------------


def _rule_in_words(n: int, groups: list[str], each: int, score: str, ties: str) -> str:
    """Describe how rows were chosen."""
    if n == 1:
        return "There is one test image."
    shown = f"{', '.join(groups[:-1])} and {groups[-1]}" + (f", {each} each" if each > 1 else "")
    ranked = f"The {n} test images are ranked by {score}" + (f", ties by {ties}" if ties else "")
    return f"{ranked}; shown: {shown}."


# --- where things go -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stub:
    """What is to the left of a row."""

    stimulus_id: str
    note: str


@dataclass(frozen=True)
class _Grid:
    """Columns and measures of a sheet, in pixels."""

    labels: tuple[Label, ...]
    lefts: tuple[int, ...]
    tile: int
    width: int
    scale: int

    @property
    def right(self) -> int:
        """The right edge of the last column."""
        return self.lefts[-1] + self.tile


def _layout(
    labels: Sequence[Label], stubs: Sequence[_Stub], groups: Sequence[str], tile: int, scale: int
) -> _Grid:
    """Place the columns: a stub as wide as its texts, then tiles, apart where the group changes."""
    texts = [text for stub in stubs for text in (stub.stimulus_id, stub.note)]
    widths = [_width(text, _SMALL * scale) for text in texts]
    widths += [_width(group, _TEXT * scale, bold=True) for group in groups]
    left = _MARGIN * scale + min(max(widths), tile * scale) + 14 * scale
    lefts = []
    for place, label in enumerate(labels):
        if place:
            apart = label.group != labels[place - 1].group
            left += (tile + (_SPAN_GAP if apart else _GAP)) * scale
        lefts.append(left)
    width = lefts[-1] + (tile + _MARGIN) * scale
    return _Grid(tuple(labels), tuple(lefts), tile * scale, width, scale)


# --- strips: each as wide as the sheet, stacked from top to bottom ------------------------------


def _head(grid: _Grid, title: str, rule: str) -> Image.Image:
    """Draw the title and the rule by which rows were chosen."""
    s = grid.scale
    left, room = _MARGIN * s, grid.right - _MARGIN * s
    titles = _wrap(title, _TITLE * s, room, bold=True)
    rules = _wrap(rule, _TEXT * s, room)
    height = _height(titles, _TITLE * s) + _height(rules, _TEXT * s) + 22 * s
    strip, draw = _strip(grid, height)
    top = _write(draw, titles, (left, 0), _TITLE * s, _INK, bold=True) + 2 * s
    _write(draw, rules, (left, top), _TEXT * s, _GREY)
    return strip


def _column_heads(grid: _Grid) -> Image.Image:
    """Draw the groups with a line under each, and the columns' headings with their small print."""
    s = grid.scale
    has_notes = any(label.note for label in grid.labels)
    top = round(_SMALL * s * _LEADING) + 10 * s if any(each.group for each in grid.labels) else 0
    line = round(_TEXT * s * _LEADING)
    height = top + line + (round(_SMALL * s * _LEADING) if has_notes else 0) + 8 * s
    strip, draw = _strip(grid, height)
    for left, label in zip(grid.lefts, grid.labels, strict=True):
        headings = _wrap(label.heading, _TEXT * s, grid.tile, bold=True)[:1]
        notes = _wrap(label.note, _SMALL * s, grid.tile)[:1]
        _write(draw, headings, (left, top), _TEXT * s, _INK, bold=True)
        _write(draw, notes, (left, top + line), _SMALL * s, _GREY)
    columns = zip(grid.labels, grid.lefts, strict=True)
    for group, neighbours in groupby(columns, lambda column: column[0].group):
        lefts = [left for _, left in neighbours]
        if group:
            _write(draw, [group], (lefts[0], 0), _SMALL * s, _GREY)
            y = top - 6 * s
            draw.rectangle((lefts[0], y, lefts[-1] + grid.tile - 1, y + s - 1), fill=_GREY)
    return strip


def _rule(grid: _Grid, strong: bool) -> Image.Image:
    """Draw the space over a row, with a line where a group begins."""
    s = grid.scale
    strip, draw = _strip(grid, (22 if strong else 8) * s)
    if strong:
        draw.rectangle((_MARGIN * s, 8 * s, grid.right - 1, 9 * s - 1), fill=_RULE)
    return strip


def _row(
    grid: _Grid, images: Sequence[NDArray[np.floating]], stub: _Stub, group: str, caption: str
) -> Image.Image:
    """Draw one stimulus: its stub, its images, its caption."""
    s = grid.scale
    lines = _wrap(caption, _TEXT * s, grid.right - grid.lefts[0])
    below = _height(lines, _TEXT * s) + 6 * s if lines else 0
    strip, draw = _strip(grid, grid.tile + below + 6 * s)
    left, room = _MARGIN * s, grid.lefts[0] - (_MARGIN + 14) * s
    top = 0
    if group:
        top = _write(draw, [group], (left, top), _TEXT * s, _INK, bold=True) + 4 * s
    for text in (stub.stimulus_id, stub.note):
        top = _write(draw, _wrap(text, _SMALL * s, room), (left, top), _SMALL * s, _GREY)
    for x, image in zip(grid.lefts, images, strict=True):
        strip.paste(_tile(image, grid.tile, s), (x, 0))
    _write(draw, lines, (grid.lefts[0], grid.tile + 4 * s), _TEXT * s, _INK)
    return strip


def _tile(image: NDArray[np.floating], tile: int, edge: int) -> Image.Image:
    """Enlarge one image to fit a square, with a faint edge that holds white images."""
    levels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    tile_image = Image.fromarray(levels)
    blocky = max(tile_image.size) <= _BLOCKY
    factor = tile / max(tile_image.size)
    size = (max(1, round(tile_image.width * factor)), max(1, round(tile_image.height * factor)))
    tile_image = tile_image.resize(
        size, Image.Resampling.NEAREST if blocky else Image.Resampling.LANCZOS
    )
    inner = (edge, edge, tile_image.width - edge, tile_image.height - edge)
    framed = Image.blend(tile_image, Image.new("RGB", tile_image.size), _EDGE)
    framed.paste(tile_image.crop(inner), inner[:2])
    square = Image.new("RGB", (tile, tile), _PAPER)
    square.paste(framed, ((tile - framed.width) // 2, (tile - framed.height) // 2))
    return square


def _strip(grid: _Grid, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty strip and what draws on it."""
    strip = Image.new("RGB", (grid.width, height), _PAPER)
    return strip, ImageDraw.Draw(strip)


def _stack(strips: Sequence[Image.Image], margin: int) -> Image.Image:
    """Put strips under each other between two margins."""
    height = sum(strip.height for strip in strips) + 2 * margin
    sheet = Image.new("RGB", (strips[0].width, height), _PAPER)
    top = margin
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


# --- type ----------------------------------------------------------------------------------------


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans from matplotlib's data, laid out alike wherever Pillow was built."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _width(text: str, size: int, bold: bool = False) -> int:
    """Return how wide a text is drawn, in pixels."""
    return int(np.ceil(_font(size, bold).getlength(text)))


def _wrap(text: str, size: int, room: int, bold: bool = False) -> list[str]:
    """Break a text into lines that fit; words longer than a line are cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", size, bold) <= room:
            lines[-1] += f" {word}"
            continue
        rest = word
        while _width(rest, size, bold) > room and len(rest) > 1:
            lengths = range(1, len(rest))
            fits = max(1, bisect_right(lengths, room, key=lambda n: _width(rest[:n], size, bold)))
            lines.append(rest[:fits])
            rest = rest[fits:]
        lines.append(rest)
    return lines


def _height(lines: Sequence[str], size: int) -> int:
    """Return the height of some lines, in pixels."""
    return len(lines) * round(size * _LEADING)


def _write(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    place: tuple[int, int],
    size: int,
    colour: tuple[int, int, int],
    bold: bool = False,
) -> int:
    """Write lines from their top left corner down; return where the next would start."""
    x, y = place
    for line in lines:
        draw.text((x, y), line, font=_font(size, bold), fill=colour)
        y += round(size * _LEADING)
    return y


# --- what is refused -----------------------------------------------------------------------------


def _check_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Return scores as one row of finite numbers."""
    array = np.asarray(scores, np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"Scores must be one per stimulus, not of shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("Scores must be finite to be ranked; some are NaN or infinite.")
    return array


def _check_columns(
    images: Mapping[str, NDArray[np.floating]],
    stimulus_ids: Sequence[str],
    captions: Sequence[str] | None,
    notes: Sequence[str] | None,
) -> None:
    """Refuse columns and texts that are not one per stimulus."""
    if not images or not len(stimulus_ids):
        raise ValueError("A contact sheet needs at least one column and one stimulus.")
    for name, values in images.items():
        if values.ndim != 4 or values.shape[-1] != 3:
            raise ValueError(
                f"Column {name!r} must have the shape (n, height, width, 3), not {values.shape}."
            )
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise ValueError(f"Column {name!r} must hold finite floats in [0, 1].")
    counts = {f"column {name!r}": len(values) for name, values in images.items()}
    counts |= {"captions": len(captions)} if captions is not None else {}
    counts |= {"notes": len(notes)} if notes is not None else {}
    for name, count in counts.items():
        if count != len(stimulus_ids):
            raise ValueError(f"There are {len(stimulus_ids)} stimulus ids, but {count} in {name}.")
