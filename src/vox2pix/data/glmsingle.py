"""Reader of GLMsingle's output (Prince et al. 2022, eLife 11, e77599)."""

from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from vox2pix.data.faults import Faults
from vox2pix.data.glmsingle_files import (
    MODELS,
    Design,
    SessionFiles,
    find_files,
    is_output,
    open_betas,
    read_design,
)
from vox2pix.data.lab import Found, LabSource, by_session, dropped_blanks, numbered, voxel_table
from vox2pix.data.labels import read_mask
from vox2pix.data.subject import Subject
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError

_NEEDED = (
    "name a table by data.stimuli (--stimuli) with the columns condition and stimulus_id, numbered "
    "as in DESIGNINFO, or with the columns trial and stimulus_id"
)


def open_glmsingle(
    path: str | Path,
    stimuli: str | Path,
    *,
    images: str | Path | None = None,
    captions: str | Path | None = None,
    rois: str | Path | None = None,
    test: float | str | Path | None = None,
    mask: str = "",
    model: str = "",
) -> Subject:
    """Open what GLMsingle wrote for one person.

    Parameters
    ----------
    path : str or Path
        The output folder, or one that holds an output folder for each session; sessions are sorted
        by the number that ends their name. Of the models the most complete is read:
        ``TYPED_FITHRF_GLMDENOISE_RR``, else C, else B. Its betas are in ``.hdf5`` (``betasmd``),
        ``.mat`` of version 7.3 (``modelmd``, axes reversed) or ``.npy``, a pickle that is read
        without running it, and as a whole: prefer ``wanthdf5``.
    stimuli : str or Path
        CSV or TSV table: ``condition`` and ``stimulus_id`` (an empty one leaves the condition out),
        optional ``session`` and ``split``. Conditions are numbered as in ``DESIGNINFO``: from 0 in
        Python, from 1 in MATLAB. Or, without ``DESIGNINFO``, ``trial`` (chronological) in the
        place of ``condition``.
    images : str or Path, optional
        Folder of images, found by path, name or stem; or an array file with ``images`` and
        ``stimulus_id``.
    captions : str or Path, optional
        Table of ``stimulus_id`` and ``caption``.
    rois : str or Path, optional
        Folder of masks and label images; or a table with one row per voxel and one column per
        region.
    test : float, str or Path, optional
        Share of the stimuli to hold out, or a file that lists them.
    mask : str
        Image of the voxels to read, below ``path``. Without one those of all regions are read, or
        all.
    model : str
        Model to read, e.g. ``TYPEB_FITHRF``.

    Returns
    -------
    Subject
        Space ``nifti`` for volumes, with the affine of the mask or regions; ``array`` for a list of
        voxels.

    Raises
    ------
    UserError
        With the first fault found; :func:`vox2pix.data.check` lists all.
    """
    return GlmsingleSource(
        root=Path(path), stimuli=stimuli, images=images, captions=captions, rois=rois, test=test,
        mask=mask, model=model,
    ).open()  # fmt: skip


class GlmsingleSource(LabSource):
    """GLMsingle's output folder of one person, or one for each session."""

    name: ClassVar[str] = "glmsingle"
    title: ClassVar[str] = "GLMsingle's output"

    mask: str = Field(default="", description="image of the voxels to read, below `data.path`")
    model: str = Field(
        default="", description="model to read, such as `TYPEB_FITHRF`; the most complete if empty"
    )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there is a file of one of GLMsingle's models."""
        return bool(_output_folders(root))

    def reads(self, name: str) -> bool:
        """Return whether a file is a model, its design or the mask."""
        return is_output(PurePosixPath(name).name) or name == self.mask

    def holds(self, name: PurePosixPath) -> bool:
        """Return no: of a folder only files with GLMsingle's own names are read."""
        return False

    def find(self, faults: Faults) -> Found:
        """Return the arrays, trials and voxels of the layout."""
        root = self.require_local()
        folders = _output_folders(root)
        if not folders:
            raise UserError(
                f"{root} holds no output of GLMsingle ({MODELS[0]}.hdf5, .mat or .npy): name its "
                "output folder."
            )
        numbers = {"": 1}
        if folders != [root]:
            numbers = numbered([folder.name for folder in folders], "folder", faults)
        by_number = {numbers.get(folder.name, 1): folder for folder in folders}
        sessions = [find_files(by_number[n], self.model, faults) for n in sorted(by_number)]
        shapes = [files.shape for files in sessions]
        for files in sessions:
            if files.shape != shapes[0]:
                raise UserError(
                    f"{files.betas} has voxels of shape {files.shape}, {sessions[0].betas} of "
                    f"{shapes[0]}: give sessions of one space."
                )
        trials, where = self._trials(dict(zip(sorted(by_number), sessions, strict=True)), faults)
        trials = dropped_blanks(trials, str(where), faults)
        return self._with_voxels(root, sessions, sorted(by_number), trials, str(where), faults)

    def _with_voxels(
        self,
        root: Path,
        sessions: list[SessionFiles],
        numbers: list[int],
        trials: pd.DataFrame,
        where: str,
        faults: Faults,
    ) -> Found:
        """Add the voxels: those of the mask, of the regions, or all."""
        first = sessions[0]
        grid = None
        if first.is_list:
            if self.mask:
                raise UserError(f"{first.betas} holds a list of voxels: a mask needs a volume.")
            places = np.argwhere(np.ones(first.shape, bool))
            voxels = pd.DataFrame(index=range(len(places)))
        else:
            inside = np.ones(first.shape, bool)
            if self.mask:
                image = read_mask(root / self.mask, faults)
                grid = image.grid if image.grid.affine is not None else None
                if image.grid.shape != first.shape:
                    raise UserError(
                        f"{image.grid.path} has shape {image.grid.shape}, the volumes of "
                        f"{first.betas} {first.shape}: give a mask of their space."
                    )
                inside = image.values > 0
            regions = self.regions(first.shape, grid, faults)
            masks = {} if regions is None else regions.masks
            grid = grid or (None if regions is None else regions.grid)
            if not self.mask and masks:
                inside = np.logical_or.reduce(list(masks.values()))
                faults.note("No mask was named: the voxels are those of the regions.")
            elif not self.mask:
                faults.note("No mask was named: all voxels of the volume are read.")
            voxels = voxel_table(inside, masks, faults)
            places = np.argwhere(inside)
        arrays = {n: open_betas(files, places) for n, files in zip(numbers, sessions, strict=True)}
        of_sessions = {s: arrays[int(rows["folder"].iloc[0])] for s, rows in by_session(trials)}
        return Found(
            name=_name(root),
            trials=trials,
            arrays=of_sessions,
            voxels=voxels,
            space="array" if first.is_list else "nifti",
            unit="percent signal change (GLMsingle's own, unless its wantpercentbold was 0)",
            where=where,
            shape=None if first.is_list else first.shape,
            grid=grid,
        )

    def _trials(
        self, sessions: dict[int, SessionFiles], faults: Faults
    ) -> tuple[pd.DataFrame, Path]:
        """Return a row per trial of all sessions, and the table that names their stimuli."""
        where = self.companions().get("stimuli")
        if where is None:
            raise UserError(f"GLMsingle does not say which image a condition is: {_NEEDED}.")
        table = read_table(where, ("stimulus_id",))
        several = len(sessions) > 1
        rows = []
        for number, files in sessions.items():
            if "trial" in table and "condition" not in table:
                own = _of_session(table, number, where) if several else table
                rows.append(_by_trial(own, number, files, where, faults))
                continue
            if "condition" not in table:
                raise UserError(f"{where} has no column condition: {_NEEDED}.")
            design = read_design(files, faults)
            frame = design.frame(number, several)
            one = _of_session(table, number, where) if "session" in table and several else table
            rows.append(frame.assign(**_by_condition(one, design, where)))
        return pd.concat(rows, ignore_index=True), where


def _output_folders(root: Path) -> list[Path]:
    """Return the root if GLMsingle wrote there, else the folders below it where it did."""

    def has_model(folder: Path) -> bool:
        return any(is_output(f.name) and f.name.startswith("TYPE") for f in folder.iterdir())

    if not isinstance(root, Path) or not root.is_dir():
        return []
    if has_model(root):
        return [root]
    # folders of people are no sessions
    below = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith((".", "sub")))
    return [folder for folder in below if has_model(folder)]


def _of_session(table: pd.DataFrame, number: int, where: Path) -> pd.DataFrame:
    """Return the rows of one session."""
    if "session" not in table:
        raise UserError(f"{where} has no column session, and there are several: add it.")
    numbers = pd.to_numeric(table["session"], errors="coerce")
    own = table[numbers == number]
    if own.empty:
        raise UserError(f"{where} has no row of session {number}: add its conditions.")
    return own


def _whole(table: pd.DataFrame, column: str, where: Path) -> pd.Series:
    """Return a column as whole numbers from 0, each once."""
    bad = ~table[column].str.fullmatch(r"\d{1,9}")
    if bad.any():
        raise UserError(
            f"{where}, line {table.index[bad][0]}: {column} {table[column][bad].iloc[0]!r} is no "
            "whole number from 0; correct it."
        )
    numbers = table[column].astype(int)
    if numbers.duplicated().any():
        line = table.index[numbers.duplicated()][0]
        raise UserError(f"{where}, line {line}: {column} {numbers[line]} is there twice.")
    return numbers


def _by_condition(table: pd.DataFrame, design: Design, where: Path) -> dict[str, np.ndarray]:
    """Return the columns of the table for each trial, joined by the number of its condition."""
    rows = pd.Series(range(len(table)), index=_whole(table, "condition", where))
    shown = set(design.conditions.tolist())
    missing = sorted(shown - set(rows.index))
    if missing:
        step = design.base - int(min(rows.index, default=design.base))
        hint = f"add the row (it has {min(rows.index)} to {max(rows.index)})"
        if step and shown <= {int(i) + step for i in rows.index}:
            hint = (
                f"the table counts from {min(rows.index)}, {design.path.name} from {design.base}: "
                f"{'subtract' if step < 0 else 'add'} {abs(step)}"
            )
        raise UserError(
            f"{where} has no condition {missing[0]}, which {design.path} has "
            f"({len(missing)} such conditions): {hint}."
        )
    picked = table.iloc[rows[design.conditions].to_numpy()]
    return {name: picked[name].to_numpy() for name in ("stimulus_id", "split") if name in table}


def _by_trial(
    table: pd.DataFrame, number: int, files: SessionFiles, where: Path, faults: Faults
) -> pd.DataFrame:
    """Return a row per trial by a table of trials, numbered from 0 or from 1."""
    trial = _whole(table, "trial", where)
    base = int(trial.min()) if len(trial) else 0
    if base > 1 or sorted(trial - base) != list(range(files.n_trials)):
        raise UserError(
            f"{where} numbers {len(trial)} trials from {base}, {files.betas} holds "
            f"{files.n_trials}: number all of them from 0 or from 1."
        )
    faults.note(f"{where} numbers trials from {base}.")
    ordered = table.iloc[np.argsort(trial.to_numpy())]
    columns = {name: ordered[name].to_numpy() for name in ("stimulus_id", "split") if name in table}
    frame = pd.DataFrame({"session": number, "run": 0, "row": range(files.n_trials)})
    return frame.assign(folder=number, **columns)


def _name(root: Path) -> str:
    """Return the name of the subject: the folder that says so, else the last one."""
    own = [part for part in root.parts if part.startswith(("sub-", "subj"))]
    return own[-1] if own else root.name
