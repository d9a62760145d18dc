"""The only place where rooms meet: the stages of a run, what each reads and writes."""

from pathlib import Path

from vox2pix.config import Config
from vox2pix.pipeline.encoding_stages import ENCODING_STAGES
from vox2pix.pipeline.encoding_stages import redraw as draw_encoding
from vox2pix.pipeline.plan import Plan, StagePlan, plan
from vox2pix.pipeline.plan_encoding import plan_encoding
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.pipeline.run import Run, carry_out, open_subject
from vox2pix.pipeline.stages import STAGES
from vox2pix.pipeline.stages import audit_again as audit
from vox2pix.workers import Workers

__all__ = [
    "Plan",
    "Reporter",
    "Run",
    "Silent",
    "StagePlan",
    "audit",
    "draw_encoding",
    "encode",
    "open_subject",
    "plan",
    "plan_encoding",
    "run",
]


def run(
    config: Config,
    path: Path,
    reporter: Reporter | None = None,
    workers: Workers | None = None,
    verify: bool = False,
) -> Run:
    """Carry out an experiment, or what is left of it, in a folder.

    Parameters
    ----------
    config : Config
        What to do, from :func:`vox2pix.config.load_config`.
    path : Path
        The run folder. What it holds already under the same settings is kept.
    reporter : Reporter, optional
        Who is told how the work goes; nobody if absent.
    workers : Workers, optional
        From :func:`vox2pix.workers.open_workers`; this process does all if absent.
    verify : bool
        Hash every input file, also those that look as they did when they were hashed.

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
        STAGES,
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
    """Carry out an encoding analysis, or what is left of it, in a folder.

    Parameters
    ----------
    config : Config
        What to do; its table ``encode`` names the analyses.
    path : Path
        The run folder, which may be that of a reconstruction.
    reporter : Reporter, optional
        Who is told how the work goes; nobody if absent.
    workers : Workers, optional
        From :func:`vox2pix.workers.open_workers`; this process does all if absent.
    verify : bool
        Hash every input file, also those that look as they did when they were hashed.

    Returns
    -------
    Run
        Every stage done: tables, maps and figures are in its folder ``encoding``.

    Raises
    ------
    UserError
        If input is wrong, or another run is at work in the folder.
    """
    rois = config.encode.rois
    return carry_out(
        ENCODING_STAGES,
        config,
        path,
        reporter,
        own=("encode",),
        beside="data",
        rois=rois,
        workers=workers,
        verify=verify,
    )
