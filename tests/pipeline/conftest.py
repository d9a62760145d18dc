import shutil
from pathlib import Path

import pytest

from vox2pix.config import Config
from vox2pix.pipeline import Run, run


def experiment(**tables) -> Config:
    """Return the smallest experiment that passes through every stage."""
    small = {
        "name": "small",
        "data": {
            "source": "phantom",
            "phantom": {
                "sessions": 2,
                "trials_per_session": 60,
                "n_shared": 8,
                "n_early": 60,
                "n_ventral": 60,
            },
        },
        "generate": {"samples": 2, "steps": 3},
        "evaluate": {"per_group": 1},
        "compute": {"device": "cpu", "shard_size": 3, "batch_size": 8},
    }
    merged = {k: small.get(k, {}) | v if isinstance(v, dict) else v for k, v in tables.items()}
    return Config.model_validate(small | merged)


def copied(made: Run, root: Path) -> Path:
    """Copy a run and the features beside it."""
    shutil.copytree(made.path, root / "small")
    shutil.copytree(made.path.parent / "cache", root / "cache")
    return root / "small"


class Recorder:
    """A reporter that remembers what it was told."""

    def __init__(self):
        self.lines, self.begun, self.counted = [], {}, {}

    def say(self, text):
        self.lines.append(text)

    def begin(self, title, total, unit):
        self.title = title
        self.begun[title] = total
        self.counted[title] = 0

    def advance(self, n):
        self.counted[self.title] += n


@pytest.fixture(scope="package")
def small_run(tmp_path_factory):
    """A finished run and what its reporter was told."""
    recorder = Recorder()
    return run(experiment(), tmp_path_factory.mktemp("runs") / "small", recorder), recorder
