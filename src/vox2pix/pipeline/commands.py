"""What is done with an experiment: run, encode, transfer, plan, audit it, draw figures again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2pix.config import Config
from vox2pix.data.reports import read_reports
from vox2pix.errors import UserError
from vox2pix.pipeline import encode as encoding_stages
from vox2pix.pipeline import reconstruct
from vox2pix.pipeline._plan import plan, plan_encoding
from vox2pix.pipeline.exported import export_decoders, open_source
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.pipeline.run import Run, open_run
from vox2pix.pipeline.stage import do_stages, redo, run_folder
from vox2pix.pipeline.transfer import STAGES as TRANSFER_STAGES
from vox2pix.pipeline.transferring import open_other, open_transfer
from vox2pix.store import RunFolder, read_json, writing
from vox2pix.workers import Workers

if TYPE_CHECKING:
    from vox2pix.data import Subject
    from vox2pix.data.nsd_imagery import AttentionOrder
    from vox2pix.evaluation.transfer import Standardisation

__all__ = [
    "audit",
    "draw_encoding",
    "encode",
    "export_decoders",
    "plan",
    "plan_encoding",
    "run",
    "transfer",
]


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
    opened: dict[str, Any] = {
        "own": own,
        "beside": "encoding-data",
        "workers": workers,
        "verify": verify,
    }
    with run_folder(config, path, reporter, **opened) as made:
        do_stages(reconstruct.STAGES, made)
    return made


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
    rois = config.encode.rois
    opened: dict[str, Any] = {"own": ("encode",), "beside": "data", "rois": rois}
    opened |= {"workers": workers, "verify": verify}
    with run_folder(config, path, reporter, **opened) as made:
        do_stages(encoding_stages.STAGES, made)
    return made


def transfer(
    run: str | Path,
    data: "Subject | str | Path",
    out: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    standardise: "Standardisation" = "none",
    attention_order: "AttentionOrder" = "interleaved",
    reporter: Reporter | None = None,
) -> Run:
    """Decode other responses of the same voxels by the frozen decoders of a finished run.

    Imagery, another session or another day: whether there is anything to decode, how far the
    responses are from those of training, which stimuli are identified from decoded targets and
    from images, and whether the cue alone would do. Nothing is fitted.

    Parameters
    ----------
    run : str or Path
        Folder of a run that `vox2pix run` finished, or of decoders that
        :func:`vox2pix.export_decoders` wrote.
    data : Subject, str or Path
        A subject, from :func:`vox2pix.open_nsd_imagery` for one; or the folder, URL or experiment
        file that holds the responses. Trials may have the columns ``task`` (``vision``,
        ``imagery``, ``attention-cue``) and ``set``; without, test trials are decoded.
    out : str or Path, optional
        Folder of the results, beside the run and named after it if absent; what it holds under
        the same settings and data is reused.
    truth : str or Path, optional
        A CSV file of reported words (``trial``, from 1, and ``word``), where no image of what was
        in mind exists: imagery of concepts, dreams.
    standardise : {"none", "run", "session"}
        Whether decoders meet responses as they are, or with the moments of training, taken run by
        run or from the seen trials of the session
        (:func:`vox2pix.evaluation.transfer.restandardise`).
    attention_order : {"interleaved", "cues-first"}
        Of NSD-Imagery's folder, see :func:`vox2pix.open_nsd_imagery`.
    reporter : Reporter, optional
        Receives messages and progress.

    Returns
    -------
    Run
        Every stage done: ``transfer.html`` and ``transfer.json`` are in its folder.

    Raises
    ------
    UserError
        If the run is not finished, voxels do not match, or there is nothing to decode.
    """
    path = Path(run)
    source = open_source(path)
    folder = Path(out) if out is not None else path.with_name(f"{path.resolve().name}-transfer")
    if (folder / "config.toml").exists():
        raise UserError(f"{folder} is a run: name another folder for the transfer.")
    other = open_other(source, data, attention_order) if isinstance(data, str | Path) else data
    made = Run(source.config, RunFolder(folder), reporter or Silent())
    reports = None if truth is None else read_reports(Path(truth), len(other.trials))
    made.transfer = open_transfer(source, other, standardise, reports)
    with made.folder.lock(), writing(folder):
        do_stages(TRANSFER_STAGES, made)
    return made


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
