"""What the stored values of an image mean: scale, channels, transparency."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.vision.images import Images

_OVERSHOOT = 1e-3  # of floats, by rounding
_STEP = 1 / 255  # of 8-bit values
_DARK = 0.1  # an image without a brighter value
_CLIPPED = 0.2  # share of values at 0 or 1 that only one side has
_RATIO = 4.0  # of the mean brightness of the two sides
_RAISED = 0.4  # least value of a collection


@dataclass(frozen=True)
class ImageFacts:
    """What a stored image says about the scale of its collection.

    ``kind`` is the data type as stored; ``zeros`` and ``ones`` are shares of values that are
    exactly so; ``binary`` means that the stored values are 0 and 1 only, and both.
    """

    kind: str
    low: float
    high: float
    mean: float
    zeros: float
    ones: float
    binary: bool
    grey: bool
    constant: bool


def unit_values(raw: NDArray[Any], what: str) -> Images:
    """Return an image as float32 RGB in [0, 1], (height, width, 3).

    ``raw`` is uint8, bool or float in [0, 1], (height, width) or with 1, 3 or 4 channels. Another
    type, NaN, values outside and transparency are refused; ``what`` names the image in the message.
    """
    if raw.ndim == 2:
        raw = raw[..., None]
    if raw.dtype == np.uint8:
        values = raw.astype(np.float32) / np.float32(255)
    elif raw.dtype == np.bool_ or np.issubdtype(raw.dtype, np.floating):
        values = raw.astype(np.float32)
    else:
        raise UserError(f"{what} is {raw.dtype}. Save images as uint8 or as floats in [0, 1].")
    if not np.isfinite(values).all():
        raise UserError(f"{what} holds NaN or infinite values. Draw it again or leave it out.")
    low, high = float(values.min()), float(values.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise UserError(
            f"{what} has values from {low:g} to {high:g}, and floats must be in [0, 1]. Divide "
            "values up to 255 by 255, or take (x + 1) / 2 of values in [-1, 1]."
        )
    if values.shape[-1] == 4:
        if values[..., 3].min() < 1:
            raise UserError(f"{what} is transparent. Lay it over a background and save it as RGB.")
        values = values[..., :3]
    return np.ascontiguousarray(np.broadcast_to(values.clip(0, 1), (*values.shape[:2], 3)))


def image_facts(raw: NDArray[Any], image: Images) -> ImageFacts:
    """Return what is needed to judge the scale of a collection, of an image and its unit values."""
    stored = raw[..., :3] if raw.ndim == 3 and raw.shape[-1] == 4 else raw
    return ImageFacts(
        kind=str(raw.dtype),
        low=float(image.min()),
        high=float(image.max()),
        mean=float(image.mean(dtype=np.float64)),
        zeros=float(np.mean(image == 0)),
        ones=float(np.mean(image == 1)),
        binary=bool(stored.max() == 1 and ((stored == 0) | (stored == 1)).all()),
        grey=bool((image == image[..., :1]).all()),
        constant=bool((image == image[:1, :1]).all()),
    )


def refuse_other_scales(source: Path, facts: list[ImageFacts]) -> None:
    """Refuse a collection whose 8-bit values are all 0 and 1, or whose floats are below 1/255."""
    high = max(each.high for each in facts)
    kinds = {each.kind for each in facts}
    if not 0 < high <= _STEP * (1 + _OVERSHOOT):
        return
    if kinds == {"uint8"}:
        raise UserError(
            f"{source} is uint8, and its {len(facts):,} images hold the values 0 and 1 only. "
            "Black and white would be 0 and 255: save values from 0 to 255, or floats in [0, 1]."
        )
    raise UserError(
        f"{source} is {', '.join(sorted(kinds))}, and no value of its {len(facts):,} images is "
        f"above 1/255 (the largest is {high:.2g}). Values seem to have been divided by 255 twice: "
        "save floats in [0, 1]."
    )


def value_notes(sides: dict[str, list[ImageFacts]]) -> Iterator[str]:
    """Yield what is unusual about the values of originals and reconstructions, by these names."""
    (one, two) = sides
    for name, other in ((one, two), (two, one)):
        facts, beside = sides[name], sides[other]
        yield from _counted(
            name,
            facts,
            "constant",
            "of one colour throughout; where a correlation is not defined it counts as 0 (the "
            "released scripts give NaN)",
        )
        n_grey, n_grey_beside = (sum(each.grey for each in f) for f in (facts, beside))
        if n_grey and n_grey * len(beside) != n_grey_beside * len(facts):
            yield (
                f"{n_grey} of {len(facts)} {name} are grey ({n_grey_beside} of {len(beside)} "
                f"{other}): grey is repeated over the three colours"
            )
        yield from _counted(name, facts, "binary", "stored as the values 0 and 1 only")
        kinds = sorted({each.kind for each in facts} - {"uint8"})
        if "bool" in kinds:
            yield f"{name} are stored as bool, read as 0 and 1"
        dark = [each for each in facts if each.high < _DARK and not each.constant]
        if dark:
            yield (
                f"{len(dark)} of {len(facts)} {name} hold no value above {_DARK:g} of the scale "
                f"(the largest is {max(each.high for each in dark):.3f}): are they too dark by a "
                "factor?"
            )
        yield from _against(name, facts, other, beside)


def _against(
    name: str, facts: list[ImageFacts], other: str, beside: list[ImageFacts]
) -> Iterator[str]:
    """Yield what one collection has and the other has not."""
    for share, end, words in (
        ("zeros", "0", "were values in [-1, 1] clipped to [0, 1]?"),
        ("ones", "the largest value", "were brighter values clipped?"),
    ):
        own, others = (float(np.mean([getattr(e, share) for e in f])) for f in (facts, beside))
        if own > _CLIPPED and own > _RATIO * others and not all(e.constant for e in facts):
            yield (
                f"{own:.0%} of the values of the {name} are exactly {end} ({others:.0%} in the "
                f"{other}): {words}"
            )
    own, others = (float(np.mean([each.mean for each in f])) for f in (facts, beside))
    if own * _RATIO < others:
        yield (
            f"{name} have a mean brightness of {own:.3f}, {other} of {others:.3f} (of 1): are "
            "both on the same scale?"
        )
    low, low_beside = (min(each.low for each in f) for f in (facts, beside))
    if low > _RAISED > low_beside and not all(each.constant for each in facts):
        yield (
            f"no value of the {name} is below {low:.2f} (the least of the {other} is "
            f"{low_beside:.2f}): was (x + 1) / 2 taken of values in [0, 1]?"
        )


def _counted(name: str, facts: list[ImageFacts], what: str, words: str) -> Iterator[str]:
    """Yield how many images have a property, if any has."""
    n = sum(getattr(each, what) for each in facts)
    if n:
        yield f"{n} of {len(facts)} {name} are {words}"
