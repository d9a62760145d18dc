"""What each stage of a run does: where the rooms meet."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from vox2pix.config import Config
from vox2pix.decoding import RidgeDecoder
from vox2pix.diffusion.pipeline_folder import find_pipeline, hash_files
from vox2pix.errors import UserError
from vox2pix.evaluation import (
    Encoder,
    encoder_hashes,
    evaluate,
    image_encoder,
    per_picture_scores,
)
from vox2pix.features import conditioning_features, latent_features
from vox2pix.generation import ReconstructionSettings, picture_seeds, reconstruct
from vox2pix.linear import pearson_r, r2_score
from vox2pix.phantom import simulate
from vox2pix.pipeline.drawings import Drawing, derangement, planned_drawings
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run, Stage, input_files
from vox2pix.report import choose_rows, contact_sheet, save_sheet
from vox2pix.store import (
    ShardedArray,
    load_arrays,
    save_arrays,
    write_json,
    write_table,
)

FloatArray = NDArray[np.float32]
Progress = Callable[[int], None]


def _prepare_data(run: Run) -> Sequence[str]:
    """Simulate the phantom where that is the source; in any case open the subject."""
    data = run.config.data
    target = data.root(run.path)
    if data.source == "phantom" and not target.exists():  # it appears when it is complete
        phantom = data.phantom
        simulate(
            target,
            subjects=data.subject,
            sessions=phantom.sessions,
            seed=phantom.seed,
            space=data.space,
            n_early=phantom.n_early,
            n_ventral=phantom.n_ventral,
            trials_per_session=phantom.trials_per_session,
            n_shared=phantom.n_shared,
            progress=_stepwise(run.reporter),
        )
    subject = run.subject
    _check_experiment(run)
    n_train, n_test = len(subject.train.stimulus_ids), len(run.test_ids)
    run.reporter.say(
        f"{subject.name}: {subject.train.n_trials:,} training trials of {n_train:,} pictures, "
        f"{n_test:,} test pictures, {len(subject.voxels):,} voxels"
    )
    if not run.subject.has_captions:
        run.reporter.say("No captions: c is not available; the run goes on with z alone.")
    design = target / "nsddata/experiments/nsd/nsd_expdesign.mat"
    return (str(design.relative_to(run.path)),) if data.source == "phantom" else ()


def _check_experiment(run: Run) -> None:
    """Refuse what would fail only after hours of work."""
    if len(run.test_ids) < 2:
        raise UserError(
            f"{run.subject.name} has {len(run.test_ids)} test pictures; scoring needs 2 or more."
        )
    if not any(d.source == "decoded" for d in _drawings(run)):
        wanted = ", ".join(run.config.generate.conditions) or "none"
        raise UserError(
            f"generate.conditions ({wanted}) leaves nothing to draw from what is decoded; without "
            "captions only z and z-decode can be drawn."
        )


def _stepwise(reporter: Reporter) -> Callable[[str, int, int], None]:
    """Tell a reporter how far each step is, by (step, done, total)."""
    current, told = "", 0

    def progress(step: str, done: int, total: int) -> None:
        nonlocal current, told
        if step != current:
            reporter.begin(step.capitalize(), total, "")
            current, told = step, 0
        reporter.advance(done - told)
        told = done

    return progress


def _extract_features(run: Run) -> Sequence[str]:
    """Compute z and c of every stimulus into the shared cache; name the model in the run."""
    ids = (*run.subject.train.stimulus_ids, *run.test_ids)
    size = run.config.model.z_picture_size
    if size is not None and size % run.model.downsampling:
        raise UserError(
            f"model.z_picture_size is {size}, but {run.config.model.name} takes multiples of "
            f"{run.model.downsampling} pixels."
        )
    run.reporter.begin("Extracting z", len(ids), "pictures")
    _z(run, ids, run.reporter.advance)
    if run.subject.has_captions:
        run.reporter.begin("Extracting c", len(ids), "captions")
        _c(run, ids, run.reporter.advance)
    write_json(run.path / "model.json", run.model.identity)
    _encoder(run)  # weights that are missing show now, not after hours of drawing
    return ("model.json",)


def _decode(run: Run) -> Sequence[str]:
    """Fit one decoder a feature space on single trials; predict from the test means."""
    written = []
    for name, targets, rois in _feature_spaces(run):
        train, test = run.subject.train, run.subject.test
        run.reporter.begin(f"Decoding {name} from {'+'.join(rois)}", 2, "steps")
        decoder = _decoder(run.config)
        y_train = targets(run, train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
        X = _units(train.betas(rois), run.config.protocol)
        decoder.fit(X, y_train, rows=train.stimulus_rows)
        run.reporter.advance(1)
        keep = slice(len(run.test_ids))
        predicted = decoder.predict(_units(test.mean_betas(rois)[keep], run.config.protocol))
        truth = targets(run, run.test_ids)
        y_test = truth.reshape(len(truth), -1)
        arrays: dict[str, NDArray[Any]] = {
            "predicted": predicted.reshape(truth.shape).astype(np.float32),
            "r": pearson_r(y_test, predicted),
            "r2": r2_score(y_test, predicted),
        }
        save_arrays(run.path / "decoded" / f"{name}.safetensors", arrays)
        save_arrays(run.path / "decoders" / f"{name}.safetensors", decoder.to_arrays())
        run.reporter.say(
            f"{name} from {'+'.join(rois)}: mean r {np.nanmean(arrays['r']):.3f} over "
            f"{y_test.shape[1]:,} features of {len(truth):,} test pictures"
        )
        run.reporter.advance(1)
        written += [f"decoded/{name}.safetensors", f"decoders/{name}.safetensors"]
    return written


def _generate(run: Run) -> Sequence[str]:
    """Draw every condition, shard by shard."""
    drawings = _drawings(run)
    n_pictures = sum(d.samples for d in drawings) * len(run.test_ids)
    run.reporter.begin("Drawing pictures", n_pictures, "pictures")
    for drawing in drawings:
        _draw(run, drawing)
    return ()


def _evaluate(run: Run) -> Sequence[str]:
    """Score every condition; write ``metrics.json`` and the scores of each picture."""
    drawings = _drawings(run)
    run.reporter.begin("Scoring", sum(d.samples for d in drawings), "samples")
    wanted = run.config.evaluate
    encoder = _encoder(run)
    records: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for drawing in drawings:
        stored = _pictures(run, drawing).read()
        truth = run.subject.pictures(run.test_ids, size=stored.shape[2])
        scores = _mean_scores(run, truth, stored, encoder)
        made = evaluate(
            truth,
            _as_floats(stored[:, :1]),
            condition=drawing.name,
            subject=run.subject.name,
            encoder=encoder,
            encoder_name=wanted.encoder,
            seed=run.config.seed,
            n_resamples=wanted.resamples,
            protocol=run.config.protocol,
            scores=scores,
            n_samples=drawing.samples,
        )
        records += [record.model_dump() for record in made]
        rows += _score_rows(drawing, scores)
    write_json(run.path / "metrics.json", records)
    write_table(run.path / "scores.csv", rows)
    return ("metrics.json", "scores.csv")


def _mean_scores(
    run: Run, truth: FloatArray, stored: NDArray[np.uint8], encoder: Encoder
) -> pd.DataFrame:
    """Score one sample of all pictures at a time, which bounds the memory; average the samples."""
    total: pd.DataFrame | None = None
    for sample in range(stored.shape[1]):
        scores = per_picture_scores(
            truth,
            _as_floats(stored[:, sample : sample + 1]),
            run.test_ids,
            encoder=encoder,
            encoder_name=run.config.evaluate.encoder,
        )
        total = scores if total is None else total + scores
        run.reporter.advance(1)
    assert total is not None  # every drawing has a sample
    return total / stored.shape[1]


def _score_rows(drawing: Drawing, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Flatten the scores of one condition: a row for each picture, metric and direction."""
    return [
        {
            "stimulus_id": stimulus_id,
            "condition": drawing.name,
            "metric": metric,
            "direction": direction,
            "score": float(scores.loc[stimulus_id, (metric, direction)]),
        }
        for stimulus_id in scores.index
        for metric, direction in _pairs(scores)
    ]


def _pairs(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """List the (metric, direction) of the columns."""
    metrics, directions = (scores.columns.get_level_values(level) for level in (0, 1))
    return list(zip(metrics, directions, strict=True))


def _draw_sheet(run: Run) -> Sequence[str]:
    """Lay the best, median and worst test pictures out for the eye."""
    save_sheet(sheet_of(run, run.config.evaluate.per_group), run.path / "contact_sheet.png")
    return ("contact_sheet.png",)


def sheet_of(run: Run, per_group: int) -> Image.Image:
    """Draw the contact sheet of a run that is scored.

    Parameters
    ----------
    run : Run
        With its stages' keys.
    per_group : int
        How many best, median and worst pictures.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    drawings = {d.name: d for d in _drawings(run)}
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
    columns = {"seen": run.subject.pictures(ids, size=run.model.picture_size)}
    for name in shown:
        columns[name] = _as_floats(_pictures(run, drawings[name]).take(chosen)[:, 0])
    captions = [told[0] for told in run.subject.captions(ids)] if run.subject.has_captions else None
    return contact_sheet(
        columns,
        ids,
        title=f"{run.config.name}: seen by {run.subject.name}, and read from the brain",
        rows=replace(rows, indices=tuple(range(len(chosen)))),
        captions=captions,
        notes=[f"{100 * identification[i]:.0f} %" for i in chosen],
    )


def _ranking_scores(
    run: Run, condition: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """Return each picture's identification and PixCorr under a condition, and the first's name."""
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    table = table[table["condition"] == condition]
    wide = table.pivot(index="stimulus_id", columns=["metric", "direction"], values="score")
    wide = wide.loc[list(run.test_ids)]
    metric, direction = next(pair for pair in _pairs(wide) if pair[1] == "original")
    pixcorr = wide["pixcorr"].to_numpy()[:, 0]
    return wide[metric, direction].to_numpy(), pixcorr, f"identification ({metric})"


def _data_settings(config: Config) -> Sequence[Any]:
    """Name what is read, but not where it lies."""
    what = config.data.model_dump(mode="json", exclude={"path"})
    return [what, config.decode.z, config.decode.c]


def _feature_settings(config: Config) -> Sequence[Any]:
    return [config.model, config.compute.dtype, config.seed]


def _model_hashes(run: Run) -> dict[str, str]:
    return hash_files(find_pipeline(run.config.model.name, run.config.model.revision).path)


def _encoder_hashes(run: Run) -> dict[str, str]:
    return encoder_hashes(run.config.evaluate.encoder)


def _all_is_drawn(run: Run) -> bool:
    return not any(_pictures(run, drawing).pending() for drawing in _drawings(run))


STAGES = (
    Stage("data", "Data", _prepare_data, _data_settings, input_files),
    Stage("features", "Features", _extract_features, _feature_settings, _model_hashes),
    Stage("decode", "Decoding", _decode, lambda c: [c.decode, c.protocol]),
    Stage("generate", "Drawing", _generate, lambda c: [c.generate, c.seed], is_sound=_all_is_drawn),
    Stage("evaluate", "Scoring", _evaluate, lambda c: [c.evaluate], _encoder_hashes),
    Stage("sheet", "Contact sheet", _draw_sheet, lambda c: [c.name]),
)


# --- features and decoders -----------------------------------------------------------------------


def _quietly(done: int) -> None:
    """Take no note of progress: what is read back was counted when it was computed."""


def _z(run: Run, ids: Sequence[str], progress: Progress = _quietly) -> FloatArray:
    wanted = run.config.model
    return latent_features(
        run.model,
        run.subject,
        ids,
        run.cache,
        picture_size=wanted.z_picture_size,
        posterior=wanted.z_posterior,
        seed=run.config.seed,
        batch_size=run.config.compute.batch_size,
        progress=progress,
    )


def _c(run: Run, ids: Sequence[str], progress: Progress = _quietly) -> FloatArray:
    return conditioning_features(
        run.model,
        run.subject,
        ids,
        run.cache,
        batch_size=run.config.compute.batch_size,
        progress=progress,
    )


def _feature_spaces(
    run: Run,
) -> list[tuple[str, Callable[[Run, Sequence[str]], FloatArray], tuple[str, ...]]]:
    """Name each feature space that is there, how to get it, and the regions that predict it."""
    z, c = ("z", _z, run.config.decode.z), ("c", _c, run.config.decode.c)
    return [z, c] if run.subject.has_captions else [z]


def _encoder(run: Run) -> Encoder:
    return image_encoder(run.config.evaluate.encoder, device=run.config.compute.device)


def _decoder(config: Config) -> RidgeDecoder:
    if config.protocol == "takagi2023":
        return RidgeDecoder.takagi2023(config.decode.alphas)
    decode = config.decode
    chosen: dict[str, Any] = {} if decode.alphas is None else {"alphas": decode.alphas}
    return RidgeDecoder(
        selection=decode.selection, alpha_per_target=decode.alpha_per_target, **chosen
    )


def _units(betas: FloatArray, protocol: str) -> FloatArray:
    """Return percent signal change, or NSD's raw integers, as the released code used them."""
    return betas * np.float32(300) if protocol == "takagi2023" else betas


# --- pictures ---------------------------------------------------------------------------------


def _pictures(run: Run, drawing: Drawing) -> ShardedArray:
    # The autoencoder's picture has the size that z was taken at.
    coarse = run.config.model.z_picture_size if drawing.condition == "z-decode" else None
    size = coarse or run.model.picture_size
    shape = (len(run.test_ids), drawing.samples, size, size, 3)
    folder = run.path / "pictures" / f"{drawing.name}-{run.keys['generate']}"
    return ShardedArray(folder, shape, np.uint8, run.config.compute.shard_size)


def _drawings(run: Run) -> list[Drawing]:
    return planned_drawings(run.config, run.subject.has_captions)


def _as_floats(stored: NDArray[np.uint8]) -> FloatArray:
    """Bring 8-bit pictures to [0, 1]."""
    return np.divide(stored, 255, dtype=np.float32)


def _draw(run: Run, drawing: Drawing) -> None:
    out = _pictures(run, drawing)
    pending = out.pending()
    done = sum(out.rows(s).stop - out.rows(s).start for s in range(out.n_shards))
    done -= sum(out.rows(s).stop - out.rows(s).start for s in pending)
    run.reporter.advance(done * drawing.samples)
    if not pending:
        return
    z, c = _inputs(run, drawing)
    wanted = run.config.generate
    # The released code seeded each process alike: every picture got the same noise.
    names = ["one noise for all"] * len(run.test_ids) if _one_noise(run) else run.test_ids
    seeds = picture_seeds(run.config.seed, names, drawing.samples)
    settings = ReconstructionSettings(
        strength=wanted.strength,
        steps=wanted.steps,
        guidance=wanted.guidance,
        schedule=wanted.schedule,
        samples=drawing.samples,
    )
    for shard in pending:
        rows = out.rows(shard)
        pictures = reconstruct(
            run.model,
            drawing.condition,
            z=z[rows] if "z" in drawing.condition else None,
            c=c[rows] if c is not None and "c" in drawing.condition.split("+") else None,
            seeds=seeds[rows],
            settings=settings,
            batch_size=run.config.compute.batch_size,
        )
        out.write(shard, np.rint(pictures * 255).astype(np.uint8))
        run.reporter.advance(pictures.shape[0] * drawing.samples)


def _one_noise(run: Run) -> bool:
    return run.config.protocol == "takagi2023"


def _inputs(run: Run, drawing: Drawing) -> tuple[FloatArray, FloatArray | None]:
    """Return z and c of the test stimuli from the drawing's source."""
    if drawing.source == "true":
        return _z(run, run.test_ids), _c(run, run.test_ids) if run.subject.has_captions else None
    z = load_arrays(run.path / "decoded" / "z.safetensors")["predicted"]
    c = (
        load_arrays(run.path / "decoded" / "c.safetensors")["predicted"]
        if run.subject.has_captions
        else None
    )
    if drawing.source == "shuffled":
        order = derangement(len(z), run.config.seed)
        z, c = z[order], c[order] if c is not None else None
    return z, c
