"""Give the readers of masks, labels, voxel tables and design files inputs that look sound.

Each input is one that tools or people produce: an atlas that was saved again, a flipped mask,
millimetres for indices, a voxel without data in a session. vox2pix must return what was meant
(computed here from the arrays themselves), report what it did, or refuse with one message. A
traceback, or another number without a word, is a failure.
"""

import pickle
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from results import machine, option_parser, show
from silent_label_cases import (
    AFFINE,
    BETAS,
    DESIGN,
    ROI,
    SHAPE,
    Case,
    atlas_case,
    blank_folder,
    blank_surface,
    blank_volume,
    csv_case,
    flipped,
    mask_case,
    matlab_7_3,
    ncsnr_case,
    outcome,
    pickled_responses,
    place_case,
    replaced,
    second_atlas,
    table_case,
    unsigned,
    with_values,
    write_trees,
)


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
    options = option_parser(__doc__, has_small=False).parse_args()
    counts: dict[str, Counter[str]] = {}
    failed = []
    with tempfile.TemporaryDirectory() as root:
        trees = Path(root) / "trees"
        trees.mkdir()
        write_trees(trees)
        for number, case in enumerate(cases()):
            folder = Path(root) / str(number)
            folder.mkdir()
            how, message = outcome(case, folder)
            shutil.rmtree(folder)
            counts.setdefault(case.kind, Counter())[how] += 1
            if how != case.expected:
                failed.append(
                    f"{case.kind}, {case.name}: {how}, not {case.expected}. {message[:200]}"
                )
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
