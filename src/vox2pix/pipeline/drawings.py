"""What an experiment draws: conditions, ceilings from true values, controls; where images are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config
from vox2pix.generation import ReconstructionSettings, image_seeds
from vox2pix.pipeline.experiment import FloatArray, image_size, targets
from vox2pix.pipeline.reporter import report_damage
from vox2pix.pipeline.run import Run
from vox2pix.seeds import rng_for
from vox2pix.store import ShardedArray, holds_arrays, load_arrays
from vox2pix.targets import (
    Condition,
    Target,
    ceilings_of,
    conditions_of,
    fullest,
    targets_of,
    usable,
)

RETRIEVAL = "retrieval"  # condition of the nearest training stimuli
CLUSTERS = "decoded/clusters.safetensors"
_FEWEST = 3  # training stimuli of a decoder: one held out leaves two, which have a difference
Source = Literal["decoded", "true", "shuffled", "mean", "noise", "held-out", "swapped"]

AUDIT_ONLY: frozenset[Source] = frozenset({"mean", "noise", "held-out", "swapped"})
"""Sources that only the audit asks for."""


@dataclass(frozen=True)
class Drawing:
    """One condition drawn from one source.

    The source says where values come from: decoded from the responses to the stimulus, true,
    decoded from the responses to another stimulus (shuffled), from the mean response, from noise,
    or by decoders that were trained without the stimulus's cluster (held-out); swapped joins the
    decoded layout of one stimulus with the decoded content of another.
    """

    name: str  # as in metrics.json
    condition: Condition
    source: Source
    samples: int  # noise samples per stimulus

    @property
    def is_audit_only(self) -> bool:
        """Whether only the audit asks for it."""
        return self.source in AUDIT_ONLY


def planned_drawings(config: Config, has_captions: bool) -> list[Drawing]:
    """List what an experiment draws.

    Without captions, what needs a target that is computed from them is left out.
    """
    generate, found = config.generate, usable(targets_of(config), has_captions)
    samples, few = generate.samples, generate.ceiling_samples
    conditions = _drawn(config, found)
    ceilings = _drawable(ceilings_of, generate.ceilings, config, found)
    drawings = [Drawing(str(c), c, "decoded", samples) for c in conditions]
    drawings += [Drawing(f"true-{c}", c, "true", few) for c in ceilings]
    judged = fullest(conditions, found)
    if generate.shuffled or config.audit.enabled:
        drawings.append(Drawing("shuffled", judged, "shuffled", few))
    if config.audit.enabled:
        drawings += [
            Drawing("mean-response", judged, "mean", 1),
            Drawing("noise-response", judged, "noise", 1),
            Drawing("held-out", judged, "held-out", 1),
        ]
        if {found[name].carries for name in judged.targets} == {"layout", "content"}:
            drawings.append(Drawing("swapped", judged, "swapped", 1))
    # An image without denoising has no noise: one sample shows everything.
    return [d if d.condition.denoised else _with_one_sample(d) for d in drawings]


def _drawn(config: Config, found: Mapping[str, Target]) -> list[Condition]:
    return _drawable(conditions_of, config.generate.conditions, config, found)


def _drawable(
    of: Callable[[Config, Mapping[str, Target]], tuple[Condition, ...]],
    named: Sequence[str] | None,
    config: Config,
    found: Mapping[str, Target],
) -> list[Condition]:
    """Return the conditions that can be drawn: of those named, or the default ones."""
    if named is None:  # by default everything together: of what there is
        return list(of(config, found))
    return [c for c in of(config, targets_of(config)) if found.keys() >= set(c.targets)]


def _with_one_sample(drawing: Drawing) -> Drawing:
    return Drawing(drawing.name, drawing.condition, drawing.source, 1)


def judged_condition(config: Config, has_captions: bool) -> Condition:
    """Return the condition that the audit judges: the one with most of what is decoded."""
    found = usable(targets_of(config), has_captions)
    return fullest(_drawn(config, found), found)


def drawings_of(run: Run) -> list[Drawing]:
    """List what a run draws; nothing of held-out clusters where none can be held out."""
    planned = planned_drawings(run.config, run.subject.has_captions)
    return [d for d in planned if d.source != "held-out" or not why_not_held_out(run)]


def stored_images(run: Run, drawing: Drawing) -> ShardedArray:
    """Return the images of a drawing: (n_test, samples, size, size, 3), 8 bit."""
    size = image_size(run)
    if not drawing.condition.denoised:
        size = targets(run)[drawing.condition.targets[0]].preview_size(run.architecture)
    shape = (len(run.test_ids), drawing.samples, size, size, 3)
    stage = "audit-drawing" if drawing.is_audit_only else "generate"
    folder = run.path / "images" / f"{drawing.name}-{run.keys[stage]}"
    stored = ShardedArray(folder, shape, np.uint8, run.config.compute.shard_size)
    report_damage(run.reporter, stored)
    return stored


def as_floats(stored: NDArray[np.uint8]) -> FloatArray:
    """Return 8-bit images in [0, 1]."""
    return np.divide(stored, 255, dtype=np.float32)


def as_bytes(images: FloatArray, truncate: bool = False) -> NDArray[np.uint8]:
    """Return images in [0, 1] as 8 bit: rounded, or truncated as some released code does."""
    scaled = images * 255
    return (scaled if truncate else np.rint(scaled)).astype(np.uint8)


def noise_seeds(config: Config, stimulus_ids: tuple[str, ...], samples: int) -> NDArray[np.int64]:
    """Return the seed of each image's noise, (n_stimuli, samples)."""
    # The released code seeded each process alike: every image got the same noise.
    one_noise = config.run_protocol.one_noise
    names = ["one noise for all"] * len(stimulus_ids) if one_noise else stimulus_ids
    return image_seeds(config.seed, names, samples)


def reconstruction_settings(config: Config, samples: int) -> ReconstructionSettings:
    """Return how the generator draws, by the configuration and its protocol."""
    generate, protocol = config.generate, config.run_protocol
    return ReconstructionSettings(
        strength=generate.strength,
        steps=generate.steps,
        guidance=generate.guidance,
        schedule=generate.schedule,
        samples=samples,
        truncate=protocol.truncates,
        sample_start=protocol.samples_start,
    )


def donors(n: int, seed: int) -> NDArray[np.intp]:
    """Return for each of n >= 2 test stimuli another one, each once: whose responses it gets."""
    cycle = rng_for(seed, "shuffled brain").permutation(n)
    order = np.empty(n, np.intp)
    order[cycle] = np.roll(cycle, 1)
    return order


def test_clusters(run: Run) -> NDArray[np.intp]:
    """Return the cluster of each test stimulus."""
    return load_arrays(run.path / CLUSTERS)["test"]


def why_not_held_out(run: Run) -> str:
    """Return why no cluster can be held out of training; empty if it can, or is not known yet."""
    path = run.path / CLUSTERS
    if not run.config.audit.enabled or not holds_arrays(path):
        return ""
    n_left = int(load_arrays(path)["n_left"][0])
    if n_left >= _FEWEST:
        return ""
    return (
        f"without one of the {run.config.audit.clusters} clusters (audit.clusters) {n_left} "
        f"training images are left, and a decoder needs {_FEWEST}"
    )
