"""Tables of a person's own data: CSV or TSV, UTF-8, one reader for all of them."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vox2pix.errors import UserError
from vox2pix.untrusted.files import require_file
from vox2pix.untrusted.text import read_bytes

_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods are zip files, xls is OLE
_LARGEST = 2**30
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_table(path: Path, required: Sequence[str] = (), *, numbered: bool = False) -> pd.DataFrame:
    """Read a CSV file (UTF-8, names in the first line) as text; blanks around values are removed.

    A file called ``.tsv`` is separated by tabs, as BIDS has it. No types are guessed. The index is
    the line of the file at which each row begins, as an editor counts. ``numbered`` allows a first
    column without a name, the numbers of rows that pandas writes, and drops it.
    """
    is_tsv = path.suffix.lower() == ".tsv"
    rows, lines = _rows(path, _text(path), "\t" if is_tsv else ",")
    if not rows:
        raise UserError(f"{path} is empty: write the names of the columns in the first line.")
    if numbered and not rows[0][0].strip():
        rows = [row[1:] for row in rows]
    names = [name.strip() for name in rows[0]]
    if not is_tsv:
        _require_commas(path, names, required)
    _require_names(path, names, required)
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise UserError(
                f"{path}, line {line}: there are {len(row)} values, and the first line names "
                f"{len(names)} columns; give each row {len(names)} values, and put a value that "
                "holds a comma between double quotes."
            )
    index = pd.Index(lines[1:], name="line")
    table = pd.DataFrame(rows[1:], index=index, columns=pd.Index(names), dtype=str)
    return table.apply(lambda column: column.str.strip())


def _text(path: Path) -> str:
    """Return the text of a file, or say in which other form it was saved."""
    require_file(path, "add it")
    raw = read_bytes(path, _LARGEST)
    advice = 'save it as "CSV UTF-8 (comma delimited)".'
    if raw.startswith(_WORKBOOKS):
        raise UserError(f"{path} is a workbook or a zip file under the name of a table: {advice}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw[:1000]:
        raise UserError(f"{path} is text in UTF-16 or no text: {advice}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8, the file was saved "
            f"in another encoding (such as Windows-1252 or Latin-1): {advice}"
        ) from error


def _rows(path: Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """Return the rows that are not blank, and the line at which each begins."""
    rows, lines, line = [], [], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            # a line of blanks is blank; two double quotes are an empty value
            if row and not (len(row) == 1 and row[0] and not row[0].strip()):
                rows.append(row)
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line}: the row is no comma-separated values ({error}); close each "
            "double quote, and double those inside a value."
        ) from error
    return rows, lines


def _require_commas(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise if the names of the columns are joined by something else than commas."""
    for separator, words in _OTHER_SEPARATORS.items():
        if not any(separator in name for name in names):
            continue
        split = [part.strip() for name in names for part in name.split(separator)]
        if len(names) == 1 or (set(required) - set(names)) & set(split):
            raise UserError(
                f"{path} is separated by {words}: save it with commas between the values (and "
                "with points in numbers)."
            )


def _require_names(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise if a column has no name or the name of another, or a required one is missing."""
    if "" in names:
        raise UserError(
            f"{path}: column {names.index('') + 1} has no name in the first line; name it, or "
            "remove the comma that ends the lines."
        )
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise UserError(f"{path} has two columns {doubled[0]!r}: remove one.")
    missing = [name for name in required if name not in names]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]!r}, its first line names "
            f"{', '.join(map(repr, names))}: add it to the first line."
        )
