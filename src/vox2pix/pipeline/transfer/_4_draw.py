"""Stage 4 of a transfer: images from the mean response to each stimulus, in every task."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from vox2pix.diffusion import LatentDiffusion
from vox2pix.generation import reconstruct
from vox2pix.pipeline.drawings import (
    as_bytes,
    judged_condition,
    noise_seeds,
    reconstruction_settings,
)
from vox2pix.pipeline.experiment import FloatArray, as_drawn, targets
from vox2pix.pipeline.inputs import adapter_hashes
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.pipeline.transferring import (
    CUE,
    mean_decoded,
    stimuli_of,
    tasks_of,
    transfer_of,
    with_images,
)
from vox2pix.store import save_arrays
from vox2pix.targets import Condition

IMAGES = "images/transfer.safetensors"


def compute(
    model: LatentDiffusion,
    condition: Condition,
    values: Mapping[str, FloatArray],
    source: Run,
    stimulus_ids: Sequence[str],
) -> FloatArray:
    """Draw the images of a condition, (n, samples, size, size, 3), float32 in [0, 1].

    The noise belongs to the stimulus: what is drawn of it in two tasks differs by responses alone.
    """
    config, found = source.config, targets(source)
    if not condition.denoised:
        (name,) = condition.targets
        return found[name].images(model, values[name], config.compute.batch_size)[:, None]
    samples = config.generate.samples
    return reconstruct(
        model,
        {name: values[name] for name in condition.targets},
        seeds=noise_seeds(config, tuple(stimulus_ids), samples),
        settings=reconstruction_settings(config, samples),
        targets=found,
        batch_size=config.compute.batch_size,
    )


def values_of(run: Run, condition: Condition, task: str) -> dict[str, FloatArray]:
    """Return the values of a condition's targets as they are drawn, (n, *shape) each."""
    source = transfer_of(run).source
    values, found = {}, targets(source)
    for name in condition.targets:
        shape = found[name].shape(source.architecture)
        decoded = mean_decoded(run, name, task).reshape(-1, *shape)
        values[name] = as_drawn(source, found[name], decoded)
    return values


def _draw(run: Run) -> Sequence[str]:
    source = transfer_of(run).source
    condition = judged_condition(source.config, source.subject.has_captions)
    drawn_tasks = [task for task in tasks_of(run) if task != CUE]
    ids = stimuli_of(run)
    run.reporter.begin("Drawing images", len(ids) * len(drawn_tasks), "stimuli")
    arrays: dict[str, NDArray[Any]] = {}
    for task in drawn_tasks:
        shown = stimuli_of(run, task)
        images = compute(source.model, condition, values_of(run, condition, task), source, shown)
        arrays[task] = as_bytes(images, source.config.run_protocol.truncates)
        run.reporter.advance(len(shown))
    ids_with_image = with_images(run)
    if ids_with_image:
        size = arrays[drawn_tasks[0]].shape[2]
        arrays["true"] = as_bytes(transfer_of(run).subject.images(ids_with_image, size=size))
    save_arrays(run.path / IMAGES, arrays)
    return (IMAGES,)


def _inputs(run: Run) -> Any:
    source = transfer_of(run).source
    return [
        str(judged_condition(source.config, source.subject.has_captions)),
        source.config.generate.model_dump(mode="json", exclude={"ip_adapter"}),
        adapter_hashes(run, source.config),
        source.config.seed,
    ]


DRAW = Stage("transfer-draw", "Drawing", _draw, after=("transfer-decode",), inputs=_inputs)
