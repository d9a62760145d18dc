"""A run on the workers of a cluster.

A whole experiment, from data to report, whose items are shared out to the workers of a Dask
scheduler. Here the scheduler and two workers are started on this machine. On a cluster, start
them as Dask's documentation says and give the scheduler's address; nothing else changes, and the
results are the same (`vox2pix run experiment.toml --dask ADDRESS` does the same on the command
line). Dask comes with `pip install 'vox2pix[cluster]'`.

Printed: the number of workers, the stages that ran, and the scores of the images that were drawn
from z and c.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

import pandas as pd

import vox2pix
from vox2pix.workers import open_workers

EXPERIMENT = """
name = "cluster"

[data]
source = "phantom"

[data.phantom]
sessions = 2
trials_per_session = 240
n_shared = 12
n_early = 200
n_ventral = 200

[generate]
samples = 2
steps = 5
shuffled = false
conditions = ["z+c"]
ceilings = []

[audit]
enabled = false

[compute]
device = "cpu"
shard_size = 3       # stimuli that a worker draws at a time
"""


def main(folder):
    """Carry out the experiment in a folder."""
    (folder / "experiment.toml").write_text(EXPERIMENT)
    config = vox2pix.load_config(folder / "experiment.toml")
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
            local_directory=str(folder),
        ) as cluster,
        open_workers(scheduler=cluster.scheduler_address) as workers,
    ):
        print(f"{len(cluster.workers)} workers")
        run = vox2pix.run(config, folder / "run", workers=workers)

    stages = json.loads((run.path / "provenance.json").read_text())
    print(f"stages: {', '.join(stages)}")
    metrics = pd.read_json(run.path / "metrics.json")
    drawn = metrics[(metrics["condition"] == "z+c") & (metrics["samples"] == "mean of 2")]
    columns = ["metric", "direction", "value", "chance"]
    print(drawn[columns].fillna("").to_string(index=False))


if __name__ == "__main__":  # workers import this file and must not start the work again
    try:
        from distributed import LocalCluster
    except ImportError:
        print("Skipped: Dask is not installed (pip install 'vox2pix[cluster]').")
        sys.exit()
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
