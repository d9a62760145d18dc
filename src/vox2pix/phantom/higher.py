"""Higher voxels: tuned to what an image shows, hardly to where.

What an image shows is a *content vector*, one row per stimulus: which kinds of objects, colours,
background and how many objects (from the scene itself), or which words its captions use (for a
person's own images). A voxel's signal is linear in groups of that vector,

    s_v(i) = z( sum_g sqrt(p_vg) z(content_ig . w_vg) ) * (1 + 0.1 q_v . position_i)

with w_vg random tuning weights, smooth over cortex in part (patches of like preference), p_vg
the share of group g in the voxel's area, and q_v a weak preference for where the main object
is. Conjunctions (a kind in a colour, a kind on a background) are a weak group. Nothing here
comes from a diffusion model: the phantom would otherwise agree with it by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vox2pix.phantom.early import standard_score

if TYPE_CHECKING:
    from vox2pix.phantom.scenes import Scene

Array = NDArray[np.float32]

POSITION_GAIN = 0.1
OTHER_OBJECT = 0.6
"""How much an object that is not the main one counts beside it."""

MAX_WORDS = 200
MAX_PAIRS = 60

# Share of each group of content in a voxel's variance, by stream.
_SCENE_PROFILE: dict[str, dict[str, float]] = {
    "midventral": {"kind": 0.30, "colour": 0.38, "background": 0.20, "count": 0.05},
    "midlateral": {"kind": 0.50, "colour": 0.12, "background": 0.10, "count": 0.20},
    "midparietal": {"kind": 0.25, "colour": 0.10, "background": 0.30, "count": 0.27},
    "ventral": {"kind": 0.38, "colour": 0.25, "background": 0.22, "count": 0.07},
    "lateral": {"kind": 0.55, "colour": 0.08, "background": 0.12, "count": 0.17},
    "parietal": {"kind": 0.22, "colour": 0.06, "background": 0.30, "count": 0.34},
}
_CONJUNCTION = "conjunction"
_CONJUNCTION_SHARE = 0.08
_SMOOTH_SHARE = 0.5
_CONCENTRATION = 12.0


@dataclass(frozen=True)
class Content:
    """What each of a set of images shows."""

    names: tuple[str, ...]  # one per column, e.g. ``"kind ball"`` or ``"word dog"``
    groups: tuple[str, ...]  # the group of each column
    values: Array  # (n_stimuli, n_columns): how much of it is there; 0 is none
    # (n_stimuli, 2): centre of the main object from the image's middle, in [-1, 1], right and up;
    # 0 where unknown
    position: Array

    def rows(self, index: NDArray[np.int64]) -> "Content":
        """Return the content of some of the images."""
        return Content(self.names, self.groups, self.values[index], self.position[index])

    def joined(self, other: "Content") -> "Content":
        """Return the content of these images, then of others, described by the same columns."""
        if other.names != self.names:
            raise ValueError("Contents of other columns cannot be joined.")
        return Content(
            self.names,
            self.groups,
            np.concatenate([self.values, other.values]),
            np.concatenate([self.position, other.position]),
        )


@dataclass(frozen=True)
class HigherTuning:
    """What each higher voxel prefers."""

    groups: tuple[str, ...]  # groups of content, one per column of ``shares``
    weights: Array  # (n_voxels, n_columns): preference for each column of the content
    # (n_voxels, n_groups): share of each group in the voxel's variance; rows sum to 1
    shares: Array
    position: Array  # (n_voxels, 2): preferred direction of the main object, of length 1


def scene_content(scenes: "Sequence[Scene]") -> Content:
    """Describe drawn scenes: kinds, colours, background, number of objects, conjunctions.

    The main object counts 1 and every other one ``OTHER_OBJECT``.
    """
    from vox2pix.phantom.scenes import BACKGROUNDS, COLOURS, KINDS

    kinds, colours, backgrounds = list(KINDS), list(COLOURS), list(BACKGROUNDS)
    columns = [("kind", name) for name in kinds]
    columns += [("colour", name) for name in colours]
    columns += [("background", name) for name in backgrounds]
    columns += [("count", str(n)) for n in (1, 2, 3)]
    columns += [(_CONJUNCTION, f"{colour} {kind}") for kind in kinds for colour in colours]
    columns += [(_CONJUNCTION, f"{kind} {back}") for kind in kinds for back in backgrounds]
    where = {column: k for k, column in enumerate(columns)}
    values = np.zeros((len(scenes), len(columns)), np.float32)
    position = np.zeros((len(scenes), 2), np.float32)
    for row, scene in enumerate(scenes):
        values[row, where["background", scene.background]] = 1
        values[row, where["count", str(len(scene.objects))]] = 1
        for k, thing in enumerate(scene.objects):
            amount = 1.0 if k == 0 else OTHER_OBJECT
            for column in (
                ("kind", thing.kind),
                ("colour", thing.colour),
                (_CONJUNCTION, f"{thing.colour} {thing.kind}"),
                (_CONJUNCTION, f"{thing.kind} {scene.background}"),
            ):
                values[row, where[column]] = max(values[row, where[column]], amount)
        main = scene.objects[0]
        position[row] = 2 * main.x - 1, 1 - 2 * main.y
    return Content(
        tuple(f"{group} {name}" for group, name in columns),
        tuple(group for group, _ in columns),
        values,
        position,
    )


def caption_content(captions: Sequence[Sequence[str]]) -> Content:
    """Describe a person's own images by the words of their captions.

    A word's value is the share of the image's captions that use it. The ``MAX_WORDS`` most
    frequent words count, English stop words do not; the ``MAX_PAIRS`` pairs of words that
    occur together most often stand for conjunctions.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(stop_words="english", binary=True, max_features=MAX_WORDS)
    lines = [line for group in captions for line in group]
    owner = np.repeat(np.arange(len(captions)), [len(group) for group in captions])
    try:
        counts = vectorizer.fit_transform(lines)
    except ValueError as error:
        raise ValueError("the captions hold no word to be tuned to") from error
    average = sparse.csr_matrix(
        (1 / np.bincount(owner, minlength=len(captions))[owner], (owner, np.arange(len(lines)))),
        shape=(len(captions), len(lines)),
    )
    words = np.asarray((average @ counts).todense(), np.float32)
    names = [str(name) for name in vectorizer.get_feature_names_out()]
    pairs = _frequent_pairs(words)
    conjunctions = [words[:, a] * words[:, b] for a, b in pairs]
    return Content(
        (*(f"word {name}" for name in names), *(f"{names[a]} {names[b]}" for a, b in pairs)),
        ("word",) * len(names) + (_CONJUNCTION,) * len(pairs),
        np.column_stack([words, *conjunctions]).astype(np.float32),
        np.zeros((len(captions), 2), np.float32),
    )


def draw_higher_tuning(
    content: Content,
    streams: Sequence[str],
    smoothing: sparse.csr_matrix,
    rng: np.random.Generator,
) -> HigherTuning:
    """Draw what each higher voxel prefers: weights, shares and preferred directions.

    Shares are Dirichlet about the profile of the voxel's stream (NSD's name, e.g. ``"ventral"``).
    ``smoothing`` (n_voxels, n_voxels) has rows of length 1; half the variance of the tuning is
    smoothed by it.
    """
    groups = tuple(dict.fromkeys(content.groups))
    shape = (len(streams), len(content.names))
    smooth = np.sqrt(_SMOOTH_SHARE) * (smoothing @ rng.standard_normal(shape))
    weights = smooth + np.sqrt(1 - _SMOOTH_SHARE) * rng.standard_normal(shape)
    profiles = np.array([_profile(groups, stream) for stream in streams]).reshape(-1, len(groups))
    shares = rng.standard_gamma(_CONCENTRATION * profiles)
    direction = rng.uniform(0, 2 * np.pi, len(streams))
    return HigherTuning(
        groups,
        weights.astype(np.float32),
        (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32),
        np.column_stack([np.cos(direction), np.sin(direction)]).astype(np.float32),
    )


def respond(content: Content, tuning: HigherTuning) -> Array:
    """Return the signal s_v(i) of the module's formula, (n_stimuli, n_voxels), float32.

    Scaled to mean 0 and standard deviation 1 over the stimuli given.
    """
    member = np.array(content.groups)
    total = np.zeros((len(content.values), len(tuning.weights)), np.float32)
    for k, group in enumerate(tuning.groups):
        columns = member == group
        drive = standard_score(content.values[:, columns] @ tuning.weights[:, columns].T)
        total += np.sqrt(tuning.shares[:, k]) * drive
    gain = 1 + POSITION_GAIN * (content.position @ tuning.position.T)
    return standard_score(standard_score(total) * gain)


def _profile(groups: tuple[str, ...], stream: str) -> list[float]:
    """Return the mean share of each group in a stream; words take what conjunctions leave."""
    profile = {**_SCENE_PROFILE[stream], "word": 1 - _CONJUNCTION_SHARE}
    shares = [_CONJUNCTION_SHARE if name == _CONJUNCTION else profile[name] for name in groups]
    return [share / sum(shares) for share in shares]


def _frequent_pairs(words: Array) -> list[tuple[int, int]]:
    """Return the pairs of columns that most often occur together, most frequent first."""
    present = (words > 0).astype(np.float32)
    together = present.T @ present
    pairs = [pair for pair in combinations(range(words.shape[1]), 2) if together[pair] > 1]
    return sorted(pairs, key=lambda pair: (-together[pair], pair))[:MAX_PAIRS]
