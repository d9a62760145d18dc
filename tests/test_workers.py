import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import dask
import pytest
from distributed import Client

from vox2pix.errors import UserError
from vox2pix.workers import (
    DaskWorkers,
    SlurmJobs,
    ThisProcess,
    open_workers,
    slurm_cluster,
    worker_environments,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


def square(folder, number):
    """Write a square and return who did it."""
    (folder / str(number)).write_text(str(number**2))
    return os.getpid()


def note_then_wait(folder, number):
    with (folder / f"{number}.log").open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.3)
    return number**2


def die(folder, number):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(folder, number):
    raise UserError(f"number {number} is not liked; take another.")


def limp(folder, number):
    """Take ten times as long in the process that asked first."""
    try:
        with (folder / "slow").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        pass
    is_slow = (folder / "slow").read_text() == str(os.getpid())
    time.sleep(0.5 if is_slow else 0.05)
    return is_slow


def threads(folder, number):
    time.sleep(0.1)
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


@pytest.fixture(scope="module")
def two():
    with open_workers(2) as workers:
        yield workers


def test_two_workers_do_what_this_process_does(two, tmp_path):
    files = {}
    for name, workers in (("one", ThisProcess()), ("two", two)):
        folder = tmp_path / name
        folder.mkdir()
        done = dict(workers.each(square, folder, range(20)))
        assert sorted(done) == list(range(20))
        files[name] = {p.name: p.read_text() for p in folder.iterdir()}
        assert (os.getpid() in done.values()) == (name == "one")
    assert files["one"] == files["two"]


def test_items_are_shared_by_workers_with_a_share_of_the_cores(two, tmp_path):
    done = [result for _, result in two.each(threads, tmp_path, range(6))]
    assert len({process for process, _ in done}) == 2
    assert {n for _, n in done} == {two.provenance["environment"]["OMP_NUM_THREADS"]}


def test_a_worker_slower_by_ten_leaves_most_items_to_the_other(two, tmp_path):
    done = dict(two.each(limp, tmp_path, range(60)))
    assert sorted(done) == list(range(60))
    assert 1 <= sum(done.values()) <= 20  # its even share would be 30, that by speed 5


def test_no_worker_is_given_a_second_item_ahead(two):
    assert two._client.cluster.scheduler.WORKER_SATURATION == 1


def test_a_refusal_reaches_the_caller_as_its_sentence(two, tmp_path):
    with pytest.raises(UserError, match=r"^number 3 is not liked; take another\.$"):
        list(two.each(refuse, tmp_path, [3]))
    assert dict(two.each(square, tmp_path, [2])).keys() == {2}  # and the workers go on


def test_the_items_of_a_killed_worker_are_done_by_others(tmp_path):
    killed = False
    with open_workers(2) as workers:
        done = {}
        for item, result in workers.each(note_then_wait, tmp_path, range(10)):
            done[item] = result
            if not killed:
                killed = True
                victim = next(w for i in range(10) for w in started(tmp_path, i) if i not in done)
                os.kill(victim, signal.SIGKILL)
    assert done == {n: n**2 for n in range(10)}
    again = [n for n in range(10) if len(started(tmp_path, n)) > 1]
    # Only what was lost with the worker: what it was at, and a result that nobody had fetched.
    assert len(again) <= 2


def started(folder, number) -> list[int]:
    """List the processes that began an item."""
    log = folder / f"{number}.log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_an_item_that_ends_every_worker_ends_the_work_with_one_sentence(tmp_path):
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        open_workers(1) as workers,
        pytest.raises(UserError, match=r"The same item of die ended 2 workers.*rerun"),
    ):
        list(workers.each(die, tmp_path, [0]))


@contextmanager
def scheduler(folder: Path, n_workers: int):
    """Start a scheduler and workers as a person would; yield its address and the processes."""
    file = folder / "scheduler.json"
    options = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    workers = ["--nthreads", "4", "--no-nanny", "--host", "127.0.0.1"]
    commands = [["dask_scheduler", *options, "--port", "0"]]
    commands += [["dask_worker", "--scheduler-file", str(file), *workers]] * n_workers
    processes = []
    try:
        for name, *rest in commands:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.{name}", *rest],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            while not file.exists():
                time.sleep(0.05)
        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_death_of_a_scheduler_is_one_sentence(tmp_path):
    with scheduler(tmp_path, 1) as (address, processes), open_workers(scheduler=address) as workers:
        items = workers.each(note_then_wait, tmp_path, range(100))
        first = next(items)
        processes[0].kill()
        with pytest.raises(UserError, match=r"scheduler was lost.*rerun to resume"):
            list(items)
    assert first[1] == first[0] ** 2
    assert workers.provenance == {"kind": "dask", "scheduler": address}


def test_without_workers_the_work_is_given_up(tmp_path):
    with scheduler(tmp_path, 1) as (address, processes), Client(address) as client:
        client.wait_for_workers(1)
        items = DaskWorkers(client, {}, patience=2).each(note_then_wait, tmp_path, range(100))
        next(items)
        processes[1].kill()
        with pytest.raises(UserError, match="there was no worker left"):
            list(items)


def test_a_result_that_dies_with_the_last_worker_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("vox2pix.workers._FETCH", 0.2)
    with scheduler(tmp_path, 1) as (address, (_, worker)):
        client = Client(address)
        real = DaskWorkers._result

        def bereft(self, future, task):
            worker.kill()
            while client.scheduler_info(n_workers=1)["workers"]:
                time.sleep(0.05)
            return real(self, future, task)

        monkeypatch.setattr(DaskWorkers, "_result", bereft)
        with client, pytest.raises(UserError, match="there was no worker left"):
            list(DaskWorkers(client, {}, patience=0.5).each(square, tmp_path, [2]))


def test_a_connection_that_ends_while_it_is_asked_about_is_one_sentence(tmp_path, monkeypatch):
    with scheduler(tmp_path, 1) as (address, _), Client(address) as client:
        client.wait_for_workers(1)

        def asked_too_late(**_):
            client.status = "closed"
            return {"type": "Scheduler"}  # what a closed client knows

        monkeypatch.setattr(client, "scheduler_info", asked_too_late)
        monkeypatch.setattr("vox2pix.workers._GLANCE", 0.01)
        with pytest.raises(UserError, match="scheduler was lost"):
            list(DaskWorkers(client, {}).each(note_then_wait, tmp_path, range(5)))
        client.status = "running"


def test_a_scheduler_that_is_not_there_is_one_sentence():
    with (
        pytest.raises(UserError, match=r"No Dask scheduler answers at 'nonsense://here'"),
        open_workers(scheduler="nonsense://here"),
    ):
        pass


def test_only_one_kind_of_workers_can_be_asked_for():
    with (
        pytest.raises(UserError, match="--workers, --dask and --slurm are three places"),
        open_workers(2, "tcp://127.0.0.1:1"),
    ):
        pass


def test_a_machine_is_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in worker_environments(4, ["0", "1", "5"], 8)] == [
        "0", "1", "5", "0",
    ]  # fmt: skip
    assert "CUDA_VISIBLE_DEVICES" not in worker_environments(4, ["0"], 8)[1]
    assert worker_environments(4, [], 9)[3]["MKL_NUM_THREADS"] == "2"
    assert worker_environments(4, [], 2)[0]["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert worker_environments(2, [], 16)[0]["OMP_NUM_THREADS"] == "1"


JOBS = SlurmJobs(
    jobs=2,
    cores=8,
    memory="24GB",
    walltime="02:30:00",
    queue="gpu",
    account="vision",
    extra=("--gres=gpu:1", "--constraint=a100"),
    prologue=("module load cuda/12",),
    interface="lo",
)


def test_a_slurm_job_asks_for_what_the_settings_say():
    with slurm_cluster(JOBS) as cluster:
        script = cluster.job_script()
        address = cluster.scheduler_address
        assert cluster.scheduler.WORKER_SATURATION == 1  # as for workers of this machine
    lines = [line.strip() for line in script.splitlines() if line.strip()]
    directives = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert directives == {
        "-J vox2pix", "-p gpu", "-A vision", "-n 1", "--cpus-per-task=8", "--mem=23G",
        "-t 02:30:00", "--gres=gpu:1", "--constraint=a100",
    }  # fmt: skip
    command = lines[-1]
    assert lines.index("module load cuda/12") < lines.index(command)
    assert "export OMP_NUM_THREADS=8" in lines
    assert command.startswith(f"{sys.executable} -m distributed.cli.dask_worker {address}")
    assert "--nthreads 1" in command


def test_jobs_of_slurm_do_the_work(tmp_path, monkeypatch):
    # sbatch, as far as it matters here: it keeps a copy of a script, and runs that elsewhere
    job = tmp_path / "job"
    for name, text in {
        "sbatch": f'cp "$1" {job}; setsid bash {job} >{job}.log 2>&1 & echo Submitted batch job $!',
        "scancel": 'kill -9 -- "-$1"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    asked = SlurmJobs(jobs=1, cores=1, memory="4GB", interface="lo")
    with open_workers(slurm=asked) as workers:
        done = dict(workers.each(square, tmp_path, range(3)))
        assert workers.provenance["kind"] == "slurm"
    assert (tmp_path / "2").read_text() == "4"
    assert os.getpid() not in done.values()
