"""What encoding models found, in long format: a row a voxel and latent, and a row a region."""

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
    """Name the region of each voxel.

    Parameters
    ----------
    subject : Subject
        Whose.

    Returns
    -------
    ndarray of str, shape (n_voxels,)
        Of the visual streams where any was opened, else of all ROIs; several are joined with a
        plus sign, none is the empty text.
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
    """Return what one latent explains in each voxel.

    Parameters
    ----------
    subject : Subject
        Whose.
    latent : str
        E.g. ``z``, ``c``, ``z_c``.
    r, r2 : array_like, shape (n_voxels,)
        Pearson correlation and coefficient of determination on the test stimuli.
    p, q : array_like, shape (n_voxels,)
        Before and after control of the false discovery rate over voxels.
    ceiling : array_like, shape (n_voxels,)
        Noise ceiling, percent of variance.
    layer : str
        Of the denoising network, where the latent is its activation.
    step : int, optional
        Denoising step, counted from 0.

    Returns
    -------
    DataFrame
        A row a voxel: ``voxel`` (row of ``subject.voxels``), ``roi``, ``latent``, ``layer``,
        ``step`` (nullable integer), ``r``, ``r2``, ``p``, ``q``, ``ceiling``, ``r_normalised``
        (:func:`~vox2pix.encoding.normalised_r`; NaN where the ceiling is unknown or zero).

    Raises
    ------
    UserError
        If a column has not one value a voxel.
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
    """Summarise results by region and latent.

    Parameters
    ----------
    table : DataFrame
        As :func:`results_table` returns it, of one latent or of several.
    level : float
        A voxel counts as significant if its q is below.

    Returns
    -------
    DataFrame
        A row a region, latent, layer and step, in the order of their first rows: ``roi``,
        ``latent``, ``layer``, ``step``, ``mean_r``, ``median_r``, ``significant`` (share of
        voxels, 0 to 1), ``n_voxels``, ``n_scored``, ``r_normalised``. Voxels without a region are
        left out; voxels whose r is NaN count as not significant, and not in mean, median and
        ``n_scored``. Of a region
        ``r_normalised`` is the mean r over the mean of the largest r that noise allows
        (:func:`mean_ceiling_r`): the mean of ratios would follow the voxels of least signal.
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
    """Return the largest mean correlation that noise allows in some voxels.

    Parameters
    ----------
    ceiling : array_like, shape (n_voxels,)
        Noise ceiling, percent of variance; voxels where it is unknown (NaN) are left out.

    Returns
    -------
    float
        The mean of the square roots of the shares; NaN where none is known.
    """
    percent = np.asarray(ceiling, float)
    known = percent[np.isfinite(percent)]
    return float(np.sqrt(known.clip(0) / 100).mean()) if known.size else float("nan")


def normalised(mean_r: pd.Series, ceiling_r: pd.Series) -> pd.Series:
    """Return mean correlations as shares of what noise allows; NaN where that is not positive.

    Parameters
    ----------
    mean_r, ceiling_r : Series of float
        Of regions; the second from :func:`mean_ceiling_r`.
    """
    return mean_r / ceiling_r.where(ceiling_r > 0)


def best_layer(r: ArrayLike, q: ArrayLike, level: float = 0.05) -> NDArray[np.float64]:
    """Return the layer that predicts each voxel best.

    Parameters
    ----------
    r, q : array_like, shape (n_layers, n_voxels)
        Pearson correlation, and its p-value after control of the false discovery rate.
    level : float
        The best layer counts only if its q is below.

    Returns
    -------
    ndarray, shape (n_voxels,)
        Number of the layer, counted from 0; NaN where the best is not significant.
    """
    scores = np.nan_to_num(np.asarray(r, float), nan=-np.inf)
    best = scores.argmax(axis=0)
    # a NaN compares as not significant
    significant = np.take_along_axis(np.asarray(q, float), best[None], axis=0)[0] < level
    return np.where(significant, best, np.nan)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all; numbers keep six digits.

    Parameters
    ----------
    path : Path
        The file.
    table : DataFrame
        Its index is left out.
    """
    with replacing(path) as partial:
        table.to_csv(partial, index=False, float_format="%.6g", lineterminator="\n")


def write_results(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables below each other as compressed CSV, one in memory at a time.

    The same tables give the same bytes; the file appears whole. Numbers keep six digits.

    Parameters
    ----------
    path : Path
        ``results.csv.gz``.
    tables : iterable of DataFrame
        With the same columns, e.g. one a latent.
    """
    with (
        replacing(path) as partial,
        partial.open("wb") as raw,
        # without a name and a time, equal tables make equal files
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file,
        TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        for i, table in enumerate(tables):
            table.to_csv(text, header=i == 0, index=False, float_format="%.6g", lineterminator="\n")
