"""Encode the real V1 responses of Miyawaki et al. (2008): ten patterns, eight blocks each.

    python benchmarks/miyawaki_encoding.py [--data FIGURES.npz] [--model PATH] [--json]

A voxel's response to each pattern, averaged over its eight blocks, is predicted from the pattern's
pixels, and from the model's z of it, by an encoding model of the nine other patterns (one penalty
for all voxels, chosen by generalised cross-validation on those nine). r is taken over the ten
predictions.

Leaving one out has a price: an uninformed model predicts the mean of the nine, which is low
where the tenth is high, and r of a voxel without signal is far below zero. ``r`` is what is
asked for; ``r less mean`` is that of predictions less the mean of their training responses, which
a model without knowledge leaves at zero.

Each is tested one-sided against independent Gaussian vectors of length ten, and by permuting the
ten patterns, each with all its blocks (voxels averaged, so a pattern is a block of one), with the
false discovery rate over voxels at 5 %. How far the tests can be trusted is measured: the same is
done with the patterns' labels shuffled before the models are fitted, and the share of voxels with
p < .05 printed. Voxels share those ten patterns, so single shuffles differ widely from their mean.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miyawaki import add_inputs, load_model, load_responses
from results import machine, option_parser, show
from vox2pix.diffusion import LatentDiffusion
from vox2pix.encoding import EncodingModel, fdr, gaussian_p, permutation_p
from vox2pix.errors import UserError
from vox2pix.linear import pearson_r

FloatArray = NDArray[np.float64]
LEVEL = 0.05


def read(data: Path) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Return responses averaged over blocks, (10, 797), and the patterns, (10, 10, 10).

    Raises
    ------
    UserError
        If the file is absent.
    """
    arrays = load_responses(data)
    responses, shown, patterns = (
        arrays[name] for name in ("responses", "stimulus_index", "stimuli")
    )
    means = [responses[shown == k].mean(axis=0, dtype=np.float64) for k in range(len(patterns))]
    return np.stack(means), patterns


def latents(patterns: NDArray[np.uint8], model: LatentDiffusion) -> FloatArray:
    """Return z of the patterns, one patch covering one pixel of the latent, (10, n_features)."""
    patch = np.ones((model.downsampling, model.downsampling), np.float32)
    images = np.kron(patterns.astype(np.float32), patch)
    z = model.encode_images(np.repeat(images[..., None], 3, axis=-1))
    return z.reshape(len(z), -1).astype(np.float64)


def leave_one_out(X: FloatArray, Y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predict each row of Y without it; return predictions and the means of the other rows."""
    predictions, means = np.empty_like(Y), np.empty_like(Y)
    model = EncodingModel(alpha_per_target=False)
    for k in range(len(X)):
        others = np.arange(len(X)) != k
        predictions[k] = model.fit_then_predict(X[others], Y[others], X[[k]])[0]
        means[k] = Y[others].mean(axis=0)
    return predictions, means


def tests(
    X: FloatArray, Y: FloatArray, n_permutations: int
) -> dict[str, tuple[FloatArray, dict[str, FloatArray]]]:
    """Return r, and p by each null, of predictions and of predictions less the training mean."""
    predictions, means = leave_one_out(X, Y)
    scores = {}
    for name, predicted in (("r", predictions), ("r less mean", predictions - means)):
        r = pearson_r(Y, predicted)
        p = {
            "gaussian": gaussian_p(r, len(Y)),
            "permutation": permutation_p(
                Y, predicted, np.arange(len(Y)), n_permutations=n_permutations
            ),
        }
        scores[name] = r, p
    return scores


def encode(
    X: FloatArray, Y: FloatArray, n_permutations: int, n_shuffles: int
) -> list[dict[str, Any]]:
    """Score one feature space; a dictionary for each statistic and null."""
    rng = np.random.default_rng(0)
    null: dict[tuple[str, str], list[float]] = {}
    for _ in range(n_shuffles):
        for name, (_, of_null) in tests(X, Y[rng.permutation(len(Y))], n_permutations).items():
            for test, p in of_null.items():
                null.setdefault((name, test), []).append(float((p < LEVEL).mean()))
    return [
        {
            "statistic": name,
            "test": test,
            "n_voxels": len(r),
            "median_r": round(float(np.nanmedian(r)), 4),
            "upper_decile_r": round(float(np.nanquantile(r, 0.9)), 4),
            "n_p": int((p < LEVEL).sum()),
            "n_q": int((fdr(p) < LEVEL).sum()),
            "shuffled_share": round(float(np.mean(null[name, test])), 4),
        }
        for name, (r, of_test) in tests(X, Y, n_permutations).items()
        for test, p in of_test.items()
    ]


def table(rows: list[dict[str, Any]], n_patterns: int) -> str:
    """Return the figures as text for people."""
    lines = [
        f"{rows[0]['n_voxels']} voxels of V1, {n_patterns} patterns, one left out at a time",
        f"{'features':<10}{'statistic':<13}{'null':<13}{'median r':>9}{'r, top 10 %':>12}"
        f"{'p < .05':>9}{'q < .05':>9}{'shuffled p < .05':>18}",
    ]
    lines += [
        f"{row['features']:<10}{row['statistic']:<13}{row['test']:<13}{row['median_r']:>9.3f}"
        f"{row['upper_decile_r']:>12.3f}{row['n_p']:>9}{row['n_q']:>9}"
        f"{100 * row['shuffled_share']:>16.1f} %"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Encode from pixels and z, and show a table."""
    parser = option_parser(__doc__)
    add_inputs(parser)
    parser.add_argument("--permutations", type=int, default=2000, help="orders of the patterns")
    parser.add_argument("--shuffles", type=int, default=20, help="fits to shuffled labels")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    before = machine()
    try:
        Y, patterns = read(options.data)
        z = latents(patterns, load_model(options.model))
    except UserError as error:
        print(f"miyawaki_encoding: {error}", file=sys.stderr)
        return 2
    n_permutations, n_shuffles = (
        (200, 2) if options.small else (options.permutations, options.shuffles)
    )
    spaces = {"pixels": patterns.reshape(len(patterns), -1).astype(np.float64), "z": z}
    rows = [
        {"features": name} | row
        for name, X in spaces.items()
        for row in encode(X, Y, n_permutations, n_shuffles)
    ]
    figures = {"benchmark": "miyawaki-encoding", "rows": rows, "machine": before}
    show(figures, table(rows, len(Y)), options, "miyawaki-encoding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
