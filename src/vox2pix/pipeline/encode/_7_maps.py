"""Stage 7 of an encoding analysis: tables of voxels and regions, maps in the subject's space."""

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
from vox2pix.encoding.maps import save_map
from vox2pix.encoding.tables import (
    best_layer,
    mean_ceiling_r,
    normalised,
    results_table,
    roi_summary,
    write_results,
    write_table,
)
from vox2pix.pipeline.encoding import (
    analyses,
    by_step,
    encoding_folder,
    has_space,
    region_masks,
    scores_path,
    slug,
    stored_responses,
    unique_path,
)
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.seeds import seed_for
from vox2pix.store import load_arrays, replacing, swapped_in
from vox2pix.targets import Latent

_TABLES = {
    "results.csv.gz",
    "roi_summary.csv",
    "roi_means.csv",
    "comparisons.csv",
    "unique_variance.csv",
}
Scores = Mapping[Latent, Mapping[str, NDArray[Any]]]


def _tabulate(run: Run) -> Sequence[str]:
    """Write tables and maps; earlier ones are replaced when all is written."""
    folder = encoding_folder(run)
    with ExitStack() as whole:
        maps = whole.enter_context(swapped_in(folder / "maps", "maps"))
        scores = {latent: load_arrays(scores_path(run, latent)) for latent in analyses(run).scored}
        ceiling = _ceiling(run)
        tables = _tables(run, scores, ceiling)
        for name, table in tables.items():
            write = write_results if name == "results.csv.gz" else write_table
            write(whole.enter_context(replacing(folder / name)), table)
        _save_maps(run, maps, scores, ceiling)
        for name in {*_TABLES, "figures.json"} - set(tables):
            run.folder.remove(f"encoding/{name}")
    return (*(f"encoding/{name}" for name in tables), *run.folder.written("encoding/maps"))


def _tables(run: Run, scores: Scores, ceiling: NDArray[np.float64]) -> dict[str, Any]:
    """Return every table by its file name; that of the voxels comes one latent at a time."""
    found, rois, encode = analyses(run), region_masks(run), run.config.encode

    def voxels() -> Iterator[pd.DataFrame]:
        for latent, arrays in scores.items():
            yield _voxel_table(run.subject, latent, arrays, ceiling)

    summary = pd.concat([roi_summary(table, encode.q) for table in voxels()])
    tables: dict[str, Any] = {"results.csv.gz": voxels(), "roi_summary.csv": summary}
    y_test = stored_responses(run)["test"].read().T
    _report_unscored(run, y_test, [scores[latent]["r"] for latent in found.alone])
    predictions = {latent.name: scores[latent]["predictions"] for latent in found.alone}
    draws = {"n_resamples": encode.resamples, "seed": seed_for(run.config.seed, "bootstrap")}
    tables["roi_means.csv"] = with_ceiling(
        roi_means(y_test, predictions, rois, **draws),
        {roi: mean_ceiling_r(ceiling[mask]) for roi, mask in rois.items()},
    )
    pairs = [
        compare(y_test, predictions[a], predictions[b], rois, **draws).rois.assign(a=a, b=b)
        for a, b in combinations(predictions, 2)
    ]
    if pairs:
        tables["comparisons.csv"] = pd.concat(pairs)
    unique = [
        pd.read_csv(unique_path(run, latent).with_suffix(".csv")).assign(
            strength=latent.strength, step=latent.step
        )
        for latent in found.beside_start
    ]
    if unique:
        tables["unique_variance.csv"] = pd.concat(unique)
    return tables


def with_ceiling(means: pd.DataFrame, ceilings: Mapping[str, float]) -> pd.DataFrame:
    """Add to region means the ceiling of each region, and value and bounds as a share of it."""
    means = means.assign(ceiling=[ceilings[roi] for roi in means["roi"]])
    for bound in ("value", "low", "high"):
        name = "r_normalised" if bound == "value" else f"r_normalised_{bound}"
        means[name] = normalised(means[bound], means["ceiling"])
    return means


def _report_unscored(
    run: Run, y_test: NDArray[np.float32], r_of_latents: Sequence[NDArray[np.float64]]
) -> None:
    """Report once how many voxels have no correlation with some latent, and why."""
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
    arrays: Mapping[str, NDArray[Any]],
    ceiling: NDArray[np.float64],
) -> pd.DataFrame:
    return results_table(
        subject,
        latent.name,
        r=arrays["r"],
        r2=arrays["r2"],
        p=arrays["p"],
        q=arrays["q"],
        ceiling=ceiling,
        layer=latent.layer,
        step=latent.step,
    )


def _ceiling(run: Run) -> NDArray[np.float64]:
    """Return each voxel's noise ceiling: from ``ncsnr``, else from the test repeats."""
    subject, n_test = run.subject, len(run.test_ids)
    ncsnr = subject.voxels["ncsnr"].to_numpy(float)
    if np.isfinite(ncsnr).any():
        return ncsnr_ceiling(ncsnr, subject.test.repeats[:n_test])
    out = np.full(len(ncsnr), np.nan)
    if np.count_nonzero(subject.test.repeats[:n_test] > 1) < FEWEST_REPEATED:
        return out
    used = subject.test.stimulus_rows < n_test
    array = stored_responses(run)["test"]
    for shard in range(array.n_shards):
        voxels = np.zeros(len(ncsnr), bool)
        voxels[array.rows(shard)] = True
        betas = subject.test.betas(voxels)[used]
        seed = seed_for(run.config.seed, "split halves")
        out[voxels] = split_half_ceiling(betas, subject.test.stimulus_rows[used], seed=seed)
    return out


def _save_maps(run: Run, folder: Path, scores: Scores, ceiling: NDArray[np.float64]) -> None:
    """Write every map in the subject's own space."""
    if not has_space(run.subject):
        run.reporter.say(
            "The voxels have no place in a known volume or mesh: there are tables, but no maps."
        )
        return
    found = analyses(run)
    maps: dict[str, NDArray[Any]] = {"ceiling": ceiling}
    for latent in found.alone:
        maps |= {f"{name}_{slug(latent)}": scores[latent][name] for name in ("r", "q")}
    for latent in found.beside_start:
        for name, values in load_arrays(unique_path(run, latent)).items():
            if name.startswith("unique/"):
                maps[f"{name.replace('/', '_')}_{slug(latent)}"] = values
    for step, layers in by_step(found.layers).items():
        r, q = (np.array([scores[layer][name] for layer in layers]) for name in "rq")
        maps[f"best_layer_step{step}"] = best_layer(r, q, run.config.encode.q)
    for name, values in maps.items():
        save_map(run.subject, values, folder, name)


TABLES = Stage(
    "encoding-tables",
    "Tables and maps",
    _tabulate,
    lambda config: [config.encode.q],
    after=("encode", "divide"),
)
