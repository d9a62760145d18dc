"""Where work runs: the device and its number type, chosen when asked, never on import."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from vox2pix.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def resolve_device(name: str = "auto") -> "torch.device":
    """Return an available torch device; ``auto`` is the first of CUDA, Apple's and CPU."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(
            f"'{name}' is not a device; use auto, cpu, cuda, cuda:0 ... or mps."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n_devices = torch.cuda.device_count()
        raise UserError(f"There is no device '{name}' (CUDA devices: {n_devices}); use device=cpu.")
    return device


def resolve_dtype(name: str) -> "torch.dtype":
    """Return torch's number type of that name."""
    import torch

    types = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in types:
        raise UserError(f"'{name}' is not a number type; use one of {', '.join(types)}.")
    return types[name]


def ahead(made: Iterator[T], device: "torch.device") -> Iterator[T]:
    """Yield what an iterator makes; while one item is used, the next is made in a thread.

    On a CUDA device that thread works in a stream of its own, so that kernels of both sides may run
    at once. What it yields must be on the CPU.
    """
    import torch

    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))

    def make() -> list[T]:
        with torch.cuda.stream(stream):  # of None: as it is
            return list(islice(made, 1))

    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(make)
        while items := coming.result():
            coming = beside.submit(make)
            yield items[0]


def sgemm_rate(device: str = "cpu", size: int = 1536) -> float:
    """Return float32 operations per second: the best of three products of square matrices."""
    import torch

    place = resolve_device(device)
    matrix = torch.rand(size, size, device=place)
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # reading one number waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def count_flops(network: Callable[..., Any], *inputs: "torch.Tensor") -> float:
    """Count the operations of one pass; on torch's meta device it costs nothing."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return float(counter.get_total_flops())
