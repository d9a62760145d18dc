"""Latents on the way through the denoising, against the model called by hand."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn.random_projection import SparseRandomProjection

from vox2pix.diffusion.probe import Probe
from vox2pix.errors import UserError
from vox2pix.seeds import seed_for
from vox2pix.targets import Latent, TracePlan, Tracing, trace_bytes

IDS = ("a", "b", "c", "d", "e")
PLAN = TracePlan(
    strengths=(0.25, 0.75),
    strength=0.75,
    latent_steps=(0, 1),
    modules=("down_blocks.0", "mid_block"),
    module_steps=(0, 2),
    steps=4,
    guidance=3.0,
)
SIZES = {"shard_size": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def arrays(model):
    """Return what the ports take for five stimuli."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5, *model.latent_shape)).astype(np.float32)
    c = rng.standard_normal((5, *model.conditioning_shape)).astype(np.float32)
    return {"start": z, "text": c}


@pytest.fixture(scope="module")
def traced(model, arrays, tmp_path_factory):
    told = []
    folder = tmp_path_factory.mktemp("traced")
    found = trace(model, arrays, IDS, folder, PLAN, seed=7, progress=told.append, **SIZES)
    return found, folder, told


def trace(*given, progress=lambda done: None, **options) -> Tracing:
    """Compute all of a trace."""
    tracing = Tracing(*given, **options)
    tracing.run(progress)
    return tracing


class Counting:
    """A model that counts the rows it denoises."""

    def __init__(self, model):
        self._model, self.rows = model, []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def denoise(self, ports, *args, **options):
        self.rows.append(len(ports["start"]))
        return self._model.denoise(ports, *args, **options)


def by_hand(model, arrays, strength, **options):
    seeds = [seed_for(7, "trace", i, 0) for i in IDS]
    return model.denoise(arrays, seeds, strength=strength, steps=4, guidance=3.0, **options)


def test_every_latent_has_one_name():
    assert Latent("z").name == "z"
    assert Latent("z_c", 0.8).name == "z_c@0.8"
    assert Latent("mid_block", 0.8, 12).name == "mid_block@0.8:step12"
    names = [latent.name for latent in PLAN.latents]
    assert len(set(names)) == len(names)
    alone = TracePlan(strengths=(0.2,), strength=0.8)
    assert [latent.name for latent in alone.latents] == ["z_c@0.2"]


def test_latents_are_the_models_own(model, arrays, traced):
    found, _, told = traced
    assert list(found.arrays) == [latent.name for latent in PLAN.latents]
    assert sum(told) == 2 * len(IDS)
    for strength in (0.25, 0.75):
        final = by_hand(model, arrays, strength)
        kept = found.arrays[f"z_c@{strength}"].read()
        np.testing.assert_allclose(kept, final.reshape(5, -1), rtol=1e-4, atol=1e-4)
    seen = {}

    def after(step, timestep, latents):
        seen[step] = latents.reshape(5, -1)

    by_hand(model, arrays, 0.75, callback=after)
    for step in PLAN.latent_steps:
        kept = found.arrays[f"z_c@0.75:step{step}"].read()
        np.testing.assert_allclose(kept, seen[step], rtol=1e-4, atol=1e-4)


def test_activations_are_the_unets_own(model, arrays, traced):
    found, _, _ = traced
    seen = {}
    probe = Probe(PLAN.modules, PLAN.module_steps, lambda step, _, told: seen.update({step: told}))
    by_hand(model, arrays, 0.75, probe=probe)
    for step in PLAN.module_steps:
        for module in PLAN.modules:
            kept = found.arrays[f"{module}@0.75:step{step}"].read()
            own = seen[step][module].reshape(5, -1)
            np.testing.assert_allclose(kept, own, rtol=1e-3, atol=1e-3)
    assert found.distortions() == {}


def test_rows_depend_on_neither_batch_nor_shard(model, arrays, traced, tmp_path):
    found, _, _ = traced
    other = trace(model, arrays, IDS, tmp_path, PLAN, seed=7, shard_size=4, batch_size=3)
    for name, array in other.arrays.items():
        assert array.shard_size == 4
        np.testing.assert_allclose(array.read(), found.arrays[name].read(), rtol=1e-3, atol=1e-3)


def test_noise_belongs_to_stimulus_sample_and_seed(model, arrays, traced, tmp_path):
    found, _, _ = traced
    last_two = {port: values[3:] for port, values in arrays.items()}
    plan = TracePlan(strengths=(0.75,), steps=4, guidance=3.0)
    last = trace(model, last_two, IDS[3:], tmp_path, plan, seed=7).arrays["z_c@0.75"].read()
    expected = found.arrays["z_c@0.75"].read()[3:]
    np.testing.assert_allclose(last, expected, rtol=1e-4, atol=1e-4)
    for other in ({"seed": 8}, {"seed": 7, "sample": 1}):
        values = trace(model, last_two, IDS[3:], tmp_path, plan, **other).arrays["z_c@0.75"]
        assert abs(values.read() - expected).max() > 0.1


def test_one_noise_and_the_released_schedule_are_other_traces(model, arrays, tmp_path):
    same = {port: np.repeat(values[:1], 2, axis=0) for port, values in arrays.items()}
    plan = TracePlan(strengths=(0.75,), strength=0.75, steps=4, guidance=3.0)
    found = {}
    for one_noise in (False, True):
        for schedule in ("diffusers", "takagi2023"):
            of = replace(plan, schedule=schedule)
            made = trace(model, same, IDS[:2], tmp_path, of, seed=7, one_noise=one_noise)
            found[one_noise, schedule] = made.arrays["z_c@0.75"].read()
            name = "one noise for all" if one_noise else IDS[1]
            expected = model.denoise(
                {port: values[1:] for port, values in same.items()},
                [seed_for(7, "trace", name, 0)],
                strength=0.75,
                steps=4,
                guidance=3.0,
                schedule=schedule,
            )
            np.testing.assert_allclose(found[one_noise, schedule][1], expected.ravel(), atol=1e-4)
    alike = {key: np.abs(rows[0] - rows[1]).max() < 1e-4 for key, rows in found.items()}
    assert alike == {key: key[0] for key in found}
    for one, other in combinations(found.values(), 2):
        assert np.abs(one[1] - other[1]).max() > 1e-2


def test_a_trace_that_was_stopped_goes_on_to_the_same_bytes(model, arrays, traced, tmp_path):
    found, _, _ = traced
    told = []

    def stop(done):
        told.append(done)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace(model, arrays, IDS, tmp_path, PLAN, seed=7, progress=stop, **SIZES)
    counting = Counting(model)
    again = trace(counting, arrays, IDS, tmp_path, PLAN, seed=7, **SIZES)
    assert counting.rows == [1, 2, 2, 1]  # the last shard of one pass, all of the other
    for name, array in again.arrays.items():
        np.testing.assert_array_equal(array.read(), found.arrays[name].read())


def test_a_damaged_shard_alone_is_done_again(model, arrays, tmp_path):
    plan = replace(PLAN, strengths=(), latent_steps=())
    first = trace(model, arrays, IDS, tmp_path, plan, **SIZES)
    [array] = [a for name, a in first.arrays.items() if name == "mid_block@0.75:step2"]
    before = array.read()
    (array.folder / "done" / "00001").unlink()
    counting = Counting(model)
    again = trace(counting, arrays, IDS, tmp_path, plan, **SIZES)
    assert counting.rows == [2]
    np.testing.assert_array_equal(again.arrays["mid_block@0.75:step2"].read(), before)


def test_a_wider_plan_adds_to_what_is_there(model, arrays, tmp_path):
    narrow = TracePlan(strengths=(0.25,), strength=0.75, latent_steps=(1,), steps=4)
    first = trace(model, arrays, IDS, tmp_path, narrow, **SIZES)
    counting = Counting(model)
    wide = replace(narrow, strengths=(0.25, 0.5), latent_steps=(1, 2))
    found = trace(counting, arrays, IDS, tmp_path, wide, shard_size=4, batch_size=2)
    assert counting.rows == [4, 1, 2, 2, 1]  # 0.5 is new, 0.75 lacks a step, 0.25 is there
    assert found.arrays["z_c@0.75:step2"].shard_size == 2
    assert found.arrays["z_c@0.25"].folder == first.arrays["z_c@0.25"].folder
    counting.rows.clear()
    changed = trace(
        counting, {**arrays, "start": arrays["start"] + 1}, IDS, tmp_path, narrow, **SIZES
    )
    assert sum(counting.rows) == 10
    assert changed.arrays["z_c@0.25"].folder != first.arrays["z_c@0.25"].folder


def test_long_rows_are_projected_all_by_one_matrix(model, arrays, traced, tmp_path):
    whole, _, _ = traced
    n_latent = int(np.prod(model.latent_shape))
    most = n_latent + 88
    found = trace(model, arrays, IDS, tmp_path, PLAN, seed=7, max_features=most, **SIZES)
    distortions = found.distortions()
    for module in PLAN.modules:
        n_features = whole.arrays[f"{module}@0.75:step0"].shape[1]
        state = seed_for(7, "projection", n_features, most) % 2**32
        oracle = SparseRandomProjection(most, random_state=state).fit(np.zeros((1, n_features)))
        for step in PLAN.module_steps:
            name = f"{module}@0.75:step{step}"
            expected = oracle.transform(whole.arrays[name].read())
            np.testing.assert_allclose(found.arrays[name].read(), expected, rtol=1e-3, atol=1e-2)
        told = distortions[module]
        assert (told.n_features, told.n_kept, told.n_pairs) == (n_features, most, 10)
        assert told.mean == pytest.approx(1, abs=0.15)
        assert 0 < told.sd < 0.15
    # z_c keeps all its numbers, as everything of at most max_features does
    assert found.arrays["z_c@0.75"].shape == (5, n_latent)
    counting = Counting(model)
    again = trace(counting, arrays, IDS, tmp_path, PLAN, seed=7, max_features=most, **SIZES)
    assert (again.distortions(), counting.rows) == (distortions, [])


def test_the_bytes_are_known_before(model, traced):
    found, _, _ = traced
    n_latent = int(np.prod(model.latent_shape))
    most = n_latent + 88
    shapes = model.activation_shapes(PLAN.modules)
    stated = trace_bytes(PLAN, 5, model.latent_shape, shapes)
    assert stated == {name: array.read().nbytes for name, array in found.arrays.items()}
    small = trace_bytes(PLAN, 1000, model.latent_shape, shapes, max_features=most)
    assert small["mid_block@0.75:step2"] == 4 * 1000 * most
    assert small["z_c@0.25"] == 4 * 1000 * n_latent


def test_what_cannot_be_traced_is_said_before_any_work(model, arrays, tmp_path):
    def attempt(**changes):
        trace(model, arrays, IDS, tmp_path, replace(PLAN, **changes))

    with pytest.raises(
        UserError, match=r"Step 3 is not run: strength 0.75 of 4 steps runs.*0 to 2"
    ):
        attempt(module_steps=(0, 3))
    with pytest.raises(UserError, match="Step -1 is not run"):
        attempt(latent_steps=(-1,))
    with pytest.raises(UserError, match=r"no module 'mid_blocks'; did you mean mid_block"):
        attempt(modules=("mid_blocks",))
    with pytest.raises(ValueError, match=r"strength 1\.5 is outside"):
        attempt(strengths=(0.5, 1.5))
    with pytest.raises(ValueError, match="start has 5 rows for 4 stimuli"):
        trace(model, arrays, IDS[:4], tmp_path, PLAN)
    assert list(tmp_path.iterdir()) == []
