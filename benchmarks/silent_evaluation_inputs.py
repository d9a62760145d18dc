"""The inputs of silent_evaluation.py: what a lab might give to be scored, by kind of mistake."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2pix.evaluation import Metric, Protocol, evaluate_images, network, pixcorr
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.scoring import score_collections
from vox2pix.vision.image_processors import read_processor

N, SIZE, SAMPLES = 12, 24, "{id}_{sample}.png"
Images = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What an evaluation reported.

    Attributes
    ----------
    value : float
        PixCorr.
    expected : float or None
        What the undamaged input gives; None where nobody can know.
    notes : sequence of str
        All of its notes.
    words : sequence of str
        One of these is in the note that speaks of the mistake.
    """

    value: float
    expected: float | None
    notes: Sequence[str]
    words: Sequence[str]


Case = tuple[str, str, Callable[[Path], Answer]]


def _scenes() -> Images:
    rng = np.random.default_rng(0)
    across = np.linspace(0, 1, SIZE)
    found = np.empty((N, SIZE, SIZE, 3))
    for image in found:
        image[:] = rng.uniform(20, 120, 3)
        for _ in range(4):
            x, y, width = *rng.uniform(0.1, 0.9, 2), rng.uniform(0.05, 0.2)
            blob = np.exp(-((across[:, None] - y) ** 2 + (across - x) ** 2) / (2 * width**2))
            image += blob[..., None] * rng.uniform(-80, 160, 3)
    return found.clip(0, 255).astype(np.uint8)


SEEN = _scenes()
DRAWN = (SEEN + np.random.default_rng(1).normal(0, 40, SEEN.shape)).clip(0, 255).astype(np.uint8)
UNIT = DRAWN.astype(np.float32) / 255
RIGHT = float(pixcorr(SEEN / 255, DRAWN / 255).mean())
_PIXCORR = Protocol("default", "", (Metric("PixCorr", "pixcorr"),), "original", "scores", "")


def _score(
    truth: Path, drawn: Path, words: Sequence[str], right: float | None, **given: Any
) -> Answer:
    """Score two collections by PixCorr alone."""
    samples, files = given.get("samples"), given.get("truth_files")
    found = score_collections(
        open_images(truth, originals=files),
        open_images(drawn, samples, without=files if truth == drawn else None),
        _PIXCORR,
        lambda metric: network(str(metric.network)),
    )
    best = [record for record in found.records if record.samples.startswith("best")]
    record = best[0] if best and given.get("best") else found.records[0]
    return Answer(record.value, right, found.notes, words)


def _files(folder: Path, names: Sequence[str], images: Images) -> Path:
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


def _array(folder: Path, name: str, images: Images, ids: Any = None) -> Path:
    if ids is None:
        np.save(folder / f"{name}.npy", images)
        return folder / f"{name}.npy"
    np.savez(folder / f"{name}.npz", images=images, ids=ids)
    return folder / f"{name}.npz"


# --- ids and order -------------------------------------------------------------------------------


def _by_names(
    names: Sequence[str], others: Sequence[str], words: Sequence[str], folder: Path
) -> Answer:
    """Score files of some names against files of other names, both in the right order."""
    return _score(
        _files(folder / "seen", names, SEEN), _files(folder / "mine", others, DRAWN), words, RIGHT
    )


def _stacked(order: Sequence[int], files_are: str, words: Sequence[str], folder: Path) -> Answer:
    files, stacked = (SEEN, DRAWN) if files_are == "truth" else (DRAWN, SEEN)
    names = [f"{i}.png" for i in range(N)]
    sides = [_files(folder / "files", names, files), _array(folder, "stack", stacked[list(order)])]
    return _score(*(sides if files_are == "truth" else sides[::-1]), words, RIGHT)


def _reordered(order: Sequence[int], words: Sequence[str], folder: Path) -> Answer:
    drawn = DRAWN[list(order)]
    return _score(_array(folder, "seen", SEEN), _array(folder, "mine", drawn), words, RIGHT)


def _id_cases() -> Iterator[Case]:
    kind = "ids and order"
    numbers = [f"{i}.png" for i in range(N)]
    padded = [f"{i:04d}.png" for i in range(N)]
    text = sorted(range(N), key=str)
    for side in ("truth", "reconstructions"):
        yield kind, f"stack in text order, {side}", partial(_stacked, text, side, ["as text"])
        yield kind, f"stack by number, {side}", partial(_stacked, range(N), side, ["by number"])
    shuffled = np.random.default_rng(5).permutation(N).tolist()
    chance = ["no better than", "better with another", "reconstruction of another"]
    yield kind, "stack shuffled", partial(_stacked, shuffled, "truth", chance)
    rolled = np.roll(np.arange(N), 1).tolist()
    yield kind, "rows shifted by one", partial(_reordered, rolled, chance)
    yield kind, "rows shifted back", partial(_reordered, np.roll(np.arange(N), -1).tolist(), chance)
    yield kind, "rows reversed", partial(_reordered, list(range(N))[::-1], chance)
    swapped = [1, 0, *range(2, N)]
    yield kind, "two rows exchanged", partial(_reordered, swapped, chance)
    yield kind, "rows shuffled", partial(_reordered, shuffled, chance)
    yield kind, "leading zeros", partial(_by_names, numbers, padded, [])
    prefixed = [f"img_{i:04d}.png" for i in range(N)]
    yield kind, "prefix on one side", partial(_by_names, prefixed, padded, [])
    upper = [f"IMG_{i}.png" for i in range(N)]
    lower = [f"img_{i}.png" for i in range(N)]
    yield kind, "upper and lower case", partial(_by_names, upper, lower, [])
    one = [f"{i + 1}.png" for i in range(N)]
    yield kind, "counted from 0 and from 1", partial(_by_names, numbers, one, [])
    composed = [f"{unicodedata.normalize('NFC', 'é')}{i}.png" for i in range(N)]
    apart = [unicodedata.normalize("NFD", name) for name in composed]
    yield kind, "Unicode forms", partial(_by_names, composed, apart, [])

    def extensions(folder: Path) -> Answer:
        mine = _array(folder, "mine", DRAWN, [f"{i}.png" for i in range(N)])
        return _score(_files(folder / "seen", numbers, SEEN), mine, [], RIGHT)

    def unequal(folder: Path) -> Answer:
        return _score(_array(folder, "seen", SEEN), _array(folder, "mine", DRAWN[:-1]), [], RIGHT)

    def floats(folder: Path) -> Answer:
        mine = _array(folder, "mine", DRAWN[::-1], np.arange(N)[::-1].astype(float))
        return _score(_files(folder / "seen", numbers, SEEN), mine, [], RIGHT)

    yield kind, "extensions in ids", extensions
    yield kind, "one row too few", unequal
    yield kind, "ids as floats", floats


# --- samples -------------------------------------------------------------------------------------


def _samples(odd: str | None, images: Images | None, folder: Path, **given: Any) -> Answer:
    """Score five samples, with a file of another kind beside each stimulus' samples."""
    drawn = folder / "out"
    for s in range(5):
        noisy = np.roll(DRAWN, s, axis=1)
        _files(drawn, [f"{i:05d}_{s:03d}.png" for i in range(N)], noisy)
    if odd is not None and images is not None:
        _files(drawn, [f"{i:05d}_{odd}.png" for i in range(N)], images)
    truth = (
        drawn
        if given.get("truth_files")
        else _files(folder / "seen", [f"{i:05d}.png" for i in range(N)], SEEN)
    )
    return _score(truth, drawn, ["samples per stimulus"], None, samples=SAMPLES, **given)


def _sample_cases() -> Iterator[Case]:
    kind = "samples"
    for odd in ("org", "orig", "original", "gt", "GT", "truth", "mean", "grid"):
        yield kind, f"a sample called {odd}", partial(_samples, odd, SEEN)
    yield kind, "originals under a number", partial(_samples, "005", SEEN)

    def both_sides(folder: Path) -> Answer:
        answer = _samples("org", SEEN, folder, truth_files="{id}_org.png", best=True)
        return Answer(answer.value, RIGHT, answer.notes, [])

    def unequal(folder: Path) -> Answer:
        _files(folder / "mine", [f"{i}_0.png" for i in range(N)], DRAWN)
        _files(folder / "mine", ["0_1.png"], DRAWN[:1])
        truth = _array(folder, "seen", SEEN)
        return _score(truth, folder / "mine", [], None, samples=SAMPLES)

    def originals(folder: Path) -> Answer:
        both = np.stack([DRAWN, SEEN], axis=1)
        return _score(_array(folder, "seen", SEEN), _array(folder, "mine", both), [], None)

    def copies(folder: Path) -> Answer:
        mixed = np.concatenate([SEEN[:3], DRAWN[3:]])
        truth = _array(folder, "seen", SEEN)
        return _score(truth, _array(folder, "mine", mixed), ["identical to their original"], None)

    def foreign(folder: Path) -> Answer:
        mixed = np.concatenate([SEEN[6:9], DRAWN[3:]])
        words = ["identical to the original of another"]
        return _score(_array(folder, "seen", SEEN), _array(folder, "mine", mixed), words, None)

    def ignored(name: str, folder: Path) -> Answer:
        mine = _files(folder / "mine", [f"{i}.png" for i in range(N)], DRAWN)
        _files(mine, [name], SEEN[:1])
        seen = _files(folder / "seen", [f"{i}.png" for i in range(N)], SEEN)
        return _score(seen, mine, ["ignored"], None)

    yield kind, "originals and samples in one folder", both_sides
    yield kind, "unequal numbers", unequal
    yield kind, "originals as a sample of an array", originals
    yield kind, "some are copies of their original", copies
    yield kind, "some are copies of other originals", foreign
    for name in (".hidden.png", "deep/0.png", "0.tif", "0.gif"):
        yield kind, f"a file {name} that is not read", partial(ignored, name)


# --- values --------------------------------------------------------------------------------------


def _valued(drawn: Images, words: Sequence[str], right: float | None, folder: Path) -> Answer:
    return _score(_array(folder, "seen", SEEN), _array(folder, "mine", drawn), words, right)


def _value_cases() -> Iterator[Case]:
    kind = "scales and types"
    alpha = np.full((*UNIT.shape[:3], 1), 0.5, np.float32)
    checked: list[tuple[str, Images, list[str], float | None]] = [
        ("uint8 of 0 and 1", (UNIT > 0.5).astype(np.uint8), [], None),
        ("bool", UNIT > 0.5, ["bool"], None),
        ("floats of 0 and 1", (UNIT > 0.5).astype(float), ["0 and 1 only"], None),
        ("floats to 255", UNIT * 255, [], None),
        ("floats in [-1, 1]", UNIT * 2 - 1, [], None),
        ("[-1, 1] clipped to [0, 1]", (UNIT * 2 - 1).clip(0, 1), ["exactly 0"], None),
        ("[0, 1] mapped to [.5, 1]", (UNIT + 1) / 2, ["no value of"], RIGHT),
        ("divided by 255 twice", UNIT / 255, [], None),
        ("too bright, clipped", (UNIT * 4).clip(0, 1), ["largest value"], None),
        ("too dark by 8", DRAWN // 8, ["brightness", "no value above"], None),
        ("negatives", 255 - DRAWN, ["as negatives"], None),
        ("grey", DRAWN[..., 1], ["grey"], None),
        ("some grey", np.where(np.arange(N)[:, None, None, None] < 4, DRAWN[..., :1], DRAWN),
         ["grey"], None),
        ("red and blue exchanged", DRAWN[..., ::-1], ["red and blue"], None),
        ("of one colour", np.full_like(DRAWN, 90), ["of one colour"], None),
        ("black", np.zeros_like(DRAWN), ["of one colour"], None),
        ("float16", UNIT.astype(np.float16), [], RIGHT),
        ("float64, big-endian", UNIT.astype(">f8"), [], RIGHT),
        ("uint16", DRAWN.astype(np.uint16) * 257, [], None),
        ("int64", DRAWN.astype(np.int64), [], None),
        ("complex", UNIT.astype(complex), [], None),
        ("NaN in one", np.where(np.arange(N)[:, None, None, None] == 3, np.nan, UNIT), [], None),
        ("half transparent", np.concatenate([UNIT, alpha], axis=-1), [], None),
        ("opaque alpha", np.concatenate([UNIT, alpha * 2], axis=-1), [], RIGHT),
    ]  # fmt: skip
    for name, images, words, right in checked:
        yield kind, name, partial(_valued, images, words, right)
    kind = "shapes and sizes"
    shaped: list[tuple[str, Images, list[str], float | None]] = [
        ("channels first", np.moveaxis(DRAWN, -1, 1), ["before height"], RIGHT),
        ("3 x 3 pixels", DRAWN[:, :3, :3], [], None),
        ("3 rows", DRAWN[:, :3], [], None),
        ("one image", DRAWN[0], [], None),
        ("two channels", DRAWN[..., :2], [], None),
        ("height and width exchanged", np.swapaxes(DRAWN, 1, 2), ["height and width"], None),
        ("mirrored", DRAWN[:, :, ::-1], ["mirrored"], None),
        ("upside down", DRAWN[:, ::-1], ["upside down"], None),
        ("another aspect ratio", DRAWN[:, :, :18], ["aspect ratio"], None),
        ("half the size", DRAWN[:, ::2, ::2], ["12 x 12 pixels"], None),
    ]
    for name, images, words, right in shaped:
        yield kind, name, partial(_valued, images, words, right)


# --- files ---------------------------------------------------------------------------------------


def _saved(save: Callable[[Image.Image, Path], None], right: float | None, folder: Path) -> Answer:
    seen = _files(folder / "seen", [f"{i}.png" for i in range(N)], SEEN)
    (folder / "mine").mkdir()
    for i, image in enumerate(DRAWN):
        save(Image.fromarray(image), folder / "mine" / f"{i}.png")
    return _score(seen, folder / "mine", ["frames", "grey"], right)


def _file_cases() -> Iterator[Case]:
    kind = "files"

    def sixteen_bit(image: Image.Image, path: Path) -> None:
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)

    def transparent(image: Image.Image, path: Path) -> None:
        image.putalpha(100)
        image.save(path)

    def frames(image: Image.Image, path: Path) -> None:
        image.save(path, save_all=True, append_images=[image.rotate(90)])

    def turned(image: Image.Image, path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)

    def truncated(image: Image.Image, path: Path) -> None:
        image.save(path)
        path.write_bytes(path.read_bytes()[:-300])

    yield kind, "16 bits per channel", partial(_saved, sixteen_bit, None)
    yield kind, "transparency", partial(_saved, transparent, None)
    yield kind, "several frames", partial(_saved, frames, None)
    yield kind, "turned by EXIF", partial(_saved, turned, RIGHT)
    yield kind, "cut short", partial(_saved, truncated, None)
    yield (
        kind,
        "grey files",
        partial(_saved, lambda image, path: image.convert("L").save(path), None),
    )


# --- networks ------------------------------------------------------------------------------------


def _processor_cases() -> Iterator[Case]:
    kind = "settings of networks"
    full = {"size": 32, "resample": 3, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27] * 3}

    def read(files: dict[str, Any], folder: Path) -> Answer:
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        found = read_processor(folder)
        return Answer(float(found.mean[0]), 0.48, [], [])

    own, nested = "preprocessor_config.json", "processor_config.json"
    half = full | {"image_mean": [0.5] * 3}
    for name, files in (
        ("no settings", {}),
        ("nested settings only", {nested: {"image_processor": full}}),
        ("settings of text only", {nested: {"processor_class": "CLIPProcessor"}}),
        ("no mean", {own: {k: v for k, v in full.items() if k != "image_mean"}}),
        ("no deviation", {own: {k: v for k, v in full.items() if k != "image_std"}}),
        ("no filter", {own: {k: v for k, v in full.items() if k != "resample"}}),
        ("nearest neighbour", {own: full | {"resample": 0}}),
        ("padding", {own: full | {"do_pad": True}}),
        ("two files that disagree", {own: full, nested: {"image_processor": half}}),
    ):
        yield kind, name, partial(read, files)


# --- folders that do not belong together ---------------------------------------------------------


def _together_cases() -> Iterator[Case]:
    from vox2pix.evaluation import save_evaluation
    from vox2pix.report import compare_folders, pool_folders

    kind = "compare and pool"

    def evaluated(folder: Path, truth: Images, name: str, protocol: str) -> Path:
        source = _array(folder, f"{name}-seen", truth)
        found, info = evaluate_images(source, _array(folder, "mine", DRAWN), protocol=protocol)
        save_evaluation(found, folder / name, info)
        return folder / name

    def joined(join: Callable[..., Any], first: Any, second: Any, folder: Path) -> Answer:
        one = evaluated(folder, *first)
        two = evaluated(folder, *second)
        join([one, two])
        return Answer(0.0, None, [], [])

    plain = (SEEN, "one", "default")
    for join in (compare_folders, pool_folders):
        name = join.__name__.partition("_")[0]
        for protocols in (("default", "mindeye1"), ("mindeye1", "mindeye1-antialias")):
            first, second = ((SEEN, n, p) for n, p in zip(("one", "two"), protocols, strict=True))
            label = f"{name}, {' and '.join(protocols)}"
            yield kind, label, partial(joined, join, first, second)
    other = SEEN.copy()
    other[2] = 255 - other[2]
    yield (
        kind,
        "one original is another",
        partial(joined, compare_folders, plain, (other, "two", "default")),
    )
    larger = np.repeat(np.repeat(SEEN, 2, axis=1), 2, axis=2)
    yield (
        kind,
        "originals of another size",
        partial(joined, compare_folders, plain, (larger, "two", "default")),
    )
    yield (
        kind,
        "originals in another order",
        partial(joined, compare_folders, plain, (SEEN[::-1], "two", "default")),
    )


CASES: tuple[Case, ...] = (
    *_id_cases(),
    *_sample_cases(),
    *_value_cases(),
    *_file_cases(),
    *_processor_cases(),
    *_together_cases(),
)
