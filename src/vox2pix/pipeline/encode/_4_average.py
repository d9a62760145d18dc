"""Stage 4 of an encoding analysis: mean response of every voxel to every stimulus."""

from collections.abc import Sequence

import numpy as np

from vox2pix.data import mean_betas_of
from vox2pix.pipeline.costs import READ_BYTES_A_SECOND, Cost, Planned
from vox2pix.pipeline.encoding import stored_responses
from vox2pix.pipeline.experiment import n_rows
from vox2pix.pipeline.reporter import report_damage
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage


def _average(run: Run) -> Sequence[str]:
    """Average responses over repeats, a block of voxels at a time, one row per voxel."""
    train, test = stored_responses(run).values()
    pending = sorted({*train.pending(), *test.pending()})
    for array in (train, test):
        report_damage(run.reporter, array)
    run.reporter.begin("Averaging responses", train.shape[0], "voxels")
    run.reporter.advance(train.shape[0] - sum(n_rows(train, shard) for shard in pending))
    for shard, _ in run.workers.each(_average_shard, run, pending):
        run.reporter.advance(n_rows(train, shard))
    return ()


def _average_shard(run: Run, shard: int) -> None:
    """Average the responses of some voxels, unless that is done."""
    train, test = stored_responses(run).values()
    if not train.pending([shard]) and not test.pending([shard]):
        return
    voxels = np.zeros(train.shape[0], bool)
    voxels[train.rows(shard)] = True
    train_means, test_means = mean_betas_of([run.subject.train, run.subject.test], voxels)
    if train.pending([shard]):
        train.write(shard, train_means.T)
    if test.pending([shard]):
        test.write(shard, test_means[: test.shape[1]].T)


def _is_sound(run: Run) -> bool:
    return not any(array.pending() for array in stored_responses(run).values())


def _cost(p: Planned) -> Cost:
    n_voxels, block, n = p.sizes.n_voxels["voxels"], p.config.compute.voxel_block, p.n_stimuli
    read = p.sizes.beta_bytes * -(-n_voxels // block)
    return Cost(
        "responses",
        f"mean responses of {n_voxels:,} voxels",
        read,
        4.0 * n_voxels * n,
        4.0 * min(block, n_voxels) * n * 2 + 2.5e9,
        read / READ_BYTES_A_SECOND,
    )


AVERAGE = Stage(
    "responses",
    "Mean responses",
    _average,
    after=("encoding-data",),
    is_sound=_is_sound,
    cost=_cost,
)
