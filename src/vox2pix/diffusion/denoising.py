"""From noise to latents by DDIM, in batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vox2pix.diffusion.arrays import FloatArray, draw, generators, to_device
from vox2pix.diffusion.batches import Batches, BatchSize, is_out_of_memory
from vox2pix.diffusion.networks import Networks
from vox2pix.diffusion.probe import Probe, recording
from vox2pix.diffusion.schedule import DenoisingPlan
from vox2pix.errors import UserError

Callback = Callable[[int, int, FloatArray], None]


@dataclass(frozen=True)
class Denoising:
    """How a batch is denoised."""

    sampler: Callable[[], Any]  # makes a DDIMScheduler with its timesteps set
    plan: DenoisingPlan  # the noise level of the start, and the timesteps
    guidance: float
    eta: float


@dataclass(frozen=True)
class Inputs:
    """What n rows are denoised from: their seeds, and what the ports take."""

    seeds: NDArray[np.int64]  # of each row's noise
    shape: Sequence[int]  # of its latents: channels, height, width
    start: FloatArray | None  # starting latents; None is pure noise
    text: FloatArray | None  # text conditioning; None is the empty prompt
    image: FloatArray | None  # embeddings of images; None is no image

    def __getitem__(self, rows: slice) -> "Inputs":
        """Return some of the rows."""
        ports = (self.start, self.text, self.image)
        some = (None if values is None else values[rows] for values in ports)
        return Inputs(self.seeds[rows], self.shape, *some)

    @property
    def guidable(self) -> bool:
        """Whether there is a condition that guidance strengthens."""
        return self.text is not None or self.image is not None


def denoise(
    networks: Networks,
    batches: Batches,
    inputs: Inputs,
    how: Denoising,
    watchers: "Watchers",
    batch_size: BatchSize,
) -> FloatArray:
    """Return denoised latents (n, channels, height, width), float32, batch by batch."""
    denoised = np.empty((len(inputs.seeds), *inputs.shape), np.float32)

    def work(rows: slice) -> None:
        with watchers.of_one_batch():
            denoised[rows] = _denoise_batch(networks, inputs[rows], how, watchers)

    def choose() -> int:
        guided = how.guidance != 1 and inputs.guidable
        return suitable_batch(networks, batches, inputs.shape, guided)

    batches.run("denoise", len(denoised), batch_size, work, choose)
    return denoised


def suitable_batch(networks: Networks, batches: Batches, shape: Sequence[int], guided: bool) -> int:
    """Return how many latents of a shape are best denoised at once, with guidance or without."""

    def one_image() -> None:
        n = 2 if guided else 1
        text = networks.empty_prompt.expand(n, -1, -1)
        blank = torch.zeros((n, *shape), device=networks.device)
        networks.predict(blank, torch.zeros((), device=networks.device), text, watched=True)

    return batches.size(("denoise", *shape, guided), one_image)


def _denoise_batch(
    networks: Networks, inputs: Inputs, how: Denoising, watchers: "Watchers"
) -> FloatArray:
    """Denoise rows together, each step as eq. 12 of DDIM (Song et al., ICLR 2021)."""
    device = networks.device
    sampler = how.sampler()
    sources = generators(inputs.seeds)
    z = draw(sources, inputs.shape).to(device)
    if inputs.start is not None:
        level = torch.tensor([how.plan.noise_timestep], device=device)
        z = sampler.add_noise(to_device(inputs.start, device), z, level)
    text = None if inputs.text is None else to_device(inputs.text, device)
    image = None
    if networks.image_port is not None and inputs.image is not None:
        image = networks.image_port.prepared(to_device(inputs.image, device), inputs.seeds)
    moments = torch.tensor(how.plan.timesteps, device=device)
    for step, (timestep, moment) in enumerate(zip(how.plan.timesteps, moments, strict=True)):
        with watchers.of_one_pass(networks.unet, step, timestep, len(z)) as watched:
            prediction = networks.guided(z, moment, text, image, how.guidance, watched)
        extra = draw(sources, inputs.shape).to(device) if how.eta > 0 else None
        z = sampler.step(
            prediction, timestep, z, eta=how.eta, variance_noise=extra, return_dict=False
        )[0]
        watchers.after_step(step, timestep, z)
    array: FloatArray = z.cpu().numpy()
    return array


class Watchers:
    """Who receives a batch's steps; a batch whose steps were received is not begun again."""

    def __init__(self, callback: Callback | None, probe: Probe | None) -> None:
        self._callback, self._probe = callback, probe
        self._has_reported = False

    @contextmanager
    def of_one_batch(self) -> Iterator[None]:
        """Refuse to let memory run out behind the first event of a batch."""
        self._has_reported = False
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self._has_reported and is_out_of_memory(error):
                raise UserError(
                    "Memory ran out while the steps of a batch were recorded; set a smaller "
                    "compute.batch_size."
                ) from error
            raise

    @contextmanager
    def of_one_pass(self, unet: Any, step: int, timestep: int, n: int) -> Iterator[bool]:
        """Let the probe receive what its modules give n rows; yield whether it does."""
        probe = self._probe
        if probe is None or step not in probe.steps:
            yield False
            return

        def with_text(output: torch.Tensor) -> FloatArray:
            # under guidance these rows are the second half; a copy, for later layers may overwrite
            rows = output[-n:].to("cpu", torch.float32, copy=True)
            array: FloatArray = rows.numpy()
            return array

        with recording(unet, probe.modules, with_text) as seen:
            yield True
        self._has_reported = True
        probe.receive(step, timestep, seen)

    def after_step(self, step: int, timestep: int, z: torch.Tensor) -> None:
        """Call back with the latents after a step."""
        if self._callback is not None:
            self._has_reported = True
            self._callback(step, timestep, z.cpu().numpy().copy())
