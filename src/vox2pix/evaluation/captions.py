"""Scores of decoded captions, by sacrebleu."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.seeds import rng_for

_MISMATCHES = 5  # wrong references that the captions are held against for chance


@dataclass(frozen=True)
class CaptionScore:
    """One score of all captions.

    Attributes
    ----------
    metric : str
        ``bleu`` or ``chrf``.
    value : float
        Of the corpus, 0 to 100.
    chance : float
        What the same captions reach against references of other stimuli.
    per_caption : ndarray of float64, shape (n,)
        Of each caption alone, e.g. for intervals and paired tests; their mean is not ``value``.
    signature : str
        sacrebleu's own account of tokenisation, smoothing and version, to be quoted.
    """

    metric: str
    value: float
    chance: float
    per_caption: NDArray[np.float64]
    signature: str


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0
) -> list[CaptionScore]:
    """Score captions decoded from the brain against those that people wrote.

    BLEU (Papineni et al. 2002) counts runs of one to four words that a reference holds too, chrF
    (Popovic 2015) runs of one to six letters; both as sacrebleu defines them (Post 2018), lower
    case, with effective order for single captions. Captions of one grammar share words whatever
    they say, so that chance is far from zero: it is the mean over up to five cyclic shifts of the
    references against the captions.

    Parameters
    ----------
    captions : sequence of str, length n
        One a stimulus; may be empty strings.
    references : sequence of sequences of str, length n
        One or more a stimulus, their number may differ.
    seed : int
        Of the shifts.

    Returns
    -------
    list of CaptionScore
        BLEU and chrF.

    Raises
    ------
    ValueError
        For unequal numbers, fewer than two captions, or a stimulus without a reference.
    """
    from sacrebleu.metrics import BLEU, CHRF

    n = len(captions)
    if n != len(references) or n < 2:
        raise ValueError(
            "Captions need as many lists of references, at least two, not "
            f"{n} captions and {len(references)} lists."
        )
    empty = [i for i, given in enumerate(references) if isinstance(given, str) or not given]
    if empty:
        raise ValueError(f"Caption {empty[0]} (from 0) has no list of references.")
    metrics: dict[str, tuple[Any, Any]] = {
        "bleu": (BLEU(lowercase=True), BLEU(lowercase=True, effective_order=True)),
        "chrf": (CHRF(lowercase=True), CHRF(lowercase=True)),
    }
    shifts = rng_for(seed, "mismatched captions").choice(
        np.arange(1, n), min(_MISMATCHES, n - 1), replace=False
    )
    scores = []
    for name, (corpus, single) in metrics.items():
        value = corpus.corpus_score(captions, _streams(references)).score
        mismatched = [
            corpus.corpus_score(captions, _streams([*references[k:], *references[:k]])).score
            for k in shifts
        ]
        per_caption = [
            single.sentence_score(caption, list(given)).score
            for caption, given in zip(captions, references, strict=True)
        ]
        scores.append(
            CaptionScore(
                metric=name,
                value=float(value),
                chance=float(np.mean(mismatched)),
                per_caption=np.array(per_caption, np.float64),
                signature=str(corpus.get_signature()),
            )
        )
    return scores


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Turn lists of references a caption into sacrebleu's lists a rank, None where one lacks."""
    ranks = max(len(given) for given in references)
    return [[given[k] if k < len(given) else None for given in references] for k in range(ranks)]
