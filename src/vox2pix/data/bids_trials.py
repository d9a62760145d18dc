"""What each trial of a BIDS derivative showed: tables of trials, and tables of events."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vox2pix.data.bids_files import BidsFile, is_read, table_of, trials_of
from vox2pix.data.faults import Faults
from vox2pix.data.lab import numbered
from vox2pix.data.names import nearest
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError
from vox2pix.untrusted.files import files_below, require_inside

STIMULUS_COLUMNS = (
    "stimulus_id", "stim_file", "label", "stim_name", "file_path", "image_path",
)  # fmt: skip
"""Columns that name the stimulus: BIDS' own is ``stim_file``, others are usual."""
_NO_IMAGE = ("", "n/a")
_OF_IMAGES = ("space", "res", "den", "stat", "hemi", "contrast")  # entities that tables lack

Sessions = Mapping[int, Sequence[BidsFile]]


def series_trials(
    sessions: Sessions, files: Sequence[BidsFile], column: str, faults: Faults
) -> tuple[pd.DataFrame, str]:
    """Return a row per trial of series of volumes, by the ``_trials.tsv`` of each.

    ``row`` is the place of a volume among those of its session: the volumes before it in other
    files, and ``beta_index``, which counts from 0 within the file. Where no file is of a session by
    its name, sessions are those of the column ``session``, and ``row`` is among all volumes.
    """
    by_column = _names_no_session(sessions)
    tables = [f for f in files if f.suffix == "trials" and f.ending == ".tsv"]
    frames, where = [], ""
    for session, maps in sessions.items():
        before = 0
        for file in maps:
            n_volumes = trials_of(file)
            table = table_of(file, tables, _OF_IMAGES)
            if table is None:
                raise UserError(
                    f"{file.path} has no table of trials: add "
                    f"{file.path.name.partition('_space-')[0]}_trials.tsv with beta_index (the "
                    "volume, from 0) and the stimulus."
                )
            own = read_table(table.path)
            if not by_column:
                own = _of_session(own, session, table.path, faults)
            index = _volumes(own, n_volumes, table.path, file.path, faults)
            run = own["run"] if "run" in own else pd.Series(str(file.run), own.index)
            frames.append(
                pd.DataFrame(
                    {
                        "stimulus_id": stimuli_of(own, column, table.path).to_numpy(),
                        "session": own["session"] if by_column and "session" in own else session,
                        "run": _numbers(run),
                        "row": before + index,
                        **({"split": own["split"].to_numpy()} if "split" in own else {}),
                    }
                ).sort_values("row")
            )
            before, where = before + n_volumes, where or str(table.path)
    trials = pd.concat(frames, ignore_index=True)
    return _with_numbers(trials, faults) if by_column else trials, where


def _names_no_session(sessions: Sessions) -> bool:
    """Return whether no file is of a session by its name."""
    return not any("ses" in file.entities for maps in sessions.values() for file in maps)


def _with_numbers(trials: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """Return trials in the order of sessions, by the numbers of their labels in a table."""
    labels = trials["session"].astype(str)
    numbers = labels.map(numbered(labels.unique().tolist(), "session", faults))
    return trials.assign(session=numbers).sort_values("session", kind="stable", ignore_index=True)


def _of_session(table: pd.DataFrame, session: int, path: Path, faults: Faults) -> pd.DataFrame:
    """Return the rows of one session; those of others in the same table are noted."""
    if "session" not in table:
        return table
    own = table[_numbers(table["session"]) == session]
    if own.empty:
        raise UserError(f"{path} has no row of session {session}, of which it is by its name.")
    if len(own) < len(table):
        faults.note(f"{path} also holds {len(table) - len(own):,} trials of other sessions.")
    return own


def _volumes(
    table: pd.DataFrame, n_volumes: int, path: Path, image: Path, faults: Faults
) -> np.ndarray:
    """Return the volume of each row, from 0."""
    if "beta_index" not in table:
        raise UserError(
            f"{path} has no column beta_index (it has {', '.join(map(str, table))}): add the "
            f"volume of each trial in {image.name}, from 0."
        )
    text = table["beta_index"]
    bad = ~text.str.fullmatch(r"\d{1,9}")
    if bad.any():
        raise UserError(
            f"{path}, line {table.index[bad][0]}: beta_index {text[bad].iloc[0]!r} is no whole "
            "number from 0; correct it."
        )
    index = text.astype(int)
    if index.duplicated().any():
        line = table.index[index.duplicated()][0]
        raise UserError(f"{path}, line {line}: beta_index {index[line]} is there twice.")
    if index.max() >= n_volumes:
        hint = "it counts from 1: subtract 1" if index.min() == 1 else "an index is wrong"
        raise UserError(
            f"{path} has beta_index {index.max()}, but {image} holds volumes 0 to {n_volumes - 1}: "
            f"{hint}, or the files belong to different sessions."
        )
    if len(index) < n_volumes:
        faults.note(f"{n_volumes - len(index):,} of {n_volumes:,} volumes of {image} have no row.")
    return index.to_numpy()


def contrast_trials(
    sessions: Sessions,
    files: Sequence[BidsFile],
    stimuli: Path | None,
    column: str,
    root: Path,
    faults: Faults,
) -> tuple[pd.DataFrame, str]:
    """Return a row per contrast, joined with the events (or a table) by ``trial_type``.

    Names are compared by their letters and digits, in any case: BIDS allows no others in an entity.
    A map that names its run is joined with the events of that run alone. Contrasts without an event
    (such as one of all trials) are left out, with a note.
    """
    by_column = _names_no_session(sessions)
    frames, where = [], ""
    for session, maps in sessions.items():
        for run in sorted({file.run for file in maps}):
            own = {i: file for i, file in enumerate(maps) if file.run == run}
            of = None if by_column else session
            events, source = _events(of, next(iter(own.values())), files, stimuli, root)
            where = where or source
            place = f"session {session}{f', run {run},' if run else ''}"
            frame = _joined(own, _by_name(events, column, source), source, place, faults)
            if not (by_column and "session" in frame):
                frame["session"] = session
            frame = frame.assign(**({"run": run} if run else {}))
            frames.append(frame.sort_values(["run", "onset", "row"]))
    columns = ["stimulus_id", "session", "run", "row"]
    columns += ["split"] if all("split" in frame for frame in frames) else []
    trials = pd.concat(frames, ignore_index=True)[columns]
    return _with_numbers(trials, faults) if by_column else trials, where


def _joined(
    maps: Mapping[int, BidsFile],
    named: Mapping[str, Mapping[str, object]],
    source: str,
    place: str,
    faults: Faults,
) -> pd.DataFrame:
    """Return a row per contrast that is among the events; ``maps`` are by their ``row``."""
    contrasts = {i: file.entities["contrast"] for i, file in maps.items()}
    joined = {i: named[_name(c)] for i, c in contrasts.items() if _name(c) in named}
    others = [c for i, c in contrasts.items() if i not in joined]
    if not joined:
        names = {str(event["trial_type"]) for event in named.values()}
        folder = next(iter(maps.values())).path.parent
        raise UserError(
            f"{source} has no trial_type {others[0]!r}, which {folder} has a map of ({len(others)} "
            f"such contrasts of {place.rstrip(',')}); {nearest(others[0], names)}"
        )
    if others:
        faults.note(
            f"{len(others)} of {len(maps)} contrasts of {place} are no trial_type of {source} and "
            f"are left out (such as {others[0]!r})."
        )
    frame = pd.DataFrame(list(joined.values())).assign(row=list(joined))
    averaged = int((frame["n_events"] > 1).sum())
    if averaged:
        faults.note(f"{averaged} contrasts of {place} average several events.")
    return frame


def _events(
    session: int | None, file: BidsFile, files: Sequence[BidsFile], stimuli: Path | None, root: Path
) -> tuple[pd.DataFrame, str]:
    """Return the events of a map's run, and where from; of all runs, if its name has none."""
    if stimuli is not None and stimuli.is_file():
        table = read_table(stimuli, ("trial_type",))
        if "session" in table and session is not None:
            table = table[_numbers(table["session"]) == session]
        if "run" in table and file.run:
            table = table[_numbers(table["run"]) == file.run]
        return table, str(stimuli)
    place = stimuli or root
    if stimuli is not None:
        paths = files_below(stimuli, lambda name: not name.startswith("."))
        files = [BidsFile(path) for path in sorted(paths) if is_read(path.name)]
    own = {k: v for k, v in file.entities.items() if k in ("sub", "ses", "task")}
    events = [
        f
        for f in files
        if f.suffix == "events" and f.ending == ".tsv" and own.items() <= f.entities.items()
    ]
    if file.run:
        events = [f for f in events if f.run == file.run] or [f for f in events if not f.run]
        own["run"] = file.entities["run"]
    if not events:
        raise UserError(
            f"{place} has no events.tsv of {'_'.join(f'{k}-{v}' for k, v in own.items())}: name "
            "the raw data set, or a table with trial_type and the stimulus, by data.stimuli."
        )
    require_inside(place, [f.path for f in events])
    events.sort(key=lambda f: f.run)
    tables = [read_table(f.path, ("trial_type",)).assign(run=str(f.run or 1)) for f in events]
    return pd.concat(tables), str(events[0].path)


def _by_name(events: pd.DataFrame, column: str, source: str) -> dict[str, dict[str, object]]:
    """Return stimulus, run and onset of each ``trial_type``, by its letters and digits."""
    stimulus = stimuli_of(events, column, Path(source)).to_numpy()
    run = _numbers(events["run"]) if "run" in events else np.zeros(len(events), int)
    onset = pd.to_numeric(events.get("onset", pd.Series(0, events.index)), errors="coerce")
    more = {name: events[name].to_numpy() for name in ("session", "split") if name in events}
    named: dict[str, dict[str, object]] = {}
    for i, trial_type in enumerate(events["trial_type"]):
        one: dict[str, object] = {
            "stimulus_id": stimulus[i],
            "run": run[i],
            "onset": onset.iloc[i],
            "n_events": 1,
            "trial_type": trial_type,
            **{name: values[i] for name, values in more.items()},
        }
        first = named.setdefault(_name(trial_type), one)
        if first is one:
            continue
        if first["stimulus_id"] != one["stimulus_id"]:
            raise UserError(
                f"{source}: trial_type {trial_type!r} is an event of {first['stimulus_id']!r} and "
                f"of {one['stimulus_id']!r}: give each trial, or each stimulus, a trial_type of "
                "its own in the model."
            )
        first["n_events"] = int(str(first["n_events"])) + 1
    return named


def stimuli_of(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """Return the stimulus of each row, empty where there is none."""
    if column and column not in table:
        raise UserError(f"{path} has no column {column!r}; {nearest(column, map(str, table))}")
    name = column or next((each for each in STIMULUS_COLUMNS if each in table), "")
    if not name:
        raise UserError(
            f"{path} has none of the columns {', '.join(STIMULUS_COLUMNS)} (it has "
            f"{', '.join(map(str, table))}): name the column of the stimulus "
            "by data.options.stimulus_column."
        )
    return table[name].where(~table[name].str.lower().isin(_NO_IMAGE), "")


def _name(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum()).casefold()


def _numbers(labels: pd.Series) -> np.ndarray:
    """Return the number that ends each label (``ses-02``: 2), 0 where there is none."""
    return labels.str.extract(r"(\d+)$")[0].fillna("0").astype(int).to_numpy()
