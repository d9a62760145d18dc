"""Read all of a subject once, and say what is wrong with it and what is worth knowing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vox2pix.data.agreement import agreement_notes
from vox2pix.data.evidence import add_response_evidence, listed
from vox2pix.data.faults import Faults
from vox2pix.data.image_content import ImageSurvey, survey_images
from vox2pix.data.reliability import NcsnrEstimator
from vox2pix.data.response_sample import ResponseSample
from vox2pix.data.subject import Split, Subject
from vox2pix.data.volumes import NonFiniteError

Progress = Callable[[str, int, int], None]
CaptionNotes = Callable[[Sequence[Sequence[str]]], Sequence[str]]
FEWEST_TEST = {"run": 2, "encode": 3}
"""Test images that each analysis needs: to score them, and to correlate over them."""
FEWEST_TRAIN = {"run": 2, "encode": 3}
"""Training images that a decoder, and an encoding model, needs."""

# Beyond these, float32 sums and products of responses overflow or vanish.
_LARGEST, _SMALLEST = 1e12, 1e-12


@dataclass(frozen=True)
class Findings:
    """What reading everything once tells of a subject."""

    constant: NDArray[np.bool_]  # (n_voxels,): voxels whose response never changes
    # (n_voxels,): as the data set has it, or estimated from repeats; NaN where unknown
    ncsnr: NDArray[np.float64]
    ncsnr_source: str  # ``file``, ``estimated`` or ``unknown``
    images: ImageSurvey  # what the images are
    captions: tuple[int, ...]  # captions of each stimulus that has some


def look_over(
    subject: Subject,
    faults: Faults,
    progress: Progress | None = None,
    caption_notes: CaptionNotes | None = None,
) -> Findings:
    """Read every response, image and caption once, and add one fault per cause.

    Memory is that of one session's voxels beside a sample of each trial
    (:class:`~vox2pix.data.response_sample.ResponseSample`). ``progress`` receives what is being
    read (``"sessions"``, ``"images"``), how many are done and how many there are;
    ``caption_notes`` returns notes on the captions of all images, such as how many a model
    cuts.
    """
    advance = progress or (lambda what, done, total: None)
    whole = subject.select(np.ones(len(subject.trials), bool))
    sample, ncsnr, source = _read_responses(whole, faults, advance)
    _add_range(sample, faults)
    add_response_evidence(sample, faults)
    for note in agreement_notes(sample):
        faults.note(note)
    images = survey_images(
        subject, whole.stimulus_ids, faults, lambda done, total: advance("images", done, total)
    )
    captions = _read_captions(subject, whole.stimulus_ids, faults, caption_notes)
    for note in _size_notes(subject):
        faults.note(note)
    constant = sample.low == sample.high
    return Findings(constant, ncsnr, source, images, captions)


def _size_notes(subject: Subject) -> list[str]:
    """Say which analyses the data are too small for."""
    if not subject.test.n_trials:
        return ["No trial is marked as test."]
    notes = []
    counts = (("test", subject.test, FEWEST_TEST), ("training", subject.train, FEWEST_TRAIN))
    for name, split, fewest in counts:
        n = len(split.stimulus_ids)
        short = [f"vox2pix {analysis} needs {least}" for analysis, least in fewest.items()
                 if n < least]  # fmt: skip
        if short:
            notes.append(f"{n} {name} image{'s' * (n != 1)}: {', '.join(short)} or more.")
    return notes


def _read_responses(
    whole: Split, faults: Faults, progress: Progress
) -> tuple[ResponseSample, NDArray[np.float64], str]:
    """Read every session once: a sample of each trial, and ncsnr where no file has it."""
    subject, n_voxels = whole.subject, len(whole.subject.voxels)
    given = subject.voxels["ncsnr"].to_numpy(float)
    estimate = not np.isfinite(given).any()
    # one stimulus is enough where nothing is estimated
    estimator = NcsnrEstimator(len(whole.stimulus_ids) if estimate else 1, n_voxels)
    sample = ResponseSample(whole.trials, n_voxels)
    damaged: list[NonFiniteError] = []
    for done, session in enumerate(subject.sessions):
        with faults.gathered():
            rows = np.flatnonzero(whole.trials["session"] == session)
            try:
                betas = subject.betas_source.read_session(session, np.arange(n_voxels))
            except NonFiniteError as error:
                damaged.append(error)
            else:
                sample.add(session, rows, betas)
                if estimate:
                    estimator.add(whole.stimulus_rows[rows], betas)
        progress("sessions", done + 1, len(subject.sessions))
    _add_damaged(damaged, faults)
    if not estimate:
        return sample, given, "file"
    estimated = estimator.ncsnr()
    if np.isfinite(estimated).any():
        return sample, estimated, "estimated"
    if whole.n_trials == len(whole.stimulus_ids):
        faults.note(
            "No noise ceiling: there is no ncsnr and no stimulus was repeated; whether responses "
            "and trials are in the same order cannot be checked either."
        )
    return sample, estimated, "unknown"


def _add_damaged(damaged: Sequence[NonFiniteError], faults: Faults) -> None:
    """Add one fault for the sessions that have NaN in the same voxels."""
    causes: dict[tuple[int, ...], list[NonFiniteError]] = {}
    for error in damaged:
        causes.setdefault(error.voxels, []).append(error)
    for errors in causes.values():
        sessions = [str(error.session) for error in errors]
        more = ""
        if len(errors) > 1:
            more = f" The same voxels have such values in sessions {listed(sessions)}."
        faults.add(f"{errors[0]}{more}")


def _add_range(sample: ResponseSample, faults: Faults) -> None:
    """Add a fault where responses are so large or small that sums of them are not numbers."""
    size = sample.size[sample.is_read]
    if not size.size:
        return
    highest = float(max(abs(sample.low.min()), abs(sample.high.max())))
    spread = float((sample.high.astype(float) - sample.low).max())
    if highest > _LARGEST:
        faults.add(
            f"Responses reach {highest:.3g}, beyond {_LARGEST:g}, where sums of their squares are "
            "no float32 numbers: divide them by a constant, or correct the trial."
        )
    elif 0 < spread < _SMALLEST:
        faults.add(
            f"Responses differ by at most {spread:.3g}, less than {_SMALLEST:g}, where squares of "
            "them are no float32 numbers: multiply them by a constant."
        )


def _read_captions(
    subject: Subject,
    stimulus_ids: Sequence[str],
    faults: Faults,
    caption_notes: CaptionNotes | None,
) -> tuple[int, ...]:
    """Return the number of captions of each stimulus that has some."""
    if not subject.has_captions:
        faults.note("There are no captions: targets of captions cannot be decoded.")
        return ()
    missing = set(subject.stimulus_source.missing_captions(stimulus_ids, faults))
    captions = subject.captions([i for i in stimulus_ids if i not in missing])
    if len(captions) > 1 and len({frozenset(of_one) for of_one in captions}) == 1:
        faults.note(
            f"All {len(captions)} images have the same captions: targets of captions are the same "
            "for all of them and cannot be decoded."
        )
    for note in caption_notes(captions) if caption_notes else ():
        faults.note(note)
    return tuple(len(of_one) for of_one in captions)
