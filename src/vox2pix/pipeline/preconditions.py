"""What must hold of data and settings before any work: one check for plan, run and encode."""

from collections.abc import Sequence
from typing import Literal

from vox2pix.config import Config
from vox2pix.data import Subject
from vox2pix.data.faults import Faults
from vox2pix.data.look import FEWEST_TEST, FEWEST_TRAIN, look_over
from vox2pix.diffusion.caption_length import caption_lengths
from vox2pix.encoding import EncodingModel
from vox2pix.errors import UserError
from vox2pix.pipeline.drawings import planned_drawings
from vox2pix.pipeline.experiment import make_decoder
from vox2pix.pipeline.reporter import stepwise
from vox2pix.pipeline.run import Run
from vox2pix.targets import targets_of, usable

Analysis = Literal["run", "encode"]

_WHY_TEST: dict[Analysis, str] = {
    "run": "scoring needs 2 or more",
    "encode": "correlations over them need 3 or more",
}
_WHY_TRAIN: dict[Analysis, str] = {
    "run": "a decoder needs 2 or more",
    "encode": "an encoding model needs 3 or more",
}


def require_enough(
    config: Config,
    analysis: Analysis,
    subject: str,
    *,
    n_train: int,
    n_test: int,
    n_train_trials: int,
    has_captions: bool,
) -> None:
    """Refuse an experiment that its counts alone make impossible; say what is needed."""
    if n_test < FEWEST_TEST[analysis]:
        raise UserError(
            f"{subject} has {n_test} test images, and {_WHY_TEST[analysis]}; mark more of its "
            "trials as test (column split of trials.csv), or read sessions that show more of them."
        )
    if n_train < FEWEST_TRAIN[analysis]:
        raise UserError(
            f"{subject} has {n_train} training images, and {_WHY_TRAIN[analysis]}; mark fewer of "
            "its trials as test."
        )
    found = usable(targets_of(config), has_captions)
    if not found:
        raise UserError(
            f"{subject} has no captions, which {', '.join(targets_of(config))} is computed from; "
            "add captions, or decode z."
        )
    if analysis == "encode":
        n_folds = EncodingModel().n_folds
        if config.encode.selection == "cv" and n_train < n_folds:
            raise UserError(
                f"{subject} has {n_train} training images for {n_folds} folds; mark fewer of its "
                'trials as test, or choose penalties by encode.selection = "gcv".'
            )
        return
    decoder, alphas = make_decoder(config), config.decode.alphas
    chooses_by_folds = decoder.selection == "cv" and (alphas is None or len(alphas) > 1)
    n, unit = (n_train, "images") if decoder.grouped else (n_train_trials, "trials")
    if chooses_by_folds and n < decoder.n_folds:
        raise UserError(
            f"{subject} has {n} training {unit} for {decoder.n_folds} folds; give it more, or "
            'choose penalties by decode.selection = "gcv" under protocol = "default".'
        )
    if not any(d.source == "decoded" for d in planned_drawings(config, has_captions)):
        names = ", ".join(config.generate.conditions or ()) or "none"
        raise UserError(
            f"generate.conditions ({names}) leaves nothing to draw from what is decoded "
            f"({', '.join(found)})."
        )


def require_subject(
    config: Config, analysis: Analysis, subject: Subject, test_ids: Sequence[str]
) -> None:
    """Refuse an experiment that the subject's tables make impossible; no responses are read.

    Regions without voxels and missing images or captions are refused, too.
    """
    require_enough(
        config,
        analysis,
        subject.name,
        n_train=len(subject.train.stimulus_ids),
        n_test=len(test_ids),
        n_train_trials=subject.train.n_trials,
        has_captions=subject.has_captions,
    )
    rois = config.encode.rois
    if analysis == "run":
        found = usable(targets_of(config), subject.has_captions)
        rois = tuple(roi for name in found for roi in config.decode.rois[name])
    for roi in dict.fromkeys(rois):
        if not subject.voxel_mask(roi).any():
            raise UserError(f"The region {roi!r} of {subject.name} has no voxels; leave it out.")
    if analysis == "run" and config.decode.uses_reliability:
        _require_reliability(config, subject)
    ids, faults = (*subject.train.stimulus_ids, *test_ids), Faults()
    subject.stimulus_source.missing_images(ids, faults)
    if subject.has_captions:
        subject.stimulus_source.missing_captions(ids, faults)
    faults.raise_first()


def _require_reliability(config: Config, subject: Subject) -> None:
    """Refuse weights of voxels where nothing tells their reliability."""
    asked = "decode.reliability_powers and decode.min_reliability"
    if config.decode.reliability == "published":
        if not (subject.voxels["ncsnr"] > 0).any():
            raise UserError(
                f"The data of {subject.name} give no ncsnr, which decode.reliability = "
                '"published" asks for; set it to "training", or remove ' + asked + "."
            )
    elif (subject.train.repeats < 2).all():
        raise UserError(
            f"No training image of {subject.name} was shown twice, so that the reliability of its "
            f"voxels is unknown; remove {asked}."
        )


def inspect_subject(run: Run, analysis: Analysis) -> tuple[str, ...]:
    """Read everything before the work; return notes as ``data check``, or raise the first fault."""
    subject, model, faults = run.subject, run.config.model, Faults()
    require_subject(run.config, analysis, subject, run.test_ids)
    progress = stepwise(run.reporter, lambda step: f"Checking {step}", lambda step: step)
    found = look_over(
        subject, faults, progress, lambda texts: caption_note(model.name, texts, model.revision)
    )
    faults.raise_first()
    if found.constant.all():
        raise UserError(
            f"None of the {len(found.constant)} voxels of {subject.name} ever changes: nothing can "
            "be predicted from them or of them; check the responses."
        )
    return faults.notes


def caption_note(
    model: str, captions: Sequence[Sequence[str]], revision: str | None = None
) -> tuple[str, ...]:
    """Report how many captions of images a text encoder truncates; empty if it truncates none."""
    lengths = caption_lengths(model, captions, revision)
    if not lengths.n_cut:
        return ()
    return (
        f"{lengths.n_cut} of {lengths.n_captions} captions, of {lengths.n_images_cut} of "
        f"{len(captions)} images, are longer than the {lengths.n_tokens} tokens that the text "
        "encoder takes, and are cut.",
    )
