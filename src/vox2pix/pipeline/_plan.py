"""What an experiment would read, compute and write: the costs of its stages, added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox2pix.compute import sgemm_rate
from vox2pix.config import Config
from vox2pix.diffusion import Architecture, ModelCost
from vox2pix.pipeline import encode, reconstruct
from vox2pix.pipeline.costs import READ_BYTES_A_SECOND, Cost, Planned
from vox2pix.pipeline.preconditions import Analysis
from vox2pix.pipeline.run import ip_adapter_of
from vox2pix.pipeline.sizes import experiment_sizes
from vox2pix.pipeline.stage import Stage
from vox2pix.targets import check_ports, targets_of, usable

# Networks and eigendecompositions reach this share of the rate of plain matrix products.
SHARE_OF_SGEMM = 0.4


@dataclass(frozen=True)
class Plan:
    """What an experiment needs."""

    facts: tuple[str, ...]  # the size of the experiment, in sentences
    stages: tuple[Cost, ...]  # in the order of the work
    total: Cost  # its memory is the largest of theirs
    basis: str  # how time was estimated


def plan(config: Config, path: Path, flops_a_second: float | None = None) -> Plan:
    """Estimate a reconstruction from the sizes of data and model; nothing is computed.

    Operations are counted from the model's configuration (its networks are built without
    weights) and from the sizes of the regressions; time is operations over 0.4 of the measured
    rate of float32 matrix products, plus reading at 300 MB/s.

    Parameters
    ----------
    config : Config
        The experiment.
    path : Path
        The run folder; what it may hold already is not counted as done.
    flops_a_second : float, optional
        Rate of matrix products; measured on the configured device if absent.

    Raises
    ------
    UserError
        If there are no data to plan for, the model is unknown, or the experiment impossible.
    """
    return _plan(config, path, "run", reconstruct.STAGES, config.decode.rois, flops_a_second)


def plan_encoding(config: Config, path: Path, flops_a_second: float | None = None) -> Plan:
    """Estimate an encoding analysis as :func:`plan` estimates a reconstruction."""
    rois = {"voxels": config.encode.rois}
    return _plan(config, path, "encode", encode.STAGES, rois, flops_a_second)


def _plan(
    config: Config,
    path: Path,
    analysis: Analysis,
    stages: Sequence[Stage],
    rois: Mapping[str, tuple[str, ...]],
    flops_a_second: float | None,
) -> Plan:
    model, device = config.model, config.compute.device
    architecture = Architecture.from_pretrained(
        model.name, model.revision, local_files_only=True, ip_adapter=ip_adapter_of(config)
    )
    sizes = experiment_sizes(config, path, rois, analysis)
    targets = usable(targets_of(config), sizes.has_captions)
    for name in targets:
        check_ports((name,), targets, architecture.ports)
    measured = flops_a_second or sgemm_rate(device)
    planned = Planned(config, sizes, targets, ModelCost(architecture), SHARE_OF_SGEMM * measured)
    costs = [stage.cost(planned) for stage in stages if stage.cost is not None]
    every = tuple(cost for cost in costs if cost is not None)
    total = Cost(
        "total",
        "",
        sum(c.read_bytes for c in every),
        sum(c.write_bytes for c in every),
        max(c.memory_bytes for c in every),
        sum(c.seconds for c in every),
    )
    basis = (
        f"Time: counted operations at {SHARE_OF_SGEMM:.0%} of this machine's measured "
        f"{measured / 1e9:,.0f} GFLOP/s (float32, device {device}), and reading "
        f"at {READ_BYTES_A_SECOND / 1e6:.0f} MB/s. Right within a factor of two or three."
    )
    of_voxels = [
        f"{name} from {sizes.n_voxels[name]:,} voxels ({'+'.join(names)})"
        for name, names in rois.items()
        if name in sizes.n_voxels
    ]
    left_out = [name for name in targets_of(config) if name not in targets]
    without = [f"no captions, so no {' or '.join(left_out)}"] if left_out else []
    return Plan((*sizes.facts, "; ".join([*of_voxels, *without])), every, total, basis)
