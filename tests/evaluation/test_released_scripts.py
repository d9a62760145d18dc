"""The pixel metrics and the resizing of the released scripts, written out from their definition.

The scripts themselves need old versions of their libraries; here each step is taken by Pillow,
scipy or torch as those versions take it.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate1d
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from evaluation.images import noisy, scenes
from vox2pix.evaluation import Resizing, evaluate_images, ssim
from vox2pix.vision.images import resize_images

SEEN = np.stack([np.asarray(Image.fromarray(a).resize((425, 425))) for a in scenes(2, 60)])
DRAWN = np.stack(
    [np.asarray(Image.fromarray(a).resize((512, 512))) for a in noisy(scenes(2, 60))[:, 0]]
)


def ssim_columns(a: np.ndarray, b: np.ndarray) -> float:
    """Each column is a signal of its own: Wang et al.'s formula in one dimension."""
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()
    columns = []
    # One by one where there are few, else all at once.
    for x, y in zip(a.T, b.T, strict=True) if a.shape[1] < 100 else ((a, b),):
        ux, uy = (correlate1d(v, taps, axis=0, mode="reflect") for v in (x, y))
        vx, vy, vxy = (
            correlate1d(p, taps, axis=0, mode="reflect") - q
            for p, q in ((x * x, ux * ux), (y * y, uy * uy), (x * y, ux * uy))
        )
        c1, c2 = 0.01**2, 0.03**2
        each = ((2 * ux * uy + c1) * (2 * vxy + c2)) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
        columns.append(each[5:-5].mean())
    return float(np.mean(columns))


def ssim_square(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released")
    for name, images in (("seen", SEEN), ("drawn", DRAWN)):
        (folder / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return folder


def scores(files: Path, protocol: str):
    # No network is at hand: the pixel metrics remain.
    found, _ = evaluate_images(files / "seen", files / "drawn", protocol=protocol)
    return found


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_brain_diffusers_pixel_metrics(files: Path) -> None:
    found = scores(files, "brain-diffuser")
    expected: dict[str, list[float]] = {"PixCorr": [], "SSIM (2-D)": [], "SSIM (columns)": []}
    for seen, drawn in zip(SEEN, DRAWN, strict=True):
        resized = Image.fromarray(drawn).resize((425, 425), Image.Resampling.BICUBIC)
        a, b = seen / 255, np.array(resized) / 255
        expected["PixCorr"].append(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        expected["SSIM (2-D)"].append(ssim_square(rgb2gray(a), rgb2gray(b)))
        expected["SSIM (columns)"].append(ssim_columns(rgb2gray(a), rgb2gray(b)))
    for name, values in expected.items():
        np.testing.assert_allclose(found.scores[name, ""], values, atol=1e-6)
    assert np.mean(expected["SSIM (columns)"]) > np.mean(expected["SSIM (2-D)"]) + 0.05


@pytest.mark.parametrize("antialias", [False, True])
def test_mindeyes_pixel_metrics(antialias: bool, files: Path) -> None:
    found = scores(files, "mindeye1" + "-antialias" * antialias)
    pixcorr, similarity = [], []
    for pair in zip(SEEN, DRAWN, strict=True):
        sized = []
        for image in pair:
            tensor = torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None].contiguous()
            for size in (256, 425):
                tensor = torch.nn.functional.interpolate(
                    tensor, (size, size), mode="bilinear", align_corners=False, antialias=antialias
                )
            sized.append(tensor[0].permute(1, 2, 0).double().numpy())
        pixcorr.append(np.corrcoef(sized[0].ravel(), sized[1].ravel())[0, 1])
        similarity.append(ssim_square(*map(rgb2gray, sized)))
    np.testing.assert_allclose(found.scores["PixCorr", ""], pixcorr, atol=1e-6)
    np.testing.assert_allclose(found.scores["SSIM", ""], similarity, atol=1e-6)


def test_columns_are_not_rows() -> None:
    a, b = (x[:, :40, :30] / np.float32(255) for x in (SEEN, DRAWN))
    expected = [ssim_columns(rgb2gray(x), rgb2gray(y)) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b, windows="columns"), expected, atol=1e-6)
    turned = ssim(np.swapaxes(a, 1, 2), np.swapaxes(b, 1, 2), windows="columns")
    assert np.abs(turned - expected).min() > 1e-3


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (40, 40), (33, 34), (20, 23)])
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("library", ["torchvision", "transformers"])
def test_eight_bit_resizing_with_a_centre_crop(
    shape: tuple[int, int], filter: str, library: str
) -> None:
    """``Resize(s)`` and ``CenterCrop(s)`` of torchvision, and an image processor's two steps."""
    image = scenes(1, 64)[0][: shape[0], : shape[1]]
    height, width = shape
    size = 30
    long = int(size * max(shape) / min(shape))
    new = (size, long) if width <= height else (long, size)
    kernel = getattr(Image.Resampling, filter.upper())
    resized = np.asarray(Image.fromarray(image).resize(new, kernel))
    margins = np.array(resized.shape[:2]) - size
    top, left = (round(m / 2.0) for m in margins) if library == "torchvision" else margins // 2
    expected = resized[top : top + size, left : left + size]
    resizing = Resizing(filter, eight_bit=True, crop=library)  # type: ignore[arg-type]
    found = resizing(image[None] / np.float32(255), size)
    np.testing.assert_array_equal(np.round(found[0] * 255), expected)
    np.testing.assert_allclose(found[0] * 255, expected, atol=1e-4)


def test_transformers_own_processor_crops_and_resizes_alike() -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size=32, image_mean=[0, 0, 0], image_std=[1, 1, 1]
    )
    for shape in ((50, 77), (77, 50), (45, 64)):
        image = scenes(1, 80)[0][: shape[0], : shape[1]]
        pixels = processor(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
        found = Resizing("bicubic", eight_bit=True, crop="transformers")(
            image[None] / np.float32(255), 32
        )
        np.testing.assert_allclose(found[0], np.moveaxis(pixels, 0, -1), atol=1e-6)


def test_floats_may_be_cropped_too() -> None:
    image = scenes(1, 64)[:, :40, :60].astype(np.float32) / 255
    found = Resizing("bicubic", crop="transformers", edge=36)(image, 30)
    whole = resize_images(image, (36, 54), "bicubic")
    np.testing.assert_array_equal(found, whole[:, 3:33, 12:42])
    with pytest.raises(ValueError, match="centre crop is square"):
        Resizing(crop="transformers")(image, (30, 31))
