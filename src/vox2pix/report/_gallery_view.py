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
from vox2pix.report.gallery import Gallery
from vox2pix.report.labels import CEILING, CONTROL, DECODED, SEEN, Label, Metric, in_group, label
from vox2pix.store import ShardedArray

_GROUP = 4  # images of each: best, median, worst


@dataclass(frozen=True, eq=False)
class Column:
    """One column of images.

    ``images`` are uint8 (n_stimuli, n_samples, height, width, 3) or (n_stimuli, height, width, 3),
    of which ``rows`` (n_shown,) are shown; ``in_row`` tells whether in the gallery's rows, or only
    in the opened image.
    """

    key: str
    label: Label
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
    """List a run's columns: seen, from the brain, ceiling; the rest only when opened."""
    drawn = [name for name in run.conditions if name in run.drawings]
    decoded, ceilings = in_group(drawn, DECODED), in_group(drawn, CEILING)
    columns = [seen_column(run, np.arange(len(run.stimulus_ids)))]
    for name in (*decoded, *ceilings, *in_group(drawn, CONTROL)):
        images = run.drawings[name]
        shown = name in (*decoded, *ceilings[:1])
        columns.append(Column(name, label(name), images, np.arange(images.shape[0]), shown))
    return [column for column in columns if column is not None]


def seen_column(run: RunContents, rows: NDArray[np.intp]) -> Column | None:
    """Return the column of what was seen; None where the run folder does not hold it."""
    images = ShardedArray.existing(run.path / "gallery" / "originals") if run.gallery else None
    if images is None:
        return None
    return Column(SEEN, label(SEEN), images, rows, True)


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

    ``scores`` are as in ``scores.csv``, with the columns' keys as ``condition``; ``judged`` is the
    column that rows are sorted by at first.
    """
    gallery = captions_of.gallery
    urls = {column.key: _urls(column, stimulus_ids, assets) for column in columns}
    metrics, values = _values(stimulus_ids, [c.key for c in columns], scores, protocol)
    rows = {name: i for i, name in enumerate(gallery.stimulus_ids)} if gallery else {}
    gallery_rows = [rows.get(name) for name in stimulus_ids]
    captions = [_captions(gallery, row) for row in gallery_rows]
    words = caption_words(captions)
    nearest = _nearest(captions_of, gallery_rows, stimulus_ids, assets)
    in_row = [c for c in columns if c.in_row]
    images = [
        {
            "id": name,
            "captions": captions[i],
            "shows": words[i],
            "more": {c.key: urls[c.key][i][int(c.in_row) :] for c in columns},  # beyond the row's
            "nearest": nearest[i],
        }
        for i, name in enumerate(stimulus_ids)
    ]
    data = {
        "columns": [
            {"key": c.key, "heading": c.label.heading, "note": c.label.note, "inRow": c.in_row}
            for c in columns
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
        rows=tuple(
            _row(name, captions[i], in_row, {c.key: urls[c.key][i] for c in in_row})
            for i, name in enumerate(stimulus_ids)
        ),
        metrics=tuple(metrics),
        has_captions=any(captions),
        categories=tuple(sorted(Counter(word for each in words for word in each).items())),
        is_incomplete=any(not each for key in urls for each in urls[key]),
        data=data,
    )


def _row(
    name: str, captions: Sequence[str], columns: Sequence[Column], urls: Mapping[str, Sequence[str]]
) -> Row:
    """Lay out one test image: its first sample in each column."""
    tiles = tuple(
        {
            "key": column.key,
            "heading": column.label.heading,
            "url": urls[column.key][0] if urls[column.key] else "",
            "alt": _alt(column, name, captions),
        }
        for column in columns
    )
    return Row(name, captions[0] if captions else "", tiles)


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
    nearest: list[list[dict[str, Any]]] = [[] for _ in rows]
    table = run.gallery.nearest if run.gallery else None
    images = ShardedArray.existing(run.path / "gallery" / "nearest")
    if table is None or images is None:
        return nearest
    shown = [i for i, row in enumerate(rows) if row is not None]
    in_table = np.array([rows[i] for i in shown], np.intp)
    column = Column("nearest", Label("nearest"), images, in_table, False)
    urls = _urls(column, [stimulus_ids[i] for i in shown], assets)
    for i, row, addresses in zip(shown, in_table, urls, strict=True):
        nearest[i] = [
            {"id": name, "distance": round(distance, 4), "url": url}
            for name, distance, url in zip(
                table.stimulus_ids[row], table.distances[row], addresses, strict=True
            )
        ]
    return nearest


def _alt(column: Column, stimulus_id: str, captions: Sequence[str]) -> str:
    """Describe an image to those who cannot see it."""
    name = f"Image {stimulus_id}" + (f", {captions[0]}" if captions else "")
    heading, note, _ = column.label
    return f"{name}: {heading}" + (f", {note}" if note else "")
