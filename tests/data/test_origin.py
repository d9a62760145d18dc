"""What data are: by what their files say, never by the settings."""

import json

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from vox2pix.data import check, open_folder, open_nsd
from vox2pix.data.origin import SIMULATED_FILE, data_record, is_nsd_design
from vox2pix.errors import UserError

NOTE = "The data are simulated by vox2pix phantom; no person was measured."


def test_a_tree_that_says_it_is_simulated_is_no_nsd(nsd):
    tree = nsd()
    mark = tree.root / SIMULATED_FILE
    assert open_nsd(tree.root).origin.dataset.key == "own"
    assert open_nsd(tree.root).notes == ()
    mark.write_text(json.dumps({"simulated_by": "vox2pix phantom"}))
    subject = open_nsd(tree.root)
    assert subject.origin.dataset.key == "simulated"
    assert subject.notes == (NOTE,)
    assert NOTE in check(tree.root).notes
    mark.write_text("{")
    with pytest.raises(UserError, match=r"simulated\.json cannot be read .* restore the file"):
        open_nsd(tree.root)


def test_only_a_design_of_nsds_size_is_nsd(nsd):
    assert is_nsd_design(30_000, 1_000)
    assert not is_nsd_design(3_000, 100)
    tree = nsd()
    path = tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    mat = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    mat["masterordering"] = np.resize(mat["masterordering"], (1, 30_000))
    mat["sharedix"] = np.arange(1, 1_001)
    savemat(path, mat)
    (tree.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").unlink()
    (tree.root / "nsddata/ppdata/subj01/behav/responses.tsv").unlink()
    assert open_nsd(tree.root).origin.dataset.key == "nsd"


def test_the_record_holds_what_was_read(folder):
    betas = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    path = folder(betas, ["a", "b", "c"] * 2, split=["test", "test", "train"] * 2)
    subject = open_folder(path)
    record = data_record(subject, "folder", subject.test.stimulus_ids[:1], ["One more."])
    assert record.model_dump() == {
        "subject": "own",
        "source": "folder",
        "dataset": "own",
        "identity": "own data",
        "phrase": "a person's own data",
        "licence": record.licence,
        "space": "array",
        "unit": "as in the file, not converted",
        "split": "column split of trials.csv",
        "n_sessions": 1,
        "n_train_trials": 2,
        "n_test_trials": 2,
        "n_train_stimuli": 1,
        "n_test_stimuli": 1,
        "n_voxels": {"all": 5},
        "notes": ("One more.",),
    }
    (path / SIMULATED_FILE).write_text("{}")
    assert open_folder(path).origin.dataset.key == "simulated"
