import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError
from vox2pix.generation import ReconstructionSettings, image_seeds, reconstruct
from vox2pix.pipeline._explore import explore, open_redraw
from vox2pix.report.contents import CONFIG_MARK
from vox2pix.store import RunFolder, claim, load_arrays


@pytest.fixture(scope="module")
def redraw(small_run):
    return open_redraw(small_run[0].path)


@pytest.fixture(scope="module")
def other(redraw):
    """Another test image."""
    return list(redraw.stimuli)[3]


def drawn(redraw, knobs):
    """All that was shown on the way, and the image."""
    shown = []
    redraw.draw(knobs, lambda *step: shown.append(step))
    return shown, shown[-1][2].astype(int)


def test_what_can_be_chosen_is_what_the_run_has(redraw, small_run):
    run, _ = small_run
    assert tuple(redraw.stimuli) == run.test_ids
    assert redraw.conditions == {"z+c": ("z", "c"), "z": ("z",), "c": ("c",)}
    assert redraw.regions == ("early", "ventral")
    assert redraw.n_samples == 2
    assert int(run.config.generate.steps * redraw.least_strength) == 1
    seen = run.subject.images(run.test_ids[:1], size=run.model.image_size)[0]
    np.testing.assert_array_equal(redraw.seen(run.test_ids[0]), np.rint(seen * 255))


def test_where_only_the_autoencoders_image_was_drawn_it_starts_from_z(small_run, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(small_run[0].path, folder)
    text = (folder / "config.toml").read_text()
    assert "conditions = " not in text  # what the targets give
    text = text.replace("[generate]", '[generate]\nconditions = ["z-decode"]')
    (folder / "config.toml").write_text(text)
    RunFolder(folder).mark_done(CONFIG_MARK, "edited", ["config.toml"])
    redraw = open_redraw(folder)
    assert redraw.own.condition == "z"
    assert redraw.own.condition in redraw.conditions


@pytest.mark.parametrize("condition", ["z+c", "z", "c"])
def test_at_the_runs_own_settings_it_draws_what_the_run_drew(redraw, other, condition):
    for stimulus_id, seed in ((redraw.own.stimulus_id, 0), (other, 1)):
        knobs = replace(
            redraw.own,
            stimulus_id=stimulus_id,
            condition=condition,
            seed=seed,
            sources={"z": stimulus_id, "c": stimulus_id},
        )
        _, image = drawn(redraw, knobs)
        # another batch size: floating-point rounding, then 8 bit
        assert np.abs(image - redraw.in_run(knobs)).max() <= 1


def test_each_step_is_shown_and_the_last_is_the_image(redraw):
    shown, _ = drawn(redraw, replace(redraw.own, condition="c"))
    assert [step[:2] for step in shown] == [(1, 3), (2, 3), (3, 3)]
    assert len({step[2].tobytes() for step in shown}) == 3
    shown, _ = drawn(redraw, redraw.own)  # 0.8 of three steps
    assert [step[:2] for step in shown] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "changed",
    [{"strength": 0.4}, {"guidance": 1.0}, {"seed": 7}, {"left_out": "early"}],
    ids=lambda changed: next(iter(changed)),
)
def test_each_knob_changes_the_image(redraw, changed):
    _, own = drawn(redraw, redraw.own)
    _, image = drawn(redraw, replace(redraw.own, **changed))
    assert np.abs(image - own).mean() > 0.5


def test_z_and_c_come_from_the_images_that_are_named(redraw, small_run, other):
    run, _ = small_run
    decoded = {k: load_arrays(run.path / f"decoded/{k}.safetensors")["predicted"] for k in "zc"}
    wanted = run.config.generate
    expected = reconstruct(
        run.model,
        {"z": decoded["z"][[3]], "c": decoded["c"][[0]]},
        seeds=image_seeds(run.config.seed, [redraw.own.stimulus_id], 1),
        settings=ReconstructionSettings(
            strength=wanted.strength, steps=wanted.steps, guidance=wanted.guidance, samples=1
        ),
    )[0, 0]
    _, image = drawn(redraw, replace(redraw.own, sources=redraw.own.sources | {"z": other}))
    assert np.abs(image - np.rint(expected * 255)).max() <= 1
    _, mine = drawn(redraw, redraw.own)
    _, with_its_c = drawn(redraw, replace(redraw.own, sources=redraw.own.sources | {"c": other}))
    assert np.abs(with_its_c - mine).mean() > 0.5


def test_a_region_left_out_holds_its_mean_over_training(redraw, small_run):
    run, _ = small_run
    decoder = RidgeDecoder.from_arrays(load_arrays(run.path / "decoders/z.safetensors"))
    # z comes from early alone: what is left without it is the prediction from the mean response
    mean = run.subject.train.betas("early").astype(float).mean(axis=0)
    shape = load_arrays(run.path / "decoded/z.safetensors")["predicted"].shape[1:]
    z = decoder.predict(mean[None]).reshape(1, *shape)
    wanted = run.config.generate
    expected = reconstruct(
        run.model,
        {"z": z},
        seeds=image_seeds(run.config.seed, [redraw.own.stimulus_id], 1),
        settings=ReconstructionSettings(
            strength=wanted.strength, steps=wanted.steps, guidance=wanted.guidance, samples=1
        ),
    )[0, 0]
    knobs = replace(redraw.own, condition="z")
    _, image = drawn(redraw, replace(knobs, left_out="early"))
    assert np.abs(image - np.rint(expected * 255)).max() <= 2
    _, same = drawn(redraw, replace(knobs, left_out="ventral"))  # z does not hear of it
    np.testing.assert_array_equal(same, drawn(redraw, knobs)[1])


def test_what_show_raises_ends_the_drawing(redraw):
    def stop(step, n_steps, image):
        raise InterruptedError(step)

    with pytest.raises(InterruptedError, match="1"):
        redraw.draw(redraw.own, stop)


def test_a_run_that_is_not_finished_is_refused(small_run, tmp_path):
    with pytest.raises(UserError, match=r"no config\.toml"):
        open_redraw(tmp_path)
    claim(tmp_path, "run")
    shutil.copy(small_run[0].path / "config.toml", tmp_path)
    with pytest.raises(UserError, match="is not finished; run `vox2pix run`"):
        open_redraw(tmp_path)


def test_without_nicegui_the_extra_is_named(small_run, monkeypatch):
    monkeypatch.delitem(sys.modules, "vox2pix.report.explore", raising=False)
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(UserError, match=r"pip install 'vox2pix\[explore\]'"):
        explore(small_run[0].path)
