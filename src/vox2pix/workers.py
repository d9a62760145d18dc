"""Where the items of a stage are computed: in this process, or by workers of a Dask scheduler.

Workers write results into the shared store; the scheduler moves names and small results only.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from vox2pix.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, Future, SpecCluster

__all__ = [
    "DaskWorkers",
    "SlurmJobs",
    "ThisProcess",
    "Workers",
    "open_workers",
    "slurm_cluster",
    "worker_environments",
]

Task = Callable[[Any, Any], Any]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_IN_FLIGHT = 1000  # items that a scheduler holds at once
_GLANCE, _PATIENCE = 1.0, 60.0  # seconds between looks at the workers; without any of them
_FETCH = 5.0  # seconds that a small result may take to come
_turn = threading.Lock()  # a model, and what a process keeps open, serve one item at a time


class Workers(Protocol):
    """Does the items of a stage."""

    @property
    def provenance(self) -> dict[str, Any]:
        """How items are done, for provenance."""

    def each(self, task: Task, context: Any, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield each item with ``task(context, item)``, in the order in which they are done.

        ``task`` is a function of a module, and may be called again for an item that is
        done. ``context`` is what all items share; both are pickled and should be little
        more than names.
        """


class ThisProcess:
    """Does items one after another, where it is called."""

    @property
    def provenance(self) -> dict[str, Any]:
        """How items are done, for provenance."""
        return {"kind": "this process", "threads": os.environ.get("OMP_NUM_THREADS", _cores())}

    def each(self, task: Task, context: Any, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield each item with its result, in order."""
        for item in items:
            yield item, task(context, item)


class DaskWorkers:
    """Does items on the workers of a Dask scheduler.

    ``queued`` says that the first worker may be long in coming, as where jobs wait in a queue;
    ``patience`` is the time in seconds without any worker after which the work is given up.
    """

    def __init__(
        self,
        client: "Client",
        provenance: Mapping[str, Any],
        queued: bool = False,
        patience: float = _PATIENCE,
    ) -> None:
        self._client, self._provenance = client, dict(provenance)
        self._queued, self._patience = queued, patience

    @property
    def provenance(self) -> dict[str, Any]:
        """How items are done, for provenance."""
        return self._provenance

    def each(self, task: Task, context: Any, items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield each item with its result, as they are done."""
        left = iter(items)
        running: dict[Future, Any] = {}
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()

        def start(n: int) -> None:
            for item in islice(left, n):
                future = self._client.submit(_in_turn, task, context, item, pure=False)
                running[future] = item
                future.add_done_callback(ended.put)

        try:
            start(_IN_FLIGHT)
            while running:
                future = self._attended(partial(ended.get, timeout=_GLANCE))
                result = self._result(future, task)
                yield running.pop(future), result
                start(1)
        finally:
            if running and self._client.status == "running":
                self._client.cancel(list(running), force=True)

    def _attended(self, attempt: Callable[[], Any]) -> Any:
        """Try until something comes, as long as there is somebody to bring it."""
        alone_since = None
        while True:
            try:
                return attempt()
            except queue.Empty:
                pass
            if self._client.status not in ("running", "connecting"):
                raise _scheduler_lost()
            if self._has_workers():
                alone_since, self._queued = None, False
                continue
            if self._queued:
                continue
            alone_since = alone_since or time.monotonic()
            if time.monotonic() - alone_since > self._patience:
                raise UserError(
                    f"For {self._patience:.0f} seconds there was no worker left; "
                    "finished items are cached: start workers, and rerun to resume."
                )

    def _has_workers(self) -> bool:
        """Ask the scheduler; while it does not answer, the connection decides."""
        try:
            info = self._client.scheduler_info(n_workers=1)
        except OSError:
            return True
        return bool(info.get("workers", True))  # empty for a client that was just closed

    def _result(self, future: "Future", task: Task) -> Any:
        """Return what a task gave, or say why there is nothing."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return self._attended(partial(_fetched, future))
        except KilledWorker as error:
            raise UserError(
                f"The same item of {task.__name__} ended {error.allowed_failures + 1} workers, one "
                "after another; mostly they lack memory: give them more, or lower "
                "compute.batch_size. Finished items are cached: rerun to resume."
            ) from error
        except (CancelledError, OSError) as error:
            if future.status == "error":
                raise
            raise _scheduler_lost() from error


def _fetched(future: "Future") -> Any:
    """Return the result of an item that has ended, unless its worker died with it."""
    try:
        return future.result(timeout=_FETCH)
    except TimeoutError:
        if future.status == "error":  # the item's own
            raise
        raise queue.Empty from None


def _in_turn(task: Task, context: Any, item: Any) -> Any:
    """Do an item on a worker, whatever number of threads it was started with."""
    with _turn:
        return task(context, item)


def _scheduler_lost() -> UserError:
    return UserError(
        "The connection to the Dask scheduler was lost; finished items are cached: rerun to resume."
    )


# --- which workers there are ---------------------------------------------------------------------


@dataclass(frozen=True)
class SlurmJobs:
    """What to ask Slurm for: jobs of one worker each."""

    jobs: int = 4
    cores: int = 4
    memory: str = "32GB"
    walltime: str = "04:00:00"
    queue: str | None = None
    account: str | None = None
    extra: Sequence[str] = ()
    prologue: Sequence[str] = ()
    interface: str | None = None


@contextmanager
def open_workers(
    n: int | None = None, scheduler: str | None = None, slurm: SlurmJobs | None = None
) -> Iterator[Workers]:
    """Open workers, or this process where none are asked for, and close what was opened.

    ``n`` processes on this machine share its cores and CUDA devices (:func:`worker_environments`);
    ``scheduler`` is the address of a running Dask scheduler, such as ``tcp://10.0.0.1:8786``; for
    ``slurm`` the workers are jobs and the scheduler is in this process. At most one may be given.
    """
    if sum(place is not None for place in (n, scheduler, slurm)) > 1:
        raise UserError(
            "--workers, --dask and --slurm are three places for the same work; choose one."
        )
    if n is None and scheduler is None and slurm is None:
        yield ThisProcess()
        return
    try:
        import distributed
    except ImportError:
        raise UserError(
            "Workers need Dask, which is not installed: pip install 'vox2pix[cluster]'."
        ) from None
    provenance: dict[str, Any]
    noisy = logging.getLogger("distributed")
    level = noisy.level
    noisy.setLevel(logging.CRITICAL)  # a lost worker is reported in one message
    try:
        if scheduler is not None:
            with _connected(scheduler) as client:
                provenance = {"kind": "dask", "scheduler": scheduler}
                yield DaskWorkers(client, provenance)
        elif slurm is not None:
            provenance = {"kind": "slurm", **asdict(slurm)}
            with slurm_cluster(slurm) as cluster, distributed.Client(cluster) as client:
                cluster.scale(jobs=slurm.jobs)
                yield DaskWorkers(client, provenance, queued=True)
        else:
            assert n is not None
            environments = worker_environments(n, _cuda_devices(), _cores())
            provenance = {"kind": "local", "workers": n, "environment": environments[0]}
            with _local_cluster(environments) as cluster, distributed.Client(cluster) as client:
                client.wait_for_workers(n)
                yield DaskWorkers(client, provenance)
    finally:
        noisy.setLevel(level)


@contextmanager
def _connected(address: str) -> Iterator["Client"]:
    """Connect to a running scheduler."""
    from distributed import Client

    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"No Dask scheduler answers at '{address}'; start one with `dask scheduler` and give "
            "the address that it prints, such as tcp://10.0.0.1:8786."
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=2)


def worker_environments(n: int, cuda_devices: Sequence[str], cores: int) -> list[dict[str, str]]:
    """Return the environment variables of each of ``n`` workers on one machine.

    Cores are shared out, so that workers of a machine with as many are single-threaded, which
    keeps each bound to one core; a number of threads that is set already is not exceeded. Of two or
    more CUDA devices each worker sees one, in turn.
    """
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = max(1, cores // n)
    if limit.isdigit():
        threads = max(1, min(threads, int(limit)))
    environments = [dict.fromkeys(THREAD_SETTINGS, str(threads)) for _ in range(n)]
    if len(cuda_devices) > 1:
        for worker, environment in enumerate(environments):
            environment["CUDA_VISIBLE_DEVICES"] = cuda_devices[worker % len(cuda_devices)]
    return environments


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda_devices() -> list[str]:
    """Name the CUDA devices that this process may use."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


_DASK = {
    # Dask looks at itself a hundred times a second, for a dashboard that nobody sees here, and
    # what runs in this process waits for it.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    # A worker that holds a second item while it does the first keeps it from one that is idle.
    # Without one it waits some milliseconds for each; items take seconds.
    "distributed.scheduler.worker-saturation": 1.0,
}


@contextmanager
def _local_cluster(environments: Sequence[Mapping[str, str]]) -> Iterator["SpecCluster"]:
    """Start worker processes on this machine; one that dies is started again."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    silence: dict[str, Any] = {"silence_logs": logging.CRITICAL}
    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", **silence}
    spec: dict[int, dict[str, Any]] = {
        worker: {"cls": Nanny, "options": {**options, "env": dict(environment)}}
        for worker, environment in enumerate(environments)
    }
    scheduler: dict[str, Any] = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard_address": ":0"},
    }
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    # Libraries count threads when they are loaded, before a nanny's own environment is set.
    pre_spawn = {name: environments[0][name] for name in THREAD_SETTINGS}
    try:
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": pre_spawn, **_DASK}),
            SpecCluster(workers=spec, scheduler=scheduler, **silence) as cluster,
        ):
            yield cluster
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def slurm_cluster(slurm: SlurmJobs) -> Any:
    """Return a dask-jobqueue cluster whose workers are jobs of Slurm, none of them started."""
    try:
        import dask
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UserError(
            "--slurm needs dask-jobqueue, which is not installed: pip install 'vox2pix[cluster]'."
        ) from None
    threads = [f"export {name}={slurm.cores}" for name in THREAD_SETTINGS]
    try:
        with dask.config.set(_DASK):
            return SLURMCluster(
                cores=1,  # threads of Dask: one item at a time; the cores are for each item
                job_cpu=slurm.cores,
                processes=1,
                memory=slurm.memory,
                walltime=slurm.walltime,
                queue=slurm.queue,
                account=slurm.account,
                job_extra_directives=list(slurm.extra),
                job_script_prologue=[*threads, *slurm.prologue],
                job_name="vox2pix",
                interface=slurm.interface,
                silence_logs="critical",
                scheduler_options={"dashboard_address": ":0"},
            )
    except ValueError as error:
        raise UserError(f"The settings compute.slurm cannot be carried out: {error}") from error
