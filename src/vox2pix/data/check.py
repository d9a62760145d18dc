"""Look a data set over: what is in it, and everything that is wrong with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vox2pix.buckets import as_path
from vox2pix.data.faults import Faults
from vox2pix.data.folder import FolderSource
from vox2pix.data.look import Findings, Progress, look_over
from vox2pix.data.nsd import NsdSource
from vox2pix.data.reliability import effective_repeats, noise_ceiling
from vox2pix.data.source import Source
from vox2pix.data.subject import Split, Subject


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds."""

    n_trials: int
    n_stimuli: int  # distinct stimuli
    repeats: dict[int, int]  # number of stimuli that were shown so many times


@dataclass(frozen=True)
class RoiCounts:
    """What a region holds."""

    n_voxels: int
    # voxels that are left out because they lack data in a session; they are not among ``n_voxels``
    n_left_out: int
    n_constant: int  # voxels whose response never changes
    single: float  # median noise ceiling of one trial, percent of variance; NaN if unknown
    # the same for the mean of the repeats of a test stimulus (of any stimulus, where there is no
    # test split)
    averaged: float


@dataclass(frozen=True)
class CheckReport:
    """What a check found; plain data, for printing or for JSON by ``dataclasses.asdict``."""

    path: str
    layout: str  # the reader: ``nsd``, ``folder`` ...
    name: str  # the subject's; empty where nothing could be opened
    space: str
    sessions: tuple[int, ...]  # those that could be opened
    train: SplitCounts
    test: SplitCounts
    rois: dict[str, RoiCounts]  # by name; ``all`` is their union
    ncsnr: str  # ``file``, ``estimated`` from repeats, or ``unknown``
    n_images: int  # stimuli whose image could be read
    n_captioned: int  # stimuli with a caption
    n_captions: int  # captions of these stimuli
    notes: tuple[str, ...]  # worth knowing, not wrong
    faults: tuple[str, ...]  # everything that is wrong, one message each

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not self.faults


def check(
    path: str | Path | Source,
    subject: int = 1,
    sessions: int | Sequence[int] | None = None,
    rois: str | Sequence[str] = ("early", "ventral"),
    space: str = "func1pt8mm",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    progress: Progress | None = None,
    caption_notes: Callable[[Sequence[Sequence[str]]], Sequence[str]] | None = None,
) -> CheckReport:
    """Read everything once and report what there is and every fault found.

    Parameters
    ----------
    path : str, Path or Source
        NSD's root (it holds ``nsddata`` or ``nsddata_betas``), or a folder as
        :func:`vox2pix.data.open_folder` reads it; data in any layout as a source, such as
        :func:`vox2pix.data.source_of` makes.
    subject, sessions, space, betas
        As in :func:`vox2pix.data.open_nsd`; only for NSD's root.
    rois : str or sequence of str
        The regions of NSD's tree to open.
    progress : callable, optional
        Called with what is being read (``"sessions"``, ``"images"``), how many are done, and
        how many there are.

    Returns
    -------
    CheckReport
        Faults are gathered, never raised.
    """
    faults = Faults()
    if isinstance(path, Source):
        source = path
    elif NsdSource.recognises(as_path(path)):
        asked = tuple(sessions) if isinstance(sessions, Sequence) else sessions
        source = NsdSource(
            root=as_path(path), subject=subject, sessions=asked, space=space, betas=betas
        )
    else:
        source = FolderSource(root=as_path(path))
    place, layout = str(source.root), source.name
    opened = source.gather([rois] if isinstance(rois, str) else rois, faults)
    if opened is None:
        nothing = SplitCounts(0, 0, {})
        return CheckReport(
            place, layout, "", "", (), nothing, nothing, {}, "unknown", 0, 0, 0, (),
            faults.messages,
        )  # fmt: skip
    findings = look_over(opened, faults, progress, caption_notes)
    return CheckReport(
        path=place,
        layout=layout,
        name=opened.name,
        space=opened.space,
        sessions=opened.sessions,
        train=_count(opened.train),
        test=_count(opened.test),
        rois=_count_rois(opened, findings),
        ncsnr=findings.ncsnr_source,
        n_images=findings.images.n_images,
        n_captioned=len(findings.captions),
        n_captions=sum(findings.captions),
        notes=tuple(dict.fromkeys([*opened.notes, *faults.notes])),
        faults=faults.messages,
    )


def _count(split: Split) -> SplitCounts:
    """Count trials, stimuli and repeats."""
    times, stimuli = np.unique(split.repeats, return_counts=True)
    repeats = {int(n): int(count) for n, count in zip(times, stimuli, strict=True)}
    return SplitCounts(split.n_trials, len(split.stimulus_ids), repeats)


def _count_rois(subject: Subject, findings: Findings) -> dict[str, RoiCounts]:
    """Count voxels of each region and take the medians of their noise ceilings."""
    split = subject.test if subject.test.n_trials else subject.train
    n_repeats = effective_repeats(split.repeats)
    counts = {}
    for roi in dict.fromkeys([*subject.rois, "all"]):
        mask = subject.voxel_mask(roi)
        ncsnr = findings.ncsnr[mask]
        finite = ncsnr[~np.isnan(ncsnr)]
        single, averaged = (
            float(np.median(noise_ceiling(finite, n))) if len(finite) else float("nan")
            for n in (1, n_repeats)
        )
        n_constant = int(findings.constant[mask].sum())
        n_left_out = subject.left_out.get(roi, 0)
        counts[roi] = RoiCounts(int(mask.sum()), n_left_out, n_constant, single, averaged)
    return counts
