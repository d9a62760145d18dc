"""The first commands: an experiment file to edit, settings beside it, and the demo."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from test_cli import EXPERIMENT, sentence, vox2pix_run
from vox2pix.cli import start
from vox2pix.config import load_config, parse_settings, shipped_experiments
from vox2pix.errors import UserError

NAMES = sorted(shipped_experiments())


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_experiment_can_be_written_and_loaded(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = vox2pix_run("init", name)
    assert result.exit_code == 0, result.output
    written = tmp_path / f"{name}.toml"
    assert written.read_text() == shipped_experiments()[name].read_text()
    config = load_config(written)
    last = result.stdout.splitlines()[-1].split()
    analysis = "encode" if "encode" in config.model_fields_set else "run"
    assert last == ["vox2pix", analysis, f"{name}.toml"]
    assert all(line.startswith("#") for line in written.read_text().splitlines()[:2])


def test_init_leaves_what_exists_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nsd.toml").write_text("mine")
    Path("link.toml").symlink_to("nsd.toml")
    assert "nsd.toml exists already" in sentence(vox2pix_run("init", "nsd"))
    assert "link.toml exists already" in sentence(vox2pix_run("init", "nsd", "--out", "link.toml"))
    assert Path("nsd.toml").read_text() == "mine"
    assert "no folder sub" in sentence(vox2pix_run("init", "nsd", "--out", "sub/x.toml"))
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml exists already" in sentence(vox2pix_run("init", "folder"))
    named_too_long = f"{'x' * 300}.toml"
    assert "cannot be written" in sentence(vox2pix_run("init", "nsd", "--out", named_too_long))
    assert "did you mean 'nsd'" in sentence(vox2pix_run("init", "nds"))


def test_the_demo_runs_both_shipped_experiments(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(start, "run", lambda *a, **k: asked.append(("run", *a)))
    monkeypatch.setattr(start, "encode", lambda *a, **k: asked.append(("encode", *a)))
    result = vox2pix_run("demo", "--out", tmp_path / "here")
    shipped = shipped_experiments()
    assert asked == [
        ("run", shipped["demo"], f"{tmp_path}/here/demo"),
        ("encode", shipped["demo-encoding"], f"{tmp_path}/here/demo-encoding"),
    ]
    assert "here/demo/report.html" in result.stdout.replace("\n", "")


def test_settings_given_beside_a_file_reach_every_table(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    settings = ["seed=7", "generate.steps=2", "decode.z.rois=['early', 'ventral']"]
    settings += ["decode.z.image_size=32", "decode.c=['ventral']", "name=other"]
    settings += ["data.phantom.sessions=2"]
    config = load_config(path, parse_settings(settings))
    assert (config.seed, config.generate.steps, config.name) == (7, 2, "other")
    assert config.decode.rois == {"z": ("early", "ventral"), "c": ("ventral",)}
    assert config.decode.targets["z"].settings == {"image_size": 32}
    before = tomllib.loads(EXPERIMENT)["data"]["phantom"]
    assert config.data.phantom.model_dump() == load_config(path).data.phantom.model_dump() | {
        "sessions": 2
    }
    assert config.data.phantom.trials_per_session == before["trials_per_session"]


def test_regions_in_short_keep_their_place_beside_a_setting(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\n[data]\nsource = "phantom"\n[decode]\nz = ["early"]\n')
    config = load_config(path, {"decode.z.image_size": 32})
    assert config.decode.rois == {"z": ("early",)}
    assert config.decode.targets["z"].settings == {"image_size": 32}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["steps"], "NAME=VALUE"),
        (["=3"], "NAME=VALUE"),
        (["a..b=3"], "NAME=VALUE"),
        (["seed=1", "seed=2"], "gives seed twice"),
        (["name.x=3"], "name is 'small', which has no settings"),
        (["generate.stepps=3"], "did you mean 'steps'"),
        (["generate.steps=many"], "generate.steps"),
    ],
)
def test_settings_that_are_wrong_are_refused(tmp_path, given, message):
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    with pytest.raises(UserError, match=message):
        load_config(path, parse_settings(given))


@given(st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)))
def test_values_are_read_as_toml(value):
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    assert parse_settings([f"a.b={text}"]) == {"a.b": value}


@given(st.text(st.characters(min_codepoint=32, blacklist_categories=["Cs"]), max_size=30))
def test_any_text_is_a_value(text):
    (found,) = parse_settings([f"name={text}"]).values()
    try:
        expected = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        expected = text.strip()
    assert found == expected


def test_a_plan_is_of_what_the_file_describes(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    of_run = vox2pix_run("plan", path, "--set", "generate.steps=2").stdout
    assert "generate.steps = 2, as given" in of_run
    assert "vox2pix run" in of_run and "vox2pix encode" not in of_run
    shipped = shipped_experiments()["demo-encoding"]
    of_encoding = vox2pix_run("plan", shipped).stdout
    assert "vox2pix encode" in of_encoding and "vox2pix run" not in of_encoding
    path.write_text(EXPERIMENT + "[encode]\nrois = ['early']\n[decode]\nz = ['early']\n")
    both = vox2pix_run("plan", path).stdout
    assert both.index("vox2pix run") < both.index("vox2pix encode")
