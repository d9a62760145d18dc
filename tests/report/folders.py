"""Run folders as a run leaves them, from plain arrays."""

import re
from pathlib import Path

import numpy as np
import tomli_w

from vox2pix.config import Config
from vox2pix.data.origin import NSD, OWN, SIMULATED
from vox2pix.report import Nearest, save_gallery
from vox2pix.store import RunFolder, ShardedArray, claim, save_arrays, write_json, write_table

KEY = "0123456789abcdef"
CONDITIONS = {"z-decode": 1, "z": 2, "c": 2, "z+c": 2, "true-z+c": 1, "shuffled": 1}
METRICS = (("pixcorr", ""), ("two-way phantom", "original"))


def make_run(
    path: Path,
    n: int = 14,
    *,
    size: int = 32,
    captions: list[str] | None = None,
    has_captions: bool = True,
    has_gallery: bool = True,
    dataset: str = "simulated",
    notes: tuple[str, ...] = (),
    is_scored: bool = True,
    conditions: dict[str, int] | None = None,
    seed: int = 0,
    ids: list[str] | None = None,
    subject: str = "subj01",
    **settings: object,
) -> Path:
    """Write a run folder; the score of image i under z+c is i / (n - 1), so the last is best."""
    rng, conditions = np.random.default_rng(seed), CONDITIONS if conditions is None else conditions
    ids = ids or [f"{i:05d}" for i in range(n)]
    name = re.sub(r"[^A-Za-z0-9]", "_", path.name)
    config = Config.model_validate(
        {"name": name, "data": {"source": "phantom"}, "generate": {"samples": 2}} | settings
    )
    claim(path, "run")
    path.joinpath("config.toml").write_text(
        tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
    )
    write_json(path / "data.json", data_record(subject, dataset, notes))
    originals = rng.integers(0, 256, (n, size, size, 3), np.uint8)
    for name, samples in conditions.items():
        shape = (n, samples, size, size, 3)
        drawn = ShardedArray(path / "images" / f"{name}-{KEY}", shape, np.uint8, 5)
        for shard in range(drawn.n_shards):
            rows = drawn.rows(shard)
            noise = rng.integers(0, 256, (rows.stop - rows.start, *shape[1:]), np.uint8)
            drawn.write(shard, (originals[rows][:, None] // 2 + noise // 2).astype(np.uint8))
    if has_gallery:
        k = 3
        nearest = Nearest(
            [[f"train{i}-{j}" for j in range(k)] for i in range(n)],
            np.linspace(0.1, 0.9, n * k).reshape(n, k),
            "1 - Pearson r of the pixels",
            rng.integers(0, 256, (n, k, 16, 16, 3), np.uint8),
        )
        told = captions or [f"a thing number {i}" for i in range(n)]
        save_gallery(
            path / "gallery",
            ids,
            originals,
            captions=[[each, f"again, {each}"] for each in told] if has_captions else None,
            nearest=nearest,
        )
    if is_scored:
        _score(path, ids, conditions, subject)
        RunFolder(path).mark_done("generate", KEY)
        for name in ("z", "c"):
            r = rng.uniform(0, 1, 50)
            save_arrays(path / "decoded" / f"{name}.safetensors", {"r": r, "r2": r**2})
    return path


def data_record(
    subject: str, dataset: str = "simulated", notes: tuple[str, ...] = ()
) -> dict[str, object]:
    """What the data stage records."""
    of = next(each for each in (NSD, OWN, SIMULATED) if each.key == dataset)
    return {
        "subject": subject,
        "source": "nsd",
        "dataset": dataset,
        "identity": of.name,
        "phrase": of.phrase,
        "licence": of.licence,
        "space": "func1pt8mm",
        "unit": "percent signal change",
        "split": "shared stimuli",
        "n_sessions": 2,
        "n_train_trials": 90,
        "n_test_trials": 42,
        "n_train_stimuli": 30,
        "n_test_stimuli": 14,
        "n_voxels": {"early": 60, "all": 120},
        "notes": list(notes),
    }


def _score(path: Path, ids: list[str], conditions: dict[str, int], subject: str) -> None:
    """Write the scores of single images and their means."""
    n = len(ids)
    rows, records = [], []
    for place, name in enumerate(conditions):
        ramp = np.arange(n) / max(1, n - 1)
        scores = ramp if name == "z+c" else np.roll(ramp, place) * 0.9
        for metric, direction in METRICS:
            rows += [
                {
                    "stimulus_id": stimulus,
                    "condition": name,
                    "metric": metric,
                    "direction": direction,
                    "score": float(score),
                }
                for stimulus, score in zip(ids, scores, strict=True)
            ]
            mean = float(scores.mean())
            joined = {"mean": mean} | ({"best": mean + 0.07} if conditions[name] > 1 else {})
            records += [
                {
                    "subject": subject,
                    "condition": name,
                    "metric": metric,
                    "direction": direction or None,
                    "protocol": "default",
                    "samples": f"{kind} of {conditions[name]}",
                    "value": value,
                    "ci_low": value - 0.05,
                    "ci_high": value + 0.05,
                    "chance": 0.5 if direction else 0.1,
                    "n_stimuli": n,
                }
                for kind, value in joined.items()
            ]
    write_table(path / "scores.csv", rows)
    write_json(path / "metrics.json", records)
