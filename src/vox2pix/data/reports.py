"""``reports.csv``: the words with which somebody told what was in mind in a trial."""

from pathlib import Path

import numpy as np
import pandas as pd

from vox2pix.data.tables import read_table
from vox2pix.errors import UserError


def read_reports(path: Path, n_trials: int) -> list[tuple[str, ...]]:
    """Read the words of each trial, none where nothing was reported.

    Parameters
    ----------
    path : Path
        A CSV file with the columns ``trial`` and ``word``, a row per word; trials are numbered
        from 1 in the order of the data.
    n_trials : int
        Trials of the data.

    Raises
    ------
    UserError
        If a trial is no number of one, or a word is missing.
    """
    table = read_table(path, ("trial", "word"))
    numbers = pd.to_numeric(table["trial"], errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~((numbers >= 1) & (numbers <= n_trials) & (numbers % 1 == 0)))
    if bad.size:
        raise UserError(
            f"{path}, line {table.index[bad[0]]}: trial is {table['trial'].iloc[bad[0]]!r}, and "
            f"the data have trials 1 to {n_trials}: correct it."
        )
    empty = np.flatnonzero((table["word"] == "").to_numpy())
    if empty.size:
        raise UserError(f"{path}, line {table.index[empty[0]]}: word is empty; fill it in.")
    reports: list[list[str]] = [[] for _ in range(n_trials)]
    for number, word in zip(numbers.astype(int), table["word"].str.lower(), strict=True):
        if word not in reports[number - 1]:
            reports[number - 1].append(word)
    return [tuple(words) for words in reports]
