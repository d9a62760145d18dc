"""Stage 3 of an encoding analysis: principal components of the feature spaces."""

from collections.abc import Sequence
from typing import Any

from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.encode.costs import widths
from vox2pix.pipeline.encoding import (
    analyses,
    encoding_folder,
    same_space,
    space_folders,
    spaces,
    start_of,
)
from vox2pix.pipeline.experiment import arrays_are_sound
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import write_json
from vox2pix.targets import DIRECTIONS_AT_ONCE, ROWS_A_FILE, Latent


def _reduce(run: Run) -> Sequence[str]:
    """Reduce every feature space to few dimensions, by components of the training stimuli."""
    found, start = analyses(run), start_of(run)
    shared = (Latent(start),) if start and found.beside_start else ()
    every = tuple(dict.fromkeys((*found.scored, *found.denoised, *shared)))
    run.reporter.begin("Reducing features", len(every), "spaces")
    same = {latent: same_space(run, latent) for latent in every}  # no two workers write one space
    records = {}
    for latent, record in run.workers.each(_reduce_space, run, dict.fromkeys(same.values())):
        records[latent] = record
        run.reporter.advance(list(same.values()).count(latent))
    listed = [{"latent": latent.name, **records[same[latent]]} for latent in every]
    write_json(encoding_folder(run) / "spaces.json", listed)
    files = [
        name
        for scores in space_folders(run)
        for part in (f"{scores.rpartition('/')[0]}/pca.safetensors", f"{scores}/done/*")
        for name in run.folder.files(part)
    ]
    return ("encoding/spaces.json", *dict.fromkeys(files))


def _reduce_space(run: Run, latent: Latent) -> dict[str, Any]:
    """Reduce one feature space, and describe the result."""
    space = spaces(run).reduced(latent)
    return {
        "n_features": space.n_features,
        "n_components": space.scores.shape[1],
        "explained_variance": space.explained_variance,
        "scores": space.scores.folder.relative_to(run.path).as_posix(),
    }


def _is_sound(run: Run) -> bool:
    # A space that was not reduced is the array of the trace itself.
    own = [f for f in space_folders(run) if f.startswith("encoding/spaces/")]
    return arrays_are_sound(run, [run.path / folder for folder in own])


def _cost(p: Planned) -> Cost:
    n, n_all, k = p.sizes.n_train, p.n_stimuli, p.config.encode.n_components
    flops = memory = written = 0.0
    of = widths(p)
    inputs = 4.0 * n_all * sum(of.inputs)
    for width in of.reduced:
        if width <= k:
            continue
        side, components = min(n, width), min(n - 1, k)
        flops += 2 * (2.0 * n * width * side + 9.0 * side**3) + 2.0 * n_all * width * components
        # The eigenvectors; then directions in double and in single precision.
        eigenvectors = 8.0 * 3 * side**2 + 2**30
        directions = 8.0 * n * components + 12.0 * width * components
        blocks = 8.0 * (DIRECTIONS_AT_ONCE + 2 * ROWS_A_FILE) * width
        memory = max(memory, max(eigenvectors, directions) + blocks + inputs)
        written += 4.0 * (n_all * components + width * components)
    what = f"spaces of more than {k:,} features"
    return Cost("reduce", what, written, written, memory, p.seconds(flops))


REDUCE = Stage(
    "reduce",
    "Feature spaces",
    _reduce,
    lambda config: [config.encode.n_components],
    after=("trace",),
    is_sound=_is_sound,
    cost=_cost,
)
