"""Inputs of every format that vox2pix reads, small and sound, and the ways to damage them."""

import hashlib
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


# --- reading -------------------------------------------------------------------------------------


def consume(reader: str, path: Path) -> str:
    """Read all that there is in an input, as the commands do; return a digest of it."""
    seen = hashlib.blake2b(digest_size=8)
    for part in _READERS[reader](path):
        if isinstance(part, np.ndarray):
            seen.update(f"{part.dtype}{part.shape}".encode())
            part = np.ascontiguousarray(part)
            seen.update(repr(part.tolist()).encode() if part.dtype == object else part.tobytes())
        else:
            seen.update(repr(part).encode())
    return seen.hexdigest()


def _subject(subject: Any) -> Iterator[Any]:
    """Yield all of a subject."""
    whole = subject.select(np.ones(len(subject.trials), bool))
    yield subject.trials.to_csv()
    yield subject.voxels.to_csv()
    yield whole.betas()
    yield subject.affine
    for stimulus_id in whole.stimulus_ids:
        yield from subject.stimulus_source.iter_pictures([stimulus_id])
    yield subject.captions(whole.stimulus_ids)


def _nsd(path: Path, space: str = "func1pt8mm") -> Iterator[Any]:
    from vox2pix.data import open_nsd

    return _subject(open_nsd(path, rois=["early", "ventral"], space=space))


def _own(path: Path) -> Iterator[Any]:
    from vox2pix.data import open_folder

    return _subject(open_folder(path))


def _images(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.inputs import open_images

    found = open_images(next(path.iterdir()))
    yield found.ids
    for row in range(len(found.ids)):
        for sample in range(found.n_samples):
            yield found.image(row, sample)


def _model(path: Path) -> Iterator[Any]:
    from vox2pix.diffusion import LatentDiffusion

    model = LatentDiffusion.from_pretrained(str(path), device="cpu")
    yield model.encode_images(np.full((1, 64, 64, 3), 0.3, np.float32))
    yield model.embed_captions([("a red ball",)])
    yield model.plan(0.8, 10).timesteps


def _config(path: Path) -> Iterator[Any]:
    from vox2pix.config import load_config

    yield load_config(path / "experiment.toml").model_dump(exclude={"data": {"path"}})


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "nsd": _nsd,
    "surface": partial(_nsd, space="fsaverage5"),
    "own": _own,
    "images": _images,
    "model": _model,
    "config": _config,
}


# --- sound inputs --------------------------------------------------------------------------------

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
    told = [f"s{i},a thing number {i}" for i in range(6)]
    (folder / "captions.csv").write_text("\n".join(["stimulus_id,caption", *told]) + "\n")
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


# --- damage --------------------------------------------------------------------------------------


def _put(path: Path, content: bytes) -> None:
    """Replace a file, so that what it was linked to stays as it is."""
    path.unlink()
    path.write_bytes(content)


def _cut(share: float, path: Path) -> None:
    _put(path, path.read_bytes()[: int(share * path.stat().st_size)])


def _flip(seed: int, span: tuple[float, float], path: Path) -> None:
    content, chance = bytearray(path.read_bytes()), random.Random(seed)
    first, last = (int(share * (len(content) - 1)) for share in span)
    content[chance.randint(first, last)] ^= 1 << chance.randrange(8)
    _put(path, bytes(content))


def _become(content: bytes, path: Path) -> None:
    _put(path, content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _closed(path: Path) -> None:
    _put(path, path.read_bytes())
    path.chmod(0)


def _replaced(old: str, new: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise ValueError(f"{path} does not hold {old!r}.")
    _put(path, text.replace(old, new, 1).encode("utf-8", "surrogateescape"))


def _lines(change: Callable[[list[str]], list[str]], path: Path) -> None:
    _put(path, "\n".join(change(path.read_text().splitlines())).encode() + b"\n")


def _column(change: Callable[[list[str]], list[str]], separator: str, path: Path) -> None:
    rows = [line.split(separator) for line in path.read_text().splitlines()]
    _put(path, "\n".join(separator.join(change(row)) for row in rows).encode() + b"\n")


def _array(change: Callable[[NDArray[Any]], NDArray[Any]], path: Path) -> None:
    """Rewrite an array file with other values."""
    if path.suffix == ".npy":
        array = change(np.load(path))
        path.unlink()
        np.save(path, array, allow_pickle=True)
    elif path.suffix == ".npz":
        members = dict(np.load(path))
        name = next(n for n in ("responses", "images") if n in members)
        members[name] = change(members[name])
        path.unlink()
        np.savez(path, **members)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            name = next(iter(file))
            array = change(file[name][:])
        path.unlink()
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=array)
    elif path.suffix in (".mgh", ".mgz"):
        image = nib.load(path)
        array = change(np.asarray(image.dataobj))
        path.unlink()
        nib.save(nib.MGHImage(array, image.affine), path)
    else:
        image = nib.load(path)
        array = change(np.asarray(image.dataobj))
        path.unlink()
        nib.save(nib.Nifti1Image(array, image.affine), path)


def _some(value: float, array: NDArray[Any]) -> NDArray[Any]:
    out = array.astype(np.float32)
    out[out > 0] = value
    return out


def _absurd_npy(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }"
    header = header.ljust(117) + b"\n"
    _put(path, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(400))


def _absurd_npz(path: Path) -> None:
    name = "responses" if "responses" in path.name else "images"
    plain = path.with_name("absurd.npy")
    plain.touch()
    _absurd_npy(plain)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(plain, f"{name}.npy")
    plain.unlink()


def _absurd_hdf5(path: Path) -> None:
    with h5py.File(path) as file:
        name, shape = next((n, file[n].shape) for n in file)
    path.unlink()
    with h5py.File(path, "w") as file:  # nothing is stored, all of it is fill value
        file.create_dataset(
            name, (*shape[:1], *(n * 100_000 for n in shape[1:])), "f4", chunks=(1,) * len(shape)
        )


def _absurd_image(path: Path) -> None:
    """Let a header tell of thousands of gigabytes."""
    import gzip

    content = path.read_bytes()
    packed = content[:2] == b"\x1f\x8b"
    raw = bytearray(gzip.decompress(content) if packed else content)
    if ".mg" in path.name:
        raw[4:20] = struct.pack(">4i", 30_000, 30_000, 30_000, 1)
    else:
        raw[40:56] = struct.pack("<8h", 4, 30_000, 30_000, 1_000, 12, 1, 1, 1)
    _put(path, gzip.compress(bytes(raw)) if packed else bytes(raw))


def _absurd_png(path: Path) -> None:
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    _put(path, content[:8] + ihdr + content[33:])


def _absurd_safetensors(path: Path) -> None:
    _put(path, struct.pack("<Q", 2**62) + path.read_bytes()[8:])


def _wrong_safetensors(key: str, value: Any, path: Path) -> None:
    """Change what the header says of the first tensor."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    first = next(name for name in header if name != "__metadata__")
    header[first][key] = value
    text = json.dumps(header).encode()
    _put(path, struct.pack("<Q", len(text)) + text + content[8 + length :])


def _tensors(change: Callable[[dict[str, Any]], dict[str, Any]], path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = change(load_file(path))
    path.unlink()
    save_file(tensors, path)


def _with_nan(tensors: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(tensors))
    tensors[first] = np.full_like(tensors[first], np.nan)
    return tensors


# --- the cases -----------------------------------------------------------------------------------


def cases(root: Path) -> list[Case]:
    """List every case, in an order and with seeds that never change."""
    found = [*_nsd_cases(), *_own_cases(root), *_image_cases(), *_model_cases(), *_toml_cases()]
    return [case for case in found if case.name != "may not be read" or os.getuid()]


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
    yield case("empty", partial(_become, b""))
    yield case(f"cut to {share:.0%}", partial(_cut, share), cuts_are_knowable)
    for n, span in enumerate(flips):
        yield case(f"bit turned, {n}", partial(_flip, seed + n, span), flips_are_knowable)
    yield case("is a folder", _folder)
    yield case("is a link to itself", _loop)
    yield case("is another format", partial(_become, bytes(range(256)) * 20))
    yield case("may not be read", _closed)


def _numbers(
    format_: str, tree: str, file: str, reader: str, absurd: Damage, finite: bool = True
) -> Iterator[Case]:
    """Yield what can be wrong with an array."""
    case = partial(Case, format_, tree, file, reader)
    yield case("one dimension less", partial(_array, lambda a: a[0]))
    yield case("one row less", partial(_array, lambda a: a[..., 1:] if a.ndim > 2 else a[1:]))
    yield case("nothing in it", partial(_array, lambda a: a[:0] if a.ndim < 3 else a[..., :0]))
    yield case("absurd size", absurd)
    if finite:
        yield case("NaN", partial(_array, partial(_some, np.nan)))
        yield case("infinite", partial(_array, partial(_some, np.inf)))


def _table(
    format_: str, tree: str, file: str, reader: str, separator: str, number: int
) -> Iterator[Case]:
    """Yield what can be wrong with a table; the column ``number`` holds numbers."""
    case = partial(Case, format_, tree, file, reader)

    def spoiled(row: list[str]) -> list[str]:
        return [v if i != number or v[:1].isalpha() else f"{v}x" for i, v in enumerate(row)]

    # A folder of one's own says itself which regions there are.
    known = file != "voxels.csv"
    yield case("column missing", partial(_column, lambda row: row[1:], separator), known)
    yield case("column twice", partial(_column, lambda row: [*row, row[0]], separator))
    yield case("words for numbers", partial(_column, spoiled, separator))
    yield case("row missing", partial(_lines, lambda lines: lines[:-1]))
    yield case(
        "row too long", partial(_lines, lambda lines: [*lines[:2], lines[2] + separator * 9])
    )
    yield case("not UTF-8", partial(_become, b"\xff\xfe" + bytes(range(128, 256)) * 4))
    yield case("zero bytes", partial(_become, bytes(500)))


def _nsd_cases() -> Iterator[Case]:
    folder, surface = BETAS.format("func1pt8mm"), BETAS.format("fsaverage5")
    experiment = "nsddata/experiments/nsd"
    own = "nsddata/ppdata/subj01/func1pt8mm"
    betas = f"{folder}/betas_session01.hdf5"
    yield from _file("HDF5", "nsd", betas, "nsd", ((0, 0.01), (0, 0.05), (0.3, 1)))
    yield from _numbers("HDF5", "nsd", betas, "nsd", _absurd_hdf5)
    images = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    yield from _file("HDF5", "nsd", images, "nsd", ((0, 0.05),))
    yield Case("HDF5", "nsd", images, "nsd", "absurd size", _absurd_hdf5)
    labels = f"{own}/roi/streams.nii.gz"
    yield from _file("NIfTI", "nsd", labels, "nsd", ((0.02, 1), (0.5, 1)), True)
    yield from _numbers("NIfTI", "nsd", labels, "nsd", _absurd_image, finite=False)
    yield Case("NIfTI", "nsd", f"{folder}/ncsnr.nii.gz", "nsd", "absurd size", _absurd_image)
    yield from _file("NIfTI", "nsd", f"{folder}/ncsnr.nii.gz", "nsd", ((0.02, 1),), True)
    left = f"{surface}/lh.betas_session01.mgh"
    yield from _file("MGH", "nsd", left, "surface", ((0, 0.0001), (0.1, 1)))
    yield from _numbers("MGH", "nsd", left, "surface", _absurd_image)
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
    yield Case("JSON", "nsd", annotations, "nsd", "a list", partial(_become, b"[1, 2]"))
    names = "nsddata/freesurfer/subj01/label/streams.mgz.ctab"
    yield from _file("ctab", "nsd", names, "nsd", cuts_are_knowable=False)


def _own_cases(root: Path) -> Iterator[Case]:
    absurd = {
        "npy": _absurd_npy,
        "npz": _absurd_npz,
        "h5": _absurd_hdf5,
        "nii.gz": _absurd_image,
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
                change = partial(_array, lambda a, dtype=dtype: a.astype("i8").astype(dtype))
                yield Case(kind, tree, name, "own", f"{dtype} values", change)
    for file in ("zarr.json", "c/0/0"):
        name = f"responses.zarr/{file}"
        # A missing chunk is a chunk of zeros in this format, and its chunks have no checksums.
        yield from _file("zarr", "own-zarr", name, "own", ((0, 0.5), (0.5, 1)))
    for old, new in (("float32", "float33"), ("12,", "-12,"), ("12,", "1200000000000,")):
        name, change = "responses.zarr/zarr.json", partial(_replaced, old, new)
        yield Case("zarr", "own-zarr", name, "own", f"{old} becomes {new}", change)
    for file, number in (("trials.csv", 1), ("voxels.csv", 2), ("captions.csv", 9)):
        cut = file != "captions.csv"
        yield from _file("CSV", "own-npy", file, "own", cuts_are_knowable=cut)
        if number < 9:
            yield from _table("CSV", "own-npy", file, "own", ",", number)
    yield Case("CSV", "own-npy", "captions.csv", "own", "row missing", partial(_lines, _short))
    image = "images/s2.png"
    yield from _file("PNG", "own-h5", image, "own", ((0.05, 0.5), (0.5, 0.95)), True)
    yield Case("PNG", "own-h5", image, "own", "absurd size", _absurd_png)
    yield from _file("npz", "own-npz", "stimuli.npz", "own", ((0, 1),), True)


def _short(lines: list[str]) -> list[str]:
    return lines[:-1]


def _image_cases() -> Iterator[Case]:
    for form, absurd in (("npy", _absurd_npy), ("npz", _absurd_npz)):
        name, tree = f"images.{form}", f"images-{form}"
        yield from _file(form, tree, name, "images", ((0, 0.1), (0.1, 1)), form == "npz")
        yield Case(form, tree, name, "images", "absurd size", absurd)
        yield Case(form, tree, name, "images", "NaN", partial(_array, partial(_some, np.nan)))
        yield Case(form, tree, name, "images", "to 300", partial(_array, lambda a: a * 1.2))
    for form, file in (("zarr", "images.zarr/zarr.json"), ("pt", "images.pt")):
        yield from _file(form, f"images-{form}", file, "images", ((0, 0.5), (0.5, 1)))
    yield from _file("PNG", "images-png", "png/b.png", "images", ((0.05, 0.95),), True)
    yield Case("PNG", "images-png", "png/b.png", "images", "absurd size", _absurd_png)


def _model_cases() -> Iterator[Case]:
    for file in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        case = partial(Case, "safetensors", "model", file, "model")
        yield from _file("safetensors", "model", file, "model", ((0, 0.001), (0.5, 1)))
        yield case("absurd header", _absurd_safetensors)
        yield case("absurd shape", partial(_wrong_safetensors, "shape", [2**40, 2**20]))
        yield case("absurd place", partial(_wrong_safetensors, "data_offsets", [0, 2**60]))
        yield case("another type", partial(_wrong_safetensors, "dtype", "I64"))
        yield case("NaN", partial(_tensors, _with_nan))
        yield case("a tensor less", partial(_tensors, lambda t: dict(list(t.items())[1:])))
        yield case("transposed", partial(_tensors, lambda t: {k: v.T.copy() for k, v in t.items()}))
    for file in ("vae/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        yield from _file("JSON", "model", file, "model")
        yield Case("JSON", "model", file, "model", "a list", partial(_become, b"[1, 2]"))
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
        yield case(f"{old} becomes {new}", partial(_replaced, old, new), "999" not in new)
    yield case("deeply nested", partial(_become, b"a = " + b"[" * 5000 + b"]" * 5000))
    yield case("not UTF-8", partial(_become, b'name = "\xff\xfe"'))
