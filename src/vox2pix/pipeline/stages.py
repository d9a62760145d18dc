"""What each stage of a run does: where the rooms meet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import Config, without_place
from vox2pix.decoding import PER_TARGET
from vox2pix.errors import UserError
from vox2pix.linear import pearson_r, r2_score
from vox2pix.pipeline.audit import audit_run
from vox2pix.pipeline.doubts import decode_doubts
from vox2pix.pipeline.drawings import DOUBTED, Drawing
from vox2pix.pipeline.images import draw, drawings_of, stored_images
from vox2pix.pipeline.inputs import encoder_hashes, input_files, model_hashes
from vox2pix.pipeline.latents import (
    MODEL_FILE,
    extract_latents,
    feature_files,
    feature_settings,
)
from vox2pix.pipeline.page import keep_gallery, page_is_there, write_page
from vox2pix.pipeline.preparation import phantom_is_sound, prepare_subject
from vox2pix.pipeline.reporter import Reporter
from vox2pix.pipeline.run import Run, Stage, open_run, stage_keys
from vox2pix.pipeline.scoring import make_encoder, score
from vox2pix.pipeline.sheet import draw_sheet
from vox2pix.pipeline.spaces import (
    FeatureSpace,
    feature_spaces,
    fit_decoder,
    target_blocks,
    units,
)
from vox2pix.store import holds_arrays, load_arrays, read_json, save_arrays, write_json


def _prepare_data(run: Run) -> Sequence[str]:
    """Open the subject, simulated where that is the source, and refuse what would fail late."""
    outputs = prepare_subject(run, "run")
    if not run.subject.has_captions:
        run.reporter.say("No captions: c is not available; the run goes on with z alone.")
    return outputs


def _extract_features(run: Run) -> Sequence[str]:
    """Compute z and c of every stimulus into the shared cache; name the model in the run."""
    extract_latents(run)
    write_json(run.path / MODEL_FILE, run.model.identity)
    make_encoder(run)  # weights that are missing show now, not after hours of drawing
    return (MODEL_FILE, *feature_files(run))


def _decode(run: Run) -> Sequence[str]:
    """Fit decoders on single trials, a block of features each; predict from the test means."""
    spaces = feature_spaces(run)
    items = [(space.name, part) for space in spaces for part in target_blocks(run, space)]
    run.reporter.begin(f"Decoding {' and '.join(s.name for s in spaces)}", len(items), "decoders")
    for _ in run.workers.each(_decode_block, run, items):
        run.reporter.advance(1)
    run.forget()
    for space in spaces:
        run.reporter.say(_gather(run, space, [part for name, part in items if name == space.name]))
    return [f"{what}/{s.name}.safetensors" for s in spaces for what in ("decoded", "decoders")]


def _parts(run: Run) -> Path:
    """Return where decoders of single blocks lie until all are there."""
    return run.path / "decoders" / f"parts-{run.keys['decode']}"


def _decode_block(run: Run, item: tuple[str, tuple[int, int]]) -> None:
    """Fit the decoder of some features, predict them, and write both."""
    name, part = item
    path = _part(run, name, part)
    if holds_arrays(path):
        return
    space = next(space for space in feature_spaces(run) if space.name == name)
    decoder = fit_decoder(run, space, part)
    test = run.kept("test", space.rois, lambda: run.subject.test.mean_betas(space.rois))
    predicted = decoder.predict(units(test[: len(run.test_ids)], run.config))
    save_arrays(path, decoder.to_arrays() | {"predicted": predicted.astype(np.float32)})


def _part(run: Run, name: str, part: tuple[int, int]) -> Path:
    return _parts(run) / f"{name}-{part[0]}.safetensors"


def _gather(run: Run, space: FeatureSpace, parts: Sequence[tuple[int, int]]) -> str:
    """Join the blocks of a feature space, score them, and say how well they went."""
    truth = space.targets(run, run.test_ids)
    y_test = truth.reshape(len(truth), -1)
    predicted = np.empty(y_test.shape, np.float32)
    decoder: dict[str, NDArray[Any]] = {}
    for part in parts:
        arrays = load_arrays(_part(run, space.name, part))
        predicted[:, slice(*part)] = arrays.pop("predicted")
        for name, values in arrays.items():
            if name not in PER_TARGET:
                decoder[name] = values
                continue
            if name not in decoder:
                decoder[name] = np.empty((y_test.shape[1], *values.shape[1:]), values.dtype)
            decoder[name][slice(*part)] = values
    scored: dict[str, NDArray[Any]] = {
        "predicted": predicted.reshape(truth.shape),
        "r": pearson_r(y_test, predicted),
        "r2": r2_score(y_test, predicted),
    }
    save_arrays(run.path / "decoded" / f"{space.name}.safetensors", scored)
    save_arrays(run.path / "decoders" / f"{space.name}.safetensors", decoder)
    message = (
        f"{space.name} from {'+'.join(space.rois)}: mean r {np.nanmean(scored['r']):.3f} over "
        f"{y_test.shape[1]:,} features of {len(truth):,} test images"
    )
    if run.config.run_protocol.by_image and y_test.shape[1] > 1:
        # What the authors call prediction accuracy.
        by_image = np.nanmean(pearson_r(y_test.T, predicted.T))
        message += f"; r across features, mean over test images: {by_image:.3f}"
    return message


def _generate(run: Run) -> Sequence[str]:
    """Draw every condition, shard by shard."""
    return _draw_all(run, "Drawing images", _conditions(run))


def _generate_doubts(run: Run) -> Sequence[str]:
    """Draw what only the audit asks for."""
    return _draw_all(run, "Drawing for the audit", _doubted(run))


def _draw_all(run: Run, title: str, drawings: Sequence[Drawing]) -> Sequence[str]:
    n_images = sum(d.samples for d in drawings) * len(run.test_ids)
    run.reporter.begin(title, n_images, "images")
    draw(run, drawings)
    return ()


def _conditions(run: Run) -> list[Drawing]:
    return [d for d in drawings_of(run) if d.source not in DOUBTED]


def _doubted(run: Run) -> list[Drawing]:
    return [d for d in drawings_of(run) if d.source in DOUBTED]


def _data_settings(config: Config) -> Sequence[Any]:
    """Name what is read, but not where it lies."""
    what = config.data.model_dump(mode="json", exclude={"path"})
    return [what, config.decode.rois]


def _drawing_settings(config: Config) -> Sequence[Any]:
    named = config.run_protocol
    return [config.generate, config.seed, named.one_noise, named.truncates, named.samples_start]


def _evaluate_settings(config: Config) -> Sequence[Any]:
    encoder = without_place(config.evaluate.encoder)  # its files are hashed
    return [config.evaluate.model_copy(update={"encoder": encoder}), config.protocol]


def _are_drawn(run: Run, drawings: Sequence[Drawing]) -> bool:
    return not any(stored_images(run, drawing).pending() for drawing in drawings)


STAGES = (
    Stage("data", "Data", _prepare_data, _data_settings, input_files, phantom_is_sound),
    Stage("features", "Features", _extract_features, feature_settings, model_hashes),
    Stage(
        "decode",
        "Decoding",
        _decode,
        lambda c: [c.decode, c.run_protocol.released_ridge, c.run_protocol.beta_scale],
        leftovers="decoders",
    ),
    Stage(
        "generate",
        "Drawing",
        _generate,
        _drawing_settings,
        is_sound=lambda run: _are_drawn(run, _conditions(run)),
    ),
    Stage(
        "audit-decoding",
        "Decoding for the audit",
        decode_doubts,
        lambda c: [c.audit],
        leftovers="decoded",
    ),
    Stage(
        "audit-drawing",
        "Drawing for the audit",
        _generate_doubts,
        lambda c: [],
        is_sound=lambda run: _are_drawn(run, _doubted(run)),
    ),
    Stage("evaluate", "Scoring", score, _evaluate_settings, encoder_hashes),
    Stage("audit", "Audit", audit_run, lambda c: []),
    Stage("sheet", "Contact sheet", draw_sheet, lambda c: [c.name]),
    Stage("gallery", "Gallery", keep_gallery, lambda c: []),
    Stage("report", "Report", write_page, lambda c: [], is_sound=page_is_there),
)


def audit_again(path: Path, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Audit a run that was drawn and scored.

    Parameters
    ----------
    path : Path
        The run folder.
    reporter : Reporter, optional
        Who is told how the work goes; nobody if absent.

    Returns
    -------
    list of dict
        What ``audit.json`` holds: a check each.

    Raises
    ------
    UserError
        If the folder is no run, it was not scored, or its experiment has no audit.
    """
    run = open_run(path, reporter)
    if not run.config.audit.enabled:
        raise UserError(
            f"{path} was run with audit.enabled = false, so that nothing was drawn for an audit; "
            "set it to true and run again."
        )
    with run.folder.lock():
        run.keys |= stage_keys(STAGES, run)
        if not run.folder.is_done("evaluate", run.keys["evaluate"]):
            raise UserError(f"{path} is not drawn and scored; run `vox2pix run` with it first.")
        run.folder.mark_done("audit", run.keys["audit"], audit_run(run))
    return list(read_json(path / "audit.json"))
