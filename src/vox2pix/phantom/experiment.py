"""Write a whole simulated experiment: images, brains, trials, files."""

import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2pix.errors import UserError
from vox2pix.phantom import dreams, early, imagery, nsd_tree
from vox2pix.phantom.brain import Brain, require_vertices, simulate_brain, stream_counts
from vox2pix.phantom.higher import Content
from vox2pix.phantom.noise import NcsnrMeter, draw_no_data
from vox2pix.phantom.nsd_tree import Design
from vox2pix.phantom.settings import Settings
from vox2pix.phantom.stimuli import Stimuli, drawn_scenes, own_images
from vox2pix.phantom.truth import (
    write_truth_of_brain,
    write_truth_of_imagery,
    write_truth_of_stimuli,
)
from vox2pix.seeds import rng_for
from vox2pix.store import swapped_in

Progress = Callable[[str, int, int], None]

_SPARE_BYTES = 4_000_000  # captions, labels, truth
_BATCH = 100


def write_experiment(
    out: Path, settings: Settings, own: tuple[Path, Path] | None, progress: Progress
) -> None:
    """Simulate all subjects and write the tree; ``own`` is a folder of images and its captions."""
    if "fsaverage5" in settings.spaces:
        require_vertices(stream_counts(settings.n_early, settings.n_ventral))
    design = nsd_tree.draw_design(
        settings.subjects,
        settings.sessions,
        settings.trials_per_session,
        settings.repeats,
        settings.n_shared,
        rng_for(settings.seed, "design"),
    )
    if own is None:
        stimuli = drawn_scenes(design.n_stimuli, settings.scene_seed)
    else:
        stimuli = own_images(*own, design.n_stimuli, settings.seed)
    with swapped_in(out, "simulation", checksums=False) as partial:
        nsd_tree.write_marker(partial, settings.seed, own_images=own is not None)
        _write_shared(partial, design, stimuli, settings, progress)
        for subject in range(1, settings.subjects + 1):
            _write_subject(partial, design, stimuli, subject, settings, progress)


def _write_shared(
    root: Path, design: Design, stimuli: Stimuli, settings: Settings, progress: Progress
) -> None:
    """Write what all subjects share: design, stimulus table, images, captions."""
    image_size = settings.image_size
    _require_space(root, design.n_stimuli * image_size**2 * 3)
    coco_ids, splits = nsd_tree.draw_coco_ids(design.n_stimuli, rng_for(settings.seed, "coco"))
    nsd_tree.write_design(root, design)
    nsd_tree.write_stimulus_info(root, design, coco_ids, splits)
    nsd_tree.write_captions(root, stimuli.captions, coco_ids, splits)
    if settings.imagery:
        imagery.write_images(root, imagery.draw_imagined(design, settings))
    with nsd_tree.create_stimuli(root, design.n_stimuli, image_size) as file:
        for index in range(design.n_stimuli):
            file["imgBrick"][index] = stimuli.image(index, image_size)
            if index % _BATCH == 0:
                progress("images", index, design.n_stimuli)
    progress("images", design.n_stimuli, design.n_stimuli)


def _write_subject(
    root: Path,
    design: Design,
    stimuli: Stimuli,
    subject: int,
    settings: Settings,
    progress: Progress,
) -> None:
    """Write one subject's behaviour, anatomy, betas, ncsnr and truth."""
    seed, n_voxels = settings.seed, (settings.n_early, settings.n_ventral)
    nsd_tree.write_responses(root, design, subject, rng_for(seed, "behaviour", subject))
    seen = design.subject_stimuli[subject - 1]
    content = stimuli.content.rows(seen)
    brains = [simulate_brain(subject, space, *n_voxels, content, seed) for space in settings.spaces]
    all_drives = _early_drives(root, seen, brains, f"subject {subject}: early responses", progress)
    for brain in brains:
        places = prod(brain.layout.shape) if brain.layout.space != "fsaverage5" else 0
        values = (4 if settings.nifti else 2) * places or 4 * brain.layout.n_voxels
        _require_space(root, design.n_sessions * design.trials_per_session * values)
    truth = root / "truth" / f"subj{subject:02d}.h5"
    truth.parent.mkdir(exist_ok=True)
    with h5py.File(truth, "w") as file:
        write_truth_of_stimuli(file, design, stimuli, subject, content, settings)
        for brain, drives in zip(brains, all_drives, strict=True):
            nsd_tree.write_anatomy(root, brain)
            responses = brain.responses(*drives, content)
            write_truth_of_brain(file.create_group(brain.layout.space), brain, responses)
            # drawn apart from the noise, so that the other voxels do not depend on it
            rng = rng_for(seed, "no data", subject, brain.layout.space)
            height, stream = brain.layout.position[:, 2], brain.layout.stream
            missing = draw_no_data(height, stream, design.n_sessions, rng) & settings.no_data
            file[f"{brain.layout.space}/no_data"] = missing
            ncsnr = _write_betas(root, design, brain, responses, missing, settings, progress)
            nsd_tree.write_ncsnr(root, brain, ncsnr)
        if settings.imagery:
            _write_imagery(root, file, design, brains, all_drives, content, settings)
            progress(f"subject {subject}: imagery", 1, 1)


def _write_imagery(
    root: Path,
    truth: Any,
    design: Design,
    brains: list[Brain],
    all_drives: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    content: Content,
    settings: Settings,
) -> None:
    """Write the imagery session and the dreams of a subject, and the truth behind them.

    Signals are standardised over the experiment's images and the imagined ones together, so that
    both are on one scale.
    """
    subject, seed = brains[0].subject, settings.seed
    imagined = imagery.draw_imagined(design, settings)
    slept = dreams.draw_dreams(settings.scene_seed, design.n_stimuli + 1, subject, seed)
    plan = imagery.draw_plan(rng_for(seed, "imagery order", subject))
    imagery.write_tables(root, subject, plan, imagined, rng_for(seed, "imagery buttons", subject))
    grey = np.full((6, settings.image_size, settings.image_size, 3), 0.5, np.float32)
    images = np.concatenate([np.stack(list(imagined.images.values())), grey])
    maps = early.channel_maps(
        resize_images(np.rint(images * 255).astype(np.uint8), early.IMAGE_SIZE)
    )
    every = content.joined(imagined.content)
    for brain, drives in zip(brains, all_drives, strict=True):
        own = early.drives(maps, brain.fields.gaussians(), brain.early_tuning)
        both = [np.concatenate(pair) for pair in zip(drives, own, strict=True)]
        responses = brain.responses(both[0], both[1], every)[-len(images) :]
        case = settings.imagery[subject - 1]
        parts = imagery.imagery_truth(brain, responses, case, seed)
        betas = imagery.imagery_betas(brain, plan, parts, seed)
        imagery.write_betas(root, brain, betas, settings.nifti)
        folder = root / f"dreams/{brain.layout.space}/subj{subject:02d}"
        dreamt = dreams.dream_betas(brain, slept, content, seed)
        dreams.write_dreams(folder, brain, dreamt, slept)
        write_truth_of_imagery(
            truth.create_group(f"{brain.layout.space}/imagery"), plan, parts, case
        )


def _require_space(root: Path, n_bytes: int) -> None:
    """Refuse what the disk cannot hold: HDF5 does not survive a disk that fills under it."""
    free = shutil.disk_usage(root).free
    if free < n_bytes + _SPARE_BYTES:
        raise UserError(
            f"{root.parent} has {free / 1e6:,.1f} MB free, and simulating takes "
            f"{(n_bytes + _SPARE_BYTES) / 1e6:,.1f} MB more; free space or name another folder."
        )


def _early_drives(
    root: Path, seen: NDArray[np.int64], brains: list[Brain], what: str, progress: Progress
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the linear and energy drives of each brain's early voxels to the images seen."""
    fields = [brain.fields.gaussians() for brain in brains]
    parts: list[list[tuple[Any, Any]]] = [[] for _ in brains]
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path, "r") as file:
        for start in range(0, len(seen), _BATCH):
            rows = seen[start : start + _BATCH]
            images = np.stack([file["imgBrick"][row] for row in rows])
            maps = early.channel_maps(resize_images(images, early.IMAGE_SIZE))
            for part, brain, laid in zip(parts, brains, fields, strict=True):
                part.append(early.drives(maps, laid, brain.early_tuning))
            progress(what, start + len(rows), len(seen))
    return [(np.concatenate([a for a, _ in p]), np.concatenate([b for _, b in p])) for p in parts]


def _write_betas(
    root: Path,
    design: Design,
    brain: Brain,
    responses: NDArray[np.float32],
    missing: NDArray[np.bool_],
    settings: Settings,
    progress: Progress,
) -> NDArray[np.float32]:
    """Write every session's betas; return the ncsnr measured on what was written.

    A voxel without data in a session counts there as one that does not respond.
    """
    space = brain.layout.space
    meter = NcsnrMeter(design.n_images, brain.layout.n_voxels)
    lengths = nsd_tree.run_lengths(design.trials_per_session)
    for session in range(1, design.n_sessions + 1):
        shown = design.session_images(session)
        rng = rng_for(settings.seed, "noise", brain.subject, space, session)
        betas = brain.noise.draw_session(lengths, rng)
        betas += responses[shown]
        written = nsd_tree.write_session(
            root, brain, session, betas, missing[session - 1], settings.nifti
        )
        meter.add_session(shown, np.nan_to_num(written))
        progress(f"subject {brain.subject}: {space} betas", session, design.n_sessions)
    return meter.result()


def resize_images(images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Return 8-bit images (n, height, width, 3) as float32 in [0, 1], (n, size, size, 3)."""
    if images.shape[1:3] == (size, size):
        return images.astype(np.float32) / np.float32(255)
    # An exact divisor is averaged in blocks, which is much faster than a resampling filter.
    factor = images.shape[1] // size
    if images.shape[1:3] == (factor * size, factor * size):
        blocks = images.reshape(len(images), size, factor, size, factor, 3)
        return blocks.mean(axis=(2, 4), dtype=np.float32) / np.float32(255)
    resized = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))
        for image in images
    ]
    return np.stack(resized).astype(np.float32) / np.float32(255)
