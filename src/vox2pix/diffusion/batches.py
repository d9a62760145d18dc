"""How many rows a network takes at once: as many as pay and fit, fewer when memory runs out."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal
from weakref import finalize

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vox2pix.errors import UserError

BatchSize = int | Literal["auto"]

MOST = 64
"""Rows of the largest batch: beyond, memory grows and speed hardly does."""

CACHE_BYTES = 16 * 2**20
"""Activations of the largest batch on a CPU: what its last cache holds beside the weights.

``benchmarks/generation.py`` times the batch that this gives beside others.
"""

_SHARE = 0.7  # of the free memory; the rest is for the kernels' own workspace


class Batches:
    """Sizes of batches on one device, and which of them fitted so far."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._bytes_a_row: dict[Any, int] = {}
        self._most: dict[str, int] = {}

    def size(self, work: Any, one_row: Callable[[], Any]) -> int:
        """Choose the size of a batch.

        On a CPU the size that suits its cache, which depends on the work alone, so that results
        are the same to the byte from run to run, and less only where memory is short. Elsewhere
        a power of two that fits in the memory that is free now. `work` names the work and its
        shapes; `one_row` does it for one row, once for each `work`, to count its memory.
        """
        if work not in self._bytes_a_row:
            self._bytes_a_row[work] = max(peak_activations(one_row), 1)
        each = self._bytes_a_row[work]
        fitting = int(_SHARE * free_memory(self.device)) // each
        if self.device.type == "cpu":
            fitting = min(fitting, CACHE_BYTES // each)
        return 1 << (max(min(fitting, MOST), 1).bit_length() - 1)

    def run(
        self,
        name: str,
        n: int,
        size: BatchSize,
        work: Callable[[slice], None],
        choose: Callable[[], int] = lambda: MOST,
    ) -> None:
        """Work through n rows; where memory runs out, continue with half as many at once.

        `work` receives the rows of a batch, and fewer of them after it ran out of memory; what
        fitted is remembered by the name of the work. `choose` returns the size of ``"auto"``.
        Raises UserError if memory does not suffice for one row.
        """
        if size != "auto" and size < 1:
            raise ValueError(f"batch_size {size} is less than 1.")
        if not n:
            return
        requested = choose() if size == "auto" else size
        at_once = min(requested, self._most.get(name, requested))
        first, is_smaller = 0, False
        while first < n:
            rows = slice(first, min(first + at_once, n))
            if not self._fits(name, work, rows):
                at_once = self._most[name] = (rows.stop - first) // 2
                is_smaller = True
                continue
            if is_smaller:
                warnings.warn(
                    f"Memory ran out with {requested} rows at once to {name}; continuing with "
                    f"{at_once} (compute.batch_size = {at_once} starts there).",
                    RuntimeWarning,
                    stacklevel=2,
                )
                is_smaller = False
            first = rows.stop

    def _fits(self, name: str, work: Callable[[slice], None], rows: slice) -> bool:
        """Work on a batch; return whether memory sufficed."""
        try:
            with torch.inference_mode():
                work(rows)
            return True
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if rows.stop - rows.start == 1:
                raise UserError(
                    f"Memory does not suffice to {name} one row on {self.device}; set "
                    'compute.dtype to "float16", or compute.device to "cpu".'
                ) from error
        # behind the handler, where the error no longer holds the batch's tensors
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return False


def free_memory(device: torch.device) -> int:
    """Return the bytes available on a device: its free memory, and torch's own reserve."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on a GPU or on the CPU."""
    message = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "out of memory" in message
        or "can't allocate memory" in message
    )


def peak_activations(work: Callable[[], Any]) -> int:
    """Return the most bytes of new tensors that are alive at once while work is done.

    Tensors that existed before, such as weights, do not count, nor does what kernels allocate.
    """
    with torch.inference_mode(), _Living() as living:
        work()
    return living.peak


class _Living(TorchDispatchMode):
    """Counts the bytes of tensors made under it, until they are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # what goes in was there, or has been counted: a view of a weight is no new memory
        before = {id_ for id_, _ in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for identity, storage in _storages(made):
            if identity not in before and identity not in self._alive:
                self._alive.add(identity)
                self._now += storage.nbytes()
                finalize(storage, self._forget, identity, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return made

    def _forget(self, identity: int, n_bytes: int) -> None:
        self._alive.discard(identity)
        self._now -= n_bytes


def _storages(tree: Any) -> Iterator[tuple[int, Any]]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, torch.Tensor):
            storage = leaf.untyped_storage()
            yield storage._cdata, storage
