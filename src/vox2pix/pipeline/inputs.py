"""What a run reads from outside its folder, by contents: data, and weights of models."""

from collections.abc import Callable, Mapping
from pathlib import Path

from vox2pix.buckets import file_versions, is_remote
from vox2pix.data import is_of_folder
from vox2pix.diffusion.pipeline_folder import files_of_model, find_pipeline
from vox2pix.evaluation import encoder_files
from vox2pix.pipeline.read_folders import read_folders
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run
from vox2pix.store import content_hashes

_MB = 10**6
_WORTH_A_BAR = 500 * _MB


def input_files(run: Run) -> dict[str, str]:
    """Hash the data files that an experiment may read.

    Neither where the data lie nor the times of files matter; a file with other contents, an added
    or a removed one does. A subject of NSD has some 40 GB: they are read at the first start, and
    again only where a file may have changed since (:func:`vox2pix.store.content_hashes`).

    Parameters
    ----------
    run : Run
        The experiment and its folder.

    Returns
    -------
    dict of str to str
        What identifies the contents, by path from the root of the data; empty for a simulated
        subject, which lies in the run folder.
    """
    data = run.config.data
    if data.path is None:
        return {}
    root = data.root(run.path)
    below = read_folders(data)
    if is_remote(root):  # a listing says it of many objects at once
        return {
            f"{name}/{file}": f"{size} bytes, {version}"
            for name in below
            for file, (size, version) in sorted(file_versions(root / name).items())
            if data.source != "folder" or is_of_folder(file)
        }
    files = {
        f"{name}/{file}": root / name / file
        for name in below
        for file in file_versions(root / name)
        if data.source != "folder" or is_of_folder(file)
    }
    return _hashes(run, "Checking data files", root, files)


def model_hashes(run: Run) -> dict[str, str]:
    """Hash the files of the diffusion model."""
    folder = find_pipeline(run.config.model.name, run.config.model.revision).path
    return _hashes(run, "Checking the model", folder, files_of_model(folder))


def encoder_hashes(run: Run) -> dict[str, str]:
    """Hash the files of the encoder that reconstructions are scored with."""
    files = encoder_files(run.config.evaluate.encoder)
    if not files:
        return {}
    return _hashes(run, "Checking the encoder", next(iter(files.values())).parent, files)


def _hashes(run: Run, title: str, root: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """Hash files into the record beside the runs; say so where it takes a while."""
    records, bar = run.cache.parent / "checksums", _bar(run.reporter, title)
    return content_hashes(root.resolve(), files, records, verify=run.verify, progress=bar)


def _bar(reporter: Reporter, title: str) -> Callable[[int, int], None]:
    """Return what shows how many megabytes of many were read."""
    shown = -1

    def progress(done: int, total: int) -> None:
        nonlocal shown
        if total < _WORTH_A_BAR:
            return
        if shown < 0:
            reporter.begin(title, -(-total // _MB), "MB")
            shown = 0
        now = -(-total // _MB) if done == total else done // _MB
        reporter.advance(now - shown)
        shown = now

    return progress
