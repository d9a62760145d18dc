"""The subject of an experiment: opened, simulated first where that is the source."""

from collections.abc import Callable, Sequence

from vox2pix.data.origin import data_record
from vox2pix.phantom import simulate
from vox2pix.pipeline.preconditions import Analysis, inspect_subject
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run
from vox2pix.store import write_json

_RECORDS: dict[Analysis, str] = {"run": "data.json", "encode": "encoding/data.json"}


def prepare_subject(run: Run, analysis: Analysis) -> Sequence[str]:
    """Simulate the phantom where that is the source; open the subject, and record what was read.

    Everything is read once, so that what cannot work is refused before the work.

    Parameters
    ----------
    run : Run
        The experiment.
    analysis : {"run", "encode"}
        What is to be done; each has its own record of the data.

    Returns
    -------
    sequence of str
        Files of the run folder that a mark may vouch for.

    Raises
    ------
    UserError
        If data are missing or faulty, or the experiment is impossible with them.
    """
    data = run.config.data
    target = data.root(run.path)
    if data.source == "phantom" and run.folder.damaged(target.name):
        run.reporter.say(f"{target.name} is damaged, simulated again")
        run.folder.discard(target.name)
    if data.source == "phantom" and not target.exists():  # it appears when it is complete
        phantom = data.phantom
        simulate(
            target,
            subjects=data.subject,
            sessions=phantom.sessions,
            seed=phantom.seed,
            space=data.space,
            n_early=phantom.n_early,
            n_ventral=phantom.n_ventral,
            trials_per_session=phantom.trials_per_session,
            n_shared=phantom.n_shared,
            progress=_stepwise(run.reporter),
        )
    subject = run.subject
    n_train, n_test = len(subject.train.stimulus_ids), len(run.test_ids)
    run.reporter.say(
        f"{subject.name}: {subject.train.n_trials:,} training trials of {n_train:,} images, "
        f"{n_test:,} test images, {len(subject.voxels):,} voxels"
    )
    if data.source == "phantom":
        run.folder.mark_done(target.name, "", run.folder.files(f"{target.name}/**/*"))
    notes = inspect_subject(run.config, analysis, subject, run.test_ids, run.reporter)
    read = data_record(subject, data.source, run.test_ids, notes)
    for note in read.notes:
        run.reporter.say(f"Note: {note}")
    write_json(run.path / _RECORDS[analysis], read.model_dump(mode="json"))
    return (_RECORDS[analysis],)


def phantom_is_sound(run: Run) -> bool:
    """Tell whether a simulated subject is there as it was written; other data have no checksums."""
    target = run.config.data.root(run.path)
    if run.config.data.source != "phantom":
        return True
    return target.exists() and not run.folder.damaged(target.name)


def _stepwise(reporter: Reporter) -> Callable[[str, int, int], None]:
    """Tell a reporter how far each step is, by (step, done, total)."""
    current, told = "", 0

    def progress(step: str, done: int, total: int) -> None:
        nonlocal current, told
        if step != current:
            reporter.begin(step.capitalize(), total, "")
            current, told = step, 0
        reporter.advance(done - told)
        told = done

    return progress
