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
from vox2pix.pipeline.drawings import fullest_condition
from vox2pix.pipeline.images import as_bytes, noise_seeds
from vox2pix.pipeline.latents import FloatArray
from vox2pix.pipeline.run import Run, open_run
from vox2pix.pipeline.spaces import units
from vox2pix.report.contents import RunContents, read_run
from vox2pix.report.gallery import Gallery, open_images
from vox2pix.report.labels import targets_of
from vox2pix.report.redraw import Knobs, Pixels, Redraw, Show
from vox2pix.store import load_arrays
from vox2pix.targets import StartSettings, find_target

_MOST_PREVIEWS = 20


def explore(
    path: Path,
    port: int | None = None,
    open_browser: bool = True,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a page on this machine on which a run's images are drawn again; ends with Ctrl-C.

    Parameters
    ----------
    path : Path
        The run folder; nothing is written to it.
    port : int, optional
        Of 127.0.0.1; a free one if absent.
    open_browser : bool
        Show the page in the person's browser.
    announce : callable
        Told the address once, before the page is served.

    Raises
    ------
    UserError
        If NiceGUI is not installed, the folder holds no finished run, or the port is taken.
    """
    try:
        from vox2pix.report.explore import serve
    except ModuleNotFoundError as error:
        if error.name != "nicegui":
            raise
        raise UserError(
            "exploring needs NiceGUI, which is not installed; run `pip install 'vox2pix[explore]'`."
        ) from None
    serve(open_redraw(path), port, open_browser, announce)


def open_redraw(path: Path) -> Redraw:
    """Open a finished run, its diffusion model loaded, to draw its images again.

    Parameters
    ----------
    path : Path
        The run folder.

    Returns
    -------
    Redraw
        At ``own`` it draws what the run drew. With a region left out, z and c are predicted by
        the fitted decoders from the mean response to the image, in which the region's voxels
        hold their mean over all training trials; responses are read when that is first asked
        for.

    Raises
    ------
    UserError
        If the folder is no run, or the run is not finished.
    """
    run = open_run(path)
    contents = read_run(path)
    gallery, decoded = contents.gallery, contents.decoded_r
    if gallery is None or "z" not in decoded:
        raise UserError(
            f"{path} is not finished; run `vox2pix run` with its experiment file first."
        )
    wanted, has_c = run.config.generate, "c" in decoded
    names = ("z+c", "z", "c") if has_c else ("z",)
    conditions = {name: targets_of(name) for name in names}
    # The autoencoder's image of z is drawn without noise: there is no knob to turn.
    drawn = fullest_condition(run.config, has_c)
    first = gallery.stimulus_ids[0]
    drawer = _Drawer(run, contents, gallery)
    run.model  # noqa: B018  loaded now, not at the first touch of a knob
    return Redraw(
        title=f"{run.config.name}: {contents.subject}, drawn by {run.config.model.name}",
        stimuli=_names(gallery),
        conditions=conditions,
        start=tuple(name for name in decoded if find_target(name).port == "start"),
        guided=tuple(name for name in decoded if find_target(name).port != "start"),
        regions=tuple(dict.fromkeys(r for space in decoded for r in run.config.decode.rois[space])),
        own=Knobs(
            stimulus_id=first,
            condition=drawn if drawn in conditions else "z",
            strength=wanted.strength,
            guidance=wanted.guidance,
            seed=0,
            sources=dict.fromkeys(decoded, first),
        ),
        n_samples=wanted.samples,
        least_strength=ceil(100 / wanted.steps) / 100,
        seen=drawer.seen,
        in_run=drawer.in_run,
        draw=drawer.draw,
    )


def _names(gallery: Gallery) -> dict[str, str]:
    """Call each stimulus by its number and its first caption."""
    captions = gallery.captions or [[]] * len(gallery.stimulus_ids)
    return {
        stimulus_id: " · ".join([stimulus_id, *told[:1]])
        for stimulus_id, told in zip(gallery.stimulus_ids, captions, strict=True)
    }


class _Drawer:
    """Draws images of a run again; what it reads of the brain is kept in memory."""

    def __init__(self, run: Run, contents: RunContents, gallery: Gallery) -> None:
        self._run = run
        self._drawings = contents.drawings
        self._originals = open_images(run.path / "gallery" / "originals")
        self._rows = {each: row for row, each in enumerate(gallery.stimulus_ids)}
        self._decoded = {
            space: load_arrays(run.path / "decoded" / f"{space}.safetensors")["predicted"]
            for space in contents.decoded_r
        }

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
        model, wanted = self._run.model, self._run.config.generate
        protocol = self._run.config.run_protocol
        seeds = noise_seeds(self._run.config, [knobs.stimulus_id], knobs.seed + 1)
        inputs = {
            name: self._features(name, knobs.sources[name], knobs.left_out)
            for name in targets_of(knobs.condition)
        }
        how = StartSettings(truncate=protocol.truncates, sample=protocol.samples_start)
        ports = port_inputs(model, inputs, seeds, how)
        strength = knobs.strength if "start" in ports else None
        n_steps = len(model.plan(strength, wanted.steps, wanted.schedule).timesteps)
        every = ceil(n_steps / _MOST_PREVIEWS)

        def preview(step: int, timestep: int, latents: FloatArray) -> None:
            left = n_steps - 1 - step
            if left % every == 0:
                image = as_bytes(model.decode_latents(latents), protocol.truncates)[0]
                show(step + 1, n_steps, image)

        model.denoise(
            ports,
            seeds[0, -1:].tolist(),
            strength=knobs.strength,
            steps=wanted.steps,
            guidance=knobs.guidance,
            schedule=wanted.schedule,
            callback=preview,
        )

    def _features(self, space: str, stimulus_id: str, left_out: str | None) -> FloatArray:
        """Return z or c as it was decoded, or predicted again without a region: (1, ...)."""
        row = self._rows[stimulus_id]
        decoded = self._decoded[space][[row]]
        if left_out is None:
            return decoded
        run, subject = self._run, self._run.subject
        used = subject.voxel_mask(run.config.decode.rois[space])
        silent = subject.voxel_mask(left_out)
        if not (silent & used).any():
            return decoded
        response = np.where(silent, self._mean, self._responses[row])[None, used]
        arrays = load_arrays(run.path / "decoders" / f"{space}.safetensors")
        predicted = RidgeDecoder.from_arrays(arrays).predict(units(response, run.config))
        return predicted.reshape(decoded.shape).astype(np.float32)

    @cached_property
    def _responses(self) -> NDArray[np.float32]:
        """Mean responses to the test stimuli, (n_stimuli, n_voxels), percent signal change."""
        return self._run.subject.test.mean_betas()

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        """Each voxel's mean over the training trials, (n_voxels,), percent signal change."""
        train = self._run.subject.train
        total = sum(betas.sum(axis=0, dtype=float) for _, betas in train.iter_betas())
        return np.asarray(total / train.n_trials, np.float32)
