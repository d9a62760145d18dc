"""Measure the phantom's networks and write their model card: ``python -m vox2pix.phantom.card``.

Everything is measured on scenes that no network was trained on; the pictures are drawn by
diffusers' own text-to-image pipeline.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from vox2pix.phantom.architecture import MAX_TOKENS, PICTURE_SIZE, Judge
from vox2pix.phantom.scenes import Scene, captions, render, scene
from vox2pix.phantom.train import CACHED_SCENES, HELD_OUT_SCENES, labels_of
from vox2pix.seeds import rng_for
from vox2pix.store import read_json

GUIDANCE, SAMPLING_STEPS = 3.0, 25


def measure(folder: Path, n: int = 500) -> dict[str, float]:
    """Measure a trained pipeline folder on held-out scenes.

    Parameters
    ----------
    folder : Path
        What :func:`vox2pix.phantom.train.train` wrote.
    n : int
        Held-out scenes for each figure.

    Returns
    -------
    dict of str to float
        ``psnr_db``: mean peak signal-to-noise ratio of the autoencoder, in dB;
        ``judge_...``: the share of renders that the judge names rightly;
        ``decoded_...``: the same after the autoencoder;
        ``sampled_...``: the share of pictures drawn from a caption in which the judge finds the
        captioned main kind, colour, background, and all three;
        ``retrieval_caption``: top-1 of ``n`` held-out captions by the contrastive encoders;
        ``weights_mb``: size of all weights.
    """
    scenes = [scene(i, HELD_OUT_SCENES) for i in range(n)]
    renders = _tensor(np.stack([render(s, PICTURE_SIZE) for s in scenes]))
    decoded = _through_autoencoder(folder / "vae", renders)
    judge = load_judge(folder / "judge")
    chosen = [str(rng_for(0, "card", i).choice(captions(s))) for i, s in enumerate(scenes)]
    errors = (renders - decoded).square().mean((1, 2, 3))
    figures = {"psnr_db": float((-10 * errors.log10()).mean())}
    figures |= _shares("judge", judge, renders, scenes)
    figures |= _shares("decoded", judge, decoded, scenes)
    figures |= _shares("sampled", judge, _tensor(draw(folder, chosen)), scenes)
    figures["retrieval_caption"] = _retrieval(folder, renders, chosen)
    figures["weights_mb"] = sum(p.stat().st_size for p in folder.rglob("*.safetensors")) / 1e6
    return figures


def draw(folder: Path, prompts: list[str], batch: int = 100) -> NDArray[np.float32]:
    """Draw one picture a prompt from pure noise, with diffusers' own pipeline.

    Returns
    -------
    ndarray of float32, shape (n, 64, 64, 3)
        RGB in [0, 1].
    """
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    blocks = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(some))]
        made = pipe(
            some,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
            generator=generators,
            output_type="np",
        )
        blocks.append(made.images)
    return np.concatenate(blocks).astype(np.float32)


def load_judge(folder: Path) -> Judge:
    """Load the judge's weights."""
    judge = Judge()
    judge.load_state_dict(load_file(folder / "model.safetensors"))
    return judge.eval()


def _tensor(pictures: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


@torch.inference_mode()
def _through_autoencoder(folder: Path, pictures: Tensor) -> Tensor:
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()
    blocks = [
        vae.decode(vae.encode(2 * some - 1).latent_dist.mean).sample for some in pictures.split(100)
    ]
    return (torch.cat(blocks) / 2 + 0.5).clamp(0, 1)


def _shares(name: str, judge: Judge, pictures: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """Return how often the judge finds what a scene's main object and background are."""
    pairs = list(zip(judge.classify(pictures), map(labels_of, scenes), strict=True))
    shares = {
        f"{name}_{head}": float(np.mean([found[head] == told[head] for found, told in pairs]))
        for head in judge.heads
    }
    shares[f"{name}_all"] = float(np.mean([found == told for found, told in pairs]))
    return shares


@torch.inference_mode()
def _retrieval(folder: Path, pictures: Tensor, texts: list[str]) -> float:
    model = CLIPModel.from_pretrained(folder / "encoders", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    scores = model(input_ids=tokens.input_ids, pixel_values=2 * pictures - 1).logits_per_image
    return float((scores.argmax(1) == torch.arange(len(texts))).float().mean())


def write_card(folder: Path, figures: dict[str, float], n: int) -> Path:
    """Write ``README.md`` (for people) and ``card.json`` (the figures) into the folder."""
    (folder / "card.json").write_text(json.dumps({"n": n, **figures}, indent=2) + "\n")
    rows = "\n".join(
        f"| {label} | " + " | ".join(f"{100 * figures[f'{key}_{h}']:.1f} %" for h in _HEADS) + " |"
        for label, key in (
            ("rendered scenes (is the judge right?)", "judge"),
            ("the same through the autoencoder", "decoded"),
            ("pictures sampled from captions", "sampled"),
        )
    )
    path = folder / "README.md"
    constants = {
        "sampling_steps": SAMPLING_STEPS,
        "guidance": GUIDANCE,
        "cached": CACHED_SCENES,
        "size": PICTURE_SIZE,
        "tokens": MAX_TOKENS,
    }
    path.write_text(_CARD.format(n=n, rows=rows, steps=_steps(folder), **constants, **figures))
    return path


_HEADS = ("kind", "colour", "background", "all")
_CARD = """# The phantom's latent diffusion model

A latent diffusion model of drawn scenes, small enough for a laptop, in the folder layout of
Stable Diffusion: autoencoder ({psnr_db:.1f} dB), U-Net, CLIP text encoder and tokenizer, DDIM
scheduler. Beside them a contrastive pair of encoders of the same scenes (its text tower is the
text encoder), and the judge, a classifier that has seen rendered scenes only.

All weights: {weights_mb:.1f} MB, float16, safetensors.

## Figures

Measured on {n} held-out scenes by `python -m vox2pix.phantom.card FOLDER`, which writes this page.

Autoencoder, mean PSNR: {psnr_db:.2f} dB. Caption retrieval, top-1 of {n}:
{retrieval_caption:.3f}.

How often the judge finds the captioned main kind, colour and background, and all three:

| pictures | kind | colour | background | all three |
|---|---|---|---|---|
{rows}

Sampling: {sampling_steps} DDIM steps, guidance {guidance:g}, one caption a picture.

## Training

`python -m vox2pix.phantom.train --out FOLDER`:
{steps}.

The U-Net learns from the latents of {cached:,} scenes. Its loss is the squared error, objects
weighed more than what is around them, and the cross-entropy of a frozen network that names the
kind of object in each cell of the predicted latent. That network is none of those that measure
here. Training scenes, held-out scenes and the scenes of simulated subjects are different sets.
The weights that ship were trained on two CPU cores with interruptions and changes on the way, so
that a fresh training gives their like, not their copy.

## Use and limits

For tests, teaching and simulated subjects of vox2pix. It draws the scenes of
`vox2pix.phantom.scenes` at {size} pixels and nothing else; captions are cut at {tokens} tokens.
Licence: MIT.
"""


def _steps(folder: Path) -> str:
    """Say how long each network was trained."""
    trained = read_json(folder / "training.json")
    return ", ".join(f"{name.replace('_', ' ')} {n:,} steps" for name, n in trained.items())


def main() -> None:
    """Read the command line, measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m vox2pix.phantom.card", description=__doc__)
    parser.add_argument("folder", type=Path, help="the trained pipeline folder")
    parser.add_argument("--n", type=int, default=500, help="held-out scenes")
    options = parser.parse_args()
    figures = measure(options.folder, options.n)
    for name, value in figures.items():
        print(f"{name:>22}  {value:.3f}")
    print(write_card(options.folder, figures, options.n))


if __name__ == "__main__":
    main()
