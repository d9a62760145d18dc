"""Train the phantom's networks: ``python -m tools.phantom_model.train STAGE --out FOLDER``."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from tools.phantom_model import autoencoder, detector, text_tower, unet
from tools.phantom_model.scene_sets import TRAINING_SCENES, Renders
from tools.phantom_model.training import Place, Schedule
from vox2pix.diffusion.pipeline_folder import find_pipeline
from vox2pix.seeds import seed_for
from vox2pix.store import claim, read_json, write_json


def _autoencoder(out: Path, schedule: Schedule, place: Place, n: int) -> int:
    return autoencoder.train(out, Renders(out / "cache", n), schedule, place)


def _text_tower(out: Path, schedule: Schedule, place: Place, n: int) -> int:
    return text_tower.train(out, Renders(out / "cache", n), schedule, place)


def _unet(out: Path, schedule: Schedule, place: Place, n: int) -> int:
    return unet.train(out, Renders(out / "cache", n), schedule, place)


def _detector(out: Path, schedule: Schedule, place: Place, n: int) -> int:
    # It measures the new model and the one that ships, so it sees what either decoder draws.
    folders = [f for f in (out, find_pipeline("phantom").path) if (f / "vae").is_dir()]
    weights = out / "detector" / "model.safetensors"
    return detector.train(weights, Renders(out / "cache", n), schedule, place, folders)


STAGES: dict[str, tuple[Callable[[Path, Schedule, Place, int], int], Schedule]] = {
    "autoencoder": (_autoencoder, autoencoder.SCHEDULE),
    "text_tower": (_text_tower, text_tower.SCHEDULE),
    "unet": (_unet, unet.SCHEDULE),
    "detector": (_detector, detector.SCHEDULE),
}


def train_stage(
    stage: str,
    out: Path,
    steps: int | None = None,
    decay_steps: int | None = None,
    device: str = "cpu",
    compiled: bool = False,
    n_scenes: int = TRAINING_SCENES,
) -> None:
    """Train one network (a key of ``STAGES``, after those it needs) into a pipeline folder.

    Checkpoints go to ``out/checkpoints``, what is embedded once to ``out/cache``. ``steps`` and
    ``decay_steps`` replace the stage's own; ``compiled`` compiles the U-Net (needs a C++ compiler).
    """
    run, schedule = STAGES[stage]
    schedule = dataclasses.replace(
        schedule,
        steps=schedule.steps if steps is None else steps,
        decay_steps=schedule.decay_steps if decay_steps is None else decay_steps,
    )
    claim(out, "model")
    torch.manual_seed(seed_for(0, stage))
    place = Place(out / "checkpoints", torch.device(device), compiled)
    place.checkpoints.mkdir(parents=True, exist_ok=True)
    made = run(out, schedule, place, n_scenes)
    path = out / "training.json"
    write_json(path, (read_json(path) if path.exists() else {}) | {stage: made})


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m tools.phantom_model.train")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--out", type=Path, required=True, help="the pipeline folder to write")
    parser.add_argument("--steps", type=int, help="constant-rate steps in total")
    parser.add_argument("--decay-steps", type=int, help="steps with the rate falling to zero")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="compile the U-Net")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    train_stage(
        options.stage,
        options.out,
        options.steps,
        options.decay_steps,
        options.device,
        options.compile,
    )


if __name__ == "__main__":
    main()
