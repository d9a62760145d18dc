"""What a run would read, compute and write, told before it starts."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from vox2pix.compute import sgemm_rate
from vox2pix.config import Config
from vox2pix.data import open_folder, open_nsd
from vox2pix.diffusion.cost import ModelCost, model_cost
from vox2pix.errors import UserError
from vox2pix.pipeline.drawings import planned_drawings

# Networks and eigendecompositions reach this share of the rate of plain matrix products.
_SHARE_OF_SGEMM = 0.4
_READ_BYTES_A_SECOND = 300e6

# NSD as published (Allen et al. 2022), for planning before its files can be read: trials a
# session, pictures a subject and how often each, pictures shared by all; the functional volume
# and the voxels of the `streams` atlas in subject 1 (others differ by some ten per cent).
_NSD_TRIALS, _NSD_PICTURES, _NSD_REPEATS, _NSD_SHARED, _NSD_SESSIONS = 750, 10_000, 3, 1_000, 40
_NSD_VOLUME = 81 * 104 * 83
_NSD_VOXELS = {"early": 6_000, "ventral": 7_600}
_NSD_OTHER_VOXELS = 4_000


@dataclass(frozen=True)
class Sizes:
    """How large an experiment is.

    Attributes
    ----------
    n_train_trials, n_train, n_test : int
        Training trials, training stimuli, test stimuli.
    n_voxels : dict of str to int
        Voxels that predict z and c.
    beta_bytes : float
        What reading the responses moves.
    has_captions : bool
        Whether c can be decoded.
    facts : tuple of str
        Where the figures come from.
    """

    n_train_trials: int
    n_train: int
    n_test: int
    n_voxels: dict[str, int]
    beta_bytes: float
    has_captions: bool
    facts: tuple[str, ...]


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
    cost = model_cost(config.model.name, config.model.revision, config.model.z_picture_size)
    sizes = _sizes(config, path)
    measured = flops_a_second or sgemm_rate(config.compute.device)
    rate = _SHARE_OF_SGEMM * measured
    stages = (
        _plan_data(config, sizes, rate),
        _plan_features(config, cost, sizes, rate),
        _plan_decoding(config, cost, sizes, rate),
        _plan_drawing(config, cost, sizes, rate),
        _plan_scoring(config, cost, sizes),
    )
    total = StagePlan(
        "total",
        "",
        sum(s.read_bytes for s in stages),
        sum(s.write_bytes for s in stages),
        max(s.memory_bytes for s in stages),
        sum(s.seconds for s in stages),
    )
    basis = (
        f"Time: counted operations at {_SHARE_OF_SGEMM:.0%} of this machine's measured "
        f"{measured / 1e9:,.0f} GFLOP/s (float32, device {config.compute.device}), and reading "
        f"at {_READ_BYTES_A_SECOND / 1e6:.0f} MB/s. Right within a factor of two or three."
    )
    return Plan(sizes.facts, stages, total, basis)


# --- how large ---------------------------------------------------------------------------------


def _sizes(config: Config, path: Path) -> Sizes:
    data = config.data
    if data.source == "phantom":
        return _phantom_sizes(config)
    root = data.root(path)
    if data.source == "folder":
        subject = open_folder(root)
    else:
        rois = tuple(dict.fromkeys(config.decode.z + config.decode.c))
        try:
            subject = open_nsd(root, data.subject, data.sessions, rois, data.space, data.betas)
        except UserError as fault:
            return _published_sizes(config, root, fault)
    n_test = len(subject.test.stimulus_ids[: data.max_test_stimuli])
    n_trials = len(subject.trials)
    n_voxels = {"z": int(subject.voxel_mask(config.decode.z).sum())}
    if subject.has_captions:
        n_voxels["c"] = int(subject.voxel_mask(config.decode.c).sum())
    return Sizes(
        n_train_trials=subject.train.n_trials,
        n_train=len(subject.train.stimulus_ids),
        n_test=n_test,
        n_voxels=n_voxels,
        beta_bytes=2.0 * n_trials * (_NSD_VOLUME if data.source == "nsd" else len(subject.voxels)),
        has_captions=subject.has_captions,
        facts=(
            f"{subject.name}, {len(subject.sessions)} sessions, read from {root}",
            _size_sentence(subject.train.n_trials, len(subject.train.stimulus_ids), n_test),
            _voxel_sentence(config, n_voxels),
        ),
    )


def _phantom_sizes(config: Config) -> Sizes:
    phantom = config.data.phantom
    n_trials = phantom.sessions * phantom.trials_per_session
    n_stimuli = n_trials // _NSD_REPEATS
    n_test = min(phantom.n_shared, config.data.max_test_stimuli or phantom.n_shared)
    n_train_trials = n_trials - _NSD_REPEATS * phantom.n_shared
    n_voxels = {
        key: sum({"early": phantom.n_early, "ventral": phantom.n_ventral}.get(r, 400) for r in rois)
        for key, rois in (("z", config.decode.z), ("c", config.decode.c))
    }
    return Sizes(
        n_train_trials,
        n_stimuli - phantom.n_shared,
        n_test,
        n_voxels,
        2.0 * n_trials * 40_000,
        True,
        (
            f"a simulated subject, {phantom.sessions} sessions",
            _size_sentence(n_train_trials, n_stimuli - phantom.n_shared, n_test),
            _voxel_sentence(config, n_voxels),
        ),
    )


def _published_sizes(config: Config, root: Path, fault: UserError) -> Sizes:
    """Size NSD from the session files that exist, whatever is in them."""
    data = config.data
    folder = root / f"nsddata_betas/ppdata/subj{data.subject:02d}/{data.space}/{data.betas}"
    sessions = {re.search(r"session(\d+)", path.name) for path in folder.glob("*betas_session*")}
    found = len({match[1] for match in sessions if match})
    if not found:
        raise fault
    wanted = data.sessions
    n_sessions = min(found, wanted) if isinstance(wanted, int) else len(wanted or range(found))
    # A picture is missed when all its showings fall into the sessions that are not there.
    seen = 1 - max(0.0, 1 - n_sessions / _NSD_SESSIONS) ** _NSD_REPEATS
    n_test_all = round(_NSD_SHARED * seen)
    n_test = min(n_test_all, data.max_test_stimuli or n_test_all)
    n_train = round((_NSD_PICTURES - _NSD_SHARED) * seen)
    n_trials = n_sessions * _NSD_TRIALS
    n_train_trials = round(n_trials * (1 - _NSD_SHARED / _NSD_PICTURES))
    n_voxels = {
        key: sum(_NSD_VOXELS.get(roi, _NSD_OTHER_VOXELS) for roi in rois)
        for key, rois in (("z", config.decode.z), ("c", config.decode.c))
    }
    return Sizes(
        n_train_trials,
        n_train,
        n_test,
        n_voxels,
        2.0 * n_trials * _NSD_VOLUME,
        True,
        (
            f"NSD's published sizes for {n_sessions} session files; they cannot be read: {fault}",
            "about " + _size_sentence(n_train_trials, n_train, n_test),
            "about " + _voxel_sentence(config, n_voxels),
        ),
    )


def _size_sentence(n_train_trials: int, n_train: int, n_test: int) -> str:
    return f"{n_train_trials:,} training trials of {n_train:,} pictures; {n_test:,} test pictures"


def _voxel_sentence(config: Config, n_voxels: dict[str, int]) -> str:
    rois = {"z": config.decode.z, "c": config.decode.c}
    told = [f"{k} from {n:,} voxels ({'+'.join(rois[k])})" for k, n in n_voxels.items()]
    return "; ".join(told) if "c" in n_voxels else f"{told[0]}; no captions, so no c"


# --- what each stage needs -----------------------------------------------------------------------


def _plan_data(config: Config, sizes: Sizes, rate: float) -> StagePlan:
    if config.data.source != "phantom":
        return StagePlan("data", "check the tree", 10e6, 0, 0.3e9, 10)
    seconds = 5 + 0.02 * (sizes.n_train + sizes.n_test) + 0.004 * sizes.n_train_trials
    return StagePlan("data", "simulate a subject", 0, sizes.beta_bytes, 1.2e9, seconds)


def _plan_features(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    n = sizes.n_train + sizes.n_test
    rows = n * 4.0 * (prod(cost.z_shape) + sizes.has_captions * prod(cost.c_shape))
    flops = n * (cost.z_flops + 5 * cost.embed_flops * sizes.has_captions)
    pictures = n * 425.0**2 * 3 if config.data.source == "nsd" else n * 128.0**2 * 3
    return StagePlan(
        "features",
        f"z and c of {n:,} pictures",
        pictures,
        rows,
        cost.n_parameters * 4.0 + rows + 1e9,
        flops / rate + pictures / _READ_BYTES_A_SECOND,
    )


def _plan_decoding(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    seconds = memory = written = 0.0
    targets = {"z": prod(cost.z_shape)} | ({"c": prod(cost.c_shape)} if sizes.has_captions else {})
    for name, t in targets.items():
        n, p, m = sizes.n_train_trials, sizes.n_voxels[name], sizes.n_train
        q = min(n, p)  # side of the matrix that is decomposed, primal or dual
        gram = 2.0 * n * p * q
        eigen = 9.0 * q**3 * 2  # float64 at half the rate
        # Where stimuli repeat, each penalty looked at (about four) costs a product of its own.
        solve = 2.0 * q * t * (m + p + 4 * q)
        seconds += (gram + eigen + solve) / rate
        memory = max(memory, 4.0 * (n * p + m * p + m * t + 2 * p * t) + 56.0 * q * q)
        written += 4.0 * p * t + 4.0 * sizes.n_test * t
    reading = len(targets) * sizes.beta_bytes
    return StagePlan(
        "decode",
        " and ".join(f"{t:,} numbers of {name}" for name, t in targets.items()),
        reading,
        written,
        memory + 1.05e9,
        seconds + reading / _READ_BYTES_A_SECOND,
    )


def _plan_drawing(config: Config, cost: ModelCost, sizes: Sizes, rate: float) -> StagePlan:
    wanted = config.generate
    n_steps = max(1, int(wanted.steps * wanted.strength))
    flops, n_pictures = 0.0, 0
    for drawing in planned_drawings(config, sizes.has_captions):
        n = sizes.n_test * drawing.samples
        n_pictures += n
        flops += n * cost.decode_flops
        if drawing.condition == "z-decode":
            continue
        passes = 1 if drawing.condition == "z" or wanted.guidance == 1 else 2
        steps = wanted.steps if drawing.condition == "c" else n_steps
        flops += n * steps * passes * cost.denoise_flops
        flops += sizes.n_test * cost.encode_flops
    pixels = n_pictures * cost.picture_size**2 * 3.0
    shard = config.compute.shard_size * wanted.samples * cost.picture_size**2 * 3 * 8.0
    return StagePlan(
        "generate",
        f"{n_pictures:,} pictures of {cost.picture_size} px",
        0,
        pixels,
        cost.n_parameters * 4.0 + shard + 2e9,
        flops / rate,
    )


def _plan_scoring(config: Config, cost: ModelCost, sizes: Sizes) -> StagePlan:
    drawings = planned_drawings(config, sizes.has_captions)
    n = sizes.n_test * sum(d.samples for d in drawings)
    pixels = n * cost.picture_size**2 * 3.0
    largest = max(d.samples for d in drawings) * sizes.n_test * cost.picture_size**2 * 3.0
    seconds = 5 + pixels * 4e-8  # SSIM's filters dominate: some 25 million values a second
    # Stored in 8 bit, scored a sample at a time in float32, beside the originals.
    memory = largest + 4 * 4 * sizes.n_test * cost.picture_size**2 * 3.0 + 1e9
    return StagePlan("evaluate", f"score {n:,} pictures", pixels, 1e6, memory, seconds)
