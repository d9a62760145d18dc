"""Stage 8 of an encoding analysis: figures from the tables, and the report."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.encoding.cortex import flat_map, inflated_views, save_turning_cortex, slice_mosaic
from vox2pix.encoding.figures import (
    Categories,
    Plot,
    Scale,
    curves,
    latent_comparison,
    layer_step_maps,
    save_figure,
)
from vox2pix.encoding.maps import has_transforms, to_surface, to_volume, volume_to_surface
from vox2pix.encoding.tables import best_layer
from vox2pix.errors import UserError
from vox2pix.pipeline.encoding import (
    analyses,
    by_step,
    encoding_folder,
    has_space,
    is_surface,
    region_masks,
    start_of,
)
from vox2pix.pipeline.page import report_stage
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import swapped_in, write_json
from vox2pix.targets import DENOISED

_CORRELATION = "Pearson r, test images"
_VARIANCE = "Unique variance, share of test variance"
_MAX_OUTLINES = 6  # regions that can be distinguished in slices


def draw_figures(run: Run) -> list[Path]:
    """Draw every figure from the tables, as PNG and SVG, and list them in ``figures.json``.

    On a surface, each latent's correlation is also an interactive page. Returns the PNG files.
    """
    folder = encoding_folder(run)
    if not (folder / "results.csv.gz").exists() or run.folder.damaged("encoding-tables"):
        raise UserError(
            f"{run.path} has no finished encoding analysis; run `vox2pix encode` with its "
            "experiment file first."
        )
    with swapped_in(folder / "figures", "figures") as new:
        listed = _draw_into(new, run)
    write_json(folder / "figures.json", listed)
    return [folder / each["png"] for each in listed]


def _draw_into(folder: Path, run: Run) -> list[dict[str, str]]:
    """Draw every figure into a folder, and return its record in ``figures.json``."""
    pages = _interactive_cortices(run, folder)
    listed = []
    plots = list(_plots(run))
    run.reporter.begin("Drawing figures", len(plots), "figures")
    for name, title, plot in plots:
        save_figure(plot, folder / name)
        listed.append(
            {
                "name": name,
                "title": title,
                "alt": plot.alt,
                "png": f"figures/{name}.png",
                "svg": f"figures/{name}.svg",
            }
            | pages.get(name, {})
        )
        run.reporter.advance(1)
    return listed


def _plots(run: Run) -> Iterator[tuple[str, str, Plot]]:
    """Yield the name, the title and the figure of everything in the tables."""
    folder = encoding_folder(run)
    means = pd.read_csv(folder / "roi_means.csv")
    ceilings = means.groupby("roi", sort=False)["ceiling"].first()
    title = "How well each latent predicts each region"
    limits = {str(roi): float(value) for roi, value in ceilings.items() if np.isfinite(value)}
    yield (
        "latents_by_region",
        title,
        latent_comparison(means, f"{_CORRELATION}, mean over voxels", limits, title),
    )
    yield from _curves(run, folder / "unique_variance.csv")
    summary = pd.read_csv(folder / "roi_summary.csv", keep_default_na=False)
    layers = summary[summary["latent"].isin([layer.name for layer in analyses(run).layers])]
    if len(layers):
        title = "Layers of the U-Net along the denoising"
        label = f"{_CORRELATION}, mean over voxels"
        layers = layers.assign(step=layers["step"].astype(int) + 1)
        order = {roi: place for place, roi in enumerate(ceilings.index)}
        layers = layers.sort_values("roi", key=lambda names: names.map(order), kind="stable")
        yield "layers_by_step", title, layer_step_maps(layers, label, title=title)
    if has_space(run.subject):
        yield from _brain_maps(run)


def _curves(run: Run, path: Path) -> Iterator[tuple[str, str, Plot]]:
    """Draw unique variance against the noise level, and along the denoising."""
    start, strength = start_of(run), run.config.encode.strength
    if not path.exists() or start is None:
        return
    subject = f"What {start} and {DENOISED} explain beyond each other"
    table = pd.read_csv(path)
    at_end = table[table["step"].isna()]
    if len(at_end):
        title = f"{subject}, by noise level"
        yield (
            "unique_by_strength",
            title,
            curves(at_end, "strength", "Noise added before denoising (strength)", _VARIANCE, title),
        )
    along = table[table["step"].notna()]
    if len(along):
        title = f"{subject}, along the denoising from {strength:g}"
        along = along.assign(step=along["step"].astype(int) + 1)
        yield (
            "unique_by_step",
            title,
            curves(along, "step", "Denoising steps done", _VARIANCE, title),
        )


def _interactive_cortices(run: Run, folder: Path) -> dict[str, dict[str, str]]:
    """Write an interactive cortex per latent; return its page by the inflated figure's name."""
    if not is_surface(run.subject):
        return {}
    significant, scale = _correlations(run, _columns(run))
    pages = {}
    for latent, values in significant.items():
        if np.isfinite(values).any():
            file = f"cortex_{_file_name(latent)}.html"
            surface = to_surface(run.subject, values)
            save_turning_cortex(surface, scale, folder / file, _where(latent))
            pages[f"inflated_r_{_file_name(latent)}"] = {"html": f"figures/{file}"}
    return pages


def _file_name(latent: str) -> str:
    return latent.replace(":", "-")


def _where(latent: str) -> str:
    return f"Where {latent} predicts responses"


def _columns(run: Run) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Read r and q of each latent over the voxels."""
    results = pd.read_csv(encoding_folder(run) / "results.csv.gz", usecols=["latent", "r", "q"])
    return {
        str(name): {key: table[key].to_numpy(float) for key in "rq"}
        for name, table in results.groupby("latent", sort=False)
    }


def _correlations(
    run: Run, columns: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> tuple[dict[str, NDArray[np.float64]], Scale]:
    """Return each latent's correlation where it is significant, and the scale of all."""
    level = run.config.encode.q
    alone = {latent.name: columns[latent.name] for latent in analyses(run).alone}
    significant = {name: np.where(of["q"] < level, of["r"], np.nan) for name, of in alone.items()}
    highest = max((np.nanmax(r, initial=0.0) for r in significant.values()), default=0.0)
    return significant, Scale(f"{_CORRELATION} (q < {level:g})", 0, max(float(highest), 0.1))


def _brain_maps(run: Run) -> Iterator[tuple[str, str, Plot]]:
    """Draw each latent's correlation, and the best layer, where they are significant."""
    level = run.config.encode.q
    columns = _columns(run)
    significant, scale = _correlations(run, columns)
    for name, values in significant.items():
        yield from _views(run, f"r_{_file_name(name)}", values, scale, _where(name))
    for step, layers in by_step(analyses(run).layers).items():
        r, q = (np.array([columns[latent.name][key] for latent in layers]) for key in "rq")
        names = tuple(latent.layer for latent in layers)
        title = f"Best layer of the U-Net after {step + 1} denoising steps"
        yield from _views(
            run,
            f"best_layer_step{step}",
            best_layer(r, q, level),
            Categories(f"best layer (q < {level:g})", names),
            title,
        )


def _views(
    run: Run, name: str, values: NDArray[np.float64], scale: Scale | Categories, title: str
) -> Iterator[tuple[str, str, Plot]]:
    """Draw one map in every way that the subject's space allows; nothing where it is empty."""
    if not np.isfinite(values).any():
        return
    subject, masks = run.subject, region_masks(run)
    if is_surface(subject):
        surface = to_surface(subject, values)
        outlines = {roi: to_surface(subject, mask) for roi, mask in masks.items()}
        yield f"flat_{name}", title, flat_map(surface, scale, outlines, title)
        yield f"inflated_{name}", title, inflated_views(surface, scale, outlines, title)
        return
    largest = sorted(masks, key=lambda roi: -int(masks[roi].sum()))[:_MAX_OUTLINES]
    images = {roi: to_volume(subject, masks[roi]) for roi in masks if roi in largest}
    yield (
        f"slices_{name}",
        title,
        slice_mosaic(to_volume(subject, values), scale, images, title=title),
    )
    root = run.config.data.root(run.path)
    if run.config.data.source == "nsd" and has_transforms(subject, root):
        how: Any = "nearest" if isinstance(scale, Categories) else "linear"
        surface = volume_to_surface(subject, values, root, how)
        outlines = {
            roi: volume_to_surface(subject, mask, root, "nearest") for roi, mask in masks.items()
        }
        yield f"flat_{name}", title, flat_map(surface, scale, outlines, title)


def _draw(run: Run) -> Sequence[str]:
    draw_figures(run)
    return ("encoding/figures.json", *run.folder.written("encoding/figures"))


FIGURES = Stage(
    "encoding-figures",
    "Figures",
    _draw,
    lambda config: [config.name],
    after=("encoding-tables",),
)
REPORT = report_stage("encoding-report", after=("encoding-figures",))
