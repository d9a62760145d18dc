"""Stage 6 of an encoding analysis: what the start and the denoised latent explain uniquely."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vox2pix.encoding import UniqueVariance, unique_means, unique_variance
from vox2pix.encoding.tables import write_table
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.encode.costs import fit_flops, fit_memory, widths
from vox2pix.pipeline.encoding import (
    StoredResponses,
    analyses,
    encoding_model,
    region_masks,
    spaces,
    start_of,
    stored_responses,
    unique_path,
)
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.seeds import seed_for
from vox2pix.store import save_arrays
from vox2pix.targets import DENOISED, Latent

_JOINT_MODELS = 7  # ratios of penalties that a model of two feature spaces tries


def compute(parts: UniqueVariance) -> dict[str, NDArray[np.float64]]:
    """Return the parts of the explained variance by name, (n_voxels,) each."""
    named = {f"alone/{name}": values for name, values in parts.alone.items()}
    named |= {f"unique/{name}": values for name, values in parts.unique.items()}
    return {"joint": parts.joint, "shared": parts.shared, **named}


def _divide(run: Run) -> Sequence[str]:
    """Divide the variance that the start and each denoised latent explain together."""
    latents = analyses(run).beside_start
    run.reporter.begin("Unique variance", len(latents), "models")
    by_file = {unique_path(run, latent): latent for latent in latents}  # the same ones share one
    run.reporter.advance(len(latents) - len(by_file))
    for _ in run.workers.each(_divide_space, run, by_file.values()):
        run.reporter.advance(1)
    return run.folder.files(f"encoding/unique-{run.keys['divide']}/*")


def _divide_space(run: Run, latent: Latent) -> None:
    """Divide what the start and one denoised latent explain, unless that is done."""
    path, start = unique_path(run, latent), start_of(run)
    assert start is not None
    if path.exists() and path.with_suffix(".csv").exists():
        return
    stored, of = stored_responses(run), spaces(run)
    parts = unique_variance(
        {start: of.split(Latent(start)), DENOISED: of.split(latent)},
        StoredResponses(stored["train"]),
        StoredResponses(stored["test"]),
        model=encoding_model(run.config),
        sample_weight=run.subject.train.repeats,
    )
    means = unique_means(
        parts,
        region_masks(run),
        n_resamples=run.config.encode.resamples,
        seed=seed_for(run.config.seed, "bootstrap"),
    )
    write_table(path.with_suffix(".csv"), means)
    save_arrays(path, compute(parts))


def _cost(p: Planned) -> Cost:
    n, n_test, n_voxels = p.sizes.n_train, p.sizes.n_test, p.sizes.n_voxels["voxels"]
    pairs = widths(p).beside_start
    width = 2 * min(max(pairs, default=0), p.config.encode.n_components)
    read = 4.0 * n * n_voxels * len(pairs) * _JOINT_MODELS
    return Cost(
        "divide",
        f"unique variance in {len(pairs)} pairs",
        read,
        8.0 * n_voxels * 6 * len(pairs),
        fit_memory(p, width) + 3 * 4.0 * n_test * n_voxels,
        p.seconds(len(pairs) * _JOINT_MODELS * fit_flops(p, width), read),
    )


UNIQUE = Stage(
    "divide",
    "Unique variance",
    _divide,
    lambda config: [config.encode.resamples],
    after=("responses", "reduce"),
    cost=_cost,
)
