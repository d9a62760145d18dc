"""Reader of the Natural Scenes Dataset (Allen et al. 2022, Nature Neuroscience 25, 116-126)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.buckets import as_path, is_remote
from vox2pix.data.faults import Faults
from vox2pix.data.labels import Grid, read_grid
from vox2pix.data.no_data import HEAD, is_empty, leave_out_empty
from vox2pix.data.nsd_layout import (
    HEMISPHERES,
    Design,
    NsdLayout,
    read_design,
    require_shared,
    trial_table,
)
from vox2pix.data.nsd_sizes import VOLUME, published_sizes
from vox2pix.data.nsd_stimuli import NsdStimuli
from vox2pix.data.nsd_voxels import valid_ncsnr, voxel_table
from vox2pix.data.origin import NSD, OWN, Origin, is_nsd_design, origin_of
from vox2pix.data.source import Published, Source
from vox2pix.data.subject import Subject
from vox2pix.data.volumes import (
    hdf5_shape,
    image_shape,
    read_hdf5,
    read_mgh,
    read_nifti,
    require_finite,
)
from vox2pix.errors import UserError

# NSD stores percent signal change times this where it stores integers.
_INTEGER_SCALE = np.float32(300)
# Vertices a hemisphere of FreeSurfer's average surfaces.
_MESHES = {"fsaverage5": 10_242, "fsaverage6": 40_962, "fsaverage": 163_842}


def open_nsd(
    root: str | Path,
    subject: int = 1,
    sessions: int | Sequence[int] | None = None,
    rois: str | Sequence[str] = ("early", "ventral"),
    space: str = "func1pt8mm",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    *,
    leave_out: bool = True,
) -> Subject:
    """Open one subject of NSD, or of data in NSD's layout.

    Parameters
    ----------
    root : str or Path
        Folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``, or its URL:
        ``s3://natural-scenes-dataset`` is read without a full download, and what was read stays
        in :func:`vox2pix.buckets.cache_folder`.
    subject : int
        1 to 8 in NSD.
    sessions : int, sequence of int or None
        The first so many, these ones (1-based), or all of which there are files.
    rois : str or sequence of str
        Label names of any atlas (``early``, ``V1v``, ``OFA``), atlases as a whole
        (``nsdgeneral``), ``atlas:label`` where a label is in several (bare names are looked up
        in streams, prf-visualrois, prf-eccrois, ``floc-*``, nsdgeneral, then the others), unions
        (``"V1v+V1d"``), or ``"all"``: the brain mask, or every vertex. The voxels that are
        opened are their union.
    space : str
        ``func1pt8mm`` or ``func1mm`` (HDF5, else NIfTI), or a surface: ``fsaverage``,
        ``fsaverage5`` (MGH).
    betas : str
        Version of the betas.
    leave_out : bool
        Whether to leave out voxels without data, by the first trials of each session. A plan of
        data in a bucket does without: it reads no responses.

    Returns
    -------
    Subject
        Stimulus ids are NSD's 0-based ids with five digits. The test split holds the shared
        stimuli that the opened sessions show. Voxels are in the order of their x, y, z indices
        (z fastest), vertices left hemisphere first.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check.check` lists all.

    Notes
    -----
    The number of trials per session is what the files hold (750 in NSD). Integers are percent
    signal change times 300 and are divided. Reading :meth:`~vox2pix.data.subject.Split.betas`
    takes the memory of at most one session's volume beside the voxels selected.
    """
    faults = Faults()
    opened = gather_nsd(root, subject, sessions, rois, space, betas, faults, leave_out)
    return faults.require(opened)


class NsdSource(Source):
    """NSD's tree; the phantom's is one, too."""

    name: ClassVar[str] = "nsd"
    title: ClassVar[str] = "NSD's layout"
    image_side: ClassVar[int] = 425

    subject: int = 1
    sessions: int | tuple[int, ...] | None = None
    space: str = "func1pt8mm"
    betas: str = "betas_fithrf_GLMdenoise_RR"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there is a folder of NSD's data or betas."""
        return (root / "nsddata").is_dir() or (root / "nsddata_betas").is_dir()

    def gather(self, rois: Sequence[str], faults: Faults) -> Subject | None:
        """Open what can be opened of the regions that are asked for."""
        return self._gather(rois, faults, leave_out=True)

    def outlook(self, rois: Sequence[str]) -> Subject | Published:
        """Return the subject, for its sizes, or what was published where it cannot be opened."""
        faults = Faults()
        try:
            return faults.require(self._gather(rois, faults, leave_out=not is_remote(self.root)))
        except UserError as fault:
            layout = NsdLayout(self.root, self.subject, self.space, self.betas)
            return published_sizes(layout, self.sessions, rois, fault)

    def _gather(self, rois: Sequence[str], faults: Faults, leave_out: bool) -> Subject | None:
        return gather_nsd(
            self.root, self.subject, self.sessions, rois, self.space, self.betas, faults, leave_out
        )

    def beta_bytes(self, subject: Subject) -> float:
        """Return the bytes of whole volumes of 16-bit integers."""
        return 2.0 * len(subject.trials) * VOLUME

    def folders(self) -> Sequence[str]:
        """Return the folders of the subject, and those that all subjects share."""
        name = f"subj{self.subject:02d}"
        return (
            f"nsddata_betas/ppdata/{name}/{self.space}/{self.betas}",
            f"nsddata/ppdata/{name}",
            f"nsddata/freesurfer/{name}/label",
            f"nsddata/freesurfer/{self.space}/label",
            "nsddata/experiments/nsd",
            "nsddata_stimuli/stimuli/nsd",
        )


def gather_nsd(
    root: str | Path,
    subject: int,
    sessions: int | Sequence[int] | None,
    rois: str | Sequence[str],
    space: str,
    betas: str,
    faults: Faults,
    leave_out: bool = True,
) -> Subject | None:
    """Open what can be opened, without sessions and regions at fault; None if nothing is left."""
    layout = NsdLayout(as_path(root), subject, space, betas)
    sound = design = opened = trials = None
    # steps that do not need each other continue when one of them fails
    with faults.gathered():
        layout.require_folders()
        chosen = _sessions(layout, sessions)
        layout.require_inside(chosen)
        sound = _sound_sessions(layout, chosen, faults)
    with faults.gathered():
        design = read_design(layout)
    if sound is None:
        return None
    good, shape, n_trials = sound
    with faults.gathered():
        opened = voxel_table(layout, rois, shape, _grids(layout, good, faults), faults)
    if design is not None:
        with faults.gathered():
            require_shared(layout, design)
        with faults.gathered():
            trials = trial_table(layout, design, good, n_trials)
    if opened is None or trials is None:
        return None
    stimuli = NsdStimuli(layout, tuple(sorted(set(trials["stimulus_id"]))))
    with faults.gathered():
        stimuli.require_in_range()
    voxels, affine = opened
    everything = Subject(
        layout.name, trials, voxels, layout.space, NsdBetas(layout, voxel_indices(voxels, layout)),
        stimuli, shape, affine, origin=_origin(layout, design, faults),
    )  # fmt: skip
    remedy = "leave session {session} out by data.sessions."
    selected = leave_out_empty(everything, good if leave_out else (), remedy, faults)
    if selected is None:
        return None
    ncsnr = valid_ncsnr(selected.voxels["ncsnr"].to_numpy(float), layout, faults)
    return replace(selected, voxels=selected.voxels.assign(ncsnr=ncsnr), notes=faults.notes)


def _origin(layout: NsdLayout, design: Design | None, faults: Faults) -> Origin:
    """Return what a tree in NSD's layout is: simulated, NSD, or a person's own data."""
    split = "the stimuli that all subjects share (sharedix) are for test"
    unit = "percent signal change (integers are divided by 300)"
    is_nsd = design is not None and is_nsd_design(len(design.nsd_ids), len(design.shared))
    return origin_of(layout.root, NSD if is_nsd else OWN, split, unit, faults)


@dataclass(frozen=True, eq=False)
class NsdBetas:
    """Single-trial responses, a session at a time."""

    layout: NsdLayout  # where the files are
    # (n_voxels, 3): x, y, z; on a surface hemisphere (0 left, 1 right), vertex, 0
    indices: NDArray[np.intp]

    def take(self, voxels: NDArray[np.intp]) -> "NsdBetas":
        """Return the source of some rows of the voxel table."""
        return replace(self, indices=self.indices[voxels])

    def read_session(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read one session, float32 (n_trials, n_voxels), percent signal change; NaN raises."""
        indices = self.indices[voxels]
        parts = [
            (where, _percent(self._read(file, indices[where]), file, session))
            for file, where in self._files(session, indices)
        ]
        if len(parts) == 1:
            return parts[0][1]
        # rows of the table may be asked for in any order
        out = np.empty((len(parts[0][1]), len(indices)), np.float32)
        for where, values in parts:
            out[:, where] = values
        return out

    def no_data(self, session: int, voxels: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which voxels are 0 or NaN in every trial of a session, shape (n_voxels,).

        The first trials of all voxels are read, and all trials of those that hold nothing there.
        """
        indices = self.indices[voxels]
        out = np.zeros(len(indices), bool)
        n_trials = session_shape(self.layout, session)[0]
        for file, where in self._files(session, indices):
            inside = indices[where]
            head = self._read(file, inside, slice(0, HEAD))
            out[where] = is_empty(head, n_trials, partial(self._read_some, file, inside))
        return out

    def _files(
        self, session: int, indices: NDArray[np.intp]
    ) -> Iterator[tuple[Path, NDArray[np.bool_]]]:
        """Yield each file of a session and which of the voxels are in it."""
        for side, file in enumerate(self.layout.session(session)):
            everything = np.ones(len(indices), bool)
            yield file, indices[:, 0] == side if self.layout.is_surface else everything

    def _read_some(
        self, file: Path, indices: NDArray[np.intp], some: NDArray[np.intp]
    ) -> NDArray[Any]:
        """Read all trials of some of the voxels."""
        return self._read(file, indices[some])

    def _read(
        self, file: Path, indices: NDArray[np.intp], trials: slice | None = None
    ) -> NDArray[Any]:
        """Read trials of voxels in a file's own type."""
        if self.layout.is_surface:
            return read_mgh(file, indices[:, 1], trials)
        if file.suffix == ".hdf5":
            return read_hdf5(file, indices, trials=trials)
        return read_nifti(file, indices, trials)


def _percent(raw: NDArray[Any], path: Path, session: int) -> NDArray[np.float32]:
    """Return percent signal change, finite."""
    with np.errstate(over="ignore"):
        values = raw.astype(np.float32)
    require_finite(values, path, session)
    if raw.dtype.kind in "iu":
        values /= _INTEGER_SCALE
    return values


def _sessions(layout: NsdLayout, sessions: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the sessions meant: the first n, those named, or all up to the last there is."""
    if sessions is None:
        present = layout.sessions_present()
        if not present:
            raise UserError(
                f"{layout.betas_folder} has no session file (betas_session01...): add one."
            )
        return tuple(range(1, present[-1] + 1))
    numbers = (
        tuple(range(1, sessions + 1)) if isinstance(sessions, int | np.integer) else tuple(sessions)
    )
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UserError(
            f"The setting sessions = {sessions!r} names no sessions: give how many, or different "
            "numbers that count from 1."
        )
    return tuple(sorted(numbers))


def _sound_sessions(
    layout: NsdLayout, sessions: Sequence[int], faults: Faults
) -> tuple[list[int], tuple[int, ...], int]:
    """Return the sessions whose files can be opened, the shape of space and trials per session."""
    shapes: dict[int, tuple[int, ...]] = {}
    for session in sessions:
        with faults.gathered():
            shapes[session] = session_shape(layout, session)
    if not shapes:
        raise UserError(f"{layout.betas_folder} has none of the requested sessions.")
    usual = max(shapes.values(), key=list(shapes.values()).count)
    for session, shape in shapes.items():
        if shape != usual:
            faults.add(
                f"{layout.session(session)[0]} holds {_size(layout, shape)}, the other sessions "
                f"{_size(layout, usual)}: replace the file or leave the session out."
            )
    good = [session for session, shape in shapes.items() if shape == usual]
    return good, usual[1:], usual[0]


def _size(layout: NsdLayout, shape: tuple[int, ...]) -> str:
    """Return trials and space of a session, for a message."""
    kind = "vertices" if layout.is_surface else "voxels"
    return f"{shape[0]} trials of {' x '.join(str(n) for n in shape[1:])} {kind}"


def session_shape(layout: NsdLayout, session: int) -> tuple[int, ...]:
    """Return (n_trials, X, Y, Z), or (n_trials, vertices left, vertices right), from headers."""
    files = layout.session(session)
    if files[0].suffix == ".hdf5":
        shape = hdf5_shape(files[0], "betas")
        _require_dimensions(files[0], shape, "(n_trials, Z, Y, X)")
        return (shape[0], *shape[:0:-1])
    if not layout.is_surface:
        shape = image_shape(files[0])
        _require_dimensions(files[0], shape, "(X, Y, Z, n_trials)")
        return (shape[3], *shape[:3])
    sides = [image_shape(file) for file in files]
    for file, shape in zip(files, sides, strict=True):
        _require_dimensions(file, shape, "(n_vertices, 1, 1, n_trials)")
        expected = _MESHES.get(layout.space, shape[0])
        if shape[1:3] != (1, 1) or shape[0] != expected or shape[3] != sides[0][3]:
            raise UserError(
                f"{file} has shape {shape}; {layout.space} has ({expected}, 1, 1, n_trials), the "
                "same trials in both hemispheres: replace the file."
            )
    return (sides[0][3], sides[0][0], sides[1][0])


def _require_dimensions(path: Path, shape: tuple[int, ...], expected: str) -> None:
    """Raise if an array has not four dimensions or is empty."""
    if len(shape) != 4 or 0 in shape:
        raise UserError(f"{path} has shape {shape}, not {expected}: replace the file.")


def _grids(layout: NsdLayout, sessions: Sequence[int], faults: Faults) -> list[Grid]:
    """Return the grids of the responses, of the sessions that are NIfTI images."""
    files = [] if layout.is_surface else [layout.session(session)[0] for session in sessions]
    return [read_grid(file, faults) for file in files if file.suffix != ".hdf5"]


def voxel_indices(voxels: pd.DataFrame, layout: NsdLayout) -> NDArray[np.intp]:
    """Return what a betas source needs to find the voxels of the table."""
    if not layout.is_surface:
        return voxels[["x", "y", "z"]].to_numpy(np.intp)
    side = (voxels["hemi"] == HEMISPHERES[1]).to_numpy(np.intp)
    vertex = voxels["vertex"].to_numpy(np.intp)
    return np.column_stack([side, vertex, np.zeros_like(vertex)])
