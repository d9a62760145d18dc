"""The truth behind simulated data, in files that no reader of NSD looks at."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.phantom.brain import Brain
from vox2pix.phantom.higher import Content
from vox2pix.phantom.imagery import ImageryTruth, Plan
from vox2pix.phantom.nsd_tree import Design
from vox2pix.phantom.settings import Settings
from vox2pix.phantom.stimuli import Stimuli


def write_truth_of_stimuli(
    file: Any, design: Design, stimuli: Stimuli, subject: int, content: Content, settings: Settings
) -> None:
    """Write which stimuli the rows of the truth belong to, and what they show."""
    file.attrs["seed"] = settings.seed
    file.attrs["scene_seed"] = settings.scene_seed
    file["nsd_id"] = design.subject_stimuli[subject - 1]
    file["stimulus_name"] = [stimuli.names[k] for k in design.subject_stimuli[subject - 1]]
    file["content/names"] = list(content.names)
    file["content/groups"] = list(content.groups)
    file["content/values"] = content.values
    file["content/position"] = content.position


def write_truth_of_brain(group: Any, brain: Brain, responses: NDArray[np.float32]) -> None:
    """Write noise-free responses, receptive fields, tunings and noise of one space.

    ``responses`` and all arrays without a word about voxels have a row or column for each brain
    voxel; ``early`` and ``higher`` hold the rows of receptive fields and tunings.
    """
    layout = brain.layout
    group.attrs["reliability"] = brain.reliability
    for name in ("index", "hemisphere", "position", "stream"):
        group[name] = getattr(layout, name)
    group["visual_area"] = brain.visual_area()
    for name in ("baseline", "signal_sd", "ncsnr", "responsive"):
        group[name] = getattr(brain, name)
    group["responses"] = responses[:, brain.responsive]
    for name in ("x", "y", "sigma"):
        group[f"early/{name}"] = getattr(brain.fields, name)
    group["early/voxel"] = brain.early
    for name in ("linear", "energy", "linear_share"):
        group[f"early/{name}"] = getattr(brain.early_tuning, name)
    group["higher/voxel"] = brain.higher
    group["higher/groups"] = list(brain.higher_tuning.groups)
    for name in ("weights", "shares", "position"):
        group[f"higher/{name}"] = getattr(brain.higher_tuning, name)
    noise = brain.noise
    group["noise/sd"] = noise.sd
    for name in ("data", "indices", "indptr"):
        group[f"noise/smoothing/{name}"] = getattr(noise.smoothing, name)
    for name in ("independent", "local", "common", "ar1", "session_shift"):
        group["noise"].attrs[name] = getattr(noise, name)


def write_truth_of_imagery(group: Any, plan: Plan, truth: ImageryTruth, case: str) -> None:
    """Write the order of the imagery session's betas and what they are made of."""
    group.attrs["case"] = case
    group.attrs["cue_gain"] = truth.cue_gain
    group["stimulus"] = plan.stimulus
    group["run"] = plan.run
    group["task"] = plan.task.tolist()
    for name in ("signal", "cues", "detection", "gain"):
        group[name] = getattr(truth, name)
