"""One person's responses, what was shown, and where the voxels are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.images import unit_image
from vox2pix.data.names import nearest
from vox2pix.data.origin import UNKNOWN, Origin
from vox2pix.data.reliability import add_rows, effective_repeats, noise_ceiling
from vox2pix.data.rois import union_parts
from vox2pix.errors import UserError

# A region by name, several of them, or a mask over the voxels.
Roi = str | Sequence[str] | NDArray[np.bool_]
# Columns of the voxel table that say where a voxel is and how reliable; the others are ROIs.
VOXEL_COLUMNS = ("x", "y", "z", "hemi", "vertex", "ncsnr")


class BetasSource(Protocol):
    """Where responses come from, a session at a time."""

    def take(self, voxels: NDArray[np.intp]) -> "BetasSource":
        """Return the source of some rows of the voxel table."""
        ...

    def read_session(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read one session, float32 (n_trials, n_voxels), trials in the order of the trial table.

        ``voxels`` are rows of the subject's voxel table. Percent signal change by
        convention. A file that is missing, damaged, or holds NaN or infinite values raises.
        """
        ...

    def no_data(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which voxels are 0 or NaN in every trial of a session, shape (n_voxels,)."""
        ...


class StimulusSource(Protocol):
    """Where images and captions come from."""

    @property
    def has_captions(self) -> bool:
        """Whether there are captions at all."""
        ...

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Yield images (height, width, 3), uint8 or float32 in [0, 1], one at a time."""
        ...

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions of each stimulus."""
        ...

    def missing_images(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without an image, and add a fault for each cause."""
        ...

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add a fault for each cause."""
        ...

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Count the images that reading changes, by what it does to them."""
        ...


@dataclass(frozen=True, eq=False)
class Subject:
    """One person's experiment. Nothing but tables is in memory; responses are read when asked for.

    Attributes
    ----------
    name : str
        E.g. ``subj01``.
    trials : DataFrame
        One row per trial, in time order: ``stimulus_id`` (str), ``session`` (int, 1-based), ``run``
        (int; 0 if unknown), ``split`` (``train`` or ``test``).
    voxels : DataFrame
        One row per voxel: a boolean column per ROI, ``ncsnr`` (NaN if unknown), and indices
        ``x, y, z`` or ``hemi, vertex`` where known.
    space : str
        ``func1pt8mm``, ``fsaverage5``, ``array``, ...
    betas_source : BetasSource
        Where responses come from.
    stimulus_source : StimulusSource
        Where images and captions come from.
    shape : tuple of int or None
        Of the volume (X, Y, Z), or the vertices of the left and the right hemisphere.
    affine : ndarray or None
        (4, 4), voxel indices to millimetres; None on a surface.
    notes : tuple of str
        What the reader coerced, dropped, defaulted or chose, one message each, with its count.
    left_out : mapping of str to int
        Voxels without data in a session, by region and in ``all``: they are in no table; empty
        if there are none.
    origin : Origin
        What the data are, as their files say it.
    """

    name: str
    trials: pd.DataFrame
    voxels: pd.DataFrame
    space: str
    betas_source: BetasSource
    stimulus_source: StimulusSource
    shape: tuple[int, ...] | None = None
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    origin: Origin = UNKNOWN

    @property
    def rois(self) -> tuple[str, ...]:
        """Names of the regions of interest."""
        return tuple(str(name) for name in self.voxels.columns if name not in VOXEL_COLUMNS)

    @property
    def sessions(self) -> tuple[int, ...]:
        """Numbers of the sessions, ascending."""
        return tuple(sorted(int(session) for session in self.trials["session"].unique()))

    @cached_property
    def train(self) -> "Split":
        """The training trials."""
        return self.select(self.trials["split"].to_numpy() == "train")

    @cached_property
    def test(self) -> "Split":
        """The test trials; none if the data name none, and then reading them raises."""
        return self.select(self.trials["split"].to_numpy() == "test")

    def select(self, rows: NDArray[np.bool_]) -> "Split":
        """Return some of the trials, e.g. to leave a stimulus out.

        Parameters
        ----------
        rows : ndarray of bool, shape (n_trials,)
            Rows of ``trials``.
        """
        rows = np.asarray(rows)
        if rows.dtype != np.bool_ or rows.shape != (len(self.trials),):
            raise ValueError(
                f"rows must be boolean, one per trial ({len(self.trials)}); "
                f"got {rows.dtype} of shape {rows.shape}."
            )
        return Split(self, np.flatnonzero(rows))

    def voxel_mask(self, roi: Roi = "all") -> NDArray[np.bool_]:
        """Return which voxels belong to a region.

        Parameters
        ----------
        roi : str, sequence of str, or ndarray of bool
            A name, a union such as ``"early+ventral"``, several names, or ``"all"``; or a mask of
            one's own, shape (n_voxels,), which is returned.

        Returns
        -------
        ndarray of bool, shape (n_voxels,)

        Raises
        ------
        UserError
            If there is no such region; the nearest names are named.
        """
        if isinstance(roi, np.ndarray):
            if roi.dtype != np.bool_ or roi.shape != (len(self.voxels),):
                raise ValueError(
                    f"A mask must be boolean, one value per voxel ({len(self.voxels)}); "
                    f"got {roi.dtype} of shape {roi.shape}."
                )
            return roi
        mask = np.zeros(len(self.voxels), bool)
        for name in union_parts(roi, self.rois):
            if name == "all":
                mask[:] = True
            elif name in self.rois:
                mask |= self.voxels[name].to_numpy(bool)
            else:
                raise UserError(
                    f"{self.name} was opened without a ROI {name!r}; "
                    f"{nearest(name, [*self.rois, 'all'])}"
                )
        return mask

    def noise_ceiling(
        self, roi: Roi = "all", n_repeats: float | None = None
    ) -> NDArray[np.float64]:
        """Return the noise ceiling of each voxel of a region (:func:`vox2pix.data.noise_ceiling`).

        Parameters
        ----------
        roi : str, sequence of str, or ndarray of bool
            As in :meth:`voxel_mask`.
        n_repeats : float, optional
            Repeats that are averaged; by default those of the test stimuli, one over the mean
            of 1/n.

        Returns
        -------
        ndarray, shape (n_voxels,)
            Percent of variance; NaN where ``ncsnr`` is unknown.

        Raises
        ------
        UserError
            If ``n_repeats`` is left out and there are no test trials.
        """
        if n_repeats is None:
            self.test.require_trials()
            n_repeats = effective_repeats(self.test.repeats)
        ncsnr = self.voxels["ncsnr"].to_numpy(float)[self.voxel_mask(roi)]
        return noise_ceiling(ncsnr, n_repeats)

    def images(self, stimulus_ids: Sequence[str], size: int | None = None) -> NDArray[np.float32]:
        """Read images, one at a time.

        Parameters
        ----------
        stimulus_ids : sequence of str
            In the order of the result.
        size : int, optional
            Pixels per side (centre crop to a square, then Lanczos); by default the native size.

        Returns
        -------
        ndarray of float32, shape (n_stimuli, height, width, 3)
            In [0, 1].

        Raises
        ------
        UserError
            If an image is missing or unreadable, or native sizes differ.
        """
        out = np.empty((0, size or 0, size or 0, 3), np.float32)
        for i, image in enumerate(self.stimulus_source.iter_pictures(stimulus_ids)):
            one = unit_image(image, size)
            if i == 0:
                out = np.empty((len(stimulus_ids), *one.shape), np.float32)
            if one.shape != out.shape[1:]:
                raise UserError(
                    f"{self.name}: the image of stimulus {stimulus_ids[i]!r} has shape "
                    f"{one.shape}, the one of {stimulus_ids[0]!r} {out.shape[1:]}: "
                    "ask for one size."
                )
            out[i] = one
        return out

    @property
    def has_captions(self) -> bool:
        """Whether captions came with the images."""
        return self.stimulus_source.has_captions

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions of each stimulus, at least one; raise ``UserError`` without."""
        return self.stimulus_source.captions(stimulus_ids)


@dataclass(frozen=True, eq=False)
class Split:
    """Some trials of a subject.

    A region (``roi``) is named as in :meth:`Subject.voxel_mask`. Reading responses raises
    ``UserError`` if there are no trials, or a file is missing, damaged, or holds NaN or infinite
    values.

    Attributes
    ----------
    subject : Subject
        Whose.
    rows : ndarray of int, shape (n_trials,)
        Rows of the subject's trial table, ascending.
    """

    subject: Subject
    rows: NDArray[np.intp]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The rows of the trial table, numbered from 0."""
        return self.subject.trials.iloc[self.rows].reset_index(drop=True)

    @property
    def n_trials(self) -> int:
        """How many trials."""
        return len(self.rows)

    @cached_property
    def stimulus_ids(self) -> tuple[str, ...]:
        """The stimuli, each once, sorted."""
        return tuple(sorted(set(self.trials["stimulus_id"])))

    @cached_property
    def stimulus_rows(self) -> NDArray[np.intp]:
        """Which of ``stimulus_ids`` each trial showed, shape (n_trials,)."""
        place = {stimulus: i for i, stimulus in enumerate(self.stimulus_ids)}
        return np.array([place[stimulus] for stimulus in self.trials["stimulus_id"]], np.intp)

    @property
    def repeats(self) -> NDArray[np.intp]:
        """How often each of ``stimulus_ids`` was shown, shape (n_stimuli,)."""
        return np.bincount(self.stimulus_rows, minlength=len(self.stimulus_ids))

    def require_trials(self) -> None:
        """Raise ``UserError`` if the split is empty."""
        if not self.n_trials:
            raise UserError(
                f"{self.subject.name} has no trials in this split: mark trials as train and test "
                "(column split of trials.csv, or data.test), or open sessions that hold both."
            )

    def iter_betas(self, roi: Roi = "all") -> Iterator[tuple[pd.DataFrame, NDArray[np.float32]]]:
        """Yield the responses session by session.

        Yields
        ------
        trials : DataFrame
            Rows of ``self.trials`` of one session, with their index there.
        betas : ndarray of float32, shape (n_trials, n_voxels)
            Their responses, percent signal change.
        """
        self.require_trials()
        voxels = np.flatnonzero(self.subject.voxel_mask(roi))
        all_sessions = self.subject.trials["session"].to_numpy()
        for session in sorted(self.trials["session"].unique()):
            in_session = np.flatnonzero(all_sessions == session)
            in_split = np.isin(in_session, self.rows, assume_unique=True)
            betas = self.subject.betas_source.read_session(int(session), voxels)
            yield self.trials[self.trials["session"] == session], betas[in_split]

    def betas(self, roi: Roi = "all") -> NDArray[np.float32]:
        """Return the single-trial responses.

        Returns
        -------
        ndarray of float32, shape (n_trials, n_voxels)
            Percent signal change; rows as in ``trials``.
        """
        n_voxels = int(self.subject.voxel_mask(roi).sum())
        out = np.empty((self.n_trials, n_voxels), np.float32)
        for trials, betas in self.iter_betas(roi):
            out[trials.index] = betas
        return out

    def mean_betas(self, roi: Roi = "all") -> NDArray[np.float32]:
        """Return responses averaged over the repeats of each stimulus.

        Returns
        -------
        ndarray of float32, shape (n_stimuli, n_voxels)
            Percent signal change; rows as in ``stimulus_ids``.
        """
        return mean_betas_of([self], roi)[0]


def mean_betas_of(splits: Sequence[Split], roi: Roi = "all") -> list[NDArray[np.float32]]:
    """Return responses averaged over repeats, as :meth:`Split.mean_betas` does, of several splits.

    The splits are of one subject; each session is read once.
    """
    for split in splits:
        split.require_trials()
    every = Split(splits[0].subject, np.unique(np.concatenate([split.rows for split in splits])))
    n_voxels = int(every.subject.voxel_mask(roi).sum())
    sums = [np.zeros((len(split.stimulus_ids), n_voxels), np.float32) for split in splits]
    baseline = np.zeros(n_voxels, np.float32)
    is_first = True
    for trials, betas in every.iter_betas(roi):
        # Sums are taken of differences from one trial: a large baseline costs them no digits.
        if is_first:
            baseline, is_first = betas[0].copy(), False
        betas = betas - baseline
        rows = every.rows[trials.index]
        for split, total in zip(splits, sums, strict=True):
            own = np.isin(rows, split.rows, assume_unique=True)
            stimuli = split.stimulus_rows[np.searchsorted(split.rows, rows[own])]
            add_rows(total, stimuli, betas[own])
    for split, total in zip(splits, sums, strict=True):
        total /= split.repeats[:, None].astype(np.float32)
        total += baseline
    return sums
