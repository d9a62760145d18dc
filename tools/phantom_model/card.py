"""Measure the phantom's networks: ``python -m tools.phantom_model.card FOLDER``.

Everything is measured on held-out scenes of two and three objects by the detector, which has never
seen a drawn image. Images are drawn by diffusers' own pipelines. The command writes the model card
(``README.md``, ``card.json``) into the folder and, with ``--sheet``, an image to look at.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPModel

from tools.phantom_model import autoencoder, detector
from tools.phantom_model.detector import Detector, Pair
from tools.phantom_model.scene_sets import held_out_scenes, rendered, to_tensor
from tools.phantom_model.text_tower import MAX_TOKENS, TextStates, tokenize
from vox2pix.phantom.scenes import Scene, captions
from vox2pix.seeds import rng_for
from vox2pix.store import read_json, write_json

DETECTOR = Path(__file__).parent / "detector.safetensors"
GUIDANCE, SAMPLING_STEPS, STRENGTH = 3.0, 25, 0.8
BATCH = 50

ROWS = {
    "renders": "rendered scenes (is the detector right?)",
    "round_trips": "the same through the autoencoder",
    "caption": "drawn from one caption",
    "mean_caption": "drawn from the mean of all captions",
    "true_z_c": f"drawn from true z and c, strength {STRENGTH:g}",
}
Figures = dict[str, float]


class Drawer:
    """Draws images in [-1, 1] with a pipeline folder's networks."""

    def __init__(self, folder: Path) -> None:
        parts = StableDiffusionPipeline.from_pretrained(
            folder, torch_dtype=torch.float32, safety_checker=None
        )
        image_to_image = StableDiffusionImg2ImgPipeline(**parts.components)
        for pipe in (parts, image_to_image):
            pipe.set_progress_bar_config(disable=True)
        self._draw, self._redraw = parts, image_to_image

    def from_states(self, states: Tensor, starts: Tensor | None = None) -> Tensor:
        """Draw one image per row of ``states``, from noise or from ``starts`` in [-1, 1]."""
        made = []
        for first in range(0, len(states), BATCH):
            some = states[first : first + BATCH]
            shared = {
                "prompt_embeds": some,
                "negative_prompt": [""] * len(some),
                "num_inference_steps": SAMPLING_STEPS,
                "guidance_scale": GUIDANCE,
                "generator": [torch.Generator().manual_seed(first + i) for i in range(len(some))],
                "output_type": "np",
            }
            if starts is None:
                images = self._draw(**shared).images
            else:
                begin = starts[first : first + BATCH] / 2 + 0.5
                images = self._redraw(image=begin, strength=STRENGTH, **shared).images
            made.append(to_tensor(images.astype(np.float32)))
        return torch.cat(made) * 2 - 1


def draw_all(folder: Path, scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Return the images of each of ``ROWS``, each in [-1, 1] with shape (n, 3, 64, 64)."""
    renders = rendered(scenes)
    vae = autoencoder.load(folder)
    states_of, drawer = TextStates(folder), Drawer(folder)
    means = states_of.means(scenes)
    blocks = renders.split(BATCH)
    return {
        "renders": renders,
        "round_trips": torch.cat(
            [autoencoder.decode(vae, autoencoder.encode(vae, some)) for some in blocks]
        ),
        "caption": drawer.from_states(states_of(chosen_captions(scenes))),
        "mean_caption": drawer.from_states(means),
        "true_z_c": drawer.from_states(means, renders),
    }


def chosen_captions(scenes: Sequence[Scene]) -> list[str]:
    """Return the caption of each scene that is drawn."""
    return [str(rng_for(0, "card", i).choice(captions(s))) for i, s in enumerate(scenes)]


def agreement(found: Sequence[list[Pair]], scenes: Sequence[Scene]) -> Figures:
    """Compare what was detected with what the scenes hold, wherever it is.

    ``count`` is the share of images with the right number of objects; ``pair`` the mean share
    of objects found with kind and colour; ``all`` the share of images with exactly the scene's
    objects; ``objects`` the mean number found; each with ``.._se``, the standard error over
    images.
    """
    rows = []
    for seen, shown in zip(found, scenes, strict=True):
        right = Counter((o.kind, o.colour) for o in shown.objects)
        shared = (right & Counter(seen)).total()
        n = len(shown.objects)
        rows.append((len(seen) == n, shared / n, Counter(seen) == right, len(seen)))
    table = np.array(rows, float)
    means = table.mean(0)
    errors = table.std(0, ddof=1) / np.sqrt(len(table)) if len(table) > 1 else np.zeros(4)
    names = ("count", "pair", "all", "objects")
    return dict(zip(names, means.tolist(), strict=True)) | {
        f"{name}_se": error for name, error in zip(names, errors.tolist(), strict=True)
    }


def measure(folder: Path, by: Detector, n: int = 200) -> tuple[dict[str, Figures], Figures]:
    """Measure a trained pipeline folder on ``n`` held-out scenes of two and three objects.

    Returns :func:`agreement` for each of ``ROWS`` with the share of right backgrounds, and
    figures: ``psnr_db``, mean peak signal-to-noise ratio of the autoencoder in dB;
    ``retrieval_caption``, top-1 of ``n`` captions by the contrastive encoders; ``weights_mb``,
    size of all weights.
    """
    scenes = held_out_scenes(n, (2, 3))
    images = draw_all(folder, scenes)
    table = {}
    for name, some in images.items():
        table[name] = agreement(by.detect(some), scenes)
        right = [b == s.background for b, s in zip(by.backgrounds(some), scenes, strict=True)]
        table[name]["background"] = float(np.mean(right))
    errors = (images["renders"] - images["round_trips"]).square().mean((1, 2, 3)) / 4
    return table, {
        "psnr_db": float((-10 * errors.log10()).mean()),
        "retrieval_caption": _retrieval(folder, images["renders"], chosen_captions(scenes)),
        "weights_mb": sum(p.stat().st_size for p in folder.glob("*/*.safetensors")) / 1e6,
    }


@torch.inference_mode()
def _retrieval(folder: Path, images: Tensor, texts: list[str]) -> float:
    model = CLIPModel.from_pretrained(folder / "encoders", dtype=torch.float32).eval()
    tokens = tokenize(TextStates(folder).tokenizer, texts)
    scores = model(input_ids=tokens, pixel_values=images).logits_per_image
    return float((scores.argmax(1) == torch.arange(len(texts))).float().mean())


def sheet(folder: Path, n: int = 12, scale: int = 2) -> NDArray[np.uint8]:
    """Return a grid: one row per image kind of ``ROWS``, one column per held-out scene."""
    images = draw_all(folder, held_out_scenes(n, (2, 3)))
    rows = [torch.cat(list(images[name]), dim=2) for name in ROWS]
    grid = (127.5 * (torch.cat(rows, dim=1) + 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return grid.repeat(scale, 0).repeat(scale, 1)


_COLUMNS = ("count", "all", "pair")
_CARD = """# The phantom's latent diffusion model

A latent diffusion model of drawn scenes, small enough for a laptop, in the folder layout of
Stable Diffusion: autoencoder ({psnr_db:.1f} dB), U-Net, CLIP text encoder and tokenizer, DDIM
scheduler. Beside them a contrastive pair of encoders of the same scenes (its text tower is the
text encoder).

All weights: {weights_mb:.1f} MB, float16, safetensors.

## Figures

Measured on {n} held-out scenes of two and three objects by
`python -m tools.phantom_model.card FOLDER`, which writes this page.

Autoencoder, mean PSNR: {psnr_db:.2f} dB. Caption retrieval, top-1 of {n}: {retrieval_caption:.3f}.

A detector that was trained on renders and autoencoder round trips of other scenes names the
objects of every image. "Count": the right number of objects; "all": exactly the scene's objects;
"pair": objects found with kind and colour, per object. With standard errors.

| images | count | all | pair | objects found (true {true_objects:.2f}) | background |
|---|---|---|---|---|---|
{rows}

Sampling: {sampling_steps} DDIM steps, guidance {guidance:g}.

## Training

{steps}. The scripts are in `tools/phantom_model`. Training
scenes, held-out scenes and the scenes of simulated subjects are different sets.

## Use and limits

For tests, teaching and simulated subjects of vox2pix. It draws the scenes of
`vox2pix.phantom.scenes` at 64 pixels and nothing else; captions are cut at {tokens} tokens.
Licence: MIT.
"""


def write_card(folder: Path, table: dict[str, Figures], figures: Figures, n: int) -> Path:
    """Write ``README.md`` (for people) and ``card.json`` (the figures) into the folder."""
    figures = figures | {
        "true_objects": float(np.mean([len(s.objects) for s in held_out_scenes(n, (2, 3))]))
    }
    whole = {"n": n, **figures, **table}
    write_json(folder / "card.json", whole)
    path = folder / "README.md"
    rows = "\n".join(_row(label, table[name]) for name, label in ROWS.items())
    trained = read_json(folder / "training.json")
    path.write_text(
        _CARD.format(
            n=n,
            rows=rows,
            steps=", ".join(f"{name.replace('_', ' ')} {k:,} steps" for name, k in trained.items()),
            sampling_steps=SAMPLING_STEPS,
            guidance=GUIDANCE,
            tokens=MAX_TOKENS,
            **figures,
        )
    )
    return path


def _row(label: str, found: Figures) -> str:
    cells = [f"{100 * found[c]:.1f} ± {100 * found[f'{c}_se']:.1f} %" for c in _COLUMNS]
    cells += [f"{found['objects']:.2f}", f"{100 * found['background']:.1f} %"]
    return f"| {label} | " + " | ".join(cells) + " |"


def main() -> None:
    """Read the command line, measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m tools.phantom_model.card")
    parser.add_argument("folder", type=Path, help="the trained pipeline folder")
    parser.add_argument("--n", type=int, default=200, help="held-out scenes")
    parser.add_argument("--detector", type=Path, default=DETECTOR, help="the detector's weights")
    parser.add_argument("--sheet", type=Path, help="PNG of scenes and drawings to look at")
    parser.add_argument("--no-card", action="store_true", help="print, write no card")
    options = parser.parse_args()
    table, figures = measure(options.folder, detector.load(options.detector), options.n)
    for name, found in table.items():
        print(_row(ROWS[name], found))
    print(json.dumps(figures))
    if not options.no_card:
        print(write_card(options.folder, table, figures, options.n))
    if options.sheet:
        _write_sheet(options.folder, options.sheet)


def _write_sheet(folder: Path, path: Path) -> None:
    from PIL import Image

    Image.fromarray(sheet(folder)).save(path)
    for i, text in enumerate(chosen_captions(held_out_scenes(12, (2, 3)))):
        print(f"column {i + 1}: {text}")


if __name__ == "__main__":
    main()
