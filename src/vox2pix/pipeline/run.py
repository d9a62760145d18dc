"""A run: its stages, done in order, kept where nothing changed.

A stage is done when its mark says so under the key of its settings and of the stages before it;
what changed is computed again, the rest is kept. A stage that is killed goes on from its last
whole shard.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w
from pydantic import BaseModel

from vox2pix.config import Config, digest, load_config, without_place
from vox2pix.data import Subject, open_folder, open_nsd
from vox2pix.diffusion import Architecture, LatentDiffusion, Tuning
from vox2pix.errors import UserError
from vox2pix.outside import all_without_secrets
from vox2pix.pipeline.read_folders import require_outside_data
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.places import MOVED, from_here
from vox2pix.report.contents import CONFIG_MARK, run_config
from vox2pix.store import (
    RunFolder,
    machine,
    peak_memory,
    read_checked_json,
    read_json,
    write_checked_json,
    write_json,
    write_text,
    writing,
)
from vox2pix.workers import ThisProcess, Workers


@dataclass
class Run:
    """One experiment in its folder.

    It travels to a worker as little more than its settings: there it is opened once for all
    items of one command.

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
    keys, inputs : dict
        The key of each stage and the files it reads, found once when the run starts: hashing
        files takes a while, and files that are added later must not move a run in progress.
    verify : bool
        Hash every input file, whatever is recorded of it.
    workers : Workers
        Where the items of a stage are done.
    command : str
        Tells the runs of one command from those of the next.
    """

    config: Config
    folder: RunFolder
    reporter: Reporter = field(default_factory=Silent)
    rois: tuple[str, ...] | None = None
    keys: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    verify: bool = False
    workers: Workers = field(default_factory=ThisProcess)
    command: str = field(default_factory=lambda: uuid4().hex)
    _kept: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Name what it takes to open the run on a worker."""
        keys = tuple(self.keys.items())
        known = version("vox2pix")
        return _opened, (self.config, self.path, self.rois, keys, self.command, known)

    def kept(self, slot: str, name: Any, make: Callable[[], Any]) -> Any:
        """Return what is open in a slot under a name; what had another name makes way for it."""
        if slot not in self._kept or self._kept[slot][0] != name:
            self._kept.pop(slot, None)
            self._kept[slot] = (name, make())
        return self._kept[slot][1]

    def forget(self) -> None:
        """Close what is kept open."""
        self._kept.clear()

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def cache(self) -> Path:
        """The features that the runs beside this one share."""
        return self.folder.shared

    @cached_property
    def subject(self) -> Subject:
        """The subject, opened; responses are read when asked for."""
        return open_subject(self.config, self.path, self.rois)

    @cached_property
    def model(self) -> LatentDiffusion:
        """The diffusion model, loaded."""
        wanted, compute = self.config.model, self.config.compute
        return LatentDiffusion.from_pretrained(
            wanted.name,
            wanted.revision,
            device=compute.device,
            dtype=compute.dtype,
            tuning=Tuning(compute.channels_last, compute.attention, compute.compile),
        )

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture of the diffusion model, without its weights."""
        return Architecture.from_pretrained(self.config.model.name, self.config.model.revision)

    @cached_property
    def test_ids(self) -> tuple[str, ...]:
        """The test stimuli that are drawn and scored."""
        return self.subject.test.stimulus_ids[: self.config.data.max_test_stimuli]


@lru_cache(maxsize=1)
def _opened(
    config: Config,
    path: Path,
    rois: tuple[str, ...] | None,
    keys: tuple[tuple[str, str], ...],
    command: str,
    known: str,
) -> Run:
    """Open a run on a worker, once for all its items."""
    if version("vox2pix") != known:
        raise UserError(
            f"The worker on {platform.node()} has vox2pix {version('vox2pix')}, this command "
            f"{known}; install the same version on both."
        )
    if not path.is_dir():
        raise UserError(
            f"The worker on {platform.node()} does not see {path}; workers need the run folder "
            "under the same path, on a disk that is shared."
        )
    return Run(config, RunFolder(path), rois=rois, keys=dict(keys), command=command)


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
        Returns the files that it reads from outside the run: what identifies their contents, by
        name.
    is_sound : callable, optional
        Tells whether what it wrote piece by piece is all there.
    leftovers : str, optional
        Folder of the run that holds parts, which are of no use once it is done.
    """

    name: str
    title: str
    work: Callable[[Run], Sequence[str]]
    settings: Callable[[Config], Sequence[Any]]
    inputs: Callable[[Run], Any] = lambda run: None
    is_sound: Callable[[Run], bool] = lambda run: True
    leftovers: str | None = None


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
    *,
    own: Sequence[str],
    beside: str,
    rois: tuple[str, ...] | None = None,
    workers: Workers | None = None,
    verify: bool = False,
) -> Run:
    """Carry out what is left of a run.

    Parameters
    ----------
    stages : sequence of Stage
        In the order in which they run.
    config : Config
        The experiment.
    path : Path
        The run folder. What it holds already under the same settings is kept.
    reporter : Reporter, optional
        Who is told.
    own : sequence of str
        Settings of the experiment that only these stages depend on.
    beside : str
        Name of the first of the other stages that may be carried out in the same folder: where
        it was, ``config.toml`` keeps the settings that those depend on.
    rois : tuple of str, optional
        Regions whose voxels are opened; those that are decoded from if absent.
    workers : Workers, optional
        Where the items of a stage are done; in this process if absent.
    verify : bool
        Hash every input file, also those that look as they did when they were hashed.

    Raises
    ------
    UserError
        If input is wrong, another run is at work in the folder, what other stages there depend
        on differs, or the disk is full.
    """
    run = Run(config, RunFolder(path), reporter or Silent(), rois, verify=verify)
    run.workers = workers or run.workers
    require_outside_data(config.data, path)
    with run.folder.lock(), writing(path):
        _keep_config(run, own, beside)
        run.keys |= stage_keys(stages, run)
        _mend_provenance(run)
        for stage in stages:
            _carry_out(stage, run)
    return run


_SHARED = ("seed", "protocol", "data", "model", "generate.schedule", "compute")


def _keep_config(run: Run, own: Sequence[str], beside: str) -> None:
    """Write the resolved experiment, joined with that of other stages in the same folder."""
    path, config = run.path / "config.toml", run.config
    if run.folder.damaged(CONFIG_MARK):
        run.reporter.say(f"{path.name} is missing or damaged, written again")
    elif run.folder.was_done(beside) and path.exists():
        before = load_config(path)
        differing = [key for key in _SHARED if _what(before, key) != _what(config, key)]
        if differing:
            raise UserError(
                f"{path.parent} holds another experiment, which differs in "
                f"{', '.join(differing)}; name another folder with --out, or give `vox2pix run` "
                "and `vox2pix encode` the same settings there."
            )
        ours = (*own, "data", "compute")
        config = before.model_copy(update={key: getattr(config, key) for key in ours})
    text = _as_toml(config, run.path)
    if not run.folder.is_done(CONFIG_MARK, digest(text)):
        write_text(path, text)
        run.folder.mark_done(CONFIG_MARK, digest(text), [path.name])


def _what(config: Config, key: str) -> Any:
    """Return what of a setting changes results: not where files lie, nor how fast they are read."""
    if key == "data":
        return config.data.model_dump(exclude={"path"})
    if key == "model":
        return config.model.model_copy(update={"name": without_place(config.model.name)})
    named = {"compute": config.compute.dtype, "generate.schedule": config.generate.schedule}
    return named.get(key) or getattr(config, key)


def open_run(path: Path, reporter: Reporter | None = None) -> Run:
    """Open a run folder as it was last run.

    Parameters
    ----------
    path : Path
        The run folder.
    reporter : Reporter, optional
        Who is told.

    Raises
    ------
    UserError
        If the folder is no run, or its experiment is not as it was written.
    """
    return Run(run_config(path), RunFolder(path), reporter or Silent())


def _carry_out(stage: Stage, run: Run) -> None:
    """Do a stage unless it is done; note where and with what it was done."""
    key, damaged = run.keys[stage.name], run.folder.damaged(stage.name)
    same = run.folder.key(stage.name) == key
    if same and not damaged and stage.is_sound(run):
        run.reporter.say(f"{stage.title}: done before, kept")
        _clear(stage, run)
        return
    if damaged and (same or run.folder.key(stage.name) is None):
        named = ", ".join(damaged[:_NAMED]) + (", ..." if len(damaged) > _NAMED else "")
        run.reporter.say(f"{stage.title}: {named} missing or damaged, done again")
        for name in damaged:  # stages that go on where they stopped would keep it
            run.folder.remove(name)
    elif same:
        run.reporter.say(f"{stage.title}: a part is missing or damaged, done again")
    elif run.folder.was_done(stage.name):
        run.reporter.say(f"{stage.title}: {_what_changed(stage, run)} changed, done again")
    began = time.monotonic()
    outputs = stage.work(run)
    run.forget()
    made = {
        "key": key,
        "inputs": run.inputs[stage.name],
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_gb": round(peak_memory() / 1e9, 2),
        "workers": run.workers.provenance,
        "machine": machine(),
    }
    _write_provenance(run, _provenance(run) | {stage.name: made})
    run.folder.mark_done(stage.name, key, outputs)
    _clear(stage, run)


def _what_changed(stage: Stage, run: Run) -> str:
    """Name the input files of a stage that differ from those it was done with, if any do."""
    before = _provenance(run).get(stage.name, {}).get("inputs")
    now = run.inputs[stage.name]
    if not isinstance(before, dict) or not isinstance(now, dict):
        return "settings or files"
    names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED) or "settings or files"


def _clear(stage: Stage, run: Run) -> None:
    """Remove what a stage wrote on its way, now that its mark vouches for the whole."""
    if stage.leftovers:
        run.folder.clear_parts(stage.leftovers)


_NAMED = 3  # damaged or changed files that a line names


def _provenance(run: Run) -> dict[str, Any]:
    """Read what is noted of each stage, from the copy that knows its checksum."""
    return read_checked_json(run.path / "stages" / "provenance.json") or {}


def _write_provenance(run: Run, told: dict[str, Any]) -> None:
    told = all_without_secrets(told)
    write_checked_json(run.path / "stages" / "provenance.json", told)
    write_json(run.path / "provenance.json", told)


def _mend_provenance(run: Run) -> None:
    """Write ``provenance.json`` again from its copy, or the copy from it, if one is damaged."""
    shown, copy = run.path / "provenance.json", run.path / "stages" / "provenance.json"
    if not copy.exists() and not shown.exists():
        return
    told = read_checked_json(copy)
    try:
        seen = read_json(shown)
    except UserError:
        seen = None
    if told is None or seen != told:
        damaged = (copy if told is None else shown).relative_to(run.path)
        run.reporter.say(f"{damaged} is missing or damaged, written again")
        _write_provenance(run, (seen if told is None else told) or {})


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
    wanted = rois or tuple(dict.fromkeys(chain(*config.decode.rois.values())))
    root = data.root(run_path)
    return open_nsd(root, data.subject, data.sessions, wanted, data.space, data.betas)


def _as_toml(config: Config, folder: Path) -> str:
    """Write the resolved experiment so that it can be run again, also where it is moved to."""
    settings = config.model_dump(mode="json", exclude_none=True)
    moved = from_here(settings, folder)
    return tomli_w.dumps(settings | ({MOVED: moved} if moved else {}))
