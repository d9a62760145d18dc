"""How many workers for how long: eight subjects of NSD; z, c and z_c of all its 73,000 images.

Operations are those that ``vox2pix plan`` counts for the experiments
``nsd`` and ``nsd-encoding`` that ship with it. Time is what they take at the share of the rate of
matrix products that plans assume; the rate is measured here, by ``--device`` and ``--dtype``. How
many workers can help is bounded by the items that a stage has.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

from results import machine, option_parser, show
from vox2pix.compute import resolve_device, resolve_dtype
from vox2pix.config import Config, load_config
from vox2pix.pipeline._plan import SHARE_OF_SGEMM
from vox2pix.pipeline.commands import plan, plan_encoding
from vox2pix.pipeline.costs import TARGETS_AT_ONCE
from vox2pix.pipeline.drawings import planned_drawings
from vox2pix.targets._rows import ROWS_A_FILE

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
N_SESSIONS, N_SUBJECT, N_TEST, N_ALL = 40, 10_000, 1_000, 73_000  # as published
FEATURES = (4 * 40 * 40, 77 * 768)  # of z and of c
WORKERS = (1, 8, 64)


def experiment(name: str, root: Path) -> Config:
    """Return one of the experiments that ship, on data of the published size."""
    config = load_config(CONFIGS / name)
    data = config.data.model_copy(update={"path": root, "sessions": None})
    folder = root / f"nsddata_betas/ppdata/subj{data.subject:02d}/{data.space}/{data.betas}"
    folder.mkdir(parents=True, exist_ok=True)
    for session in range(1, N_SESSIONS + 1):
        (folder / f"betas_session{session:02d}.hdf5").touch()  # counted, never read
    compute = config.compute.model_copy(update={"device": "cpu"})
    generate = config.generate.model_copy(update={"schedule": "diffusers"})
    return config.model_copy(update={"data": data, "compute": compute, "generate": generate})


def items_of(config: Config, n_spaces: int) -> dict[str, int]:
    """Return into how many items each stage is shared out."""
    blocks = math.ceil(N_SUBJECT / ROWS_A_FILE)
    drawings = planned_drawings(config, True)
    n_controls = sum(drawing.is_audit_only for drawing in drawings)
    shards = math.ceil(N_TEST / config.compute.shard_size)
    encode = config.encode
    return {
        "features": blocks,
        "decode": sum(math.ceil(numbers / TARGETS_AT_ONCE) for numbers in FEATURES),
        "generate": (len(drawings) - n_controls) * shards,
        "audit-decoding": len(FEATURES) * (config.audit.clusters + 1),  # and control responses
        "audit-drawing": n_controls * shards,
        "evaluate": len(drawings),
        "responses": 12,
        "trace": blocks * len({encode.strength, *encode.strengths}),
        "reduce": n_spaces,
        "encode": n_spaces,
        "divide": len(encode.strengths) + sum(moment < 1 for moment in encode.moments),
    }


def hours(stages: dict[str, float], items: dict[str, int], workers: int) -> float:
    """Return the hours that stages take, one after another, each on as many workers as it can use.

    Parameters
    ----------
    stages : dict of str to float
        Seconds of each stage on one worker.
    items : dict of str to int
        Of each stage; one where it is absent.
    workers : int
        How many there are.
    """
    rounds = {name: math.ceil(items.get(name, 1) / workers) for name in stages}
    return sum(s * rounds[name] / items.get(name, 1) for name, s in stages.items()) / 3600


def product_rate(device: str, dtype: str, size: int) -> float:
    """Return operations a second of matrix products, the best of three runs of ten."""
    import torch

    matrix = torch.rand(size, size, device=resolve_device(device)).to(resolve_dtype(dtype))
    best = math.inf
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(10):
            product = matrix @ matrix
        float(product[0, 0])  # reading one number waits for the device
        best = min(best, time.perf_counter() - began)
    return 10 * 2 * size**3 / best


def main() -> None:
    """Count, measure, print."""
    parser = option_parser(__doc__)
    parser.add_argument("--device", default="cpu", help="whose rate: cpu, cuda ...")
    parser.add_argument("--dtype", default="float32", help="at which precision")
    options = parser.parse_args()
    where = machine()
    if options.device != "cpu":
        import torch

        where["processor"] = f"{torch.cuda.get_device_name(options.device)}, {where['processor']}"
    rate = product_rate(options.device, options.dtype, 512 if options.small else 4096)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        drawing, encoding = (experiment(n, root) for n in ("nsd.toml", "nsd-encoding.toml"))
        plans = {
            "reconstruction": plan(drawing, root / "run", rate),
            "encoding": plan_encoding(encoding, root / "run", rate),
        }
    n_spaces = 3 + len(encoding.encode.layers or ()) * len(encoding.encode.layer_moments)
    items = items_of(encoding, n_spaces) | {"generate": items_of(drawing, 0)["generate"]}
    lines = [
        f"{rate / 1e9:,.0f} GFLOP/s of {options.dtype} matrix products, measured on "
        f"{options.device}; plans assume {SHARE_OF_SGEMM:.0%} of it",
        "",
        "one subject                items   hours of one worker",
    ]
    seconds: dict[str, dict[str, float]] = {}
    for name, planned in plans.items():
        seconds[name] = {stage.name: stage.seconds for stage in planned.stages}
        for stage, taken in seconds[name].items():
            lines.append(f"{name:<15}{stage:<10}{items.get(stage, 1):>7}{taken / 3600:22,.1f}")
    # The larger network passes over all images are those of one denoising, at full resolution.
    passes = len({encoding.encode.strength, *encoding.encode.strengths})
    latents = {
        "features": seconds["encoding"]["features"] * N_ALL / N_SUBJECT,
        "trace": seconds["encoding"]["trace"] / passes * N_ALL / N_SUBJECT,
    }
    shards = math.ceil(N_ALL / ROWS_A_FILE)
    projects = {
        "one subject, reconstruction": (1, seconds["reconstruction"], items),
        "one subject, encoding": (1, seconds["encoding"], items),
        "eight subjects, reconstruction": (8, seconds["reconstruction"], items),
        "eight subjects, encoding": (8, seconds["encoding"], items),
        f"z, c and z_c of {N_ALL:,} images": (1, latents, dict.fromkeys(latents, shards)),
    }
    lines += ["", "days with".ljust(34) + "".join(f"{f'{n} workers':>12}" for n in WORKERS)]
    days = {}
    for name, (n_runs, stages, counts) in projects.items():
        # Subjects are runs of their own, which share the workers evenly while there are enough.
        share = [max(1, n // n_runs) for n in WORKERS]
        rounds = [math.ceil(n_runs / n) for n in WORKERS]
        days[name] = [r * hours(stages, counts, s) / 24 for r, s in zip(rounds, share, strict=True)]
        lines.append(f"{name:<34}" + "".join(f"{d:12,.1f}" for d in days[name]))
    figures = {"flops": rate, "seconds": seconds, "days": days, "machine": where}
    show(figures, "\n".join(lines), options, "capacity", page="scale.md")


if __name__ == "__main__":
    main()
