"""voxels.csv: what is no index, no ratio or no name of a region is refused or noted."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.data.faults import Faults
from vox2pix.data.folder_voxels import voxel_columns
from vox2pix.errors import UserError


def columns(tmp_path, **texts):
    table = pd.DataFrame({name: [str(cell) for cell in cells] for name, cells in texts.items()})
    table.index += 2  # the lines of the file
    faults = Faults()
    read = voxel_columns(tmp_path / "voxels.csv", table, faults)
    return read, faults


def refused(tmp_path, **texts):
    _, faults = columns(tmp_path, **texts)
    (sentence,) = faults.messages
    assert sentence.startswith((f"{tmp_path}/voxels.csv", "ROI"))
    return sentence


def test_sound_columns(tmp_path):
    read, faults = columns(
        tmp_path, x=[0, 1, 1], y=[3, "4.0", 4], z=[0, 0, 1], ncsnr=["0.5", "", "NaN"],
        hemi=["lh", "rh", "rh"], vertex=[7, 7, 8], V1=[1, 0, "true"],
    )  # fmt: skip
    assert faults.messages == faults.notes == ()
    np.testing.assert_array_equal(read["y"], [3, 4, 4])
    np.testing.assert_array_equal(read["ncsnr"], [0.5, np.nan, np.nan])
    assert list(read["hemi"]) == ["lh", "rh", "rh"]
    np.testing.assert_array_equal(read["V1"], [True, False, True])


@pytest.mark.parametrize("name", ["x", "y", "z"])
@pytest.mark.parametrize("value", ["-12.5", "3.25", "-1", "40000", "1e30", "inf"])
def test_millimetres_are_no_indices(tmp_path, name, value):
    places = {"x": [1, 2], "y": [1, 1], "z": [5, 6]} | {name: ["1", value]}
    sentence = refused(tmp_path, **places)
    assert f"line 3: {name} is '{value}' (1 such value), which is no voxel index" in sentence
    assert "apply_affine" in sentence


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=5, unique=True))
def test_coordinates_are_never_cut_off(tmp_path_factory, values):
    """What is read equals what is written, or there is a fault."""
    n = len(values)
    read, faults = columns(tmp_path_factory.mktemp("v"), x=values, y=[1] * n, z=[2] * n, V1=[1] * n)
    if not faults.messages:
        np.testing.assert_array_equal(read["x"], values)


@pytest.mark.parametrize(("value", "n"), [("-1", 1), ("-0.001", 1), ("inf", 1), ("-inf", 1)])
def test_ratios_are_not_negative(tmp_path, value, n):
    sentence = refused(tmp_path, ncsnr=["0.5", value, ""])
    assert f"line 3: ncsnr is {value} ({n} such value), but a ratio" in sentence


@pytest.mark.parametrize("name", ["all", "ALL", "All"])
def test_no_region_is_called_all(tmp_path, name):
    assert "stands for all voxels: rename this region" in refused(tmp_path, **{name: [1, 0]})


@pytest.mark.parametrize("name", ["X", "Z", "NCSNR", "Hemi", "Vertex"])
def test_places_are_written_in_small_letters(tmp_path, name):
    sentence = refused(tmp_path, **{name: [1, 0]})
    assert f"column '{name}' differs from '{name.lower()}' by case alone" in sentence


def test_regions_that_differ_by_case_are_noted(tmp_path):
    read, faults = columns(tmp_path, V1=[1, 0], v1=[0, 1], V2=[1, 1])
    assert faults.messages == ()
    assert faults.notes == (
        f"{tmp_path}/voxels.csv has regions that differ by case alone: V1, v1.",
    )
    assert list(read) == ["V1", "v1", "V2"]


def test_hemispheres(tmp_path):
    read, faults = columns(tmp_path, hemi=["L", "Right", "lh", "rh"], vertex=[0, 1, 2, 3])
    assert list(read["hemi"]) == ["lh", "rh", "lh", "rh"]
    assert faults.notes == (f"{tmp_path}/voxels.csv: 2 of 4 cells of hemi are read as lh or rh.",)
    for wrong in ("both", "", "1", "lefty"):
        sentence = refused(tmp_path, hemi=["lh", wrong])
        assert f"line 3: hemi is {wrong!r}; write lh or rh" in sentence


@pytest.mark.parametrize("value", ["-1", "1.5", "3e10", "nan", ""])
def test_vertices(tmp_path, value):
    sentence = refused(tmp_path, hemi=["lh", "lh"], vertex=["0", value])
    assert f"line 3: vertex is {value!r} (1 such value), which is no vertex index" in sentence


def test_half_a_place(tmp_path):
    assert "has x, y but no z: add the column" in refused(tmp_path, x=[0, 1], y=[0, 0])
    assert "has vertex but no hemi" in refused(tmp_path, vertex=[0, 1])
    assert columns(tmp_path, hemi=["lh", "rh"])[1].messages == ()


def test_two_voxels_in_one_place(tmp_path):
    sentence = refused(tmp_path, x=[0, 1, 1, 1], y=[0] * 4, z=[3, 2, 3, 2])
    assert "lines 3 and 5: both voxels are at x 1, y 0, z 2 (2 voxels share a place)" in sentence
    sentence = refused(tmp_path, hemi=["lh", "rh", "rh"], vertex=[1, 1, 1])
    assert "lines 3 and 4: both voxels are at hemi rh, vertex 1" in sentence


def test_names_reach_the_reader_of_a_folder(folder, tmp_path):
    from vox2pix.data import open_folder

    path = folder(np.random.default_rng(0).normal(size=(2, 2)), ["a", "b"])
    (path / "voxels.csv").write_text("all,V1\n1,1\n0,1\n")
    with pytest.raises(UserError, match="has the name that stands for all voxels"):
        open_folder(path)
