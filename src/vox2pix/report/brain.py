"""What a report shows of the brain: how well targets were decoded, and the encoding analysis."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pandas.api.types import is_numeric_dtype

from vox2pix.report.assets import Assets
from vox2pix.report.contents import RunContents
from vox2pix.report.labels import listed

_TABLE_ROWS = 40  # of a CSV file in the page
_TABLES = {
    "Encoding by region": "encoding/roi_summary.csv",
    "Comparisons of latents": "encoding/comparisons.csv",
}


def decoders(run: RunContents) -> list[dict[str, str]]:
    """Summarise how well each target was decoded, one row per target."""
    rows = []
    for name, r in run.decoded_r.items():
        finite = r[np.isfinite(r)]
        rows.append(
            {
                "name": name,
                "rois": listed(run.config.decode.rois[name]),
                "n": f"{len(r):,}",
                "mean": f"{finite.mean():.3f}" if len(finite) else "–",
                "median": f"{np.median(finite):.3f}" if len(finite) else "–",
                "above": f"{100 * (finite > 0).mean():.0f} %" if len(finite) else "–",
            }
        )
    return rows


def encoding_figures(run: RunContents, assets: Assets, folder: Path) -> list[dict[str, str]]:
    """Return what the template shows of the encoding figures, linked from the page's folder."""
    shown = []
    for figure in run.encoding_figures:
        files = [f"encoding/{name}" for name in (figure.png, figure.svg) if name]
        path = next((p for p in map(run.inside, files) if p), None)
        turning = run.inside(f"encoding/{figure.html}") if figure.html else None
        if path is not None:
            shown.append(
                {
                    "name": figure.name,
                    "title": figure.title,
                    "alt": figure.alt,
                    "url": assets.file(path),
                    "files": listed(files),
                    "turning": quote(Path(os.path.relpath(turning, folder)).as_posix())
                    if turning
                    else "",
                }
            )
    return shown


def encoding_tables(run: RunContents) -> list[dict[str, Any]]:
    """Return the first rows of the tables that the encoding analysis wrote."""
    shown = []
    for title, file in _TABLES.items():
        table = run.table(file)
        if table is not None:
            rows = [[_plain(v) for v in row] for row in table.head(_TABLE_ROWS).to_numpy(object)]
            left = len(table) - len(rows)
            names = [(str(k).replace("_", " "), is_numeric_dtype(v)) for k, v in table.items()]
            shown.append(
                {"title": title, "file": file, "columns": names, "rows": rows, "left": left}
            )
    return shown


def _plain(value: Any) -> str:
    """Write a value of a table."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
