"""The gallery of a page: what each test image looks like under each condition."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.report.assets import Assets
from vox2pix.report.categories import caption_words
from vox2pix.report.contents import RunContents
from vox2pix.report.gallery import Gallery, open_images
from vox2pix.report.wording import CEILINGS, DECODED, Metric, heading, small_print
from vox2pix.store import ShardedArray

_GROUP = 4  # images of each: best, median, worst


@dataclass(frozen=True, eq=False)
class Column:
    """One column of images.

    Attributes
    ----------
    key : str
        Its name in the page, unlike the others.
    heading, note : str
        What stands over it.
    images : ShardedArray
        (n_stimuli, n_samples, height, width, 3) or (n_stimuli, height, width, 3), uint8.
    rows : ndarray of int, shape (n_shown,)
        The row of each shown stimulus in ``images``.
    in_row : bool
        Whether it stands in the gallery's rows, or only in the opened image.
    """

    key: str
    heading: str
    note: str
    images: ShardedArray
    rows: NDArray[np.intp]
    in_row: bool


@dataclass(frozen=True)
class Row:
    """One test image: its name, its first caption, and one image a column."""

    stimulus_id: str
    caption: str
    tiles: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class GalleryView:
    """What the template shows, and what the page's script needs to sort, filter and open.

    ``categories`` are words, each with the number of images that show it.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]
    has_captions: bool
    categories: tuple[tuple[str, int], ...]
    is_incomplete: bool
    data: Mapping[str, Any]


def columns_of(run: RunContents) -> list[Column]:
    """List a run's columns: seen, from the brain, ceiling; the rest only when opened.

    Parameters
    ----------
    run : RunContents
        The run.
    """
    drawn = [name for name in (*DECODED, *CEILINGS) if name in run.drawings]
    drawn += [name for name in run.drawings if name not in drawn]
    ceiling = next((name for name in CEILINGS if name in drawn), None)
    columns = [seen_column(run, np.arange(len(run.stimulus_ids)))]
    for name in drawn:
        images = run.drawings[name]
        shown = name in DECODED or name == ceiling
        rows = np.arange(images.shape[0])
        columns.append(Column(name, heading(name), small_print(name), images, rows, shown))
    return [column for column in columns if column is not None]


def seen_column(run: RunContents, rows: NDArray[np.intp]) -> Column | None:
    """Return the column of what was seen; None where the run folder does not hold it."""
    images = open_images(run.path / "gallery" / "originals") if run.gallery else None
    if images is None:
        return None
    return Column("seen", "seen", "the original", images, rows, True)


def gallery_view(
    stimulus_ids: Sequence[str],
    columns: Sequence[Column],
    scores: pd.DataFrame,
    assets: Assets,
    *,
    judged: str,
    captions_of: RunContents,
    protocol: str,
) -> GalleryView:
    """Store all images and lay the gallery out.

    Parameters
    ----------
    stimulus_ids : sequence of str, length n_shown
        The test images that are shown.
    columns : sequence of Column
        What is shown of each.
    scores : DataFrame
        As ``scores.csv``; ``condition`` holds the columns' keys.
    assets : Assets
        Where the images go.
    judged : str
        Key of the column that they are sorted by at first.
    captions_of : RunContents
        Whose captions and nearest training images are told.
    protocol : str
        By whose definitions they were scored.
    """
    gallery = captions_of.gallery
    urls = {column.key: _urls(column, stimulus_ids, assets) for column in columns}
    metrics, values = _values(stimulus_ids, [c.key for c in columns], scores, protocol)
    position = {name: i for i, name in enumerate(gallery.stimulus_ids)} if gallery else {}
    told = [position.get(name) for name in stimulus_ids]
    captions = [_captions(gallery, row) for row in told]
    shows = caption_words(captions)
    nearest = _nearest(captions_of, told, stimulus_ids, assets)
    in_row = [column for column in columns if column.in_row]
    rows = [
        Row(
            name,
            captions[i][0] if captions[i] else "",
            tuple(
                {
                    "key": column.key,
                    "heading": column.heading,
                    "url": urls[column.key][i][0] if urls[column.key][i] else "",
                    "alt": _alt(column, name, captions[i]),
                }
                for column in in_row
            ),
        )
        for i, name in enumerate(stimulus_ids)
    ]
    images = [
        {
            "id": name,
            "captions": captions[i],
            "shows": shows[i],
            "more": {  # the first of a column that stands in the row is in the row already
                column.key: urls[column.key][i][1 if column.in_row else 0 :] for column in columns
            },
            "nearest": nearest[i],
        }
        for i, name in enumerate(stimulus_ids)
    ]
    data = {
        "columns": [
            {"key": c.key, "heading": c.heading, "note": c.note, "inRow": c.in_row} for c in columns
        ],
        "metrics": [
            {"label": m.label, "percent": m.is_share, "lowIsGood": m.low_is_good} for m in metrics
        ],
        "scores": values,
        "images": images,
        "judged": judged,
        "metric": _identification(metrics),
        "group": _GROUP,
        "measure": gallery.nearest.measure if gallery and gallery.nearest else "",
    }
    return GalleryView(
        columns=tuple(in_row),
        rows=tuple(rows),
        metrics=tuple(metrics),
        has_captions=any(captions),
        categories=tuple(sorted(Counter(word for words in shows for word in words).items())),
        is_incomplete=any(not each for key in urls for each in urls[key]),
        data=data,
    )


def _urls(column: Column, stimulus_ids: Sequence[str], assets: Assets) -> list[list[str]]:
    """Store a column's images, a shard at a time; those not drawn yet have no address."""
    urls: list[list[str]] = [[] for _ in stimulus_ids]
    for shown, samples in _by_shard(column):
        flat = [
            (i, k, each)
            for i, images in zip(shown, samples, strict=True)
            for k, each in enumerate(images)
        ]
        names = [f"{i:05d}-{stimulus_ids[i]}-{column.key}-{k}" for i, k, _ in flat]
        addresses = assets.images(names, [each for _, _, each in flat])
        for (i, _, _), address in zip(flat, addresses, strict=True):
            urls[i].append(address)
    return urls


def _by_shard(column: Column) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    """Yield shown stimuli and their samples (n_samples, height, width, 3) of each sound shard."""
    images = column.images
    of_shard = column.rows // images.shard_size
    for shard in np.unique(of_shard):
        shown = np.flatnonzero(of_shard == shard).tolist()
        try:
            values = images.read(int(shard))
        except UserError:  # not drawn yet
            continue
        values = values[:, None] if values.ndim == 4 else values
        yield shown, [values[column.rows[i] % images.shard_size] for i in shown]


def _values(
    stimulus_ids: Sequence[str], keys: Sequence[str], scores: pd.DataFrame, protocol: str
) -> tuple[list[Metric], list[dict[str, list[float | None]]]]:
    """Return the metrics of single images and, for each, every column's scores by image."""
    metrics, values = [], []
    for (name, direction), of_metric in scores.groupby(["metric", "direction"], sort=False):
        wide = of_metric.pivot(index="stimulus_id", columns="condition", values="score")
        wide = wide.reindex(index=list(stimulus_ids))
        metrics.append(Metric(protocol, str(name), str(direction)))
        values.append(
            {
                key: [round(v, 4) if np.isfinite(v) else None for v in wide[key].astype(float)]
                for key in dict.fromkeys((*keys, *wide.columns))
                if key in wide
            }
        )
    return metrics, values


def _identification(metrics: Sequence[Metric]) -> int:
    """Return which metric the gallery is sorted by at first: identification, else the first."""
    return next((i for i, m in enumerate(metrics) if m.is_share), 0)


def _captions(gallery: Gallery | None, row: int | None) -> list[str]:
    captions = gallery.captions if gallery else None
    return list(captions[row]) if captions is not None and row is not None else []


def _nearest(
    run: RunContents, rows: Sequence[int | None], stimulus_ids: Sequence[str], assets: Assets
) -> list[list[dict[str, Any]]]:
    """Store the nearest training images of each shown stimulus."""
    none: list[list[dict[str, Any]]] = [[] for _ in rows]
    table = run.gallery.nearest if run.gallery else None
    images = open_images(run.path / "gallery" / "nearest")
    if table is None or images is None:
        return none
    known = [i for i, row in enumerate(rows) if row is not None]
    where = np.array([rows[i] for i in known], np.intp)
    column = Column("nearest", "", "", images, where, False)
    urls = _urls(column, [stimulus_ids[i] for i in known], assets)
    for i, row, addresses in zip(known, where, urls, strict=True):
        none[i] = [
            {"id": name, "distance": round(distance, 4), "url": url}
            for name, distance, url in zip(
                table.stimulus_ids[row], table.distances[row], addresses, strict=True
            )
        ]
    return none


def _alt(column: Column, stimulus_id: str, captions: Sequence[str]) -> str:
    """Say what an image shows to who cannot see it."""
    what = f"Image {stimulus_id}" + (f", {captions[0]}" if captions else "")
    return f"{what}: {column.heading}" + (f", {column.note}" if column.note else "")
