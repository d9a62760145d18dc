import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.conftest import experiment
from vox2pix.pipeline.drawings import donors, judged_condition, planned_drawings


@given(st.integers(2, 200), st.integers(0, 2**62))
def test_every_brain_is_anothers(n, seed):
    order = donors(n, seed)
    assert sorted(order) == list(range(n))
    assert not (order == np.arange(n)).any()


def test_without_captions_only_z_is_left():
    names = [d.name for d in planned_drawings(experiment(), has_captions=False)]
    assert names == [
        "z-decode", "z", "true-z", "shuffled", "mean-response", "noise-response", "held-out",
    ]  # fmt: skip
    assert {str(d.condition) for d in planned_drawings(experiment(), has_captions=False)[3:]} == {
        "z"
    }


def test_without_captions_everything_together_is_what_is_left():
    rois = {"z": ["early"], "c": ["ventral"], "image": ["ventral"]}
    config = experiment(decode=rois)
    names = [d.name for d in planned_drawings(config, has_captions=False)]
    assert names[:6] == ["z-decode", "z", "image", "z+image", "true-z", "true-image"]
    assert str(judged_condition(config, has_captions=False)) == "z+image"
    named = experiment(decode=rois, generate={"conditions": ["image+c", "image"]})
    drawn = [d for d in planned_drawings(named, False) if d.source == "decoded"]
    assert [d.name for d in drawn] == ["image"]
    assert str(judged_condition(named, has_captions=True)) == "image+c"


@pytest.mark.parametrize("has_captions", [True, False])
def test_the_autoencoders_image_is_drawn_once(has_captions):
    samples = {d.name: d.samples for d in planned_drawings(experiment(), has_captions)}
    assert samples["z-decode"] == 1
    assert samples["z"] == 2
    assert samples["true-z"] == 1
