"""What a wrong label, place or voxel does to a number, one function for each kind of mistake."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import loadmat

from vox2pix.data import open_folder, open_nsd
from vox2pix.data.check import check
from vox2pix.errors import UserError

Expected = Literal["right", "noted", "refused"]
ROI = "nsddata/ppdata/subj01/func1pt8mm/roi"
LABELS = "nsddata/freesurfer/subj01/label"
BETAS = "nsddata_betas/ppdata/subj01/{}/betas_fithrf_GLMdenoise_RR"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
AFFINE = np.diag([2.0, 2, 3, 1])
SHAPE = (6, 4, 5)


@dataclass(frozen=True)
class Answer:
    """What vox2pix returned: its notes, and whether the numbers are those that were meant."""

    notes: tuple[str, ...]
    right: bool


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    kind, name : str
        Of the table.
    make : callable
        Writes the input into a folder and returns a callable that reads it.
    expected : str
        ``right``, ``noted`` (right or dropped, and reported) or ``refused``.
    """

    kind: str
    name: str
    make: Callable[[Path], Callable[[], Answer]]
    expected: Expected


def outcome(case: Case, folder: Path) -> tuple[str, str]:
    """Return how a case ended, and its message."""
    try:
        answer = case.make(folder)()
    except UserError as error:
        return "refused", str(error)
    except Exception as error:
        return "TRACEBACK", f"{type(error).__name__}: {error}"
    notes = [note for note in answer.notes if "are simulated by" not in note]
    message = " ".join(notes)
    if case.expected == "noted":
        return ("noted" if notes and answer.right else "SILENT"), message
    return ("right" if answer.right else "SILENT"), message


def write_trees(root: Path) -> None:
    """Simulate the trees that cases change copies of."""
    from vox2pix.phantom import simulate

    sizes: dict[str, Any] = {"trials_per_session": 12, "n_shared": 1, "image_size": 16}
    sizes |= {"sessions": 2, "n_early": 40, "n_ventral": 40, "no_data": False}
    simulate(root / "volume", nifti=True, **sizes)
    simulate(root / "surface", space="fsaverage5", **sizes)


def tree(folder: Path, name: str = "volume") -> Path:
    """Copy a tree that :func:`write_trees` wrote beside the folder."""
    return Path(shutil.copytree(folder.parent / "trees" / name, folder / "nsd"))


def volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return values and affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj).copy(), image.affine


def save(path: Path, values: np.ndarray, affine: np.ndarray | None, stored: Any = None) -> None:
    """Save an image, under a header of another type if one is given."""
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    if stored is not None:
        image.header.set_data_dtype(stored)
    nib.save(image, path)


def atlas_case(
    change: Callable[[np.ndarray], np.ndarray], stored: Any = None, rois: str = "early"
) -> Callable[[Path], Callable[[], Answer]]:
    """Save the atlas ``streams`` again and open a region of it."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        path = root / ROI / "streams.nii.gz"
        values, affine = volume(path)
        save(path, change(values), affine, stored)
        meant = np.argwhere(values == 1)

        def read() -> Answer:
            subject = open_nsd(root, rois=rois)
            places = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(places, meant))

        return read

    return make


def with_values(*pairs: tuple[int, float]) -> Callable[[np.ndarray], np.ndarray]:
    """Return floats with some labels replaced."""

    def change(values: np.ndarray) -> np.ndarray:
        out = values.astype(np.float64)
        for label, value in pairs:
            out[values == label] = value
        return out

    return change


def unsigned(dtype: type) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that stores -1 without its sign."""
    return lambda values: values.astype(dtype)


def flipped(affine: np.ndarray) -> np.ndarray:
    """Return the affine of an image whose first axis runs the other way."""
    return affine @ np.diag([-1, 1, 1, 1])


def place_case(
    name: str, change: Callable[[np.ndarray], np.ndarray], nifti: bool = False
) -> Callable[[Path], Callable[[], Answer]]:
    """Give one image of the tree another affine."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        if nifti:
            for file in (root / BETAS.format("func1pt8mm")).glob("*.hdf5"):
                file.unlink()
        before = open_nsd(root, rois="early").voxels
        path = root / name
        values, affine = volume(path)
        save(path, values, change(affine))

        def read() -> Answer:
            subject = open_nsd(root, rois="early")
            return Answer(subject.notes, subject.voxels.equals(before))

        return read

    return make


def table_case(
    lines: list[str], roi: str, labels: tuple[int, ...]
) -> Callable[[Path], Callable[[], Answer]]:
    """Write the label table of prf-visualrois and open a region."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        for who in (LABELS, "nsddata/freesurfer/fsaverage/label"):
            (root / who / "prf-visualrois.mgz.ctab").write_text("\n".join(lines) + "\n")
        values, _ = volume(root / ROI / "prf-visualrois.nii.gz")
        meant = np.argwhere(np.isin(values, labels))

        def read() -> Answer:
            subject = open_nsd(root, rois=roi)
            places = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(places, meant))

        return read

    return make


def second_atlas(lines: list[str], roi: str) -> Callable[[Path], Callable[[], Answer]]:
    """Add a group atlas whose label 1 is the ventral stream, and open a region by its bare name."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        values, affine = volume(root / ROI / "streams.nii.gz")
        save(root / ROI / "HCP_MMP1.nii.gz", (values == 5).astype(np.int16), affine)
        (root / LABELS / "HCP_MMP1.mgz.ctab").write_text("\n".join(lines) + "\n")

        def read() -> Answer:
            subject = open_nsd(root, rois=roi)
            named = any("HCP_MMP1" in note for note in subject.notes)
            return Answer(subject.notes, named)

        return read

    return make


def ncsnr_case(value: float) -> Callable[[Path], Callable[[], Answer]]:
    """Put a value into the map of ncsnr; its voxel's ceiling must be unknown."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        voxels = open_nsd(root, rois="early").voxels
        path = root / BETAS.format("func1pt8mm") / "ncsnr.nii.gz"
        values, affine = volume(path)
        values[tuple(voxels[["x", "y", "z"]].iloc[0])] = value
        save(path, values, affine)

        def read() -> Answer:
            subject = open_nsd(root, rois="early")
            ceiling = subject.noise_ceiling()
            return Answer(
                subject.notes, bool(np.isnan(ceiling[0])) and np.isnan(ceiling).sum() == 1
            )

        return read

    return make


def blank_volume(
    sessions: tuple[int, ...], which: slice, trials: slice, value: float, whole: bool = False
) -> Callable[[Path], Callable[[], Answer]]:
    """Blank voxels of the early stream; those that are blank for a session must be left out."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        voxels = open_nsd(root, rois="early").voxels
        places = voxels[["x", "y", "z"]].to_numpy()[which]
        for session in sessions:
            path = root / BETAS.format("func1pt8mm") / f"betas_session{session:02d}.hdf5"
            with h5py.File(path) as file:
                betas = file["betas"][:]
            betas = betas.astype(np.float32) / 300 if np.isnan(value) else betas
            for x, y, z in places:
                betas[trials, z, y, x] = value
            with h5py.File(path, "w") as file:
                file["betas"] = betas
        has_data = np.ones(len(voxels), bool)
        has_data[which] = not whole

        def read() -> Answer:
            subject = open_nsd(root, rois="early")
            subject.train.betas()
            places = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(places, voxels[["x", "y", "z"]][has_data]))

        return read

    return make


def blank_surface(trials: slice) -> Callable[[Path], Callable[[], Answer]]:
    """Set a vertex to NaN in some trials of a session."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder, "surface")
        voxels = open_nsd(root, rois="early", space="fsaverage5").voxels
        row = int(np.flatnonzero(voxels["hemi"] == "rh")[0])
        path = root / BETAS.format("fsaverage5") / "rh.betas_session02.mgh"
        betas = np.asarray(nib.load(path).dataobj).copy()
        betas[voxels["vertex"].iloc[row], ..., trials] = np.nan
        nib.save(nib.MGHImage(betas, np.eye(4)), path)

        def read() -> Answer:
            subject = open_nsd(root, rois="early", space="fsaverage5")
            subject.test.betas()
            right = np.array_equal(subject.voxels["vertex"], voxels["vertex"].drop(row))
            return Answer(subject.notes, right)

        return read

    return make


def replaced(name: str, content: bytes | int) -> Callable[[Path], Callable[[], Answer]]:
    """Replace a file of the tree by other bytes, or cut it short; the sentence must say which."""

    def make(folder: Path) -> Callable[[], Answer]:
        root = tree(folder)
        path = root / name
        path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)

        def read() -> Answer:
            try:
                open_nsd(root, rois="early").train.betas()
            except UserError as error:
                cut = isinstance(content, int)
                if ("truncated" in str(error)) != cut:
                    return Answer((), False)
                raise
            return Answer((), False)

        return read

    return make


def matlab_7_3(folder: Path) -> Callable[[], Answer]:
    """Save the design as MATLAB 7.3 does."""
    root = tree(folder)
    before = open_nsd(root, rois="early").trials
    path = root / DESIGN
    design = loadmat(path)
    path.unlink()
    with h5py.File(path, "w", userblock_size=512) as file:
        for name in ("masterordering", "subjectim", "sharedix"):
            file[name] = np.asarray(design[name], float).T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return lambda: Answer((), open_nsd(root, rois="early").trials.equals(before))


def own_folder(folder: Path, betas: np.ndarray) -> np.ndarray:
    """Write a folder of two sessions; return the session of each trial."""
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(6)]
    for name in ids:
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{name}.png")
    session = np.repeat([1, 2], 6)
    split = ["test", "test", "train", "train", "train", "train"] * 2
    table = pd.DataFrame({"stimulus_id": ids * 2, "session": session, "split": split})
    table.to_csv(folder / "trials.csv", index=False)
    if betas.size:
        np.save(folder / "responses.npy", betas)
    return session


def mask_case(
    change: Callable[[np.ndarray], np.ndarray],
    affine: np.ndarray | None = AFFINE,
    stored: Any = None,
) -> Callable[[Path], Callable[[], Answer]]:
    """Write images with a mask of eight voxels, changed and under an affine."""

    def make(folder: Path) -> Callable[[], Answer]:
        own_folder(folder, np.zeros(0))
        rng = np.random.default_rng(1)
        save(folder / "responses.nii.gz", rng.normal(size=(*SHAPE, 12)), AFFINE)
        mask = np.zeros(SHAPE, np.int16)
        mask[:2, 1:3, 1:3] = 1
        save(folder / "mask.nii.gz", change(mask), affine, stored)

        def read() -> Answer:
            subject = open_folder(folder)
            places = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(places, np.argwhere(mask)))

        return read

    return make


def csv_case(
    text: str, column: str = "", meant: tuple[Any, ...] = ()
) -> Callable[[Path], Callable[[], Answer]]:
    """Write voxels.csv for three voxels; a column must hold what was meant."""

    def make(folder: Path) -> Callable[[], Answer]:
        own_folder(folder, np.random.default_rng(2).normal(size=(12, 3)))
        (folder / "voxels.csv").write_text(text)

        def read() -> Answer:
            subject = open_folder(folder)
            return Answer(subject.notes, bool(column) and tuple(subject.voxels[column]) == meant)

        return read

    return make


def blank_folder(
    sessions: tuple[int, ...], voxels: slice, value: float, left: int
) -> Callable[[Path], Callable[[], Answer]]:
    """Set voxels to a constant in sessions; so many must be left, and a check must say why."""

    def make(folder: Path) -> Callable[[], Answer]:
        betas = np.random.default_rng(2).normal(size=(12, 6)).astype(np.float32)
        session = own_folder(folder, np.zeros(0))
        betas[np.isin(session, sessions), voxels] = value
        np.save(folder / "responses.npy", betas)

        def read() -> Answer:
            subject = open_folder(folder)
            subject.train.betas()
            notes = [note for note in check(folder).notes if "no data" in note or "never" in note]
            return Answer(tuple(notes), len(subject.voxels) == left)

        return read

    return make


def pickled_responses(folder: Path) -> Callable[[], Answer]:
    """Put a file of GLMsingle, a pickled dictionary, in the place of responses."""
    own_folder(folder, np.zeros(0))
    objects = np.array({"betasmd": np.zeros((12, 3))}, object)
    np.save(folder / "responses.npy", objects, allow_pickle=True)
    return lambda: Answer((), len(open_folder(folder).voxels) < 0)
