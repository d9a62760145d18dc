"""Responses standardised session by session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.subject import BetasSource, Subject
from vox2pix.errors import UserError


@dataclass(frozen=True)
class _Standardized:
    """Responses of a source, z-scored by the training trials of their session."""

    source: BetasSource
    is_train: Mapping[int, NDArray[np.bool_]]  # by session, of its trials

    def take(self, voxels: NDArray[np.intp]) -> BetasSource:
        return replace(self, source=self.source.take(voxels))

    def read_session(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
        betas = self.source.read_session(session, voxels)
        train = betas[self.is_train[session]]
        # A constant voxel has no scale: it stays constant, and is dropped as such.
        spread = np.where(np.ptp(train, axis=0) > 0, train.std(axis=0, dtype=np.float64), 1)
        mean = train.mean(axis=0, dtype=np.float64)
        return ((betas - mean) / spread).astype(np.float32)

    def no_data(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
        return self.source.no_data(session, voxels)


def standardized_by_session(subject: Subject) -> Subject:
    """Return the subject with responses z-scored within each session.

    Mean and standard deviation are those of the training trials of a session; its test trials are
    scaled by them, so that nothing of a test response enters.

    Parameters
    ----------
    subject : Subject
        Its responses are read when asked for, as before.

    Returns
    -------
    Subject
        The same trials and voxels; responses in standard deviations.

    Raises
    ------
    UserError
        If a session has fewer than two training trials.
    """
    sessions = subject.trials["session"].to_numpy()
    train = subject.trials["split"].to_numpy() == "train"
    of = {session: train[sessions == session] for session in subject.sessions}
    few = [session for session, trials in of.items() if trials.sum() < 2]
    if few:
        raise UserError(
            f"{subject.name}: session {few[0]} has {int(of[few[0]].sum())} training trials, and "
            "standardising by session needs at least 2: leave the session out (data.sessions), or "
            'set decode.standardize = "train".'
        )
    return replace(subject, betas_source=_Standardized(subject.betas_source, of))
