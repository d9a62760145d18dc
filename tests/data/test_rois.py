"""Names of regions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.names import nearest
from vox2pix.data.rois import read_labels, union_parts
from vox2pix.errors import UserError


@pytest.mark.parametrize(
    ("roi", "parts"),
    [
        ("early", ["early"]),
        ("V1v+V1d", ["V1v", "V1d"]),
        ("V1v + V1d", ["V1v", "V1d"]),
        ("ecc4+", ["ecc4+"]),
        ("ecc4++early", ["ecc4+", "early"]),
        (["early", "early+V1v"], ["early", "V1v"]),
    ],
)
def test_union_parts(roi, parts):
    assert union_parts(roi) == parts


def test_a_known_name_is_not_cut():
    assert union_parts("a+b", ["a+b"]) == ["a+b"]


def test_colour_tables(tmp_path):
    path = tmp_path / "a.ctab"
    path.write_text("# comment\n\n0 Unknown 0 0 0 0\n1 V1v 255 0 0 0\n  12  hV4\n-1 none\n")
    assert read_labels(path) == {"V1v": (1,), "hV4": (12,)}
    path.write_text("1\n")
    with pytest.raises(UserError, match=r"a\.ctab, line 1: '1' is not a label number"):
        read_labels(path)


def test_nearest():
    assert nearest("erly", ["early", "ventral"]) == "did you mean early?"
    assert nearest("v1V", ["V1v", "V1d", "hV4"]).startswith("did you mean V1v")
    assert nearest("xyz", ["b", "a"]) == "known: a, b."
    assert nearest("xyz", []) == "known: none."


def table(tmp_path, text):
    path = tmp_path / "a.mgz.ctab"
    path.write_text(text)
    return read_labels(path)


# numbers at the end of a name cannot be distinguished from colours
names = st.lists(st.text("abVv19-_.+()", min_size=1, max_size=6), min_size=1, max_size=3).map(
    lambda words: " ".join([*words[:-1], f"{words[-1]}a"])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=1, max_size=6, unique=True), st.sampled_from([0, 3, 4]))
def test_names_with_blanks_and_colours(tmp_path_factory, labels, n_colours):
    lines = [
        " ".join([str(i), name, *["17"] * n_colours]) for i, name in enumerate(labels, start=1)
    ]
    read = table(tmp_path_factory.mktemp("ctab"), "\n".join(["# a comment", *lines]))
    assert read == {name: (i,) for i, name in enumerate(labels, start=1)}


def test_a_name_with_two_numbers_has_both(tmp_path):
    read = table(tmp_path, "0 Unknown\n2 V1 1 2 3 0\n1 V1 1 2 3 0\n3 area two 9 9 9 0\n")
    assert read == {"V1": (1, 2), "area two": (3,)}


def test_a_number_with_two_names_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"line 3: number 1 is 'V2' here and 'V1' before"):
        table(tmp_path, "0 Unknown\n1 V1\n1 V2\n")
    assert table(tmp_path, "0 Unknown\n0 none\n1 V1\n1 V1\n") == {"V1": (1,)}


def test_a_table_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.mgz.ctab").write_bytes(b"\xef\xbb\xbf1 V1 0 0 0 0\r\n2 V2 0 0 0 0\r\n")
    assert read_labels(tmp_path / "a.mgz.ctab") == {"V1": (1,), "V2": (2,)}
