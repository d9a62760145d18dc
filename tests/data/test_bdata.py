"""BData as bdpy 0.26 writes it (texts of variable length), against the folder reader."""

import h5py
import numpy as np
import pandas as pd
import pytest

from data.lab_truth import require_equal_betas
from vox2pix.data import check, open_bdata, open_folder
from vox2pix.data._registry import recognised
from vox2pix.data.bdata import BdataSource, stimulus_ids
from vox2pix.errors import UserError

OLD = {"dataset": "dataSet", "metadata": "metaData"}


def write(path, columns, voxels, regions, vmap=None, old=False):
    """Write voxels and labels as columns of one array, and which column is what.

    ``columns`` are labels by key, put before, between and after the voxels.
    """
    labels = list(columns.items())
    parts = [("label", *labels[0]), ("voxels", "VoxelData", voxels)]
    parts += [("label", *each) for each in labels[1:]]
    keys, blocks, start, spans = [], [], 0, {}
    for _, key, values in parts:
        block = np.asarray(values, float).reshape(len(voxels), -1)
        spans[key] = slice(start, start + block.shape[1])
        start += block.shape[1]
        blocks.append(block)
    rows = []
    for key, span in spans.items():
        row = np.full(start, np.nan)
        row[span] = 1
        keys.append(key)
        rows.append(row)
    for name, flags in regions.items():
        row = np.full(start, np.nan)
        row[spans["VoxelData"]] = flags
        keys.append(f"ROI_{name}")
        rows.append(row)
    row = np.full(start, np.nan)
    row[spans["VoxelData"]] = np.arange(voxels.shape[1]) * 1.5 - 20
    keys.append("voxel_x")
    rows.append(row)
    names = OLD if old else {name: name for name in OLD}
    with h5py.File(path, "w") as file:
        file[names["dataset"]] = np.hstack(blocks)
        table = file.create_group(names["metadata"])
        texts = [key.encode() for key in keys]
        table["key"] = np.array(texts) if old else texts  # of one length, or each of its own
        table.create_dataset("description", data=[b"a description"] * len(keys))
        table["value"] = np.array(rows)
        for key, words in (vmap or {}).items():
            for number, word in words.items():
                file[f"vmap/{key}/{number}"] = word.encode()
    return path


def parts(lab):
    """Voxels of the phantom, its regions and labels, by numbers as GOD has them."""
    betas = np.load(lab.folder / "responses.npy").astype(float)
    regions = {name: region[lab.mask].astype(float) for name, region in lab.regions.items()}
    numbers = 1518878 + (lab.conditions + 5950) / 1e6
    columns = {"Session": lab.session, "stimulus_id": numbers, "Run": lab.run}
    return betas, regions, columns


def renamed(lab):
    """The folder's subject with the names that the numbers stand for."""
    subject = open_folder(lab.folder)
    names = {name: f"n01518878_{i + 5950}" for i, name in enumerate(lab.names)}
    subject.trials["stimulus_id"] = subject.trials["stimulus_id"].map(names)
    return subject, names


def listed(lab, path):
    names = renamed(lab)[1]
    path.write_text("\n".join(names[name] for name in lab.test))
    return path


@pytest.mark.parametrize("old", [False, True])
def test_a_file_equals_the_folder(lab, tmp_path, old):
    betas, regions, columns = parts(lab)
    path = write(tmp_path / "sub-01.h5", columns, betas, regions, old=old)
    subject = open_bdata(path, test=listed(lab, tmp_path / "test.txt"))
    reference, _ = renamed(lab)
    require_equal_betas(subject, reference)
    assert set(subject.rois) == set(reference.rois)
    for roi in reference.rois:
        np.testing.assert_array_equal(subject.voxel_mask(roi), reference.voxel_mask(roi))
        np.testing.assert_array_equal(subject.train.betas(roi), reference.train.betas(roi))
    assert (subject.name, subject.space) == ("sub-01", "array")
    assert recognised(path) is recognised(tmp_path) is BdataSource
    assert [name for name, _, _ in BdataSource(root=path).listed()] == ["./sub-01.h5"]


def test_numbers_are_formatted_and_not_compared():
    """1518878.005958 is picture 5958 of n01518878; no float is exactly that number."""
    values = np.array([1518878.005958, 2084071.0001, np.nan, 12345678.123456])
    expected = ["n01518878_5958", "n02084071_100", "", "n12345678_123456"]
    assert stimulus_ids(values, {}, "x") == expected
    every = np.arange(1_000_000, 1_000_500)
    names = stimulus_ids(1518878 + every / 10**7, {}, "x")
    assert len(set(names)) == 51
    assert stimulus_ids(np.array([3.0, np.nan, 12.0]), {}, "x") == ["3", "", "12"]
    assert stimulus_ids(np.array([3.0, 1.0]), {1.0: "cat", 3.0: "dog"}, "x") == ["dog", "cat"]
    with pytest.raises(UserError, match=r"x holds 2, which its vmap has no text for"):
        stimulus_ids(np.array([2.0]), {1.0: "cat"}, "x")


@pytest.mark.parametrize(
    ("numbers", "dtype", "sound"),
    [
        ([1518878.005958, 1518878.010042], "float64", True),
        ([1518878.005958, 1518878.010042], "float32", False),  # both 1518878
        ([1518.005958, 1518.005959], "float32", False),
        ([16.000001, 8.000002], "float32", True),
        ([391895.0, 581929.0], "float32", True),
        ([2047.0, 3.0], "float16", True),
        ([2052.0, 3.0], "float16", False),
    ],
)
def test_labels_with_too_few_digits_are_refused(lab, tmp_path, numbers, dtype, sound):
    betas, regions, columns = parts(lab)
    labels = np.array(numbers)[np.arange(96) % 2]
    path = write(tmp_path / "a.h5", columns | {"stimulus_id": labels}, betas, regions)
    with h5py.File(path, "r+") as file:
        values = file["dataset"][:]
        del file["dataset"]
        file["dataset"] = values.astype(dtype)
    if sound:
        assert len(set(open_bdata(path).trials["stimulus_id"])) == 2
        return
    with pytest.raises(UserError, match=rf"as {dtype}, which has too few digits to tell images"):
        open_bdata(path)


def test_rest_and_imagery_are_left_out_by_data_type(lab, tmp_path):
    betas, regions, columns = parts(lab)
    kind = np.where(lab.split == "test", 2.0, 1.0)
    kind[:3] = 3
    columns["stimulus_id"] = columns["stimulus_id"].copy()
    columns["stimulus_id"][10] = np.nan
    path = write(tmp_path / "Subject1.h5", columns | {"DataType": kind}, betas, regions)
    subject = open_bdata(path)
    left = np.setdiff1d(np.arange(96), [0, 1, 2, 10])
    reference, _ = renamed(lab)
    assert subject.trials["stimulus_id"].tolist() == reference.trials["stimulus_id"][left].tolist()
    assert subject.trials["split"].tolist() == lab.split[left].tolist()
    whole = subject.select(np.ones(len(left), bool)).betas()
    np.testing.assert_array_equal(whole, betas[left].astype(np.float32))
    notes = " ".join(subject.notes)
    assert "3 of 96 trials of" in notes
    assert "1 of 93 trials have no stimulus" in notes


def test_files_for_training_and_test(lab, tmp_path):
    """Sessions of both files begin at 1 and stay apart; a repeat is left out by its key."""
    betas, regions, columns = parts(lab)
    table = pd.DataFrame(columns)
    for name, side in (("NaturalImageTraining", "train"), ("NaturalImageTest", "test")):
        rows = lab.split == side
        own = {key: table[key].to_numpy()[rows] for key in columns}
        own["repeat"] = np.arange(rows.sum()) == 4
        write(tmp_path / f"sub-01_perception{name}_VC_v2.h5", own, betas[rows], regions)
    write(tmp_path / "sub-02_perceptionNaturalImageTest_VC_v2.h5", columns, betas[:, 1:],
          {name: flags[1:] for name, flags in regions.items()})  # fmt: skip
    with h5py.File(tmp_path / "ImageFeatures.h5", "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(UserError, match=r"have other voxels: choose the files of one person"):
        open_bdata(tmp_path)
    subject = open_bdata(tmp_path, files="sub-01_*", leave_out="repeat=1")
    assert subject.sessions == (1, 2, 3, 4)
    test, train = np.flatnonzero(lab.split == "test"), np.flatnonzero(lab.split == "train")
    order = np.concatenate([np.delete(test, 4), np.delete(train, 4)])
    whole = subject.select(np.ones(94, bool)).betas()
    np.testing.assert_array_equal(whole, betas[order].astype(np.float32))
    assert subject.trials["split"].tolist() == lab.split[order].tolist()
    assert any("1 trials of sub-01_perceptionNaturalImageTest" in n for n in subject.notes)
    assert check(BdataSource(root=tmp_path, files="sub-01_*")).name == tmp_path.name
    names = [name for name, _, _ in BdataSource(root=tmp_path, files="sub-01_*").listed()]
    assert names == [
        "./sub-01_perceptionNaturalImageTest_VC_v2.h5",
        "./sub-01_perceptionNaturalImageTraining_VC_v2.h5",
    ]
    with pytest.raises(UserError, match=r"leave_out has 'repaet=1': .* did you mean repeat\?"):
        open_bdata(tmp_path, files="sub-01_*", leave_out="repaet=1")


def test_labels_by_the_texts_of_vmap(lab, tmp_path):
    betas, regions, _ = parts(lab)
    labels = lab.conditions + 1.0  # as Matlab counts
    words = {f"{i + 1}.0": name for i, name in enumerate(lab.names)}
    own = {"Session": lab.session, "Label": labels, "Run": lab.run}
    path = write(tmp_path / "a.h5", own, betas, regions, {"Label": words})
    subject = open_bdata(path, images=lab.images, test=lab.test_file)
    require_equal_betas(subject, open_folder(lab.folder))
    ids = list(subject.train.stimulus_ids)
    np.testing.assert_array_equal(subject.images(ids), open_folder(lab.folder).images(ids))


def test_images_may_be_absent(lab, tmp_path):
    """They are shared on request only: a check says so once, and responses are read."""
    betas, regions, columns = parts(lab)
    path = write(tmp_path / "a.h5", columns, betas, regions)
    report = check(BdataSource(root=path, test=0.2))
    assert len(report.faults) == 1
    assert "was opened without images" in report.faults[0]
    assert report.train.n_trials + report.test.n_trials == 96


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({}, {"label": "stimulusid"}, r"has no key 'stimulusid'; did you mean stimulus_id\?"),
        ({"stimulus_id": None}, {}, r"has none of stimulus_id, Label, stimulus_name \(it has Se"),
        ({"Run": np.full(96, 1.5)}, {}, r"Run holds numbers that are not whole"),
        ({}, {"leave_out": "Run"}, r"The option leave_out has 'Run': give a key and its number"),
    ],
)
def test_what_cannot_be_read_is_refused(lab, tmp_path, change, options, sentence):
    betas, regions, columns = parts(lab)
    columns = {k: v for k, v in {**columns, **change}.items() if v is not None}
    path = write(tmp_path / "a.h5", columns, betas, regions)
    with pytest.raises(UserError, match=sentence):
        open_bdata(path, **options)


@pytest.mark.parametrize("name", ["dataset", "metadata/value"])
@pytest.mark.parametrize("n_more", [0, 5])
def test_a_small_file_reserves_no_memory(lab, tmp_path, name, n_more):
    """Of values that were never written none are stored, whatever the shape says."""
    betas, regions, columns = parts(lab)
    path = write(tmp_path / "a.h5", columns, betas, regions)
    with h5py.File(path, "r+") as file:
        n_rows, n_columns = file[name].shape
        del file[name]
        file.create_dataset(name, (n_rows, n_columns + n_more), "f8")
    sentence = "one value per key and column" if n_more else "none of its values were written"
    with pytest.raises(UserError, match=sentence):
        open_bdata(path)


def test_a_matlab_file_has_a_remedy(tmp_path):
    (tmp_path / "Subject1.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    for place in (tmp_path, tmp_path / "Subject1.mat"):
        with pytest.raises(UserError, match=r"bdpy\.BData\(name\)\.save\('name\.h5'\)"):
            open_bdata(place)
