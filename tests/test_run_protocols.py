"""What a named protocol decides reaches every stage that must change, or is refused."""

from dataclasses import fields, replace

import numpy as np
import pytest
from pydantic import ValidationError

from vox2pix.config import Config, protocols
from vox2pix.evaluation import PROTOCOLS
from vox2pix.pipeline.drawings import as_bytes, noise_seeds
from vox2pix.pipeline.encode import STAGES as ENCODING_STAGES
from vox2pix.pipeline.experiment import in_protocol_units, make_decoder
from vox2pix.pipeline.reconstruct import STAGES


def experiment(**tables) -> Config:
    return Config.model_validate({"name": "x", "data": {"source": "phantom"}, **tables})


def settings_of(config: Config) -> dict[str, str]:
    """Return what each stage hashes of an experiment."""
    return {s.name: repr(s.settings(config)) for s in (*STAGES, *ENCODING_STAGES)}


# Stages whose own settings change; those after them follow, for a key holds the one before it.
@pytest.mark.parametrize(
    ("field", "value", "changed"),
    [
        ("released_ridge", True, {"decode"}),
        ("beta_scale", 300.0, {"decode"}),
        ("one_noise", True, {"generate", "audit-drawing", "trace"}),
        ("truncates", True, {"generate", "audit-drawing"}),
        ("samples_start", True, {"generate", "audit-drawing"}),
        ("scored_as", "takagi2023", {"evaluate"}),
        ("by_image", True, set()),  # printed beside what is there
    ],
)
def test_each_field_changes_the_stages_that_honour_it(monkeypatch, field, value, changed):
    config = experiment()
    before = settings_of(config)
    other = replace(protocols.RUN_PROTOCOLS["default"], **{field: value})
    monkeypatch.setitem(protocols.RUN_PROTOCOLS, "default", other)
    after = settings_of(config)
    assert {name for name in before if before[name] != after[name]} == changed


def test_every_field_is_covered():
    tested = {
        "released_ridge",
        "beta_scale",
        "one_noise",
        "truncates",
        "samples_start",
        "by_image",
    } | {"scored_as"}
    others = {"name", "presets", "target_settings", "precision"}  # below
    assert {f.name for f in fields(protocols.RunProtocol)} == tested | others


@pytest.mark.parametrize(
    ("table", "setting", "value", "changed"),
    [
        ("decode", "alphas", [1.0], {"decode"}),
        ("decode", "selection", "cv", {"decode"}),
        ("generate", "schedule", "takagi2023", {"generate", "audit-drawing", "trace"}),
    ],
)
def test_each_preset_changes_the_stages_that_read_it(table, setting, value, changed):
    presets = protocols.RUN_PROTOCOLS["takagi2023"].presets
    assert setting in presets[table]
    before, after = settings_of(experiment()), settings_of(experiment(**{table: {setting: value}}))
    assert {name for name in before if before[name] != after[name]} == changed


def test_the_presets_of_a_target_change_the_stages_that_read_them():
    presets = protocols.RUN_PROTOCOLS["takagi2023"].target_settings
    assert presets == {"z": {"posterior": "sample"}}
    other = experiment(decode={"z": {"posterior": "sample"}, "c": {}})
    before, after = settings_of(experiment()), settings_of(other)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"features", "encoding-features", "decode"}


def test_presets_are_all_covered():
    presets = protocols.RUN_PROTOCOLS["takagi2023"].presets
    assert {f"{t}.{s}" for t, table in presets.items() for s in table} == {
        "decode.alphas", "decode.selection", "generate.schedule",
    }  # fmt: skip


def test_the_name_reaches_the_scores():
    before, after = settings_of(experiment()), settings_of(experiment(protocol="takagi2023"))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "features", "decode", "generate", "audit-drawing", "evaluate", "encoding-features", "trace",
    }  # fmt: skip


def test_another_precision_is_refused():
    with pytest.raises(ValidationError, match=r"computes in float32, but compute\.dtype is 'float"):
        experiment(protocol="takagi2023", compute={"dtype": "float16"})
    experiment(protocol="default", compute={"dtype": "float16"})


def test_stages_take_what_the_protocol_says():
    ours, theirs = experiment(), experiment(protocol="takagi2023")
    betas = np.array([[0.5, -1.0]], np.float32)
    np.testing.assert_array_equal(in_protocol_units(betas, ours), betas)
    np.testing.assert_array_equal(in_protocol_units(betas, theirs), [[150, -300]])
    assert make_decoder(ours).fit_intercept and not make_decoder(theirs).fit_intercept
    assert len(np.unique(noise_seeds(theirs, ("a", "b"), 2)[:, 0])) == 1
    assert len(np.unique(noise_seeds(ours, ("a", "b"), 2)[:, 0])) == 2
    grey = np.array([0.5, 1.0, 0.999], np.float32)
    np.testing.assert_array_equal(as_bytes(grey), [128, 255, 255])
    np.testing.assert_array_equal(as_bytes(grey, theirs.run_protocol.truncates), [127, 255, 254])


def test_every_protocol_is_scored_as_one_that_there_is():
    assert {p.scored_as for p in protocols.RUN_PROTOCOLS.values()} <= PROTOCOLS.keys()
    with pytest.raises(ValidationError, match="There is no protocol 'takagi'; did you mean 'tak"):
        experiment(protocol="takagi")
