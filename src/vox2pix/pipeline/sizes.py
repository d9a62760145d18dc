"""How large an experiment is: by its files, or by the published sizes of NSD."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox2pix.buckets import is_remote
from vox2pix.config import Config
from vox2pix.data import open_folder, open_nsd
from vox2pix.data.faults import Faults
from vox2pix.data.nsd_layout import HEMISPHERES, NsdLayout, read_design
from vox2pix.data.rois import Atlas, find_atlases, roi_mask, union_parts
from vox2pix.data.volumes import hdf5_shape, image_shape, is_there
from vox2pix.errors import UserError
from vox2pix.pipeline.preconditions import Analysis, require_enough, require_subject

# NSD as published (Allen et al. 2022), for planning before its files can be read: trials per
# session, images per subject and presentations of each, images shared by all; the functional volume
# and the voxels of the `streams` atlas in subject 1 (others differ by some ten per cent).
_NSD_TRIALS, _NSD_IMAGES, _NSD_REPEATS, _NSD_SHARED, _NSD_SESSIONS = 750, 10_000, 3, 1_000, 40
_NSD_VOLUME = 81 * 104 * 83
_NSD_VOXELS = {"early": 6_000, "ventral": 7_600, "all": 200_000}
_NSD_OTHER_VOXELS = 4_000
_PHANTOM_VOXELS = 40_000

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
    if data.source == "folder":
        subject = open_folder(root)
    else:
        names = tuple(dict.fromkeys(name for group in rois.values() for name in group))
        try:
            subject = open_nsd(
                root, data.subject, data.sessions, names, data.space, data.betas,
                leave_out=not is_remote(root),
            )  # fmt: skip
        except UserError as fault:
            layout = NsdLayout(root, data.subject, data.space, data.betas)
            sessions = _sessions_asked_for(layout, data.sessions, fault)
            atlases = _atlases(layout)
            _require_known(names, atlases)
            if _can_be_read(layout, sessions, names, atlases):
                raise
            return _published_sizes(config, len(sessions), rois, fault)
    test_ids = subject.test.stimulus_ids[: data.max_test_stimuli]
    n_test = len(test_ids)
    require_subject(config, analysis, subject, test_ids)
    n_trials = len(subject.trials)
    n_voxels = {key: int(subject.voxel_mask(names).sum()) for key, names in rois.items()}
    return Sizes(
        n_train_trials=subject.train.n_trials,
        n_train=len(subject.train.stimulus_ids),
        n_test=n_test,
        n_voxels=n_voxels,
        beta_bytes=2.0 * n_trials * (_NSD_VOLUME if data.source == "nsd" else len(subject.voxels)),
        has_captions=subject.has_captions,
        facts=(
            f"{subject.name}, {len(subject.sessions)} sessions, read from {root}",
            _size_sentence(subject.train.n_trials, len(subject.train.stimulus_ids), n_test),
        ),
        subject=subject.name,
    )


def _phantom_sizes(config: Config, rois: Regions) -> Sizes:
    phantom = config.data.phantom
    n_trials = phantom.sessions * phantom.trials_per_session
    n_stimuli = n_trials // _NSD_REPEATS
    n_test = min(phantom.n_shared, config.data.max_test_stimuli or phantom.n_shared)
    n_train_trials = n_trials - _NSD_REPEATS * phantom.n_shared
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


def _sessions_asked_for(
    layout: NsdLayout, sessions: int | Sequence[int] | None, fault: UserError
) -> Sequence[int]:
    """Return the sessions of an experiment of which there is a file, whatever is in it."""
    present = layout.sessions_present()
    if not present:
        raise fault
    if sessions is None:
        return present
    asked = range(1, sessions + 1) if isinstance(sessions, int) else sessions
    missing = [session for session in asked if session not in present]
    if missing:
        raise UserError(
            f"{layout.betas_folder} has no file of session {missing[0]}, which data.sessions asks "
            f"for: the last one is {present[-1]}; add the file or leave the session out."
        )
    return asked


def _atlases(layout: NsdLayout) -> dict[str, Atlas]:
    extension, hemispheres = (".mgz", HEMISPHERES) if layout.is_surface else (".nii.gz", ())
    return find_atlases(layout.rois, extension, layout.label_folders, hemispheres)


def _require_known(names: Sequence[str], atlases: dict[str, Atlas]) -> None:
    """Raise if the tree names its regions, and one that is asked for is not among them."""
    regions = {"all", *atlases}
    for atlas in atlases.values():
        regions |= {*atlas.labels, *(f"{atlas.name}:{label}" for label in atlas.labels)}
    if any(atlas.labels for atlas in atlases.values()):
        for name in union_parts(names):
            if name not in regions:
                roi_mask(name, atlases, {}, Faults())  # raises, with the nearest names


def _can_be_read(
    layout: NsdLayout, sessions: Sequence[int], names: Sequence[str], atlases: dict[str, Atlas]
) -> bool:
    """Whether the files that an experiment opens are there and readable."""
    responses = [file for session in sessions for file in layout.session(session)]
    images = [file for atlas in atlases.values() for file in atlas.files]
    images += [file for file in layout.ncsnr if is_there(file)]
    if "all" in names and not layout.is_surface:
        images.append(layout.brain_mask)
    try:
        for file in (*responses, *images):
            if file.suffix == ".hdf5":
                hdf5_shape(file, "betas")
            else:
                image_shape(file)
        if is_there(layout.images):
            hdf5_shape(layout.images, "imgBrick")
        read_design(layout)
    except UserError:
        return False
    return bool(atlases) or set(names) == {"all"}


def _published_sizes(config: Config, n_sessions: int, rois: Regions, fault: UserError) -> Sizes:
    """Size NSD by what is published of so many sessions."""
    data = config.data
    # An image is missed when all its presentations are in sessions that are not there.
    seen = 1 - max(0.0, 1 - n_sessions / _NSD_SESSIONS) ** _NSD_REPEATS
    n_test_all = round(_NSD_SHARED * seen)
    n_test = min(n_test_all, data.max_test_stimuli or n_test_all)
    n_train = round((_NSD_IMAGES - _NSD_SHARED) * seen)
    n_trials = n_sessions * _NSD_TRIALS
    n_train_trials = round(n_trials * (1 - _NSD_SHARED / _NSD_IMAGES))
    n_voxels = {
        key: sum(_NSD_VOXELS.get(name, _NSD_OTHER_VOXELS) for name in names)
        for key, names in rois.items()
    }
    return Sizes(
        n_train_trials,
        n_train,
        n_test,
        n_voxels,
        2.0 * n_trials * _NSD_VOLUME,
        True,
        (
            f"NSD's published sizes for {n_sessions} session files; they cannot be read: {fault}",
            "about " + _size_sentence(n_train_trials, n_train, n_test),
            *_guesses([name for group in rois.values() for name in group]),
        ),
    )


def _guesses(names: Sequence[str]) -> list[str]:
    """List the regions whose size is a guess; their names cannot be checked either."""
    guessed = [name for name in dict.fromkeys(names) if name not in _NSD_VOXELS]
    if not guessed:
        return []
    return [
        f"no size is known of {', '.join(guessed)}: {_NSD_OTHER_VOXELS:,} voxels are taken for "
        "each; check the names"
    ]


def _size_sentence(n_train_trials: int, n_train: int, n_test: int) -> str:
    return f"{n_train_trials:,} training trials of {n_train:,} images; {n_test:,} test images"
