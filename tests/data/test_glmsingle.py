"""GLMsingle's output, written from the documented layout, against the folder reader."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

import vox2pix
from data.lab_truth import require_equal, require_equal_betas, save_rois, save_volume
from vox2pix.data import check, open_folder, open_glmsingle
from vox2pix.data._registry import recognised
from vox2pix.data.faults import Faults
from vox2pix.data.glmsingle import GlmsingleSource
from vox2pix.data.glmsingle_files import SessionFiles, read_design
from vox2pix.errors import UserError

MODEL = "TYPED_FITHRF_GLMDENOISE_RR"


@pytest.fixture
def rois(lab, tmp_path):
    return save_rois(lab, tmp_path / "rois")


def stimuli(lab, path, base=0, column="condition"):
    """Write the table that names the conditions."""
    numbers = range(base, base + len(lab.names))
    pd.DataFrame({column: numbers, "stimulus_id": lab.names}).to_csv(path, index=False)
    return path


def runs(lab):
    """Trials in each run of both sessions, and the session of each."""
    keys = list(zip(lab.session, lab.run, strict=True))
    order = list(dict.fromkeys(keys))
    return [keys.count(key) for key in order], [int(session) for session, _ in order]


def write(lab, folder, form="hdf5", values=None, base=None):
    """Write one output folder with both sessions: the betas and the design."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.concatenate(lab.volumes, axis=-1) if values is None else values
    numbers, of_session = runs(lab)
    base = (1 if form.startswith("mat") else 0) if base is None else base
    order = [np.int64(c + base) for c in lab.conditions]
    extra = {"R2": values[..., 0], "pcnum": 3, "HRFindex": np.zeros(3, int)}
    if form == "npy":
        np.save(folder / f"{MODEL}.npy", {"betasmd": values, "pcvoxels": None, **extra})
    elif form == "hdf5":
        with h5py.File(folder / f"{MODEL}.hdf5", "w") as file:
            file["betasmd"] = values
            file["R2"] = values[..., 0]
            file["pcvoxels"] = h5py.Empty("f")
            file.attrs["pcnum"] = 3
    else:  # MATLAB: h5py sees the axes reversed
        with h5py.File(folder / f"{MODEL}.mat", "w", userblock_size=512) as file:
            file["modelmd"] = values.transpose()
            file["R2"] = values[..., 0].transpose()
    info = {"stimorder": order, "numtrialrun": numbers, "tr": 1.6, "designSINGLE": [np.eye(3)] * 2}
    if form == "mat":
        with h5py.File(folder / "DESIGNINFO.mat", "w", userblock_size=512) as file:
            file["stimorder"] = np.array(order, float)[:, None]
            file["numtrialrun"] = np.array(numbers, float)[:, None]
    elif form == "mat-7":
        row = {"stimorder": np.array(order, float)[None], "numtrialrun": np.array(numbers)[None]}
        savemat(folder / "DESIGNINFO.mat", row)
    else:
        np.save(folder / "DESIGNINFO.npy", {**info, "params": {"sessionindicator": of_session}})
    return folder


def opened(lab, folder, table, rois, **options):
    return open_glmsingle(folder, table, images=lab.images, captions=lab.captions, rois=rois,
                          test=lab.test_file, **options)  # fmt: skip


@pytest.mark.parametrize("form", ["hdf5", "npy"])
def test_pythons_output_equals_the_folder(lab, tmp_path, rois, form):
    folder = write(lab, tmp_path / "sub-01" / "out", form)
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv"), rois)
    require_equal(subject, open_folder(lab.folder))
    assert (subject.name, subject.space, subject.shape) == ("sub-01", "nifti", lab.mask.shape)
    np.testing.assert_allclose(subject.affine, lab.affine)
    assert subject.captions(["scene000"]) == [("A caption of scene000.",)]
    assert subject.origin.unit.startswith("percent signal change")
    assert any("pickle" in note for note in subject.notes) == (form == "npy")
    assert recognised(folder) is GlmsingleSource
    assert vox2pix.open_glmsingle is open_glmsingle


@pytest.mark.parametrize("form", ["mat", "mat-7"])
def test_matlabs_output_has_reversed_axes_and_counts_from_one(lab, tmp_path, rois, form):
    """Without sessions in the design, all trials are of one."""
    folder = write(lab, tmp_path / "out", form)
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv", base=1), rois)
    reference = open_folder(lab.folder)
    assert subject.sessions == (1,)
    assert list(subject.trials["stimulus_id"]) == lab.ids
    np.testing.assert_array_equal(subject.train.betas(), reference.train.betas())
    np.testing.assert_array_equal(subject.test.betas(), reference.test.betas())


@pytest.mark.parametrize("group", ["opt", "params"])
def test_matlabs_sessions_are_read(lab, tmp_path, rois, group):
    folder = write(lab, tmp_path / "out", "mat")
    with h5py.File(folder / "DESIGNINFO.mat", "r+") as file:
        file[f"{group}/sessionindicator"] = np.array(runs(lab)[1], float)[:, None]
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv", base=1), rois)
    require_equal_betas(subject, open_folder(lab.folder))
    assert subject.sessions == (1, 2)


@pytest.mark.parametrize("named", [False, True])
def test_sessions_of_matlab_7_are_read_or_noted(lab, tmp_path, rois, named):
    folder = write(lab, tmp_path / "out", "mat-7")
    numbers, of_session = runs(lab)
    design = {"stimorder": lab.conditions[None] + 1.0, "numtrialrun": np.array(numbers)[None]}
    more = {"sessionindicator": np.array(of_session)[None]}
    savemat(folder / "DESIGNINFO.mat", design | (more if named else {"opt": more}))
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv", base=1), rois)
    assert subject.sessions == ((1, 2) if named else (1,))
    assert any("sessionindicator is not read" in note for note in subject.notes) != named


def nested(levels):
    value = [1, 2]
    for _ in range(levels):
        value = [value, value]  # one list, held twice
    return value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stimorder": nested(20)}, "stimorder is no row of whole numbers"),
        ({"numtrialrun": [[1, 2], [3, 4]]}, "numtrialrun is no row of whole numbers"),
        ({"params": {"sessionindicator": ["a"]}}, "sessionindicator is no row of whole numbers"),
        ({"params": {"sessionindicator": [[1, 1]]}}, ""),
        ({"params": np.arange(3)}, ""),
        ({"params": np.arange(3), "opt": {"sessionindicator": np.ones((1, 2))}}, ""),
    ],
)
def test_designs_that_are_odd_are_read_or_refused(tmp_path, change, sentence):
    design = {"stimorder": [0, 1, 0, 1], "numtrialrun": np.array([[2, 2]])}
    np.save(tmp_path / "DESIGNINFO.npy", design | change)
    files = SessionFiles(tmp_path / f"{MODEL}.hdf5", "betasmd", (3, 3, 3), 4, True)
    if sentence:
        with pytest.raises(UserError, match=sentence):
            read_design(files, Faults())
        return
    read = read_design(files, Faults())
    assert (read.conditions.tolist(), read.runs.tolist()) == ([0, 1, 0, 1], [2, 2])
    told = any(isinstance(change.get(group), dict) for group in ("params", "opt"))
    assert (read.sessions is None) != told
    assert read.sessions is None or read.sessions.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("form", "base", "hint"),
    [
        ("hdf5", 1, r"counts from 1, DESIGNINFO\.npy from 0: subtract 1"),
        ("mat", 0, r"counts from 0, DESIGNINFO\.mat from 1: add 1"),
    ],
)
def test_a_table_that_counts_otherwise_is_refused(lab, tmp_path, rois, form, base, hint):
    folder = write(lab, tmp_path / "out", form)
    with pytest.raises(UserError, match=f"has no condition .*{hint}"):
        opened(lab, folder, stimuli(lab, tmp_path / "s.csv", base), rois)


def test_a_folder_for_each_session_sorted_as_numbers(lab, tmp_path, rois):
    """Session 10 comes after session 2, and each has conditions of its own."""
    numbers, of_session = runs(lab)
    tables = []
    for session, volume in zip((2, 10), lab.volumes, strict=True):
        folder = tmp_path / "glm" / f"ses-{session}"
        folder.mkdir(parents=True)
        here = lab.session == (1 if session == 2 else 2)
        names, order = np.unique(np.array(lab.ids)[here], return_inverse=True)
        with h5py.File(folder / f"{MODEL}.hdf5", "w") as file:
            file.create_dataset("betasmd", data=volume, chunks=(3, 3, 3, 5), compression="gzip")
        own = [n for n, s in zip(numbers, of_session, strict=True) if (s == 1) == (session == 2)]
        np.save(folder / "DESIGNINFO.npy", {"stimorder": order.tolist(), "numtrialrun": own})
        tables.append(pd.DataFrame({"session": session, "condition": range(len(names)),
                                    "stimulus_id": names}))  # fmt: skip
    table = tmp_path / "s.tsv"
    pd.concat(tables).to_csv(table, index=False, sep="\t")
    subject = opened(lab, tmp_path / "glm", table, rois)
    assert subject.sessions == (2, 10)
    assert list(subject.trials["stimulus_id"]) == lab.ids
    assert list(subject.trials["run"]) == list(lab.run)
    np.testing.assert_array_equal(subject.train.betas(), open_folder(lab.folder).train.betas())


@pytest.mark.parametrize("axes", [1, 3])
def test_a_list_of_voxels(lab, tmp_path, axes):
    """Rows of (n_voxels, n_trials), or (n_voxels, 1, 1, n_trials), with a table of flags."""
    values = np.concatenate([volume[lab.mask] for volume in lab.volumes], axis=-1)
    folder = write(lab, tmp_path / "out", "hdf5",
                   values.reshape(len(values), *[1] * (axes - 1), -1))  # fmt: skip
    flags = lab.folder / "voxels.csv"
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv"), flags)
    assert (subject.space, subject.shape) == ("array", None)
    require_equal(subject, open_folder(lab.folder))


def test_trials_by_number_without_a_design(lab, tmp_path, rois):
    folder = write(lab, tmp_path / "out")
    (folder / "DESIGNINFO.npy").unlink()
    with pytest.raises(UserError, match=r"has no DESIGNINFO .* columns trial and stimulus_id"):
        opened(lab, folder, stimuli(lab, tmp_path / "s.csv"), rois)
    table = pd.DataFrame({"trial": np.arange(1, 97), "stimulus_id": lab.ids})
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "t.csv", index=False)
    subject = opened(lab, folder, tmp_path / "t.csv", rois)
    assert list(subject.trials["stimulus_id"]) == lab.ids
    table.iloc[1:].to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"numbers 95 trials from 2, .* holds 96"):
        opened(lab, folder, tmp_path / "t.csv", rois)


def test_a_mask_and_conditions_without_an_image(lab, tmp_path):
    folder = write(lab, tmp_path / "out")
    save_volume(folder / "brain.nii.gz", lab.mask.astype(np.uint8), lab.affine)
    table = pd.DataFrame({"condition": range(len(lab.names)), "stimulus_id": lab.names})
    table.loc[3, "stimulus_id"] = ""
    table.to_csv(tmp_path / "s.csv", index=False)
    subject = open_glmsingle(folder, tmp_path / "s.csv", mask="brain.nii.gz", test=0.2)
    is_shown = lab.conditions != 3
    assert list(subject.trials["stimulus_id"]) == list(np.array(lab.ids)[is_shown])
    whole = subject.select(np.ones(len(subject.trials), bool))
    betas = np.load(lab.folder / "responses.npy")
    np.testing.assert_array_equal(whole.betas(), betas[is_shown])
    assert any(f"{(~is_shown).sum()} of 96 trials have no stimulus" in n for n in subject.notes)
    n_test = -(-2 * (len(lab.names) - 1) // 10)
    assert len(subject.test.stimulus_ids) == n_test
    again = open_glmsingle(folder, tmp_path / "s.csv", mask="brain.nii.gz", test=0.2)
    assert again.test.stimulus_ids == subject.test.stimulus_ids
    with pytest.raises(UserError, match=r"was opened without images: name their folder"):
        subject.images(["scene000"])


def test_what_has_no_data_is_left_out(lab, tmp_path, rois):
    """NaN in every trial of a session, as at the edge of a volume."""
    values = np.concatenate(lab.volumes, axis=-1)
    x, y, z = np.argwhere(lab.mask)[7]
    values[x, y, z, :48] = np.nan
    folder = write(lab, tmp_path / "out", values=values)
    subject = opened(lab, folder, stimuli(lab, tmp_path / "s.csv"), rois)
    assert subject.left_out["all"] == 1
    betas = np.delete(np.load(lab.folder / "responses.npy"), 7, axis=1)
    np.testing.assert_array_equal(subject.train.betas(), betas[lab.split == "train"])


def test_a_check_lists_every_fault(lab, tmp_path, rois):
    folder = write(lab, tmp_path / "out")
    source = GlmsingleSource(
        root=folder, stimuli=stimuli(lab, tmp_path / "s.csv"), images=lab.images,
        captions=lab.captions, rois=rois, test=lab.test_file,
    )  # fmt: skip
    report = check(source)
    assert report.ok, report.faults
    assert (report.layout, report.n_images, report.n_captions) == ("glmsingle", 32, 32)
    assert report.rois["early"].n_voxels == int(lab.regions["early"].sum())
    assert [name for name, _, _ in source.listed()][:2] == [
        "./DESIGNINFO.npy", f"./{MODEL}.hdf5",
    ]  # fmt: skip
    assert {name.partition(":")[0] for name, _, _ in source.listed()} >= {
        "stimuli", "images", "captions", "rois", "test",
    }  # fmt: skip
    save_volume(rois / "label-odd_mask.nii.gz", np.ones((3, 3, 3), np.uint8), lab.affine)
    (tmp_path / "split.csv").write_text("stimulus_id\nscene999\n")
    report = check(source.model_copy(update={"test": tmp_path / "split.csv"}))
    assert len(report.faults) == 2
    assert "has shape (3, 3, 3), the responses have" in report.faults[0]
    assert "scene999" in report.faults[1]


def test_what_is_no_output_is_refused(lab, tmp_path, rois):
    table = stimuli(lab, tmp_path / "s.csv")
    with pytest.raises(UserError, match="holds no output of GLMsingle"):
        opened(lab, tmp_path, table, rois)
    folder = write(lab, tmp_path / "out", values=lab.volumes[0])
    with pytest.raises(UserError, match=r"stimorder has 96 trials, .* 48: .* different fits"):
        opened(lab, folder, table, rois)
    write(lab, folder)
    with pytest.raises(UserError, match=r"does not say which image a condition is: name a table"):
        GlmsingleSource(root=folder).open()
    with pytest.raises(UserError, match="There is no model 'TYPEA_ONOFF' of single trials"):
        opened(lab, folder, table, rois, model="TYPEA_ONOFF")
    (folder / f"{MODEL}.hdf5").rename(folder / "TYPEB_FITHRF.hdf5")
    subject = opened(lab, folder, table, rois)
    assert any("has no TYPED_FITHRF_GLMDENOISE_RR" in note for note in subject.notes)
    require_equal_betas(subject, open_folder(lab.folder))
