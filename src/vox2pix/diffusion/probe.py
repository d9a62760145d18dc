"""What modules of the U-Net give while it denoises, recorded by forward hooks."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vox2pix.errors import UserError

FloatArray = NDArray[np.float32]
Receive = Callable[[int, int, dict[str, FloatArray]], None]


@dataclass(frozen=True)
class Probe:
    """What to record of the U-Net during :meth:`~vox2pix.diffusion.LatentDiffusion.denoise`.

    Attributes
    ----------
    modules : tuple of str
        Dotted names of modules of the U-Net, such as ``"mid_block"`` or
        ``"down_blocks.1.attentions.0"``.
    steps : tuple of int
        Steps at which to record, counted from 0 among the steps that are run. Nothing is hooked
        or copied at the others.
    receive : callable
        ``receive(step, timestep, activations)`` at each of these steps of each batch, batches in
        the order of rows; `activations` has one float32 array (rows, ...) per module name, mostly
        (rows, channels, height, width). Under guidance it is the half of the U-Net's batch that
        saw the conditioning. A module that runs more than once in a step gives its last output.
    """

    modules: tuple[str, ...]
    steps: tuple[int, ...]
    receive: Receive


def module_names(unet: nn.Module) -> tuple[str, ...]:
    """Return the dotted names of the modules that give a tensor: all but mere lists of modules."""
    lists = (nn.ModuleList, nn.ModuleDict)
    return tuple(n for n, module in unet.named_modules() if n and not isinstance(module, lists))


def check_modules(unet: nn.Module, modules: Sequence[str]) -> None:
    """Refuse names of modules that the U-Net does not have, by a UserError."""
    names = module_names(unet)
    for name in modules:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0)
            raise UserError(f"The U-Net has no module '{name}'; did you mean {' or '.join(near)}?")


@contextmanager
def recording(
    unet: nn.Module, modules: Sequence[str], record: Callable[[torch.Tensor], Any]
) -> Iterator[dict[str, Any]]:
    """Yield a dict that fills, by module, with what `record` returns for each output.

    Of a module with several outputs that is the first, the hidden state. The hooks are removed
    when the context is left.
    """

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def receive(module: nn.Module, inputs: Any, output: Any) -> None:
            seen[name] = record(output if isinstance(output, torch.Tensor) else output[0])

        return receive

    seen: dict[str, Any] = {}
    with ExitStack() as hooks:
        for name in modules:
            hooks.enter_context(unet.get_submodule(name).register_forward_hook(hook(name)))
        yield seen


def activation_shapes(
    networks: Any,
    modules: Sequence[str],
    latent_shape: Sequence[int],
    conditioning_shape: Sequence[int],
) -> dict[str, tuple[int, ...]]:
    """Return the output shapes of modules for one latent, from one pass on a blank one."""
    check_modules(networks.unet, modules)

    def blank(*shape: int) -> torch.Tensor:
        return torch.zeros((1, *shape), device=networks.device)

    step = torch.zeros(1, device=networks.device, dtype=torch.long)
    with (
        torch.inference_mode(),
        recording(networks.unet, modules, lambda output: tuple(output.shape[1:])) as shapes,
    ):
        networks.predict(blank(*latent_shape), step, blank(*conditioning_shape), watched=True)
    return shapes
