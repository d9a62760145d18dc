"""Names that a person typed, and the ones that were meant."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from vox2pix.data.faults import Faults
from vox2pix.errors import UserError


def nearest(name: str, existing: Iterable[str], n: int = 3) -> str:
    """Return the names nearest to a misspelt one, as words for an error message.

    E.g. ``"did you mean V1v or V1d?"``, or ``"known: ..."`` where nothing is near.
    """
    names = sorted(set(existing))
    lowered = {candidate.lower(): candidate for candidate in names}
    close = [lowered[k] for k in difflib.get_close_matches(name.lower(), lowered, n, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names) or 'none'}."


_IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "gif", "webp")


def _without_decimal(name: str) -> str:
    whole, point, decimals = name.rpartition(".")
    return whole if point and decimals.strip("0") == "" else name


def _without_extension(name: str) -> str:
    stem, point, extension = name.rpartition(".")
    return stem if point and extension.lower() in _IMAGE_EXTENSIONS else name


# What makes two names of one thing differ, as words, and the form in which they are equal.
_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("in another Unicode form", lambda name: unicodedata.normalize("NFC", name)),
    ("a decimal of a whole number", _without_decimal),
    ("with an extension", _without_extension),
    ("in another folder", lambda name: name.replace("\\", "/").rpartition("/")[2]),
    (
        "in another folder and with an extension",
        lambda name: _without_extension(name.replace("\\", "/").rpartition("/")[2]),
    ),
    ("in other capitals", str.casefold),
    ("with other leading zeros", lambda name: name.lstrip("0") or "0"),
    (
        "with other blanks or hyphens",
        lambda name: "".join(c for c in name if not (c.isspace() or c in "-_\u200b\ufeff\u00a0")),
    ),
    (
        "in another compatible Unicode form",
        lambda name: unicodedata.normalize("NFKC", name).casefold(),
    ),
)


Value = TypeVar("Value")
# What two names of one stimulus may have in common, the most exact first.
_ALIKE: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    _without_extension,
    lambda name: name.rpartition("/")[2],
    lambda name: _without_extension(name.rpartition("/")[2]),
)


class ByName(Mapping[str, Value]):
    """Values by the names of stimuli, as files and tables write them.

    A name is looked up as it is, without an image's extension, by the end of its path, and by both,
    in any Unicode form. The end of a path is that of the shorter of two names: ``cat/1.png`` is
    ``images/cat/1.png`` and ``1.png``, but never ``dog/1.png``. One that fits several equally well
    is refused, if their values differ.
    """

    def __init__(self, values: Iterable[tuple[str, Value]]) -> None:
        self._values = dict(values)
        self._tables: list[dict[str, list[str]]] = [{} for _ in _ALIKE]
        for name in self._values:
            for table, form in zip(self._tables, _ALIKE, strict=True):
                table.setdefault(form(_path_form(name)), []).append(name)

    def __getitem__(self, name: str) -> Value:
        for table, form in zip(self._tables, _ALIKE, strict=True):
            alike = table.get(form(_path_form(name)), [])
            fitting = [each for each in alike if _ends_alike(_path_form(each), _path_form(name))]
            values = [self._values[each] for each in fitting]
            if any(value != values[0] for value in values[1:]):
                first, second = fitting[:2]
                raise UserError(
                    f"{name!r} could be {first!r} or {second!r}: name the stimulus by its path, or "
                    "remove one."
                )
            if values:
                return values[0]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _path_form(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _ends_alike(first: str, second: str) -> bool:
    """Return whether the shorter of two paths, of files alike, has no folder that differs."""
    folders = [
        [f for f in path.split("/")[-2::-1] if f not in ("", ".")] for path in (first, second)
    ]
    return all(one == other for one, other in zip(*folders, strict=False))


def mismatches(missing: Iterable[str], existing: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Group missing names by how they differ from an existing one, e.g. ``"with an extension"``.

    Each is paired with the existing name that is meant; under ``""`` are those without one, paired
    with an empty string.
    """
    names = list(existing)
    forms = [(words, form, {form(name): name for name in names}) for words, form in _FORMS]
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in missing:
        cause, meant = "", ""
        for words, form, table in forms:
            if form(name) in table:
                cause, meant = words, table[form(name)]
                break
        groups.setdefault(cause, []).append((name, meant))
    return groups


def add_missing(
    what: str,
    where: str,
    missing: Sequence[str],
    existing: Iterable[str],
    n_all: int,
    remedy: str,
    faults: Faults,
) -> None:
    """Add a fault for each cause for which something (``what``) of some stimuli is missing.

    ``where`` is the file or folder that was searched, ``existing`` the names that it has,
    ``n_all`` the number of stimuli, ``remedy`` what to do where no existing name is meant.
    """
    names = list(existing)
    for cause, pairs in mismatches(missing, names).items():
        first = ", ".join(repr(name) for name, _ in pairs[:3]) + (", ..." if pairs[3:] else "")
        count = f"no {what} of stimulus {first}"
        if len(pairs) > 1:
            count = f"no {what} of {len(pairs)} of {n_all} stimuli ({first})"
        name, meant = pairs[0]
        if cause:
            faults.add(
                f"{where} has {count}: it has {ascii(meant) if 'Unicode' in cause else repr(meant)}"
                f", and stimulus_id is {ascii(name) if 'Unicode' in cause else repr(name)}, the "
                f"same name {cause}; write both in one way."
            )
            continue
        near = nearest(name, names) if names else "there is none."
        if near.startswith("known:"):
            near = f"there are {len(names)}, such as {sorted(names)[0]!r}."
        faults.add(f"{where} has {count}: {remedy}; {near}")


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name for each stimulus that a file can have, each different.

    Image extensions are removed; what no file name may hold becomes an underscore; names that are
    then equal, in any case or Unicode form, are numbered.
    """
    safe: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = unicodedata.normalize("NFC", _without_extension(name))
        stem = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", stem).strip(" .") or "_"
        stem = stem[:100]
        candidate, number = stem, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem}_{number}"
        taken.add(candidate.casefold())
        safe[name] = candidate
    return safe
