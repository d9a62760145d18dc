from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from PIL import Image

from vox2pix.errors import UserError
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.inputs.pairing import pair


def arrays(n: int = 4, size: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def save_files(folder: Path, names: list[str], given: np.ndarray) -> Path:
    for name, image in zip(names, given, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return folder


def all_of(path: Path, samples: str | None = None) -> dict[str, list[np.ndarray]]:
    found = open_images(path, samples)
    return {
        key: [found.image(row, sample) for sample in range(found.n_samples)]
        for row, key in enumerate(found.ids)
    }


def test_a_folder_is_read_by_the_stems_of_its_files(tmp_path: Path) -> None:
    given = arrays(3)
    folder = save_files(tmp_path / "seen", ["a.png", "b.png", "10.png"], given)
    Image.fromarray(given[0]).save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    found = all_of(folder)
    assert set(found) == {"a", "b", "10"}
    np.testing.assert_array_equal(found["b"][0], given[1].astype(np.float32) / 255)
    assert found["b"][0].dtype == np.float32


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("{id}_{sample}.png", "img_1_{}.png"), ("{sample}/{id}.png", "{}/img_1.png")],
)
def test_samples_follow_a_pattern_in_natural_order(pattern: str, name: str, tmp_path: Path) -> None:
    given = arrays(3)
    save_files(tmp_path, [name.format(i) for i in (2, 10, 1)], given)
    found = all_of(tmp_path, pattern)
    assert list(found) == ["img_1"]
    np.testing.assert_array_equal(np.stack(found["img_1"]) * 255, given[[2, 0, 1]])


def test_arrays_in_every_format_hold_the_same_images(tmp_path: Path) -> None:
    given = arrays()
    ids = np.array(["d", "c", "b", "a"])
    np.save(tmp_path / "a.npy", given)
    np.savez(tmp_path / "b.npz", images=given, ids=ids)
    np.savez(tmp_path / "c.npz", whatever=given)
    zarr.save_array(tmp_path / "d.zarr", given)
    group = zarr.open_group(tmp_path / "e.zarr", mode="w")
    group.create_array("images", data=given)
    group.create_array("stimulus_id", data=np.array([4, 3, 2, 1]))
    tensor = torch.from_numpy(given)
    torch.save(tensor.permute(0, 3, 1, 2), tmp_path / "f.pt")
    torch.save({"images": tensor / 255, "ids": ids.tolist()}, tmp_path / "g.pt")
    named = {"b.npz": list(ids), "g.pt": list(ids), "e.zarr": ["4", "3", "2", "1"]}
    for path in sorted(tmp_path.iterdir()):
        found = open_images(path)
        assert list(found.ids) == named.get(path.name, ["0", "1", "2", "3"])
        assert found.numbered is (path.name not in named)
        read = np.stack([found.image(row) for row in range(4)])
        np.testing.assert_allclose(read, given / 255, atol=1e-7)


def test_an_array_may_have_samples_and_half_precision(tmp_path: Path) -> None:
    given = torch.rand(3, 2, 3, 5, 6)
    torch.save(given.to(torch.bfloat16), tmp_path / "a.pt")
    found = open_images(tmp_path / "a.pt")
    assert found.n_samples == 2
    expected = given[2, 1].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found.image(2, 1), expected, atol=0.01)


def test_grey_is_repeated_and_an_opaque_alpha_left_out(tmp_path: Path) -> None:
    grey = arrays(1)[0, ..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    opaque = np.dstack([arrays(1)[0], np.full((6, 6), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    found = all_of(tmp_path)
    np.testing.assert_allclose(found["grey"][0], np.dstack([grey] * 3) / 255, atol=1e-7)
    np.testing.assert_allclose(found["opaque"][0], opaque[..., :3] / 255, atol=1e-7)
    opaque[0, 0, 3] = 254
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    with pytest.raises(UserError, match=r"image 'opaque' is transparent. Lay it over"):
        all_of(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((2, 4, 4, 3), 200.0), "from 200 to 200, .* Divide values up to 255 by 255"),
        (np.full((2, 4, 4, 3), -1.0), r"take \(x \+ 1\) / 2 of values in \[-1, 1\]"),
        (np.full((2, 4, 4, 3), np.nan), "image '0' holds NaN or infinite values"),
        (np.full((2, 4, 4, 3), 7, np.int64), "is int64. Save images as uint8"),
        (np.zeros((2, 6, 6, 5)), r"has shape \(2, 6, 6, 5\); images are"),
        (np.zeros((0, 4, 4, 3)), r"has shape \(0, 4, 4, 3\)"),
        (np.zeros((4, 4)), r"has shape \(4, 4\)"),
    ],
)
def test_arrays_that_are_no_images(values: np.ndarray, words: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match=words):
        open_images(tmp_path / "a.npy").image(0)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no images \(\.png, \.jpg, \.jpeg\)"):
        open_images(tmp_path / "empty")
    for name in ("a.npy", "a.npz", "a.pt", "a.zarr"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(UserError, match=f"{name} (is no|holds more than tensors)"):
            open_images(tmp_path / name)
    (tmp_path / "a.gif").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.gif is no collection of images"):
        open_images(tmp_path / "a.gif")
    torch.save({"images": Path("code")}, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"b\.pt holds more than tensors, .* code in it is not run"):
        open_images(tmp_path / "b.pt")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"c\.npy holds Python objects"):
        open_images(tmp_path / "c.npy")
    np.savez(tmp_path / "d.npz", one=arrays(), two=arrays())
    with pytest.raises(UserError, match=r"holds one, two. Name the array of images 'images'"):
        open_images(tmp_path / "d.npz")
    (tmp_path / "empty" / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"x\.png cannot be read as PNG or JPEG"):
        all_of(tmp_path / "empty")


def test_ids_stand_once(tmp_path: Path) -> None:
    save_files(tmp_path / "seen", ["a.png", "a.jpg"], arrays(2))
    with pytest.raises(UserError, match=r"have the same id 'a'. Remove one"):
        open_images(tmp_path / "seen")
    np.savez(tmp_path / "a.npz", images=arrays(3), ids=["x", "y", "x"])
    with pytest.raises(UserError, match="the id 'x' occurs more than once"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=arrays(3), ids=["x", "y"])
    with pytest.raises(UserError, match="holds 3 images but 2 ids"):
        open_images(tmp_path / "a.npz")


def test_patterns_that_do_not_fit(tmp_path: Path) -> None:
    save_files(tmp_path / "mine", ["a_0.png", "a_1.png", "b_0.png"], arrays(3))
    with pytest.raises(UserError, match="from 1 to 2 samples, 'b' has 1"):
        open_images(tmp_path / "mine", "{id}_{sample}.png")
    with pytest.raises(UserError, match=r"must hold \{id\} and \{sample\} once each"):
        open_images(tmp_path / "mine", "{id}.png")
    with pytest.raises(UserError, match=r"no images that match '\{id\}-\{sample\}\.png'"):
        open_images(tmp_path / "mine", "{id}-{sample}.png")
    np.save(tmp_path / "a.npy", arrays())
    with pytest.raises(UserError, match="is for a folder of files"):
        open_images(tmp_path / "a.npy", "{id}_{sample}.png")


def test_pairs_by_id_whatever_the_order_and_the_zeros(tmp_path: Path) -> None:
    seen = open_images(save_files(tmp_path / "seen", ["2.png", "10.png", "0.png"], arrays(3)))
    np.savez(tmp_path / "mine.npz", images=arrays(3), ids=["010", "000", "002"])
    found = pair(seen, open_images(tmp_path / "mine.npz"))
    assert found.ids == ("0", "2", "10")
    assert found.reconstruction_rows == (1, 2, 0)
    assert found.by == "by id, 3 of them apart from leading zeros or the Unicode form"


def test_ids_that_differ_in_leading_zeros_only_are_not_merged(tmp_path: Path) -> None:
    plain = [f"{i}.png" for i in range(1, 7)]
    seen = save_files(tmp_path / "seen", plain, arrays(6))
    mine = save_files(tmp_path / "mine", ["01.png", *plain], arrays(7))
    for sides in ((seen, mine), (mine, seen)):
        with pytest.raises(UserError, match=r"mine: the ids 0?1 and 0?1 differ in leading zeros"):
            pair(*map(open_images, sides))
    # both sides tell them apart
    assert pair(open_images(mine), open_images(mine)).reconstruction_rows == tuple(range(7))


def test_pairs_in_order_where_one_side_has_no_ids(tmp_path: Path) -> None:
    names = [f"image{i}.png" for i in (1, 2, 10)]
    seen = open_images(save_files(tmp_path / "seen", names, arrays(3)))
    np.save(tmp_path / "mine.npy", arrays(3))
    found = pair(seen, open_images(tmp_path / "mine.npy"))
    assert found.ids == ("image1", "image2", "image10")
    assert found.reconstruction_rows == (0, 1, 2)
    assert found.by == "in row order: mine.npy has no ids"


def test_missing_partners_are_counted_and_named(tmp_path: Path) -> None:
    seen = open_images(save_files(tmp_path / "seen", ["a.png", "b.png"], arrays(2)))
    for names, words in (
        (["a.png", "c.png"], r"1 of 2 images in .*seen have no reconstruction in .*\(b\)"),
        (["a.png", "b.png", "c.png"], r"1 of 3 images in .*mine.* have no original .*\(c\)"),
    ):
        folder = save_files(tmp_path / f"mine{len(names)}", names, arrays(len(names)))
        with pytest.raises(UserError, match=words):
            pair(seen, open_images(folder))
    np.save(tmp_path / "mine.npy", arrays(3))
    with pytest.raises(UserError, match=r"2 originals and .* of 3 stimuli, and mine\.npy has no"):
        pair(seen, open_images(tmp_path / "mine.npy"))


def test_one_image_is_not_enough(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", arrays(1))
    one = open_images(tmp_path / "a.npy")
    with pytest.raises(UserError, match="holds one image; evaluation needs at least two"):
        pair(one, one)
    np.save(tmp_path / "b.npy", arrays(4).reshape(2, 2, 6, 6, 3))
    two = open_images(tmp_path / "b.npy")
    with pytest.raises(UserError, match="not one original each"):
        pair(two, two)
