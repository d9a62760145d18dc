"""Names of regions."""

import pytest

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
