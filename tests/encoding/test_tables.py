import gzip

import numpy as np
import pandas as pd
import pytest

from vox2pix.data import Subject
from vox2pix.encoding.tables import (
    best_layer,
    results_table,
    roi_summary,
    voxel_rois,
    write_results,
)
from vox2pix.errors import UserError

COLUMNS = [
    "voxel", "roi", "latent", "layer", "step", "r", "r2", "p", "q", "ceiling", "r_normalised",
]  # fmt: skip


def person(**rois):
    n_voxels = len(next(iter(rois.values())))
    voxels = pd.DataFrame({"x": range(n_voxels), "y": 0, "z": 0, **rois, "ncsnr": 0.5})
    return Subject("subj01", pd.DataFrame(), voxels, "func1pt8mm", None, None)


@pytest.fixture
def subject():
    return person(
        early=[True, True, False, False, False],
        ventral=[False, True, True, True, False],
        V1v=[True, False, False, False, True],
    )


def columns(r, q):
    n = len(r)
    return {"r": r, "r2": np.square(r), "p": q, "q": q, "ceiling": np.full(n, 40.0)}


def test_a_voxel_has_the_name_of_its_streams(subject):
    assert list(voxel_rois(subject)) == ["early", "early+ventral", "ventral", "ventral", ""]


def test_without_streams_a_voxel_has_the_names_of_all_its_regions():
    subject = person(V1=[True, False], V2=[True, True])
    assert list(voxel_rois(subject)) == ["V1+V2", "V2"]


def test_a_table_has_one_row_per_voxel(subject):
    r = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    q = np.array([0.01, 0.2, 0.04, 0.05, 0.01])
    table = results_table(subject, "unet", layer="mid_block", step=8, **columns(r, q))
    assert list(table.columns) == COLUMNS
    assert list(table["voxel"]) == [0, 1, 2, 3, 4]
    assert set(table["latent"]) == {"unet"}
    assert set(table["layer"]) == {"mid_block"}
    assert set(table["step"]) == {8}
    np.testing.assert_array_equal(table["r"], r)
    np.testing.assert_array_equal(table["r2"], r**2)
    np.testing.assert_array_equal(table["q"], q)


def test_r_is_told_as_a_share_of_what_noise_allows(subject):
    r = np.array([0.2, 0.4, 0.3, 0.1, 0.5])
    q = np.zeros(5)
    ceiling = np.array([16.0, 64, 0, np.nan, 25])
    table = results_table(subject, "z", **columns(r, q) | {"ceiling": ceiling})
    np.testing.assert_allclose(table["r_normalised"], [0.5, 0.5, np.nan, np.nan, 1])
    summary = roi_summary(table).set_index("roi")["r_normalised"]
    # the ceilings of ventral are 0 and NaN: no correlation is possible
    assert summary["early"] == pytest.approx(0.2 / 0.4)
    assert summary["early+ventral"] == pytest.approx(0.4 / 0.8)
    assert np.isnan(summary["ventral"])
    even = results_table(subject, "z", **columns(r, q) | {"ceiling": [np.nan, np.nan, 9, 81, 1]})
    assert roi_summary(even).set_index("roi")["r_normalised"]["ventral"] == pytest.approx(0.2 / 0.6)


def test_a_column_of_another_size_is_one_sentence(subject):
    values = columns(np.zeros(5), np.zeros(5)) | {"p": np.zeros(4)}
    with pytest.raises(UserError, match=r"p of latent 'z' has shape \(4,\), but subj01 was opened"):
        results_table(subject, "z", **values)


def test_a_summary_counts_each_region_and_latent(subject):
    z = columns(np.array([0.1, 0.2, 0.3, 0.5, 0.9]), np.array([0.01, 0.2, 0.04, 0.05, 0.01]))
    c = columns(np.array([0.3, 0.2, np.nan, 0.5, 0.9]), np.array([0.01, 0.2, np.nan, 0.01, 0.01]))
    table = pd.concat([results_table(subject, "z", **z), results_table(subject, "c", **c)])
    summary = roi_summary(table).set_index(["roi", "latent"])
    assert len(summary) == 6
    ventral = summary.loc[("ventral", "z")]
    assert ventral["mean_r"] == pytest.approx(0.4)
    assert ventral["median_r"] == pytest.approx(0.4)
    assert ventral["significant"] == 0.5  # q of .05 is not below .05
    assert ventral["n_voxels"] == 2
    gap = summary.loc[("ventral", "c")]
    assert (gap["mean_r"], gap["significant"], gap["n_voxels"]) == (0.5, 0.5, 2)
    assert "" not in summary.index.get_level_values("roi")


def test_a_summary_keeps_layers_and_steps_apart(subject):
    tables = [
        results_table(
            subject, "unet", layer=layer, step=step, **columns(np.full(5, value), np.zeros(5))
        )
        for value, (layer, step) in enumerate([("down", 0), ("down", 8), ("up", 0), ("up", 8)])
    ]
    summary = roi_summary(pd.concat(tables))
    early = summary[summary["roi"] == "early"]
    assert list(zip(early["layer"], early["step"], early["mean_r"], strict=True)) == [
        ("down", 0, 0.0),
        ("down", 8, 1.0),
        ("up", 0, 2.0),
        ("up", 8, 3.0),
    ]


def test_results_read_back_as_they_were_and_are_the_same_bytes(subject, tmp_path):
    rng = np.random.default_rng(0)
    tables = [
        results_table(subject, latent, step=step, **columns(rng.normal(size=5), rng.random(5)))
        for latent, step in (("z", None), ("unet", 8))
    ]
    write_results(tmp_path / "a.csv.gz", iter(tables))
    write_results(tmp_path / "b.csv.gz", tables)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).count(b"\n") == 11
    read = pd.read_csv(tmp_path / "a.csv.gz", dtype={"step": "Int64"})
    written = pd.concat(tables, ignore_index=True)
    assert list(read.columns) == COLUMNS
    pd.testing.assert_frame_equal(
        read.fillna({"roi": "", "layer": ""}), written, rtol=1e-5, check_dtype=False
    )
    pd.testing.assert_frame_equal(
        roi_summary(read).fillna({"layer": ""}), roi_summary(written), rtol=1e-5, check_dtype=False
    )


def test_results_that_fail_half_way_leave_no_file(subject, tmp_path):
    def tables():
        yield results_table(subject, "z", **columns(np.zeros(5), np.zeros(5)))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_results(tmp_path / "a.csv.gz", tables())
    assert list(tmp_path.iterdir()) == []


def test_the_best_layer_counts_only_where_it_is_significant():
    r = [[0.1, 0.5, 0.2, np.nan], [0.3, 0.4, np.nan, np.nan]]
    q = [[0.5, 0.20, 0.01, np.nan], [0.01, 0.01, np.nan, np.nan]]
    np.testing.assert_array_equal(best_layer(r, q), [1, np.nan, 0, np.nan])
