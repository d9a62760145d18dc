"""The report stage, which ends a reconstruction and an encoding analysis alike."""

from collections.abc import Sequence

from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.report import write_report


def report_stage(name: str, after: tuple[str, ...]) -> Stage:
    """Return the stage that writes ``report.html`` from the run folder."""
    page = "report.html"
    return Stage(
        name, "Report", _write, after=after, is_sound=lambda run: (run.path / page).is_file()
    )


def _write(run: Run) -> Sequence[str]:
    run.reporter.begin("Writing the report", 1, "page")
    write_report([run.path])
    run.reporter.advance(1)
    return ()
