import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from vox2pix.errors import UserError
from vox2pix.evaluation import (
    MetricRecord,
    bootstrap_interval,
    evaluate,
    image_encoder,
    per_picture_scores,
    pixcorr,
    records_frame,
    ssim,
    two_way,
)
from vox2pix.seeds import seed_for

FIELDS = [
    "subject",
    "condition",
    "metric",
    "direction",
    "protocol",
    "samples",
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "n_stimuli",
]


def stimuli(n: int = 9, n_samples: int = 3, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    truth = rng.random((n, size, size, 3), dtype=np.float32)
    noise = rng.normal(0, 0.8, (n, n_samples, size, size, 3))
    return truth, np.clip(truth[:, None] + noise, 0, 1).astype(np.float32)


def records(truth: np.ndarray, drawn: np.ndarray, **settings: object) -> list[MetricRecord]:
    given: dict = {"encoder": image_encoder("pixels"), "encoder_name": "pixels"} | settings
    return evaluate(truth, drawn, condition="z+c", subject="subj01", **given)


def test_records_are_flat_and_in_order() -> None:
    found = records(*stimuli(), protocol="mine")
    assert [(r.metric, r.direction) for r in found] == [
        ("pixcorr", None),
        ("ssim", None),
        ("two-way pixels", "original"),
        ("two-way pixels", "reconstruction"),
    ]
    table = records_frame(found)
    assert list(table.columns) == FIELDS
    assert set(table["samples"]) == {"mean of 3"}
    assert set(table["n_stimuli"]) == {9}
    assert set(table["protocol"]) == {"mine"}
    assert list(records_frame([]).columns) == FIELDS


def test_values_are_means_over_samples_then_stimuli() -> None:
    truth, drawn = stimuli()
    by_metric = {(r.metric, r.direction): r for r in records(truth, drawn)}
    for name, metric in {"pixcorr": pixcorr, "ssim": ssim}.items():
        expected = np.mean([metric(truth, drawn[:, i]).mean() for i in range(3)])
        assert by_metric[name, None].value == pytest.approx(expected, abs=1e-12)
    for direction in ("original", "reconstruction"):
        record = by_metric["two-way pixels", direction]
        scores = two_way(truth.reshape(9, -1), drawn.reshape(9, 3, -1), direction)
        assert record.value == pytest.approx(scores.mean(), abs=1e-12)
        assert record.chance == 0.5
        interval = bootstrap_interval(scores, seed=seed_for(0, "bootstrap"))
        assert (record.ci_low, record.ci_high) == pytest.approx(interval)


def test_chance_is_the_mean_over_all_mismatched_pairs_of_few_stimuli() -> None:
    truth, drawn = stimuli(n=5, n_samples=1)
    found = {r.metric: r for r in records(truth, drawn, encoder=None)}
    for name, metric in {"pixcorr": pixcorr, "ssim": ssim}.items():
        wrong = [metric(truth[[i]], drawn[[j], 0])[0] for i in range(5) for j in range(5) if i != j]
        assert found[name].chance == pytest.approx(np.mean(wrong), abs=1e-12)
        assert found[name].chance < found[name].ci_low


def test_chance_of_unrelated_pictures_lies_in_their_interval() -> None:
    truth, _ = stimuli(n=60, n_samples=1)
    drawn = np.random.default_rng(9).random((60, 1, 12, 12, 3), dtype=np.float32)
    for record in records(truth, drawn):
        assert record.ci_low - 0.01 < record.chance < record.ci_high + 0.01


def test_seed_decides_and_nothing_else() -> None:
    truth, drawn = stimuli()
    assert records(truth, drawn, seed=1) == records(truth, drawn, seed=1)
    assert records(truth, drawn, seed=1) != records(truth, drawn, seed=2)


def test_scores_at_hand_are_used() -> None:
    truth, drawn = stimuli()
    scores = per_picture_scores(
        truth, drawn, encoder=image_encoder("pixels"), encoder_name="pixels"
    )
    assert records(truth, drawn, scores=scores, encoder=None) == records(truth, drawn)


def test_a_size_brings_unequal_pictures_together() -> None:
    truth, drawn = stimuli()
    with pytest.raises(ValueError, match="give a size to bring both to"):
        records(truth, drawn[:, :, :11, :11], encoder=None)
    found = records(truth, drawn[:, :, :11, :11], encoder=None, size=16)
    assert [r.metric for r in found] == ["pixcorr", "ssim"]


def test_per_picture_scores_are_keyed_by_stimulus() -> None:
    truth, drawn = stimuli()
    ids = [f"{i:05d}" for i in range(9)]
    table = per_picture_scores(
        truth, drawn, ids, encoder=image_encoder("pixels"), encoder_name="pixels"
    )
    assert table.index.name == "stimulus_id"
    assert list(table.index) == ids
    expected = np.mean([pixcorr(truth, drawn[:, i]) for i in range(3)], axis=0)
    np.testing.assert_allclose(table["pixcorr", ""], expected)
    assert isinstance(table["two-way pixels", "original"], pd.Series)


def test_refuses_bad_input() -> None:
    truth, drawn = stimuli()
    with pytest.raises(UserError, match=r"at least two test stimuli.*there is 1"):
        records(truth[:1], drawn[:1])
    with pytest.raises(ValueError, match="There are 9 originals but pictures of 8 stimuli"):
        records(truth, drawn[:8])
    with pytest.raises(ValueError, match="a single sample has an axis of length 1"):
        records(truth, drawn[:, 0])
    with pytest.raises(UserError, match="stimulus 'a' is listed twice"):
        per_picture_scores(truth, drawn, list("abcdefgha"))
    with pytest.raises(ValueError, match="2 stimulus ids for 9 stimuli"):
        per_picture_scores(truth, drawn, ["a", "b"])


def test_a_record_is_never_silently_nan() -> None:
    record = records(*stimuli())[0]
    with pytest.raises(ValidationError):
        MetricRecord(**(record.model_dump() | {"value": float("nan")}))
    with pytest.raises(ValidationError):
        record.value = 1.0  # type: ignore[misc]
    assert MetricRecord.model_validate_json(record.model_dump_json()) == record
