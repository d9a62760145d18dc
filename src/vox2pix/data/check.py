"""Look a data set over: what is in it, and everything that is wrong with it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2pix.buckets import as_path
from vox2pix.data.faults import Faults
from vox2pix.data.folder import gather_folder
from vox2pix.data.nsd import gather_nsd
from vox2pix.data.reliability import NcsnrEstimator, effective_repeats, noise_ceiling
from vox2pix.data.subject import Split, Subject

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds.

    Attributes
    ----------
    n_trials : int
        Trials.
    n_stimuli : int
        Distinct stimuli.
    repeats : dict of int to int
        Number of stimuli that were shown so many times.
    """

    n_trials: int
    n_stimuli: int
    repeats: dict[int, int]


@dataclass(frozen=True)
class RoiCounts:
    """What a region holds.

    Attributes
    ----------
    n_voxels : int
        Voxels.
    n_constant : int
        Voxels whose response never changes.
    single : float
        Median noise ceiling of one trial, percent of variance; NaN if unknown.
    averaged : float
        The same for the mean of the repeats of a test stimulus (of any stimulus, where there is
        no test split).
    """

    n_voxels: int
    n_constant: int
    single: float
    averaged: float


@dataclass(frozen=True)
class CheckReport:
    """What a check found; plain data, for printing or for JSON by ``dataclasses.asdict``.

    Attributes
    ----------
    path : str
        What was checked.
    layout : str
        ``nsd`` or ``folder``.
    name : str
        The subject's; empty where nothing could be opened.
    space : str
        Space of the voxels.
    sessions : tuple of int
        Sessions that could be opened.
    train, test : SplitCounts
        Trials, stimuli, repeats.
    rois : dict of str to RoiCounts
        By name; ``all`` is their union.
    ncsnr : str
        ``file``, ``estimated`` from repeats, or ``unknown``.
    n_pictures : int
        Stimuli whose picture could be read.
    n_captioned : int
        Stimuli with a caption.
    n_captions : int
        Captions of these stimuli.
    notes : tuple of str
        Worth knowing, not wrong.
    faults : tuple of str
        Everything that is wrong, a sentence each.
    """

    path: str
    layout: str
    name: str
    space: str
    sessions: tuple[int, ...]
    train: SplitCounts
    test: SplitCounts
    rois: dict[str, RoiCounts]
    ncsnr: str
    n_pictures: int
    n_captioned: int
    n_captions: int
    notes: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.faults


def check(
    path: str | Path,
    subject: int = 1,
    sessions: int | Sequence[int] | None = None,
    rois: str | Sequence[str] = ("early", "ventral"),
    space: str = "func1pt8mm",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    progress: Progress | None = None,
) -> CheckReport:
    """Read everything once and report what there is and every fault found.

    Parameters
    ----------
    path : str or Path
        NSD's root (it holds ``nsddata`` or ``nsddata_betas``), or a folder as
        :func:`vox2pix.data.folder.open_folder` reads it.
    subject, sessions, rois, space, betas
        As in :func:`vox2pix.data.nsd.open_nsd`; for a folder they mean nothing.
    progress : callable, optional
        Called with what is being read (``"sessions"``, ``"pictures"``), how many are done, and
        how many there are.

    Returns
    -------
    CheckReport
        Faults are gathered, never raised.
    """
    faults = Faults()
    root = as_path(path)
    layout = "nsd" if _is_nsd(root) else "folder"
    if layout == "nsd":
        opened = gather_nsd(root, subject, sessions, rois, space, betas, faults)
    else:
        opened = gather_folder(root, faults)
    if opened is None:
        nothing = SplitCounts(0, 0, {})
        return CheckReport(
            str(path), layout, "", "", (), nothing, nothing, {}, "unknown", 0, 0, 0, (),
            faults.sentences,
        )  # fmt: skip
    notes: list[str] = list(opened.notes)
    responses = _read_responses(opened, faults, notes, progress)
    n_pictures = _count_pictures(opened, faults, notes, progress)
    captions = _count_captions(opened, faults, notes)
    if not opened.test.n_trials:
        notes.append("no trial is marked as test.")
    return CheckReport(
        path=str(path),
        layout=layout,
        name=opened.name,
        space=opened.space,
        sessions=opened.sessions,
        train=_count(opened.train),
        test=_count(opened.test),
        rois=_count_rois(opened, responses),
        ncsnr=responses.source,
        n_pictures=n_pictures,
        n_captioned=len(captions),
        n_captions=sum(captions),
        notes=tuple(notes),
        faults=faults.sentences,
    )


@dataclass(frozen=True)
class _Responses:
    """What one pass over all responses tells of each voxel."""

    constant: NDArray[np.bool_]
    ncsnr: NDArray[np.float64]
    source: str


def _is_nsd(root: Path) -> bool:
    """Tell whether a folder has NSD's tree."""
    return (root / "nsddata").is_dir() or (root / "nsddata_betas").is_dir()


def _whole(subject: Subject) -> Split:
    """Return all trials."""
    return subject.select(np.ones(len(subject.trials), bool))


def _count(split: Split) -> SplitCounts:
    """Count trials, stimuli and repeats."""
    times, stimuli = np.unique(split.repeats, return_counts=True)
    repeats = {int(n): int(count) for n, count in zip(times, stimuli, strict=True)}
    return SplitCounts(split.n_trials, len(split.stimulus_ids), repeats)


def _read_responses(
    subject: Subject, faults: Faults, notes: list[str], progress: Progress | None
) -> _Responses:
    """Read every session once: constant voxels, doubled trials, ncsnr where no file has it."""
    whole = _whole(subject)
    n_voxels = len(subject.voxels)
    low, high = np.full(n_voxels, np.inf), np.full(n_voxels, -np.inf)
    given = subject.voxels["ncsnr"].to_numpy(float)
    estimate = not np.isfinite(given).any()
    # one stimulus is enough where nothing is estimated
    estimator = NcsnrEstimator(len(whole.stimulus_ids) if estimate else 1, n_voxels)
    seen: dict[bytes, str] = {}
    for done, session in enumerate(subject.sessions):
        with faults.gathered():
            here = np.flatnonzero(whole.trials["session"] == session)
            betas = subject.betas_source.read_session(session, np.arange(n_voxels))
            low, high = np.minimum(low, betas.min(axis=0)), np.maximum(high, betas.max(axis=0))
            _note_doubles(betas, session, seen, faults)
            if estimate:
                estimator.add(whole.stimulus_rows[here], betas)
        if progress:
            progress("sessions", done + 1, len(subject.sessions))
    constant = low == high
    if constant.any():
        notes.append(f"{int(constant.sum())} of {n_voxels} voxels never change.")
    if not estimate:
        return _Responses(constant, given, "file")
    estimated = estimator.ncsnr()
    source = "estimated" if np.isfinite(estimated).any() else "unknown"
    if source == "unknown":
        notes.append("no noise ceiling: there is no ncsnr and no stimulus was repeated.")
    return _Responses(constant, estimated, source)


def _note_doubles(
    betas: NDArray[np.float32], session: int, seen: dict[bytes, str], faults: Faults
) -> None:
    """Note trials whose responses equal those of an earlier trial to the last bit."""
    if betas.shape[1] < 2:
        return  # a single voxel may well respond alike twice
    for trial, row in enumerate(betas, start=1):
        here = f"trial {trial} of session {session}"
        digest = hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()
        earlier = seen.setdefault(digest, here)
        if earlier != here:
            faults.add(
                f"{here} has the same responses as {earlier}, to the last bit: "
                "remove the duplicate or replace the file."
            )


def _count_pictures(
    subject: Subject, faults: Faults, notes: list[str], progress: Progress | None
) -> int:
    """Read each picture and count those that can be read."""
    stimuli = _whole(subject).stimulus_ids
    n_good, brightest, all_bytes = 0, 0, True
    for done, stimulus_id in enumerate(stimuli):
        with faults.gathered():
            (picture,) = subject.stimulus_source.iter_pictures([stimulus_id])
            n_good += 1
            all_bytes &= picture.dtype == np.uint8
            brightest = max(brightest, int(picture.max())) if all_bytes else 255
        if progress:
            progress("pictures", done + 1, len(stimuli))
    if n_good and brightest <= 1:
        notes.append("no 8-bit picture is brighter than 1 of 255: were they meant as 0 to 1?")
    return n_good


def _count_captions(subject: Subject, faults: Faults, notes: list[str]) -> list[int]:
    """Return the number of captions of each stimulus that has some."""
    if not subject.has_captions:
        notes.append("there are no captions: c cannot be decoded, z can.")
        return []
    counts = []
    for stimulus_id in _whole(subject).stimulus_ids:
        with faults.gathered():
            (captions,) = subject.captions([stimulus_id])
            counts.append(len(captions))
    return counts


def _count_rois(subject: Subject, responses: _Responses) -> dict[str, RoiCounts]:
    """Count voxels of each region and take the medians of their noise ceilings."""
    split = subject.test if subject.test.n_trials else subject.train
    n_repeats = effective_repeats(split.repeats)
    counts = {}
    for roi in dict.fromkeys([*subject.rois, "all"]):
        mask = subject.voxel_mask(roi)
        ncsnr = responses.ncsnr[mask]
        known = ncsnr[~np.isnan(ncsnr)]
        single, averaged = (
            float(np.median(noise_ceiling(known, n))) if len(known) else float("nan")
            for n in (1, n_repeats)
        )
        n_constant = int(responses.constant[mask].sum())
        counts[roi] = RoiCounts(int(mask.sum()), n_constant, single, averaged)
    return counts
