"""Stage 8 of a reconstruction: contact sheet, gallery of the stimuli, and the report."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from vox2pix.evaluation.metrics.identification import single_unit_rows
from vox2pix.pipeline.costs import READ_BYTES_A_SECOND, Cost, Planned
from vox2pix.pipeline.drawings import (
    as_bytes,
    as_floats,
    drawings_of,
    judged_condition,
    stored_images,
)
from vox2pix.pipeline.experiment import (
    FloatArray,
    content_target,
    features,
    flat,
    image_size,
    targets,
)
from vox2pix.pipeline.page import report_stage
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.report import Nearest, choose_rows, contact_sheet, label, save_gallery, save_sheet

_LARGEST, _THUMBNAIL = 320, 160  # pixels a side
_N_NEAREST = 3


def compute(test: FloatArray, training: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Find the training stimuli nearest to each test stimulus, by one target (n, n_values).

    Returns rows and distances (n_test, 3): 1 - Pearson r, less the training mean; nearest first.
    """
    mean = training.mean(axis=0, dtype=float).astype(np.float32)
    unit, others = (single_unit_rows(rows - mean) for rows in (test, training))
    r = np.asarray(unit @ others.T, np.float32)
    rows = np.argsort(-r, axis=1, kind="stable")[:, :_N_NEAREST]
    return rows, 1 - np.take_along_axis(r, rows, axis=1)


def _draw_sheet(run: Run) -> Sequence[str]:
    """Show the best, median and worst test images."""
    save_sheet(sheet_of(run, run.config.evaluate.per_group), run.path / "contact_sheet.png")
    return ("contact_sheet.png",)


def sheet_of(run: Run, per_group: int) -> Image.Image:
    """Draw the contact sheet of a run that is scored, with so many images per group."""
    drawings = {d.name: d for d in drawings_of(run)}
    shown = [d.name for d in drawings.values() if d.source == "decoded"]
    judged = str(judged_condition(run.config, run.subject.has_captions))
    ceilings = [d for d in drawings.values() if d.source == "true"]
    if ceilings:  # the fullest is enough
        shown.append(max(ceilings, key=lambda d: len(d.condition.targets)).name)
    identification, pixcorr, metric = _ranking_scores(run, judged)
    rows = choose_rows(
        identification,
        per_group,
        score_name=f"{metric} of {judged}",
        ties=pixcorr,
        ties_name=f"PixCorr of {judged}",
    )
    chosen = list(rows.indices)
    ids = [run.test_ids[i] for i in chosen]
    columns = {"seen": run.subject.images(ids, size=image_size(run))}
    for name in shown:
        columns[name] = as_floats(stored_images(run, drawings[name]).take(chosen)[:, 0])
    captions = [own[0] for own in run.subject.captions(ids)] if run.subject.has_captions else None
    return contact_sheet(
        columns,
        ids,
        title=f"{run.config.name}: seen by {run.subject.name}, and read from the brain",
        rows=replace(rows, indices=tuple(range(len(chosen)))),
        labels={name: label(name) for name in columns},
        captions=captions,
        notes=[f"{100 * identification[i]:.0f} %" for i in chosen],
    )


def _ranking_scores(
    run: Run, condition: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return each image's identification and PixCorr under a condition, and the first's name."""
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    table = table[table["condition"] == condition]
    wide = table.pivot(index="stimulus_id", columns=["metric", "direction"], values="score")
    wide = wide.loc[list(run.test_ids)]
    metric, direction = next(pair for pair in map(tuple, wide.columns) if pair[1] == "original")
    pixcorr = wide["pixcorr"].to_numpy()[:, 0]
    return wide[metric, direction].to_numpy(), pixcorr, f"identification ({metric})"


def _save_gallery(run: Run) -> Sequence[str]:
    """Save what the report shows of the test stimuli, so that it needs neither data nor model."""
    subject, size = run.subject, min(image_size(run), _LARGEST)
    run.reporter.begin("Saving the gallery", len(run.test_ids), "images")
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
    """Find the training stimuli that are nearest to each test stimulus in content."""
    name, train_ids = content_target(targets(run)), run.subject.train.stimulus_ids
    rows, distances = compute(
        flat(features(run, name, run.test_ids)), flat(features(run, name, train_ids))
    )
    ids = [[train_ids[row] for row in of] for of in rows]
    used = sorted({stimulus_id for of in ids for stimulus_id in of})
    size = min(image_size(run), _THUMBNAIL)
    images = dict(zip(used, as_bytes(run.subject.images(used, size=size)), strict=True))
    return Nearest(
        ids,
        distances,
        f"1 - Pearson r of {name}, less the training mean",
        np.array([[images[stimulus_id] for stimulus_id in of] for of in ids]),
    )


def _gallery_cost(p: Planned) -> Cost:
    n, m = p.sizes.n_test, p.sizes.n_train
    width, size = prod(p.shapes[p.content]), min(p.model.image_size, _LARGEST)
    written = n * 3.0 * (size**2 + _N_NEAREST * min(size, _THUMBNAIL) ** 2)
    read = 4.0 * m * width
    return Cost(
        "gallery",
        f"{n:,} and their nearest",
        read,
        written,
        8.0 * (m + n) * width + 5 * written + 1e9,
        5 + p.seconds(2.0 * n * m * width) + read / READ_BYTES_A_SECOND,
    )


SHEET = Stage(
    "sheet", "Contact sheet", _draw_sheet, lambda config: [config.name], after=("evaluate",)
)
GALLERY = Stage("gallery", "Gallery", _save_gallery, after=("features",), cost=_gallery_cost)
REPORT = report_stage("report", after=("audit", "sheet", "gallery"))
