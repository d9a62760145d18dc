"""Dreams read back by pandas and numpy alone, against the truth behind them."""

import h5py
import numpy as np
import pandas as pd
import pytest

from vox2pix.phantom import dreams, scenes, simulate
from vox2pix.phantom.higher import HigherTuning, respond, scene_content


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return simulate(
        tmp_path_factory.mktemp("dreams") / "nsd",
        sessions=2,
        trials_per_session=60,
        n_early=60,
        n_ventral=80,
        n_shared=6,
        image_size=64,
        seed=3,
        imagery="signal",
    )


def dreamt(root):
    """Return the scenes that were dreamt: those after the experiment's and the unseen one."""
    with h5py.File(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5") as stimuli:
        first = len(stimuli["imgBrick"]) + 1
    with h5py.File(root / "truth/subj01.h5") as truth:
        seed = int(truth.attrs["scene_seed"])
    return [scenes.scene(first + k, seed) for k in range(dreams.N_DREAMS)]


def test_reports_name_the_dream_and_are_wrong_at_the_known_rate(root):
    table = pd.read_csv(root / "dreams/func1pt8mm/subj01/reports.csv")
    words = table.groupby("trial")["word"].agg(list)
    assert list(words.index) == list(range(1, dreams.N_DREAMS + 1))
    right = []
    for scene, told in zip(dreamt(root), words, strict=True):
        main = scene.objects[0]
        true = [main.kind, main.colour, scene.background][: len(told)]
        groups = scenes.KINDS, scenes.COLOURS, scenes.BACKGROUNDS
        assert all(word in group for word, group in zip(told, groups, strict=False))
        right += [a == b for a, b in zip(told, true, strict=True)]
    assert len(right) == 2.5 * dreams.N_DREAMS
    assert 1 - np.mean(right) == pytest.approx(dreams.WRONG, abs=0.1)


def test_higher_voxels_hold_the_dream_and_early_ones_nothing(root):
    folder = root / "dreams/func1pt8mm/subj01"
    betas, voxels = np.load(folder / "responses.npy"), pd.read_csv(folder / "voxels.csv")
    assert betas.shape == (dreams.N_DREAMS, len(voxels))
    with h5py.File(root / "truth/subj01.h5") as truth:
        space = truth["func1pt8mm"]
        index = pd.DataFrame(space["index"][:], columns=["x", "y", "z"])
        place = index.merge(voxels.reset_index(), on=["x", "y", "z"], how="left")["index"]
        stream, responsive = space["stream"][:], space["responsive"][:]
        assert place[responsive].notna().all() and place.notna().sum() == len(responsive)
        columns = place[space["higher/voxel"][:]].astype(int).to_numpy()
        assert (voxels["early"].to_numpy(bool) == (stream[responsive] == 1)).all()
        ncsnr = space["ncsnr"][:][space["higher/voxel"][:]]
        tuning = HigherTuning(
            tuple(g.decode() for g in space["higher/groups"][:]),
            *(space[f"higher/{name}"][:] for name in ("weights", "shares", "position")),
        )
    signal = respond(scene_content(dreamt(root)), tuning)
    r = [np.corrcoef(betas[:, c], s)[0, 1] for c, s in zip(columns, signal.T, strict=True)]
    assert np.mean(r) > 0.12
    assert np.mean(np.array(r)[ncsnr > 0.5]) > np.mean(np.array(r)[ncsnr < 0.3])
