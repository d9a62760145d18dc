"""One pass over all images before anything is scored: scale, pairing, copies of originals."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.pairing import Pairs
from vox2pix.evaluation.inputs.plausibility import pairing_notes, text_order_is_meant
from vox2pix.evaluation.inputs.values import (
    ImageFacts,
    image_facts,
    refuse_other_scales,
    unit_values,
    value_notes,
)
from vox2pix.vision.images import Images, resize_images

THUMBNAIL = 16  # pixels
_COPY = 0.01  # largest difference of two thumbnails of one image, apart from compression
_SIDES = ("originals", "reconstructions")

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Survey:
    """The result of one pass over both sides.

    The pairs in the order that the images support, a digest of each original in that order, and
    notes on what is unusual and how it is treated.
    """

    pairs: Pairs
    digests: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Side:
    """One side as the pass saw it; ``thumbnails`` are (n, n_samples, 16, 16, 3)."""

    facts: list[ImageFacts]
    shapes: list[tuple[int, int]]
    thumbnails: NDArray[np.float32]
    digests: list[str]


def survey(
    truth: ImageCollection,
    reconstructions: ImageCollection,
    pairs: Pairs,
    advance: Advance = lambda n, total: None,
) -> Survey:
    """Look at every image once; refuse other scales, what cannot be used, samples of originals."""
    total = len(pairs.ids) * (1 + reconstructions.n_samples)
    seen = _look(truth, pairs.truth_rows, advance, total)
    drawn = _look(reconstructions, pairs.reconstruction_rows, advance, total)
    for collection, side in ((truth, seen), (reconstructions, drawn)):
        refuse_other_scales(collection.source, side.facts)
    own = seen.thumbnails[:, 0]
    pairs, drawn, order_note = _settled(truth, reconstructions, pairs, own, drawn)
    notes = [
        f"{len(pairs.ids)} stimuli, paired {pairs.by}; {_plural(drawn.thumbnails.shape[1])} each",
        *order_note,
        *truth.notes,
        *reconstructions.notes,
        *value_notes(dict(zip(_SIDES, (seen.facts, drawn.facts), strict=True))),
        *_copies(reconstructions, pairs, seen, drawn),
        *pairing_notes(own, drawn.thumbnails),
        *_shape_notes(seen, drawn),
    ]
    return Survey(pairs, tuple(seen.digests), tuple(notes))


def digest(image: Images) -> str:
    """Return 16 hex digits that identify an image (height, width, 3) by size and 16-bit values."""
    values = np.round(image.astype(np.float64) * 65535).astype("<u2")
    return hashlib.sha256(f"{image.shape}".encode() + values.tobytes()).hexdigest()[:16]


def _look(
    collection: ImageCollection, rows: tuple[int, ...], advance: Advance, total: int
) -> _Side:
    shape = (len(rows), collection.n_samples, THUMBNAIL, THUMBNAIL, 3)
    side = _Side([], [], np.empty(shape, np.float32), [])
    for place, row in enumerate(rows):
        for sample in range(collection.n_samples):
            raw = collection.raw(row, sample)
            image = unit_values(raw, collection.named(row, sample))
            side.facts.append(image_facts(raw, image))
            side.shapes.append((image.shape[0], image.shape[1]))
            side.digests.append(digest(image))
            side.thumbnails[place, sample] = resize_images(image[None], THUMBNAIL)[0]
            advance(1, total)
    return side


def _settled(
    truth: ImageCollection,
    reconstructions: ImageCollection,
    pairs: Pairs,
    own: NDArray[np.float32],
    drawn: _Side,
) -> tuple[Pairs, _Side, list[str]]:
    """Choose between the two orders of file names where the images leave no room for chance."""
    if not pairs.other_rows:
        return pairs, drawn, []
    order = np.array(pairs.other_rows)
    evidence = text_order_is_meant(own, drawn.thumbnails, order)
    if not evidence.meant:
        return pairs, drawn, [f"file names are ordered by their numbers ({evidence.words})"]
    n_samples = drawn.thumbnails.shape[1]
    moved = [row * n_samples + sample for row in order for sample in range(n_samples)]
    ids = tuple(reconstructions.ids[row] for row in order) if truth.numbered else pairs.ids
    reordered = replace(pairs, ids=ids, reconstruction_rows=pairs.other_rows, other_rows=())
    turned = _Side(
        [drawn.facts[i] for i in moved],
        [drawn.shapes[i] for i in moved],
        drawn.thumbnails[order],
        [drawn.digests[i] for i in moved],
    )
    words = f"file names are ordered as text, 10 before 2 ({evidence.words}); check this order"
    return reordered, turned, [words]


def _copies(
    reconstructions: ImageCollection, pairs: Pairs, seen: _Side, drawn: _Side
) -> Iterator[str]:
    """Yield how many reconstructions are copies of an original; refuse a sample of originals."""
    n, n_samples = drawn.thumbnails.shape[:2]
    names = reconstructions.sample_names or tuple(map(str, range(n_samples)))
    digests = np.array(drawn.digests).reshape(n, n_samples)
    equal = digests == np.array(seen.digests)[:, None]
    whole = np.flatnonzero(equal.all(axis=0))
    if len(whole) and n_samples > len(whole):
        raise UserError(
            f"{reconstructions.source}: sample {names[whole[0]]!r} equals the original of all {n} "
            "stimuli, the other samples do not. Leave the originals out of the samples."
        )
    if equal.any():
        place = int(np.flatnonzero(equal.any(axis=1))[0])
        yield (
            f"{int(equal.sum())} of {equal.size} reconstructions are identical to their original "
            f"(the first is {pairs.ids[place]!r})"
        )
    varied = np.ptp(seen.thumbnails, axis=(1, 2, 3, 4)) > 2 * _COPY
    apart = np.abs(drawn.thumbnails - seen.thumbnails).max(axis=(2, 3, 4))
    near = (apart <= _COPY) & ~equal & varied[:, None]
    if near.any():
        place = int(np.flatnonzero(near.any(axis=1))[0])
        yield (
            f"{int(near.sum())} of {near.size} reconstructions are nearly identical to their "
            f"original at {THUMBNAIL} px (the first is {pairs.ids[place]!r})"
        )
    row_of = {name: row for row, name in enumerate(seen.digests)}
    foreign = [
        row
        for row in range(n)
        for name in digests[row]
        if name in row_of and name != seen.digests[row]
    ]
    if foreign:
        yield (
            f"{len(foreign)} of {equal.size} reconstructions are identical to the original of "
            f"another stimulus (the first is {pairs.ids[foreign[0]]!r})"
        )


def _shape_notes(seen: _Side, drawn: _Side) -> Iterator[str]:
    """Yield the sizes, and how many images are squeezed to that of their original."""
    n_samples = drawn.thumbnails.shape[1]
    others = [
        own
        for row, shape in enumerate(seen.shapes)
        for own in drawn.shapes[row * n_samples : (row + 1) * n_samples]
        if abs(shape[0] * own[1] - shape[1] * own[0]) > max(*shape, *own)
    ]
    if others:
        yield (
            f"{len(others)} of {len(drawn.shapes)} reconstructions have another aspect ratio than "
            "their original, and are squeezed to the same size"
        )
    sizes = zip(_SIDES, (seen.shapes, drawn.shapes), strict=True)
    yield ", ".join(f"{name} of {_sizes(shapes)} pixels" for name, shapes in sizes)


def _plural(n: int) -> str:
    return f"{n:,} sample{'s' * (n != 1)}"


def _sizes(shapes: list[tuple[int, int]]) -> str:
    smallest, largest = min(shapes), max(shapes)
    text = f"{smallest[0]} x {smallest[1]}"
    return text if smallest == largest else f"{text} to {largest[0]} x {largest[1]}"
