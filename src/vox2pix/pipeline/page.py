"""What the report needs beside the run's own files, and the report itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vox2pix.evaluation.metrics.identification import single_unit_rows
from vox2pix.pipeline.images import as_bytes
from vox2pix.pipeline.latents import FloatArray, image_size
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.spaces import feature_spaces
from vox2pix.report import Nearest, save_gallery, write_report

LARGEST, THUMBNAIL = 320, 160  # pixels a side
N_NEAREST = 3


def keep_gallery(run: Run) -> Sequence[str]:
    """Keep what the report shows of the test stimuli, so that it needs neither data nor model."""
    subject = run.subject
    size = min(image_size(run), LARGEST)
    run.reporter.begin("Keeping the gallery", len(run.test_ids), "images")
    save_gallery(
        run.path / "gallery",
        run.test_ids,
        as_bytes(subject.images(run.test_ids, size=size)),
        captions=subject.captions(run.test_ids) if subject.has_captions else None,
        nearest=_nearest(run),
    )
    run.reporter.advance(len(run.test_ids))
    return run.folder.written("gallery")


def _nearest(run: Run) -> Nearest:
    """Find the training images that are nearest to each test image, in c or z."""
    space = feature_spaces(run)[-1]
    train_ids = run.subject.train.stimulus_ids
    r = _correlations(space.targets(run, run.test_ids), space.targets(run, train_ids))
    nearest = np.argsort(-r, axis=1, kind="stable")[:, :N_NEAREST]
    ids = [[train_ids[row] for row in rows] for rows in nearest]
    used = sorted({stimulus_id for row in ids for stimulus_id in row})
    size = min(image_size(run), THUMBNAIL)
    images = dict(zip(used, as_bytes(run.subject.images(used, size=size)), strict=True))
    return Nearest(
        ids,
        1 - np.take_along_axis(r, nearest, axis=1),
        f"1 - Pearson r of {space.name}, less the training mean",
        np.array([[images[stimulus_id] for stimulus_id in row] for row in ids]),
    )


def _correlations(test: FloatArray, training: FloatArray) -> NDArray[np.float32]:
    """Correlate each row with each other, less the training mean: (n_test, n_training)."""
    mean = training.mean(axis=0, dtype=float).astype(np.float32)
    unit, others = (
        single_unit_rows((rows - mean).reshape(len(rows), -1)) for rows in (test, training)
    )
    return np.asarray(unit @ others.T, np.float32)


def write_page(run: Run) -> Sequence[str]:
    """Write ``report.html`` from what the run folder holds."""
    run.reporter.begin("Writing the report", 1, "page")
    write_report([run.path])
    run.reporter.advance(1)
    return ()


def page_is_there(run: Run) -> bool:
    """Tell whether the report is there; an encoding analysis may have written it again."""
    return (run.path / "report.html").is_file()
