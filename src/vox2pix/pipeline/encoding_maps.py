"""What an encoding analysis leaves for people: tables, maps in the subject's space, figures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data import Subject
from vox2pix.encoding import compare, ncsnr_ceiling, roi_means, split_half_ceiling
from vox2pix.encoding.ceiling import FEWEST_REPEATED
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
from vox2pix.encoding.maps import has_transforms, save_map, to_surface, to_volume, volume_to_surface
from vox2pix.encoding.tables import (
    best_layer,
    mean_ceiling_r,
    normalised,
    results_table,
    roi_summary,
    write_results,
    write_table,
)
from vox2pix.errors import UserError
from vox2pix.pipeline.encoding import (
    analyses,
    encoding_folder,
    region_masks,
    scores_path,
    slug,
    stored_responses,
    unique_path,
)
from vox2pix.pipeline.run import Run
from vox2pix.seeds import seed_for
from vox2pix.store import load_arrays, replacing, swapped_in, write_json
from vox2pix.targets import Latent

_CORRELATION = "Pearson r, test images"
_VARIANCE = "Unique variance, share of test variance"
TABLES = (
    "results.csv.gz",
    "roi_summary.csv",
    "roi_means.csv",
    "comparisons.csv",
    "unique_variance.csv",
)
_LISTED = "figures.json"
_MOST_OUTLINES = 6  # that can be told apart in slices

# --- tables and maps -----------------------------------------------------------------------------


def tabulate(run: Run) -> Sequence[str]:
    """Write tables of voxels and regions, and maps in the subject's own space.

    What earlier settings left is replaced when all is written, so that no figure shows it.
    """
    folder = encoding_folder(run)
    with ExitStack() as whole:
        maps = whole.enter_context(swapped_in(folder / "maps", "maps"))
        tables = _write_tables(run, maps, whole)
        for name in {*TABLES, _LISTED} - set(tables):
            run.folder.remove(f"encoding/{name}")
    return (*(f"encoding/{name}" for name in tables), *run.folder.written("encoding/maps"))


def _write_tables(run: Run, maps: Path, whole: ExitStack) -> list[str]:
    """Write tables, which appear when ``whole`` is closed, and maps; return the tables' names."""
    wanted, folder = analyses(run), encoding_folder(run)
    written: list[str] = []

    def table(name: str) -> Path:
        written.append(name)
        return whole.enter_context(replacing(folder / name))

    ceiling = _ceiling(run)
    scores = {latent: load_arrays(scores_path(run, latent)) for latent in wanted.scored}
    rois = region_masks(run)

    def voxels() -> Iterator[pd.DataFrame]:
        for latent, found in scores.items():
            yield _voxel_table(run.subject, latent, found, ceiling)

    write_results(table("results.csv.gz"), voxels())
    write_table(table("roi_summary.csv"), _summary(voxels(), run.config.encode.q))
    y_test = stored_responses(run)["test"].read().T
    _report_unscored(run, y_test, [scores[latent]["r"] for latent in wanted.alone])
    predictions = {latent.name: scores[latent]["predictions"] for latent in wanted.alone}
    draws = {
        "n_resamples": run.config.encode.resamples,
        "seed": seed_for(run.config.seed, "bootstrap"),
    }
    means = roi_means(y_test, predictions, rois, **draws)
    means["ceiling"] = [mean_ceiling_r(ceiling[rois[roi]]) for roi in means["roi"]]
    for bound in ("value", "low", "high"):
        name = "r_normalised" if bound == "value" else f"r_normalised_{bound}"
        means[name] = normalised(means[bound], means["ceiling"])
    write_table(table("roi_means.csv"), means)
    pairs = [
        compare(y_test, predictions[a], predictions[b], rois, **draws).rois.assign(a=a, b=b)
        for a, b in combinations(predictions, 2)
    ]
    if pairs:
        write_table(table("comparisons.csv"), pd.concat(pairs))
    unique = [
        pd.read_csv(unique_path(run, latent).with_suffix(".csv")).assign(
            strength=latent.strength, step=latent.step
        )
        for latent in dict.fromkeys((*wanted.strengths, *wanted.moments))
    ]
    if unique:
        write_table(table("unique_variance.csv"), pd.concat(unique))
    _save_maps(run, maps, scores, ceiling)
    return written


def _report_unscored(
    run: Run, y_test: NDArray[np.float32], r_of_latents: Sequence[NDArray[np.float64]]
) -> None:
    """Say once how many voxels have no correlation with some latent, and why."""
    unscored = np.any(np.isnan(r_of_latents), axis=0)
    if not unscored.any():
        return
    constant = np.ptp(y_test, axis=0) == 0
    reasons = {
        "their response is the same to every test image": int((unscored & constant).sum()),
        "their prediction is, as it is where training responses are constant": int(
            (unscored & ~constant).sum()
        ),
    }
    run.reporter.say(
        f"{unscored.sum():,} of {unscored.size:,} voxels have no r and enter no mean: "
        + "; ".join(f"{why} ({n:,})" for why, n in reasons.items() if n)
        + "."
    )


def _voxel_table(
    subject: Subject,
    latent: Latent,
    found: Mapping[str, NDArray[Any]],
    ceiling: NDArray[np.float64],
) -> pd.DataFrame:
    return results_table(
        subject,
        latent.name,
        r=found["r"],
        r2=found["r2"],
        p=found["p"],
        q=found["q"],
        ceiling=ceiling,
        layer=latent.layer,
        step=latent.step,
    )


def _summary(tables: Iterator[pd.DataFrame], level: float) -> pd.DataFrame:
    return pd.concat([roi_summary(table, level) for table in tables])


def _ceiling(run: Run) -> NDArray[np.float64]:
    """Return each voxel's noise ceiling: from ``ncsnr``, else from the test repeats."""
    subject, n_test = run.subject, len(run.test_ids)
    ncsnr = subject.voxels["ncsnr"].to_numpy(float)
    if np.isfinite(ncsnr).any():
        return ncsnr_ceiling(ncsnr, subject.test.repeats[:n_test])
    out = np.full(len(ncsnr), np.nan)
    if np.count_nonzero(subject.test.repeats[:n_test] > 1) < FEWEST_REPEATED:
        return out
    kept = subject.test.stimulus_rows < n_test
    array = stored_responses(run)["test"]
    for shard in range(array.n_shards):
        voxels = np.zeros(len(ncsnr), bool)
        voxels[array.rows(shard)] = True
        betas = subject.test.betas(voxels)[kept]
        seed = seed_for(run.config.seed, "split halves")
        out[voxels] = split_half_ceiling(betas, subject.test.stimulus_rows[kept], seed=seed)
    return out


def _save_maps(
    run: Run,
    folder: Path,
    scores: Mapping[Latent, Mapping[str, NDArray[Any]]],
    ceiling: NDArray[np.float64],
) -> None:
    """Write every map in the subject's own space."""
    if not _has_space(run.subject):
        run.reporter.say(
            "The voxels have no place in a known volume or mesh: there are tables, but no maps."
        )
        return
    wanted = analyses(run)
    maps: dict[str, NDArray[Any]] = {"ceiling": ceiling}
    for latent in wanted.alone:
        maps |= {f"{name}_{slug(latent)}": scores[latent][name] for name in ("r", "q")}
    for latent in dict.fromkeys((*wanted.strengths, *wanted.moments)):
        parts = load_arrays(unique_path(run, latent))
        maps |= {f"unique_{z}_{slug(latent)}": parts[f"unique/{z}"] for z in ("z", "z_c")}
    results = {latent.name: found for latent, found in scores.items()}
    for step, layers in _by_step(wanted.layers).items():
        names = [latent.name for latent in layers]
        r, q = (np.array([results[name][key] for name in names]) for key in ("r", "q"))
        maps[f"best_layer_step{step}"] = best_layer(r, q, run.config.encode.q)
    for name, values in maps.items():
        save_map(run.subject, values, folder, name)


def _by_step(layers: Sequence[Latent]) -> dict[int, list[Latent]]:
    """Group layers by the step in which they are taken."""
    groups: dict[int, list[Latent]] = {}
    for latent in layers:
        assert latent.step is not None
        groups.setdefault(latent.step, []).append(latent)
    return groups


def _has_space(subject: Subject) -> bool:
    """Tell whether values of voxels can be put on a map of a known volume or mesh."""
    in_volume = {"x", "y", "z"} <= set(subject.voxels.columns) and subject.affine is not None
    return _is_surface(subject) or (in_volume and subject.shape is not None)


def _is_surface(subject: Subject) -> bool:
    """Tell whether the voxels are vertices of a mesh of known size."""
    return subject.shape is not None and {"hemi", "vertex"} <= set(subject.voxels.columns)


# --- figures -------------------------------------------------------------------------------------


def draw_figures(run: Run) -> list[Path]:
    """Draw every figure from the tables, as PNG and SVG; list them in ``figures.json``.

    On a surface each latent's correlation is also a page with a cortex to turn (``html``).

    Parameters
    ----------
    run : Run
        Encoded: its tables are there.

    Returns
    -------
    list of Path
        The PNG files.

    Raises
    ------
    UserError
        If the tables are not there.
    """
    folder = encoding_folder(run)
    if not (folder / "results.csv.gz").exists() or run.folder.damaged("encoding-tables"):
        raise UserError(
            f"{run.path} has no finished encoding analysis; run `vox2pix encode` with its "
            "experiment file first."
        )
    with swapped_in(folder / "figures", "figures") as new:
        listed = _draw_into(new, run)
    write_json(folder / _LISTED, listed)
    return [folder / each["png"] for each in listed]


def _draw_into(folder: Path, run: Run) -> list[dict[str, str]]:
    """Draw every figure into a folder, and return what ``figures.json`` says of each."""
    turning = _turning_cortices(run, folder)
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
            | turning.get(name, {})
        )
        run.reporter.advance(1)
    return listed


def _plots(run: Run) -> Iterator[tuple[str, str, Plot]]:
    """Yield the name, the title and the figure of all that the tables hold."""
    folder = encoding_folder(run)
    means = pd.read_csv(folder / "roi_means.csv")
    ceilings = means.groupby("roi", sort=False)["ceiling"].first()
    title = "How well each latent predicts each region"
    known = {str(roi): float(value) for roi, value in ceilings.items() if np.isfinite(value)}
    yield (
        "latents_by_region",
        title,
        latent_comparison(means, f"{_CORRELATION}, mean over voxels", known, title),
    )
    yield from _curves(folder / "unique_variance.csv", run.config.encode.strength)
    summary = pd.read_csv(folder / "roi_summary.csv", keep_default_na=False)
    layers = summary[~summary["layer"].isin(["z", "c", "z_c"])]
    if len(layers):
        title = "Layers of the U-Net along the denoising"
        label = f"{_CORRELATION}, mean over voxels"
        layers = layers.assign(step=layers["step"].astype(int) + 1)
        order = {roi: place for place, roi in enumerate(ceilings.index)}
        layers = layers.sort_values("roi", key=lambda names: names.map(order), kind="stable")
        yield "layers_by_step", title, layer_step_maps(layers, label, title=title)
    if _has_space(run.subject):
        yield from _brain_maps(run)


def _curves(path: Path, strength: float) -> Iterator[tuple[str, str, Plot]]:
    """Draw unique variance against the noise level, and along the denoising."""
    if not path.exists():
        return
    table = pd.read_csv(path)
    at_end = table[table["step"].isna()]
    if len(at_end):
        title = "What z and z_c explain beyond each other, by noise level"
        yield (
            "unique_by_strength",
            title,
            curves(at_end, "strength", "Noise added before denoising (strength)", _VARIANCE, title),
        )
    along = table[table["step"].notna()]
    if len(along):
        title = f"What z and z_c explain beyond each other, along the denoising from {strength:g}"
        along = along.assign(step=along["step"].astype(int) + 1)
        yield (
            "unique_by_step",
            title,
            curves(along, "step", "Denoising steps done", _VARIANCE, title),
        )


def _turning_cortices(run: Run, folder: Path) -> dict[str, dict[str, str]]:
    """Write each latent's cortex to turn, on a surface; return it under the inflated figure."""
    if not _is_surface(run.subject):
        return {}
    shown, scale = _correlations(run, _columns(run))
    told = {}
    for latent, values in shown.items():
        if np.isfinite(values).any():
            file = f"cortex_{_file_name(latent)}.html"
            surface = to_surface(run.subject, values)
            save_turning_cortex(surface, scale, folder / file, _where(latent))
            told[f"inflated_r_{_file_name(latent)}"] = {"html": f"figures/{file}"}
    return told


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
    shown = {
        name: np.where(found["q"] < level, found["r"], np.nan) for name, found in alone.items()
    }
    highest = max((np.nanmax(r, initial=0.0) for r in shown.values()), default=0.0)
    return shown, Scale(f"{_CORRELATION} (q < {level:g})", 0, max(float(highest), 0.1))


def _brain_maps(run: Run) -> Iterator[tuple[str, str, Plot]]:
    """Draw each latent's correlation, and the best layer, where they are significant."""
    wanted, level = analyses(run), run.config.encode.q
    columns = _columns(run)
    shown, scale = _correlations(run, columns)
    for name, values in shown.items():
        yield from _views(run, f"r_{_file_name(name)}", values, scale, _where(name))
    for step, layers in _by_step(wanted.layers).items():
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
    if _is_surface(subject):
        surface = to_surface(subject, values)
        outlines = {roi: to_surface(subject, mask) for roi, mask in masks.items()}
        yield f"flat_{name}", title, flat_map(surface, scale, outlines, title)
        yield f"inflated_{name}", title, inflated_views(surface, scale, outlines, title)
        return
    largest = sorted(masks, key=lambda roi: -int(masks[roi].sum()))[:_MOST_OUTLINES]
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
