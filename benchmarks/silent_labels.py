"""Give the readers of masks, labels, voxel tables and design files inputs that look sound.

Each input is one that tools or people produce: an atlas that was saved again, a flipped mask,
millimetres for indices, a voxel without data in a session. vox2pix must return what was meant
(known here from the arrays themselves), report what it did, or refuse with one sentence. A
traceback, or another number without a word, is a failure.
"""

import pickle
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import loadmat

from results import machine, option_parser, show
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
    """Return how a case ended, and what was said."""
    try:
        answer = case.make(folder)()
    except UserError as error:
        return "refused", str(error)
    except Exception as error:
        return "TRACEBACK", f"{type(error).__name__}: {error}"
    notes = [note for note in answer.notes if "are simulated by" not in note]
    said = " ".join(notes)
    if case.expected == "noted":
        return ("noted" if notes and answer.right else "SILENT"), said
    return ("right" if answer.right else "SILENT"), said


# --- NSD's tree ----------------------------------------------------------------------------------


def write_trees(root: Path) -> None:
    """Simulate the trees that cases change copies of."""
    from vox2pix.phantom import simulate

    sizes: dict[str, Any] = {"trials_per_session": 12, "n_shared": 1, "image_size": 16}
    sizes |= {"sessions": 2, "n_early": 40, "n_ventral": 40, "no_data": False}
    simulate(root / "volume", nifti=True, **sizes)
    simulate(root / "surface", space="fsaverage5", **sizes)


TREES = Path()


def tree(folder: Path, name: str = "volume") -> Path:
    """Copy a tree."""
    return Path(shutil.copytree(TREES / name, folder / "nsd"))


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
            found = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(found, meant))

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
            found = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(found, meant))

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
        kept = np.ones(len(voxels), bool)
        kept[which] = not whole

        def read() -> Answer:
            subject = open_nsd(root, rois="early")
            subject.train.betas()
            found = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(found, voxels[["x", "y", "z"]][kept]))

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


# --- a folder of one's own -----------------------------------------------------------------------


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
            found = subject.voxels[["x", "y", "z"]].to_numpy()
            return Answer(subject.notes, np.array_equal(found, np.argwhere(mask)))

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
            said = [note for note in check(folder).notes if "no data" in note or "never" in note]
            return Answer(tuple(said), len(subject.voxels) == left)

        return read

    return make


def pickled_responses(folder: Path) -> Callable[[], Answer]:
    """Put a file of GLMsingle, a pickled dictionary, in the place of responses."""
    own_folder(folder, np.zeros(0))
    objects = np.array({"betasmd": np.zeros((12, 3))}, object)
    np.save(folder / "responses.npy", objects, allow_pickle=True)
    return lambda: Answer((), len(open_folder(folder).voxels) < 0)


# --- the list ------------------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    """Yield every case."""
    yield from _label_cases()
    yield from _place_cases()
    yield from _name_cases()
    yield from _voxel_cases()
    yield from _no_data_cases()
    yield from _damage_cases()


def _label_cases() -> Iterator[Case]:
    """Atlases and masks as tools save them."""
    kind = "atlas saved again"
    same = np.asarray
    yield Case(kind, "floats under an int16 header", atlas_case(np.float64, np.int16), "right")
    yield Case(kind, "floats under a uint8 header", atlas_case(np.float64, np.uint8), "right")
    yield Case(kind, "float32", atlas_case(np.float32), "right")
    yield Case(kind, "int64", atlas_case(np.int64), "right")
    yield Case(kind, "a fourth axis", atlas_case(lambda v: v[..., None]), "right")
    yield Case(kind, "big-endian", atlas_case(lambda v: v.astype(">i2")), "right")
    yield Case(kind, "4.9995 for 5", atlas_case(with_values((5, 4.9995))), "right")
    yield Case(kind, "NaN outside", atlas_case(with_values((-1, np.nan))), "noted")
    yield Case(kind, "-1000 outside", atlas_case(with_values((-1, -1000))), "noted")
    kind = "what is no label"
    yield Case(kind, "probabilities", atlas_case(with_values((1, 0.7))), "refused")
    yield Case(kind, "2.5 at a border", atlas_case(with_values((3, 2.5))), "refused")
    yield Case(kind, "infinite", atlas_case(with_values((3, np.inf))), "refused")
    yield Case(kind, "1e30", atlas_case(with_values((3, 1e30))), "refused")
    yield Case(kind, "-1 as 255", atlas_case(unsigned(np.uint8)), "refused")
    yield Case(kind, "-1 as 65535", atlas_case(unsigned(np.uint16)), "refused")
    yield Case(kind, "-1 as 4294967295", atlas_case(unsigned(np.uint32)), "refused")
    yield Case(kind, "three volumes", atlas_case(lambda v: np.stack([v] * 3, -1)), "refused")
    kind = "mask of a folder"
    yield Case(kind, "plain", mask_case(same), "right")
    yield Case(kind, "floats with a slope", mask_case(np.float64, stored=np.uint8), "right")
    yield Case(kind, "255 inside", mask_case(lambda m: m * 255), "right")
    yield Case(kind, "a fourth axis", mask_case(lambda m: m[..., None]), "right")
    yield Case(kind, "-1 outside", mask_case(lambda m: m * 2 - 1), "noted")
    yield Case(kind, "NaN outside", mask_case(lambda m: np.where(m, 1.0, np.nan)), "noted")
    yield Case(
        kind, "several values", mask_case(lambda m: np.cumsum(m).reshape(SHAPE) * m), "noted"
    )
    yield Case(kind, "probabilities", mask_case(lambda m: m * 0.7), "refused")
    yield Case(kind, "empty", mask_case(np.zeros_like), "refused")
    yield Case(kind, "nothing but -1", mask_case(lambda m: -np.ones_like(m)), "refused")
    yield Case(kind, "another shape", mask_case(lambda m: m[:-1]), "refused")


def _place_cases() -> Iterator[Case]:
    """Images that lie elsewhere."""
    shifted = AFFINE + np.array([[0, 0, 0, 4.0]] + [[0] * 4] * 3)
    kind = "affine of a mask"
    yield Case(kind, "flipped", mask_case(lambda m: m[::-1], flipped(AFFINE)), "refused")
    yield Case(kind, "shifted by two voxels", mask_case(np.asarray, shifted), "refused")
    yield Case(kind, "axes swapped", mask_case(np.asarray, AFFINE[[1, 0, 2, 3]]), "refused")
    yield Case(kind, "other voxel size", mask_case(np.asarray, AFFINE * 1.1), "refused")
    rotated = AFFINE.copy()
    rotated[:2, :2] = [[2 * np.cos(0.1), -2 * np.sin(0.1)], [2 * np.sin(0.1), 2 * np.cos(0.1)]]
    yield Case(kind, "turned by 6 degrees", mask_case(np.asarray, rotated), "refused")
    yield Case(kind, "none in the header", mask_case(np.asarray, None), "noted")
    yield Case(kind, "written with five digits", mask_case(np.asarray, AFFINE + 1e-5), "right")
    kind = "affine in NSD's tree"
    brain, ncsnr = f"{ROI[:-4]}/brainmask.nii.gz", f"{BETAS.format('func1pt8mm')}/ncsnr.nii.gz"
    session = f"{BETAS.format('func1pt8mm')}/betas_session02.nii.gz"
    for name in (f"{ROI}/streams.nii.gz", brain, ncsnr):
        yield Case(kind, f"{Path(name).name} flipped", place_case(name, flipped), "refused")
    yield Case(kind, "NIfTI betas flipped", place_case(session, flipped, nifti=True), "refused")
    origin = place_case(
        f"{ROI}/streams.nii.gz", lambda a: a + np.array([[0, 0, 0, 9]] + [[0] * 4] * 3)
    )
    yield Case(kind, "another origin", origin, "noted")


def _name_cases() -> Iterator[Case]:
    """Names of regions."""
    kind = "label table"
    colours = ["0 Unknown 0 0 0 0", "1 V1v 255 0 0 0", "2 V1d 255 9 0 0"]
    yield Case(kind, "colours", table_case(colours, "V1d", (2,)), "right")
    blanks = ["0 Unknown", "3 area two", "4 area three"]
    yield Case(kind, "blanks in a name", table_case(blanks, "area two", (3,)), "right")
    yield Case(kind, "half of such a name", table_case(blanks, "area", ()), "refused")
    both = ["0 Unknown", "1 V1", "2 V1"]
    yield Case(kind, "two numbers", table_case(both, "V1", (1, 2)), "noted")
    yield Case(kind, "two names", table_case(["1 V1", "1 V2"], "V1", (1,)), "refused")
    yield Case(kind, "a region called x", table_case(["1 x"], "x", (1,)), "refused")
    yield Case(kind, "atlas:x", table_case(["1 x"], "prf-visualrois:x", (1,)), "right")
    case = table_case(["1 v1", "2 V1"], "V1", (2,))
    yield Case(kind, "names that differ by case", case, "noted")
    yield Case(kind, "a byte order mark", table_case(["\ufeff1 V1", "2 V2"], "V1", (1,)), "right")
    kind = "name in two atlases"
    yield Case(kind, "V1 of a group atlas", second_atlas(["1 V1"], "V1"), "noted")
    yield Case(kind, "early in both", second_atlas(["1 early"], "early"), "noted")
    kind = "region in voxels.csv"
    yield Case(kind, "all", csv_case("V1,all\n1,1\n0,1\n0,0\n"), "refused")
    yield Case(kind, "ALL", csv_case("ALL\n1\n0\n0\n"), "refused")
    yield Case(kind, "Z", csv_case("Z\n1\n0\n0\n"), "refused")
    twice = csv_case("V1,v1\n1,0\n0,1\n0,1\n", "v1", (False, True, True))
    yield Case(kind, "V1 and v1", twice, "noted")


def _voxel_cases() -> Iterator[Case]:
    """Places and reliabilities."""
    kind = "places in voxels.csv"
    floats = csv_case("x,y,z\n1.0,0,0\n2.0,0,0\n3.0,0,0\n", "x", (1, 2, 3))
    yield Case(kind, "whole numbers with a point", floats, "right")
    yield Case(kind, "mm with decimals", csv_case("x,y,z\n-1.5,0,0\n1,0,0\n2,0,0\n"), "refused")
    yield Case(kind, "whole mm below 0", csv_case("x,y,z\n-12,0,0\n1,0,0\n2,0,0\n"), "refused")
    yield Case(kind, "beyond any volume", csv_case("x,y,z\n1e6,0,0\n1,0,0\n2,0,0\n"), "refused")
    yield Case(kind, "two in one place", csv_case("x,y,z\n1,0,0\n1,0,0\n2,0,0\n"), "refused")
    yield Case(kind, "no z", csv_case("x,y\n1,0\n2,0\n3,0\n"), "refused")
    yield Case(kind, "half a vertex", csv_case("hemi,vertex\nlh,1.5\nlh,2\nrh,3\n"), "refused")
    yield Case(kind, "no such hemisphere", csv_case("hemi,vertex\n1,1\nlh,2\nrh,3\n"), "refused")
    words = csv_case("hemi,vertex\nLeft,1\nL,2\nright,3\n", "hemi", ("lh", "lh", "rh"))
    yield Case(kind, "hemispheres in words", words, "noted")
    kind = "reliability"
    yield Case(kind, "ncsnr of -1 in a table", csv_case("ncsnr\n-1\n0.5\n1\n"), "refused")
    yield Case(kind, "infinite in a table", csv_case("ncsnr\ninf\n0.5\n1\n"), "refused")
    for value in (-1.0, np.nan, np.inf):
        yield Case(kind, f"ncsnr of {value:g} in a map", ncsnr_case(value), "noted")


def _no_data_cases() -> Iterator[Case]:
    """Voxels without data."""
    kind, every = "no data in a session", slice(None)
    some = slice(3, 7)
    yield Case(kind, "0 in int16", blank_volume((2,), some, every, 0, whole=True), "noted")
    yield Case(kind, "0 in all sessions", blank_volume((1, 2), some, every, 0, whole=True), "noted")
    yield Case(kind, "NaN in float32", blank_volume((2,), some, every, np.nan, whole=True), "noted")
    yield Case(kind, "0 in five trials", blank_volume((2,), some, slice(5), 0), "right")
    yield Case(kind, "NaN in five trials", blank_volume((2,), some, slice(5), np.nan), "refused")
    yield Case(kind, "a region", blank_volume((2,), every, every, 0), "refused")
    yield Case(kind, "most of a region", blank_volume((2,), slice(30), every, 0, True), "noted")
    yield Case(kind, "NaN on a surface", blank_surface(every), "noted")
    yield Case(kind, "NaN in part, surface", blank_surface(slice(4)), "refused")
    yield Case(kind, "folder, 0", blank_folder((2,), slice(3), 0, 3), "noted")
    yield Case(kind, "folder, NaN", blank_folder((1,), slice(2), np.nan, 4), "noted")
    yield Case(kind, "folder, all of a session", blank_folder((2,), slice(6), 0, 6), "refused")
    yield Case(kind, "folder, everything", blank_folder((1, 2), slice(6), 0, 6), "refused")
    yield Case(kind, "folder, a constant", blank_folder((1, 2), slice(3), 5, 6), "noted")


def _damage_cases() -> Iterator[Case]:
    """Files that hold something else."""
    others = {
        "a web page": b"<!DOCTYPE html><html>Sign in",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
        "a git-annex pointer": b"/annex/objects/MD5E-s1000--0123\n",
        "a pickle": pickle.dumps({"betasmd": 1}),
        "text": b"subject,session\n1,2\n",
        "cut short": 90,
    }
    hdf5 = f"{BETAS.format('func1pt8mm')}/betas_session02.hdf5"
    for file in (DESIGN, hdf5, f"{ROI}/streams.nii.gz"):
        kind = f"{Path(file).name} that is"
        for name, content in others.items():
            yield Case(kind, name, replaced(file, content), "refused")
    yield Case("nsd_expdesign.mat that is", "MATLAB 7.3", matlab_7_3, "right")
    yield Case("responses.npy that is", "a pickle of GLMsingle", pickled_responses, "refused")


def main() -> int:
    """Read every input and print a table by kind."""
    global TREES
    options = option_parser(__doc__, has_small=False).parse_args()
    counts: dict[str, Counter[str]] = {}
    failed = []
    with tempfile.TemporaryDirectory() as root:
        TREES = Path(root) / "trees"
        TREES.mkdir()
        write_trees(TREES)
        for number, case in enumerate(cases()):
            folder = Path(root) / str(number)
            folder.mkdir()
            how, said = outcome(case, folder)
            shutil.rmtree(folder)
            counts.setdefault(case.kind, Counter())[how] += 1
            if how != case.expected:
                failed.append(f"{case.kind}, {case.name}: {how}, not {case.expected}. {said[:200]}")
    names = ("right", "noted", "refused", "SILENT", "TRACEBACK")
    lines = [f"{'':<32}{'inputs':>8}" + "".join(f"{name:>11}" for name in names)]
    total: Counter[str] = Counter()
    for kind, count in [*counts.items(), ("all", total)]:
        cells = "".join(f"{count[name]:>11}" for name in names)
        lines.append(f"{kind:<32}{count.total():>8}{cells}")
        total.update(count if kind != "all" else {})
    figures = {"machine": machine(), "counts": dict(total), "failed": failed}
    show(figures, "\n".join([*lines, *failed]), options, "silent-labels", "reliability.md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
