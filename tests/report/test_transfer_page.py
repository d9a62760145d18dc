"""The page of a transfer, from records written by hand."""

import numpy as np
import pytest

from report.test_page import EVIL, Page
from vox2pix.report.transfer import verdicts, write_transfer_page
from vox2pix.store import write_json

LABELS = {"vision": "seen", "imagery": "imagined", "attention-cue": "cue alone"}


def estimate(value, low, high):
    return {"value": value, "ci_low": low, "ci_high": high}


def identified(task, value, p):
    return {
        "task": task, "way": "pairwise", "pool": "set", "fixed": "true", "chance": 0.5,
        "score": estimate(value, value - 0.2, value + 0.1), "shuffled": 0.5, "p": p,
        "n_stimuli": 6,
    }  # fmt: skip


def record(reason="exceeds the cue", cue_p=0.4, tasks=LABELS, **changes):
    answer = "decodable" if reason == "exceeds the cue" else "open"
    reliability = {
        task: estimate(0.3, 0.2, 0.4) | {"p": 0.01, "n_half": 4, "across_runs": True}
        for task in tasks
    }
    region = {
        "n_voxels": 1234,
        "reliability": reliability,
        "ratio": estimate(0.42, 0.2, 0.7),
        "shift": {task: {"mean": [-1, 0.25, 1], "spread": [0.5, 0.9, 2]} for task in tasks},
    }
    own = {"p_signal": 0.012, "p_cue": 0.034, "is_decodable": answer == "decodable"}
    results = {"vision": (0.8, 0.002), "imagery": (0.7, 0.03), "attention-cue": (0.6, cue_p)}
    target = {
        "results": [identified(task, *results[task]) for task in tasks],
        "ratio": None,
        "collapse": {
            task: {"largest_share": 0.5, "even_share": 1 / 6, "effective_rank": 2.0,
                   "effective_rank_true": 4.0}
            for task in tasks
        },
        "mean_response": dict.fromkeys(tasks, 0.5),
        "n_stimuli": 6,
        "sets": ["A"],
    }  # fmt: skip
    points = [{"n_trials": n, "score": estimate(0.6, 0.5, 0.7)} for n in (1, 2)]
    made = {
        "run": "first",
        "model": "phantom",
        "standardise": "none",
        "condition": "z+c",
        "rois": {"z": ["early"]},
        "tasks": dict(tasks),
        "drawn": {task: ["A-H", "C-S"] for task in tasks if task != "attention-cue"},
        "with_image": ["A-H"],
        "n_trials": {task: {"A-H": 8, "C-S": 1} for task in tasks},
        "buttons": {"A-H": 2.5},
        "reports": {},
        "data": {"subject": "subj01", "identity": "NSD", "unit": "percent", "licence": "terms",
                 "notes": [EVIL, "/home/anna/nsd/ncsnr.nii.gz holds NaN"]},
        "reliability": {
            "not_computed": "",
            "verdict": {"answer": answer, "reason": reason, "regions": {"early": own}},
            "regions": {"early": region},
        },
        "identification": {
            "targets": {"z": target}, "curves": {"z": dict.fromkeys(tasks, points)},
            "not_computed": {"c": "no captions"}, "words": {},
        },
    }  # fmt: skip
    return made | changes


def page_of(folder, made):
    write_json(folder / "transfer.json", made)
    rng = np.random.default_rng(0)
    images = {task: rng.integers(0, 255, (2, 3, 16, 16, 3), np.uint8) for task in made["drawn"]} | {
        "true": rng.integers(0, 255, (len(made["with_image"]), 16, 16, 3), np.uint8)
    }
    return Page(write_transfer_page(folder, images).read_text())


def test_verdicts_come_first_and_every_number_is_on_the_page(tmp_path):
    page = page_of(tmp_path, record())
    text = page.text
    order = [
        "Is there anything to decode? decodable", "In early imagined patterns repeat",
        "early: 0.42 [0.20, 0.70]", "imagined 70 % [50, 80], p 0.030",
        "no ratio, as vision is not above chance", "Could it be the cue? not shown",
        "All stimuli, none chosen", "mean answer in imagery 2.5", "8 trials", "1 trial", "1,234",
        "+0.25 [-1.00, +1.00]", "c: not computed, no captions.",
        "50 % (even 17 %)", "2.0 of 4.0",
    ]  # fmt: skip
    places = [text.index(part) for part in order if part != "1 trial"]
    assert places == sorted(places)
    assert "Not reconstructions." not in text
    assert len(page.all("img")) == 1 + 2 * 2 * 3
    assert "no image exists" in text


def test_what_comes_from_data_is_escaped(tmp_path):
    page = page_of(tmp_path, record())
    assert EVIL in page.text
    assert "/home/anna" not in page.text
    assert "ncsnr.nii.gz holds NaN" in page.text
    assert "alert(1)" not in "".join(page.scripts.values())


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("no signal", "do not repeat from run to run beyond chance"),
        ("cue", "no more than responses to the cue alone do"),
        ("no control", "no trials with the cue alone were measured"),
    ],
)
def test_open_verdicts_say_why_and_no_image_is_a_reconstruction(tmp_path, reason, words):
    text = page_of(tmp_path, record(reason)).text
    assert "Is there anything to decode? open" in text
    assert "It cannot be told whether imagery is decoded" in text
    assert words in text
    assert "Not reconstructions." in text


def test_a_cue_that_identifies_is_a_failure():
    (cue,) = [each for each in verdicts(record(cue_p=0.01)) if "cue" in each.title]
    assert (cue.kind, cue.word) == ("fail", "yes")
    assert "what is decoded of imagery may be the cue" in cue.text


def test_dreams_show_words_and_are_no_reconstructions(tmp_path):
    seen = {"seen": "other responses"}
    made = record(tasks={"vision": "seen"}) | {
        "tasks": seen,
        "drawn": {"seen": ["dream-1", "dream-2"]},
        "with_image": [],
        "n_trials": {"seen": {"dream-1": 1, "dream-2": 1}},
        "buttons": {},
        "reports": {"dream-1": ["sea", "ball"]},
        "reliability": {"not_computed": "once", "verdict": None, "regions": {}},
        "identification": {
            "targets": {}, "curves": {}, "not_computed": {},
            "words": {
                "c": {"task": "seen", "score": estimate(0.61, 0.55, 0.68), "p": 0.002,
                      "n_trials": 2, "n_words": 2, "missing": ["whale"]},
                "image": {"not_computed": "Words identify nothing.", "missing": []},
            },
        },
    }  # fmt: skip
    page = page_of(tmp_path, made)
    for part in (
        "reported: sea, ball", "61 % [55, 68] of pairs, p 0.002", "above chance",
        "No training caption has whale: not counted.", "Words identify nothing.",
        "Not reconstructions.",
    ):  # fmt: skip
        assert part in page.text
