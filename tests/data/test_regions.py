"""Regions that are named beside the data: label images and their tables, tables of flags."""

import numpy as np
import pytest

from data.lab_truth import save_volume
from vox2pix.data.faults import Faults
from vox2pix.data.regions import read_regions

SHAPE = (4, 4, 4)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            "areas_dseg.tsv",
            "index\tname\n1\tV1\n2\tV1\n3\tV2\n4\tV2\n5\thV4\n",
        ),
        ("areas_dseg.ctab", "0 Unknown\n1 V1\n2 V1\n3 V2\n4 V2\n5 hV4\n"),
    ],
)
def test_a_label_with_several_numbers_is_their_union(tmp_path, table, text):
    labels = np.random.default_rng(0).integers(0, 6, SHAPE).astype(np.int16)
    path = save_volume(tmp_path / "areas_dseg.nii.gz", labels, np.eye(4))
    (tmp_path / table).write_text(text)
    faults = Faults()
    regions = read_regions([path], SHAPE, None, faults)
    assert faults.messages == ()
    assert set(regions.masks) == {"V1", "V2", "hV4"}
    for name, numbers in {"V1": (1, 2), "V2": (3, 4), "hV4": (5,)}.items():
        expected = np.zeros(SHAPE, bool)
        for number in numbers:
            expected |= labels == number
        np.testing.assert_array_equal(regions.masks[name], expected)
    (note,) = [note for note in faults.notes if "several numbers" in note]
    assert "ROI 'V1' (and 1 more) has several numbers" in note
    assert "(1, 2): their union" in note
