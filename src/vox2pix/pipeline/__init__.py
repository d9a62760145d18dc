"""The only place where rooms meet: the stages of a run, what each reads and writes."""

from pathlib import Path

from vox2pix.config import Config
from vox2pix.pipeline.plan import Plan, StagePlan, plan
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.pipeline.run import Run, carry_out, open_subject
from vox2pix.pipeline.stages import STAGES

__all__ = ["Plan", "Reporter", "Run", "Silent", "StagePlan", "open_subject", "plan", "run"]


def run(config: Config, path: Path, reporter: Reporter | None = None) -> Run:
    """Carry out an experiment, or what is left of it, in a folder.

    Parameters
    ----------
    config : Config
        What to do, from :func:`vox2pix.config.load_config`.
    path : Path
        The run folder. What it holds already under the same settings is kept.
    reporter : Reporter, optional
        Who is told how the work goes; nobody if absent.

    Returns
    -------
    Run
        Every stage done: ``metrics.json``, ``scores.csv`` and ``contact_sheet.png`` are in
        its folder.

    Raises
    ------
    UserError
        If input is wrong, or another run is at work in the folder.
    """
    return carry_out(STAGES, config, path, reporter)
