"""A small phantom, its responses as plain arrays, and the documented folder made of them.

The arrays are read from the simulated tree by h5py and nibabel alone; the layouts of laboratories
are written from them in the tests, by code that shares nothing with the readers.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from vox2pix.phantom import simulate

BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def truth(root: Path) -> SimpleNamespace:
    """Simulate two sessions of 48 trials and return what was simulated."""
    tree = root / "tree"
    simulate(tree, sessions=2, trials_per_session=48, n_shared=6, n_early=60, n_ventral=60)
    volumes = []  # (X, Y, Z, n_trials) of each session, percent signal change
    for session in (1, 2):
        with h5py.File(tree / BETAS / f"betas_session{session:02d}.hdf5") as file:
            raw = np.asarray(file["betas"]).transpose(3, 2, 1, 0)
        volumes.append(raw.astype(np.float32) / np.float32(300))
    streams = nib.load(tree / "nsddata/ppdata/subj01/func1pt8mm/roi/streams.nii.gz")
    labels = np.asarray(streams.dataobj)
    names = (tree / "nsddata/freesurfer/subj01/label/streams.mgz.ctab").read_text().splitlines()
    number = {line.split()[1]: int(line.split()[0]) for line in names if line.split()}
    regions = {name: labels == number[name] for name in ("early", "ventral")}
    table = pd.read_csv(tree / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    shown = (table["73KID"].to_numpy() - 1)[: 2 * 48]  # 73KID counts from 1
    with h5py.File(tree / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as file:
        bricks = np.asarray(file["imgBrick"])
    images = root / "images"
    images.mkdir()
    ids = [f"scene{i:03d}" for i in shown]
    for i in sorted(set(shown)):
        Image.fromarray(bricks[i]).save(images / f"scene{i:03d}.png")
    made = SimpleNamespace(
        volumes=volumes,
        regions=regions,
        mask=regions["early"] | regions["ventral"],
        affine=np.asarray(streams.affine),
        ids=ids,
        conditions=np.searchsorted(sorted(set(shown)), shown),  # from 0
        names=sorted(set(ids)),
        session=np.repeat([1, 2], 48),
        run=table["RUN"].to_numpy()[: 2 * 48],
        test=sorted({f"scene{i:03d}" for i in shown[:12]})[:5],
        images=images,
        captions=root / "captions.csv",
        folder=root / "own",
    )
    rows = [(name, f"A caption of {name}.") for name in made.names]
    pd.DataFrame(rows, columns=["stimulus_id", "caption"]).to_csv(made.captions, index=False)
    made.test_file = root / "test.txt"
    made.test_file.write_text("\n".join(made.test) + "\n")
    made.split = np.where(np.isin(ids, made.test), "test", "train")
    _write_folder(made)
    return made


def _write_folder(made: SimpleNamespace) -> None:
    """Write the documented folder, voxels in the order of x, y, z."""
    made.folder.mkdir()
    betas = np.concatenate([volume[made.mask].T for volume in made.volumes])
    np.save(made.folder / "responses.npy", betas)
    pd.DataFrame(
        {"stimulus_id": made.ids, "session": made.session, "run": made.run, "split": made.split}
    ).to_csv(made.folder / "trials.csv", index=False)
    flags = {name: region[made.mask].astype(int) for name, region in made.regions.items()}
    places = pd.DataFrame(np.argwhere(made.mask), columns=["x", "y", "z"])
    places.assign(**flags).to_csv(made.folder / "voxels.csv", index=False)
    shutil.copytree(made.images, made.folder / "images")


def save_volume(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Write an image by nibabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def save_rois(made: SimpleNamespace, folder: Path) -> Path:
    """Write the regions as masks, named as BIDS has it."""
    for name, region in made.regions.items():
        save_volume(folder / f"sub-01_label-{name}_mask.nii.gz", region.astype(np.uint8),
                    made.affine)  # fmt: skip
    return folder


def save_json(path: Path, content: object) -> Path:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def require_equal(subject, reference) -> None:
    """Compare all that is read of a subject with what the folder reader reads, exactly."""
    np.testing.assert_array_equal(
        subject.voxels[["x", "y", "z"]], reference.voxels[["x", "y", "z"]]
    )
    assert sorted(subject.rois) == sorted(reference.rois)
    for roi in reference.rois:
        np.testing.assert_array_equal(subject.voxel_mask(roi), reference.voxel_mask(roi))
    require_equal_betas(subject, reference)
    ids = list(reference.train.stimulus_ids)
    np.testing.assert_array_equal(subject.images(ids), reference.images(ids))


def require_equal_betas(subject, reference) -> None:
    """Compare trials and responses with what the folder reader reads, exactly."""
    columns = ["stimulus_id", "session", "run", "split"]
    assert (
        subject.trials[columns].to_numpy().tolist() == reference.trials[columns].to_numpy().tolist()
    )
    for split in ("train", "test"):
        ours, theirs = getattr(subject, split).betas(), getattr(reference, split).betas()
        assert ours.dtype == np.float32
        assert len(ours) > 10
        np.testing.assert_array_equal(ours, theirs)
    assert np.ptp(ours) > 1
