import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vox2pix.data import open_folder
from vox2pix.errors import UserError
from vox2pix.targets.c import TextConditioning
from vox2pix.targets.z import ImageLatent

IDS = ("a", "b", "c", "d", "e")


@pytest.fixture
def subject(tmp_path):
    """Five images, two of them equal but for their captions."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    drawn = rng.integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    drawn[4] = drawn[0]
    for name, pixels in zip(IDS, drawn, strict=True):
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    np.save(tmp_path / "responses.npy", rng.standard_normal((5, 3)).astype("f4"))
    pd.DataFrame({"stimulus_id": IDS, "session": 1, "run": 1}).to_csv(
        tmp_path / "trials.csv", index=False
    )
    pd.DataFrame({"V1": [1, 1, 1]}).to_csv(tmp_path / "voxels.csv", index=False)
    told = [(name, f"a {colour} ball") for name in IDS for colour in ("red", name)]
    pd.DataFrame(told, columns=["stimulus_id", "caption"]).to_csv(
        tmp_path / "captions.csv", index=False
    )
    return open_folder(tmp_path)


class Counting:
    """A model that counts what it is asked for."""

    def __init__(self, model):
        self._model, self.encoded, self.embedded = model, [], []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode_images(self, images, **options):
        self.encoded.append(len(images))
        return self._model.encode_images(images, **options)

    def embed_captions(self, captions, **options):
        self.embedded.append(len(captions))
        return self._model.embed_captions(captions, **options)


def test_z_is_the_models_own_and_computed_once_an_image(model, subject, tmp_path):
    counting = Counting(model)
    first = ImageLatent().rows(counting, subject, tmp_path / "cache").load(IDS[:3])
    np.testing.assert_allclose(
        first, model.encode_images(subject.images(IDS[:3], size=64)), atol=1e-5
    )
    again = ImageLatent().rows(counting, subject, tmp_path / "cache").load(tuple(reversed(IDS)))
    # b and c are there; a's image is e's, so that only d is new
    assert counting.encoded == [3, 1]
    np.testing.assert_array_equal(again[::-1][:3], first)
    np.testing.assert_array_equal(again[0], again[4])


def test_c_is_the_mean_over_captions(model, subject, tmp_path):
    counting = Counting(model)
    found = TextConditioning().rows(counting, subject, tmp_path / "cache").load(IDS)
    one = model.embed_captions([("a red ball",), ("a b ball",)])
    np.testing.assert_allclose(found[1], one.mean(0), atol=1e-5)
    TextConditioning().rows(counting, subject, tmp_path / "cache").load(IDS[1:])
    assert counting.embedded == [5]


def test_a_draw_of_the_posterior_belongs_to_run_and_stimulus(model, subject, tmp_path):
    def draw(ids, seed=0):
        rows = ImageLatent(posterior="sample").rows(model, subject, tmp_path / "cache", seed=seed)
        return rows.load(ids)

    both = draw(("a", "e"))
    assert abs(both[0] - both[1]).max() > 0.01
    np.testing.assert_array_equal(draw(("e",))[0], both[1])
    assert abs(draw(("a",), seed=1)[0] - both[0]).max() > 0.01
    mode = ImageLatent().rows(model, subject, tmp_path / "cache").load(("a",))
    assert abs(mode[0] - both[0]).max() > 0.01


def test_another_size_is_another_feature(model, subject, tmp_path):
    small = ImageLatent(image_size=32).rows(model, subject, tmp_path / "cache").load(("a",))
    channels, height, width = model.latent_shape
    assert small.shape == (1, channels, height // 2, width // 2)
    whole = ImageLatent().rows(model, subject, tmp_path / "cache").load(("a",))
    assert whole.shape == (1, channels, height, width)


def test_a_damaged_cache_is_computed_again(model, subject, tmp_path):
    first = ImageLatent().rows(model, subject, tmp_path / "cache").load(IDS)
    [path] = (tmp_path / "cache").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    np.testing.assert_array_equal(
        ImageLatent().rows(model, subject, tmp_path / "cache").load(IDS), first
    )


def test_a_content_is_read_once_and_known_ones_are_not_read(model, subject, tmp_path):
    read = []
    rows = ImageLatent().rows(model, subject, tmp_path / "cache")
    first = rows.load(IDS)
    again = ImageLatent().rows(model, subject, tmp_path / "cache")
    again.learn(rows.keys(IDS))
    again._read = read.append  # nothing is asked for
    np.testing.assert_array_equal(again.load(IDS), first)
    assert again.unknown((*IDS, "f", "f")) == ["f"]
    assert not read


def test_rows_that_another_process_added_are_found(model, subject, tmp_path):
    mine, other = (ImageLatent().rows(model, subject, tmp_path / "cache") for _ in range(2))
    assert mine.absent(IDS) == ["a", "b", "c", "d"]  # e shows what a shows
    assert mine.files(IDS) == []
    other.compute(mine.absent(IDS))
    assert mine.files(IDS) == other.files(IDS) != []  # what a stage vouches for
    assert mine.absent(IDS) == []


def test_a_file_that_another_process_made_again_is_found(model, subject, tmp_path):
    def rows():
        return ImageLatent().rows(model, subject, tmp_path / "cache")

    rows().compute(IDS[:4])
    [path] = rows().files(IDS)
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:40], whole[:-9] + bytes(9)):  # headers or values
        path.write_bytes(damaged)
        mine = rows()
        assert mine.absent(IDS, check=True) == ["a", "b", "c", "d"]
        rows().compute(IDS[:4])
        assert mine.files(IDS) == [path]
        assert path.read_bytes() == whole


def test_a_stimulus_without_caption_is_named(model, subject, tmp_path):
    with pytest.raises(UserError, match="zebra"):
        TextConditioning().rows(model, subject, tmp_path / "cache").load(("zebra",))
