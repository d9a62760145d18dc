import pandas as pd
import pytest
from pydantic import ValidationError

from vox2pix.evaluation.records import MetricRecord, score_rows

RECORD = MetricRecord(
    subject="subj01",
    condition="z+c",
    metric="two-way phantom",
    direction="original",
    protocol="default",
    samples="mean of 3",
    value=0.75,
    ci_low=0.5,
    ci_high=0.9,
    chance=0.5,
    n_stimuli=9,
)


@pytest.mark.parametrize("field", ["value", "ci_low", "ci_high", "chance"])
def test_a_record_is_never_silently_nan(field: str) -> None:
    with pytest.raises(ValidationError):
        MetricRecord(**(RECORD.model_dump() | {field: float("nan")}))


def test_a_record_is_frozen_and_survives_json() -> None:
    with pytest.raises(ValidationError):
        RECORD.value = 1.0  # type: ignore[misc]
    assert MetricRecord.model_validate_json(RECORD.model_dump_json()) == RECORD


def test_rows_of_scores_are_one_a_metric_direction_and_stimulus() -> None:
    columns = pd.MultiIndex.from_tuples([("pixcorr", ""), ("two-way x", "original")])
    scores = pd.DataFrame([[0.1, 0.5], [0.2, 1.0]], index=["b", "a"], columns=columns)
    assert [tuple(row.values()) for row in score_rows(scores, "z")] == [
        ("b", "z", "pixcorr", "", 0.1, ""),
        ("a", "z", "pixcorr", "", 0.2, ""),
        ("b", "z", "two-way x", "original", 0.5, ""),
        ("a", "z", "two-way x", "original", 1.0, ""),
    ]
