"""Kill Dask workers and schedulers at random moments of a run: the result must be the same.

A run goes through a scheduler of its own with two workers. When a worker is killed, another is
started, and the run must come to its end by itself. When the scheduler is killed, the run must end
with one sentence, and the same command, given again with a new scheduler, must resume. Prints where
each kill fell; at the end, whether every artefact equals that of a run in one process, byte for
byte, and how many shards that were finished before a kill were written again after it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from distributed import Client

from kill import SMALL, SMALLEST, digests, run_command
from results import machine, option_parser, show

SENTENCES = ("scheduler was lost", "No Dask scheduler answers")
ONE_THREAD = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass
class Cluster:
    """A scheduler and its workers, each a process that can be killed.

    Parameters
    ----------
    folder : Path
        Where the scheduler says how it is reached.
    n_workers : int
        Workers at the start.
    """

    folder: Path
    n_workers: int = 2
    scheduler: subprocess.Popen[bytes] = field(init=False)
    workers: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)
    address: str = field(init=False)

    def __enter__(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.folder / "scheduler.json"
        self._file.unlink(missing_ok=True)
        local = ("--host", "127.0.0.1", "--no-dashboard")
        self.scheduler = self._start(
            "dask_scheduler", "--scheduler-file", str(self._file), "--port", "0", *local
        )
        self.address = self._told_address()
        for _ in range(self.n_workers):
            self.add_worker()
        with Client(self.address, timeout=60) as client:
            client.wait_for_workers(self.n_workers)
        return self

    def __exit__(self, *error: object) -> None:
        for process in (*self.workers, self.scheduler):
            kill(process)

    def _told_address(self) -> str:
        """Wait until the scheduler's file is there, and written to its end."""
        while True:
            try:
                return str(json.loads(self._file.read_text())["address"])
            except (FileNotFoundError, ValueError):
                time.sleep(0.05)

    def add_worker(self) -> None:
        """Start a worker."""
        options = ("--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--no-dashboard")
        imported = ("--preload", "vox2pix.pipeline.commands")  # so that kills fall upon work
        self.workers.append(self._start("dask_worker", self.address, *options, *imported))

    def _start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=ONE_THREAD,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL, and wait for the end."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def finished(folder: Path) -> dict[Path, int]:
    """Return the marks of shards that are finished, and when they were written."""
    return {mark: mark.stat().st_mtime_ns for mark in folder.glob("images/*/done/0*")}


def start(config: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own."""
    return subprocess.Popen(
        [*run_command(config, folder), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=ONE_THREAD,
    )


@dataclass
class Outcome:
    """What kills did to one run: lines for people, shards before each, and those written again.

    ``left`` are the victims that were still alive when the run ended.
    """

    left: list[str]
    lines: list[str] = field(default_factory=list)
    marks: list[dict[Path, int]] = field(default_factory=list)
    done_before: int = 0
    written_again: int = 0

    def count(self, at_end: dict[Path, int]) -> None:
        """Count the shards that were finished before a kill, and not the same at the end."""
        for before in self.marks:
            self.done_before += len(before)
            self.written_again += sum(at_end.get(mark) != at for mark, at in before.items())


def undisturbed(config: Path, folder: Path) -> float:
    """Return the seconds that a run with two workers takes."""
    with Cluster(folder.parent / "dask") as cluster:
        began = time.monotonic()
        if start(config, folder, "--dask", cluster.address).wait() != 0:
            sys.exit("The undisturbed run with workers failed.")
        return time.monotonic() - began


def kill_during_run(
    config: Path, folder: Path, victims: list[str], seconds: float, chance: random.Random
) -> Outcome:
    """Carry out a run, killing a ``worker`` or the ``scheduler`` now and then.

    Parameters
    ----------
    config : Path
        The experiment.
    folder : Path
        The run folder.
    victims : list of str
        ``worker`` or ``scheduler``, one after another, each killed at a random moment.
    seconds : float
        How long a run with two workers takes that is left alone.
    chance : Random
        Of the moments.

    Raises
    ------
    SystemExit
        If the run ends in another way than it should.
    """
    outcome = Outcome(list(victims))
    while True:
        with Cluster(folder.parent / "dask") as cluster:
            process = start(config, folder, "--dask", cluster.address)
            lost_scheduler = False
            while outcome.left and process.poll() is None:
                moment = chance.uniform(0.2, 1.0) * seconds
                try:
                    process.wait(moment)
                    break
                except subprocess.TimeoutExpired:
                    victim = outcome.left.pop(0)
                outcome.marks.append(finished(folder))
                if victim == "worker":
                    kill(cluster.workers.pop(chance.randrange(len(cluster.workers))))
                    cluster.add_worker()
                else:
                    kill(cluster.scheduler)
                    lost_scheduler = True
                outcome.lines.append(
                    f"{victim} killed after {moment:5.1f} s more: "
                    f"{len(outcome.marks[-1])} shards drawn"
                )
                print(outcome.lines[-1], flush=True)
                if lost_scheduler:
                    break
            _, output = process.communicate()
            # Without its scheduler a run still ends well where no stage was left to share out.
            lost_scheduler = lost_scheduler and process.returncode != 0
            if lost_scheduler:
                words = " ".join(output.decode().split())
                if process.returncode != 2 or not any(s in words for s in SENTENCES):
                    sys.exit(f"The run did not end as it should: {process.returncode}, {words}")
            elif process.returncode != 0:
                sys.exit(f"A run failed: {output.decode()}")
            if not lost_scheduler:
                outcome.count(finished(folder))
                return outcome


def main() -> None:
    """Kill, resume, compare, print."""
    parser = option_parser(__doc__)
    parser.add_argument("--kills", type=int, help="half of workers, half of schedulers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.kills = options.kills or (2 if options.small else 20)
    where, chance = machine(), random.Random(options.seed)
    lines, different, done_before, again, n_runs = [], set[str](), 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.toml"
        config.write_text(SMALLEST if options.small else SMALL)
        whole = Path(scratch) / "whole" / "small"
        if start(config, whole).wait() != 0:
            sys.exit("The undisturbed run failed.")
        expected = digests(whole)
        seconds = undisturbed(config, Path(scratch) / "run0" / "small")
        lines.append(f"undisturbed, with two workers: {seconds:.1f} s, {len(expected)} files")
        print(lines[-1], flush=True)
        kills = [("worker", "scheduler")[number % 2] for number in range(options.kills)]
        while kills:
            n_runs += 1
            victims, kills = kills[:2], kills[2:]
            folder = Path(scratch) / f"run{n_runs}" / "small"
            outcome = kill_during_run(config, folder, victims, seconds, chance)
            found = digests(folder)
            different |= {n for n in expected | found if expected.get(n) != found.get(n)}
            lines += outcome.lines
            kills = outcome.left + kills
            done_before, again = done_before + outcome.done_before, again + outcome.written_again
    n_kills = sum("killed" in line for line in lines)
    verdict = "DIFFERENT: " + ", ".join(sorted(different)[:5]) if different else "the same results"
    lines.append(f"{n_kills} kills in {n_runs} runs: {verdict}, byte for byte")
    lines.append(f"shards finished before a kill and written again: {again} of {done_before}")
    figures = {
        "kills": n_kills,
        "runs": n_runs,
        "different": sorted(different),
        "finished": done_before,
        "written_again": again,
        "machine": where,
    }
    show(figures, "\n".join(lines), options, "faults-dask", page="reliability.md")
    sys.exit(1 if different or again else 0)


if __name__ == "__main__":
    main()
