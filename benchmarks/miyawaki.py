"""Decode the real V1 responses of Miyawaki et al. (2008): ten patterns, eight blocks each.

    python benchmarks/miyawaki.py [--data FIGURES.npz] [--model PATH] [--out SHEET.png] [--json]

One person looked at ten 10 x 10 patterns of flickering patches. The responses are written to a
folder in the layout of a person's own data and read back by ``open_folder``; z is the model's
latent of the patterns, drawn so that one patch covers one pixel of the latent. Pixels, and z, are
decoded leaving out a whole pattern with its eight blocks, or a single block; z becomes images
(z-decode, no diffusion). Pixels decoded by scikit-learn's ridge with a fixed penalty are beside.

Two-way identification in both directions: fix the original and ask whether its own prediction is
more like it than the prediction of another pattern, or fix the prediction and ask whether its own
pattern is more like it than another. The eight blocks of a pattern depend on each other, so a
pattern's score is their mean, and the interval resamples patterns.

With the prediction fixed, a held-out pattern is at a disadvantage by construction: what an
uninformed decoder predicts, the mean of the training targets, contains every pattern but its own.
The last column is that direction of what a response changes: predictions less that mean.

Below the table are the audit's findings on pixels decoded with the whole pattern held out.
"""

import argparse
import sys
import tempfile
import textwrap
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from results import machine, option_parser, show
from vox2pix.data import Subject, open_folder
from vox2pix.decoding import RidgeDecoder
from vox2pix.diffusion import LatentDiffusion
from vox2pix.errors import UserError
from vox2pix.evaluation import bootstrap_interval, two_way
from vox2pix.evaluation.audit import Audit, AuditInputs, audit
from vox2pix.report import contact_sheet, save_sheet

DATA = (
    Path(__file__).resolve().parents[1] / "../shared/data/miyawaki2008_v1_figures/figures.npz"
).resolve()
SIDE = 10  # patches
HELD_OUT = ("pattern", "block")
Direction = Literal["original", "reconstruction"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Figure:
    """One two-way identification: what was decoded, what was held out, how well it went.

    Attributes
    ----------
    features : str
        What the correlations are of.
    held_out : {"pattern", "block"}
        What the decoder had not seen.
    original, reconstruction : Score
        Two-way identification with the original, or the prediction, fixed.
    less_mean : Score
        The second, of predictions less those of an uninformed decoder.
    """

    features: str
    held_out: str
    original: "Score"
    reconstruction: "Score"
    less_mean: "Score"


@dataclass(frozen=True)
class Score:
    """Mean over patterns, its 95 % interval, and the score of each pattern; chance is 0.5."""

    value: float
    ci_low: float
    ci_high: float
    by_pattern: tuple[float, ...]


@dataclass(frozen=True)
class Decoded:
    """The results, and the images to show.

    Attributes
    ----------
    figures : tuple of Figure
        One for each kind of feature and each kind of holding out.
    images : dict of str to ndarray (n_patterns, height, width, 3)
        Seen, and decoded from the first block of each pattern.
    audit : Audit
        Of pixels decoded with their pattern held out.
    """

    figures: tuple[Figure, ...]
    images: dict[str, FloatArray]
    audit: Audit


def write_folder(data: Path, folder: Path, patch: int = 8) -> Path:
    """Write the responses in the layout that ``open_folder`` reads.

    Parameters
    ----------
    data : Path
        ``figures.npz`` with ``responses`` (80, 797), ``stimuli`` (10, 10, 10) and
        ``stimulus_index`` (80,).
    folder : Path
        Folder to make.
    patch : int
        Pixels along one side of a patch of the images.

    Raises
    ------
    UserError
        If the file is absent.
    """
    arrays = load_responses(data)
    responses, stimuli, shown = (
        arrays[name] for name in ("responses", "stimuli", "stimulus_index")
    )
    images = folder / "images"
    images.mkdir(parents=True)
    np.save(folder / "responses.npy", responses)
    names = [f"pattern-{k}" for k in range(len(stimuli))]
    trials = pd.DataFrame({"stimulus_id": [names[k] for k in shown]})
    trials.to_csv(folder / "trials.csv", index=False)
    pd.DataFrame({"V1": np.ones(responses.shape[1], int)}).to_csv(
        folder / "voxels.csv", index=False
    )
    for name, pattern in zip(names, stimuli, strict=True):
        square = Image.fromarray(pattern * np.uint8(255))
        square = square.resize((SIDE * patch, SIDE * patch), Image.Resampling.NEAREST)
        square.save(images / f"{name}.png")
    return folder


def decode(subject: Subject, model: LatentDiffusion | None = None) -> Decoded:
    """Decode pixels, and z where there is a model, by both kinds of holding out.

    Parameters
    ----------
    subject : Subject
        From :func:`write_folder`; every stimulus shown equally often.
    model : LatentDiffusion, optional
        Whose z is decoded; pixels only without.
    """
    train = subject.train
    X, rows = train.betas("V1"), train.stimulus_rows
    seen = subject.images(train.stimulus_ids)
    patterns = subject.images(train.stimulus_ids, size=SIDE)[..., 0].round()
    pixels = patterns.reshape(len(patterns), -1)
    latents = np.empty((len(seen), 0), np.float32) if model is None else model.encode_images(seen)
    z = latents.reshape(len(seen), -1)
    first = np.array([np.flatnonzero(rows == k)[0] for k in range(len(seen))])
    figures, images = [], {"seen": seen}
    # One penalty for all targets: nine patterns are too few to choose hundreds.
    decoder = RidgeDecoder(alpha_per_target=False)
    how: dict[str, Any] = {"cv": LeaveOneGroupOut(), "params": {"stimuli": rows}}
    for held_out in HELD_OUT:
        groups = rows if held_out == "pattern" else np.arange(len(rows))

        def identify(
            features: str,
            truth: FloatArray,
            predicted: FloatArray,
            uninformed: FloatArray,
            held_out: str = held_out,
        ) -> None:
            figures.append(_figure(features, held_out, truth, predicted, uninformed, rows))

        uninformed = training_means(pixels, rows, groups)
        plain = plain_ridge(X, pixels, rows, groups)
        identify("pixels, plain ridge", pixels, plain, uninformed)
        predicted = cross_val_predict(decoder, X, pixels[rows], groups=groups, **how)
        identify("pixels", pixels, predicted, uninformed)
        if held_out == "pattern":
            judged = audit_patterns(pixels, predicted, uninformed, rows)
        grey = predicted[first].reshape(patterns.shape).clip(0, 1)
        images[f"pixels, {held_out} out"] = np.repeat(grey[..., None], 3, axis=-1)
        if model is None:
            continue
        uninformed = training_means(z, rows, groups)
        predicted = cross_val_predict(decoder, X, z[rows], groups=groups, **how)
        identify("z", z, predicted, uninformed)
        drawn = model.decode_latents(predicted.reshape(-1, *latents.shape[1:]))
        distinct, trials = np.unique(uninformed, axis=0, return_inverse=True)
        blank = model.decode_latents(distinct.reshape(-1, *latents.shape[1:]))[trials]
        identify("z-decode", _flat(seen), _flat(drawn), _flat(blank))
        images[f"z-decode, {held_out} out"] = drawn[first]
    return Decoded(tuple(figures), images, judged)


def audit_patterns(
    truth: FloatArray, predicted: FloatArray, uninformed: FloatArray, rows: NDArray[np.intp]
) -> Audit:
    """Ask whether held-out patterns were read from the responses.

    Parameters
    ----------
    truth : ndarray, shape (n_patterns, n_pixels)
        The patterns.
    predicted, uninformed : ndarray, shape (n_trials, n_pixels)
        Decoded from each block, its pattern held out; and by an uninformed decoder.
    rows : ndarray of int, shape (n_trials,)
        Pattern of each trial.
    """
    order = np.argsort(rows, kind="stable")
    blocks = predicted[order].reshape(len(truth), -1, truth.shape[1])
    means = blocks.mean(axis=1)
    r = np.corrcoef(means, truth)[: len(truth), len(truth) :]
    np.fill_diagonal(r, -np.inf)  # its own pattern was not in training
    shape = (SIDE, SIDE)
    original = np.repeat(truth.reshape(-1, *shape, 1), 3, axis=-1)
    drawn = np.repeat(blocks.clip(0, 1).reshape(*blocks.shape[:2], *shape, 1), 3, axis=-1)
    return audit(
        AuditInputs(
            scores=two_way(truth, blocks, direction="original"),
            baseline_scores=two_way(truth, truth[r.argmax(axis=1)], direction="original"),
            shuffled_scores=two_way(truth, np.roll(blocks, 1, axis=0), direction="original"),
            mean_scores=_identification(truth, uninformed, rows, "original"),
            true_features=truth,
            predicted_features=means,
            feature="pixels",
            originals=original,
            reconstructions=drawn,
        )
    )


def training_means(Y: FloatArray, rows: NDArray[np.intp], groups: NDArray[np.intp]) -> FloatArray:
    """Return for each trial the mean target of the trials outside its group.

    Parameters
    ----------
    Y : ndarray, shape (n_stimuli, n_targets)
        Targets.
    rows : ndarray of int, shape (n_trials,)
        Row of Y that belongs to each trial.
    groups : ndarray of int, shape (n_trials,)
        Trials that are held out together.
    """
    means = np.empty((len(rows), Y.shape[1]), np.float32)
    for group in np.unique(groups):
        means[groups == group] = Y[rows[groups != group]].mean(axis=0)
    return means


def plain_ridge(
    X: FloatArray, Y: FloatArray, rows: NDArray[np.intp], groups: NDArray[np.intp]
) -> FloatArray:
    """Predict each trial by scikit-learn's ridge of z-scored voxels, penalty 1, without its group.

    Parameters
    ----------
    X : ndarray, shape (n_trials, n_voxels)
        Responses.
    Y, rows, groups
        As :func:`training_means` takes them.
    """
    predicted = np.empty((len(X), Y.shape[1]), np.float32)
    for group in np.unique(groups):
        test = groups == group
        model: BaseEstimator = make_pipeline(StandardScaler(), Ridge(alpha=1.0))
        predicted[test] = model.fit(X[~test], Y[rows[~test]]).predict(X[test])
    return predicted


def _figure(
    features: str,
    held_out: str,
    truth: FloatArray,
    predicted: FloatArray,
    uninformed: FloatArray,
    rows: NDArray[np.intp],
) -> Figure:
    """Score predictions (n_trials, d) against targets (n_stimuli, d)."""
    return Figure(
        features,
        held_out,
        original=_score(_identification(truth, predicted, rows, "original")),
        reconstruction=_score(_identification(truth, predicted, rows, "reconstruction")),
        less_mean=_score(_identification(truth, predicted - uninformed, rows, "reconstruction")),
    )


def _score(scores: NDArray[np.float64]) -> Score:
    low, high = bootstrap_interval(scores)
    value, low, high = (round(float(v), 4) for v in (scores.mean(), low, high))
    return Score(value, low, high, tuple(round(float(score), 4) for score in scores))


def _identification(
    truth: FloatArray, predicted: FloatArray, rows: NDArray[np.intp], direction: Direction
) -> NDArray[np.float64]:
    """Return one score per stimulus: its blocks are the samples of one reconstruction."""
    by_stimulus = predicted[np.argsort(rows, kind="stable")].reshape(len(truth), -1, truth.shape[1])
    return two_way(truth, by_stimulus, direction=direction)


def _flat(images: FloatArray) -> FloatArray:
    return images.reshape(len(images), -1)


def _table(decoded: Decoded) -> str:
    """Return the figures and the audit as text for people."""
    columns = ("fix original", "fix prediction", "the same less mean")
    lines = [
        "Two-way identification, %, with 95 % intervals over patterns; chance is 50 %.",
        f"{'held out':<9}{'decoded':<21}" + "".join(f"{name:>19}" for name in columns),
    ]
    for figure in decoded.figures:
        cells = (figure.original, figure.reconstruction, figure.less_mean)
        lines.append(f"{figure.held_out:<9}{figure.features:<21}" + "".join(map(_cell, cells)))
    lines.append("\nAudit of pixels, pattern held out")
    for finding in decoded.audit.findings:
        text = f"{finding.verdict:<6}{finding.name}: {finding.sentence}"
        lines.append(textwrap.fill(text, 88, subsequent_indent=" " * 6))
    return "\n".join(lines)


def _cell(score: Score) -> str:
    low, high = f"{100 * score.ci_low:.0f}", f"{100 * score.ci_high:.0f}"
    return f"{f'{100 * score.value:.1f} [{low}, {high}]':>19}"


def _draw_sheet(decoded: Decoded, stimulus_ids: tuple[str, ...], path: Path) -> None:
    """Draw what was seen beside what was decoded from the first block of each pattern."""
    sheet = contact_sheet(
        decoded.images,
        stimulus_ids,
        title="Ten patterns read from V1, each from one block (Miyawaki et al. 2008)",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(sheet, path)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options of what these responses are explained with."""
    parser.add_argument("--data", type=Path, default=DATA, help="the responses (figures.npz)")
    parser.add_argument("--model", default="phantom", help="a diffusion model, by name or folder")


def main(arguments: list[str] | None = None) -> int:
    """Decode, show a table, draw a sheet."""
    parser = option_parser(__doc__)
    add_inputs(parser)
    parser.add_argument("--out", type=Path, default=Path("miyawaki.png"), help="the contact sheet")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    before = machine()
    try:
        decoded, stimulus_ids, model = _run(options.data, options.model)
    except UserError as error:
        print(f"miyawaki: {error}", file=sys.stderr)
        return 2
    _draw_sheet(decoded, stimulus_ids, options.out)
    figures: dict[str, Any] = {
        "benchmark": "miyawaki",
        "model": model.identity["name"],
        "chance": 0.5,
        "figures": [asdict(figure) for figure in decoded.figures],
        "audit": [finding.record() for finding in decoded.audit.findings],
        "sheet": str(options.out),
        "machine": before,
    }
    show(figures, _table(decoded), options, "miyawaki")
    return 0


def load_responses(data: Path) -> dict[str, NDArray[Any]]:
    """Return ``responses`` (80, 797), ``stimuli`` (10, 10, 10) and ``stimulus_index`` (80,).

    Raises
    ------
    UserError
        If the file is absent.
    """
    if not data.is_file():
        raise UserError(
            f"there is no file {data}: give the V1 responses of Miyawaki et al. (2008) by --data"
        )
    with np.load(data, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ("responses", "stimuli", "stimulus_index")}


def load_model(name: str) -> LatentDiffusion:
    """Return a diffusion model, loaded without progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return LatentDiffusion.from_pretrained(name)


def _run(data: Path, name: str) -> tuple[Decoded, tuple[str, ...], LatentDiffusion]:
    """Write the folder, open it and decode it."""
    model = load_model(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_folder(data, Path(temporary) / "miyawaki", patch=model.downsampling)
        subject = open_folder(folder)
        return decode(subject, model), subject.train.stimulus_ids, model


if __name__ == "__main__":
    sys.exit(main())
