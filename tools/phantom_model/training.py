"""The training loop that all networks share: constant rate, moving average, checkpoints.

The rate stays constant, so that training can be stopped at any step and continued for longer. A
separate decay phase starts from the newest checkpoint, whatever its step, and brings the rate to
zero: it makes the weights that ship. Stopping either phase at any moment loses at most
``CHECKPOINT_EVERY_S`` seconds; the same command continues it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.upsampling import Upsample2D
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vox2pix.seeds import rng_for
from vox2pix.store import replacing

CHECKPOINT_EVERY_S = 120.0
WARM_UP = 100  # steps over which the rate rises

Loss = Callable[[int, np.random.Generator], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained."""

    steps: int  # constant-rate steps. A checkpoint that is further on is used as it is
    decay_steps: int  # steps after that, with the rate falling linearly to zero
    rate: float  # the constant rate of AdamW
    average: float = 0.998  # decay of the moving average of the weights
    bfloat16: bool = True  # whether losses are computed in bfloat16 where autocast uses it


@dataclass(frozen=True)
class Place:
    """Where a network is trained: checkpoint folder, device, whether compiled."""

    checkpoints: Path
    device: torch.device
    compiled: bool = False


class State:
    """Everything that a checkpoint holds: weights, their moving average, optimiser, step."""

    def __init__(self, model: nn.Module, fast: dict[str, float] | None = None) -> None:
        """Start from ``model``; ``fast`` multiplies the rate of parameters by name prefix."""
        self.model = model
        self.parameters = dict(model.named_parameters())
        self.average = {k: v.detach().clone() for k, v in self.parameters.items()}
        factors = [
            next((f for prefix, f in (fast or {}).items() if name.startswith(prefix)), 1.0)
            for name in self.parameters
        ]
        groups = [
            {
                "params": [
                    p for p, own in zip(self.parameters.values(), factors, strict=True) if own == f
                ],
                "factor": f,
            }
            for f in sorted(set(factors))
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
        self.step = 0

    def descend(self, loss: Tensor, rate: float, decay: float) -> None:
        """Make one optimiser step and update the moving average."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimiser.step()
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()), list(self.parameters.values()), 1 - decay
            )
        self.step += 1

    def save(self, path: Path) -> None:
        """Write a checkpoint beside the old one, then replace it."""
        moments = self.optimiser.state_dict()["state"]
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        tensors |= {f"moment/{i}/{k}": v for i, m in moments.items() for k, v in m.items()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        with replacing(path) as partial:
            save_file(tensors, partial, metadata={"step": str(self.step)})

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        tensors = load_file(path)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        for key, value in self.average.items():
            value.copy_(tensors[f"average/{key}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("moment/"):
                _, index, what = key.split("/")
                moments.setdefault(int(index), {})[what] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        # The fused optimiser walks through memory: moments must be laid out as their weights are.
        for parameter, of_parameter in self.optimiser.state.items():
            for what, value in of_parameter.items():
                if value.shape == parameter.shape:
                    of_parameter[what] = torch.empty_like(parameter).copy_(value)
        self.step = step_of(path)

    def use_average(self) -> None:
        """Put the moving average in place of the weights."""
        with torch.no_grad():
            for key, parameter in self.parameters.items():
                parameter.copy_(self.average[key])


def compile_network(model: nn.Module) -> None:
    """Compile a network in place, channels last: convolutions then need no reordering.

    Its upsamplers are left out: compiled for CPUs by torch 2.13, the backward pass of
    nearest-neighbour upsampling in bfloat16 gives zeros.
    """
    for module in model.modules():
        if isinstance(module, Upsample2D):
            module.forward = torch.compiler.disable(module.forward)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.compile(dynamic=False)


def step_of(path: Path) -> int:
    """Return the step at which a checkpoint was written."""
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def fit(
    name: str,
    model: nn.Module,
    loss_of: Loss,
    schedule: Schedule,
    place: Place,
    fast: dict[str, float] | None = None,
) -> int:
    """Minimise a loss with AdamW; leave the moving average of the weights in ``model``.

    ``name`` names the checkpoints and the random streams. ``loss_of(step, rng)`` has its own random
    numbers at each step, so that a resumed training is the same training. ``fast`` multiplies the
    rate, by prefix of the parameter's name. Returns all steps made, both phases together.
    """
    model.to(place.device).train()
    state = State(model, fast)
    checkpoint = place.checkpoints / f"{name}.safetensors"
    if checkpoint.exists():
        state.load(checkpoint)
    _run(state, loss_of, schedule.steps, lambda step: schedule.rate, schedule, checkpoint, place)
    if schedule.decay_steps:
        start = state.step
        end = start + schedule.decay_steps
        decayed = place.checkpoints / f"{name}-{start}-decay-{schedule.decay_steps}.safetensors"
        if decayed.exists():
            state.load(decayed)
        _run(
            state,
            loss_of,
            end,
            lambda step: schedule.rate * (end - step) / schedule.decay_steps,
            schedule,
            decayed,
            place,
        )
    state.use_average()
    model.to("cpu").eval()
    return state.step


def _run(
    state: State,
    loss_of: Loss,
    end: int,
    rate_of: Callable[[int], float],
    schedule: Schedule,
    checkpoint: Path,
    place: Place,
) -> None:
    """Train up to step ``end`` and log the mean loss and CPU time of every 100 steps."""
    saved = time.monotonic()
    losses: list[float] = []
    began, cpu = time.monotonic(), time.process_time()
    while state.step < end:
        step = state.step
        with torch.autocast(place.device.type, torch.bfloat16, enabled=schedule.bfloat16):
            loss = loss_of(step, rng_for(0, checkpoint.stem.split("-")[0], step))
        state.descend(loss, rate_of(step) * min(1, (step + 1) / WARM_UP), schedule.average)
        losses.append(loss.item())
        if state.step % 100 == 0 or state.step == end:
            line = {
                "step": state.step,
                "loss": round(float(np.mean(losses)), 5),
                "seconds": round((time.monotonic() - began) / len(losses), 3),
                "cpu_seconds": round((time.process_time() - cpu) / len(losses), 3),
            }
            print(checkpoint.stem, json.dumps(line), flush=True)
            losses, began, cpu = [], time.monotonic(), time.process_time()
        if time.monotonic() - saved > CHECKPOINT_EVERY_S or state.step == end:
            state.save(checkpoint)
            saved = time.monotonic()
