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

NOT_RESULTS = ("provenance.json", ".lock")
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
        whole, killed = Path(scratch) / "a" / "whole", Path(scratch) / "b" / "killed"
        if start(config, whole).wait() != 0:
            sys.exit("The undisturbed run failed.")
        seconds = time.monotonic() - began
        print(f"undisturbed run: {seconds:.1f} s, {len(digests(whole))} files")
        for kill in range(options.kills):
            process = start(config, killed)
            # Moments over the whole of what an undisturbed run takes.
            moment = chance.uniform(0.1, 1.0) * seconds
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            print(f"kill {kill + 1:2d} after {moment:5.1f} s: {furthest(killed)}")
        finished = start(config, killed).wait() == 0
        one, other = digests(whole), digests(killed)
    different = sorted(name for name in one | other if one.get(name) != other.get(name))
    same = finished and not different
    print(f"after {options.kills} kills: {'the same' if same else 'DIFFERENT'}", *different[:5])
    if options.json:
        figures = {"kills": options.kills, "files": len(one), "different": len(different)}
        print(json.dumps(figures | {"same": same, "machine": machine()}))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
