"""What is done with an experiment: run, encode, plan, audit it, draw its figures again."""

from pathlib import Path
from typing import Any

from vox2pix.config import Config
from vox2pix.errors import UserError
from vox2pix.pipeline import encode as encoding_stages
from vox2pix.pipeline import reconstruct
from vox2pix.pipeline._plan import plan, plan_encoding
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run, open_run
from vox2pix.pipeline.stage import carry_out, redo
from vox2pix.store import read_json
from vox2pix.workers import Workers

__all__ = ["audit", "draw_encoding", "encode", "plan", "plan_encoding", "run"]


def run(
    config: Config,
    path: Path,
    reporter: Reporter | None = None,
    workers: Workers | None = None,
    verify: bool = False,
) -> Run:
    """Reconstruct what a subject saw, or do what is left of it, in a folder.

    Parameters
    ----------
    config : Config
        What to do, from :func:`vox2pix.config.load_config`.
    path : Path
        The run folder. What it holds under the same settings is reused.
    reporter : Reporter, optional
        Receives messages and progress.
    workers : Workers, optional
        From :func:`vox2pix.workers.open_workers`; this process does all if absent.
    verify : bool
        Hash every input file, also those that look unchanged.

    Returns
    -------
    Run
        Every stage done: ``report.html``, ``metrics.json``, ``scores.csv``, ``audit.json`` and
        ``contact_sheet.png`` are in its folder.

    Raises
    ------
    UserError
        If input is wrong, or another run is at work in the folder.
    """
    own = ("name", "decode", "generate", "evaluate", "audit")
    return carry_out(
        reconstruct.STAGES,
        config,
        path,
        reporter,
        own=own,
        beside="encoding-data",
        workers=workers,
        verify=verify,
    )


def encode(
    config: Config,
    path: Path,
    reporter: Reporter | None = None,
    workers: Workers | None = None,
    verify: bool = False,
) -> Run:
    """Explain voxels by the model's latents, or do what is left of it, in a folder.

    Parameters
    ----------
    config : Config
        What to do; its table ``encode`` names the analyses.
    path : Path
        The run folder, which may be that of a reconstruction.
    reporter, workers, verify
        As for :func:`run`.

    Returns
    -------
    Run
        Every stage done: tables, maps and figures are in its folder ``encoding``.

    Raises
    ------
    UserError
        As :func:`run`.
    """
    return carry_out(
        encoding_stages.STAGES,
        config,
        path,
        reporter,
        own=("encode",),
        beside="data",
        rois=config.encode.rois,
        workers=workers,
        verify=verify,
    )


def audit(path: Path, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Audit a run again that was drawn and scored.

    Returns
    -------
    list of dict
        The records of ``audit.json``, one per check.

    Raises
    ------
    UserError
        If the folder is no run, it was not scored, or its experiment has no audit.
    """
    run = open_run(path, reporter)
    if not run.config.audit.enabled:
        raise UserError(
            f"{path} was run with audit.enabled = false, so that nothing was drawn for an audit; "
            "set it to true and rerun."
        )
    with run.folder.lock():
        redo(reconstruct.STAGES, "audit", run)
    return list(read_json(path / "audit.json"))


def draw_encoding(path: Path, reporter: Reporter | None = None) -> list[Path]:
    """Draw the figures of an encoding analysis again, from its tables; return the PNG files."""
    run = open_run(path, reporter)
    run.rois = run.config.encode.rois
    with run.folder.lock():
        return encoding_stages.draw_figures(run)
