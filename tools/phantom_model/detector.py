"""An independent detector: names every object of an image with its kind and colour.

A small CenterNet (Zhou, Wang & Kraehenbuehl 2019): a map of object centres, and the kind and
colour at each centre. It is trained on renders and on autoencoder round trips of training scenes,
never on a drawn image, so that it can measure what the diffusion model draws.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tools.phantom_model import autoencoder
from tools.phantom_model.scene_sets import (
    IMAGE_SIZE,
    Renders,
    cached,
    draw_indices,
    object_counts,
    training_scene,
)
from tools.phantom_model.training import Place, Schedule, fit
from vox2pix.phantom.scenes import BACKGROUNDS, COLOURS, KINDS, Scene

SCHEDULE = Schedule(steps=1200, decay_steps=800, rate=2e-3, average=0.99)
BATCH = 48
STRIDE = 4  # pixels of a cell: centres of neighbouring objects are at least 9 pixels apart
SPREAD = 0.8  # standard deviation of a centre's target, in cells
THRESHOLD = 0.4  # of a centre's probability
ROUND_TRIPS = 4_000  # training scenes that also pass through each autoencoder
NOISE = 0.06  # largest standard deviation of pixel noise in training

Pair = tuple[str, str]


class Detector(nn.Module):
    """Centres, kinds and colours on a 16 x 16 grid, and the background of the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = _block(3, 24)
        self.middle = _block(24, 48)
        self.coarse = _block(48, 96)
        self.coarsest = _block(96, 128)
        self.up_middle = _block(128 + 96, 96, pool=False)
        self.up_fine = _block(96 + 48, 64, pool=False)
        self.centre = nn.Conv2d(64, 1, 1)
        # Few cells are centres (Lin et al. 2017, section 4.1).
        nn.init.constant_(cast(Tensor, self.centre.bias), -4.0)
        self.kind = nn.Conv2d(64, len(KINDS), 1)
        self.colour = nn.Conv2d(64, len(COLOURS), 1)
        self.background = nn.Linear(128, len(BACKGROUNDS))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits of images in [-1, 1]: centre, kind, colour per cell; background."""
        half = self.fine(images)  # 32 x 32
        quarter = self.middle(half)
        eighth = self.coarse(quarter)
        last = self.coarsest(eighth)  # 4 x 4
        up = functional.interpolate(last, scale_factor=2.0)
        up = functional.interpolate(self.up_middle(torch.cat([up, eighth], 1)), scale_factor=2.0)
        up = self.up_fine(torch.cat([up, quarter], 1))  # 16 x 16
        return {
            "centre": self.centre(up)[:, 0],
            "kind": self.kind(up),
            "colour": self.colour(up),
            "background": self.background(last.mean((2, 3))),
        }

    @torch.inference_mode()
    def detect(self, images: Tensor, batch: int = 100) -> list[list[Pair]]:
        """Return kind and colour of each object found in images in [-1, 1], (n, 3, 64, 64)."""
        return [found for some in images.split(batch) for found in self._detect(some)]

    def _detect(self, images: Tensor) -> list[list[Pair]]:
        logits = self(images)
        heat = logits["centre"].float().sigmoid()
        peaks = (heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (heat > THRESHOLD)
        kinds, colours = list(KINDS), list(COLOURS)
        found: list[list[Pair]] = [[] for _ in images]
        for n, row, column in peaks.nonzero().tolist():
            kind = int(logits["kind"][n, :, row, column].argmax())
            colour = int(logits["colour"][n, :, row, column].argmax())
            found[n].append((kinds[kind], colours[colour]))
        return found

    @torch.inference_mode()
    def backgrounds(self, images: Tensor, batch: int = 100) -> list[str]:
        """Name the background of each image."""
        names = list(BACKGROUNDS)
        logits = torch.cat([self(some)["background"] for some in images.split(batch)])
        return [names[i] for i in logits.argmax(1).tolist()]


def _block(narrow: int, wide: int, pool: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (narrow, wide):
        layers += [nn.Conv2d(width, wide, 3, padding=1), nn.GroupNorm(8, wide), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def targets(shown: Sequence[Scene], size: int = IMAGE_SIZE // STRIDE) -> dict[str, Tensor]:
    """Return what the detector should say: a heat map of centres, kinds, colours, backgrounds.

    ``kind`` and ``colour`` are -1 in cells that are no object's centre.
    """
    ticks = np.arange(size)
    heat = np.zeros((len(shown), size, size), np.float32)
    kind, colour = np.full_like(heat, -1, np.int64), np.full_like(heat, -1, np.int64)
    for n, one in enumerate(shown):
        for thing in one.objects:
            column, row = int(thing.x * size), int(thing.y * size)
            squared = (ticks - column) ** 2 + (ticks[:, None] - row) ** 2
            heat[n] = np.maximum(heat[n], np.exp(-squared / (2 * SPREAD**2)))
            kind[n, row, column] = list(KINDS).index(thing.kind)
            colour[n, row, column] = list(COLOURS).index(thing.colour)
    background = [list(BACKGROUNDS).index(one.background) for one in shown]
    return {
        "centre": torch.from_numpy(heat),
        "kind": torch.from_numpy(kind),
        "colour": torch.from_numpy(colour),
        "background": torch.tensor(background),
    }


def detection_loss(logits: dict[str, Tensor], right: dict[str, Tensor]) -> Tensor:
    """Return the focal loss of centres plus cross-entropies of kinds, colours and backgrounds.

    The focal loss is that of Law & Deng 2018, with its exponents 2 and 4.
    """
    heat, goal = logits["centre"].float(), right["centre"]
    chance = heat.sigmoid()
    at_centre = goal == 1
    hit = (1 - chance) ** 2 * functional.logsigmoid(heat)
    miss = (1 - goal) ** 4 * chance**2 * functional.logsigmoid(-heat)
    loss = -torch.where(at_centre, hit, miss).sum() / at_centre.sum()
    for name in ("kind", "colour"):
        loss = loss + functional.cross_entropy(logits[name].float(), right[name], ignore_index=-1)
    return loss + functional.cross_entropy(logits["background"].float(), right["background"])


def train(
    weights: Path,
    renders: Renders,
    schedule: Schedule,
    place: Place,
    autoencoders: Sequence[Path] = (),
) -> int:
    """Train the detector and write its weights in float16.

    Round trips pass through the autoencoders of the pipeline folders that are given.
    """
    model = Detector()
    counts = object_counts(len(renders.images))
    trips = [_round_trips(folder, renders, place.checkpoints.parent) for folder in autoencoders]

    def loss(step: int, rng: np.random.Generator) -> Tensor:
        chosen = draw_indices(counts, BATCH // 2, rng)
        images = [renders.batch(chosen, place.device)[0]]
        shown = list(chosen)
        for array in trips:
            some = draw_indices(counts[: len(array)], BATCH // 2 // len(trips), rng)
            images.append(torch.from_numpy(array[some]).to(place.device).float() / 127.5 - 1)
            shown += list(some)
        batch = torch.cat(images)
        noise = rng.standard_normal(batch.shape, dtype=np.float32) * rng.uniform(0, NOISE)
        logits = model(batch + torch.from_numpy(noise.astype(np.float32)).to(place.device))
        right = targets([training_scene(int(i)) for i in shown])
        return detection_loss(logits, {k: v.to(place.device) for k, v in right.items()})

    steps = fit("detector", model, loss, schedule, place)
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, weights)
    return steps


def load(weights: Path) -> Detector:
    """Load a trained detector."""
    model = Detector()
    model.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    return model.eval()


def _round_trips(folder: Path, renders: Renders, out: Path) -> NDArray[np.uint8]:
    """Pass training renders through an autoencoder once: uint8, (n, 3, 64, 64)."""
    vae = autoencoder.load(folder)

    def rows(start: int, stop: int) -> NDArray[np.uint8]:
        images, _ = renders.batch(np.arange(start, stop), torch.device("cpu"))
        made = autoencoder.decode(vae, autoencoder.encode(vae, images))
        return (127.5 * (made + 1)).round().to(torch.uint8).numpy()

    n = min(ROUND_TRIPS, len(renders.images))
    key = autoencoder.weights_hash(folder / "vae")
    return cached(out / "cache" / f"round-trips-{key}-{n}.npy", n, rows)
