"""The images of a run: drawn from features, kept shard by shard."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.pipeline.doubts import doubtful_features, why_not_held_out
from vox2pix.pipeline.drawings import DOUBTED, Drawing, derangement, planned_drawings
from vox2pix.pipeline.latents import FloatArray, c_of, image_size, z_of
from vox2pix.pipeline.reporter import tell_damage
from vox2pix.pipeline.run import Run
from vox2pix.store import ShardedArray, load_arrays
from vox2pix.targets import TARGETS


def stored_images(run: Run, drawing: Drawing) -> ShardedArray:
    """Return what a drawing has drawn: (n_test, samples, size, size, 3), 8 bit."""
    # The autoencoder's image has the size that z was taken at.
    z = run.config.decode.targets["z"].settings
    coarse = z.get("image_size") if drawing.condition == "z-decode" else None
    size = coarse or image_size(run)
    shape = (len(run.test_ids), drawing.samples, size, size, 3)
    stage = "audit-drawing" if drawing.source in DOUBTED else "generate"
    folder = run.path / "images" / f"{drawing.name}-{run.keys[stage]}"
    stored = ShardedArray(folder, shape, np.uint8, run.config.compute.shard_size)
    tell_damage(run.reporter, stored)
    return stored


def drawings_of(run: Run) -> list[Drawing]:
    """List what a run draws; nothing of held-out clusters where none can be held out."""
    planned = planned_drawings(run.config, run.subject.has_captions)
    return [d for d in planned if d.source != "held-out" or not why_not_held_out(run)]


def as_floats(stored: NDArray[np.uint8]) -> FloatArray:
    """Bring 8-bit images to [0, 1]."""
    return np.divide(stored, 255, dtype=np.float32)


def as_bytes(images: FloatArray, truncate: bool = False) -> NDArray[np.uint8]:
    """Bring images in [0, 1] to 8 bit: rounded, or cut off as some released code does."""
    scaled = images * 255
    return (scaled if truncate else np.rint(scaled)).astype(np.uint8)


def draw(run: Run, drawings: Sequence[Drawing]) -> None:
    """Draw what is not there yet, shard by shard."""
    items = []
    for drawing in drawings:
        out = stored_images(run, drawing)
        pending = out.pending()
        tell_damage(run.reporter, out)
        done = len(run.test_ids) - sum(_length(out.rows(shard)) for shard in pending)
        run.reporter.advance(done * drawing.samples)
        items += [(drawing, shard, _length(out.rows(shard))) for shard in pending]
    for (drawing, _, n), _ in run.workers.each(_draw_shard, run, items):
        run.reporter.advance(n * drawing.samples)


def _draw_shard(run: Run, item: tuple[Drawing, int, int]) -> None:
    """Draw the images of some test stimuli, unless they are there."""
    drawing, shard, _ = item
    out = stored_images(run, drawing)
    if not out.pending([shard]):
        return
    rows = out.rows(shard)
    z, c = run.kept("stage", drawing, lambda: _features(run, drawing))
    wanted = run.config.generate
    if drawing.condition == "z-decode":
        coarse = TARGETS["z"]().images(run.model, z[rows], run.config.compute.batch_size)
        out.write(shard, as_bytes(coarse[:, None], run.config.run_protocol.truncates))
        return
    decoded = {"z": z, "c": c}
    images = reconstruct(
        run.model,
        {name: decoded[name][rows] for name in drawing.condition.split("+")},
        seeds=noise_seeds(run.config, run.test_ids[rows], drawing.samples),
        settings=ReconstructionSettings(
            strength=wanted.strength,
            steps=wanted.steps,
            guidance=wanted.guidance,
            schedule=wanted.schedule,
            samples=drawing.samples,
            truncate=run.config.run_protocol.truncates,
            sample_start=run.config.run_protocol.samples_start,
        ),
        batch_size=run.config.compute.batch_size,
        overlap=run.config.compute.overlap,
    )
    out.write(shard, as_bytes(images, run.config.run_protocol.truncates))


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def noise_seeds(config: Config, stimulus_ids: Sequence[str], samples: int) -> NDArray[np.int64]:
    """Return the seed of each image's noise, (n_stimuli, samples)."""
    # The released code seeded each process alike: every image got the same noise.
    one_noise = config.run_protocol.one_noise
    names = ["one noise for all"] * len(stimulus_ids) if one_noise else stimulus_ids
    return image_seeds(config.seed, names, samples)


def _features(run: Run, drawing: Drawing) -> tuple[FloatArray, FloatArray | None]:
    """Return z and c of the test stimuli from the drawing's source."""
    z = _feature(run, drawing, "z")
    if not run.subject.has_captions:
        return z, None
    c = _feature(run, drawing, "c")
    if drawing.source == "swapped":
        c = c[c_donors(run)]
    return z, c


def _feature(run: Run, drawing: Drawing, space: str) -> FloatArray:
    if drawing.source == "true":
        return {"z": z_of, "c": c_of}[space](run, run.test_ids)
    if drawing.source in ("mean", "noise", "held-out"):
        return doubtful_features(run, space, drawing.source)
    decoded = load_arrays(run.path / "decoded" / f"{space}.safetensors")["predicted"]
    if drawing.source == "shuffled":
        return decoded[derangement(len(decoded), run.config.seed)]
    return decoded


def c_donors(run: Run) -> NDArray[np.intp]:
    """Return whose c each image of the swapped drawing has; z is its own."""
    return derangement(len(run.test_ids), run.config.seed)
