"""A tiny tree in NSD's layout and a tiny folder of a person's own data, written from arrays."""

import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

BETAS = "betas_fithrf_GLMdenoise_RR"
SHAPE = (5, 6, 7)
N_TRIALS = 12
N_IMAGES = 40
VERTICES = 10_242


def save_nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.8, 1.8, 1.8, 1])), path)


def save_mgh(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(array, np.eye(4)), path)


def _write_design(root: Path, rng: np.random.Generator, n_sessions: int) -> SimpleNamespace:
    """The order of stimuli of two subjects, for one session more than there are files."""
    shared = np.sort(rng.choice(N_IMAGES, 4, replace=False)) + 1
    others = rng.permutation(np.setdiff1d(np.arange(1, N_IMAGES + 1), shared))
    subjectim = np.stack([[*shared, *others[:8]], [*shared, *others[8:16]]])
    thrice = np.concatenate([rng.permutation(12) for _ in range(n_sessions + 1)]) + 1
    order = thrice.reshape(1, -1)
    path = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(
        path,
        {"masterordering": order, "subjectim": subjectim, "sharedix": shared.reshape(1, -1)},
    )
    return SimpleNamespace(order=order.ravel(), subjectim=subjectim, shared=shared)


def _write_stimuli(root: Path, rng: np.random.Generator, shared: np.ndarray) -> np.ndarray:
    images = rng.integers(0, 256, (N_IMAGES, 20, 20, 3), dtype=np.uint8)
    folder = root / "nsddata_stimuli/stimuli/nsd"
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "nsd_stimuli.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=images, chunks=(1, 20, 20, 3))
    ids = np.arange(N_IMAGES)
    info = pd.DataFrame(
        {
            "cocoId": 1000 + 7 * ids,
            "cocoSplit": np.where(ids % 3 == 0, "val2017", "train2017"),
            "cropBox": "(0, 0, 0, 0)",
            "nsdId": ids,
            "flagged": False,
            "shared1000": np.isin(ids + 1, shared),
        }
    )
    info.sample(frac=1, random_state=0).to_csv(
        root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    )
    for split, rows in info.groupby("cocoSplit"):
        annotations = [
            {"id": 10 * int(i) + k, "image_id": int(i), "caption": f" A {k} of\n {i}. "}
            for k in range(5)
            for i in [*rows["cocoId"], 5]
        ]
        (folder / f"annotations/captions_{split}.json").write_text(
            json.dumps({"info": {}, "annotations": annotations})
        )
    return images


def _write_responses(root: Path, design: SimpleNamespace, subject: int, n_sessions: int) -> None:
    n = n_sessions * N_TRIALS
    within = np.arange(n) % N_TRIALS
    table = pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": np.arange(n) // N_TRIALS + 1,
            "RUN": within // 6 + 1,
            "TRIAL": within % 6 + 1,
            "73KID": design.subjectim[subject - 1][design.order[:n] - 1],
            "10KID": design.order[:n],
            "RT": np.where(within % 4, 500.0, np.nan),
        }
    )
    path = root / f"nsddata/ppdata/subj{subject:02d}/behav/responses.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="NaN")


def _labels(rng: np.random.Generator, shape: tuple[int, ...], n: int, share: float) -> np.ndarray:
    """Labels -1 (no cortex), 0 (none), 1 to n, each of the latter at least twice."""
    labels = rng.integers(1, n + 1, shape)
    labels[rng.random(shape) > share] = 0
    labels[rng.random(shape) < 0.1] = -1
    labels.flat[: 2 * n] = np.tile(np.arange(1, n + 1), 2)
    return labels.astype(np.int16)


def write_nsd(
    root: Path,
    volume: str = "hdf5",
    n_sessions: int = 2,
    subject: int = 1,
    chunks: tuple[int, ...] | None = (N_TRIALS, 1, 1, 1),
    surface: bool = False,
    seed: int = 0,
) -> SimpleNamespace:
    """Write the tree and return what was put into it."""
    rng = np.random.default_rng(seed)
    design = _write_design(root, rng, n_sessions)
    images = _write_stimuli(root, rng, design.shared)
    _write_responses(root, design, subject, n_sessions)
    name = f"subj{subject:02d}"
    betas = rng.normal(0, 600, (n_sessions, N_TRIALS, *SHAPE)).astype(np.int16)  # X, Y, Z
    folder = root / f"nsddata_betas/ppdata/{name}/func1pt8mm/{BETAS}"
    folder.mkdir(parents=True)
    for session, values in enumerate(betas, start=1):
        if volume == "hdf5":
            with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
                data = values.transpose(0, 3, 2, 1)
                file.create_dataset("betas", data=data, chunks=chunks)
        else:
            save_nifti(folder / f"betas_session{session:02d}.nii.gz", np.moveaxis(values, 0, -1))
    ncsnr = rng.uniform(0.1, 1, SHAPE).astype(np.float32)
    save_nifti(folder / "ncsnr.nii.gz", ncsnr)
    visual = ["V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"]
    streams = ["early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"]
    general = (rng.random(SHAPE) < 0.3).astype(np.int16)
    atlases = {
        "streams": (_labels(rng, SHAPE, 7, 0.6), streams),
        "prf-visualrois": (_labels(rng, SHAPE, 7, 0.4), visual),
        "prf-eccrois": (_labels(rng, SHAPE, 2, 0.4), ["ecc4", "ecc4+"]),
        "floc-faces": (_labels(rng, SHAPE, 2, 0.2), ["OFA", "FFA-1", "FFA-2"]),
        "Kastner2015": (_labels(rng, SHAPE, 3, 0.4), ["V1v", "V1d", "IPS0"]),
        "nsdgeneral": (general, ["nsdgeneral"]),
    }
    rois = root / f"nsddata/ppdata/{name}/func1pt8mm/roi"
    lists = root / f"nsddata/freesurfer/{name}/label"
    lists.mkdir(parents=True)
    for atlas, (labels, names) in atlases.items():
        save_nifti(rois / f"{atlas}.nii.gz", labels)
        save_nifti(rois / f"lh.{atlas}.nii.gz", labels)
        lines = ["0 Unknown", *(f"{i} {label}  120 18 0 0" for i, label in enumerate(names, 1))]
        (lists / f"{atlas}.mgz.ctab").write_text("\n".join(lines) + "\n")
    mask = (rng.random(SHAPE) < 0.9).astype(np.uint8)
    save_nifti(rois.parent / "brainmask.nii.gz", mask)
    truth = SimpleNamespace(
        root=root, name=name, folder=folder, rois=rois, lists=lists, betas=betas, ncsnr=ncsnr,
        atlases={k: v[0] for k, v in atlases.items()}, mask=mask, images=images,
        design=design,
    )  # fmt: skip
    if surface:
        _write_surface(truth, rng)
    return truth


def _write_surface(truth: SimpleNamespace, rng: np.random.Generator) -> None:
    """Betas, ncsnr and streams on fsaverage5."""
    truth.surface = truth.folder.parents[1] / "fsaverage5" / BETAS
    label = truth.root / "nsddata/freesurfer/fsaverage5/label"
    for hemi in ("lh", "rh"):
        for session in (1, 2):
            values = rng.normal(0, 2, (VERTICES, 1, 1, N_TRIALS)).astype(np.float32)
            save_mgh(truth.surface / f"{hemi}.betas_session{session:02d}.mgh", values)
        save_mgh(truth.surface / f"{hemi}.ncsnr.mgh", rng.random((VERTICES, 1, 1), np.float32))
        streams = _labels(rng, (VERTICES, 1, 1), 7, 0.05).astype(np.float32)
        save_mgh(label / f"{hemi}.streams.mgz", streams)


def _write_folder(
    root: Path, betas: np.ndarray, stimulus: list[str], form: str = "npy", **columns: object
) -> Path:
    """Write a folder of a person's own data: responses, trials and an image a stimulus."""
    import zarr

    root.mkdir(parents=True, exist_ok=True)
    if form == "npy":
        np.save(root / "responses.npy", betas)
    elif form == "npz":
        np.savez(root / "responses.npz", responses=betas)
    elif form == "h5":
        with h5py.File(root / "responses.h5", "w") as file:
            file["responses"] = betas
    elif form == "zarr":
        zarr.save_array(str(root / "responses.zarr"), betas)
    elif form == "zarr-group":
        zarr.save_group(str(root / "responses.zarr"), responses=betas)
    table = pd.DataFrame({"stimulus_id": stimulus, **columns})
    table.to_csv(root / "trials.csv", index=False)
    (root / "images").mkdir(exist_ok=True)
    for i, name in enumerate(sorted(set(stimulus))):
        grey = np.full((8, 8, 3), i, np.uint8)
        Image.fromarray(grey).save(root / "images" / f"{name}.png")
    return root


@pytest.fixture
def nsd(tmp_path):
    """Return the writer of a tree under this test's own folder."""
    return lambda **options: write_nsd(tmp_path / "nsd", **options)


@pytest.fixture
def folder(tmp_path):
    """Return the writer of a person's own folder under this test's own folder."""
    return lambda *args, **options: _write_folder(tmp_path / "own", *args, **options)


@pytest.fixture(scope="session")
def write_folder():
    """Return the writer of a person's own folder at any place."""
    return _write_folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Return a small phantom as plain arrays, and the documented folder made of them."""
    from data.lab_truth import truth

    return truth(tmp_path_factory.mktemp("lab"))
