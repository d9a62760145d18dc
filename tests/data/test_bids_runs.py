"""Runs and sessions of a BIDS derivative, where names of files and columns of tables say them."""

import numpy as np
import pandas as pd
import pytest

from data.lab_truth import save_volume
from vox2pix.data import open_bids
from vox2pix.errors import UserError


def write_runs(lab, root):
    """Write maps and events of two runs that name their trials alike, stimuli in other orders."""
    shown = {1: lab.names[:3], 2: [lab.names[2], lab.names[0], lab.names[3]]}
    for run, names in shown.items():
        stem = f"sub-01_task-images_run-{run}"
        for i in range(3):
            save_volume(root / f"sub-01/{stem}_space-T1w_contrast-trial{i}_stat-effect_statmap."
                        "nii.gz", lab.volumes[0][..., 3 * run + i], lab.affine)  # fmt: skip
        pd.DataFrame({"onset": [1.0, 2.0, 3.0], "trial_type": [f"trial_{i}" for i in range(3)],
                      "stim_file": names}).to_csv(
            root / "sub-01" / f"sub-01_task-images_run-0{run}_events.tsv", sep="\t", index=False
        )  # fmt: skip
    save_volume(root / "sub-01/sub-01_task-images_space-T1w_desc-brain_mask.nii.gz",
                lab.mask.astype(np.uint8), lab.affine)  # fmt: skip
    return shown


@pytest.mark.parametrize("by_table", [False, True])
def test_contrasts_of_runs_are_joined_with_the_events_of_their_run(lab, tmp_path, by_table):
    shown = write_runs(lab, tmp_path)
    table = None
    if by_table:
        rows = [(f"trial{i}", run, shown[run][i]) for run in (2, 1) for i in range(3)]
        table = tmp_path / "table.csv"
        pd.DataFrame(rows, columns=["trial_type", "run", "stimulus_id"]).to_csv(table, index=False)
    subject = open_bids(tmp_path, stimuli=table)
    assert subject.trials["stimulus_id"].tolist() == [*shown[1], *shown[2]]
    assert subject.trials["run"].tolist() == [1, 1, 1, 2, 2, 2]
    assert not any("several events" in note for note in subject.notes)
    expected = lab.volumes[0][lab.mask][:, 3:9].T
    np.testing.assert_array_equal(subject.select(np.ones(6, bool)).betas(), expected)


def test_a_run_without_events_is_refused(lab, tmp_path):
    write_runs(lab, tmp_path)
    (tmp_path / "sub-01/sub-01_task-images_run-02_events.tsv").unlink()
    with pytest.raises(UserError, match=r"has no events\.tsv of sub-01_task-images_run-2: name"):
        open_bids(tmp_path)


@pytest.mark.parametrize("labels", [("ses-01", "ses-02"), ("2", "10"), ("ses-04", "ses-04")])
def test_sessions_of_a_column_where_no_name_says_them(lab, tmp_path, labels):
    folder = tmp_path / "sub-01"
    stem = folder / "sub-01_task-images"
    volumes = np.concatenate(lab.volumes, axis=-1)
    save_volume(folder / f"{stem.name}_stat-effect_statmap.nii.gz", volumes, lab.affine)
    save_volume(folder / f"{stem.name}_desc-brain_mask.nii.gz", lab.mask.astype(np.uint8),
                lab.affine)  # fmt: skip
    of_trial = np.array(labels)[np.arange(96) % 2]  # in turns: no session is a block of volumes
    table = pd.DataFrame({"beta_index": range(96), "stim_file": lab.ids, "session": of_trial})
    table.sample(frac=1, random_state=0).to_csv(f"{stem}_trials.tsv", sep="\t", index=False)
    subject = open_bids(tmp_path)
    numbers = tuple(int(label.removeprefix("ses-")) for label in labels)
    assert subject.sessions == tuple(sorted(set(numbers)))
    order = np.argsort(np.array(numbers)[np.arange(96) % 2], kind="stable")
    assert subject.trials["stimulus_id"].tolist() == [lab.ids[i] for i in order]
    betas = np.load(lab.folder / "responses.npy")[order]
    np.testing.assert_array_equal(subject.select(np.ones(96, bool)).betas(), betas)


@pytest.mark.parametrize("labels", [("ses-1", "ses-2"), ("3", "3")])
def test_sessions_of_a_table_of_contrasts(lab, tmp_path, labels):
    for i in range(6):
        save_volume(tmp_path / f"sub-01/sub-01_contrast-t{i}_stat-effect_statmap.nii.gz",
                    lab.volumes[0][..., i], lab.affine)  # fmt: skip
    save_volume(tmp_path / "sub-01/sub-01_mask.nii.gz", lab.mask.astype(np.uint8), lab.affine)
    of_trial = np.array(labels)[np.arange(6) // 3]
    rows = {"trial_type": [f"t{i}" for i in range(6)], "stimulus_id": lab.ids[:6],
            "session": of_trial}  # fmt: skip
    pd.DataFrame(rows).iloc[::-1].to_csv(tmp_path / "table.csv", index=False)
    subject = open_bids(tmp_path, stimuli=tmp_path / "table.csv")
    assert subject.trials["session"].tolist() == [int(label[-1]) for label in of_trial]
    assert subject.trials["stimulus_id"].tolist() == lab.ids[:6]
    expected = lab.volumes[0][lab.mask][:, :6].T
    np.testing.assert_array_equal(subject.select(np.ones(6, bool)).betas(), expected)
