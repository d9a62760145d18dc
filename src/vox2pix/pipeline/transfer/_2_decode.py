"""Stage 2 of a transfer: targets of single trials, by the frozen decoders of the run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.decoding import RidgeDecoder
from vox2pix.pipeline.experiment import FloatArray, flat, in_protocol_units, targets
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import TRUTH, responses, transfer_of, true_values, with_truth
from vox2pix.store import claim, load_arrays, save_arrays, write_json


def compute(decoder: RidgeDecoder, betas: FloatArray) -> dict[str, NDArray[Any]]:
    """Decode single trials (n_trials, n_voxels): ``predicted`` (n_trials, n_values), ``mean``.

    The mean is that of the target over training, which is taken from both sides of similarities.
    """
    predicted = decoder.predict(betas).astype(np.float32)
    mean = np.broadcast_to(np.asarray(decoder.mean_, np.float32), predicted.shape[1:])
    return {"predicted": predicted, "mean": np.ascontiguousarray(mean)}


def _decode(run: Run) -> Sequence[str]:
    transfer = transfer_of(run)
    source, files, truth = transfer.source, [TRUTH], dict[str, list[str]]()
    names = list(targets(source))
    claim(run.cache, "features")
    run.reporter.begin("Decoding", len(names), "targets")
    for name in names:
        mask = source.subject.voxel_mask(source.config.decode.rois[name])
        decoder = RidgeDecoder.from_arrays(
            load_arrays(source.path / f"decoders/{name}.safetensors")
        )
        arrays = compute(decoder, in_protocol_units(responses(run)[:, mask], source.config))
        truth[name] = with_truth(run, name)
        if truth[name]:
            arrays["true"] = flat(true_values(run, name, truth[name]))
        save_arrays(run.path / f"decoded/{name}.safetensors", arrays)
        files.append(f"decoded/{name}.safetensors")
        run.reporter.advance(1)
    write_json(run.path / TRUTH, truth)
    return files


DECODE = Stage(
    "transfer-decode",
    "Decoding",
    _decode,
    after=("transfer-data",),
    inputs=lambda run: transfer_of(run).standardise,
)
