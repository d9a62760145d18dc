"""The subject of an experiment: opened, and simulated first where that is the source."""

from collections.abc import Sequence

from vox2pix.data.origin import data_record
from vox2pix.phantom import simulate
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.experiment import targets
from vox2pix.pipeline.preconditions import Analysis, inspect_subject
from vox2pix.pipeline.reporter import stepwise
from vox2pix.pipeline.run import Run
from vox2pix.store import write_json
from vox2pix.targets import check_ports, targets_of

_RECORDS: dict[Analysis, str] = {"run": "data.json", "encode": "encoding/data.json"}


def prepare_subject(run: Run, analysis: Analysis) -> Sequence[str]:
    """Open the subject, simulated first where needed, check it, and record what was read.

    Everything is read once, so that what cannot work is refused before the work. Returns the files
    that a mark may vouch for.
    """
    data = run.config.data
    if data.source == "phantom":
        _simulate(run)
    subject = run.subject
    n_train, n_test = len(subject.train.stimulus_ids), len(run.test_ids)
    run.reporter.say(
        f"{subject.name}: {subject.train.n_trials:,} training trials of {n_train:,} images, "
        f"{n_test:,} test images, {len(subject.voxels):,} voxels"
    )
    for name in targets(run):  # a port that the model lacks is refused before the work
        check_ports((name,), targets(run), run.architecture.ports)
    notes = inspect_subject(run, analysis)
    record = data_record(subject, data.source, run.test_ids, notes)
    for note in record.notes:
        run.reporter.say(f"Note: {note}")
    left_out = [name for name in targets_of(run.config) if name not in targets(run)]
    if left_out:
        run.reporter.say(f"No captions: {', '.join(left_out)} is left out of this run.")
    write_json(run.path / _RECORDS[analysis], record.model_dump(mode="json"))
    return (_RECORDS[analysis],)


def _simulate(run: Run) -> None:
    """Simulate the subject into the run folder, unless it is there, complete and undamaged."""
    data = run.config.data
    folder = data.root(run.path)
    if run.folder.damaged(folder.name):
        run.reporter.say(f"{folder.name} is damaged, simulated again")
        run.folder.discard(folder.name)
    if not folder.exists():  # it appears when it is complete
        phantom = data.phantom
        simulate(
            folder,
            subjects=data.subject,
            sessions=phantom.sessions,
            seed=phantom.seed,
            space=data.space,
            n_early=phantom.n_early,
            n_ventral=phantom.n_ventral,
            trials_per_session=phantom.trials_per_session,
            n_shared=phantom.n_shared,
            progress=stepwise(run.reporter, str.capitalize, lambda step: ""),
        )
    run.subject  # noqa: B018  opened before its files are vouched for
    run.folder.mark_done(folder.name, "", run.folder.files(f"{folder.name}/**/*"))


def phantom_is_sound(run: Run) -> bool:
    """Whether a simulated subject is there as it was written; other data have no checksums."""
    if run.config.data.source != "phantom":
        return True
    folder = run.config.data.root(run.path)
    return folder.exists() and not run.folder.damaged(folder.name)


def data_cost(p: Planned) -> Cost:
    """Return the cost of simulating a subject, or of checking one."""
    if p.config.data.source != "phantom":
        return Cost("data", "check the data", 10e6, 0, 0.3e9, 10)
    seconds = 5 + 0.02 * p.n_stimuli + 0.004 * p.sizes.n_train_trials
    return Cost("data", "simulate a subject", 0, p.sizes.beta_bytes, 1.2e9, seconds)
