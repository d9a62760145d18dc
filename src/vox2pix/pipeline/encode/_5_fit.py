"""Stage 5 of an encoding analysis: a model from each feature space to every voxel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from vox2pix.config import Config, EncodeConfig
from vox2pix.encoding import EncodingModel, encoding_scores, fdr, gaussian_p, permutation_p
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.encode.costs import fit_flops, fit_memory, widths
from vox2pix.pipeline.encoding import (
    FloatArray,
    StoredResponses,
    analyses,
    compared_spaces,
    encoding_model,
    scores_path,
    spaces,
    stored_responses,
)
from vox2pix.pipeline.experiment import content_target, features, flat, targets
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.seeds import seed_for
from vox2pix.store import save_arrays
from vox2pix.targets import Latent

_SETTINGS = {"alphas", "selection", "null", "permutations"}
_STIMULI_PER_BLOCK, _FEWEST_BLOCKS = 10, 12
Arrays = dict[str, NDArray[Any]]


def compute(
    model: EncodingModel,
    X_train: FloatArray,
    y_train: Any,
    X_test: FloatArray,
    y_test: FloatArray,
    repeats: NDArray[np.intp],
    config: EncodeConfig,
    blocks: NDArray[np.intp],
    seed: int,
) -> Arrays:
    """Fit every voxel, predict the test stimuli, and score the predictions.

    Features are (n_stimuli, n_features), mean responses (n_stimuli, n_voxels), those of training
    read in blocks of voxels. `repeats` (n_train,), the presentations of each training stimulus, are
    the weights of the fit. A permutation keeps together the test stimuli of one label in `blocks`
    (n_test,).

    Returns ``r, r2, p, q, alpha`` and ``mean`` (n_voxels,), and ``predictions`` (n_test, n_voxels)
    less the mean.
    """
    predictions = model.fit_then_predict(
        X_train, y_train, X_test, sample_weight=repeats, relative=True
    )
    scores = encoding_scores(y_test, predictions, model.mean_)
    if config.null == "gaussian":
        p = gaussian_p(scores.r, len(y_test))
    else:
        p = permutation_p(
            y_test, predictions, blocks, n_permutations=config.permutations, seed=seed
        )
    return {
        "r": scores.r,
        "r2": scores.r2,
        "p": p,
        "q": fdr(p),
        "alpha": model.alpha_,
        "predictions": predictions,
        "mean": model.mean_,
    }


def similar_blocks(rows: FloatArray, seed: int) -> NDArray[np.intp]:
    """Group similar test stimuli, (n_test, n_features), which a permutation keeps together.

    Fewer than 12 blocks have too few orders for any voxel to be significant.
    """
    n_blocks = max(min(_FEWEST_BLOCKS, len(rows)), len(rows) // _STIMULI_PER_BLOCK)
    means = KMeans(n_blocks, n_init=3, random_state=seed_for(seed, "blocks") % 2**32)
    return np.asarray(means.fit_predict(rows), np.intp)


def _encode(run: Run) -> Sequence[str]:
    scored = analyses(run).scored
    run.reporter.begin("Encoding voxels", len(scored), "models")
    for _ in run.workers.each(_encode_space, run, scored):
        run.reporter.advance(1)
    return run.folder.files(f"encoding/scores-{run.keys['encode']}/*")


def _encode_space(run: Run, latent: Latent) -> None:
    """Fit and score the models of one space, unless that is done."""
    path = scores_path(run, latent)
    if path.exists():
        return
    stored, seed = stored_responses(run), run.config.seed
    X_train, X_test = spaces(run).split(latent)
    arrays = compute(
        encoding_model(run.config),
        X_train,
        StoredResponses(stored["train"]),
        X_test,
        run.cached("responses", "test", lambda: stored["test"].read().T),
        run.subject.train.repeats,
        run.config.encode,
        _blocks(run),
        seed_for(seed, "permutation"),
    )
    if latent not in analyses(run).alone:  # only those are compared
        del arrays["predictions"], arrays["mean"]
    save_arrays(path, arrays)


def _blocks(run: Run) -> NDArray[np.intp]:
    """Return the test stimuli that a permutation keeps together, grouped once."""
    if run.config.encode.null == "gaussian":
        return np.arange(len(run.test_ids))
    rows = flat(features(run, content_target(targets(run)), run.test_ids))
    grouped: NDArray[np.intp] = run.cached(
        "blocks", "test", lambda: similar_blocks(rows, run.config.seed)
    )
    return grouped


def _settings(config: Config) -> Sequence[Any]:
    return [config.encode.model_dump(mode="json", include=_SETTINGS)]


def _cost(p: Planned) -> Cost:
    n_test, n_voxels = p.sizes.n_test, p.sizes.n_voxels["voxels"]
    of = [min(width, p.config.encode.n_components) for width in widths(p).alone]
    read = 4.0 * p.sizes.n_train * n_voxels * len(of)
    return Cost(
        "encode",
        f"{len(of)} models of every voxel",
        read,
        4.0 * n_voxels * (5 * len(of) + n_test * len(compared_spaces(p.config))),
        fit_memory(p, max(of)),
        p.seconds(sum(fit_flops(p, width) for width in of), read),
    )


FIT = Stage(
    "encode",
    "Encoding models",
    _encode,
    _settings,
    after=("responses", "reduce"),
    cost=_cost,
)
