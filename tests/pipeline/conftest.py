import shutil
from pathlib import Path

import pytest
import tomli_w

import vox2pix
from vox2pix.config import Config, load_config
from vox2pix.pipeline import Run
from vox2pix.pipeline.commands import encode, run
from vox2pix.store import contents
from vox2pix.vision.transformers_models import find_folder


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


PRIVATE = "private-name-xyz"
_TABLES = {
    "generate": {"samples": 1, "steps": 2, "conditions": ["z+c"], "ceilings": [],
                 "shuffled": False},
    "audit": {"enabled": False},
    "encode": {
        "rois": ["early"], "latents": ["z"], "strengths": [], "moments": [], "layers": [],
        "steps": 2, "n_components": 50, "permutations": 100, "resamples": 100,
    },
}  # fmt: skip


@pytest.fixture(scope="package")
def project(small_run, tmp_path_factory) -> Path:
    """A folder with data, a model, an encoder, an experiment file and a finished run.

    Its name is nobody's business.
    """
    root = tmp_path_factory.mktemp(PRIVATE)
    tree = next(small_run[0].path.glob("phantom-*"))
    shutil.copytree(tree, root / "data")
    shutil.copytree(Path(vox2pix.__file__).parent / "phantom" / "model", root / "model")
    shutil.copytree(find_folder("phantom"), root / "clip")
    (root / "experiment.toml").write_text(_project_file())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "ALWAYS_READ", 0)
        patch.setattr(contents, "_SETTLED_NS", 0)
        config = load_config(root / "experiment.toml")
        run(config, root / "runs" / "small")
        encode(config, root / "runs" / "small")
    return root


def _project_file() -> str:
    data = {"source": "nsd", "path": "data"}
    tables = {"data": data, "model": {"name": "model"}, "evaluate": {"encoder": "clip"}}
    written = experiment(**_TABLES, **tables).model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(written)
