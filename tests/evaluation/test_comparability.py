import pandas as pd
import pytest

from vox2pix.errors import UserError
from vox2pix.evaluation.comparability import (
    mismatches,
    pool_note,
    refuse_other_definitions,
    refuse_other_originals,
    refuse_other_protocols,
)
from vox2pix.evaluation.records import MetricRecord


def record(**changed: object) -> MetricRecord:
    given = {
        "subject": "", "condition": "mine", "metric": "SSIM", "direction": None,
        "protocol": "default", "samples": "mean of 2", "value": 0.5, "ci_low": 0.4,
        "ci_high": 0.6, "chance": 0.1, "n_stimuli": 9, "definition": "ssim v2, 425 px",
    }  # fmt: skip
    return MetricRecord(**given | changed)


def scores(ids: str, originals: str, direction: str = "") -> pd.DataFrame:
    rows = {"stimulus_id": list(ids), "original": list(originals), "direction": direction}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"definition": "ssim v1, 425 px"},
            "SSIM is 'ssim v2, 425 px' in a and 'ssim v1, 425 px' in",
        ),
        ({"definition": ""}, "SSIM is 'ssim v2, 425 px' in a and 'an unknown definition' in b"),
        ({"samples": "correlations of 2"}, "is 'each sample' in a and 'correlations of 2' in b"),
    ],
)
def test_other_definitions_are_refused(changed: dict[str, str], words: str) -> None:
    folders = {"a": [record()], "b": [record(**changed)]}
    with pytest.raises(UserError, match=words):
        refuse_other_definitions(folders)
    renamed = {"a": [record()], "b": [record(condition="theirs", **changed)]}
    refuse_other_definitions(renamed)
    with pytest.raises(UserError, match=words):
        refuse_other_definitions(renamed, by_condition=False)


def test_equal_definitions_pass_whatever_the_values() -> None:
    folders = {
        "a": [record(), record(samples="best of 2")],
        "b": [record(value=0.9, samples="mean of 5"), record(metric="PixCorr", definition="x")],
    }
    assert mismatches(folders) == []
    refuse_other_definitions(folders)


def test_all_that_differs_is_counted() -> None:
    one = [record(), record(metric="PixCorr")]
    two = [record(definition="x"), record(metric="PixCorr", definition="x")]
    assert [found.key for found in mismatches({"a": one, "b": two})] == [
        ("mine", "SSIM", ""),
        ("mine", "PixCorr", ""),
    ]
    with pytest.raises(UserError, match=r"not comparable\. 1 more metrics differ"):
        refuse_other_definitions({"a": one, "b": two})


def test_other_protocols_are_refused() -> None:
    refuse_other_protocols({"a": [record()], "b": [record()], "c": []})
    with pytest.raises(UserError, match="a was evaluated under the protocol default and b under x"):
        refuse_other_protocols({"a": [record()], "b": [record(protocol="x")]})


def test_originals_are_compared_by_id_whatever_their_order() -> None:
    refuse_other_originals({"a": scores("123", "xyz"), "b": scores("321", "zyx")})
    refuse_other_originals({"a": scores("12", "xy"), "b": scores("34", "zz")})
    refuse_other_originals({"a": scores("12", "xy"), "b": scores("12", ["", ""])})
    with pytest.raises(UserError, match=r"1 of 2 shared ids .* \(the first is '3'\)"):
        refuse_other_originals({"a": scores("123", "xyz"), "b": scores("234", "yqq")})


def test_pools_of_identification_are_noted_where_they_differ() -> None:
    same = {"a": scores("12", "xy", "original"), "b": scores("21", "yx", "original")}
    assert pool_note(same) == ""
    assert pool_note({"a": scores("12", "xy"), "b": scores("23", "yz")}) == ""
    other = {"a": scores("123", "xyz", "original"), "b": scores("23", "yz", "original")}
    assert "(3 in a, 2 in b), of which 2 are shared" in pool_note(other)
