from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.images import noisy, save_files, scenes
from vox2pix.errors import UserError
from vox2pix.evaluation import evaluate_images
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.inputs._survey import survey
from vox2pix.evaluation.inputs.pairing import pair

IMAGES = scenes(8)
DRAWN = noisy(IMAGES)[:, 0]
UNIT = DRAWN.astype(np.float32) / 255


def evaluated(tmp_path: Path, drawn: np.ndarray):
    np.save(tmp_path / "truth.npy", IMAGES)
    np.save(tmp_path / "drawn.npy", drawn)
    return evaluate_images(tmp_path / "truth.npy", tmp_path / "drawn.npy")[0]


def noted(tmp_path: Path, drawn: np.ndarray) -> str:
    """Only look at the images."""
    np.save(tmp_path / "truth.npy", IMAGES)
    np.save(tmp_path / "drawn.npy", drawn)
    sides = [open_images(tmp_path / name) for name in ("truth.npy", "drawn.npy")]
    return "\n".join(survey(*sides, pair(*sides)).notes)


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ((DRAWN > 128).astype(np.uint8), "is uint8, and its 8 images hold the values 0 and 1 only"),
        (UNIT / 255, r"no value of its 8 images is above 1/255 \(the largest is 0.0039\)"),
        ((UNIT / 255).astype(np.float16), "is float16, and no value"),
        (UNIT * 255, "Divide values up to 255 by 255"),
        (UNIT * 2 - 1, r"take \(x \+ 1\) / 2"),
        (DRAWN.astype(np.uint16), "is uint16. Save images as uint8"),
        (DRAWN.astype(np.int16), "is int16"),
        (UNIT.astype(complex), "is complex"),
        (np.dstack([UNIT.reshape(-1, 24, 3), np.full((192, 24), 0.5)]).reshape(8, 24, 24, 4),
         "is transparent"),
        (UNIT[0], r"has shape \(24, 24, 3\), which is one colour image, or 24 grey images"),
        (UNIT[:, :3], r"channels may come first or last"),
        (UNIT[:, :3, :3], r"channels may come first or last"),
    ],
)  # fmt: skip
def test_values_on_another_scale_are_refused(drawn: np.ndarray, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        noted(tmp_path, drawn)


GREY = DRAWN[..., 1]


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (GREY, "8 of 8 reconstructions are grey (0 of 8 originals): grey is repeated"),
        (np.concatenate([np.repeat(GREY[:3, ..., None], 3, -1), DRAWN[3:]]), "3 of 8 reconstruct"),
        ((UNIT * 2 - 1).clip(0, 1), "% in the originals): were values in [-1, 1] clipped"),
        ((UNIT * 4).clip(0, 1), "exactly the largest value"),
        ((UNIT + 1) / 2, "no value of the reconstructions is below 0.5"),
        (DRAWN // 12, "8 of 8 reconstructions hold no value above 0.1 of the scale"),
        (DRAWN // 6, "reconstructions have a mean brightness of"),
        ((DRAWN > 128), "reconstructions are stored as bool, read as 0 and 1"),
        ((DRAWN > 128).astype(float), "8 of 8 reconstructions are stored as the values 0 and 1"),
        (np.full_like(DRAWN, 9), "8 of 8 reconstructions are of one colour throughout"),
        (np.moveaxis(DRAWN, -1, 1), "channels are read before height and width"),
        (DRAWN[:, :, :18], "8 of 8 reconstructions have another aspect ratio than their original"),
        (DRAWN[:, ::2, ::2], "originals of 24 x 24 pixels, reconstructions of 12 x 12 pixels"),
    ],
)
def test_unusual_values_are_noted(drawn: np.ndarray, words: str, tmp_path: Path) -> None:
    assert words not in noted(tmp_path, DRAWN)
    assert words in noted(tmp_path, drawn)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_of_every_precision_score_alike(kind, tmp_path: Path) -> None:
    expected = evaluated(tmp_path, DRAWN)
    found = evaluated(tmp_path, UNIT.astype(kind))
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-2)
    np.testing.assert_allclose(found.scores["PixCorr"], expected.scores["PixCorr"], atol=1e-3)
    assert found.notes == expected.notes


def test_an_opaque_alpha_and_half_precision_tensors(tmp_path: Path) -> None:
    expected = evaluated(tmp_path, DRAWN)
    opaque = np.concatenate([UNIT, np.ones((8, 24, 24, 1), np.float32)], axis=-1)
    np.testing.assert_array_equal(evaluated(tmp_path, opaque).scores, expected.scores)
    torch.save(torch.from_numpy(UNIT).to(torch.bfloat16), tmp_path / "a.pt")
    found, _ = evaluate_images(tmp_path / "truth.npy", tmp_path / "a.pt")
    np.testing.assert_allclose(found.scores["PixCorr"], expected.scores["PixCorr"], atol=1e-2)


def test_identical_images_have_one_digest_whatever_their_file(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(8)]
    folder = save_files(tmp_path / "seen", names, IMAGES)
    np.savez(tmp_path / "seen.npz", images=IMAGES[::-1] / 255, ids=list(range(8))[::-1])
    np.savez(tmp_path / "mine.npz", images=DRAWN, ids=list(range(8)))
    one, _ = evaluate_images(folder, tmp_path / "mine.npz")
    two, _ = evaluate_images(tmp_path / "seen.npz", tmp_path / "mine.npz")
    assert dict(zip(one.scores.index, one.originals, strict=True)) == dict(
        zip(two.scores.index, two.originals, strict=True)
    )
    assert len(set(one.originals)) == 8
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    np.savez(tmp_path / "seen.npz", images=changed, ids=list(range(8)))
    three, _ = evaluate_images(tmp_path / "seen.npz", tmp_path / "mine.npz")
    assert [a == b for a, b in zip(one.originals, three.originals, strict=True)] == [
        i != 3 for i in range(8)
    ]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(np.full((8, 8), 700, np.uint16)), "more than 8 bits per channel"),
        (Image.fromarray(IMAGES[0]).convert("LA"), None),
        (Image.fromarray(IMAGES[0]).convert("1"), None),
    ],
)
def test_modes_of_files(image: Image.Image, words: str | None, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    if words:
        with pytest.raises(UserError, match=words):
            open_images(tmp_path).image(0)
    else:
        expected = np.asarray(image.convert("RGB")) / np.float32(255)
        np.testing.assert_array_equal(open_images(tmp_path).image(0), expected)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.arange(8.0), None),
        (np.array([b"%d" % i for i in range(8)]), None),
        (np.arange(8) + 0.5, "the id 0.5 is no whole number"),
        (np.full(8, np.nan), "the id nan is no whole number"),
        (np.arange(8)[:, None], r"ids have the shape \(8, 1\)"),
    ],
)
def test_ids_of_every_type(ids: np.ndarray, words: str | None, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=DRAWN, ids=ids)
    if words:
        with pytest.raises(UserError, match=words):
            open_images(tmp_path / "a.npz")
    else:
        assert open_images(tmp_path / "a.npz").ids == tuple(map(str, range(8)))
