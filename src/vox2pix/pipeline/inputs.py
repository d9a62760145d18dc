"""The files that an experiment reads from outside its folder: data, and weights of models."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from vox2pix.buckets import is_remote, is_url
from vox2pix.config import Config, DataConfig
from vox2pix.data import source_of
from vox2pix.diffusion.ip_adapter import check_adapter
from vox2pix.diffusion.pipeline_folder import files_of_model, find_pipeline
from vox2pix.errors import UserError
from vox2pix.evaluation import encoder_files
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run
from vox2pix.store import content_hashes
from vox2pix.targets import targets_of

_MB = 10**6
_SHOWN_FROM = 500 * _MB  # bytes from which hashing shows a progress bar


def input_files(run: Run) -> dict[str, str]:
    """Return a content hash of each data file that an experiment may read.

    Neither the place of the data nor the times of files matter; a file with other contents, an
    added or a removed one does. A subject of NSD has some 40 GB: they are read at the first start,
    and again only where a file may have changed since (:func:`vox2pix.store.content_hashes`).
    Empty for a simulated subject, which is part of the run folder.
    """
    data = run.config.data
    if data.path is None:
        return {}
    root = data.root(run.path)
    listed = source_of(data, root).listed()
    if is_remote(root):  # a listing describes many objects at once
        return {name: f"{size} bytes, {version}" for name, _, (size, version) in listed}
    return _hashes(run, "Checking data files", root, {name: path for name, path, _ in listed})


def model_hashes(run: Run) -> dict[str, str]:
    """Return a content hash of each file of the diffusion model."""
    folder = find_pipeline(run.config.model.name, run.config.model.revision).path
    return _hashes(run, "Checking the model", folder, files_of_model(folder))


def target_hashes(run: Run) -> dict[str, str]:
    """Return a content hash of each file that true values depend on: the model's, the targets'."""
    hashes = model_hashes(run)
    for name, target in targets_of(run.config).items():
        title, own = f"Checking the encoder of {name}", target.files()
        hashes |= {f"decode.{name}/{k}": v for k, v in _hashes_in_one(run, title, own).items()}
    return hashes


def adapter_hashes(run: Run, config: Config | None = None) -> dict[str, str]:
    """Return a content hash of the IP-Adapter that images are drawn through, if there is one.

    It is that of the run, or of another experiment.
    """
    path = (config or run.config).generate.ip_adapter
    if path is None:
        return {}
    check_adapter(path)
    return _hashes(run, "Checking the IP-Adapter", path, {path.name: path})


def encoder_hashes(run: Run) -> dict[str, str]:
    """Return a content hash of each file of the encoder that reconstructions are scored with."""
    files = encoder_files(run.config.evaluate.encoder)
    return _hashes_in_one(run, "Checking the encoder", files)


def require_outside_data(data: DataConfig, run_path: Path) -> None:
    """Refuse a run folder among files that are read as data: a run would change its own input.

    A run folder beside them, in the same folder, does no harm.
    """
    source = source_of(data, data.root(run_path))
    if data.path is None or is_url(data.path):
        return
    root, folder = data.root(run_path).resolve(), run_path.resolve()
    is_read = folder.is_relative_to(root) and source.holds(
        PurePosixPath(folder.relative_to(root).as_posix())
    )
    beside = [place.resolve() for place in source.companions().values()]
    if is_read or any(folder.is_relative_to(place) for place in beside):
        raise UserError(
            f"{folder} is among the files that are read as data ({root}); name a run folder "
            "elsewhere with --out."
        )


def _hashes_in_one(run: Run, title: str, files: Mapping[str, Path]) -> dict[str, str]:
    """Return the hashes of files of one folder; nothing where there are none."""
    if not files:
        return {}
    return _hashes(run, title, next(iter(files.values())).parent, files)


def _hashes(run: Run, title: str, root: Path, files: Mapping[str, Path]) -> dict[str, str]:
    records, progress = run.cache.parent / "checksums", _megabytes(run.reporter, title)
    return content_hashes(root.resolve(), files, records, verify=run.verify, progress=progress)


def _megabytes(reporter: Reporter, title: str) -> Callable[[int, int], None]:
    """Return what reports the bytes read, (done, total), where reading takes a while."""
    reported = -1

    def progress(done: int, total: int) -> None:
        nonlocal reported
        if total < _SHOWN_FROM:
            return
        if reported < 0:
            reporter.begin(title, -(-total // _MB), "MB")
            reported = 0
        now = -(-total // _MB) if done == total else done // _MB
        reporter.advance(now - reported)
        reported = now

    return progress
