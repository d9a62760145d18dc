"""How large an experiment is: by its files, or by what was published of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox2pix.config import Config
from vox2pix.data import Published, source_of
from vox2pix.pipeline.preconditions import Analysis, require_enough, require_subject

_PHANTOM_REPEATS = 3
_PHANTOM_VOXELS = 40_000
_PHANTOM_SIDE = 128  # pixels

Regions = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sizes:
    """How large an experiment is."""

    n_train_trials: int
    n_train: int
    n_test: int
    n_voxels: dict[str, int]  # of each group of regions asked for
    beta_bytes: float  # what reading the responses moves
    has_captions: bool
    facts: tuple[str, ...]  # where the figures come from
    subject: str = "the subject"
    image_side: int = _PHANTOM_SIDE  # pixels per side of an image, about


def experiment_sizes(config: Config, path: Path, rois: Regions, analysis: Analysis) -> Sizes:
    """Size an experiment by its files, or by what NSD published where they cannot be read.

    `rois` are groups of regions whose voxels are counted, by target. An experiment without data, or
    impossible with them (:mod:`vox2pix.pipeline.preconditions`), is refused.
    """
    sizes = _sizes(config, path, rois, analysis)
    require_enough(
        config,
        analysis,
        sizes.subject,
        n_train=sizes.n_train,
        n_test=sizes.n_test,
        n_train_trials=sizes.n_train_trials,
        has_captions=sizes.has_captions,
    )
    return sizes


def _sizes(config: Config, path: Path, rois: Regions, analysis: Analysis) -> Sizes:
    data = config.data
    if data.source == "phantom":
        return _phantom_sizes(config, rois)
    root = data.root(path)
    source = source_of(data, root)
    names = tuple(dict.fromkeys(name for group in rois.values() for name in group))
    subject = source.outlook(names)
    if isinstance(subject, Published):
        return _published_sizes(subject, rois, data.max_test_stimuli, source.image_side)
    test_ids = subject.test.stimulus_ids[: data.max_test_stimuli]
    n_test = len(test_ids)
    require_subject(config, analysis, subject, test_ids)
    return Sizes(
        n_train_trials=subject.train.n_trials,
        n_train=len(subject.train.stimulus_ids),
        n_test=n_test,
        n_voxels={key: int(subject.voxel_mask(names).sum()) for key, names in rois.items()},
        beta_bytes=source.beta_bytes(subject),
        has_captions=subject.has_captions,
        facts=(
            f"{subject.name}, {len(subject.sessions)} sessions, read from {root}",
            _size_sentence(subject.train.n_trials, len(subject.train.stimulus_ids), n_test),
        ),
        subject=subject.name,
        image_side=source.image_side,
    )


def _published_sizes(
    published: Published, rois: Regions, max_test: int | None, image_side: int
) -> Sizes:
    n_test = min(published.n_test, max_test or published.n_test)
    about, *guesses = published.facts
    return Sizes(
        published.n_train_trials,
        published.n_train,
        n_test,
        {key: sum(published.n_voxels[name] for name in names) for key, names in rois.items()},
        published.beta_bytes,
        True,
        (
            about,
            "about " + _size_sentence(published.n_train_trials, published.n_train, n_test),
            *guesses,
        ),
        image_side=image_side,
    )


def _phantom_sizes(config: Config, rois: Regions) -> Sizes:
    phantom = config.data.phantom
    n_trials = phantom.sessions * phantom.trials_per_session
    n_stimuli = n_trials // _PHANTOM_REPEATS
    n_test = min(phantom.n_shared, config.data.max_test_stimuli or phantom.n_shared)
    n_train_trials = n_trials - _PHANTOM_REPEATS * phantom.n_shared
    sizes = {"early": phantom.n_early, "ventral": phantom.n_ventral, "all": _PHANTOM_VOXELS}
    n_voxels = {key: sum(sizes.get(r, 400) for r in names) for key, names in rois.items()}
    return Sizes(
        n_train_trials,
        n_stimuli - phantom.n_shared,
        n_test,
        n_voxels,
        2.0 * n_trials * _PHANTOM_VOXELS,
        True,
        (
            f"a simulated subject, {phantom.sessions} sessions",
            _size_sentence(n_train_trials, n_stimuli - phantom.n_shared, n_test),
        ),
    )


def _size_sentence(n_train_trials: int, n_train: int, n_test: int) -> str:
    return f"{n_train_trials:,} training trials of {n_train:,} images; {n_test:,} test images"
