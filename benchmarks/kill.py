"""Kill a run with SIGKILL at random moments and let it finish: the result must be the same.

Prints where each kill fell; at the end, whether every artefact equals that of a run that was left
alone, byte for byte, and how much of what was finished before a kill was computed again after it:
shards, stages, files of features and of the simulated subject, recognised by their time of change.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import machine, option_parser, show

NOT_RESULTS = ("provenance.json", ".lock", "report.html")  # they tell times and the machine
EXPERIMENT = """
name = "small"
[data]
source = "phantom"
[data.phantom]
sessions = 2
trials_per_session = {trials}
n_shared = {shared}
n_early = {voxels}
n_ventral = {voxels}
[generate]
samples = 2
steps = {steps}
[evaluate]
per_group = 1
[encode]
rois = ["early", "ventral"]
strengths = [0.4]
moments = [1.0]
layers = ["mid_block"]
layer_moments = [1.0]
steps = 4
resamples = 100
[compute]
device = "cpu"
shard_size = 3
"""
SMALL = EXPERIMENT.format(trials=90, shared=12, voxels=150, steps=10)
SMALLEST = EXPERIMENT.format(trials=60, shared=8, voxels=60, steps=3)
COMMANDS = ("run", "encode")
FINISHED = ("**/done/*", "stages/*.json", "phantom-*/**/*", "../cache/features/*/[!.]*")
NO_WORK = ("config.json", "provenance.json")  # written at each start, or more than once


def digests(folder: Path) -> dict[str, str]:
    """Hash every file of a run that is a result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_RESULTS
    }


def run_command(config: Path, folder: Path, command: str = "run") -> list[str]:
    """Return the command line that carries an experiment out."""
    return [sys.executable, "-m", "vox2pix", command, str(config), "--out", str(folder)]


def start(config: Path, folder: Path, command: str = "run") -> subprocess.Popen[bytes]:
    """Start a run in a process of its own."""
    return subprocess.Popen(
        run_command(config, folder, command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def finish(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Tell whether a run came to its end in time; kill it if not."""
    try:
        if process.wait(seconds) != 0:
            sys.exit("A run failed.")
        return True
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return False


def finished(folder: Path) -> dict[Path, int]:
    """Return what is finished, and when it was written: marks of shards and stages, files."""
    found = (path for pattern in FINISHED for path in folder.glob(pattern))
    return {
        path: path.stat().st_mtime_ns
        for path in found
        if path.is_file() and path.name not in NO_WORK and not path.stem.startswith("phantom")
    }


def furthest(folder: Path) -> str:
    """Name the last stage that was done and the shards written when a run was killed."""
    marks = [path for path in folder.glob("stages/*.json") if path.name not in NO_WORK]
    stages = [p.stem for p in sorted(marks, key=lambda p: p.stat().st_mtime_ns)]
    shards = len(list(folder.glob("**/done/0*")))
    return f"{len(stages)} stages done, the last {(stages or ['none'])[-1]}, {shards} shards"


def main() -> None:
    """Kill, finish, compare, print."""
    parser = option_parser(__doc__)
    parser.add_argument("--kills", type=int, help="30 by default, 4 of a small size")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.kills = options.kills or (4 if options.small else 30)
    where, chance = machine(), random.Random(options.seed)
    lines, different = [], set[str]()
    kills = folders = needless = units = 0
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.toml"
        config.write_text(SMALLEST if options.small else SMALL)
        for command in COMMANDS:
            began = time.monotonic()
            whole = Path(scratch) / command / "small"
            if start(config, whole, command).wait() != 0:
                sys.exit("The undisturbed run failed.")
            seconds = time.monotonic() - began
            expected = digests(whole)
            line = f"vox2pix {command}, undisturbed: {seconds:.1f} s, {len(expected)} files"
            lines.append(line)
            print(line, flush=True)
            # Two in three kills fall on the longer command.
            last = options.kills if command == COMMANDS[-1] else round(options.kills * 2 / 3)
            while kills < last:
                # A run that got to its end is compared; the next kill falls on a fresh folder.
                folders += 1
                killed = Path(scratch) / f"{command}{folders}" / "small"
                before: dict[Path, int] = {}
                while True:
                    moment = chance.uniform(0.1, 0.9) * seconds
                    ended = finish(
                        start(config, killed, command), None if kills == last else moment
                    )
                    after = finished(killed)
                    again = [path for path in before if after.get(path) != before[path]]
                    needless, units = needless + len(again), units + len(before)
                    if again:
                        print("computed again:", *(p.relative_to(killed) for p in again[:5]))
                    if ended:
                        break
                    before, kills = after, kills + 1
                    line = f"kill {kills:2d} after {moment:5.1f} s: {furthest(killed)}"
                    lines.append(line)
                    print(line, flush=True)
                found = digests(killed)
                different |= {n for n in expected | found if expected.get(n) != found.get(n)}
    figures = {
        "kills": kills,
        "runs": folders,
        "different": sorted(different),
        "finished": units,
        "computed_again": needless,
        "machine": where,
    }
    lines += conclusion(figures)
    show(figures, "\n".join(lines), options, "kill", page="reliability.md")
    sys.exit(0 if not different and not needless else 1)


def conclusion(figures: dict[str, Any]) -> list[str]:
    """Say whether killed runs ended alike, and how much was computed again."""
    different = figures["different"]
    result = "DIFFERENT: " + ", ".join(different[:5]) if different else "the same results"
    return [
        f"{figures['kills']} kills in {figures['runs']} runs: {result}, byte for byte",
        "finished before a kill and computed again: "
        f"{figures['computed_again']} of {figures['finished']}",
    ]


if __name__ == "__main__":
    main()
