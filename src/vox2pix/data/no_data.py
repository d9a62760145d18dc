"""Voxels without data in a session, which are left out of all sessions: their z-score is made up.

Volumes of NSD hold 0 in every trial there, surfaces NaN (Allen et al. 2022; NSD Data Manual).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.subject import Subject

HEAD = 4
"""Trials that are read of every voxel to find candidates; few responses are 0 so often."""


def is_empty(
    head: NDArray[np.generic],
    n_trials: int,
    read: Callable[[NDArray[np.intp]], NDArray[np.generic]],
) -> NDArray[np.bool_]:
    """Return which voxels are 0 or NaN in every trial of a session, shape (n_voxels,).

    ``head`` (n_head, n_voxels) holds the first trials. ``read`` returns all trials of some voxels,
    (n_trials, n_some), and is called at most once. A single response of 0 is a response.
    """
    empty = _nothing(head, n_trials)
    candidates = np.flatnonzero(empty)
    if candidates.size and len(head) < n_trials:
        empty[candidates] = _nothing(read(candidates), n_trials)
    return empty


def _nothing(values: NDArray[np.generic], n_trials: int) -> NDArray[np.bool_]:
    """Return which columns hold nothing but NaN, or nothing but NaN and 0."""
    nothing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    if n_trials > 1:
        nothing |= values == 0
    return np.asarray(nothing.all(axis=0))


def leave_out_empty(
    subject: Subject, sessions: Sequence[int], remedy: str, faults: Faults
) -> Subject | None:
    """Return a subject without the voxels that lack data in any session; a note has the counts.

    A session that cannot be read is a fault, and so is one in which a region has no voxel left:
    then the sessions at fault are left out instead, so that a check continues; None if there is
    no other. ``remedy`` says how to leave out ``{session}``.
    """
    voxels = subject.voxels
    missing = np.zeros((len(sessions), len(voxels)), bool)
    for row, session in enumerate(sessions):
        with faults.gathered():
            missing[row] = subject.betas_source.no_data(session, np.arange(len(voxels)))
    lost = np.asarray(missing.any(axis=0))
    if not lost.any():
        return replace(subject, notes=faults.notes)
    masks = {roi: voxels[roi].to_numpy(bool) for roi in subject.rois}
    for roi, mask in {**masks, "all": np.ones(len(voxels), bool)}.items():
        if lost[mask].all():
            whole = [s for s, row in zip(sessions, missing[:, mask], strict=True) if row.all()]
            some = [s for s, row in zip(sessions, missing[:, mask], strict=True) if row.any()]
            faults.add(_refusal(subject.name, roi, int(mask.sum()), whole, some, remedy))
            trials = subject.trials[~subject.trials["session"].isin(whole or some)]
            if trials.empty:
                return None
            return replace(subject, trials=trials.reset_index(drop=True), notes=faults.notes)
    by_region = {roi: int(lost[mask].sum()) for roi, mask in masks.items()}
    faults.note(_counts(masks, missing, sessions))
    alone = missing & (missing.sum(axis=0) == 1)
    for row, session in enumerate(sessions):
        if 2 * alone[row].sum() > len(voxels):
            faults.note(
                f"{int(alone[row].sum()):,} of {len(voxels):,} voxels are left out because of "
                f"session {session} alone: {remedy.format(session=session)}"
            )
    return replace(
        subject,
        voxels=voxels[~lost].reset_index(drop=True),
        betas_source=subject.betas_source.take(np.flatnonzero(~lost)),
        notes=faults.notes,
        left_out={**by_region, "all": int(lost.sum())},
    )


def _refusal(
    name: str, roi: str, n_voxels: int, whole: Sequence[int], some: Sequence[int], remedy: str
) -> str:
    """Return a message that names the sessions in which all, or some, voxels have no data."""
    guilty = whole or some
    region = "no voxel" if roi == "all" else f"no voxel of ROI {roi!r}"
    return (
        f"{name} has {region} with data in every session: {_session_list(guilty)} "
        f"{'holds' if len(guilty) == 1 else 'hold'} 0 or NaN in all trials of "
        f"{'all' if whole else 'some'} of its {n_voxels:,} voxels; "
        f"{remedy.format(session=guilty[0])}"
    )


def _counts(
    masks: dict[str, NDArray[np.bool_]], missing: NDArray[np.bool_], sessions: Sequence[int]
) -> str:
    """Return how many voxels lack data, in which sessions and regions."""
    lost = np.asarray(missing.any(axis=0))
    affected = [
        f"{s} ({int(row.sum()):,})" for s, row in zip(sessions, missing, strict=True) if row.any()
    ]
    parts = [
        f"{roi} {int(lost[mask].sum()):,} of {int(mask.sum()):,}"
        for roi, mask in masks.items()
        if lost[mask].any()
    ]
    regions = f" ({', '.join(parts)})" if parts else ""
    n = int(lost.sum())
    has, is_left = ("has", "is") if n == 1 else ("have", "are")
    return (
        f"{n:,} of {len(lost):,} voxels {has} no data (0 or NaN in every trial) in "
        f"{_session_list(affected)} and {is_left} left out of all sessions{regions}."
    )


def _session_list(sessions: Iterable[int | str]) -> str:
    """Return session numbers, for a message."""
    numbers = [str(session) for session in sessions]
    few = ", ".join(numbers[:8]) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return f"session{'s' if len(numbers) > 1 else ''} {few}"
