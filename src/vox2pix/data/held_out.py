"""Which stimuli are held out for test: a share of them, a file that lists them, or the table."""

from collections.abc import Iterable
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vox2pix.data.faults import Faults
from vox2pix.data.names import ByName, add_missing
from vox2pix.data.tables import read_table
from vox2pix.errors import UserError
from vox2pix.untrusted.text import read_json, read_text

_SIDES = ("train", "test")


def with_split(
    trials: pd.DataFrame, test: float | Path | str | None, where: str, faults: Faults
) -> tuple[pd.DataFrame, str]:
    """Return the trials with a column ``split``, and what decides it.

    Parameters
    ----------
    trials : DataFrame
        With ``stimulus_id``, and ``split`` if the data have one (from ``where``).
    test : float, path or None
        A share of the stimuli (those whose names have the lowest checksums, so that the choice
        stays the same when stimuli are added), or a file: a list of names, one per line; a table
        with ``stimulus_id``, and ``split`` if it lists both sides; or JSON with ``test_ids``, and
        ``train_ids`` if not all others are for training, at the top or in the first of its
        ``variants`` (LAION-fMRI). Trials of stimuli on neither side are dropped, with a note.
    """
    names = sorted(set(trials["stimulus_id"]))
    if test is None:
        if "split" in trials:
            return _checked(trials, where), f"column split of {where}"
        faults.note(f"{where} has no column split and no test was named: every trial is for train.")
        return trials.assign(split="train"), "no test set was named: every trial is for training"
    if isinstance(test, float):
        n_test = ceil(round(test * len(names), 9))  # 0.07 * 100 is 7.000000000000001
        chosen = set(sorted(names, key=_checksum)[:n_test])
        faults.note(
            f"{n_test} of {len(names)} stimuli are held out for test (a share of {test:g}), chosen "
            "by the checksums of their names."
        )
        side = np.where(trials["stimulus_id"].isin(chosen), "test", "train")
        return trials.assign(split=side), f"a share of {test:g} of the stimuli is held out"
    path = Path(test)
    held_out, rest = _listed(path)
    sides = ByName([*((name, "train") for name in rest), *((name, "test") for name in held_out)])
    shown = ByName((name, name) for name in names)
    missing = sorted(name for name in held_out if name not in shown)
    if len(missing) == len(held_out):
        add_missing("trials", f"The responses, by {path},", missing, names, len(held_out),
                    "list stimuli that were shown", faults)  # fmt: skip
    elif missing:
        faults.note(
            f"{path} lists {len(missing)} test stimuli that were not shown (such as "
            f"{missing[0]!r})."
        )
    otherwise = "" if rest else "train"
    of_trials = pd.Series([sides.get(name, otherwise) for name in trials["stimulus_id"]],
                          trials.index)  # fmt: skip
    on_neither = of_trials == ""
    if on_neither.any():
        faults.note(
            f"{int(on_neither.sum()):,} trials of stimuli that {path} lists on neither side are "
            "left out."
        )
    return trials.assign(split=of_trials)[
        ~on_neither
    ], f"test stimuli are those listed in {path.name}"


def _checked(trials: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return trials whose column ``split`` is sound; a stimulus on both sides is refused."""
    side = trials["split"].str.lower()
    wrong = ~side.isin(_SIDES)
    if wrong.any():
        raise UserError(
            f"{where}: split {trials['split'][wrong].iloc[0]!r} of stimulus "
            f"{trials['stimulus_id'][wrong].iloc[0]!r} is neither train nor test; correct it."
        )
    test, train = (set(trials["stimulus_id"][side == name]) for name in ("test", "train"))
    _require_apart(where, test, train)
    return trials.assign(split=side)


def _checksum(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def _listed(path: Path) -> tuple[set[str], set[str]]:
    """Return the names for test, and those for training (none: all others)."""
    if path.suffix == ".json":
        return _from_json(path)
    if path.suffix == ".txt":
        lines = read_text(path, encoding="utf-8-sig").splitlines()
        return _some(path, (line.strip() for line in lines if line.strip())), set()
    table = read_table(path, ("stimulus_id",))
    if "split" not in table:
        return _some(path, table["stimulus_id"]), set()
    side = table["split"].str.lower()
    wrong = table[~side.isin(_SIDES)]
    if len(wrong):
        raise UserError(
            f"{path}, line {wrong.index[0]}: split {wrong['split'].iloc[0]!r} is neither train "
            "nor test; correct it."
        )
    both = {name: set(table["stimulus_id"][side == name]) for name in _SIDES}
    _require_apart(path, both["test"], both["train"])
    return _some(path, both["test"]), both["train"]


def _from_json(path: Path) -> tuple[set[str], set[str]]:
    content: Any = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("variants"), list):
        content = (content["variants"] or [None])[0]
    if not isinstance(content, dict) or not isinstance(content.get("test_ids"), list):
        raise UserError(f"{path} has no list test_ids: name a file with the stimuli for test.")
    train = content.get("train_ids") or []
    if not isinstance(train, list):
        raise UserError(f"{path} has train_ids that are no list: list the stimuli for training.")
    sides = [{str(name) for name in names} for names in (content["test_ids"], train)]
    _require_apart(path, *sides)
    return _some(path, sides[0]), sides[1]


def _some(path: Path, names: Iterable[str]) -> set[str]:
    chosen = set(names)
    if not chosen:
        raise UserError(f"{path} lists no stimulus for test: add their names.")
    return chosen


def _require_apart(where: str | Path, test: set[str], train: set[str]) -> None:
    both = sorted(test & train)
    if both:
        raise UserError(
            f"{where}: stimulus {both[0]!r} is in train and in test ({len(both)} such stimuli): "
            "keep all repeats of a stimulus on one side."
        )
