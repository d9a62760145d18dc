"""Simulated imagery in the layout of NSD-Imagery, with known gains, cues and planted cases.

Eighteen stimuli in three sets: simple figures, scenes (five that the experiment showed and one
that it did not), and concepts without an image. A trial of voxel v has the response

    b_v + g_v(task) s_v(stimulus) + k_v(task) q_v(cue) + noise

with s the noise-free signal to the stimulus when it is seen, q a random pattern of each cue
letter with the signal's standard deviation, and noise as in the other sessions. Vision has g = 1
and k = 0. Imagery has a gain that grows from early to higher cortex, as feedback does (Breedlove
et al. 2020, Current Biology 30, 2211-2224), and sees its cue; the cue beta of an attention run
has the cue alone, its detection beta a pattern that is the same for all stimuli. Concepts drive
higher cortex alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from vox2pix.errors import UserError
from vox2pix.phantom import nsd_tree, scenes
from vox2pix.phantom.brain import STREAMS, Brain
from vox2pix.phantom.higher import Content, scene_content
from vox2pix.phantom.nsd_tree import Design
from vox2pix.phantom.settings import Settings
from vox2pix.seeds import rng_for

Array = NDArray[np.float32]

CASES = ("signal", "no-signal", "cue-only")
GAINS = {
    "early": 0.4,
    "midventral": 0.6,
    "midlateral": 0.6,
    "midparietal": 0.6,
    "ventral": 0.8,
    "lateral": 0.8,
    "parietal": 0.8,
}
"""Of imagery relative to vision, by stream."""

CUE_GAIN, CUE_ONLY_GAIN = 0.15, 0.7
DETECTION_GAIN = 0.5

SETS = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
"""Cue letters of the stimuli of each set."""

RUNS = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
"""Runs in the order of their betas."""

_REPEATS = 8  # of each stimulus in a run
_FIGURES = ((0.0,), (45.0,), (90.0,), (135.0,), (0.0, 90.0), (45.0, 135.0))  # bars, crosses
_BAR = (0.36, 0.05)  # half length and half width of a bar, in images
_N_SCENES = 5  # of set B that the experiment showed; the sixth it did not


@dataclass(frozen=True)
class Imagined:
    """The stimuli of one subject's imagery session, in the order of sets and letters."""

    images: dict[str, Array]  # by file name, RGB in [0, 1]; those of sets A and B
    nsd_ids: tuple[int, ...]  # of the scenes that the experiment showed, 0-based
    content: Content  # of all eighteen


def checked_cases(
    imagery: str | Sequence[str] | None, subjects: int, n_shared: int
) -> tuple[str, ...]:
    """Return the case of each subject, the last one for all that follow; none without imagery."""
    names = (imagery,) if isinstance(imagery, str) else tuple(imagery or ())
    unknown = [name for name in names if name not in CASES]
    if unknown or len(names) > subjects:
        what = f"{unknown[0]!r}" if unknown else f"{len(names)} cases of {subjects} subjects"
        raise UserError(
            f"The imagery cannot be {what}: name {', '.join(CASES)}, at most one per subject."
        )
    if names and n_shared < _N_SCENES:
        raise UserError(
            f"Imagery needs {_N_SCENES} shared images, and there are {n_shared}: give more."
        )
    return names + names[-1:] * (subjects - len(names))


def draw_imagined(design: Design, settings: Settings) -> Imagined:
    """Draw the eighteen stimuli, the same for all subjects.

    Scenes are of the shared ones; the sixth is the first that no subject saw. Concepts are the
    kinds of objects, in the order of their names.
    """
    rng = rng_for(settings.seed, "imagined")
    shared = design.subject_stimuli[0, : design.n_shared]
    nsd_ids = np.sort(rng.choice(shared, _N_SCENES, replace=False))
    indices = [*nsd_ids.tolist(), design.n_stimuli]
    drawn = [scenes.scene(index, settings.scene_seed) for index in indices]
    size = settings.image_size
    images = {}
    for angles in _FIGURES:
        kind = "bar" if len(angles) == 1 else "cross"
        images[f"{kind}_{angles[0]:05.1f}deg_450L_43W.png"] = figure(angles, size)
    ranks = np.searchsorted(shared, nsd_ids) + 1
    names = [
        f"shared{rank:04d}_nsd{nsd_id + 1:05d}.png"
        for rank, nsd_id in zip(ranks, nsd_ids, strict=True)
    ]
    for name, scene in zip([*names, "shared0000_nsd00000.png"], drawn, strict=True):
        images[name] = scenes.render(scene, size)
    return Imagined(images, tuple(int(i) for i in nsd_ids), _content(drawn))


def figure(angles: tuple[float, ...], size: int) -> Array:
    """Draw dark bars through the middle of a grey square, float32 (size, size, 3).

    Angles are in degrees from upright, clockwise.
    """
    ticks = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(ticks, ticks)
    image = np.full((size, size, 3), 0.5, np.float32)
    for angle in angles:
        sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
        along, across = x * sine - y * cosine, x * cosine + y * sine
        image[(np.abs(along) <= _BAR[0]) & (np.abs(across) <= _BAR[1])] = 0.1
    return image


def _content(drawn: list[scenes.Scene]) -> Content:
    """Return what the stimuli show: nothing of figures, scenes, and one kind of each concept."""
    shown = scene_content(drawn)
    kinds = [k for k, group in enumerate(shown.groups) if group == "kind"]
    values = np.zeros((18, len(shown.names)), np.float32)
    values[6:12] = shown.values
    for row, column in enumerate(sorted(kinds, key=lambda k: shown.names[k])[:6]):
        values[12 + row, column] = 1
    position = np.zeros((18, 2), np.float32)
    position[6:12] = shown.position
    return Content(shown.names, shown.groups, values, position)


# --- responses ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The 720 betas of a session, in their order: one value per beta."""

    stimulus: NDArray[np.intp]  # of the eighteen
    run: NDArray[np.intp]  # of ``RUNS``
    task: NDArray[np.str_]  # ``vis``, ``img``, ``cue`` or ``detection``
    run_lengths: tuple[int, ...]


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draw the order of trials in each run; an attention trial has two betas, cue then detection.

    That they alternate is this phantom's choice: no source says how NSD-Imagery orders them.
    """
    stimulus: list[int] = []
    run: list[int] = []
    task: list[str] = []
    for number, name in enumerate(RUNS):
        first = 6 * list(SETS).index(name[3])
        order = rng.permutation(np.repeat(np.arange(first, first + 6), _REPEATS))
        is_attention = name.startswith("att")
        for shown in order:
            events = ("cue", "detection") if is_attention else (name[:3],)
            stimulus += [int(shown)] * len(events)
            run += [number] * len(events)
            task += events
    lengths = tuple(int(n) for n in np.bincount(run))
    return Plan(np.array(stimulus), np.array(run), np.array(task), lengths)


@dataclass(frozen=True)
class ImageryTruth:
    """What the responses of one brain to the imagery session are made of, per voxel."""

    signal: Array  # (18, n_voxels): to the seen stimulus, without baseline
    cues: Array  # (18, n_voxels): patterns of the cue letters
    detection: Array  # (n_voxels,)
    gain: Array  # (n_voxels,): of imagery
    cue_gain: float


def imagery_truth(brain: Brain, responses: Array, case: str, seed: int) -> ImageryTruth:
    """Return the parts of a brain's responses; ``responses`` (18, n_voxels) are to vision."""
    rng = rng_for(seed, "imagery", brain.subject, brain.layout.space)
    n_voxels = brain.layout.n_voxels
    gain = np.zeros(n_voxels, np.float32)
    if case == "signal":
        for name, label in STREAMS.items():
            gain[brain.layout.stream == label] = GAINS[name]
    patterns = rng.standard_normal((19, n_voxels), np.float32) * brain.signal_sd
    cue_gain = CUE_ONLY_GAIN if case == "cue-only" else CUE_GAIN
    return ImageryTruth(responses - brain.baseline, patterns[:18], patterns[18], gain, cue_gain)


def imagery_betas(brain: Brain, plan: Plan, truth: ImageryTruth, seed: int) -> Array:
    """Return the betas of the session, (720, n_voxels), percent signal change."""
    rng = rng_for(seed, "imagery noise", brain.subject, brain.layout.space)
    betas = brain.noise.draw_session(plan.run_lengths, rng) + brain.baseline
    signal, cue = (
        truth.signal[plan.stimulus],
        np.float32(truth.cue_gain) * truth.cues[plan.stimulus],
    )
    is_task = {name: (plan.task == name)[:, None] for name in ("vis", "img", "cue", "detection")}
    betas += is_task["vis"] * signal
    betas += is_task["img"] * (truth.gain * signal + cue)
    betas += is_task["cue"] * cue
    betas += is_task["detection"] * (np.float32(DETECTION_GAIN) * truth.detection)
    return np.asarray(betas, np.float32)


# --- files -------------------------------------------------------------------------------------


def write_images(root: Path, imagined: Imagined) -> None:
    """Write the images of sets A and B under ``rawtargetimages``, as PNG."""
    for row, (name, image) in enumerate(imagined.images.items()):
        folder = root / f"nsddata/experiments/nsdimagery/rawtargetimages/set{'AB'[row // 6]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / name)


def write_tables(
    root: Path, subject: int, plan: Plan, imagined: Imagined, rng: np.random.Generator
) -> None:
    """Write the table of trials of each run, with NSD-Imagery's columns.

    ``BUTTON`` of an imagery trial is a vividness from 1 to 4, drawn without regard to anything.
    """
    letters = [letter for name in SETS for letter in SETS[name]]
    files = [*imagined.images, *[""] * 6]
    for number, name in enumerate(RUNS):
        rows = np.flatnonzero((plan.run == number) & (plan.task != "detection"))
        shown, n = plan.stimulus[rows], len(rows)
        start = 4.0 + np.arange(n) * (8.0 if name.startswith("att") else 4.0)
        is_seen = name.startswith("vis")
        table = pd.DataFrame(
            {
                "SUBJECT": subject,
                "SESSION": 1,
                "RUN": number + 1,
                "TRIAL": np.arange(n) + 1,
                "CONDITION": [letters[k] for k in shown],
                "CUE": [letters[k] for k in shown],
                "FRAMEFILE": "frame.png",
                "IMAGEFILE": [files[k] if is_seen and files[k] else "NaN" for k in shown],
                "GROUNDTRUTH": "NaN",
                "ISCORRECT": "NaN",
                "CHANGEMIND": 0,
                "TOTAL1": 0,
                "TOTAL2": 0,
                "BUTTON": rng.integers(1, 5, n) if name.startswith("img") else np.full(n, 1),
                "TRIALONSET": start,
                "TRIALEND": start + 3.0,
                "IMAGEONSET": start + 1.0,
                "IMAGESERIESENDS": start + 3.0,
                "FINALDECISIONTIME": start + 3.0,
                "RT": np.round(rng.gamma(9.0, 100.0, n), 6),
            }
        )
        folder = root / "nsddata/bdata/nsdimagery"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"nsdimagery_subj{subject:02d}_{name}.tsv"
        table.to_csv(path, sep="\t", index=False, na_rep="NaN")


def write_betas(root: Path, brain: Brain, betas: Array, nifti: bool) -> None:
    """Write the 720 betas of a brain as NSD-Imagery does."""
    person = f"subj{brain.subject:02d}"
    space = root / "nsddata_betas/ppdata" / person / brain.layout.space
    folder = space / f"nsdimagery{nsd_tree.BETAS}"
    folder.mkdir(parents=True, exist_ok=True)
    nsd_tree.save_betas(folder, "betas_nsdimagery", brain.layout, betas, nifti=nifti)
