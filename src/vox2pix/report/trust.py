"""The audits of a run as sentences, and the figure of each."""

from collections.abc import Sequence

from vox2pix.report.assets import Assets
from vox2pix.report.contents import Audit, RunContents
from vox2pix.report.labels import counted, listed

_VERDICTS = {"pass": "holds", "warn": "uncertain", "fail": "fails", None: "not computed"}
_COUNTED = {
    "pass": ("holds", "hold"),
    "warn": ("is uncertain", "are uncertain"),
    "fail": ("fails", "fail"),
    None: ("could not be computed", "could not be computed"),
}


def verdict_counts(audits: Sequence[Audit]) -> str:
    """Count the verdicts in one sentence."""
    verdicts = [audit.verdict for audit in audits]
    counts = {verdict: verdicts.count(verdict) for verdict in _COUNTED if verdict in verdicts}
    parts = [f"{n} {_COUNTED[verdict][n > 1]}" for verdict, n in counts.items()]
    return f"Of {counted(len(verdicts), 'audit')}, {listed(parts)}."


def audits(run: RunContents, assets: Assets) -> list[dict[str, str]]:
    """Return what the template shows of each audit."""
    rows = []
    for audit in run.audits:
        path = run.inside(audit.figure) if audit.figure else None
        rows.append(
            {
                "name": audit.name,
                "verdict": audit.verdict or "open",
                "word": _VERDICTS[audit.verdict],
                "sentence": audit.sentence,
                "url": assets.file(path) if path else "",
                "alt": audit.alt or audit.sentence,
            }
        )
    return rows
