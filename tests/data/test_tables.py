"""Tables of a person's own data: dialects are refused by name, lines are those of an editor."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.tables import read_table
from vox2pix.errors import UserError

TABLE = "stimulus_id,session\na,1\nb,2\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TABLE.replace(",", ";").encode(), "is separated by semicolons: save it with commas"),
        (TABLE.replace(",", "\t").encode(), "is separated by tabs"),
        (TABLE.encode("utf-16"), "is text in UTF-16"),
        (TABLE.encode("utf-16-le"), "is text in UTF-16"),
        (b"PK\x03\x04\x14\0", "is a workbook or a zip file"),
        (b"\xd0\xcf\x11\xe0\xa1", "is a workbook"),
        ("stimulus_id\na\ncafé\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8"),
        (b"stimulus_id,\na,\n", "column 2 has no name in the first line; name it, or remove"),
        (b"stimulus_id\na,\n", "line 2: there are 2 values, and the first line names 1"),
        (b"stimulus_id,session\na,1\n\nb\n", "line 4: there are 1 values"),
        (b"stimulus_id,session\na,1,5\n", "line 2: there are 3 values"),
        (b'stimulus_id\n"a\nb\n', "line 2: the row is no comma-separated values"),
        (b"stimulus_id,x,x\na,1,2\n", "has two columns 'x'"),
        (b"Stimulus,x\na,1\n", "no column 'stimulus_id', its first line names 'Stimulus', 'x'"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
    ],
)
def test_what_is_no_utf8_table_with_commas_is_refused_by_name(tmp_path, content, sentence):
    path = tmp_path / "trials.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_table(path, ["stimulus_id"])
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_know_the_line_where_an_editor_shows_them(tmp_path, end):
    path = tmp_path / "captions.csv"
    lines = ["\ufeffstimulus_id , caption", "a,one", "", 'b,"two', 'lines; and ""quotes"""', "  ",
             "c, three "]  # fmt: skip
    path.write_bytes(end.join(lines).encode())
    table = read_table(path, ["stimulus_id", "caption"])
    assert table.index.tolist() == [2, 4, 7]
    assert table["stimulus_id"].tolist() == ["a", "b", "c"]
    assert table["caption"].tolist() == ["one", f'two{end}lines; and "quotes"', "three"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
                          st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)),
                min_size=1, max_size=6))  # fmt: skip
def test_what_the_csv_module_writes_is_read(tmp_path_factory, rows):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("first", "second"), *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    expected = pd.DataFrame(rows, columns=["first", "second"], dtype=str)
    expected = expected.apply(lambda column: column.str.strip())
    pd.testing.assert_frame_equal(read_table(path).reset_index(drop=True), expected)
