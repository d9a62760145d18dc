"""``trials.csv``: what each trial of a person's own data showed, and on which side it is."""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.nsd_imagery import Task
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError

_SPLITS = ("train", "test")
_TASKS = (*get_args(Task), "seen")
_BY_COLUMN = "column split of trials.csv"
_ALL_TRAIN = "trials.csv has no column split: every trial is for training"


def read_trials(folder: Path, faults: Faults) -> tuple[pd.DataFrame, str]:
    """Read ``trials.csv``: one row per trial, and what decides the split.

    Columns ``stimulus_id``, ``session``, ``run``, ``split``, and where the file has them ``task``
    and ``set``; rows are numbered from 0.
    """
    path = folder / "trials.csv"
    table = read_table(path, ("stimulus_id",))
    if table.empty:
        raise UserError(f"{path} has no rows: add one row per trial.")
    lines = table.index.to_numpy()
    blank = np.flatnonzero(table["stimulus_id"] == "")
    if blank.size:
        faults.add(f"{path}, line {lines[blank[0]]}: stimulus_id is empty; fill it in.")
    numbers = {
        name: _whole_numbers(path, table, name)
        for name in ("session", "run", "trial")
        if name in table
    }
    if "trial" in numbers:
        _add_duplicates(path, pd.DataFrame(numbers, index=table.index), faults)
    has_split = "split" in table
    if not has_split:
        faults.note(f"{_ALL_TRAIN}.")
    ones = np.ones(len(table), np.int64)
    trials = pd.DataFrame(
        {
            "stimulus_id": table["stimulus_id"].to_numpy(),
            "session": numbers.get("session", ones),
            "run": numbers.get("run", ones),
            "split": table["split"].str.lower().to_numpy() if has_split else "train",
        }
    )
    unknown = np.flatnonzero(~trials["split"].isin(_SPLITS))
    if unknown.size:
        faults.add(
            f"{path}, line {lines[unknown[0]]}: split {table['split'].iloc[unknown[0]]!r} is "
            "neither train nor test; correct it."
        )
    parts = trials.groupby("split")["stimulus_id"].agg(set)
    both = sorted(parts.get("train", set()) & parts.get("test", set()))
    if both:
        faults.add(
            f"{path}: stimulus {both[0]!r} is in train and in test ({len(both)} such stimuli): "
            "keep all repeats of a stimulus on one side."
        )
    _carry_tasks(path, table, trials, faults)
    return trials, _BY_COLUMN if has_split else _ALL_TRAIN


def _carry_tasks(path: Path, table: pd.DataFrame, trials: pd.DataFrame, faults: Faults) -> None:
    """Add to the trials what was asked of the person, and of which set the stimulus is."""
    lines = table.index.to_numpy()
    if "task" in table:
        trials["task"] = table["task"].to_numpy()
        unknown = np.flatnonzero(~trials["task"].isin(["", *_TASKS]))
        if unknown.size:
            faults.add(
                f"{path}, line {lines[unknown[0]]}: task {trials['task'].iloc[unknown[0]]!r} is "
                f"none of {', '.join(_TASKS)}; leave it empty for any other."
            )
    if "set" in table:
        trials["set"] = table["set"].to_numpy()
        blank = np.flatnonzero(trials["set"] == "")
        if blank.size:
            faults.add(f"{path}, line {lines[blank[0]]}: set is empty; fill it in.")
        n_sets = trials.groupby("stimulus_id")["set"].nunique()
        if (n_sets > 1).any():
            faults.add(
                f"{path}: stimulus {n_sets.idxmax()!r} is in {n_sets.max()} sets; choose one."
            )


def _add_duplicates(path: Path, numbers: pd.DataFrame, faults: Faults) -> None:
    """Add a fault for a trial that is entered twice."""
    doubled = np.flatnonzero(numbers.duplicated())
    if doubled.size:
        row = numbers.iloc[doubled[0]]
        trial = ", ".join(f"{name} {row[name]}" for name in numbers.columns)
        line = numbers.index[doubled[0]]
        faults.add(f"{path}, line {line}: {trial} is there twice; remove the duplicate.")


def _whole_numbers(path: Path, table: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """Return a column as whole numbers from 1."""
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~((values >= 1) & (values < 2**31) & (values % 1 == 0)))
    if bad.size:
        raise UserError(
            f"{path}, line {table.index[bad[0]]}: {name} {table[name].iloc[bad[0]]!r} is no whole "
            "number from 1; correct it."
        )
    return values.astype(np.int64)
