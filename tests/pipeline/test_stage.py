"""Keys and resuming of stages, with stages that write one small file each."""

from types import SimpleNamespace

import pytest

from pipeline.conftest import Recorder, experiment
from vox2pix.pipeline import Run, drawings, encoding
from vox2pix.pipeline.drawings import planned_drawings, stored_images
from vox2pix.pipeline.encode import STAGES as ENCODING_STAGES
from vox2pix.pipeline.reconstruct import STAGES
from vox2pix.pipeline.stage import Stage, do_stages, run_folder, stage_keys
from vox2pix.store import RunFolder
from vox2pix.targets import Latent


def resuming(name, content, **how):
    """Return a stage that writes a file where there is none, as one that resumes does."""
    file = f"decoded/{name}.txt"

    def work(run):
        path = run.path / file
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(content(run))
        return (file,)

    return Stage(name, name.capitalize(), work, **how)


def run_of(stages, folder, **tables):
    recorder = Recorder()
    config = experiment(**tables)
    own = ("name", "generate")
    with run_folder(config, folder, recorder, own=own, beside="other") as made:
        do_stages(stages, made)
    return made, recorder.lines


def keys_of(folder, **how):
    """Return the keys of two stages, the second after the first; `how` describes the first."""
    stages = (resuming("one", lambda run: "", **how), resuming("two", lambda run: "", after=()))
    after = (stages[0], resuming("two", lambda run: "", after=("one",)))
    run = Run(experiment(), RunFolder(folder))
    return stage_keys(stages, run), stage_keys(after, run)


@pytest.mark.parametrize("what", ["settings", "inputs"])
def test_a_key_holds_settings_and_inputs_and_the_stages_that_are_followed(tmp_path, what):
    one, other = (keys_of(tmp_path, **{what: lambda _, value=value: [value]}) for value in (1, 2))
    for before, after in zip(one, other, strict=True):
        assert before["one"] != after["one"]
    assert one[0]["two"] == other[0]["two"]  # it does not follow the first
    assert one[1]["two"] != other[1]["two"]
    assert one[0]["two"] != one[1]["two"]
    assert keys_of(tmp_path, **{what: lambda _: [1]}) == one


def test_a_damaged_file_is_not_reused(tmp_path):
    stages = (
        resuming("one", lambda run: "first"),
        resuming("two", lambda run: "second", after=("one",)),
    )
    _, lines = run_of(stages, tmp_path / "run")
    assert lines == []
    _, lines = run_of(stages, tmp_path / "run")
    assert lines == ["One: already done", "Two: already done"]
    (tmp_path / "run/decoded/one.txt").write_text("damaged")
    made, lines = run_of(stages, tmp_path / "run")
    assert lines == [
        "One: decoded/one.txt missing or damaged, done again",
        "Two: already done",
    ]
    assert (made.path / "decoded/one.txt").read_text() == "first"


def test_a_changed_setting_does_a_stage_and_those_after_it_again(tmp_path):
    done = []

    def noted(name, **how):
        return Stage(name, name, lambda run: done.append(name) or (), **how)

    stages = (
        noted("one"),
        noted("two", settings=lambda config: [config.generate.steps], after=("one",)),
        noted("three", after=("two",)),
    )
    for steps, expected in ((3, ["one", "two", "three"]), (3, []), (4, ["two", "three"])):
        done.clear()
        run_of(stages, tmp_path / "run", generate={"steps": steps})
        assert done == expected


@pytest.mark.parametrize(
    ("tables", "changed"),
    [
        (
            {"seed": 1},
            {"features", "encoding-features", "generate", "audit-drawing"},
        ),
        ({"generate": {"strength": 0.5}}, {"generate", "audit-drawing"}),
        ({"audit": {"clusters": 3}}, {"audit-decoding"}),
        ({"evaluate": {"per_group": 2}}, {"evaluate"}),
        ({"encode": {"q": 0.1}}, {"encoding-tables"}),
        ({"encode": {"null": "permutation"}}, {"encode"}),
        ({"encode": {"steps": 7}}, {"trace"}),
    ],
)
def test_each_setting_is_in_the_stages_that_read_it(tables, changed):
    before, after = (
        {s.name: repr(s.settings(config)) for s in (*STAGES, *ENCODING_STAGES)}
        for config in (experiment(), experiment(**tables))
    )
    assert {name for name in before if before[name] != after[name]} == changed


FOLLOWED = {
    "features": {"data"},
    "decode": {"data", "features"},
    "audit-decoding": {"data", "features", "decode"},
    "generate": {"data", "features", "decode"},
    "audit-drawing": {"data", "features", "decode", "audit-decoding"},
    "evaluate": {
        "data", "features", "decode", "audit-decoding", "generate", "audit-drawing",
    },
    "encode": {"encoding-data", "responses", "encoding-features", "trace", "reduce"},
    "divide": {"encoding-data", "responses", "encoding-features", "trace", "reduce"},
}  # fmt: skip


def test_every_stage_follows_those_whose_results_it_reads():
    every = {stage.name: stage for stage in (*STAGES, *ENCODING_STAGES)}

    def followed(name):
        return set(every[name].after).union(*(followed(before) for before in every[name].after))

    assert {name: followed(name) for name in FOLLOWED} == FOLLOWED


def test_what_is_written_shard_by_shard_is_named_by_its_key(tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "image_size", lambda run: 64)
    config = experiment()
    subject = SimpleNamespace(has_captions=True)
    names = set()
    for key in ("a", "b"):
        keys = dict.fromkeys(
            ("generate", "audit-drawing", "encode", "divide", "responses", "audit-decoding"), key
        )
        run = Run(config, RunFolder(tmp_path), keys=keys)
        run.__dict__ |= {"subject": subject, "test_ids": ("x", "y")}
        monkeypatch.setattr(encoding, "same_space", lambda run, latent: latent)
        for drawing in planned_drawings(config, True):
            if drawing.condition.denoised:
                array = stored_images(run, drawing)
                assert array.shape == (2, drawing.samples, 64, 64, 3)
                names.add(array.folder.name)
        names.add(encoding.scores_path(run, Latent("z")).parent.name)
        names.add(encoding.unique_path(run, Latent("z")).parent.name)
    n_drawn = sum(d.condition.denoised for d in planned_drawings(config, True))
    assert len(names) == 2 * (n_drawn + 2)
