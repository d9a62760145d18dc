"""An experiment in its folder: settings, what is open, and where its results are."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from vox2pix.config import Config, digest, for_others, load_config
from vox2pix.data import Subject, source_of
from vox2pix.diffusion import Architecture, IPAdapter, LatentDiffusion, Tuning
from vox2pix.errors import UserError
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.places import MOVED, from_here
from vox2pix.report.contents import CONFIG_MARK, run_config
from vox2pix.store import RunFolder, write_text
from vox2pix.workers import ThisProcess, Workers


@dataclass
class Run:
    """One experiment in its folder.

    A worker receives little more than its settings: there it is opened once for all items of one
    command. Keys and inputs are computed once at the start: hashing files takes a while, and files
    that are added later must not change a run in progress.
    """

    config: Config
    folder: RunFolder
    reporter: Reporter = field(default_factory=Silent)
    rois: tuple[str, ...] | None = None  # to open; those that are decoded from if None
    keys: dict[str, str] = field(default_factory=dict)  # of each stage
    inputs: dict[str, Any] = field(default_factory=dict)  # files that each stage reads
    verify: bool = False  # hash every input file, whatever is recorded of it
    workers: Workers = field(default_factory=ThisProcess)  # where items are done
    command: str = field(default_factory=lambda: uuid4().hex)  # tells its run from the next
    transfer: Any = None  # what a transfer decodes, and by which run; None otherwise
    _cached: dict[str, tuple[Any, list[Any]]] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Name what it takes to open the run on a worker."""
        keys = tuple(self.keys.items())
        return _opened, (self.config, self.path, self.rois, keys, self.command, version("vox2pix"))

    def cached(self, slot: str, name: Any, make: Callable[[], Any]) -> Any:
        """Return what a slot holds under a name; what had another name is closed first."""
        held = self.slot(slot, name)
        if not held:
            held.append(make())
        return held[0]

    def slot(self, slot: str, name: Any) -> list[Any]:
        """Return the list in which a slot holds what belongs to a name; a new one is empty."""
        if slot not in self._cached or self._cached[slot][0] != name:
            self._cached[slot] = (name, [])
        return self._cached[slot][1]

    def clear_cached(self) -> None:
        """Close everything that is held open."""
        self._cached.clear()

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def cache(self) -> Path:
        """The folder of features that neighbouring runs share."""
        return self.folder.shared

    @cached_property
    def subject(self) -> Subject:
        """The subject, opened; responses are read when asked for."""
        return open_subject(self.config, self.path, self.rois)

    @cached_property
    def model(self) -> LatentDiffusion:
        """The diffusion model, loaded."""
        model, compute = self.config.model, self.config.compute
        return LatentDiffusion.from_pretrained(
            model.name,
            model.revision,
            device=compute.device,
            dtype=compute.dtype,
            tuning=Tuning(compute.channels_last, compute.attention, compute.compile),
            ip_adapter=ip_adapter_of(self.config),
            noise_level=self.config.generate.noise_level,
        )

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture of the diffusion model, without its weights."""
        model = self.config.model
        return Architecture.from_pretrained(
            model.name, model.revision, ip_adapter=ip_adapter_of(self.config)
        )

    @cached_property
    def test_ids(self) -> tuple[str, ...]:
        """The test stimuli that are reconstructed and scored."""
        return self.subject.test.stimulus_ids[: self.config.data.max_test_stimuli]

    @property
    def stimulus_ids(self) -> tuple[str, ...]:
        """The training stimuli, then the test stimuli."""
        return (*self.subject.train.stimulus_ids, *self.test_ids)


def ip_adapter_of(config: Config) -> IPAdapter | None:
    """Return the IP-Adapter of an experiment, if it names one."""
    generate = config.generate
    if generate.ip_adapter is None:
        return None
    return IPAdapter(generate.ip_adapter, generate.ip_adapter_scale)


@lru_cache(maxsize=1)
def _opened(
    config: Config,
    path: Path,
    rois: tuple[str, ...] | None,
    keys: tuple[tuple[str, str], ...],
    command: str,
    expected: str,
) -> Run:
    """Open a run on a worker, once for all its items."""
    if version("vox2pix") != expected:
        raise UserError(
            f"The worker on {platform.node()} has vox2pix {version('vox2pix')}, this command "
            f"{expected}; install the same version on both."
        )
    if not path.is_dir():
        raise UserError(
            f"The worker on {platform.node()} does not see {path}; workers need the run folder "
            "under the same path, on a shared disk."
        )
    return Run(config, RunFolder(path), rois=rois, keys=dict(keys), command=command)


def open_run(path: Path, reporter: Reporter | None = None) -> Run:
    """Open a run folder with the settings of its last run; edited or damaged ones are refused."""
    return Run(run_config(path), RunFolder(path), reporter or Silent())


def open_subject(config: Config, run_path: Path, rois: tuple[str, ...] | None = None) -> Subject:
    """Open the subject of an experiment; a simulated one is in the run folder.

    `rois` are the regions to open, those that are decoded from if absent.
    """
    rois = rois or tuple(dict.fromkeys(chain(*config.decode.rois.values())))
    return source_of(config.data, config.data.root(run_path)).open(rois)


_DRAWN_BY = ("schedule", "ip_adapter", "ip_adapter_scale", "noise_level")  # z_c of encode, too
_SHARED = (
    *("seed", "protocol", "data", "model", "decode"),
    *(f"generate.{key}" for key in _DRAWN_BY),
    "compute",
)


def record_config(run: Run, own: Sequence[str], beside: str) -> None:
    """Write the resolved settings, joined with those of other stages in the same folder.

    `own` and `beside` are as for :func:`vox2pix.pipeline.stage.carry_out`. Other stages that were
    done there with other data, model or protocol are refused.
    """
    path, config = run.path / "config.toml", run.config
    if run.folder.damaged(CONFIG_MARK):
        run.reporter.say(f"{path.name} is missing or damaged, written again")
    elif run.folder.was_done(beside) and path.exists():
        before = load_config(path)
        differing = [key for key in _SHARED if _result_of(before, key) != _result_of(config, key)]
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


def _result_of(config: Config, key: str) -> Any:
    """Return what of a setting changes results: neither places of files nor speed."""
    if key == "data":
        return config.data.settings()
    config = for_others(config)
    if key == "decode":  # how targets are computed, not how they are decoded
        return {name: target.settings for name, target in config.decode.targets.items()}
    if key == "compute":
        return config.compute.dtype
    table, _, name = key.rpartition(".")
    return getattr(config.generate if table else config, name)


def _as_toml(config: Config, folder: Path) -> str:
    """Write settings so that they can be run again, also after the folder was moved."""
    settings = config.model_dump(mode="json", exclude_none=True)
    moved = from_here(settings, folder)
    return tomli_w.dumps(settings | ({MOVED: moved} if moved else {}))
