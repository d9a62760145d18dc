"""The timesteps of a run, against diffusers' own and the CompVis sampler's index rules."""

import numpy as np
import pytest
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from vox2pix.diffusion.schedule import plan_denoising

STABLE_DIFFUSION = DDIMScheduler(steps_offset=1)
STABLE_DIFFUSION.set_timesteps(50)
TIMESTEPS = STABLE_DIFFUSION.timesteps.tolist()


def compvis(steps: int, strength: float) -> tuple[int, list[int]]:
    """Return the noise level and timesteps of the CompVis sampler, on its ascending arrays."""
    ascending = np.arange(0, 1000, 1000 // steps)[:steps] + 1
    t_enc = int(strength * steps)
    return int(ascending[t_enc]), ascending[:t_enc][::-1].tolist()


def test_stable_diffusion_at_the_papers_settings():
    plain = plan_denoising(TIMESTEPS, 0.8)
    paper = plan_denoising(TIMESTEPS, 0.8, "takagi2023")
    assert (plain.noise_timestep, plain.timesteps[0], len(plain.timesteps)) == (781, 781, 40)
    assert (paper.noise_timestep, paper.timesteps[0], len(paper.timesteps)) == (801, 781, 40)
    assert plain.timesteps == paper.timesteps
    assert plain.timesteps[-1] == 1


@settings(deadline=None)
@given(steps=st.sampled_from([10, 20, 25, 40, 50, 100]), strength=st.floats(0.1, 0.99))
def test_takagi2023_is_the_compvis_rule(steps, strength):
    scheduler = DDIMScheduler(steps_offset=1)
    scheduler.set_timesteps(steps)
    plan = plan_denoising(scheduler.timesteps.tolist(), strength, "takagi2023")
    noise_timestep, timesteps = compvis(steps, strength)
    assert plan.noise_timestep == noise_timestep
    assert list(plan.timesteps) == timesteps


@given(
    steps=st.integers(1, 60),
    strength=st.floats(0.05, 1),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    offset=st.integers(0, 1),
)
def test_the_schedules_differ_by_one_index_for_any_spacing(steps, strength, spacing, offset):
    scheduler = DDIMScheduler(steps_offset=offset, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps.tolist()
    if int(steps * strength) == 0:
        with pytest.raises(ValueError, match="less than one step"):
            plan_denoising(timesteps, strength)
        return
    plain = plan_denoising(timesteps, strength)
    paper = plan_denoising(timesteps, strength, "takagi2023")
    assert plain.timesteps == paper.timesteps == tuple(timesteps[-len(plain.timesteps) :])
    assert plain.noise_timestep == plain.timesteps[0]
    index = timesteps.index(plain.noise_timestep)
    assert paper.noise_timestep == timesteps[max(index - 1, 0)]


def test_pure_noise_runs_every_timestep():
    plan = plan_denoising(TIMESTEPS, None, "takagi2023")
    assert plan.noise_timestep is None
    assert list(plan.timesteps) == TIMESTEPS


@pytest.mark.parametrize(
    ("strength", "schedule", "message"),
    [
        (0.0, "diffusers", r"strength 0.0 is outside \(0, 1\]"),
        (1.1, "diffusers", r"strength 1.1 is outside \(0, 1\]"),
        (0.01, "diffusers", "strength 0.01 of 50 steps is less than one step"),
        (0.8, "takagi", r"schedule 'takagi' is not one of \['diffusers', 'takagi2023'\]"),
    ],
)
def test_bad_settings(strength, schedule, message):
    with pytest.raises(ValueError, match=message):
        plan_denoising(TIMESTEPS, strength, schedule)
