"""What a run would read, compute and write, told before it starts."""

from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from vox2pix.compute import sgemm_rate
from vox2pix.config import Config
from vox2pix.diffusion import Architecture, ModelCost
from vox2pix.linear import TARGET_BLOCK
from vox2pix.pipeline.drawings import DOUBTED, planned_drawings
from vox2pix.pipeline.page import LARGEST, N_NEAREST, THUMBNAIL
from vox2pix.pipeline.sizes import Sizes, experiment_sizes
from vox2pix.pipeline.spaces import TARGETS_AT_ONCE
from vox2pix.targets import targets_of, usable
from vox2pix.targets._stored import HELD_BYTES

# Networks and eigendecompositions reach this share of the rate of plain matrix products.
SHARE_OF_SGEMM = 0.4
READ_BYTES_A_SECOND = 300e6


@dataclass(frozen=True)
class StagePlan:
    """What one stage needs: bytes read and written, peak bytes of memory, seconds."""

    name: str
    what: str
    read_bytes: float
    write_bytes: float
    memory_bytes: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes
    ----------
    facts : tuple of str
        The experiment's size, in sentences.
    stages : tuple of StagePlan
        In the order in which they run.
    total : StagePlan
        All of them; memory is the largest of theirs.
    basis : str
        How time was estimated.
    """

    facts: tuple[str, ...]
    stages: tuple[StagePlan, ...]
    total: StagePlan
    basis: str


def plan(config: Config, path: Path, flops_a_second: float | None = None) -> Plan:
    """Estimate a run from the sizes of data and model; nothing is computed or written.

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
        If there are no data to plan for, or the model is unknown.
    """
    architecture = Architecture.from_pretrained(
        config.model.name, config.model.revision, local_files_only=True
    )
    cost = ModelCost(architecture)
    sizes = experiment_sizes(config, path, config.decode.rois, "run")
    measured = flops_a_second or sgemm_rate(config.compute.device)
    rate = SHARE_OF_SGEMM * measured
    audited = config.audit.enabled
    stages = (
        plan_data(config, sizes, rate),
        plan_features(config, cost, sizes, rate),
        _plan_decoding(config, cost, sizes, rate),
        _plan_drawing(config, cost, sizes, rate, doubted=False),
        *([_plan_doubts(config, cost, sizes, rate)] if audited else []),
        *([_plan_drawing(config, cost, sizes, rate, doubted=True)] if audited else []),
        _plan_scoring(config, cost, sizes),
        *([_plan_audit(config, cost, sizes, rate)] if audited else []),
        _plan_gallery(config, cost, sizes, rate),
    )
    facts = (*sizes.facts, _voxel_sentence(config, sizes.n_voxels))
    return add_up(facts, stages, measured, config.compute.device)


def add_up(
    facts: tuple[str, ...], stages: tuple[StagePlan, ...], flops_a_second: float, device: str
) -> Plan:
    """Return the plan of stages that follow each other.

    Parameters
    ----------
    facts : tuple of str
        The experiment's size, in sentences.
    stages : tuple of StagePlan
        In the order in which they run.
    flops_a_second : float
        Measured rate of matrix products.
    device : str
        Where it was measured.
    """
    total = StagePlan(
        "total",
        "",
        sum(s.read_bytes for s in stages),
        sum(s.write_bytes for s in stages),
        max(s.memory_bytes for s in stages),
        sum(s.seconds for s in stages),
    )
    basis = (
        f"Time: counted operations at {SHARE_OF_SGEMM:.0%} of this machine's measured "
        f"{flops_a_second / 1e9:,.0f} GFLOP/s (float32, device {device}), and reading "
        f"at {READ_BYTES_A_SECOND / 1e6:.0f} MB/s. Right within a factor of two or three."
    )
    return Plan(facts, stages, total, basis)


def _voxel_sentence(config: Config, n_voxels: dict[str, int]) -> str:
    rois = config.decode.rois
    told = [f"{k} from {n:,} voxels ({'+'.join(rois[k])})" for k, n in n_voxels.items()]
    return "; ".join(told) if "c" in n_voxels else f"{told[0]}; no captions, so no c"


# --- what each stage needs -----------------------------------------------------------------------


def plan_data(config: Config, sizes: Sizes, rate: float) -> StagePlan:
    """Price the simulation of a subject, or the check of one."""
    if config.data.source != "phantom":
        return StagePlan("data", "check the tree", 10e6, 0, 0.3e9, 10)
    seconds = 5 + 0.02 * (sizes.n_train + sizes.n_test) + 0.004 * sizes.n_train_trials
    return StagePlan("data", "simulate a subject", 0, sizes.beta_bytes, 1.2e9, seconds)


def plan_features(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    """Price z and c of every stimulus."""
    n = sizes.n_train + sizes.n_test
    rows = (
        n
        * 4.0
        * (
            prod(shape_of("z", config, cost))
            + sizes.has_captions * prod(shape_of("c", config, cost))
        )
    )
    flops = n * sum(
        target.flops(cost) for target in usable(targets_of(config), sizes.has_captions).values()
    )
    images = n * 425.0**2 * 3 if config.data.source == "nsd" else n * 128.0**2 * 3
    return StagePlan(
        "features",
        f"z and c of {n:,} images",
        images,
        rows,
        cost.n_parameters * 4.0 + rows + 1e9,
        flops / rate + images / READ_BYTES_A_SECOND,
    )


def shape_of(name: str, config: Config, cost: ModelCost) -> tuple[int, ...]:
    """Return the shape of a target's values of one stimulus."""
    return targets_of(config, [name])[name].shape(cost.architecture)


def _targets(config: Config, cost: ModelCost, sizes: Sizes) -> dict[str, int]:
    """Return how many numbers of each feature space are decoded."""
    return {"z": prod(shape_of("z", config, cost))} | (
        {"c": prod(shape_of("c", config, cost))} if sizes.has_captions else {}
    )


def _fit_flops(n: int, p: int, m: int, t: int) -> float:
    """Return the operations of one decoder: n trials of m stimuli, p voxels, t targets."""
    q = min(n, p)  # side of the matrix that is decomposed, primal or dual
    gram = 2.0 * n * p * q
    eigen = 9.0 * q**3 * 2  # float64 at half the rate
    # Where stimuli repeat, each penalty looked at (about four) costs a product of its own.
    return gram + eigen + 2.0 * q * t * (m + p + 4 * q)


def _fit_memory(config: Config, n: int, p: int, m: int, t: int) -> float:
    """Return the most bytes of one decoder: as it decomposes, as it solves, or as it is saved."""
    q = min(n, p)
    trials = 0.0  # a session at a time
    if config.decode.selection == "cv":
        trials = 8.0 * n * p  # all, and those of a fold
    elif p >= n:
        trials = 4.0 * n * p
    sums = 4.0 * m * p
    decomposing = sums + 24.0 * q * q
    block = 24.0 * TARGET_BLOCK * (m + q) + min(4.0 * m * t, HELD_BYTES)
    solving = sums + 4.0 * q * (m + p) + block + 4.0 * p * min(t, TARGETS_AT_ONCE)
    return trials + max(decomposing, solving, 8.0 * p * t)


def _plan_decoding(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    flops = memory = written = 0.0
    targets = _targets(config, cost, sizes)
    for name, t in targets.items():
        n, p, m = sizes.n_train_trials, sizes.n_voxels[name], sizes.n_train
        flops += _fit_flops(n, p, m, t)
        memory = max(memory, _fit_memory(config, n, p, m, t))
        written += 4.0 * p * t + 4.0 * sizes.n_test * t
    reading = 2 * len(targets) * sizes.beta_bytes  # trials of training, then of test images
    return StagePlan(
        "decode",
        " and ".join(f"{t:,} numbers of {name}" for name, t in targets.items()),
        reading,
        written,
        memory + 1.05e9,
        flops / rate + reading / READ_BYTES_A_SECOND,
    )


def _plan_doubts(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    """Price a decoder without each cluster, and predictions from null brains."""
    targets, k = _targets(config, cost, sizes), config.audit.clusters
    n, m = (round(size * (k - 1) / k) for size in (sizes.n_train_trials, sizes.n_train))
    fits = [(n, sizes.n_voxels[name], m, t) for name, t in targets.items()]
    # The responses of all clusters stay in memory beside those of the kept ones.
    kept = max(4.0 * sizes.n_train_trials * sizes.n_voxels[name] for name in targets)
    reading = 2 * len(targets) * sizes.beta_bytes
    return StagePlan(
        "audit-decoding",
        f"{k * len(targets)} held-out decoders",
        reading,
        4.0 * (1 + 2 * sizes.n_test) * sum(targets.values()),
        max(_fit_memory(config, *fit) for fit in fits) + kept + 1.05e9,
        k * sum(_fit_flops(*fit) for fit in fits) / rate + reading / READ_BYTES_A_SECOND,
    )


def _plan_drawing(
    config: Config, cost: ModelCost, sizes: Sizes, rate: float, doubted: bool
) -> StagePlan:
    """Price the images of a run, or those that only its audit asks for."""
    wanted = config.generate
    n_steps = max(1, int(wanted.steps * wanted.strength))
    flops, n_images = 0.0, 0
    for drawing in planned_drawings(config, sizes.has_captions):
        if (drawing.source in DOUBTED) != doubted:
            continue
        n = sizes.n_test * drawing.samples
        n_images += n
        flops += n * cost.decode_flops
        if drawing.condition == "z-decode":
            continue
        passes = 1 if drawing.condition == "z" or wanted.guidance == 1 else 2
        steps = wanted.steps if drawing.condition == "c" else n_steps
        flops += n * steps * passes * cost.denoise_flops
        flops += sizes.n_test * cost.encode_flops
    shard = config.compute.shard_size * wanted.samples * cost.image_size**2 * 3 * 8.0
    return StagePlan(
        "audit-drawing" if doubted else "generate",
        f"{n_images:,} images of {cost.image_size} px",
        0,
        n_images * cost.image_size**2 * 3.0,
        cost.n_parameters * 4.0 + shard + 2e9,
        flops / rate,
    )


def _plan_scoring(config: Config, cost: ModelCost, sizes: Sizes) -> StagePlan:
    drawings = planned_drawings(config, sizes.has_captions)
    drawings = [d for d in drawings if d.source not in ("held-out", "swapped")]
    n = sizes.n_test * (sum(d.samples for d in drawings) + config.audit.enabled)
    pixels = n * cost.image_size**2 * 3.0
    # Each is also scored as an image of other stimuli, for chance: 200 pairs or more.
    n_times = 1 + ceil(200 / sizes.n_test)
    seconds = 5 + pixels * n_times * 5e-8  # PixCorr and SSIM: some 20 million values a second
    # A few shards and blocks of originals are held, in 8 bit and in float32.
    held = 4 * config.compute.shard_size * config.generate.samples + 4 * 4 * 32
    memory = held * cost.image_size**2 * 3.0 + 1.5e9
    return StagePlan("evaluate", f"score {n:,} images", pixels, 1e6, memory, seconds)


def _plan_audit(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    n, m = sizes.n_test, sizes.n_train
    n_images = n * (config.generate.samples + 2)
    pixels = n_images * cost.image_size**2 * 3.0
    width = list(_targets(config, cost, sizes).values())[-1]
    thumbnails = (m + n_images) * 64.0**2 * 3 * 4
    return StagePlan(
        "audit",
        f"checks on {n_images:,} images",
        pixels + thumbnails,
        2e6,
        4.0 * (m + 4 * n) * width + 2 * thumbnails + 1.5e9,
        10 + 2.0 * n * m * width / rate + pixels * 2e-8 + m * 5e-3,
    )


def _plan_gallery(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    n, m = sizes.n_test, sizes.n_train
    width = list(_targets(config, cost, sizes).values())[-1]
    size = min(cost.image_size, LARGEST)
    kept = n * 3.0 * (size**2 + N_NEAREST * min(size, THUMBNAIL) ** 2)
    return StagePlan(
        "gallery",
        f"{n:,} and their nearest",
        4.0 * m * width,
        kept,
        8.0 * (m + n) * width + 5 * kept + 1e9,
        5 + 2.0 * n * m * width / rate + 4.0 * m * width / READ_BYTES_A_SECOND,
    )
