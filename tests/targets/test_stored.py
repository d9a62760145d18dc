import numpy as np
import pytest

from vox2pix.store import KeyedRows
from vox2pix.targets import StoredFeatures


@pytest.fixture
def stored(tmp_path):
    """600 rows of 3 x 4 numbers in files of 100, asked for in another order than they lie."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((600, 3, 4)).astype(np.float32)
    rows = KeyedRows(tmp_path)
    for lo in range(0, 600, 100):
        rows.add([f"{i:03d}" for i in range(lo, lo + 100)], values[lo : lo + 100])
    order = rng.permutation(600)[:550]
    return rows, [f"{i:03d}" for i in order], values[order]


@pytest.mark.parametrize("held_columns", [1, 5, 100])
def test_columns_are_those_of_the_whole_whatever_is_held(stored, held_columns):
    rows, keys, values = stored
    features = StoredFeatures(rows, keys, held_bytes=held_columns * len(keys) * 4)
    flat = values.reshape(len(values), -1)
    assert features.shape == flat.shape and features.ndim == 2 and features.row_shape == (3, 4)
    for part in (slice(0, 3), slice(3, 6), slice(4, 5), slice(6, 12), slice(0, 2), slice(None)):
        np.testing.assert_array_equal(features[:, part], flat[:, part])
    np.testing.assert_array_equal(features[10:20, 2:9:3], flat[10:20, 2:9:3])
    np.testing.assert_array_equal(features.read(), values)


def test_files_are_read_once_a_window(stored, monkeypatch):
    rows, keys, _ = stored
    features = StoredFeatures(rows, keys, held_bytes=6 * len(keys) * 4)
    read = []
    load = rows.load
    monkeypatch.setattr(rows, "load", lambda keys: read.append(len(keys)) or load(keys))
    for lo in range(0, 12, 2):
        assert features[:, lo : lo + 2].base.shape == (550, 6)  # never more than a window
    assert sum(read) == 2 * 550
