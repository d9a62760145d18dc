"""How large an experiment is: by its files, or by what is published."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox2pix.config import Config
from vox2pix.data import open_folder, open_nsd
from vox2pix.errors import UserError

# NSD as published (Allen et al. 2022), for planning before its files can be read: trials a
# session, pictures a subject and how often each, pictures shared by all; the functional volume
# and the voxels of the `streams` atlas in subject 1 (others differ by some ten per cent).
_NSD_TRIALS, _NSD_PICTURES, _NSD_REPEATS, _NSD_SHARED, _NSD_SESSIONS = 750, 10_000, 3, 1_000, 40
_NSD_VOLUME = 81 * 104 * 83
_NSD_VOXELS = {"early": 6_000, "ventral": 7_600, "all": 200_000}
_NSD_OTHER_VOXELS = 4_000
_PHANTOM_VOXELS = 40_000

Regions = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sizes:
    """How large an experiment is.

    Attributes
    ----------
    n_train_trials, n_train, n_test : int
        Training trials, training stimuli, test stimuli.
    n_voxels : dict of str to int
        Voxels of each group of regions asked for.
    beta_bytes : float
        What reading the responses moves.
    has_captions : bool
        Whether c can be decoded.
    facts : tuple of str
        Where the figures come from.
    """

    n_train_trials: int
    n_train: int
    n_test: int
    n_voxels: dict[str, int]
    beta_bytes: float
    has_captions: bool
    facts: tuple[str, ...]


def experiment_sizes(config: Config, path: Path, rois: Regions) -> Sizes:
    """Size an experiment by its files, or by what NSD published where they cannot be read.

    Parameters
    ----------
    config : Config
        The experiment.
    path : Path
        The run folder; a simulated subject would lie in it.
    rois : mapping of str to tuple of str
        Groups of regions whose voxels are counted; a group named ``c`` only where there are
        captions.

    Raises
    ------
    UserError
        If there are no data to size.
    """
    data = config.data
    if data.source == "phantom":
        return _phantom_sizes(config, rois)
    root = data.root(path)
    if data.source == "folder":
        subject = open_folder(root)
    else:
        names = tuple(dict.fromkeys(name for group in rois.values() for name in group))
        try:
            subject = open_nsd(root, data.subject, data.sessions, names, data.space, data.betas)
        except UserError as fault:
            return _published_sizes(config, root, rois, fault)
    n_test = len(subject.test.stimulus_ids[: data.max_test_stimuli])
    n_trials = len(subject.trials)
    n_voxels = {
        key: int(subject.voxel_mask(names).sum())
        for key, names in rois.items()
        if key != "c" or subject.has_captions
    }
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
    )


def _phantom_sizes(config: Config, rois: Regions) -> Sizes:
    phantom = config.data.phantom
    n_trials = phantom.sessions * phantom.trials_per_session
    n_stimuli = n_trials // _NSD_REPEATS
    n_test = min(phantom.n_shared, config.data.max_test_stimuli or phantom.n_shared)
    n_train_trials = n_trials - _NSD_REPEATS * phantom.n_shared
    known = {"early": phantom.n_early, "ventral": phantom.n_ventral, "all": _PHANTOM_VOXELS}
    n_voxels = {key: sum(known.get(r, 400) for r in names) for key, names in rois.items()}
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


def _published_sizes(config: Config, root: Path, rois: Regions, fault: UserError) -> Sizes:
    """Size NSD from the session files that exist, whatever is in them."""
    data = config.data
    folder = root / f"nsddata_betas/ppdata/subj{data.subject:02d}/{data.space}/{data.betas}"
    sessions = {re.search(r"session(\d+)", path.name) for path in folder.glob("*betas_session*")}
    found = len({match[1] for match in sessions if match})
    if not found:
        raise fault
    wanted = data.sessions
    n_sessions = min(found, wanted) if isinstance(wanted, int) else len(wanted or range(found))
    # A picture is missed when all its showings fall into the sessions that are not there.
    seen = 1 - max(0.0, 1 - n_sessions / _NSD_SESSIONS) ** _NSD_REPEATS
    n_test_all = round(_NSD_SHARED * seen)
    n_test = min(n_test_all, data.max_test_stimuli or n_test_all)
    n_train = round((_NSD_PICTURES - _NSD_SHARED) * seen)
    n_trials = n_sessions * _NSD_TRIALS
    n_train_trials = round(n_trials * (1 - _NSD_SHARED / _NSD_PICTURES))
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
        ),
    )


def _size_sentence(n_train_trials: int, n_train: int, n_test: int) -> str:
    return f"{n_train_trials:,} training trials of {n_train:,} pictures; {n_test:,} test pictures"
