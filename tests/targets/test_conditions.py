"""Conditions follow from targets: names, ports, what is drawn by default, what is judged."""

import pytest

from vox2pix.errors import UserError
from vox2pix.targets import (
    Condition,
    default_ceilings,
    default_conditions,
    find_target,
    fullest,
    make_targets,
    parse_condition,
    register,
    usable,
)
from vox2pix.targets.c import TextConditioning
from vox2pix.targets.z import ImageLatent

BOTH = make_targets({"z": {}, "c": {}})


@pytest.mark.parametrize("name", ["z", "c", "z+c", "c+z", "z-decode"])
def test_a_condition_is_its_name(name):
    assert str(parse_condition(name, BOTH, ("start", "text"))) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("true-z", "names the target 'true-z', which is not decoded; choose from z, c"),
        ("z+cc", "names the target 'cc', which is not decoded; did you mean 'c'"),
        ("", "names the target '', which"),
        ("x-decode", "names the target 'x', which"),
        ("c-decode", "'c-decode' cannot be drawn: c gives no image without denoising"),
        ("z+z", "'z' and 'z' cannot be drawn together: both enter .* port 'start'"),
    ],
)
def test_a_condition_that_cannot_be_drawn_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        parse_condition(name, BOTH)


def test_a_port_that_the_model_lacks_is_named():
    with pytest.raises(UserError, match=r"'c' enters .* 'text', and this model has start\."):
        parse_condition("z+c", BOTH, ("start",))


def test_what_is_drawn_by_default_follows_from_the_targets():
    assert [str(c) for c in default_conditions(BOTH)] == ["z-decode", "z", "c", "z+c"]
    assert [str(c) for c in default_ceilings(BOTH)] == ["z", "c", "z+c"]
    alone = usable(BOTH, has_captions=False)
    assert [str(c) for c in default_conditions(alone)] == ["z-decode", "z"]


@pytest.mark.parametrize(
    ("drawn", "judged"),
    [
        (["z-decode", "z", "c", "z+c"], "z+c"),
        (["z-decode", "z", "c"], "c"),
        (["z-decode", "z"], "z"),
        (["z-decode"], "z-decode"),
        ([], "z+c"),
    ],
)
def test_the_fullest_condition_is_judged(drawn, judged):
    assert str(fullest([parse_condition(name, BOTH) for name in drawn], BOTH)) == judged


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zz": {}}, "There is no target 'zz'; did you mean 'z'?"),
        ({"z": {"imagesize": 3}}, r"no setting 'decode\.z\.imagesize'; did you mean 'image_size'"),
        ({"c": {"posterior": "mode"}}, r"no setting 'decode\.c\.posterior'; choose from rois"),
        ({"z": {"image_size": 3}}, r"'decode\.z\.image_size' is 3, but: Input should be greater"),
        ({"z": {"posterior": "mean"}}, r"'decode\.z\.posterior' is 'mean', but: Input should be"),
    ],
)
def test_settings_that_a_target_does_not_have(settings, message):
    with pytest.raises(UserError, match=message):
        make_targets(settings)


def test_settings_reach_the_target():
    z = make_targets({"z": {"image_size": 320, "posterior": "sample"}})["z"]
    assert z == ImageLatent(image_size=320, posterior="sample")
    assert find_target("c") is TextConditioning


def test_names_of_targets_are_each_ones_own():
    register(ImageLatent)  # the same one again changes nothing
    for name, message in (
        ("z", "There is a target 'z' already"),
        ("alphas", "A target cannot be called 'alphas'"),
        ("a+b", r"A target cannot be called 'a\+b'; choose lower-case letters"),
    ):
        other = type("Other", (TextConditioning,), {"name": name})
        with pytest.raises(ValueError, match=message):
            register(other)


def test_a_class_that_declares_too_little_is_refused():
    bare = type("Bare", (ImageLatent.__base__,), {"name": "bare", "port": "start"})
    with pytest.raises(ValueError, match="Bare declares no computed_from, carries, description"):
        register(bare)
    told = {"computed_from": "image", "carries": "layout", "description": "nothing"}
    with pytest.raises(ValueError, match="Half does not define rows, shape"):
        register(type("Half", (bare,), told))


def test_a_condition_is_hashable_and_compares_by_what_it_draws():
    assert Condition(("z", "c")) == parse_condition("z+c", BOTH)
    assert Condition(("z",), denoised=False) != Condition(("z",))
