"""A run: its stages, done in order, kept where nothing changed.

A stage is done when its mark says so under the key of its settings and of the stages before it;
what changed is computed again, the rest is kept. A stage that is killed goes on from its last
whole shard.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel

from vox2pix.buckets import file_versions, working_copy
from vox2pix.config import Config, digest, load_config
from vox2pix.data import Subject, open_folder, open_nsd
from vox2pix.diffusion import LatentDiffusion
from vox2pix.errors import UserError
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.store import RunFolder, machine, peak_memory, read_json, write_json, write_text


@dataclass
class Run:
    """One experiment in its folder.

    Parameters
    ----------
    config : Config
        What to do.
    folder : RunFolder
        Where.
    reporter : Reporter
        Who is told.
    rois : tuple of str, optional
        Regions whose voxels are opened; those that are decoded from if absent.
    home : Path, optional
        Where the folder lies, if that is the copy of one in a bucket.
    keys, inputs : dict
        The key of each stage and the files it reads, found once when the run starts: hashing
        weights takes a while, and files that are added later must not move a run in progress.
    """

    config: Config
    folder: RunFolder
    reporter: Reporter = field(default_factory=Silent)
    rois: tuple[str, ...] | None = None
    home: Path | None = None
    keys: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def cache(self) -> Path:
        """The features that the runs beside this one share."""
        return (self.home or self.path).parent / "cache" / "features"

    @cached_property
    def subject(self) -> Subject:
        """The subject, opened; responses are read when asked for."""
        return open_subject(self.config, self.path, self.rois)

    @cached_property
    def model(self) -> LatentDiffusion:
        """The diffusion model, loaded."""
        wanted, compute = self.config.model, self.config.compute
        return LatentDiffusion.from_pretrained(
            wanted.name, wanted.revision, device=compute.device, dtype=compute.dtype
        )

    @cached_property
    def test_ids(self) -> tuple[str, ...]:
        """The test stimuli that are drawn and scored."""
        return self.subject.test.stimulus_ids[: self.config.data.max_test_stimuli]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes
    ----------
    name : str
        Name of its mark.
    title : str
        What it does, for people.
    work : callable
        Does it; returns the files, relative to the run folder, that the mark vouches for.
    settings : callable
        Picks from the config what changes its result.
    inputs : callable, optional
        Describes the files that it reads from outside the run.
    is_sound : callable, optional
        Tells whether what it wrote piece by piece is all there.
    """

    name: str
    title: str
    work: Callable[[Run], Sequence[str]]
    settings: Callable[[Config], Sequence[Any]]
    inputs: Callable[[Run], Any] = lambda run: None
    is_sound: Callable[[Run], bool] = lambda run: True


def stage_keys(stages: Sequence[Stage], run: Run) -> dict[str, str]:
    """Return the key of each stage: its settings and inputs, and those of all before it.

    Parameters
    ----------
    stages : sequence of Stage
        In the order in which they run.
    run : Run
        The experiment and its folder.
    """
    keys: dict[str, str] = {}
    before = version("vox2pix")
    for stage in stages:
        settings = [
            s.model_dump(mode="json") if isinstance(s, BaseModel) else s
            for s in stage.settings(run.config)
        ]
        run.inputs[stage.name] = inputs = stage.inputs(run)
        keys[stage.name] = before = digest([before, stage.name, settings, inputs])
    return keys


def carry_out(
    stages: Sequence[Stage],
    config: Config,
    path: Path,
    reporter: Reporter | None = None,
    rois: tuple[str, ...] | None = None,
) -> Run:
    """Carry out what is left of a run.

    Parameters
    ----------
    stages : sequence of Stage
        In the order in which they run.
    config : Config
        The experiment.
    path : Path
        The run folder, here or in a bucket. What it holds already under the same settings is
        kept.
    reporter : Reporter, optional
        Who is told.
    rois : tuple of str, optional
        Regions whose voxels are opened; those that are decoded from if absent.

    Raises
    ------
    UserError
        If input is wrong, or another run is at work in the folder.
    """
    with working_copy(path) as here:
        run = Run(config, RunFolder(here), reporter or Silent(), rois, path)
        with run.folder.lock():
            run.keys |= stage_keys(stages, run)
            write_text(here / "config.toml", _as_toml(config))
            for stage in stages:
                _carry_out(stage, run)
    return run


def open_run(path: Path, reporter: Reporter | None = None, home: Path | None = None) -> Run:
    """Open a run folder as it was last run.

    Parameters
    ----------
    path : Path
        The run folder.
    reporter : Reporter, optional
        Who is told.
    home : Path, optional
        Where the folder lies, if ``path`` is the copy of one in a bucket.

    Raises
    ------
    UserError
        If the folder is no run.
    """
    if not (path / "config.toml").exists():
        raise UserError(f"{path} is no run folder: it has no config.toml.")
    config = load_config(path / "config.toml")
    return Run(config, RunFolder(path), reporter or Silent(), home=home)


def _carry_out(stage: Stage, run: Run) -> None:
    """Do a stage unless it is done; note where and with what it was done."""
    key = run.keys[stage.name]
    if run.folder.is_done(stage.name, key) and stage.is_sound(run):
        run.reporter.say(f"{stage.title}: done before, kept")
        return
    if run.folder.was_done(stage.name):
        run.reporter.say(f"{stage.title}: settings or files changed, done again")
    began = time.monotonic()
    outputs = stage.work(run)
    path = run.path / "provenance.json"
    told = read_json(path) if path.exists() else {}
    made = {
        "key": key,
        "inputs": run.inputs[stage.name],
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_gb": round(peak_memory() / 1e9, 2),
        "machine": machine(),
    }
    write_json(path, told | {stage.name: made})
    run.folder.mark_done(stage.name, key, outputs)


def open_subject(config: Config, run_path: Path, rois: tuple[str, ...] | None = None) -> Subject:
    """Open the subject that an experiment names.

    Parameters
    ----------
    config : Config
        The experiment.
    run_path : Path
        The run folder; a simulated subject lies in it.
    rois : tuple of str, optional
        Regions to open, in NSD's tree; those that are decoded from if absent.

    Raises
    ------
    UserError
        If the data are missing or faulty.
    """
    data = config.data
    if data.source == "folder":
        return open_folder(data.root(run_path))
    wanted = rois or tuple(dict.fromkeys(config.decode.z + config.decode.c))
    root = data.root(run_path)
    return open_nsd(root, data.subject, data.sessions, wanted, data.space, data.betas)


def _as_toml(config: Config) -> str:
    """Write the resolved experiment so that it can be run again."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def input_files(run: Run) -> list[tuple[str, int, str]]:
    """List the data files that an experiment may read: path, bytes, and time of change or ETag.

    Where the data lie does not matter; a file that is replaced or added does. Contents are not
    hashed: a subject of NSD has some 40 GB.

    Parameters
    ----------
    run : Run
        The experiment and its folder.
    """
    data = run.config.data
    if data.path is None:
        return []
    root = data.root(run.path)
    subject = f"subj{data.subject:02d}"
    below = {
        "folder": ["."],
        "nsd": [
            f"nsddata_betas/ppdata/{subject}/{data.space}/{data.betas}",
            f"nsddata/ppdata/{subject}",
            f"nsddata/freesurfer/{subject}/label",
            "nsddata/experiments/nsd",
            "nsddata_stimuli/stimuli/nsd",
        ],
    }[data.source]
    return sorted(
        (f"{name}/{file}", size, version)
        for name in below
        for file, (size, version) in file_versions(root / name, leaving_out=run.path).items()
    )
