"""Which stimuli are held out for test: a share of them, a file that lists them, or the table."""

from collections.abc import Iterable
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vox2pix.data.faults import Faults
from vox2pix.data.names import add_missing
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
            return trials, f"column split of {where}"
        faults.note(f"{where} has no column split and no test was named: every trial is for train.")
        return trials.assign(split="train"), "no test set was named: every trial is for training"
    if isinstance(test, float):
        n_test = ceil(test * len(names))
        chosen = set(sorted(names, key=_checksum)[:n_test])
        faults.note(
            f"{n_test} of {len(names)} stimuli are held out for test (a share of {test:g}), chosen "
            "by the checksums of their names."
        )
        sides = np.where(trials["stimulus_id"].isin(chosen), "test", "train")
        return trials.assign(split=sides), f"a share of {test:g} of the stimuli is held out"
    path = Path(test)
    held_out, rest = _listed(path)
    missing = sorted(held_out - set(names))
    if len(missing) == len(held_out):
        add_missing("trials", f"The responses, by {path},", missing, names, len(held_out),
                    "list stimuli that were shown", faults)  # fmt: skip
    elif missing:
        faults.note(
            f"{path} lists {len(missing)} test stimuli that were not shown (such as "
            f"{missing[0]!r})."
        )
    side = trials["stimulus_id"].map(lambda name: "test" if name in held_out else "train")
    known_side = side.eq("test") | (trials["stimulus_id"].isin(rest) if rest else True)
    if not known_side.all():
        faults.note(
            f"{int((~known_side).sum()):,} trials of stimuli that {path} lists on neither side "
            "are left out."
        )
    return trials.assign(split=side)[known_side], f"test stimuli are those listed in {path.name}"


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
    sides = [{str(name) for name in names} for names in (content["test_ids"], train)]
    _require_apart(path, *sides)
    return _some(path, sides[0]), sides[1]


def _some(path: Path, names: Iterable[str]) -> set[str]:
    chosen = set(names)
    if not chosen:
        raise UserError(f"{path} lists no stimulus for test: add their names.")
    return chosen


def _require_apart(path: Path, test: set[str], train: set[str]) -> None:
    both = sorted(test & train)
    if both:
        raise UserError(
            f"{path}: stimulus {both[0]!r} is in train and in test ({len(both)} such stimuli): "
            "keep all repeats of a stimulus on one side."
        )
