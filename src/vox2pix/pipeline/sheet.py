"""The contact sheet of a run: its best, median and worst test images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from vox2pix.pipeline.images import as_floats, drawings_of, stored_images
from vox2pix.pipeline.latents import image_size
from vox2pix.pipeline.run import Run
from vox2pix.report import choose_rows, contact_sheet, label, save_sheet


def draw_sheet(run: Run) -> Sequence[str]:
    """Lay the best, median and worst test images out for the eye."""
    save_sheet(sheet_of(run, run.config.evaluate.per_group), run.path / "contact_sheet.png")
    return ("contact_sheet.png",)


def sheet_of(run: Run, per_group: int) -> Image.Image:
    """Draw the contact sheet of a run that is scored.

    Parameters
    ----------
    run : Run
        With its stages' keys.
    per_group : int
        How many best, median and worst images.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    drawings = {d.name: d for d in drawings_of(run)}
    shown = [n for n in ("z-decode", "z", "c", "z+c", "true-z+c", "true-z") if n in drawings]
    if "true-z+c" in shown and "true-z" in shown:
        shown.remove("true-z")  # the fullest ceiling is enough
    judged = next(n for n in ("z+c", "z", *drawings) if n in drawings)
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
    captions = [told[0] for told in run.subject.captions(ids)] if run.subject.has_captions else None
    return contact_sheet(
        columns,
        ids,
        title=f"{run.config.name}: seen by {run.subject.name}, and read from the brain",
        rows=replace(rows, indices=tuple(range(len(chosen)))),
        captions=captions,
        notes=[f"{100 * identification[i]:.0f} %" for i in chosen],
        labels={name: label(name) for name in columns},
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
