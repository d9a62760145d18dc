"""The pictures of a run: drawn from features, kept shard by shard."""

import numpy as np
from numpy.typing import NDArray

from vox2pix.generation import ReconstructionSettings, picture_seeds, reconstruct
from vox2pix.pipeline.doubts import doubtful_features
from vox2pix.pipeline.drawings import DOUBTED, Drawing, derangement, planned_drawings
from vox2pix.pipeline.latents import FloatArray, c_of, z_of
from vox2pix.pipeline.reporter import tell_damage
from vox2pix.pipeline.run import Run
from vox2pix.store import ShardedArray, load_arrays


def stored_pictures(run: Run, drawing: Drawing) -> ShardedArray:
    """Return what a drawing has drawn: (n_test, samples, size, size, 3), 8 bit."""
    # The autoencoder's picture has the size that z was taken at.
    coarse = run.config.model.z_picture_size if drawing.condition == "z-decode" else None
    size = coarse or run.model.picture_size
    shape = (len(run.test_ids), drawing.samples, size, size, 3)
    stage = "audit-drawing" if drawing.source in DOUBTED else "generate"
    folder = run.path / "pictures" / f"{drawing.name}-{run.keys[stage]}"
    stored = ShardedArray(folder, shape, np.uint8, run.config.compute.shard_size)
    tell_damage(run.reporter, stored)
    return stored


def drawings_of(run: Run) -> list[Drawing]:
    """List what a run draws."""
    return planned_drawings(run.config, run.subject.has_captions)


def as_floats(stored: NDArray[np.uint8]) -> FloatArray:
    """Bring 8-bit pictures to [0, 1]."""
    return np.divide(stored, 255, dtype=np.float32)


def as_bytes(pictures: FloatArray) -> NDArray[np.uint8]:
    """Bring pictures in [0, 1] to 8 bit."""
    return np.rint(pictures * 255).astype(np.uint8)


def draw(run: Run, drawing: Drawing) -> None:
    """Draw what is not there yet, shard by shard."""
    out = stored_pictures(run, drawing)
    pending = out.pending()
    tell_damage(run.reporter, out)
    done = sum(out.rows(s).stop - out.rows(s).start for s in range(out.n_shards))
    done -= sum(out.rows(s).stop - out.rows(s).start for s in pending)
    run.reporter.advance(done * drawing.samples)
    if not pending:
        return
    z, c = _features(run, drawing)
    wanted = run.config.generate
    # The released code seeded each process alike: every picture got the same noise.
    names = ["one noise for all"] * len(run.test_ids) if _one_noise(run) else run.test_ids
    seeds = picture_seeds(run.config.seed, names, drawing.samples)
    settings = ReconstructionSettings(
        strength=wanted.strength,
        steps=wanted.steps,
        guidance=wanted.guidance,
        schedule=wanted.schedule,
        samples=drawing.samples,
    )
    for shard in pending:
        rows = out.rows(shard)
        pictures = reconstruct(
            run.model,
            drawing.condition,
            z=z[rows] if "z" in drawing.condition else None,
            c=c[rows] if c is not None and "c" in drawing.condition.split("+") else None,
            seeds=seeds[rows],
            settings=settings,
            batch_size=run.config.compute.batch_size,
        )
        out.write(shard, as_bytes(pictures))
        run.reporter.advance(pictures.shape[0] * drawing.samples)


def _one_noise(run: Run) -> bool:
    return run.config.protocol == "takagi2023"


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
    """Return whose c each picture of the swapped drawing has; z is its own."""
    return derangement(len(run.test_ids), run.config.seed)
