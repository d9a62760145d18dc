"""The page of a transfer: verdicts first, then every stimulus, then the numbers behind both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.outside import without_places
from vox2pix.report.assets import assets_of
from vox2pix.report.labels import counted
from vox2pix.report.rendering import render
from vox2pix.store import read_json, write_text

Record = Mapping[str, Any]

VISION, IMAGERY, CUE = "vision", "imagery", "attention-cue"
DRAWN = "drawn images"
_SECTIONS = (
    ("verdict", "Verdict"),
    ("stimuli", "Every stimulus"),
    ("reliability", "Is there anything to decode"),
    ("shift", "How far is the shift"),
    ("identification", "Identification"),
    ("trials", "How many trials"),
    ("controls", "Controls"),
    ("data", "Data and settings"),
)
_REASONS = {
    "exceeds the cue": "imagined patterns repeat, and more so than the cue alone explains",
    "no signal": "imagined patterns do not repeat from run to run beyond chance",
    "cue": "imagined patterns repeat, but no more than responses to the cue alone do",
    "no control": "imagined patterns repeat, but no trials with the cue alone were measured, so "
    "that the cue may be what is decoded",
}
_WAYS = {"pairwise": "pairwise", "k-way": "first of all"}
_POOLS = {"set": "within its set", "all": "over all sets"}
_FIXED = {"true": "true one fixed", "decoded": "decoded one fixed"}


@dataclass(frozen=True)
class Sentence:
    """One verdict: its kind as the page colours it, a word, and a plain sentence."""

    kind: str  # pass, warn, fail, or empty
    title: str
    word: str
    text: str


def write_transfer_page(folder: Path, images: Mapping[str, NDArray[np.uint8]]) -> Path:
    """Write ``transfer.html`` from a folder's ``transfer.json`` and its images.

    ``images`` holds those drawn in each task (n_stimuli, n_samples, height, width, 3), in the order
    that the record names, and the true ones, (n_stimuli, height, width, 3).
    """
    record = read_json(folder / "transfer.json")
    target = folder / "transfer.html"
    with assets_of(target, False) as assets:
        html = render(
            "transfer.html.j2",
            assets,
            _SECTIONS,
            f"Does {record['run']} transfer to other responses of {record['data']['subject']}?",
            sentences=verdicts(record),
            columns=_columns(record),
            stimuli=_stimuli(record, images, assets),
            is_reconstruction=_is_decodable(record) is not False,
            record=record,
            data_notes=[without_places(note) for note in record["data"]["notes"]],
            regions=_region_rows(record),
            shifts=_shift_rows(record),
            identified=_identification_rows(record),
            curves=_curve_rows(record),
            controls=_control_rows(record),
            plotly="",
        )
    write_text(target, html)
    return target


# --- sentences ------------------------------------------------------------------------------------


def verdicts(record: Record) -> list[Sentence]:
    """Return what a transfer found, in plain sentences, the most important first."""
    found = [
        _imagery_sentence(record),
        *_ratio_sentences(record),
        *_identified(record),
        *_word_sentences(record),
    ]
    cue = _cue_sentence(record)
    return [sentence for sentence in [*found, cue] if sentence is not None]


def _is_decodable(record: Record) -> bool | None:
    """Return whether images may be called reconstructions; None where that is not asked.

    Imagery must be decodable; where no image of anything exists, as of dreams, nothing can be
    compared.
    """
    verdict = record["reliability"]["verdict"]
    if verdict is None:
        is_asked = IMAGERY in record["tasks"] or not record["with_image"]
        return False if is_asked else None
    return bool(verdict["answer"] == "decodable")


def _imagery_sentence(record: Record) -> Sentence | None:
    title, reliability = "Is there anything to decode?", record["reliability"]
    if IMAGERY not in record["tasks"]:
        text = "These responses are not named as imagery: no verdict on patterns is made."
        return Sentence("", title, "not asked", text)
    verdict = reliability["verdict"]
    if verdict is None:
        why = reliability["not_computed"]
        return Sentence("warn", title, "open", f"It could not be computed: {why}.")
    reason = _REASONS[verdict["reason"]]
    if verdict["answer"] == "open":
        text = (
            f"It cannot be told whether imagery is decoded: {reason}. No image below is a "
            "reconstruction of what was imagined."
        )
        return Sentence("warn", title, "open", text)
    where = ", ".join(n for n, region in verdict["regions"].items() if region["is_decodable"])
    text = f"In {where} {reason} (both at p below 0.05, corrected over regions)."
    return Sentence("pass", title, "decodable", text)


def _ratio_sentences(record: Record) -> list[Sentence]:
    """Say how reliable imagery is beside vision, by region."""
    if not {IMAGERY, VISION} <= set(record["tasks"]):
        return []
    parts = []
    for name, region in record["reliability"]["regions"].items():
        if not region["reliability"]:
            continue
        ratio = region["ratio"]
        parts.append(
            f"{name}: no ratio, as the interval of vision holds 0"
            if ratio is None
            else f"{name}: {_number(ratio['value'])} {_interval(ratio)}"
        )
    if not parts:
        return []
    text = (
        "Reliability of imagined patterns over that of seen ones, at equal trials, with 95 % "
        f"intervals. {'; '.join(parts)}."
    )
    return [Sentence("", "How strong beside vision?", "", text)]


def _identified(record: Record) -> list[Sentence]:
    sentences = []
    tasks = [task for task in record["tasks"] if task != CUE]
    for name, found in record["identification"]["targets"].items():
        parts = [
            f"{record['tasks'][task]} {_percent(result['score'])}, {_p(result['p'])}"
            for task in tasks
            if (result := _main_result(found, task)) is not None
        ]
        if IMAGERY in tasks and VISION in tasks and name != DRAWN:
            ratio = found["ratio"]
            parts.append(
                "no ratio, as vision is not above chance or both are at the ceiling"
                if ratio is None
                else f"above chance and at equal trials, imagery reaches "
                f"{_number(ratio['value'])} {_interval(ratio)} of vision"
            )
        what = f"the {DRAWN}" if name == DRAWN else f"decoded {name}"
        sets = ("set " if len(found["sets"]) == 1 else "sets ") + ", ".join(found["sets"])
        text = (
            f"From {what}, {found['n_stimuli']} stimuli ({sets}), within their set; chance "
            f"50 %. {'; '.join(parts)}."
        )
        sentences.append(Sentence("", f"Identified from {what}?", "", text))
    return sentences


def _word_sentences(record: Record) -> list[Sentence]:
    """Say whether reported words are identified."""
    sentences = []
    for name, found in record["identification"]["words"].items():
        title = f"Are reported words identified from decoded {name}?"
        if "not_computed" in found:
            sentences.append(Sentence("warn", title, "not computed", found["not_computed"]))
            continue
        text = (
            f"The reported word is nearer than one that was not reported in "
            f"{_percent(found['score'])} of pairs, {_p(found['p'])}; chance 50 %, "
            f"{found['n_trials']} trials, {found['n_words']} words."
        )
        if found["missing"]:
            text += f" No training caption has {', '.join(found['missing'])}: not counted."
        is_shown = found["p"] < 0.05
        kind, word = ("pass", "above chance") if is_shown else ("warn", "open")
        sentences.append(Sentence(kind, title, word, text))
    return sentences


def _cue_sentence(record: Record) -> Sentence | None:
    """Say whether the cue alone identifies the stimulus, which it must not."""
    if CUE not in record["tasks"]:
        return None
    p = {
        name: result["p"]
        for name, found in record["identification"]["targets"].items()
        if (result := _main_result(found, CUE)) is not None
    }
    title = "Could it be the cue?"
    if not p:
        return Sentence("", title, "not computed", "No target could be identified.")
    bad = [name for name, value in p.items() if value * len(p) < 0.05]
    if bad:
        text = (
            f"Responses to the cue without imagery identify the stimulus from decoded "
            f"{', '.join(bad)}: what is decoded of imagery may be the cue."
        )
        return Sentence("fail", title, "yes", text)
    text = (
        "Responses to the cue without imagery do not identify the stimulus (least "
        f"{_p(min(p.values()))}, of {len(p)} targets)."
    )
    return Sentence("pass", title, "not shown", text)


def _main_result(found: Record, task: str) -> Record | None:
    """Return pairwise identification within sets, the true target fixed."""
    return next(
        (
            result
            for result in found["results"]
            if result["task"] == task
            and (result["way"], result["pool"], result["fixed"]) == ("pairwise", "set", "true")
        ),
        None,
    )


# --- rows -----------------------------------------------------------------------------------------


def _columns(record: Record) -> list[str]:
    return ["shown or meant", *(f"drawn from {record['tasks'][task]}" for task in record["drawn"])]


def _stimuli(record: Record, images: Mapping[str, NDArray[np.uint8]], assets: Any) -> list[Any]:
    """Return for each stimulus, in order and none left out, its image and what was drawn of it."""
    true = dict(zip(record["with_image"], images.get("true", ()), strict=True))
    rows = []
    for stimulus in sorted({i for ids in record["drawn"].values() for i in ids}):
        cells: list[dict[str, Any]] = [_cell(stimulus, "true", true.get(stimulus), assets)]
        for task, ids in record["drawn"].items():
            own = [images[task][ids.index(stimulus)]] if stimulus in ids else []
            samples = own[0] if own else ()
            cells.append(
                {
                    "images": [
                        address
                        for k, image in enumerate(samples)
                        for address in assets.images([f"{stimulus}-{task}-{k}"], [image])
                    ],
                    "note": counted(record["n_trials"][task].get(stimulus, 0), "trial"),
                }
            )
        button, words = record["buttons"].get(stimulus), record["reports"].get(stimulus)
        notes = [] if button is None else [f"mean answer in imagery {button:.1f}"]
        notes += [] if words is None else [f"reported: {', '.join(words)}"]
        rows.append({"name": stimulus, "note": "; ".join(notes), "cells": cells})
    return rows


def _cell(stimulus: str, kind: str, image: NDArray[np.uint8] | None, assets: Any) -> dict[str, Any]:
    if image is None:
        return {"images": [], "note": "no image exists"}
    return {"images": assets.images([f"{stimulus}-{kind}"], [image]), "note": ""}


def _region_rows(record: Record) -> list[dict[str, Any]]:
    verdict = record["reliability"]["verdict"]
    rows = []
    for name, region in record["reliability"]["regions"].items():
        own = {} if verdict is None else verdict["regions"].get(name, {})
        rows.append(
            {
                "name": name,
                "n_voxels": f"{region['n_voxels']:,}",
                "cells": [
                    _with_interval(region["reliability"].get(task)) for task in record["tasks"]
                ],
                "ratio": _with_interval(region["ratio"]),
                "p_signal": _p(own["p_signal"]) if own else "–",
                "p_cue": _p(own["p_cue"]) if own and own["p_cue"] is not None else "–",
            }
        )
    return rows


def _shift_rows(record: Record) -> list[dict[str, str]]:
    return [
        {
            "region": region,
            "task": record["tasks"][task],
            "mean": f"{moved['mean'][1]:+.2f} [{moved['mean'][0]:+.2f}, {moved['mean'][2]:+.2f}]",
            "spread": f"{moved['spread'][1]:.2f} [{moved['spread'][0]:.2f}, "
            f"{moved['spread'][2]:.2f}]",
        }
        for region, of in record["reliability"]["regions"].items()
        for task, moved in of["shift"].items()
    ]


def _identification_rows(record: Record) -> list[dict[str, str]]:
    return [
        {
            "target": name,
            "task": record["tasks"][result["task"]],
            "how": f"{_WAYS[result['way']]}, {_POOLS[result['pool']]}, {_FIXED[result['fixed']]}",
            "score": _percent(result["score"]),
            "chance": f"{100 * result['chance']:.0f} %",
            "shuffled": f"{100 * result['shuffled']:.0f} %",
            "p": _p(result["p"]),
            "n": str(result["n_stimuli"]),
        }
        for name, found in record["identification"]["targets"].items()
        for result in found["results"]
    ]


def _curve_rows(record: Record) -> list[dict[str, Any]]:
    counts = (1, 2, 4, 8, 16)
    rows = []
    for name, of in record["identification"]["curves"].items():
        for task, points in of.items():
            at = {point["n_trials"]: _percent(point["score"]) for point in points}
            cells = [at.get(n, "–") for n in counts]
            rows.append({"target": name, "task": record["tasks"][task], "cells": cells})
    return rows


def _control_rows(record: Record) -> list[dict[str, str]]:
    return [
        {
            "target": name,
            "task": record["tasks"][task],
            "mean_response": f"{100 * found['mean_response'][task]:.0f} %",
            "share": f"{100 * collapsed['largest_share']:.0f} % "
            f"(even {100 * collapsed['even_share']:.0f} %)",
            "rank": f"{collapsed['effective_rank']:.1f} of {collapsed['effective_rank_true']:.1f}",
        }
        for name, found in record["identification"]["targets"].items()
        for task, collapsed in found["collapse"].items()
    ]


def _with_interval(estimate: Record | None) -> dict[str, str]:
    if estimate is None:
        return {"value": "–", "interval": ""}
    return {"value": _number(estimate["value"]), "interval": _interval(estimate)}


def _number(value: float) -> str:
    return f"{value:.2f}"


def _interval(estimate: Record) -> str:
    return f"[{estimate['ci_low']:.2f}, {estimate['ci_high']:.2f}]"


def _percent(score: Record) -> str:
    low, high = 100 * score["ci_low"], 100 * score["ci_high"]
    return f"{100 * score['value']:.0f} % [{low:.0f}, {high:.0f}]"


def _p(value: float) -> str:
    return f"p {value:.3f}" if value >= 0.001 else "p < 0.001"
