"""Results of encoding models in long format."""

import gzip
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from vox2pix.data import Subject
from vox2pix.encoding.ceiling import normalised_r
from vox2pix.errors import UserError
from vox2pix.store import replacing

# Labels of NSD's atlas of the visual streams, which cut visual cortex without overlap.
STREAMS = ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal")
_LATENT = ("latent", "layer", "step")


def voxel_rois(subject: Subject) -> NDArray[np.object_]:
    """Return the regions of each voxel, several joined with a plus sign, "" for none.

    They are the visual streams where any was opened, else all ROIs.
    """
    names = [roi for roi in subject.rois if roi in STREAMS] or list(subject.rois)
    joined = np.full(len(subject.voxels), "", object)
    for name in names:
        inside = subject.voxels[name].to_numpy(bool)
        joined[inside] = [f"{before}+{name}".lstrip("+") for before in joined[inside]]
    return joined


def results_table(
    subject: Subject,
    latent: str,
    *,
    r: ArrayLike,
    r2: ArrayLike,
    p: ArrayLike,
    q: ArrayLike,
    ceiling: ArrayLike,
    layer: str = "",
    step: int | None = None,
) -> pd.DataFrame:
    """Return what one latent explains in each voxel of the test responses, one row per voxel.

    The columns are ``voxel`` (row of ``subject.voxels``), ``roi``, ``latent``, ``layer`` (of the
    denoising network), ``step`` (counted from 0; nullable), ``r``, ``r2``, ``p``, ``q`` (p after
    control of the false discovery rate), ``ceiling`` (percent of variance) and ``r_normalised``
    (:func:`~vox2pix.encoding.normalised_r`).
    """
    columns = {"r": r, "r2": r2, "p": p, "q": q, "ceiling": ceiling}
    n_voxels = len(subject.voxels)
    for name, values in columns.items():
        if np.shape(values) != (n_voxels,):
            raise UserError(
                f"{name} of latent {latent!r} has shape {np.shape(values)}, but {subject.name} "
                f"was opened with {n_voxels} voxels: open the ROIs that it was computed for."
            )
    table = pd.DataFrame({"voxel": np.arange(n_voxels), "roi": voxel_rois(subject)})
    table["latent"], table["layer"] = latent, layer
    table["step"] = pd.array([step] * n_voxels, dtype="Int64")
    table = table.assign(**{name: np.asarray(values) for name, values in columns.items()})
    return table.assign(r_normalised=normalised_r(r, ceiling))


def roi_summary(table: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Summarise :func:`results_table` by region, latent, layer and step, in their first order.

    A voxel is significant if its q is below ``level``; NaN is not significant and counts neither in
    ``mean_r`` and ``median_r`` nor in ``n_scored``. Voxels without a region are left out.
    ``r_normalised`` is the mean r over the mean of the largest r that noise allows
    (:func:`mean_ceiling_r`): a mean of ratios would follow the voxels of least signal.
    """
    inside = table[table["roi"].fillna("") != ""]
    inside = inside.assign(significant=inside["q"] < level)
    groups = inside.groupby(["roi", *_LATENT], sort=False, dropna=False, observed=True)
    summary = groups.agg(
        mean_r=("r", "mean"),
        median_r=("r", "median"),
        significant=("significant", "mean"),
        n_voxels=("voxel", "size"),
        n_scored=("r", "count"),
        r_normalised=("ceiling", mean_ceiling_r),
    ).reset_index()
    return summary.assign(r_normalised=normalised(summary["mean_r"], summary["r_normalised"]))


def mean_ceiling_r(ceiling: ArrayLike) -> float:
    """Return the largest mean r that noise allows, from noise ceilings in percent of variance.

    It is the mean of the square roots of the shares, over voxels where they are not NaN.
    """
    percent = np.asarray(ceiling, float)
    finite = percent[np.isfinite(percent)]
    return float(np.sqrt(finite.clip(0) / 100).mean()) if finite.size else float("nan")


def normalised(mean_r: pd.Series, ceiling_r: pd.Series) -> pd.Series:
    """Return mean correlations as shares of positive :func:`mean_ceiling_r`, else NaN."""
    return mean_r / ceiling_r.where(ceiling_r > 0)


def best_layer(r: ArrayLike, q: ArrayLike, level: float = 0.05) -> NDArray[np.float64]:
    """Return the layer, counted from 0, that predicts each voxel best.

    ``r`` and ``q`` are (n_layers, n_voxels); NaN where the q of the best is not below ``level``.
    """
    scores = np.nan_to_num(np.asarray(r, float), nan=-np.inf)
    best = scores.argmax(axis=0)
    # NaN is not below the level.
    significant = np.take_along_axis(np.asarray(q, float), best[None], axis=0)[0] < level
    return np.where(significant, best, np.nan)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV without its index, whole or not at all; numbers have six digits."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")


def write_results(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables with the same columns below each other as ``csv.gz``, one in memory at a time.

    The same tables give the same bytes; the file appears whole. Numbers have six digits.
    """
    with (
        replacing(path) as partial,
        partial.open("wb") as raw,
        # Without a name and a time, equal tables make equal files.
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file,
        TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        for i, table in enumerate(tables):
            table.to_csv(text, header=i == 0, index=False, float_format="%.6g", lineterminator="\n")
