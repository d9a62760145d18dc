"""What a report shows of the brain: how well z and c were decoded, and the encoding analysis."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pandas.api.types import is_numeric_dtype

from vox2pix.report.assets import Assets
from vox2pix.report.contents import RunContents
from vox2pix.report.wording import listed

_TABLE_ROWS = 40  # of a CSV file in the page
_TABLES = {
    "Encoding by region": "encoding/roi_summary.csv",
    "Comparisons of latents": "encoding/comparisons.csv",
}


def decoders(run: RunContents) -> list[dict[str, str]]:
    """Summarise how well z and c were decoded: a row a feature space, in words.

    Parameters
    ----------
    run : RunContents
        The run.
    """
    rois = run.config.decode.rois
    told = []
    for name, r in run.decoded_r.items():
        there = r[np.isfinite(r)]
        told.append(
            {
                "name": name,
                "rois": listed(list(rois[name])),
                "n": f"{len(r):,}",
                "mean": f"{there.mean():.3f}" if len(there) else "–",
                "median": f"{np.median(there):.3f}" if len(there) else "–",
                "above": f"{100 * (there > 0).mean():.0f} %" if len(there) else "–",
            }
        )
    return told


def encoding_figures(run: RunContents, assets: Assets, home: Path) -> list[dict[str, str]]:
    """Return what the template shows of the encoding figures that are there.

    Parameters
    ----------
    run : RunContents
        The run.
    assets : Assets
        Where the figures go.
    home : Path
        The folder of the page, from which links lead to the run folder.
    """
    told = []
    for figure in run.encoding_figures:
        files = [f"encoding/{name}" for name in (figure.png, figure.svg) if name]
        path = next((p for p in map(run.inside, files) if p), None)
        turning = run.inside(f"encoding/{figure.html}") if figure.html else None
        if path is not None:
            told.append(
                {
                    "name": figure.name,
                    "title": figure.title,
                    "alt": figure.alt,
                    "url": assets.file(path),
                    "files": listed(files),
                    "turning": quote(Path(os.path.relpath(turning, home)).as_posix())
                    if turning
                    else "",
                }
            )
    return told


def encoding_tables(run: RunContents) -> list[dict[str, Any]]:
    """Return the first rows of the tables that the encoding analysis wrote.

    Parameters
    ----------
    run : RunContents
        The run.
    """
    told = []
    for title, file in _TABLES.items():
        table = run.table(file)
        if table is not None:
            rows = [[_plain(v) for v in row] for row in table.head(_TABLE_ROWS).to_numpy(object)]
            left = len(table) - len(rows)
            names = [(str(k).replace("_", " "), is_numeric_dtype(v)) for k, v in table.items()]
            told.append(
                {"title": title, "file": file, "columns": names, "rows": rows, "left": left}
            )
    return told


def _plain(value: Any) -> str:
    """Write a value of a table."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
