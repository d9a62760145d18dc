"""Kill a run with SIGKILL at random moments and let it finish: the result must be the same.

Prints where each kill fell and, at the end, whether every artefact equals that of a run that was
left alone, byte for byte.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vox2pix.store import machine

NOT_RESULTS = ("provenance.json", ".lock", "report.html")  # they tell times and the machine
EXPERIMENT = """
name = "small"
[data]
source = "phantom"
[data.phantom]
sessions = 2
trials_per_session = 90
n_shared = 12
n_early = 150
n_ventral = 150
[generate]
samples = 2
steps = 10
[compute]
device = "cpu"
shard_size = 3
"""


def digests(folder: Path) -> dict[str, str]:
    """Hash every file of a run that is a result."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_RESULTS
    }


def start(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own."""
    command = [sys.executable, "-m", "vox2pix.cli", "run", str(config), "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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


def furthest(folder: Path) -> str:
    """Name the stages that were done and the shards drawn when a run was killed."""
    stages = sorted(p.stem for p in (folder / "stages").glob("*.json"))
    shards = len(list(folder.glob("pictures/*/done/*")))
    return f"{', '.join(stages) or 'nothing'} done, {shards} shards drawn"


def main() -> None:
    """Kill, finish, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the figures as one object")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "small.toml"
        config.write_text(EXPERIMENT)
        began = time.monotonic()
        whole = Path(scratch) / "a" / "whole"
        if start(config, whole).wait() != 0:
            sys.exit("The undisturbed run failed.")
        seconds = time.monotonic() - began
        print(f"undisturbed run: {seconds:.1f} s, {len(digests(whole))} files")
        expected = digests(whole)
        kills, folders, different = 0, 0, set[str]()
        while kills < options.kills:
            # A run that got to its end is compared; the next kill falls on a fresh folder.
            folders += 1
            killed = Path(scratch) / f"b{folders}" / "killed"
            while True:
                moment = chance.uniform(0.1, 0.9) * seconds
                last = kills == options.kills
                if finish(start(config, killed), None if last else moment):
                    break
                kills += 1
                print(f"kill {kills:2d} after {moment:5.1f} s: {furthest(killed)}", flush=True)
            found = digests(killed)
            different |= {n for n in expected | found if expected.get(n) != found.get(n)}
    same = not different
    told = "the same" if same else "DIFFERENT: " + ", ".join(sorted(different)[:5])
    print(f"{kills} kills in {folders} runs: {told}")
    if options.json:
        figures = {"kills": kills, "files": len(expected), "different": len(different)}
        print(json.dumps(figures | {"same": same, "machine": machine()}))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
