"""Captions decoded from the brain, read from files and scored beside the images."""

from dataclasses import replace
from pathlib import Path

from vox2pix.errors import UserError
from vox2pix.evaluation.intervals import mean_interval
from vox2pix.evaluation.metrics import caption_scores
from vox2pix.evaluation.protocols import Metric
from vox2pix.evaluation.scoring import Evaluation
from vox2pix.untrusted.tables import read_csv


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read captions by stimulus from a CSV file of ``stimulus_id`` and ``caption``, one per row."""
    table = read_csv(path, dtype=str, keep_default_na=False)
    if not {"stimulus_id", "caption"} <= set(table.columns):
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}; captions are a CSV file with "
            "stimulus_id and caption."
        )
    return {
        str(name): list(rows["caption"]) for name, rows in table.groupby("stimulus_id", sort=False)
    }


def with_captions(
    evaluation: Evaluation, decoded: Path, references: Path, seed: int = 0
) -> Evaluation:
    """Add the scores of decoded captions to those of images.

    The records hold the mean over captions, each scored alone, with its interval over stimuli; the
    notes hold the scores of the corpus, which papers report.
    """
    spoken, written = read_captions(decoded), read_captions(references)
    ids = list(evaluation.scores.index)
    for path, captions in ((decoded, spoken), (references, written)):
        absent = [name for name in ids if name not in captions]
        if absent:
            raise UserError(
                f"{path} has no caption of {len(absent)} of {len(ids)} stimuli, the first is "
                f"{absent[0]!r}. Give one of each image."
            )
    several = [name for name in ids if len(spoken[name]) > 1]
    if several:
        raise UserError(
            f"{decoded} has {len(spoken[several[0]])} captions of {several[0]!r}. Give one of each "
            "image."
        )
    records, notes, scores = [], [], evaluation.scores.copy()
    scored = caption_scores([spoken[n][0] for n in ids], [written[n] for n in ids], seed)
    for name, each in zip(("BLEU", "chrF"), scored, strict=True):
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
