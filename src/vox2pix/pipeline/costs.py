"""What a stage needs before it starts: bytes, memory and time, from counted operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from vox2pix.config import Config
from vox2pix.diffusion import Architecture, ModelCost
from vox2pix.linear import CHOOSING_TARGETS, TARGET_BLOCK
from vox2pix.pipeline.experiment import content_target, start_target
from vox2pix.pipeline.sizes import Sizes
from vox2pix.targets import HELD_BYTES, Target

READ_BYTES_A_SECOND = 300e6
TARGETS_AT_ONCE = 4 * TARGET_BLOCK  # a multiple, so that the solver's own blocks stay the same


@dataclass(frozen=True)
class Cost:
    """What one stage needs: bytes read and written, peak bytes of memory, seconds."""

    name: str
    what: str
    read_bytes: float
    write_bytes: float
    memory_bytes: float
    seconds: float


@dataclass(frozen=True)
class Planned:
    """What is known of an experiment before it starts."""

    config: Config
    sizes: Sizes
    targets: Mapping[str, Target]  # those that can be computed
    model: ModelCost  # with its architecture
    rate: float  # operations per second that this machine is expected to reach

    @property
    def architecture(self) -> Architecture:
        """The diffusion model without its weights."""
        return self.model.architecture

    @property
    def n_stimuli(self) -> int:
        """Training and test stimuli."""
        return self.sizes.n_train + self.sizes.n_test

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one stimulus's values, by target."""
        return {name: target.shape(self.architecture) for name, target in self.targets.items()}

    @property
    def ports(self) -> dict[str, str]:
        """Where the generator takes each target."""
        return {name: target.port for name, target in self.targets.items()}

    @property
    def content(self) -> str:
        """The target that stimuli are compared by."""
        return content_target(self.targets)

    @property
    def start(self) -> str | None:
        """The target that denoising starts from."""
        return start_target(self.targets)

    @property
    def start_shape(self) -> tuple[int, int, int]:
        """Shape of the latents that are denoised."""
        if self.start is None:
            return self.architecture.latent_shape
        return self.targets[self.start].start_shape(self.architecture)

    @property
    def can_denoise(self) -> bool:
        """Whether there is a target to start from, and one to denoise with."""
        return self.start is not None and len(self.targets) > 1

    def seconds(self, flops: float, read_bytes: float = 0.0) -> float:
        """Return how long operations and reading take."""
        return flops / self.rate + read_bytes / READ_BYTES_A_SECOND


def targets_cost(p: Planned) -> Cost:
    """Return the cost of computing every target of every stimulus."""
    n = p.n_stimuli
    written = n * 4.0 * sum(prod(shape) for shape in p.shapes.values())
    flops = n * sum(target.flops(p.model) for target in p.targets.values())
    images = n * float(p.sizes.image_side) ** 2 * 3
    return Cost(
        "features",
        f"{' and '.join(p.targets)} of {n:,} images",
        images,
        written,
        p.model.n_parameters * 4.0 + max(t.memory() for t in p.targets.values()) + written + 1e9,
        p.seconds(flops, images),
    )


def decoder_flops(config: Config, n: int, p: int, m: int, t: int) -> float:
    """Count the operations of one decoder: n trials of m stimuli, p voxels, t values."""
    q = min(n, p)  # side of the matrix that is decomposed, primal or dual
    gram = 2.0 * n * p * q
    eigen = 9.0 * q**3 * 2  # float64 at half the rate
    # Where stimuli repeat, each penalty tried (about four) costs a product of its own.
    solving = 2.0 * q * (m + p + 4 * q)
    powers = len(config.decode.reliability_powers)
    choosing = powers * solving * min(t, CHOOSING_TARGETS) if powers > 1 else 0.0
    return gram + powers * eigen + choosing + solving * t


def decoder_memory(config: Config, n: int, p: int, m: int, t: int) -> float:
    """Return the most bytes of one decoder: as it decomposes, as it solves, or as it is saved."""
    q = min(n, p)
    trials = 0.0  # a session at a time
    if config.decode.selection == "cv":
        trials = 8.0 * n * p  # all, and those of a fold
    elif p >= n:
        trials = 4.0 * n * p
    sums = 4.0 * m * p
    decomposing = sums + 24.0 * q * q
    if len(config.decode.reliability_powers) > 1:  # the best so far, and X'X beside its copy
        decomposing += 4.0 * q * (m + p) + 8.0 * q * q
    block = 24.0 * TARGET_BLOCK * (m + q) + min(4.0 * m * t, HELD_BYTES)
    solving = sums + 4.0 * q * (m + p) + block + 4.0 * p * min(t, TARGETS_AT_ONCE)
    return trials + max(decomposing, solving, 8.0 * p * t)
