"""BLEU and chrF of decoded captions, by sacrebleu."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.seeds import rng_for

_MISMATCHES = 5  # wrong references that the captions are compared with for chance


@dataclass(frozen=True)
class CaptionScore:
    """One score, BLEU or chrF, of all captions, 0 to 100.

    ``value`` is that of the corpus; the mean of ``per_caption`` (n,), each caption alone, is
    another. ``chance`` and ``chance_per_caption`` are against references of other stimuli;
    ``signature`` is sacrebleu's own description of tokenisation, smoothing and version.
    """

    metric: str
    value: float
    chance: float
    per_caption: NDArray[np.float64]
    chance_per_caption: float
    signature: str


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0
) -> list[CaptionScore]:
    """Score captions decoded from the brain against those that people wrote.

    BLEU (Papineni et al. 2002) counts runs of one to four words that a reference holds too, chrF
    (Popovic 2015) runs of one to six letters; both as sacrebleu defines them (Post 2018), lower
    case, with effective order for single captions. Captions of one grammar share words whatever
    they describe, so that chance is far from zero: it is the mean over up to five cyclic shifts of
    the references.

    Parameters
    ----------
    captions : sequence of str, length n
        One per stimulus; may be empty strings.
    references : sequence of sequences of str, length n
        One or more per stimulus.
    seed : int
        Of the shifts.

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
        others = [[*references[k:], *references[:k]] for k in shifts]
        mismatched = [corpus.corpus_score(captions, _streams(given)).score for given in others]
        scores.append(
            CaptionScore(
                metric=name,
                value=float(value),
                chance=float(np.mean(mismatched)),
                per_caption=_each(single, captions, references),
                chance_per_caption=float(np.mean([_each(single, captions, o) for o in others])),
                signature=str(corpus.get_signature()),
            )
        )
    return scores


def _each(
    metric: Any, captions: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Score each caption alone."""
    pairs = zip(captions, references, strict=True)
    return np.array([metric.sentence_score(own, list(given)).score for own, given in pairs])


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return lists of references per caption as sacrebleu's lists per rank, None where absent."""
    ranks = max(len(given) for given in references)
    return [[given[k] if k < len(given) else None for given in references] for k in range(ranks)]
