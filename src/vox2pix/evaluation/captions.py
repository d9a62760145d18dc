"""Scores of decoded captions, by sacrebleu."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.intervals import mean_interval
from vox2pix.evaluation.protocols import Metric
from vox2pix.evaluation.scoring import Evaluation
from vox2pix.seeds import rng_for
from vox2pix.untrusted.tables import read_csv

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
    chance_per_caption : float
        Mean of single captions against references of other stimuli.
    signature : str
        sacrebleu's own account of tokenisation, smoothing and version, to be quoted.
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
    return np.array([metric.sentence_score(told, list(given)).score for told, given in pairs])


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read captions by stimulus, one or several each.

    Parameters
    ----------
    path : Path
        CSV with the columns ``stimulus_id`` and ``caption``, a row a caption.

    Raises
    ------
    UserError
        If it cannot be read or lacks a column.
    """
    table = read_csv(path, dtype=str, keep_default_na=False)
    if not {"stimulus_id", "caption"} <= set(table.columns):
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}; captions are a CSV file with "
            "stimulus_id and caption"
        )
    return {
        str(name): list(rows["caption"]) for name, rows in table.groupby("stimulus_id", sort=False)
    }


def with_captions(
    evaluation: Evaluation, decoded: Path, references: Path, seed: int = 0
) -> Evaluation:
    """Add the scores of decoded captions to those of images.

    The records hold the mean over captions, each scored alone, with its interval over stimuli;
    the notes hold the scores of the corpus, which papers report.

    Parameters
    ----------
    evaluation : Evaluation
        Of the images; its stimuli are scored.
    decoded, references : Path
        As :func:`read_captions` takes them; one decoded caption a stimulus.
    seed : int
        Of the resamples and the mismatched pairs.

    Raises
    ------
    UserError
        If a stimulus lacks its caption or a reference, or has several decoded ones.
    """
    told, written = read_captions(decoded), read_captions(references)
    ids = list(evaluation.scores.index)
    for path, captions in ((decoded, told), (references, written)):
        absent = [name for name in ids if name not in captions]
        if absent:
            raise UserError(
                f"{path} has no caption of {len(absent)} of {len(ids)} stimuli, the first is "
                f"{absent[0]!r}; give one of each image"
            )
    several = [name for name in ids if len(told[name]) > 1]
    if several:
        raise UserError(
            f"{decoded} has {len(told[several[0]])} captions of {several[0]!r}; one is decoded of "
            "each image"
        )
    records, notes, scores = [], [], evaluation.scores.copy()
    found = caption_scores([told[n][0] for n in ids], [written[n] for n in ids], seed)
    for name, each in zip(("BLEU", "chrF"), found, strict=True):
        low, high = mean_interval(each.per_caption)
        scores[name, ""] = each.per_caption
        notes.append(
            f"{name} of all captions as one corpus: {each.value:.1f}, by chance "
            f"{each.chance:.1f} (sacrebleu {each.signature})"
        )
        changed = {
            "metric": name,
            "direction": None,
            "definition": f"{name} of each caption, {each.signature}",
            "samples": "mean of 1",
            "value": float(each.per_caption.mean()),
            "ci_low": low,
            "ci_high": high,
            "chance": each.chance_per_caption,
        }
        records.append(evaluation.records[0].model_copy(update=changed))
    metrics = (Metric("BLEU", "captions"), Metric("chrF", "captions"))
    return replace(
        evaluation,
        protocol=replace(evaluation.protocol, metrics=(*evaluation.protocol.metrics, *metrics)),
        records=(*evaluation.records, *records),
        scores=scores,
        notes=(*evaluation.notes, *notes),
    )


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Turn lists of references a caption into sacrebleu's lists a rank, None where one lacks."""
    ranks = max(len(given) for given in references)
    return [[given[k] if k < len(given) else None for given in references] for k in range(ranks)]
