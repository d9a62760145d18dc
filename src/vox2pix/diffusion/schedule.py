"""Where noise is added and which timesteps are then denoised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Schedule = Literal["diffusers", "takagi2023"]


@dataclass(frozen=True)
class DenoisingPlan:
    """The timesteps of one denoising run."""

    noise_timestep: int | None  # whose noise the start is brought to; None: pure noise
    timesteps: tuple[int, ...]  # at which the network predicts, from noisy to clean


def plan_denoising(
    timesteps: Sequence[int],
    strength: float | None,
    schedule: Schedule = "diffusers",
) -> DenoisingPlan:
    r"""Return the noise level and the timesteps of an image-to-image run.

    Let :math:`s_0 < \dots < s_{S-1}` be the sampler's timesteps and :math:`k = \lfloor
    S \cdot \mathrm{strength} \rfloor` the number of steps to run. Both schedules run the network
    at :math:`s_{k-1}, \dots, s_0`; they differ in how noisy the latent is when it arrives there:

    ``"diffusers"``
        The latent is noised to :math:`s_{k-1}`, the level that the first step expects (as
        ``StableDiffusionImg2ImgPipeline`` does).
    ``"takagi2023"``
        The latent is noised to :math:`s_k`, one step noisier than the first step expects: the
        sampler of the CompVis release, with which Takagi & Nishimoto (CVPR 2023) drew their
        images, numbers its noise levels and its denoising steps one apart. At ``strength=1``
        there is no :math:`s_S` (that sampler stops with an error); the noisiest level there is,
        :math:`s_{S-1}`, is used.

    With Stable Diffusion's 50 steps (1, 21, ..., 981) and strength 0.8, k is 40: ``"diffusers"``
    noises to t = 781, ``"takagi2023"`` to t = 801, and both denoise from t = 781. The rule is on
    indices of the schedule, so that it holds for any ``steps_offset`` and ``timestep_spacing``.

    Parameters
    ----------
    timesteps : sequence of int
        All timesteps of the sampler, strictly descending, as schedulers of diffusers hold them.
    strength : float or None
        In (0, 1]; None for a run from pure noise through all timesteps.
    schedule : {"diffusers", "takagi2023"}
        Which noise level to start at. Without meaning when ``strength`` is None.

    Returns
    -------
    DenoisingPlan

    Raises
    ------
    ValueError
        For an unknown schedule, a strength outside (0, 1] or one so small that no step is run.
    """
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule {schedule!r} is not one of {list(get_args(Schedule))}.")
    if strength is None:
        return DenoisingPlan(None, tuple(timesteps))
    if not 0 < strength <= 1:
        raise ValueError(f"strength {strength} is outside (0, 1].")
    n_steps = len(timesteps)
    # Truncated, not rounded: both diffusers and the CompVis sampler truncate.
    n_run = min(int(n_steps * strength), n_steps)
    if n_run == 0:
        raise ValueError(f"strength {strength} of {n_steps} steps is less than one step.")
    first = n_steps - n_run
    noise_index = first if schedule == "diffusers" else max(first - 1, 0)
    return DenoisingPlan(timesteps[noise_index], tuple(timesteps[first:]))
