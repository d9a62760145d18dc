"""From noise to latents by DDIM, in batches of rows of any kind."""

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
class Way:
    """How rows are denoised.

    Attributes
    ----------
    sampler : callable
        Makes a fresh ``diffusers.DDIMScheduler`` with its timesteps set.
    from_latents, from_noise : DenoisingPlan
        Of rows that start from a noised latent, and of those that start from noise alone. The
        timesteps of the first are the last ones of the second.
    guidance, eta : float
        As :meth:`vox2pix.diffusion.LatentDiffusion.denoise` takes them.
    """

    sampler: Callable[[], Any]
    from_latents: DenoisingPlan
    from_noise: DenoisingPlan
    guidance: float
    eta: float


@dataclass(frozen=True)
class Start:
    """What n rows start from.

    Attributes
    ----------
    seeds : array of int (n,)
        Of each row's noise.
    shape : (channels, height, width)
    latents, text : array (n, ...), float32, or None
        None where no row has any.
    started, told : array of bool (n,)
        Which rows start from latents, and which have text.
    """

    seeds: NDArray[np.int64]
    shape: Sequence[int]
    latents: FloatArray | None
    started: NDArray[np.bool_]
    text: FloatArray | None
    told: NDArray[np.bool_]

    def __getitem__(self, rows: slice) -> "Start":
        """Return some of the rows."""
        latents = None if self.latents is None else self.latents[rows]
        text = None if self.text is None else self.text[rows]
        return Start(
            self.seeds[rows], self.shape, latents, self.started[rows], text, self.told[rows]
        )


def denoise(
    networks: Networks,
    batches: Batches,
    start: Start,
    way: Way,
    watchers: "Watchers",
    batch_size: BatchSize,
) -> FloatArray:
    """Return denoised latents (n, channels, height, width), float32, batch by batch.

    Raises
    ------
    ValueError
        When rows that start differently are watched.
    """
    kinds = (start.started, start.told)
    if watchers and any(0 < given.sum() < len(given) for given in kinds):
        raise ValueError("under a callback or probe all rows have latents, or none; so has c")
    denoised = np.empty((len(start.seeds), *start.shape), np.float32)

    def work(rows: slice) -> None:
        with watchers.of_one_batch():
            denoised[rows] = _denoise_batch(networks, start[rows], way, watchers)

    def choose() -> int:
        guided = way.guidance != 1 and bool(start.told.any())
        return suitable_batch(networks, batches, start.shape, guided)

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


def _denoise_batch(networks: Networks, start: Start, way: Way, watchers: "Watchers") -> FloatArray:
    """Denoise rows together; those that start from latents join at their own first step."""
    device = networks.device
    sampler = way.sampler()
    sources = generators(start.seeds)
    noise = draw(sources, start.shape).to(device)
    z = noise.clone()
    if start.latents is not None:
        rows = _index(np.flatnonzero(start.started), device)
        level = torch.tensor([way.from_latents.noise_timestep], device=device)
        z[rows] = sampler.add_noise(to_device(start.latents, device)[rows], noise[rows], level)
    step = 0
    for at_work, timesteps in _stretches(start.started, way):
        rows = _index(at_work, device)
        told = np.flatnonzero(start.told[at_work])
        text = networks.empty_prompt[None][:0]
        if start.text is not None:
            text = to_device(start.text[at_work[told]], device)
        told_rows = _index(told, device)
        moments = torch.tensor(timesteps, device=device)
        for timestep, moment in zip(timesteps, moments, strict=True):
            here = z[rows]
            with watchers.of_one_pass(networks.unet, step, timestep, len(here)) as watched:
                prediction = networks.guided(here, moment, text, told_rows, way.guidance, watched)
            extra = None
            if way.eta > 0:
                extra = draw([sources[row] for row in at_work], start.shape).to(device)
            z[rows] = sampler.step(
                prediction, timestep, here, eta=way.eta, variance_noise=extra, return_dict=False
            )[0]
            watchers.after_step(step, timestep, z)
            step += 1
    array: FloatArray = z.cpu().numpy()
    return array


class Watchers:
    """Who is told of a batch's steps; a batch that someone was told of is not begun again."""

    def __init__(self, callback: Callback | None, probe: Probe | None) -> None:
        self._callback, self._probe = callback, probe
        self._is_told = False

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return self._callback is not None or self._probe is not None

    @contextmanager
    def of_one_batch(self) -> Iterator[None]:
        """Refuse to let memory run out behind the first event of a batch."""
        self._is_told = False
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if self._is_told and is_out_of_memory(error):
                raise UserError(
                    "memory ran out while the steps of a batch were recorded; set a smaller "
                    "compute.batch_size."
                ) from error
            raise

    @contextmanager
    def of_one_pass(self, unet: Any, step: int, timestep: int, n: int) -> Iterator[bool]:
        """Let the probe receive what its modules give n rows; yield whether it wants to."""
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
        self._is_told = True
        probe.receive(step, timestep, seen)

    def after_step(self, step: int, timestep: int, z: torch.Tensor) -> None:
        """Call back with the latents behind a step."""
        if self._callback is not None:
            self._is_told = True
            self._callback(step, timestep, z.cpu().numpy().copy())


def _stretches(
    started: NDArray[np.bool_], way: Way
) -> list[tuple[NDArray[np.intp], tuple[int, ...]]]:
    """Return which rows are at work over which timesteps."""
    everyone = np.arange(len(started))
    if started.all():
        return [(everyone, way.from_latents.timesteps)]
    if not started.any():
        return [(everyone, way.from_noise.timesteps)]
    late = way.from_latents.timesteps
    early = way.from_noise.timesteps[: -len(late)]
    return [(np.flatnonzero(~started), early), (everyone, late)]


def _index(rows: NDArray[np.intp], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(rows.astype(np.int64)).to(device)
