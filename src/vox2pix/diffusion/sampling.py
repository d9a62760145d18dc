"""The sampler of a model: always DDIM, on the noise levels that the model was trained with."""

from collections.abc import Mapping
from typing import Any

from diffusers import DDIMScheduler


def sampler_config(scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the DDIM configuration of any scheduler of the Stable Diffusion family.

    As in diffusers' own Stable Diffusion pipelines, ``clip_sample`` is False and ``steps_offset``
    is 1, whatever an outdated file holds.
    """
    config = {**scheduler_config, "clip_sample": False, "steps_offset": 1}
    return dict(DDIMScheduler.from_config(config).config)


def make_sampler(config: Mapping[str, Any], steps: int) -> DDIMScheduler:
    """Return a fresh sampler with the timesteps of the whole schedule set."""
    n_train = int(config["num_train_timesteps"])
    if not 1 <= steps <= n_train:
        raise ValueError(f"steps {steps} is outside 1 to {n_train}.")
    sampler: DDIMScheduler = DDIMScheduler.from_config(config)
    sampler.set_timesteps(steps)
    last = int(sampler.timesteps.max())
    if last >= n_train:  # diffusers counts from an offset of 1, past the noise levels' end
        raise ValueError(
            f"steps {steps} needs timestep {last}, and the last trained one is "
            f"{n_train - 1}; take fewer steps."
        )
    return sampler
