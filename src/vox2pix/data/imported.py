"""Data of any layout, written as the documented folder: to look at, to edit, to share in a lab."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from vox2pix.data.faults import Faults
from vox2pix.data.names import safe_names
from vox2pix.data.origin import IMPORTED_FILE, SIMULATED, SIMULATED_FILE
from vox2pix.data.subject import Subject
from vox2pix.errors import UserError
from vox2pix.store import swapped_in, write_json

Progress = Callable[[str, int, int], None]


def write_folder(subject: Subject, out: Path, progress: Progress | None = None) -> tuple[str, ...]:
    """Write a subject as the folder that :func:`vox2pix.open_folder` reads.

    ``responses.npy`` (float32, a session at a time), ``trials.csv``, ``voxels.csv``, images as PNG,
    ``captions.csv`` where there are some, ``mask.nii.gz`` for volumes with an affine, and
    ``imported.json``, which keeps whose data they are, their unit and what the reader noted.

    Parameters
    ----------
    subject : Subject
        Opened by any reader.
    out : Path
        A new or an empty folder, or one that was written by this function.
    progress : callable, optional
        Called with what is being written (``"sessions"``, ``"images"``), how many are done, and
        how many there are.

    Returns
    -------
    tuple of str
        What was changed or is missing, with its count.

    Raises
    ------
    UserError
        If responses cannot be read, or the folder holds anything else, or a file of it was edited
        since; nothing is left half written.
    """
    advance = progress or (lambda what, done, total: None)
    notes = Faults()
    whole = subject.select(np.ones(len(subject.trials), bool))
    names = safe_names(whole.stimulus_ids)
    renamed = [name for name, safe in names.items() if name != safe]
    if renamed:
        notes.note(
            f"{len(renamed)} of {len(names)} stimuli are renamed after their files (such as "
            f"{renamed[0]!r}, now {names[renamed[0]]!r})."
        )
    unknown = int((subject.trials["run"] < 1).sum())
    if unknown:
        notes.note(f"The run of {unknown:,} trials is unknown and written as 1.")
    with swapped_in(out, "imported") as folder:
        _write_responses(subject, folder, names, advance)
        _write_voxels(subject, folder, notes)
        _write_images(subject, folder, names, notes, advance)
        if subject.has_captions:
            _write_captions(subject, folder, names, notes)
        record = {
            "dataset": asdict(subject.origin.dataset),
            "unit": subject.origin.unit,
            "split": subject.origin.split,
            "notes": [*subject.notes, *notes.notes],
        }
        write_json(folder / IMPORTED_FILE, record)
        if subject.origin.dataset == SIMULATED:
            write_json(folder / SIMULATED_FILE, {"simulated_by": "vox2pix phantom"})
    return notes.notes


def _write_responses(
    subject: Subject, folder: Path, names: Mapping[str, str], advance: Progress
) -> None:
    """Write the responses session by session, and the trials in the same order."""
    whole = subject.select(np.ones(len(subject.trials), bool))
    frames, n_sessions = [], len(subject.sessions)
    with (folder / "responses.npy").open("wb") as file:
        shape = (len(subject.trials), len(subject.voxels))
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for done, (trials, betas) in enumerate(whole.iter_betas(), start=1):
            file.write(np.ascontiguousarray(betas, "<f4").data)
            frames.append(trials)
            advance("sessions", done, n_sessions)
    table = pd.concat(frames)
    table = table.assign(
        stimulus_id=table["stimulus_id"].map(names), run=table["run"].clip(lower=1)
    )
    table.to_csv(folder / "trials.csv", index=False)


def _write_voxels(subject: Subject, folder: Path, notes: Faults) -> None:
    """Write places, reliability and regions; a mask with the affine where voxels are in order."""
    voxels = subject.voxels
    flags = {roi: voxels[roi].to_numpy(bool).astype(int) for roi in subject.rois}
    voxels.assign(**flags).to_csv(folder / "voxels.csv", index=False)
    if subject.affine is None or subject.shape is None or "x" not in voxels:
        if subject.shape is not None:
            notes.note("The data have no affine, or are on a surface: no mask is written.")
        return
    places = voxels[["x", "y", "z"]].to_numpy(int)
    mask: NDArray[np.uint8] = np.zeros(subject.shape, np.uint8)
    mask[tuple(places.T)] = 1
    if not np.array_equal(np.argwhere(mask), places):
        notes.note("The voxels are in another order than x, y, z: no mask is written.")
        return
    nib.save(nib.Nifti1Image(mask, subject.affine), folder / "mask.nii.gz")


def _write_images(
    subject: Subject, folder: Path, names: Mapping[str, str], notes: Faults, advance: Progress
) -> None:
    """Write each image as 8-bit PNG; those that are missing are counted."""
    faults = Faults()
    missing = set(subject.stimulus_source.missing_images(list(names), faults))
    if missing:
        cause = faults.messages[0] if faults.messages else "the data have none by design."
        notes.note(f"{len(missing)} of {len(names)} images are missing: {cause}")
    (folder / "images").mkdir()
    rounded = 0
    for done, (name, safe) in enumerate(names.items(), start=1):
        if name not in missing:
            (image,) = subject.stimulus_source.iter_pictures([name])
            rounded += image.dtype != np.uint8
            Image.fromarray(_eight_bit(image)).save(folder / "images" / f"{safe}.png")
        advance("images", done, len(names))
    if rounded:
        notes.note(f"{rounded} of {len(names)} images are rounded to 8 bits per channel.")


def _eight_bit(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return np.rint(255 * image).astype(np.uint8)


def _write_captions(
    subject: Subject, folder: Path, names: Mapping[str, str], notes: Faults
) -> None:
    """Write one row per caption."""
    faults = Faults()
    missing = set(subject.stimulus_source.missing_captions(list(names), faults))
    if missing:
        notes.note(f"{len(missing)} of {len(names)} stimuli have no caption.")
    captioned = [name for name in names if name not in missing]
    if not captioned:
        raise UserError(f"{subject.name} has no caption of any stimulus: {faults.messages[0]}")
    rows = [
        (names[name], caption)
        for name, captions in zip(captioned, subject.captions(captioned), strict=True)
        for caption in captions
    ]
    table = pd.DataFrame(rows, columns=["stimulus_id", "caption"])
    table.to_csv(folder / "captions.csv", index=False)
