import numpy as np
import pytest
import sacrebleu

from vox2pix.evaluation.metrics import caption_scores
from vox2pix.phantom.scenes import captions as scene_captions
from vox2pix.phantom.scenes import scene

REFERENCES = [list(scene_captions(scene(i))) for i in range(12)]
DECODED = [scene_captions(scene(i if i % 3 else i + 50))[1].title() for i in range(12)]


def test_is_sacrebleus_corpus_score() -> None:
    bleu, chrf = caption_scores(DECODED, REFERENCES)
    streams = [list(rank) for rank in zip(*REFERENCES, strict=True)]
    assert bleu.metric == "bleu"
    expected = sacrebleu.corpus_bleu(DECODED, streams, lowercase=True).score
    assert bleu.value == pytest.approx(expected, abs=1e-9)
    lowered = [text.lower() for text in DECODED]
    assert chrf.metric == "chrf"
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(lowered, streams).score, abs=1e-9)
    assert "version" in bleu.signature


def test_right_captions_score_full_and_wrong_ones_by_chance() -> None:
    right = [given[2] for given in REFERENCES]
    for score in caption_scores(right, REFERENCES):
        assert score.value == pytest.approx(100)
        np.testing.assert_allclose(score.per_caption, 100)
        assert 0 < score.chance < 80
    wrong = right[1:] + right[:1]
    for score in caption_scores(wrong, REFERENCES):
        assert abs(score.value - score.chance) < 25


def test_chance_of_three_captions_is_that_of_both_shifts() -> None:
    captions, references = DECODED[:3], REFERENCES[:3]
    for score in caption_scores(captions, references):
        shifted = [references[k:] + references[:k] for k in (1, 2)]
        values = [
            next(s.value for s in caption_scores(captions, r) if s.metric == score.metric)
            for r in shifted
        ]
        assert score.chance == pytest.approx(np.mean(values))


def test_numbers_of_references_may_differ() -> None:
    references = [given[: 1 + i % 5] for i, given in enumerate(REFERENCES)]
    for score in caption_scores([given[0] for given in references], references):
        assert score.value == pytest.approx(100)


def test_an_empty_caption_scores_nothing() -> None:
    for score in caption_scores(["", *DECODED[1:]], REFERENCES):
        assert score.per_caption[0] == 0


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="not 12 captions and 11 lists"):
        caption_scores(DECODED, REFERENCES[:11])
    with pytest.raises(ValueError, match=r"Caption 1 \(from 0\) has no list"):
        caption_scores(DECODED[:2], [REFERENCES[0], []])
    with pytest.raises(ValueError, match=r"Caption 0 \(from 0\) has no list"):
        caption_scores(["a", "b"], ["a", "b"])
