"""Write a simulated experiment in the tree and the file formats of the Natural Scenes Dataset.

Where each file goes and what is in it follows NSD's data manual; indices inside files start at 1
except ``nsdId``, which starts at 0. Every file is the same, byte for byte, for the same data: no
file holds the time at which it was written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray

from vox2pix.phantom.brain import STREAMS, Brain, Layout
from vox2pix.phantom.early import VISUAL_AREAS

Array = NDArray[np.float32]

BETAS = "betas_fithrf_GLMdenoise_RR"
BETA_SCALE = 300
"""Volume betas are stored as int16: percent signal change times this."""

SIMULATED = "simulated.json"
"""At the root of every simulated tree."""

RUNS_PER_SESSION = 12
TRIAL_SECONDS = 4.0
HEMISPHERES = ("lh", "rh")

_MAT_HEADER_BYTES = 116
_LARGEST_COCO_ID = 581_930
_NSD_SUBJECTS = 8
_COCO_SPLITS = ("train2017", "val2017")


@dataclass(frozen=True)
class Design:
    """Who sees which image when."""

    n_stimuli: int  # images in the stimulus file (73,000 in NSD)
    n_sessions: int  # sizes of every subject's experiment
    trials_per_session: int
    # (n_subjects, n_images): 0-based stimulus of each of a subject's images; the shared ones come
    # first, ascending, and are the same for all
    subject_stimuli: NDArray[np.int64]
    n_shared: int  # how many images are shared
    # (n_trials,): 0-based image (column of ``subject_stimuli``) of each trial, the same for all
    # subjects
    order: NDArray[np.int64]

    @property
    def n_images(self) -> int:
        """Images that each subject sees."""
        return self.subject_stimuli.shape[1]

    def session_images(self, session: int) -> NDArray[np.int64]:
        """Return the image of each trial of a session, counted from 1."""
        start = (session - 1) * self.trials_per_session
        return self.order[start : start + self.trials_per_session]


def draw_design(
    n_subjects: int,
    n_sessions: int,
    trials_per_session: int,
    repeats: int,
    n_shared: int,
    rng: np.random.Generator,
) -> Design:
    """Draw who sees which image when.

    Each image is shown ``repeats`` times over the whole experiment in random order (the last
    image less often if the number of trials is no multiple); stimuli are dealt to subjects at
    random, so that the shared ones are scattered over the stimulus file as in NSD.
    """
    n_trials = n_sessions * trials_per_session
    n_images = -(-n_trials // repeats)
    n_own = n_images - n_shared
    n_stimuli = n_shared + n_subjects * n_own
    dealt = rng.permutation(n_stimuli)
    shared = np.sort(dealt[:n_shared])
    own = dealt[n_shared:].reshape(n_subjects, n_own)
    order = rng.permutation(np.repeat(np.arange(n_images), repeats)[:n_trials])
    return Design(
        n_stimuli=n_stimuli,
        n_sessions=n_sessions,
        trials_per_session=trials_per_session,
        subject_stimuli=np.hstack([np.tile(shared, (n_subjects, 1)), own]),
        n_shared=n_shared,
        order=order,
    )


def run_lengths(n_trials: int) -> tuple[int, ...]:
    """Split a session's trials into 12 runs; odd runs take the rest first (63, 62, ... in NSD)."""
    n_runs = min(RUNS_PER_SESSION, n_trials)
    lengths = np.full(n_runs, n_trials // n_runs)
    odd_first = [*range(0, n_runs, 2), *range(1, n_runs, 2)]
    lengths[odd_first[: n_trials % n_runs]] += 1
    return tuple(int(length) for length in lengths)


# --- experiment and stimuli --------------------------------------------------------------------


def write_marker(root: Path, seed: int, own_images: bool) -> None:
    """Write ``simulated.json``, by which readers and reports know that nobody was measured."""
    facts = {
        "simulated": True,
        "simulated_by": "vox2pix phantom",
        "version": version("vox2pix"),
        "seed": seed,
        "stimuli": "images of the user" if own_images else "drawn scenes",
        "licence": "MIT (responses); the images keep their own licence" if own_images else "MIT",
        "statement": "Simulated responses in the layout of the Natural Scenes Dataset; no data of "
        "NSD are in this folder.",
    }
    text = json.dumps(facts, indent=2) + "\n"
    _file(root, SIMULATED).write_text(text, encoding="utf-8")


def write_design(root: Path, design: Design) -> None:
    """Write ``nsd_expdesign.mat``: masterordering, subjectim and sharedix, all 1-based."""
    path = _file(root, "nsddata/experiments/nsd/nsd_expdesign.mat")
    arrays = {
        "masterordering": design.order[None] + 1.0,
        "sharedix": design.subject_stimuli[:1, : design.n_shared] + 1.0,
        "subjectim": design.subject_stimuli + 1.0,
    }
    scipy.io.savemat(path, arrays, do_compression=True)
    # The header's text names the time of writing; readers ignore it.
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file, vox2pix phantom".ljust(_MAT_HEADER_BYTES))


def write_stimulus_info(
    root: Path, design: Design, coco_ids: NDArray[np.int64], coco_splits: Sequence[str]
) -> None:
    """Write ``nsd_stim_info_merged.csv``, one row per stimulus with NSD's columns and row numbers.

    ``subjectS_repR`` is the 1-based trial of the repeat, 0 if there was none. As in NSD there
    are columns for 8 subjects (zeros for those not simulated) and for at least 3 repeats.
    """
    n_subjects = len(design.subject_stimuli)
    columns: dict[str, object] = {
        "cocoId": coco_ids,
        "cocoSplit": list(coco_splits),
        "cropBox": ["(0, 0, 0, 0)"] * design.n_stimuli,
        "loss": np.zeros(design.n_stimuli),
        "nsdId": np.arange(design.n_stimuli),
        "flagged": np.zeros(design.n_stimuli, bool),
        "BOLD5000": np.zeros(design.n_stimuli, bool),
        "shared1000": np.isin(
            np.arange(design.n_stimuli), design.subject_stimuli[0, : design.n_shared]
        ),
    }
    shown = _trials_of_images(design)
    seen: dict[str, object] = {}
    repeats: dict[str, object] = {}
    for subject in range(1, max(n_subjects, _NSD_SUBJECTS) + 1):
        is_seen = np.zeros(design.n_stimuli, np.int64)
        trials = np.zeros((design.n_stimuli, shown.shape[1]), np.int64)
        if subject <= n_subjects:
            is_seen[design.subject_stimuli[subject - 1]] = 1
            trials[design.subject_stimuli[subject - 1]] = shown
        seen[f"subject{subject}"] = is_seen
        for repeat in range(shown.shape[1]):
            repeats[f"subject{subject}_rep{repeat}"] = trials[:, repeat]
    table = pd.DataFrame({**columns, **seen, **repeats})
    table.to_csv(_file(root, "nsddata/experiments/nsd/nsd_stim_info_merged.csv"))


def draw_coco_ids(
    n_stimuli: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Draw made-up COCO ids and their splits, about one in twenty in ``val2017``."""
    largest = max(_LARGEST_COCO_ID, 2 * n_stimuli)
    ids = 1 + np.sort(rng.choice(largest, n_stimuli, replace=False))
    splits = np.where(rng.random(n_stimuli) < 0.05, "val2017", "train2017")
    return rng.permutation(ids).astype(np.int64), tuple(splits.tolist())


def create_stimuli(root: Path, n_stimuli: int, image_size: int) -> h5py.File:
    """Create ``nsd_stimuli.hdf5`` with an empty ``imgBrick`` (n, size, size, 3) uint8; close it."""
    path = _file(root, "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5")
    file = h5py.File(path, "w")
    shape = (n_stimuli, image_size, image_size, 3)
    file.create_dataset("imgBrick", shape, np.uint8, chunks=(1, *shape[1:]))
    return file


def write_captions(
    root: Path,
    captions: Sequence[Sequence[str]],
    coco_ids: NDArray[np.int64],
    coco_splits: Sequence[str],
) -> None:
    """Write COCO's ``captions_train2017.json`` and ``captions_val2017.json``."""
    for split in _COCO_SPLITS:
        images = []
        annotations = []
        for stimulus, lines in enumerate(captions):
            if coco_splits[stimulus] != split:
                continue
            coco_id = int(coco_ids[stimulus])
            images.append({"id": coco_id, "file_name": f"{coco_id:012d}.jpg"})
            annotations += [
                {"image_id": coco_id, "id": stimulus * 100 + k, "caption": line}
                for k, line in enumerate(lines)
            ]
        path = _file(root, f"nsddata_stimuli/stimuli/nsd/annotations/captions_{split}.json")
        text = json.dumps({"images": images, "annotations": annotations}, ensure_ascii=False)
        path.write_text(text, encoding="utf-8")


# --- one subject -------------------------------------------------------------------------------


def write_responses(root: Path, design: Design, subject: int, rng: np.random.Generator) -> None:
    """Write ``behav/responses.tsv``, one row per trial, with NSD's columns.

    The subject says whether an image is new or old, and is right four times in five.
    """
    n_trials = len(design.order)
    trial = np.arange(n_trials)
    session, in_session = np.divmod(trial, design.trials_per_session)
    lengths = run_lengths(design.trials_per_session)
    run_of = np.repeat(np.arange(len(lengths)), lengths)
    trial_of = np.concatenate([np.arange(length) for length in lengths])
    previous, first = _earlier_presentations(design.order)
    old = previous >= 0
    old_today = old & (previous // design.trials_per_session == session)
    correct = rng.random(n_trials) < 0.8
    correct_today = np.where(correct, old == old_today, old != old_today)
    answered_old = old == correct
    missing = np.nan
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": session + 1,
            "RUN": run_of[in_session] + 1,
            "TRIAL": trial_of[in_session] + 1,
            "73KID": design.subject_stimuli[subject - 1, design.order] + 1,
            "10KID": design.order + 1,
            "TIME": np.round(7 * session + 0.5 + in_session * TRIAL_SECONDS / 86400, 9),
            "ISOLD": old.astype(int),
            "ISCORRECT": correct.astype(int),
            "RT": np.round(rng.gamma(9.0, 100.0, n_trials), 6),
            "CHANGEMIND": 0,
            "MEMORYRECENT": np.where(old, trial - previous - 1, missing),
            "MEMORYFIRST": np.where(old, trial - first - 1, missing),
            "ISOLDCURRENT": old_today.astype(int),
            "ISCORRECTCURRENT": correct_today.astype(int),
            "TOTAL1": (~answered_old).astype(int),
            "TOTAL2": answered_old.astype(int),
            "BUTTON": np.where(answered_old, 2, 1),
            "MISSINGDATA": 0,
        }
    )
    path = _file(root, f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv")
    table.to_csv(path, sep="\t", index=False, na_rep="NaN")


def write_anatomy(root: Path, brain: Brain) -> None:
    """Write brain mask, ROIs and label names of one subject.

    In the volume ROIs hold -1 outside the brain and 0 where no label applies; on the surface
    the ROIs of the common mesh are written (again, and the same, for every subject).
    """
    layout = brain.layout
    rois = {
        "streams": layout.stream,
        "prf-visualrois": brain.visual_area(),
        "nsdgeneral": (layout.stream > 0).astype(np.int16),
    }
    person = f"subj{brain.subject:02d}"
    if layout.space == "fsaverage5":
        folder = "nsddata/freesurfer/fsaverage5/label"
        for name, labels in rois.items():
            for side, values in enumerate(_by_hemisphere(layout, labels)):
                path = _file(root, f"{folder}/{HEMISPHERES[side]}.{name}.mgz")
                _save_surface(path, values.astype(np.int32))
    else:
        folder = f"nsddata/ppdata/{person}/{layout.space}"
        mask = np.ones(layout.n_voxels, np.int16)
        _save_volume(_file(root, f"{folder}/brainmask.nii.gz"), layout, mask, 0)
        for name, labels in rois.items():
            _save_volume(_file(root, f"{folder}/roi/{name}.nii.gz"), layout, labels, -1)
    tables = {"streams": STREAMS, "prf-visualrois": VISUAL_AREAS, "nsdgeneral": {"nsdgeneral": 1}}
    for name, table in tables.items():
        lines = ["0 Unknown", *(f"{label} {text}" for text, label in table.items())]
        # as in NSD, each subject's own folder and that of fsaverage hold the tables
        for who in (person, "fsaverage"):
            path = _file(root, f"nsddata/freesurfer/{who}/label/{name}.mgz.ctab")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_session(
    root: Path,
    brain: Brain,
    session: int,
    betas: Array,
    missing: NDArray[np.bool_] | None = None,
    nifti: bool = False,
) -> Array:
    """Write one session's betas (n_trials, n_voxels) and return what a reader gets back.

    Values are percent signal change; volumes are rounded to 1/300. Voxels in ``missing`` have no
    data: 0 in a volume, NaN on a surface. ``nifti`` writes volumes as NIfTI, too.
    """
    folder = _beta_folder(root, brain)
    return save_betas(folder, f"betas_session{session:02d}", brain.layout, betas, missing, nifti)


def save_betas(
    folder: Path,
    stem: str,
    layout: Layout,
    betas: Array,
    missing: NDArray[np.bool_] | None = None,
    nifti: bool = False,
) -> Array:
    """Write betas (n_trials, n_voxels) as files of a name; see :func:`write_session`."""
    lost = np.zeros(layout.n_voxels, bool) if missing is None else missing
    if layout.space == "fsaverage5":
        betas = np.where(lost, np.float32(np.nan), betas)
        for side, values in enumerate(_by_hemisphere(layout, betas.T)):
            _save_surface(folder / f"{HEMISPHERES[side]}.{stem}.mgh", values.astype(np.float32))
        return betas
    limits = np.iinfo(np.int16)
    stored = np.clip(np.rint(betas * BETA_SCALE), limits.min, limits.max).astype(np.int16)
    stored[:, lost] = 0
    # NSD's order in HDF5 is trial, Z, Y, X; chunks are one voxel's session.
    volume = np.zeros((len(betas), *layout.shape[::-1]), np.int16)
    i, j, k = layout.index.T
    volume[:, k, j, i] = stored
    with h5py.File(folder / f"{stem}.hdf5", "w") as file:
        file.create_dataset("betas", data=volume, chunks=(len(betas), 1, 1, layout.shape[0]))
    if nifti:
        _save_nifti(folder / f"{stem}.nii.gz", layout, volume.T)
    return stored.astype(np.float32) / np.float32(BETA_SCALE)


def write_ncsnr(root: Path, brain: Brain, ncsnr: Array) -> None:
    """Write the measured ncsnr of each voxel, 0 outside the brain."""
    folder = _beta_folder(root, brain)
    if brain.layout.space == "fsaverage5":
        for side, values in enumerate(_by_hemisphere(brain.layout, ncsnr)):
            _save_surface(folder / f"{HEMISPHERES[side]}.ncsnr.mgh", values.astype(np.float32))
    else:
        _save_volume(folder / "ncsnr.nii.gz", brain.layout, ncsnr.astype(np.float32), 0)


# --- helpers -----------------------------------------------------------------------------------


def _file(root: Path, name: str) -> Path:
    """Return a path in the tree; its folder exists."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _beta_folder(root: Path, brain: Brain) -> Path:
    """Return the folder of a subject's betas; it exists."""
    person = f"subj{brain.subject:02d}"
    folder = root / "nsddata_betas/ppdata" / person / brain.layout.space / BETAS
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _trials_of_images(design: Design) -> NDArray[np.int64]:
    """Return the 1-based trials of each image, shape (n_images, at least 3), 0 if none."""
    by_image = np.argsort(design.order, kind="stable")
    image = design.order[by_image]
    starts = np.searchsorted(image, np.arange(design.n_images))
    repeat = np.arange(len(image)) - starts[image]
    trials = np.zeros((design.n_images, max(3, int(repeat.max()) + 1)), np.int64)
    trials[image, repeat] = by_image + 1
    return trials


def _earlier_presentations(
    order: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the trial of the last and of the first earlier showing of each trial, or -1."""
    previous = np.full(len(order), -1)
    first = np.full(len(order), -1)
    last_seen: dict[int, int] = {}
    first_seen: dict[int, int] = {}
    for trial, image in enumerate(order.tolist()):
        previous[trial] = last_seen.get(image, -1)
        first[trial] = first_seen.setdefault(image, trial) if image in last_seen else -1
        first_seen.setdefault(image, trial)
        last_seen[image] = trial
    return previous, first


def _by_hemisphere(layout: Layout, values: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """Split rows by hemisphere, left first, in order of vertices."""
    return [values[: layout.shape[0]], values[layout.shape[0] :]]


def _save_volume(path: Path, layout: Layout, values: NDArray[np.generic], outside: int) -> None:
    """Write one value per voxel as NIfTI (X, Y, Z)."""
    volume = np.full(layout.shape, outside, values.dtype)
    volume[tuple(layout.index.T)] = values
    _save_nifti(path, layout, volume)


def _save_nifti(path: Path, layout: Layout, volume: NDArray[np.generic]) -> None:
    """Write (X, Y, Z) or (X, Y, Z, n_trials) as NIfTI."""
    image = nib.Nifti1Image(volume, layout.affine)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _save_surface(path: Path, values: NDArray[np.generic]) -> None:
    """Write (n_vertices,) or (n_vertices, n_frames) as MGH (n_vertices, 1, 1[, n_frames])."""
    shape = (len(values), 1, 1, *values.shape[1:])
    nib.save(nib.MGHImage(np.ascontiguousarray(values).reshape(shape), np.eye(4)), path)
