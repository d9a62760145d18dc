import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from evaluation.images import noisy, save_files, scenes
from vox2pix.errors import UserError
from vox2pix.evaluation import evaluate_images
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.inputs._survey import survey
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.pairing import pair

BLACK = np.zeros((4, 4, 3), np.uint8)


def named(*ids: str, source: str = "side", numbered: bool = False) -> ImageCollection:
    return ImageCollection(Path(source), ids, numbered, 1, lambda row, sample: BLACK)


def value(found) -> float:
    return found.records[0].value


@pytest.mark.parametrize("files_are", ["truth", "reconstructions"])
@pytest.mark.parametrize("order", ["by number", "as text"])
def test_numbered_files_against_a_stack_of_the_same_images(
    files_are: str, order: str, tmp_path: Path
) -> None:
    images = scenes(12)
    folder = save_files(tmp_path / "files", [f"{i}.png" for i in range(12)], images)
    rows = sorted(range(12), key=str) if order == "as text" else range(12)
    np.save(tmp_path / "stack.npy", images[list(rows)])
    sides = [folder, tmp_path / "stack.npy"]
    found, _ = evaluate_images(*(sides if files_are == "truth" else sides[::-1]))
    assert value(found) == pytest.approx(1)
    assert "12 stimuli, paired in row order: stack.npy has no ids; 1 sample each" in found.notes
    words = {
        "by number": "by their numbers (mean r 1.00 by number",
        "as text": "as text, 10 before",
    }
    assert any(note.startswith(f"file names are ordered {words[order]}") for note in found.notes)
    # The ids are those of the files, whichever order their rows have.
    names = found.scores.index if files_are == "truth" else np.array(found.scores.index)
    expected = [str(i) for i in (rows if files_are == "reconstructions" else range(12))]
    assert list(names) == expected


def test_without_evidence_files_are_ordered_by_number_and_it_is_said(tmp_path: Path) -> None:
    folder = save_files(tmp_path / "files", [f"{i}.png" for i in range(12)], scenes(12))
    np.save(tmp_path / "stack.npy", scenes(12, seed=1))
    found, _ = evaluate_images(folder, tmp_path / "stack.npy")
    assert any("file names are ordered by their numbers (mean r" in note for note in found.notes)
    assert list(found.scores.index) == [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("here", "there", "by"),
    [
        (("a", "b"), ("b", "a"), "by id"),
        (("1", "2"), ("002", "001"), "by id, 2 of them apart from leading zeros"),
        (("café", "b"), (unicodedata.normalize("NFD", "café"), "b"), "by id, 1 of them apart"),
        (("0001", "2"), ("1.png", "0002.PNG"), "by id, 2 of them apart from file extensions"),
        (("a.v1", "a.v2"), ("a.v2", "a.v1"), "by id"),
    ],
)
def test_ids_that_mean_the_same(here: tuple[str, ...], there: tuple[str, ...], by: str) -> None:
    found = pair(named(*here), named(*there))
    assert found.by.startswith(by)
    expected = {"1": 1, "2": 0} if by.endswith("zeros") else None
    if expected:
        assert found.reconstruction_rows == (1, 0)
    if here[0] == "0001":
        assert found.reconstruction_rows == (0, 1)


@given(st.permutations(range(15)), st.integers(0, 4))
def test_shuffled_ids_find_their_partners(order: list[int], zeros: int) -> None:
    found = pair(named(*map(str, range(15))), named(*(f"{i:0{zeros}d}" for i in order)))
    assert [order[row] for row in found.reconstruction_rows] == list(range(15))


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (("img_0001", "img_0002"), ("0001", "0002"), "'img_0001' and '0001' have the same number"),
        (("A", "B"), ("a", "b"), "'A' and 'a' differ in upper and lower case"),
        (("0", "1", "2"), ("1", "2", "3"), "differ by 1 throughout, count both from the same"),
        (("dog_one", "cat"), ("dog_on", "cat"), "the nearest to 'dog_one' is 'dog_on'"),
        (("aa", "bb"), ("cc", "dd"), r"no reconstruction in side \(aa, bb\). Give both"),
    ],
)
def test_ids_that_nearly_match_are_refused_with_what_is_nearest(
    here: tuple[str, ...], there: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        pair(named(*here), named(*there))


def test_row_numbers_are_not_ids() -> None:
    found = pair(named("0", "1", "2"), named("0", "1", "2", source="x.npy", numbered=True))
    assert found.by == "in row order: x.npy has no ids"
    both = [named("0", "1", source=name, numbered=True) for name in ("x.npy", "y.npy")]
    assert pair(*both).by == "in row order: x.npy and y.npy have no ids"
    with pytest.raises(UserError, match=r"3 originals and .* of 2 stimuli, and x\.npy has no"):
        pair(named("0", "1", "2"), named("0", "1", source="x.npy", numbered=True))


def notes_of(tmp_path: Path, truth: np.ndarray, drawn: np.ndarray) -> str:
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "drawn.npy", drawn)
    sides = [open_images(tmp_path / name) for name in ("truth.npy", "drawn.npy")]
    return "\n".join(survey(*sides, pair(*sides)).notes)


def test_pairs_no_better_than_chance_are_noted(tmp_path: Path) -> None:
    images = scenes(20)
    assert "no better than mismatched" not in notes_of(tmp_path, images, noisy(images))
    order = np.random.default_rng(3).permutation(20)
    said = notes_of(tmp_path, images, noisy(images)[order])
    flat = images.reshape(20, -1).astype(float)
    own = np.mean([pearsonr(flat[i], flat[order[i]]).statistic for i in range(20)])
    assert "paired images correlate no better than mismatched ones (mean r" in said
    assert own < 0.2


@pytest.mark.parametrize("n", [2, 3, 4, 6, 7])
def test_few_pairs_are_judged_too(n: int, tmp_path: Path) -> None:
    images = scenes(n)
    assert "no better" not in notes_of(tmp_path, images, noisy(images, noise=20))
    assert "no better" in notes_of(tmp_path, images, np.roll(noisy(images, noise=20), 1, axis=0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: np.roll(x, 1, axis=0), "one row later, as if counted from 1"),
        (lambda x: np.roll(x, -1, axis=0), "one row earlier, as if counted from 0"),
        (lambda x: x[::-1], "in reverse order"),
        (lambda x: x[..., ::-1], "with red and blue exchanged"),
        (lambda x: np.swapaxes(x, 2, 3), "with height and width exchanged"),
        (lambda x: x[..., ::-1, :], "mirrored left to right"),
        (lambda x: x[:, :, ::-1], "turned upside down"),
        (lambda x: 255 - x, "as negatives"),
    ],
)
def test_usual_mistakes_are_named(change, words: str, tmp_path: Path) -> None:
    images = scenes(12)
    drawn = noisy(images)
    clean = notes_of(tmp_path, images, drawn)
    assert words not in clean
    assert "check" not in clean
    assert words in notes_of(tmp_path, images, np.ascontiguousarray(change(drawn)))


def test_some_exchanged_rows_are_counted(tmp_path: Path) -> None:
    images = scenes(16)
    drawn = noisy(images)
    assert "another stimulus" not in notes_of(tmp_path, images, drawn)
    order = [1, 0, 3, 2, *range(4, 16)]
    said = notes_of(tmp_path, images, drawn[order])
    assert "4 of 16 originals agree clearly better with the reconstruction of another" in said
    # Few fixed points are enough to beat chance; the order is wrong all the same.
    order = [*range(5), *np.roll(np.arange(5, 16), 3)]
    said = notes_of(tmp_path, images, drawn[order])
    assert "no better than mismatched" not in said
    assert "11 of 16 originals agree clearly better" in said


@pytest.mark.parametrize("seed", range(4))
def test_poor_reconstructions_are_not_called_exchanged(seed: int, tmp_path: Path) -> None:
    images = scenes(24, seed=seed)
    poor = np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)
    blend = (0.15 * images + 0.85 * np.roll(poor, 0, axis=0)).astype(np.uint8)
    said = notes_of(tmp_path, images, noisy(blend, noise=80))
    assert "another stimulus" not in said
