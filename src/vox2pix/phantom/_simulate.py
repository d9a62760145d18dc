"""Simulate a whole experiment: images, brains, trials, files."""

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2pix.errors import UserError
from vox2pix.seeds import rng_for, seed_for
from vox2pix.store import swapped_in
from vox2pix.untrusted.text import read_json, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vox2pix.phantom.brain import Brain
    from vox2pix.phantom.higher import Content
    from vox2pix.phantom.nsd_tree import Design

Progress = Callable[[str, int, int], None]

SPACES = ("func1pt8mm", "fsaverage5")
IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_SPARE_BYTES = 4_000_000  # captions, labels, truth
_BATCH = 100


@dataclass(frozen=True)
class _Stimuli:
    """The images of an experiment: how to get one, what each shows, what they are called."""

    image: Callable[[int, int], "NDArray[np.uint8]"]
    captions: tuple[tuple[str, ...], ...]
    content: "Content"
    names: tuple[str, ...]


@dataclass(frozen=True)
class _BetaOptions:
    """How betas are written: with voxels that lack data, with NIfTI beside HDF5."""

    no_data: bool
    nifti: bool


def simulate(
    out: str | Path,
    subjects: int = 1,
    sessions: int = 4,
    seed: int = 0,
    space: str | Sequence[str] = "func1pt8mm",
    n_early: int = 1500,
    n_ventral: int = 1500,
    trials_per_session: int = 750,
    images: str | Path | None = None,
    captions: str | Path | None = None,
    *,
    repeats: int = 3,
    n_shared: int | None = None,
    image_size: int = 128,
    no_data: bool = True,
    nifti: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Simulate an fMRI experiment and write it as the Natural Scenes Dataset is written.

    The tree at ``out`` has NSD's folders and file formats. The truth behind it (noise-free
    responses, receptive fields, tunings, noise) is in ``out/truth/subjNN.h5``, which no reader of
    NSD looks at. The same arguments give the same files, byte for byte. The folder appears when
    it is complete: an interrupted run leaves nothing at ``out``.

    Parameters
    ----------
    out : str or Path
        Folder to make; it must not exist.
    subjects : int
        How many people, from ``subj01``.
    sessions, trials_per_session : int
        Length of the experiment; NSD has 40 sessions of 750 trials.
    seed : int
        Everything random follows from it.
    space : str or sequence of str
        ``"func1pt8mm"`` (volume), ``"fsaverage5"`` (surface), or both (``"both"`` or a list).
    n_early, n_ventral : int
        Voxels (or vertices) in these streams of subject 1; the other streams are smaller.
    images : str or Path, optional
        A folder of images to show instead of drawn scenes; square crops of their middle.
    captions : str or Path, optional
        Captions of ``images``, by which higher voxels respond: a CSV file with columns
        ``stimulus_id`` (the image's file name, with or without its ending) and ``caption``,
        a line each, or a COCO annotation file, whose ``image_id`` is the number in the name.
    repeats : int
        How often each image is shown to a subject.
    n_shared : int, optional
        Images that all subjects see, the test set; a tenth of a subject's images if not given.
    image_size : int
        Side of the stored images in pixels (425 in NSD).
    no_data : bool
        Whether a few voxels at the edge lack data in a session, as in NSD: 0 in volumes, NaN on
        surfaces. The other voxels are the same with and without.
    nifti : bool
        Whether volumes are written as NIfTI beside HDF5, as in NSD.
    progress : callable, optional
        Called with what is being done, how much is done and how much there is.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UserError
        If ``out`` exists or cannot be made, a number or a space is not possible, or images and
        captions do not fit the experiment.
    """
    out = Path(out)
    spaces = _checked_spaces(space)
    _check_numbers(
        subjects=subjects,
        sessions=sessions,
        trials_per_session=trials_per_session,
        repeats=repeats,
        n_early=n_early,
        n_ventral=n_ventral,
        image_size=image_size,
    )
    n_images = -(-sessions * trials_per_session // repeats)
    shared = max(1, n_images // 10) if n_shared is None else n_shared
    if not 1 <= shared < n_images:
        raise UserError(
            f"{shared} shared images are not possible with {n_images} images a subject: "
            f"give n_shared between 1 and {n_images - 1}, or more trials."
        )
    if (images is None) != (captions is None):
        given, lacking = ("images", "captions") if captions is None else ("captions", "images")
        raise UserError(
            f"{given} were given without {lacking}: a person's own images need both "
            "(higher voxels respond to the words of the captions)."
        )
    if os.path.lexists(out):
        raise UserError(f"{out} exists: name a folder that does not, or remove it first.")
    tell = progress or _silent
    from vox2pix.phantom import brain, nsd_tree

    if "fsaverage5" in spaces:
        brain.require_vertices(brain.stream_counts(n_early, n_ventral))
    design = nsd_tree.draw_design(
        subjects, sessions, trials_per_session, repeats, shared, rng_for(seed, "design")
    )
    if images is None or captions is None:
        stimuli = _scenes(design.n_stimuli, seed)
    else:
        stimuli = _own_images(Path(images), Path(captions), design, seed)

    with swapped_in(out, "simulation", checksums=False) as partial:
        nsd_tree.write_marker(partial, seed, own_images=images is not None)
        _write_experiment(partial, design, stimuli, seed, image_size, tell)
        options = _BetaOptions(no_data, nifti)
        for subject in range(1, subjects + 1):
            _write_subject(
                partial, design, stimuli, subject, spaces, (n_early, n_ventral), seed, options, tell
            )
    return out


def scene_seed(seed: int) -> int:
    """Return the seed of the scenes: stimulus ``nsdId`` is ``scene(nsdId, scene_seed(seed))``."""
    return seed_for(seed, "phantom", "scenes")


# --- the experiment ----------------------------------------------------------------------------


def _write_experiment(
    root: Path, design: "Design", stimuli: _Stimuli, seed: int, image_size: int, tell: Progress
) -> None:
    """Write what all subjects share: design, stimulus table, images, captions."""
    from vox2pix.phantom import nsd_tree

    _require_space(root, design.n_stimuli * image_size**2 * 3)
    coco_ids, splits = nsd_tree.draw_coco_ids(design.n_stimuli, rng_for(seed, "coco"))
    nsd_tree.write_design(root, design)
    nsd_tree.write_stimulus_info(root, design, coco_ids, splits)
    nsd_tree.write_captions(root, stimuli.captions, coco_ids, splits)
    with nsd_tree.create_stimuli(root, design.n_stimuli, image_size) as file:
        for index in range(design.n_stimuli):
            file["imgBrick"][index] = stimuli.image(index, image_size)
            if index % _BATCH == 0:
                tell("images", index, design.n_stimuli)
    tell("images", design.n_stimuli, design.n_stimuli)


def _write_subject(
    root: Path,
    design: "Design",
    stimuli: _Stimuli,
    subject: int,
    spaces: tuple[str, ...],
    n_voxels: tuple[int, int],
    seed: int,
    options: _BetaOptions,
    tell: Progress,
) -> None:
    """Write one subject's behaviour, anatomy, betas, ncsnr and truth."""
    import h5py

    from vox2pix.phantom import nsd_tree
    from vox2pix.phantom.brain import simulate_brain
    from vox2pix.phantom.noise import draw_no_data

    nsd_tree.write_responses(root, design, subject, rng_for(seed, "behaviour", subject))
    seen = design.subject_stimuli[subject - 1]
    content = stimuli.content.rows(seen)
    brains = [simulate_brain(subject, space, *n_voxels, content, seed) for space in spaces]
    all_drives = _early_drives(root, seen, brains, f"subject {subject}: early responses", tell)
    for brain in brains:
        places = prod(brain.layout.shape) if brain.layout.space != "fsaverage5" else 0
        values = (4 if options.nifti else 2) * places or 4 * brain.layout.n_voxels
        _require_space(root, design.n_sessions * design.trials_per_session * values)
    truth = root / "truth" / f"subj{subject:02d}.h5"
    truth.parent.mkdir(exist_ok=True)
    with h5py.File(truth, "w") as file:
        _write_truth_of_stimuli(file, design, stimuli, subject, content, seed)
        for brain, drives in zip(brains, all_drives, strict=True):
            nsd_tree.write_anatomy(root, brain)
            responses = brain.responses(*drives, content)
            _write_truth_of_brain(file.create_group(brain.layout.space), brain, responses)
            # drawn apart from the noise, so that the other voxels do not depend on it
            rng = rng_for(seed, "no data", subject, brain.layout.space)
            height, stream = brain.layout.position[:, 2], brain.layout.stream
            missing = draw_no_data(height, stream, design.n_sessions, rng) & options.no_data
            file[f"{brain.layout.space}/no_data"] = missing
            ncsnr = _write_betas(root, design, brain, responses, missing, seed, options.nifti, tell)
            nsd_tree.write_ncsnr(root, brain, ncsnr)


def _require_space(root: Path, n_bytes: int) -> None:
    """Refuse what the disk cannot hold: HDF5 does not survive a disk that fills under it."""
    free = shutil.disk_usage(root).free
    if free < n_bytes + _SPARE_BYTES:
        raise UserError(
            f"{root.parent} has {free / 1e6:,.1f} MB free, and simulating takes "
            f"{(n_bytes + _SPARE_BYTES) / 1e6:,.1f} MB more; free space or name another folder."
        )


def _early_drives(
    root: Path, seen: "NDArray[np.int64]", brains: "list[Brain]", what: str, tell: Progress
) -> "list[tuple[NDArray[np.float32], NDArray[np.float32]]]":
    """Return the linear and energy drives of each brain's early voxels to the images seen."""
    import h5py
    import numpy as np

    from vox2pix.phantom import early

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
            tell(what, start + len(rows), len(seen))
    return [(np.concatenate([a for a, _ in p]), np.concatenate([b for _, b in p])) for p in parts]


def _write_betas(
    root: Path,
    design: "Design",
    brain: "Brain",
    responses: "NDArray[np.float32]",
    missing: "NDArray[np.bool_]",
    seed: int,
    nifti: bool,
    tell: Progress,
) -> "NDArray[np.float32]":
    """Write every session's betas; return the ncsnr measured on what was written.

    A voxel without data in a session counts there as one that does not respond.
    """
    import numpy as np

    from vox2pix.phantom import nsd_tree
    from vox2pix.phantom.noise import NcsnrMeter

    space = brain.layout.space
    meter = NcsnrMeter(design.n_images, brain.layout.n_voxels)
    lengths = nsd_tree.run_lengths(design.trials_per_session)
    for session in range(1, design.n_sessions + 1):
        shown = design.session_images(session)
        rng = rng_for(seed, "noise", brain.subject, space, session)
        betas = brain.noise.draw_session(lengths, rng)
        betas += responses[shown]
        written = nsd_tree.write_session(root, brain, session, betas, missing[session - 1], nifti)
        meter.add_session(shown, np.nan_to_num(written))
        tell(f"subject {brain.subject}: {space} betas", session, design.n_sessions)
    return meter.result()


def resize_images(images: "NDArray[np.uint8]", size: int) -> "NDArray[np.float32]":
    """Return 8-bit images (n, height, width, 3) as float32 in [0, 1], (n, size, size, 3)."""
    import numpy as np
    from PIL import Image

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


# --- truth -------------------------------------------------------------------------------------


def _write_truth_of_stimuli(
    file: Any, design: "Design", stimuli: _Stimuli, subject: int, content: "Content", seed: int
) -> None:
    """Write which stimuli the rows of the truth belong to, and what they show."""
    file.attrs["seed"] = seed
    file.attrs["scene_seed"] = scene_seed(seed)
    file["nsd_id"] = design.subject_stimuli[subject - 1]
    file["stimulus_name"] = [stimuli.names[k] for k in design.subject_stimuli[subject - 1]]
    file["content/names"] = list(content.names)
    file["content/groups"] = list(content.groups)
    file["content/values"] = content.values
    file["content/position"] = content.position


def _write_truth_of_brain(group: Any, brain: "Brain", responses: "NDArray[np.float32]") -> None:
    """Write noise-free responses, receptive fields, tunings and noise of one space.

    ``responses`` and all arrays without a word about voxels have a row or column for each brain
    voxel; ``early`` and ``higher`` hold the rows of receptive fields and tunings.
    """
    layout = brain.layout
    group.attrs["reliability"] = brain.reliability
    group["index"] = layout.index
    group["hemisphere"] = layout.hemisphere
    group["position"] = layout.position
    group["stream"] = layout.stream
    group["visual_area"] = brain.visual_area()
    group["baseline"] = brain.baseline
    group["signal_sd"] = brain.signal_sd
    group["ncsnr"] = brain.ncsnr
    group["responsive"] = brain.responsive
    group["responses"] = responses[:, brain.responsive]
    for name in ("x", "y", "sigma"):
        group[f"early/{name}"] = getattr(brain.fields, name)
    group["early/voxel"] = brain.early
    for name in ("linear", "energy", "linear_share"):
        group[f"early/{name}"] = getattr(brain.early_tuning, name)
    group["higher/voxel"] = brain.higher
    group["higher/groups"] = list(brain.higher_tuning.groups)
    for name in ("weights", "shares", "position"):
        group[f"higher/{name}"] = getattr(brain.higher_tuning, name)
    noise = brain.noise
    group["noise/sd"] = noise.sd
    for name in ("data", "indices", "indptr"):
        group[f"noise/smoothing/{name}"] = getattr(noise.smoothing, name)
    for name in ("independent", "local", "common", "ar1", "session_shift"):
        group["noise"].attrs[name] = getattr(noise, name)


# --- images ----------------------------------------------------------------------------------


def _scenes(n_stimuli: int, seed: int) -> _Stimuli:
    """Return drawn scenes; stimulus k is scene k."""
    import numpy as np

    from vox2pix.phantom import scenes
    from vox2pix.phantom.higher import scene_content

    drawn = [scenes.scene(index, scene_seed(seed)) for index in range(n_stimuli)]

    def image(index: int, size: int) -> "NDArray[np.uint8]":
        return np.rint(scenes.render(drawn[index], size) * 255).astype(np.uint8)

    return _Stimuli(
        image=image,
        captions=tuple(scenes.captions(scene) for scene in drawn),
        content=scene_content(drawn),
        names=tuple(f"scene {index}" for index in range(n_stimuli)),
    )


def _own_images(folder: Path, captions: Path, design: "Design", seed: int) -> _Stimuli:
    """Return a person's images: as many as the experiment shows, drawn at random."""
    from vox2pix.phantom.higher import caption_content

    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: images names a folder of images.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_TYPES)
    if len(files) < design.n_stimuli:
        raise UserError(
            f"{folder} holds {len(files)} images, and the experiment shows "
            f"{design.n_stimuli}: give more images, fewer sessions or more repeats."
        )
    chosen = rng_for(seed, "pictures").permutation(len(files))[: design.n_stimuli]
    files = [files[index] for index in sorted(chosen)]
    captions_of = _read_captions(captions)
    lines = []
    for path in files:
        number = path.stem.lstrip("0") or path.stem
        texts = captions_of.get(path.name) or captions_of.get(path.stem) or captions_of.get(number)
        if not texts:
            raise UserError(f"{captions} has no caption of {path.name}: add one, or remove it.")
        lines.append(tuple(texts))
    try:
        content = caption_content(lines)
    except ValueError as error:
        raise UserError(f"{captions}: {error}; write captions that name what is seen.") from error

    def image(index: int, size: int) -> "NDArray[np.uint8]":
        return _read_image(files[index], size)

    return _Stimuli(image, tuple(lines), content, tuple(path.name for path in files))


def _read_captions(path: Path) -> dict[str, list[str]]:
    """Return the captions in a CSV or COCO file by stimulus id."""
    captions: dict[str, list[str]] = {}
    try:
        if path.suffix.lower() == ".json":
            for note in read_json(path, 2**30)["annotations"]:
                captions.setdefault(str(note["image_id"]), []).append(str(note["caption"]))
        else:
            with StringIO(read_text(path, 2**30, encoding="utf-8-sig"), newline="") as file:
                rows = csv.DictReader(file)
                for row in rows:
                    if row["stimulus_id"] is None or row["caption"] is None:
                        raise UserError(
                            f"{path}, line {rows.line_num}: the row ends before its "
                            f"{'caption' if row['caption'] is None else 'stimulus_id'}: "
                            "complete or remove it."
                        )
                    captions.setdefault(row["stimulus_id"], []).append(row["caption"])
    except (KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is no caption file: write a CSV with columns stimulus_id and caption, or "
            "COCO's JSON with a list of annotations that have image_id and caption."
        ) from error
    return captions


def _read_image(path: Path, size: int) -> "NDArray[np.uint8]":
    """Return the square middle of an image at a size, RGB."""
    import numpy as np
    from PIL import Image, ImageOps

    from vox2pix.untrusted.images import open_image

    with open_image(path, _FORMATS) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    middle = upright.crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((size, size), Image.Resampling.LANCZOS))


# --- checks ------------------------------------------------------------------------------------


def _checked_spaces(space: str | Sequence[str]) -> tuple[str, ...]:
    """Return the spaces asked for, in the order of ``SPACES``."""
    requested = SPACES if space == "both" else (space,) if isinstance(space, str) else tuple(space)
    unknown = [name for name in requested if name not in SPACES]
    if unknown or not requested:
        raise UserError(
            f"The space must not be {', '.join(map(repr, unknown)) or 'empty'}: choose "
            f"{' or '.join(map(repr, SPACES))}, or 'both'."
        )
    return tuple(name for name in SPACES if name in requested)


def _check_numbers(**numbers: int) -> None:
    """Refuse numbers that are too small."""
    smallest = {"n_early": 20, "n_ventral": 20, "image_size": 16}
    for name, value in numbers.items():
        least = smallest.get(name, 1)
        if value < least:
            raise UserError(f"{name} is {value}: give {least} or more.")


def _silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
