from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.images import noisy, save_files, scenes
from vox2pix.errors import UserError
from vox2pix.evaluation import evaluate_images
from vox2pix.evaluation.inputs import open_images
from vox2pix.store import claim

PATTERN = "{id}_{sample}.png"


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder as the released scripts write it: originals beside five samples."""
    images = scenes(6)
    drawn = noisy(images, 5, noise=60)
    folder = save_files(tmp_path / "out", [f"{i:05d}_org.png" for i in range(6)], images)
    for s in range(5):
        save_files(folder, [f"{i:05d}_{s:03d}.png" for i in range(6)], drawn[:, s])
    return folder, images, drawn


def test_originals_among_the_samples_are_refused(released, tmp_path: Path) -> None:
    folder, _, _ = released
    with pytest.raises(UserError) as error:
        open_images(folder, PATTERN)
    assert "among the samples 000, 001, 002, ... is org, which seems to be the original" in str(
        error.value
    )
    assert "--truth-files, such as '{id}_org.png'" in str(error.value)


def test_images_that_vox2pix_wrote_below_a_folder_are_no_data(tmp_path: Path) -> None:
    names, images = [f"{i:05d}.png" for i in range(4)], scenes(4)
    folder = save_files(tmp_path / "seen", names, images)
    for kind in ("assets", "run"):
        claim(folder / kind, kind)
        save_files(folder / kind / "gallery", names, images)
    found = open_images(folder)
    assert list(found.ids) == [f"{i:05d}" for i in range(4)]
    assert any("8 ignored, files that vox2pix wrote" in note for note in found.notes)


def test_both_sides_come_from_one_folder(released, tmp_path: Path) -> None:
    folder, images, drawn = released
    seen = save_files(tmp_path / "seen", [f"{i:05d}.png" for i in range(6)], images)
    only = tmp_path / "only"
    for s in range(5):
        save_files(only, [f"{i:05d}_{s:03d}.png" for i in range(6)], drawn[:, s])
    apart, _ = evaluate_images(seen, only, samples=PATTERN)
    found, told = evaluate_images(folder, folder, samples=PATTERN, truth_files="{id}_org.png")
    assert [r.value for r in found.records] == [r.value for r in apart.records]
    best = next(r for r in found.records if r.samples == "best of 5")
    assert best.value < 0.99
    assert told["truth_files"] == "{id}_org.png"
    said = "\n".join(found.notes)
    assert f"{folder}: 5 samples per stimulus: 000, 001, 002, 003, 004" in said
    assert f"{folder}: 6 ignored, originals (00000_org.png, 00001_org.png, " in said
    assert f"{folder}: 30 ignored, images that do not match the pattern (00000_000.png, " in said


@pytest.mark.parametrize("odd", ["mean", "GT", "truth", "Original", "ref", "best"])
def test_one_sample_of_another_kind_is_refused(odd: str, tmp_path: Path) -> None:
    names = [f"{key}_{sample}.png" for key in "ab" for sample in ("0", "1", odd)]
    save_files(tmp_path, names, scenes(6))
    with pytest.raises(UserError, match=f"among the samples 0, 1 is {odd}, which seems to be"):
        open_images(tmp_path, PATTERN)


def test_a_sample_that_equals_every_original_is_refused(tmp_path: Path) -> None:
    images = scenes(4)
    drawn = noisy(images, 3)
    drawn[:, 1] = images
    np.save(tmp_path / "truth.npy", images)
    np.save(tmp_path / "drawn.npy", drawn)
    with pytest.raises(UserError, match="sample '1' equals the original of all 4 stimuli"):
        evaluate_images(tmp_path / "truth.npy", tmp_path / "drawn.npy")


def test_copies_of_originals_are_counted(tmp_path: Path) -> None:
    images = scenes(8)
    drawn = noisy(images)[:, 0]
    drawn[2] = images[2]
    drawn[3] = images[5]
    names = [f"{i}.png" for i in range(8)]
    seen = save_files(tmp_path / "seen", names, images)
    mine = save_files(tmp_path / "mine", names, drawn)
    large = np.asarray(Image.fromarray(images[6]).resize((48, 48), Image.Resampling.NEAREST))
    Image.fromarray(large).save(mine / "6.png")
    said = "\n".join(evaluate_images(seen, mine)[0].notes)
    assert "1 of 8 reconstructions are identical to their original (the first is '2')" in said
    assert "1 of 8 reconstructions are nearly identical to their original at 16 px (the" in said
    assert "identical to the original of another stimulus (the first is '3')" in said


def test_ignored_files_are_counted_by_reason(tmp_path: Path) -> None:
    names = ["a.png", "b.jpg", ".hidden.png", "deep/c.png", "deep/er/d.png"]
    folder = save_files(tmp_path / "seen", names, scenes(5))
    for name in ("notes.txt", "e.tif", ".DS_Store"):
        (folder / name).write_bytes(b"")
    (folder / "f.png").mkdir()
    found = open_images(folder)
    assert found.ids == ("a", "b")
    assert set(found.notes) == {
        f"{folder}: 2 ignored, hidden files (.DS_Store, .hidden.png)",
        f"{folder}: 2 ignored, images in subfolders (deep/c.png, deep/er/d.png)",
        f"{folder}: 2 ignored, files that are not PNG or JPEG (e.tif, notes.txt)",
    }


def test_samples_of_other_names_are_noted(tmp_path: Path) -> None:
    names = ["a_0.png", "a_1.png", "b_0.png", "b_2.png"]
    save_files(tmp_path, names, scenes(4))
    notes = open_images(tmp_path, PATTERN).notes
    assert f"{tmp_path}: 1 of 2 stimuli have samples of other names ('b': 0, 2)" in notes


def test_the_pattern_of_originals(released) -> None:
    folder, images, _ = released
    found = open_images(folder, originals="{id}_org.png")
    assert found.ids == tuple(f"{i:05d}" for i in range(6))
    np.testing.assert_array_equal(
        np.stack([found.image(row) for row in range(6)]), images.astype(np.float32) / 255
    )
    for bad in ("org.png", "{id}_{sample}.png", "{id}{id}.png"):
        with pytest.raises(UserError, match=r"must hold \{id\} once and no \{sample\}"):
            open_images(folder, originals=bad)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(image) for image in scenes(2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a\.png holds 2 frames"):
        open_images(tmp_path).image(0)


def test_a_turned_transparent_palette_file_is_turned_like_the_others(tmp_path: Path) -> None:
    image = Image.fromarray(scenes(1)[0][:16]).convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", transparency=255, exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.has_transparency_data
    try:
        assert open_images(tmp_path).image(0).shape == (24, 16, 3)
    except UserError as error:  # where colour 255 of the palette is used
        assert "transparent" in str(error)
