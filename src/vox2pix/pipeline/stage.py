"""What a stage is; doing the stages of an experiment in order, and resuming them.

A stage is done when its mark carries the key of its settings, of the files it reads and of the
stages whose results it reads. What changed is computed again, the rest is reused; a stage that
was killed resumes after its last complete shard.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vox2pix.config import Config, digest
from vox2pix.errors import UserError
from vox2pix.outside import all_without_secrets
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.inputs import require_outside_data
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.pipeline.run import Run, record_config
from vox2pix.store import (
    RunFolder,
    machine,
    peak_memory,
    read_checked_json,
    read_json,
    write_checked_json,
    write_json,
    writing,
)
from vox2pix.workers import Workers

_MAX_NAMES = 3  # damaged or changed files that a line names


@dataclass(frozen=True)
class Stage:
    """One step of an experiment."""

    name: str  # of its mark
    title: str  # what people read
    work: Callable[[Run], Sequence[str]]  # returns the files that the mark vouches for
    settings: Callable[[Config], Sequence[Any]] = lambda config: ()  # that change its result
    after: tuple[str, ...] = ()  # the stages whose results it reads
    inputs: Callable[[Run], Any] = lambda run: None  # hashes of files from outside the run
    is_sound: Callable[[Run], bool] = lambda run: True  # whether its shards are complete, undamaged
    leftovers: str | None = None  # folder of parts that are of no use once it is done
    cost: Callable[[Planned], Cost | None] | None = None  # None: nothing to do


def stage_keys(stages: Sequence[Stage], run: Run) -> dict[str, str]:
    """Return the key of each stage: its settings, its inputs, and the keys of those it follows."""
    keys: dict[str, str] = {}
    for stage in stages:
        settings = [
            s.model_dump(mode="json") if isinstance(s, BaseModel) else s
            for s in stage.settings(run.config)
        ]
        run.inputs[stage.name] = inputs = stage.inputs(run)
        before = [keys[name] for name in stage.after]
        keys[stage.name] = digest([version("vox2pix"), stage.name, settings, inputs, before])
    return keys


@contextmanager
def run_folder(
    config: Config,
    path: Path,
    reporter: Reporter | None = None,
    *,
    own: Sequence[str],
    beside: str,
    rois: tuple[str, ...] | None = None,
    workers: Workers | None = None,
    verify: bool = False,
) -> Iterator[Run]:
    """Lock a run folder and record the settings of an experiment in it; yield its run.

    `own` are the settings that only the stages to come depend on. `beside` is the first of other
    stages that may be done in the same folder: where it was, ``config.toml`` keeps the settings
    that those depend on. `rois` are the regions whose voxels are opened, by default those that are
    decoded from. Refused are wrong input, a folder in which another run is at work, other settings
    than those that other stages there depend on, and a full disk.
    """
    run = Run(config, RunFolder(path), reporter or Silent(), rois, verify=verify)
    run.workers = workers or run.workers
    require_outside_data(config.data, path)
    with run.folder.lock(), writing(path):
        record_config(run, own, beside)
        yield run


def do_stages(stages: Sequence[Stage], run: Run) -> None:
    """Do what is left of the stages, which are in the order of the work, in a locked folder."""
    run.keys |= stage_keys(stages, run)
    _repair_provenance(run)
    for stage in stages:
        if not _is_done(stage, run):
            began = time.monotonic()
            _finish(stage, run, stage.work(run), time.monotonic() - began)


def redo(stages: Sequence[Stage], name: str, run: Run) -> None:
    """Do one stage again, whatever its mark says; the stages it follows must be done."""
    run.keys |= stage_keys(stages, run)
    stage = next(stage for stage in stages if stage.name == name)
    for before in stage.after:
        if not run.folder.is_done(before, run.keys[before]):
            raise UserError(
                f"{run.path} is not finished ({before} is missing); run `vox2pix run` with its "
                "experiment file first."
            )
    began = time.monotonic()
    _finish(stage, run, stage.work(run), time.monotonic() - began)


def _is_done(stage: Stage, run: Run) -> bool:
    """Tell whether a stage is done, and report it or why it is done again."""
    key, damaged = run.keys[stage.name], run.folder.damaged(stage.name)
    same = run.folder.key(stage.name) == key
    if same and not damaged and stage.is_sound(run):
        run.reporter.say(f"{stage.title}: already done")
        _clear(stage, run)
        return True
    if damaged and (same or run.folder.key(stage.name) is None):
        run.reporter.say(f"{stage.title}: {_listed(damaged)} missing or damaged, done again")
        for name in damaged:  # a stage that resumes would reuse it
            run.folder.remove(name)
    elif same:
        run.reporter.say(f"{stage.title}: a part is missing or damaged, done again")
    elif run.folder.was_done(stage.name):
        run.reporter.say(f"{stage.title}: {_what_changed(stage, run)} changed, done again")
    return False


def _finish(stage: Stage, run: Run, outputs: Sequence[str], seconds: float) -> None:
    """Record where and with what a stage was done, and that it is."""
    run.clear_cached()
    info = {
        "key": run.keys[stage.name],
        "inputs": run.inputs[stage.name],
        "seconds": round(seconds, 1),
        "peak_memory_gb": round(peak_memory() / 1e9, 2),
        "workers": run.workers.provenance,
        "machine": machine(),
    }
    _write_provenance(run, _provenance(run) | {stage.name: all_without_secrets(info)})
    run.folder.mark_done(stage.name, run.keys[stage.name], outputs)
    _clear(stage, run)


def _what_changed(stage: Stage, run: Run) -> str:
    """Name the input files of a stage that differ from those it was done with, if any do."""
    before, now = _provenance(run).get(stage.name, {}).get("inputs"), run.inputs[stage.name]
    if not isinstance(before, dict) or not isinstance(now, dict):
        return "settings or files"
    names = [n for n in before.keys() | now.keys() if before.get(n) != now.get(n)]
    return _listed(sorted(names)) or "settings or files"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + ", ..." * (len(names) > _MAX_NAMES)


def _clear(stage: Stage, run: Run) -> None:
    """Remove the parts of a stage, now that its mark vouches for the whole."""
    if stage.leftovers:
        run.folder.clear_parts(stage.leftovers)


def _provenance(run: Run) -> dict[str, Any]:
    """Return how each stage was done, from the copy with a checksum."""
    return read_checked_json(run.path / "stages" / "provenance.json") or {}


def _write_provenance(run: Run, provenance: dict[str, Any]) -> None:
    write_checked_json(run.path / "stages" / "provenance.json", provenance)
    write_json(run.path / "provenance.json", provenance)


def _repair_provenance(run: Run) -> None:
    """Write ``provenance.json`` again from its copy, or the copy from it, if one is damaged."""
    path, copy = run.path / "provenance.json", run.path / "stages" / "provenance.json"
    if not copy.exists() and not path.exists():
        return
    checked = read_checked_json(copy)
    try:
        shown = read_json(path)
    except UserError:
        shown = None
    if checked is None or shown != checked:
        damaged = (copy if checked is None else path).relative_to(run.path)
        run.reporter.say(f"{damaged} is missing or damaged, written again")
        _write_provenance(run, (shown if checked is None else checked) or {})
