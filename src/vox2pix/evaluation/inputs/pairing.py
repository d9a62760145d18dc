"""Which original belongs to which reconstruction."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vox2pix.errors import UserError
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.folders import SUFFIXES

_NAMED = 3  # ids that an error sentence names


@dataclass(frozen=True)
class Pairs:
    """Originals and reconstructions that belong together.

    Stimuli in the order of the originals, their rows in both collections, and how they were paired.

    ``other_rows`` holds, where files were paired with rows in the natural order of their names (2
    before 10), the rows of the reconstructions if names are ordered as text, where that differs.
    """

    ids: tuple[str, ...]
    truth_rows: tuple[int, ...]
    reconstruction_rows: tuple[int, ...]
    by: str
    other_rows: tuple[int, ...] = ()


def pair(truth: ImageCollection, reconstructions: ImageCollection) -> Pairs:
    """Pair originals and reconstructions by id.

    Where both sides have ids, equal ids belong together. If ids are not equal, they are compared
    without differences in leading zeros of whole numbers and in Unicode form, and then without
    the extension of an image file; ``by`` says so with the count. Row numbers are not ids: where
    a side has none and the counts are equal, rows are paired in order, files in the natural order
    of their names.
    """
    if truth.n_samples > 1:
        raise UserError(
            f"{truth.source} holds {truth.n_samples} images per stimulus, not one original "
            "each. Give an array (n, height, width, 3)."
        )
    if truth.numbered or reconstructions.numbered:
        pairs = _in_row_order(truth, reconstructions)
    else:
        pairs = _by_id(truth, reconstructions)
    if len(pairs.ids) < 2:
        raise UserError(
            f"{truth.source} holds one image; evaluation needs at least two, for each is "
            "compared with the others."
        )
    return pairs


def plain_id(name: str) -> str:
    """Return an id in one Unicode form (NFC), without leading zeros if it is a whole number."""
    return _without_zeros(unicodedata.normalize("NFC", name))


def _in_row_order(truth: ImageCollection, reconstructions: ImageCollection) -> Pairs:
    n = len(truth.ids)
    nameless = [side for side in (truth, reconstructions) if side.numbered]
    who = " and ".join(f"{side.source.name}" for side in nameless)
    lack = f"{who} {'have' if len(nameless) > 1 else 'has'} no ids"
    if len(reconstructions.ids) != n:
        raise UserError(
            f"{truth.source} holds {n} originals and {reconstructions.source} reconstructions of "
            f"{len(reconstructions.ids)} stimuli, and {lack} to pair them by. Store ids "
            "beside the images (an npz file with 'images' and 'ids'), or give equal numbers."
        )
    by = f"in row order: {lack}"
    rows = tuple(range(n))
    named = reconstructions if truth.numbered else truth
    as_text = tuple(sorted(rows, key=lambda row: named.ids[row]))
    if named.numbered or as_text == rows:
        return Pairs(named.ids, rows, rows, by)
    # Row k of an array that was stacked in the order of the text belongs to file as_text[k].
    inverse = tuple(sorted(rows, key=lambda row: as_text[row]))
    other = as_text if named is reconstructions else inverse
    return Pairs(named.ids, rows, rows, by, other)


def _by_id(truth: ImageCollection, reconstructions: ImageCollection) -> Pairs:
    """Pair equal ids, or say which images lack a partner."""
    for canonical in (str, plain_id, _bare_id):
        here = [canonical(name) for name in truth.ids]
        there = {canonical(name): row for row, name in enumerate(reconstructions.ids)}
        distinct = len(set(here)) == len(here) and len(there) == len(reconstructions.ids)
        if distinct and set(here) == set(there):
            rows = tuple(there[name] for name in here)
            partners = [reconstructions.ids[row] for row in rows]
            changed = sum(a != b for a, b in zip(truth.ids, partners, strict=True))
            by = "by id" if not changed else f"by id, {changed} {_DIFFER[canonical]}"
            return Pairs(truth.ids, tuple(range(len(here))), rows, by)
    for lone, other, words in (
        (truth, reconstructions, "no reconstruction"),
        (reconstructions, truth, "no original"),
    ):
        others = {plain_id(name) for name in other.ids}
        absent = [name for name in lone.ids if plain_id(name) not in others]
        if absent:
            named = ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else "")
            raise UserError(
                f"{len(absent)} of {len(lone.ids)} images in {lone.source} have {words} in "
                f"{other.source} ({named}){_explained(lone.ids, absent, other.ids)}. Give both "
                "sides the same ids, or name several samples per stimulus with --samples "
                "'{id}_{sample}.png'."
            )
    raise _ambiguous(truth, reconstructions)


def _ambiguous(truth: ImageCollection, reconstructions: ImageCollection) -> UserError:
    alike: dict[tuple[Path, str], list[str]] = {}
    for side in (truth, reconstructions):
        for name in side.ids:
            alike.setdefault((side.source, plain_id(name)), []).append(name)
    (source, _), names = next(item for item in alike.items() if len(item[1]) > 1)
    return UserError(
        f"{source}: the ids {' and '.join(names)} differ in leading zeros only, and "
        "which of them is meant is not clear. Remove or rename all but one."
    )


def _explained(own: tuple[str, ...], absent: list[str], others: tuple[str, ...]) -> str:
    """Say in which way ids seem to differ: the same names in other words."""
    if all(name.isdecimal() for name in (*own, *others)) and len(own) == len(others):
        here, there = (sorted(map(int, names)) for names in (own, others))
        steps = {b - a for a, b in zip(here, there, strict=True)}
        if len(steps) == 1:
            return (
                f": the ids of the two sides differ by {abs(steps.pop())} throughout, count both "
                "from the same number"
            )
    rules: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("differ in upper and lower case", lambda name: _bare_id(name).casefold()),
        ("have the same number", _last_number),
    )
    for words, rule in rules:
        partners = {rule(name): name for name in others if rule(name)}
        if len(partners) == len(others) and all(rule(name) in partners for name in absent):
            return f": {absent[0]!r} and {partners[rule(absent[0])]!r} {words}"
    nearest = get_close_matches(absent[0], others[:2000], 1, 0.75)
    return f": the nearest to {absent[0]!r} is {nearest[0]!r}" if nearest else ""


def _last_number(name: str) -> str:
    numbers = re.findall(r"\d+", _bare_id(name))
    return _without_zeros(numbers[-1]) if numbers else ""


def _bare_id(name: str) -> str:
    """Return an id without the extension of an image file."""
    stem, dot, suffix = name.rpartition(".")
    return plain_id(stem) if stem and f"{dot}{suffix}".lower() in SUFFIXES else plain_id(name)


def _without_zeros(name: str) -> str:
    return str(int(name)) if name.isdecimal() else name


_DIFFER: dict[Callable[[str], str], str] = {
    str: "",
    plain_id: "of them apart from leading zeros or the Unicode form",
    _bare_id: "of them apart from file extensions, leading zeros or the Unicode form",
}
