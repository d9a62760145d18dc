"""Sound inputs of every kind, and the list of damages that are done to them."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from malformed_damage import (
    absurd_hdf5,
    absurd_image,
    absurd_npy,
    absurd_npz,
    absurd_png,
    absurd_safetensors,
    array,
    become,
    closed,
    column,
    cut,
    flip,
    folder,
    lines,
    loop,
    replaced,
    some,
    tensors,
    with_nan,
    wrong_safetensors,
)

Damage = Callable[[Path], None]
BETAS = "nsddata_betas/ppdata/subj01/{}/betas_fithrf_GLMdenoise_RR"
OWN = ("npy", "npz", "h5", "zarr", "nii.gz")


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Attributes
    ----------
    format : str
        Of the damaged file.
    tree, file : str
        The folder that is read, and the file in it.
    reader : str
        Which of :func:`consume`'s readers reads it.
    name : str
        What is wrong.
    damage : callable
        Does it to a file, which may be a hard link to the sound one.
    knowable : bool
        Whether a reader could tell the damaged input from a sound one.
    """

    format: str
    tree: str
    file: str
    reader: str
    name: str
    damage: Damage
    knowable: bool = True


_EXPERIMENT = """name = "x"
seed = 3
[data]
source = "nsd"
path = "nowhere"
sessions = 2
[decode]
alphas = [1.0, 10.0]
[generate]
samples = 2
steps = 10
guidance = 3.0
[compute]
device = "cpu"
"""


def write_inputs(root: Path) -> None:
    """Write a tree in NSD's layout, folders of one's own, images, a model, an experiment."""
    import vox2pix
    from vox2pix.phantom import simulate

    simulate(
        root / "nsd",
        sessions=1,
        trials_per_session=30,
        n_shared=4,
        n_early=30,
        n_ventral=30,
        space=("func1pt8mm", "fsaverage5"),
        image_size=32,
    )
    rng = np.random.default_rng(0)
    for form in OWN:
        _write_own(root / f"own-{form}", form, rng)
    images = rng.integers(0, 256, (5, 16, 16, 3), np.uint8)
    for form in ("npy", "npz", "zarr", "pt", "png"):
        _write_images(root / f"images-{form}", form, images)
    shutil.copytree(Path(vox2pix.__file__).parent / "phantom" / "model", root / "model")
    (root / "config").mkdir()
    (root / "config" / "experiment.toml").write_text(_EXPERIMENT)


def _write_own(folder: Path, form: str, rng: np.random.Generator) -> None:
    betas = rng.standard_normal((12, 8)).astype(np.float32)
    folder.mkdir()
    path = folder / f"responses.{form}"
    if form == "npy":
        np.save(path, betas)
    elif form == "npz":
        np.savez_compressed(path, responses=betas)
    elif form == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "responses", data=betas, chunks=(4, 8), compression="gzip", fletcher32=True
            )
    elif form == "zarr":
        import zarr

        zarr.save_array(path, betas)
    else:
        mask = np.zeros((3, 3, 3), np.uint8)
        mask.ravel()[:8] = 1
        volume = np.zeros((3, 3, 3, 12), np.float32)
        volume[mask > 0] = betas.T
        nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
        nib.save(nib.Nifti1Image(mask, np.eye(4)), folder / "mask.nii.gz")
    ids = [f"s{i % 6}" for i in range(12)]
    rows = [f"{s},{1 + i // 6},{'test' if i % 6 < 2 else 'train'}" for i, s in enumerate(ids)]
    (folder / "trials.csv").write_text("\n".join(["stimulus_id,session,split", *rows]) + "\n")
    flags = [f"{int(i < 4)},{int(i >= 4)},0.{i + 1}" for i in range(8)]
    (folder / "voxels.csv").write_text("\n".join(["V1,V4,ncsnr", *flags]) + "\n")
    captions = [f"s{i},a thing number {i}" for i in range(6)]
    (folder / "captions.csv").write_text("\n".join(["stimulus_id,caption", *captions]) + "\n")
    images = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
    if form == "npz":
        np.savez(folder / "stimuli.npz", images=images, stimulus_id=[f"s{i}" for i in range(6)])
        return
    (folder / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / "images" / f"s{i}.png")


def _write_images(folder: Path, form: str, images: NDArray[np.uint8]) -> None:
    folder.mkdir()
    path = folder / f"images.{form}"
    if form == "npy":
        np.save(path, images)
    elif form == "npz":
        np.savez_compressed(path, images=images, ids=list("abcde"))
    elif form == "zarr":
        import zarr

        zarr.save_array(path, images)
    elif form == "pt":
        import torch

        torch.save(torch.from_numpy(images), path)
    else:
        (folder / "png").mkdir()
        for name, image in zip("abcde", images, strict=True):
            Image.fromarray(image).save(folder / "png" / f"{name}.png")


def cases(root: Path) -> list[Case]:
    """List every case, in an order and with seeds that never change."""
    every = [*_nsd_cases(), *_own_cases(root), *_image_cases(), *_model_cases(), *_toml_cases()]
    return [case for case in every if case.name != "may not be read" or os.getuid()]


def _file(
    format_: str,
    tree: str,
    file: str,
    reader: str,
    flips: tuple[tuple[float, float], ...] = ((0, 1),),
    flips_are_knowable: bool = False,
    cuts_are_knowable: bool = True,
) -> Iterator[Case]:
    """Yield what can happen to any file."""
    case = partial(Case, format_, tree, file, reader)
    seed = int(hashlib.sha256(f"{tree}/{file}".encode()).hexdigest()[:6], 16)
    share = random.Random(seed).uniform(0.1, 0.95)
    yield case("empty", partial(become, b""))
    yield case(f"cut to {share:.0%}", partial(cut, share), cuts_are_knowable)
    for n, span in enumerate(flips):
        yield case(f"bit turned, {n}", partial(flip, seed + n, span), flips_are_knowable)
    yield case("is a folder", folder)
    yield case("is a link to itself", loop)
    yield case("is another format", partial(become, bytes(range(256)) * 20))
    yield case("may not be read", closed)


def _numbers(
    format_: str, tree: str, file: str, reader: str, absurd: Damage, finite: bool = True
) -> Iterator[Case]:
    """Yield what can be wrong with an array."""
    case = partial(Case, format_, tree, file, reader)
    yield case("one dimension less", partial(array, lambda a: a[0]))
    yield case("one row less", partial(array, lambda a: a[..., 1:] if a.ndim > 2 else a[1:]))
    yield case("nothing in it", partial(array, lambda a: a[:0] if a.ndim < 3 else a[..., :0]))
    yield case("absurd size", absurd)
    if finite:
        yield case("NaN", partial(array, partial(some, np.nan)))
        yield case("infinite", partial(array, partial(some, np.inf)))


def _table(
    format_: str, tree: str, file: str, reader: str, separator: str, number: int
) -> Iterator[Case]:
    """Yield what can be wrong with a table; the column ``number`` holds numbers."""
    case = partial(Case, format_, tree, file, reader)

    def spoiled(row: list[str]) -> list[str]:
        return [v if i != number or v[:1].isalpha() else f"{v}x" for i, v in enumerate(row)]

    # A folder of one's own says itself which regions there are.
    knowable = file != "voxels.csv"
    yield case("column missing", partial(column, lambda row: row[1:], separator), knowable)
    yield case("column twice", partial(column, lambda row: [*row, row[0]], separator))
    yield case("words for numbers", partial(column, spoiled, separator))
    yield case("row missing", partial(lines, lambda lines: lines[:-1]))
    yield case("row too long", partial(lines, lambda lines: [*lines[:2], lines[2] + separator * 9]))
    yield case("not UTF-8", partial(become, b"\xff\xfe" + bytes(range(128, 256)) * 4))
    yield case("zero bytes", partial(become, bytes(500)))


def _nsd_cases() -> Iterator[Case]:
    folder, surface = BETAS.format("func1pt8mm"), BETAS.format("fsaverage5")
    experiment = "nsddata/experiments/nsd"
    own = "nsddata/ppdata/subj01/func1pt8mm"
    betas = f"{folder}/betas_session01.hdf5"
    yield from _file("HDF5", "nsd", betas, "nsd", ((0, 0.01), (0, 0.05), (0.3, 1)))
    yield from _numbers("HDF5", "nsd", betas, "nsd", absurd_hdf5)
    images = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    yield from _file("HDF5", "nsd", images, "nsd", ((0, 0.05),))
    yield Case("HDF5", "nsd", images, "nsd", "absurd size", absurd_hdf5)
    labels = f"{own}/roi/streams.nii.gz"
    yield from _file("NIfTI", "nsd", labels, "nsd", ((0.02, 1), (0.5, 1)), True)
    yield from _numbers("NIfTI", "nsd", labels, "nsd", absurd_image, finite=False)
    yield Case("NIfTI", "nsd", f"{folder}/ncsnr.nii.gz", "nsd", "absurd size", absurd_image)
    yield from _file("NIfTI", "nsd", f"{folder}/ncsnr.nii.gz", "nsd", ((0.02, 1),), True)
    left = f"{surface}/lh.betas_session01.mgh"
    yield from _file("MGH", "nsd", left, "surface", ((0, 0.0001), (0.1, 1)))
    yield from _numbers("MGH", "nsd", left, "surface", absurd_image)
    atlas = "nsddata/freesurfer/fsaverage5/label/lh.streams.mgz"
    yield from _file("MGH", "nsd", atlas, "surface", ((0.02, 1),), True)
    yield from _file("MATLAB", "nsd", f"{experiment}/nsd_expdesign.mat", "nsd", ((0, 1), (0.5, 1)))
    info = f"{experiment}/nsd_stim_info_merged.csv"
    yield from _file("CSV", "nsd", info, "nsd", cuts_are_knowable=False)
    responses = "nsddata/ppdata/subj01/behav/responses.tsv"
    yield from _file("TSV", "nsd", responses, "nsd", cuts_are_knowable=False)
    yield from _table("TSV", "nsd", responses, "nsd", "\t", 1)
    annotations = "nsddata_stimuli/stimuli/nsd/annotations/captions_train2017.json"
    yield from _file("JSON", "nsd", annotations, "nsd")
    yield Case("JSON", "nsd", annotations, "nsd", "a list", partial(become, b"[1, 2]"))
    names = "nsddata/freesurfer/subj01/label/streams.mgz.ctab"
    yield from _file("ctab", "nsd", names, "nsd", cuts_are_knowable=False)


def _own_cases(root: Path) -> Iterator[Case]:
    absurd = {
        "npy": absurd_npy,
        "npz": absurd_npz,
        "h5": absurd_hdf5,
        "nii.gz": absurd_image,
    }
    checked = ("npz", "h5", "nii.gz")  # formats with checksums
    for form, how in absurd.items():
        name, tree = f"responses.{form}", f"own-{form}"
        kind = {"h5": "HDF5", "nii.gz": "NIfTI"}.get(form, form)
        spans = ((0.02, 0.4), (0.4, 0.98)) if form == "nii.gz" else ((0, 0.3), (0.3, 1))
        yield from _file(kind, tree, name, "own", spans, form in checked)
        yield from _numbers(kind, tree, name, "own", how)
        if form != "nii.gz":
            for dtype in ("complex64", "U4", "object", "datetime64[s]"):
                if form == "h5" and dtype[0] in "Uod":
                    continue
                change = partial(array, lambda a, dtype=dtype: a.astype("i8").astype(dtype))
                yield Case(kind, tree, name, "own", f"{dtype} values", change)
    for file in ("zarr.json", "c/0/0"):
        name = f"responses.zarr/{file}"
        # A missing chunk is a chunk of zeros in this format, and its chunks have no checksums.
        yield from _file("zarr", "own-zarr", name, "own", ((0, 0.5), (0.5, 1)))
    for old, new in (("float32", "float33"), ("12,", "-12,"), ("12,", "1200000000000,")):
        name, change = "responses.zarr/zarr.json", partial(replaced, old, new)
        yield Case("zarr", "own-zarr", name, "own", f"{old} becomes {new}", change)
    for file, number in (("trials.csv", 1), ("voxels.csv", 2), ("captions.csv", 9)):
        cut = file != "captions.csv"
        yield from _file("CSV", "own-npy", file, "own", cuts_are_knowable=cut)
        if number < 9:
            yield from _table("CSV", "own-npy", file, "own", ",", number)
    yield Case("CSV", "own-npy", "captions.csv", "own", "row missing", partial(lines, _short))
    image = "images/s2.png"
    yield from _file("PNG", "own-h5", image, "own", ((0.05, 0.5), (0.5, 0.95)), True)
    yield Case("PNG", "own-h5", image, "own", "absurd size", absurd_png)
    yield from _file("npz", "own-npz", "stimuli.npz", "own", ((0, 1),), True)


def _short(lines: list[str]) -> list[str]:
    return lines[:-1]


def _image_cases() -> Iterator[Case]:
    for form, absurd in (("npy", absurd_npy), ("npz", absurd_npz)):
        name, tree = f"images.{form}", f"images-{form}"
        yield from _file(form, tree, name, "images", ((0, 0.1), (0.1, 1)), form == "npz")
        yield Case(form, tree, name, "images", "absurd size", absurd)
        yield Case(form, tree, name, "images", "NaN", partial(array, partial(some, np.nan)))
        yield Case(form, tree, name, "images", "to 300", partial(array, lambda a: a * 1.2))
    for form, file in (("zarr", "images.zarr/zarr.json"), ("pt", "images.pt")):
        yield from _file(form, f"images-{form}", file, "images", ((0, 0.5), (0.5, 1)))
    yield from _file("PNG", "images-png", "png/b.png", "images", ((0.05, 0.95),), True)
    yield Case("PNG", "images-png", "png/b.png", "images", "absurd size", absurd_png)


def _model_cases() -> Iterator[Case]:
    for file in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        case = partial(Case, "safetensors", "model", file, "model")
        yield from _file("safetensors", "model", file, "model", ((0, 0.001), (0.5, 1)))
        yield case("absurd header", absurd_safetensors)
        yield case("absurd shape", partial(wrong_safetensors, "shape", [2**40, 2**20]))
        yield case("absurd place", partial(wrong_safetensors, "data_offsets", [0, 2**60]))
        yield case("another type", partial(wrong_safetensors, "dtype", "I64"))
        yield case("NaN", partial(tensors, with_nan))
        yield case("a tensor less", partial(tensors, lambda t: dict(list(t.items())[1:])))
        yield case("transposed", partial(tensors, lambda t: {k: v.T.copy() for k, v in t.items()}))
    for file in ("vae/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        yield from _file("JSON", "model", file, "model")
        yield Case("JSON", "model", file, "model", "a list", partial(become, b"[1, 2]"))
    yield from _file("JSON", "model", "tokenizer/tokenizer.json", "model")


def _toml_cases() -> Iterator[Case]:
    case = partial(Case, "TOML", "config", "experiment.toml", "config")
    yield from _file(
        "TOML", "config", "experiment.toml", "config", ((0, 0.5), (0.5, 1)), False, False
    )
    for old, new in (
        ("steps = 10", "steps = 10\nsteps = 11"),
        ("steps = 10", "steps = nan"),
        ("guidance = 3.0", "guidance = nan"),
        ("guidance = 3.0", "guidance = inf"),
        ("alphas = [1.0, 10.0]", "alphas = [inf]"),
        ("alphas = [1.0, 10.0]", "alphas = [1.0, nan]"),
        ("seed = 3", "seed = 99999999999999999999999999999999"),
        ("seed = 3", "seed = 1979-05-27"),
        ("samples = 2", "samples = [[[[2]]]]"),
        ("samples = 2", "samples = 1e999"),
        ('name = "x"', 'name = "../../x"'),
        ('name = "x"', "name = 3"),
        ('path = "nowhere"', 'path = "a\\u0000b"'),
        ("sessions = 2", "sessions = -2"),
        ("sessions = 2", "sessions = []"),
        ("[compute]", "[[compute]]"),
        ("[decode]", "[data]"),
        ('"cpu"', '"cpu'),
    ):
        # However large, a seed is a seed.
        yield case(f"{old} becomes {new}", partial(replaced, old, new), "999" not in new)
    yield case("deeply nested", partial(become, b"a = " + b"[" * 5000 + b"]" * 5000))
    yield case("not UTF-8", partial(become, b'name = "\xff\xfe"'))
