"""A finished run, opened so that its images can be drawn again with other settings."""

from collections.abc import Callable
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError
from vox2pix.generation import port_inputs
from vox2pix.pipeline.drawings import as_bytes, judged_condition, noise_seeds
from vox2pix.pipeline.experiment import (
    FloatArray,
    as_drawn,
    decoded,
    decoded_subject,
    in_protocol_units,
    start_settings,
)
from vox2pix.pipeline.run import Run, open_run
from vox2pix.report.contents import RunContents, read_run
from vox2pix.report.gallery import Gallery
from vox2pix.report.redraw import Knobs, Pixels, Redraw, Show
from vox2pix.store import ShardedArray, load_arrays
from vox2pix.targets import default_ceilings, targets_of

_MAX_PREVIEWS = 20


def explore(
    path: Path,
    port: int | None = None,
    open_browser: bool = True,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a page on this machine on which a run's images are drawn again; ends with Ctrl-C.

    Nothing is written to the run. `announce` is called once with the address, whose port is a free
    one unless it is given. A UserError is raised if NiceGUI is not installed, the folder holds no
    finished run, or the port is taken.
    """
    try:
        from vox2pix.report.explore import serve
    except ModuleNotFoundError as error:
        if error.name != "nicegui":
            raise
        raise UserError(
            "Exploring needs NiceGUI, which is not installed; run `pip install 'vox2pix[explore]'`."
        ) from None
    serve(open_redraw(path), port, open_browser, announce)


def open_redraw(path: Path) -> Redraw:
    """Open a finished run, its diffusion model loaded, to draw its images again.

    With its own settings it draws what the run drew. With a region left out, targets are predicted
    by the fitted decoders from the mean response to the image, in which the region's voxels have
    their mean over all training trials; responses are read when that is first asked for.
    """
    run = open_run(path)
    contents = read_run(path)
    gallery = contents.gallery
    targets = {k: t for k, t in targets_of(run.config).items() if k in contents.decoded_r}
    if gallery is None or not targets:
        raise UserError(
            f"{path} is not finished; run `vox2pix run` with its experiment file first."
        )
    # An image without denoising has nothing to turn: its targets are drawn with it instead.
    fullest_first = sorted(default_ceilings(targets), key=lambda c: -len(c.targets))
    conditions = {str(condition): condition.targets for condition in fullest_first}
    judged = "+".join(judged_condition(run.config, bool(gallery.captions)).targets)
    generate, first = run.config.generate, gallery.stimulus_ids[0]
    redrawer = _Redrawer(run, contents, gallery)
    run.model  # noqa: B018  loaded now, not when a setting is first changed
    return Redraw(
        title=f"{run.config.name}: {contents.subject}, drawn by {run.config.model.name}",
        stimuli=_names(gallery),
        conditions=conditions,
        start=tuple(name for name, target in targets.items() if target.port == "start"),
        guided=tuple(name for name, target in targets.items() if target.port != "start"),
        regions=tuple(dict.fromkeys(r for name in targets for r in run.config.decode.rois[name])),
        own=Knobs(
            stimulus_id=first,
            condition=judged if judged in conditions else next(iter(conditions)),
            strength=generate.strength,
            guidance=generate.guidance,
            seed=0,
            sources=dict.fromkeys(targets, first),
        ),
        n_samples=generate.samples,
        least_strength=ceil(100 / generate.steps) / 100,
        seen=redrawer.seen,
        in_run=redrawer.in_run,
        draw=redrawer.draw,
    )


def _names(gallery: Gallery) -> dict[str, str]:
    """Call each stimulus by its id and its first caption."""
    captions = gallery.captions or [[]] * len(gallery.stimulus_ids)
    return {
        stimulus_id: " · ".join([stimulus_id, *own[:1]])
        for stimulus_id, own in zip(gallery.stimulus_ids, captions, strict=True)
    }


class _Redrawer:
    """Draws images of a run again; the responses that it reads stay in memory."""

    def __init__(self, run: Run, contents: RunContents, gallery: Gallery) -> None:
        self._run = run
        self._drawings = contents.drawings
        self._originals = ShardedArray.existing(run.path / "gallery" / "originals")
        self._rows = {each: row for row, each in enumerate(gallery.stimulus_ids)}
        self._decoded = {name: decoded(run, name) for name in contents.decoded_r}

    def seen(self, stimulus_id: str) -> Pixels:
        assert self._originals is not None  # written before the list of stimuli
        return self._originals.take([self._rows[stimulus_id]])[0]

    def in_run(self, knobs: Knobs) -> Pixels | None:
        drawn = self._drawings.get(knobs.condition)
        if drawn is None:
            return None
        samples = drawn.take([self._rows[knobs.stimulus_id]])[0]
        return np.asarray(samples[knobs.seed if knobs.seed < len(samples) else 0])

    def draw(self, knobs: Knobs, show: Show) -> None:
        model, config = self._run.model, self._run.config
        generate, truncates = config.generate, config.run_protocol.truncates
        seeds = noise_seeds(config, (knobs.stimulus_id,), knobs.seed + 1)
        targets = targets_of(config)
        decoded = {
            name: self._values(name, knobs.sources[name], knobs.left_out)
            for name in knobs.condition.split("+")
        }
        values = {name: as_drawn(self._run, targets[name], of) for name, of in decoded.items()}
        inputs = port_inputs(model, values, seeds, start_settings(config), targets)
        strength = knobs.strength if "start" in inputs else None
        n_steps = len(model.plan(strength, generate.steps, generate.schedule).timesteps)
        every = ceil(n_steps / _MAX_PREVIEWS)

        def preview(step: int, timestep: int, latents: FloatArray) -> None:
            left = n_steps - 1 - step
            if left % every == 0:
                image = as_bytes(model.decode_latents(latents), truncates)[0]
                show(step + 1, n_steps, image)

        model.denoise(
            inputs,
            seeds[0, -1:].tolist(),
            strength=knobs.strength,
            steps=generate.steps,
            guidance=knobs.guidance,
            schedule=generate.schedule,
            callback=preview,
        )

    def _values(self, name: str, stimulus_id: str, left_out: str | None) -> FloatArray:
        """Return a target as it was decoded, or predicted again without a region: (1, *shape)."""
        row = self._rows[stimulus_id]
        values = self._decoded[name][[row]]
        if left_out is None:
            return values
        config, subject = self._run.config, self._run.subject
        used, silent = subject.voxel_mask(config.decode.rois[name]), subject.voxel_mask(left_out)
        if not (silent & used).any():
            return values
        response = np.where(silent, self._mean, self._responses[row])[None, used]
        arrays = load_arrays(self._run.path / "decoders" / f"{name}.safetensors")
        decoder = RidgeDecoder.from_arrays(arrays)
        predicted = decoder.predict(in_protocol_units(response, config))
        return predicted.reshape(values.shape).astype(np.float32)

    @cached_property
    def _responses(self) -> NDArray[np.float32]:
        """Mean responses to the test stimuli, (n_stimuli, n_voxels), as decoders read them."""
        return decoded_subject(self._run).test.mean_betas()

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        """Each voxel's mean over the training trials, (n_voxels,), as decoders read them."""
        train = decoded_subject(self._run).train
        total = sum(betas.sum(axis=0, dtype=float) for _, betas in train.iter_betas())
        return np.asarray(total / train.n_trials, np.float32)
