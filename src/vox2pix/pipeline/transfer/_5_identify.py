"""Stage 5 of a transfer: which stimulus decoded targets and images belong to, beside controls."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation import image_encoder
from vox2pix.evaluation.audit.spectrum import effective_rank, singular_values
from vox2pix.evaluation.transfer import (
    averaged_pseudo_values,
    identify,
    identify_words,
    largest_share,
    ratio_over_sets,
    similarities,
    trial_curve,
    word_targets,
)
from vox2pix.pipeline.drawings import as_floats
from vox2pix.pipeline.experiment import FloatArray, stored_features, targets
from vox2pix.pipeline.exported import is_exported
from vox2pix.pipeline.inputs import encoder_hashes
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    CUE,
    IMAGERY,
    TRUTH,
    VISION,
    stimuli_of,
    tasks_of,
    transfer_of,
    with_images,
)
from vox2pix.store import load_arrays, read_json, write_json

_FEWEST = 3  # stimuli of a set
_COLUMNS = 4096  # values of a target read at once
DRAWN = "drawn images"  # among what is identified; a target may be called image


def compute(
    true: FloatArray,
    means: Mapping[str, FloatArray],
    sets: NDArray[np.str_],
    mean: FloatArray,
    seed: int,
    at_equal_trials: Mapping[str, list[NDArray[np.float64]]] | None = None,
) -> dict[str, Any]:
    """Identify stimuli from what was decoded of their mean responses in each task.

    ``true`` and the values of ``means`` are (n_stimuli, n_values), ``sets`` (n_stimuli,), and
    ``at_equal_trials`` has each task's pseudo-values of pairwise identification by set. Returns
    ``results``, the ``ratio`` of imagery to vision above chance (None where nothing can be said
    of it), ``collapse`` by task, and ``mean_response``: the score of the mean prediction of each
    task, the same for all stimuli.
    """
    r = {task: similarities(true, rows, mean) for task, rows in means.items()}
    equal, ratio = at_equal_trials or {}, None
    if {IMAGERY, VISION} <= equal.keys():
        above, below = ([values - 0.5 for values in equal[task]] for task in (IMAGERY, VISION))
        ratio = ratio_over_sets(above, below)
    rank = effective_rank(singular_values(true))
    one_for_all = {
        task: similarities(true, np.tile(rows.mean(axis=0), (len(rows), 1)), mean)
        for task, rows in means.items()
    }
    return {
        "results": [
            {"task": task, **asdict(each)} for task in r for each in identify(r[task], sets, seed)
        ],
        "ratio": None if ratio is None else asdict(ratio),
        "collapse": {
            task: {
                "largest_share": largest_share(r[task]),
                "even_share": 1 / len(true),
                "effective_rank": effective_rank(singular_values(rows)),
                "effective_rank_true": rank,
            }
            for task, rows in means.items()
        },
        "mean_response": {
            task: identify(each, sets, seed)[0].score.value for task, each in one_for_all.items()
        },
        "n_stimuli": len(true),
        "sets": sorted(set(sets.tolist())),
    }


def _identify(run: Run) -> Sequence[str]:
    transfer = transfer_of(run)
    names = [*targets(transfer.source), DRAWN]
    record: dict[str, Any] = {"targets": {}, "curves": {}, "not_computed": {}}
    truth = read_json(run.path / TRUTH) | {DRAWN: with_images(run)}
    run.reporter.begin("Identifying stimuli", len(names), "targets")
    for name in names:
        ids = truth[name]
        chosen, reason = _usable(run, ids)
        if reason:
            record["not_computed"][name] = reason
        elif name == DRAWN:
            record["targets"][name] = _of_images(run, ids, chosen)
        else:
            record["targets"][name], record["curves"][name] = _of_target(run, name, ids, chosen)
        run.reporter.advance(1)
    record["words"] = words_record(run)
    write_json(run.path / "identification.json", record)
    for name, found in record["targets"].items():
        summary = ", ".join(
            f"{each['task']} {100 * each['score']['value']:.0f} % (p {each['p']:.3g})"
            for each in found["results"]
            if (each["way"], each["pool"], each["fixed"]) == ("pairwise", "set", "true")
        )
        run.reporter.say(f"Pairwise identification from {name}: {summary}")
    return ("identification.json",)


def _usable(run: Run, ids: Sequence[str]) -> tuple[list[str], str]:
    """Return the stimuli of sets that have three or more with a truth, shown in every task."""
    everywhere = set.intersection(*(set(stimuli_of(run, task)) for task in tasks_of(run)))
    sets = _sets(run)
    common = [i for i in ids if i in everywhere]
    members = {name: [i for i in common if sets[i] == name] for name in set(sets.values())}
    chosen = [i for i in common if len(members[sets[i]]) >= _FEWEST]
    if not chosen:
        return [], (
            f"{len(common)} stimuli have a true value, and no set has {_FEWEST} of them; words can "
            "stand for stimuli without an image"
        )
    return chosen, ""


def _sets(run: Run) -> dict[str, str]:
    table = transfer_of(run).trials
    return dict(zip(table["stimulus_id"], table["set"].astype(str), strict=True))


def _of_target(
    run: Run, name: str, ids: Sequence[str], chosen: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    arrays = load_arrays(run.path / f"decoded/{name}.safetensors")
    table, seed = transfer_of(run).trials, transfer_of(run).source.config.seed
    rows = [list(ids).index(i) for i in chosen]
    true, sets = arrays["true"][rows], np.array([_sets(run)[i] for i in chosen])
    place = {stimulus: row for row, stimulus in enumerate(chosen)}
    means, curves, single = {}, {}, {}
    for task in tasks_of(run):
        own = np.flatnonzero((table["task"] == task) & table["stimulus_id"].isin(chosen))
        shown = np.array([place[i] for i in table["stimulus_id"].to_numpy(str)[own]])
        single[task] = (predicted := arrays["predicted"][own]), shown
        means[task] = np.stack(
            [predicted[shown == k].mean(axis=0, dtype=np.float64) for k in range(len(chosen))]
        ).astype(np.float32)
        points = trial_curve(true, predicted, shown, sets, arrays["mean"], seed=seed)
        curves[task] = [asdict(point) for point in points]
    n = min(int(np.bincount(shown).min()) for _, shown in single.values())
    equal = {
        task: averaged_pseudo_values(true, *trials, sets, arrays["mean"], n, seed)
        for task, trials in single.items()
    }
    return compute(true, means, sets, arrays["mean"], seed, equal), curves


def _of_images(run: Run, ids: Sequence[str], chosen: Sequence[str]) -> dict[str, Any]:
    """Identify by embeddings of the drawn images, the mean over samples, less nothing."""
    source = transfer_of(run).source
    drawn = load_arrays(run.path / "images/transfer.safetensors")
    encoder = image_encoder(source.config.evaluate.encoder, device=source.config.compute.device)
    true = encoder(as_floats(drawn["true"]))[[list(ids).index(i) for i in chosen]]
    means = {}
    for task in tasks_of(run):
        if task == CUE:
            continue
        images = drawn[task][[stimuli_of(run, task).index(i) for i in chosen]]
        rows = encoder(as_floats(images.reshape(-1, *images.shape[2:])))
        means[task] = rows.reshape(*images.shape[:2], -1).mean(axis=1)
    sets = np.array([_sets(run)[i] for i in chosen])
    return compute(true, means, sets, np.zeros(true.shape[1], np.float32), source.config.seed)


def words_record(run: Run) -> dict[str, Any]:
    """Identify reported words from single trials, by each target that carries content."""
    transfer = transfer_of(run)
    if transfer.reports is None:
        return {}
    source, table = transfer.source, transfer.trials
    task = IMAGERY if IMAGERY in tasks_of(run) else tasks_of(run)[0]
    own = (table["task"] == task).to_numpy()
    reports = [words for words, is_own in zip(transfer.reports, own, strict=True) if is_own]
    vocabulary = sorted({word for report in reports for word in report})
    found: dict[str, Any] = {}
    for name, target in targets(source).items():
        if target.carries != "content":
            continue
        if is_exported(source):
            reason = "Exported decoders hold no training captions: name the run itself."
            found[name] = {"not_computed": reason, "missing": []}
            continue
        words = _word_targets(source, name, vocabulary)
        arrays = load_arrays(run.path / f"decoded/{name}.safetensors")
        missing = sorted(set(vocabulary) - set(words))
        try:
            result = identify_words(
                arrays["predicted"][own], reports, words, arrays["mean"], source.config.seed
            )
        except ValueError as error:
            found[name] = {"not_computed": str(error), "missing": missing}
            continue
        found[name] = {
            "task": task,
            "score": asdict(result.score),
            "p": result.p,
            "n_trials": len(result.per_trial),
            "n_words": len(words),
            "missing": missing,
        }
    return found


def _word_targets(source: Run, name: str, words: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the mean training target of each word, read a block of columns at a time."""
    ids = source.subject.train.stimulus_ids
    texts = source.subject.captions(ids) if source.subject.has_captions else [()] * len(ids)
    stored = stored_features(source, name, ids)
    width, parts = stored.shape[1], []
    for first in range(0, width, _COLUMNS):
        columns = stored[:, first : min(first + _COLUMNS, width)]
        parts.append(word_targets(columns, texts, words))
    return {word: np.concatenate([part[word] for part in parts]) for word in parts[0]}


def _inputs(run: Run) -> Any:
    transfer = transfer_of(run)
    source = transfer.source
    return [
        source.config.evaluate.encoder,
        encoder_hashes(run),
        source.config.seed,
        transfer.reports,
    ]


IDENTIFY = Stage(
    "transfer-identify",
    "Identification",
    _identify,
    after=("transfer-decode", "transfer-draw"),
    inputs=_inputs,
)
