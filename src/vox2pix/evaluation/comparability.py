"""Whether the scores of several folders mean the same, so that they may be compared or pooled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from vox2pix.errors import UserError
from vox2pix.evaluation.records import MetricRecord

Key = tuple[str, str, str]
"""Condition, metric and direction."""


@dataclass(frozen=True)
class Mismatch:
    """A metric that two folders define differently; the condition is empty if each has one."""

    key: Key
    first: str
    other: str
    words: str

    @property
    def sentence(self) -> str:
        """The same as a sentence."""
        return f"{self.key[1]} {self.words}"


def mismatches(
    folders: Mapping[str, Sequence[MetricRecord]], by_condition: bool = True
) -> list[Mismatch]:
    """Return the metrics whose definitions differ between the first folder and another.

    Unless ``by_condition``, each folder has one condition, whatever its name.
    """
    (first, own), *others = ((name, _defined(rs, by_condition)) for name, rs in folders.items())
    differing = []
    for other, theirs in others:
        for key, here in own.items():
            there = theirs.get(key)
            if there is None or there == here:
                continue
            what = next(i for i, (a, b) in enumerate(zip(here, there, strict=True)) if a != b)
            a, b = (side[what] or "an unknown definition" for side in (here, there))
            differing.append(
                Mismatch(key, first, other, f"is '{a}' in {first} and '{b}' in {other}")
            )
    return differing


def refuse_other_protocols(folders: Mapping[str, Sequence[MetricRecord]]) -> None:
    """Refuse evaluations that were made under different protocols."""
    named = [(name, records[0].protocol) for name, records in folders.items() if records]
    for name, protocol in named[1:]:
        if protocol != named[0][1]:
            raise UserError(
                f"{named[0][0]} was evaluated under the protocol {named[0][1]} and {name} under "
                f"{protocol}, whose definitions differ. Evaluate both under one protocol."
            )


def refuse_other_definitions(
    folders: Mapping[str, Sequence[MetricRecord]], by_condition: bool = True
) -> None:
    """Refuse folders that define a metric in different ways, by :func:`mismatches`."""
    differing = mismatches(folders, by_condition)
    if differing:
        more = f" {len(differing) - 1} more metrics differ." if len(differing) > 1 else ""
        raise UserError(
            f"{differing[0].sentence}: these values are not comparable.{more} Evaluate both in the "
            "same way."
        )


def refuse_other_originals(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse tables of scores whose stimuli have one id and originals of different digests."""
    (first, own), *others = ((name, _digests(table)) for name, table in tables.items())
    for other, theirs in others:
        shared = [name for name in own if name in theirs]
        changed = [name for name in shared if own[name] != theirs[name]]
        if changed:
            raise UserError(
                f"{first} and {other} were scored against different originals: {len(changed)} of "
                f"{len(shared)} shared ids have other pixels or another size (the first is "
                f"{changed[0]!r}). Evaluate both against the same originals."
            )


def pool_note(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a note if identification was scored among different stimuli, else nothing."""
    pools = {name: set(table["stimulus_id"]) for name, table in tables.items()}
    shared = set.intersection(*pools.values())
    if all(pool == shared for pool in pools.values()):
        return ""
    if not any(table["direction"].astype(bool).any() for table in tables.values()):
        return ""
    counts = ", ".join(f"{len(pool)} in {name}" for name, pool in pools.items())
    return (
        f"Identification was scored among all stimuli of each folder ({counts}), of which "
        f"{len(shared)} are shared: its chance is the same, its difficulty may differ."
    )


def _defined(records: Sequence[MetricRecord], by_condition: bool) -> dict[Key, tuple[str, str]]:
    """Return what defines each metric: its definition, and over how many samples r is averaged."""
    return {
        (r.condition if by_condition else "", r.metric, r.direction or ""): (
            r.definition,
            r.samples if r.samples.startswith("correlations") else "each sample",
        )
        for r in records
        if not r.samples.startswith("best")
    }


def _digests(table: pd.DataFrame) -> dict[str, str]:
    if "original" not in table:
        return {}
    rows = table[["stimulus_id", "original"]].drop_duplicates()
    return {str(name): str(value) for name, value in rows.itertuples(index=False) if value}
