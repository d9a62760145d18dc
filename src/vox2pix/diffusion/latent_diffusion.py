"""Stable Diffusion 1.x and 2.x, and models of the same build, behind one small interface."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from numpy.typing import ArrayLike, NDArray

from vox2pix.compute import resolve_device, resolve_dtype
from vox2pix.diffusion.pipeline_folder import (
    find_pipeline,
    hash_files,
    hash_module,
    load_components,
)
from vox2pix.diffusion.probe import (
    Probe,
    activation_shapes,
    check_modules,
    module_names,
    recording,
)
from vox2pix.diffusion.schedule import DenoisingPlan, Schedule, plan_denoising
from vox2pix.errors import UserError

FloatArray = NDArray[np.float32]
Callback = Callable[[int, int, FloatArray], None]

# 8 bit to float and back, or a filter that overshoots, may leave [0, 1] by this much
_RANGE_TOLERANCE = 1e-3


class LatentDiffusion:
    r"""A text-conditioned latent diffusion model: arrays in, arrays out.

    Three networks (Rombach et al., CVPR 2022): an autoencoder between pictures and latents z, a
    text encoder from captions to conditioning c, and a U-Net that denoises z given c, sampled by
    DDIM (Song et al., ICLR 2021). Pictures are float32 in [0, 1], shape (n, height, width, 3);
    latents and conditioning are float32 NumPy arrays; the networks' own normalisations
    ([-1, 1], the latent scale) stay inside.

    Use :meth:`from_pretrained`, or :meth:`from_components` for networks already in memory.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    unet : diffusers.UNet2DConditionModel
    text_encoder : transformers.CLIPTextModel
    tokenizer : transformers.CLIPTokenizer
    scheduler_config : dict
        Configuration of any scheduler of the Stable Diffusion family (PNDM, DDIM, Euler ...):
        betas, prediction type and spacing are taken from it, the sampler is always DDIM. As in
        diffusers' own Stable Diffusion pipelines, ``clip_sample`` is False (latents are not
        confined to [-1, 1]) and ``steps_offset`` is 1, whatever an outdated file says.
    identity : dict
        Name, revision and hashes; the sizes are added to it.
    device : torch.device
    dtype : torch.dtype
        Precision of the networks. Latents between steps and the sampler's arithmetic are float32
        in any case.

    Attributes
    ----------
    identity : dict
        What the model is, ready for JSON: ``name``, ``revision`` (the hub's commit, or None),
        ``sha256`` of every file that decides what it computes (of the networks' tensors for
        :meth:`from_components`), ``latent_scale``, ``picture_size``, ``latent_shape``,
        ``conditioning_shape``.
    device : torch.device
        Where the networks are.
    dtype : torch.dtype
        Their precision.

    Raises
    ------
    UserError
        When the components do not fit together, or belong to another kind of model (depth,
        inpainting, SDXL).

    Notes
    -----
    A result belongs to its row: noise comes from a generator of its own seed, on the CPU for any
    device, so that neither the batch size nor the neighbours in a batch change it beyond
    floating-point rounding (about 1e-5 in float32; kernels sum in another order for another
    batch size).
    """

    def __init__(
        self,
        vae: Any,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler_config: dict[str, Any],
        identity: dict[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        _check_fit(vae, unet, text_encoder, tokenizer)
        self.device = device
        self.dtype = dtype
        self._vae = _frozen(vae, device, dtype)
        self._unet = _frozen(unet, device, dtype)
        self._text_encoder = _frozen(text_encoder, device, dtype)
        self._tokenizer = tokenizer
        self._scheduler_config = DDIMScheduler.from_config(
            {**scheduler_config, "clip_sample": False, "steps_offset": 1}
        ).config
        self.identity = {
            **identity,
            "latent_scale": self.latent_scale,
            "picture_size": self.picture_size,
            "latent_shape": list(self.latent_shape),
            "conditioning_shape": list(self.conditioning_shape),
        }

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        local_files_only: bool = False,
    ) -> "LatentDiffusion":
        """Load a diffusers pipeline; weights are read from safetensors only.

        Parameters
        ----------
        name_or_path : str or pathlib.Path
            A pipeline folder (with ``model_index.json``), a name on the Hugging Face Hub such as
            ``"CompVis/stable-diffusion-v1-4"``, or ``"phantom"``, which ships with the package.
        revision : str, optional
            Branch, tag or commit, for a model on the hub.
        device : str
            ``"auto"``, ``"cpu"``, ``"cuda"`` ...
        dtype : str
            ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        local_files_only : bool
            Never ask the hub; use what its cache on this machine holds.

        Raises
        ------
        UserError
            One sentence with the remedy, for a missing folder, a hub that does not answer, a
            missing, incomplete or pickled component, or a model of another kind.
        """
        folder = find_pipeline(name_or_path, revision, local_files_only)
        torch_dtype = resolve_dtype(dtype)
        parts = load_components(folder, torch_dtype)
        identity = {
            "name": folder.name,
            "revision": folder.revision,
            "sha256": hash_files(folder.path),
        }
        return cls(
            parts.vae,
            parts.unet,
            parts.text_encoder,
            parts.tokenizer,
            parts.scheduler_config,
            identity,
            resolve_device(device),
            torch_dtype,
        )

    @classmethod
    def from_components(
        cls,
        vae: Any,
        unet: Any,
        text_encoder: Any,
        tokenizer: Any,
        scheduler: Any,
        name: str = "components",
        device: str = "auto",
        dtype: str = "float32",
    ) -> "LatentDiffusion":
        """Wrap networks that are in memory; they are moved to the device and precision asked for.

        Parameters
        ----------
        vae, unet, text_encoder, tokenizer
            As the class takes them.
        scheduler : diffusers scheduler
            Its configuration is used.
        name : str
            What :attr:`identity` calls the model.
        device, dtype : str
            As in :meth:`from_pretrained`.

        Raises
        ------
        UserError
            When the components do not fit together.
        """
        networks = {"vae": vae, "unet": unet, "text_encoder": text_encoder}
        identity = {
            "name": name,
            "revision": None,
            "sha256": {part: hash_module(network) for part, network in networks.items()},
        }
        return cls(
            vae,
            unet,
            text_encoder,
            tokenizer,
            dict(scheduler.config),
            identity,
            resolve_device(device),
            resolve_dtype(dtype),
        )

    @property
    def latent_scale(self) -> float:
        """The number that the autoencoder's latents are multiplied by (0.18215 in SD 1.x)."""
        return float(self._vae.config.scaling_factor)

    @property
    def downsampling(self) -> int:
        """Picture pixels to one latent pixel, along one side."""
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @property
    def picture_size(self) -> int:
        """Side in pixels of the square pictures that the U-Net was trained to draw."""
        return int(self._unet.config.sample_size) * self.downsampling

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the latent of a picture of the native size."""
        return self.latent_shape_at(self.picture_size)

    def latent_shape_at(self, picture_size: int) -> tuple[int, int, int]:
        """Return the shape (channels, height, width) of the latent of a square picture.

        Parameters
        ----------
        picture_size : int
            Side in pixels.

        Raises
        ------
        ValueError
            When the side is no multiple of :attr:`downsampling`.
        """
        self._check_sides(picture_size)
        side = picture_size // self.downsampling
        return (int(self._vae.config.latent_channels), side, side)

    @property
    def conditioning_shape(self) -> tuple[int, int]:
        """Shape (n_tokens, width) of the conditioning of one picture."""
        return (self._n_tokens, int(self._text_encoder.config.hidden_size))

    @property
    def prediction_type(self) -> str:
        """What the U-Net predicts: ``"epsilon"`` or ``"v_prediction"``."""
        return str(self._scheduler_config["prediction_type"])

    @property
    def module_names(self) -> tuple[str, ...]:
        """Dotted names of the U-Net's modules that can be recorded, in their own order."""
        return module_names(self._unet)

    def activation_shapes(
        self, modules: Sequence[str], latent_shape: Sequence[int] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what modules of the U-Net give for one latent.

        Found by one pass of the U-Net on a blank latent.

        Parameters
        ----------
        modules : sequence of str
            Names among :attr:`module_names`.
        latent_shape : (channels, height, width), optional
            :attr:`latent_shape` if absent.

        Raises
        ------
        UserError
            For a module that the U-Net does not have.
        """
        shape = self.latent_shape if latent_shape is None else latent_shape
        return activation_shapes(self._unet, modules, shape, self.conditioning_shape)

    def encode_pictures(
        self, pictures: ArrayLike, seeds: ArrayLike | None = None, batch_size: int = 8
    ) -> FloatArray:
        """Return the scaled latents of pictures.

        Parameters
        ----------
        pictures : array (n, height, width, 3), float in [0, 1]
            Sides must be multiples of :attr:`downsampling`.
        seeds : array of int (n,), optional
            Draw a sample of each picture's posterior, mean + std * noise, from its own seed;
            without seeds the posterior's mode (its mean) is returned.
        batch_size : int
            Pictures at a time; changes memory and speed, not the result.

        Returns
        -------
        array (n, channels, height / downsampling, width / downsampling), float32
            Times :attr:`latent_scale`.

        Raises
        ------
        ValueError
            For values outside [0, 1], NaN, wrong shapes, or seeds that do not match.
        """
        pixels = _as_floats(pictures, "pictures", 4)
        n, height, width, n_colours = pixels.shape
        if n_colours != 3:
            raise ValueError(f"pictures must have shape (n, height, width, 3), not {pixels.shape}")
        if n and (pixels.min() < -_RANGE_TOLERANCE or pixels.max() > 1 + _RANGE_TOLERANCE):
            raise ValueError(
                f"pictures must lie in [0, 1], and these reach from {pixels.min():.4g} to "
                f"{pixels.max():.4g}; divide 8-bit pictures by 255"
            )
        self._check_sides(height, width)
        row_seeds = None if seeds is None else _as_seeds(seeds, n)
        channels = int(self._vae.config.latent_channels)
        side = self.downsampling
        latents = np.empty((n, channels, height // side, width // side), np.float32)
        with torch.inference_mode():
            for rows in _batches(n, batch_size):
                batch = self._to_device(pixels[rows]).movedim(-1, 1) * 2 - 1
                posterior = self._vae.encode(batch.to(self.dtype)).latent_dist
                z = posterior.mean.float()
                if row_seeds is not None:
                    noise = _draw(_generators(row_seeds[rows]), z.shape[1:])
                    z = z + posterior.std.float() * noise.to(self.device)
                latents[rows] = (z * self.latent_scale).cpu().numpy()
        return latents

    def decode_latents(self, latents: ArrayLike, batch_size: int = 8) -> FloatArray:
        """Return the pictures that the autoencoder draws from scaled latents.

        Parameters
        ----------
        latents : array (n, channels, height, width)
            As :meth:`encode_pictures` or :meth:`denoise` returns them.
        batch_size : int
            Pictures at a time; changes memory and speed, not the result.

        Returns
        -------
        array (n, height * downsampling, width * downsampling, 3), float32
            Clipped to [0, 1].

        Raises
        ------
        ValueError
            For NaN, infinite values or a wrong shape.
        """
        z = self._check_latents(latents)
        height, width = (side * self.downsampling for side in z.shape[2:])
        pictures = np.empty((len(z), height, width, 3), np.float32)
        with torch.inference_mode():
            for rows in _batches(len(z), batch_size):
                batch = self._to_device(z[rows]) / self.latent_scale
                drawn = self._vae.decode(batch.to(self.dtype), return_dict=False)[0].float()
                pictures[rows] = (drawn / 2 + 0.5).clamp(0, 1).movedim(1, -1).cpu().numpy()
        return pictures

    def embed_captions(self, captions: Sequence[Sequence[str]], batch_size: int = 32) -> FloatArray:
        """Return the conditioning of pictures: the mean over each one's captions.

        A caption is padded or cut to the tokenizer's length; its embedding is the text encoder's
        last hidden state behind the final layer norm, which is what the U-Net attends to.

        Parameters
        ----------
        captions : sequence of sequences of str
            One sequence a picture, of one or more paraphrases.
        batch_size : int
            Captions at a time; changes memory and speed, not the result.

        Returns
        -------
        array (n, n_tokens, width), float32

        Raises
        ------
        ValueError
            When a row is a bare string or holds no caption.
        """
        flat: list[str] = []
        owners: list[int] = []
        for row, paraphrases in enumerate(captions):
            if isinstance(paraphrases, str) or not len(paraphrases):
                raise ValueError(
                    f"captions[{row}] must be a sequence of one or more texts, not {paraphrases!r}"
                )
            flat += paraphrases
            owners += [row] * len(paraphrases)
        means = np.zeros((len(captions), *self.conditioning_shape), np.float32)
        with torch.inference_mode():
            for rows in _batches(len(flat), batch_size):
                for owner, embedding in zip(owners[rows], self._embed(flat[rows]), strict=True):
                    means[owner] += embedding / np.float32(len(captions[owner]))
        return means

    @cached_property
    def empty_prompt(self) -> FloatArray:
        """Conditioning (n_tokens, width) of the empty caption, read-only."""
        with torch.inference_mode():
            embedding = self._embed([""])[0]
        embedding.setflags(write=False)
        return embedding

    def plan(
        self, strength: float | None, steps: int = 50, schedule: Schedule = "diffusers"
    ) -> DenoisingPlan:
        """Return the noise level and the timesteps that :meth:`denoise` would run.

        Parameters
        ----------
        strength : float or None
            None for pure noise.
        steps : int
            Length of the whole schedule.
        schedule : {"diffusers", "takagi2023"}
            See :func:`vox2pix.diffusion.schedule.plan_denoising`.
        """
        return plan_denoising(self._sampler(steps).timesteps.tolist(), strength, schedule)

    def denoise(
        self,
        latents: ArrayLike | None,
        conditioning: ArrayLike | None,
        seeds: ArrayLike,
        *,
        strength: float = 0.8,
        steps: int = 50,
        guidance: float = 5.0,
        schedule: Schedule = "diffusers",
        eta: float = 0.0,
        batch_size: int = 8,
        callback: Callback | None = None,
        probe: Probe | None = None,
    ) -> FloatArray:
        r"""Add noise to latents, or take noise alone, and denoise by DDIM.

        With the U-Net's output :math:`e` under the conditioning and :math:`e_0` under the empty
        prompt, each step follows :math:`e_0 + g (e - e_0)` (classifier-free guidance, Ho &
        Salimans 2022, scale g); the step is eq. 12 of DDIM (Song et al., ICLR 2021).

        Parameters
        ----------
        latents : array (n, channels, height, width) or (1, ...), or None
            Scaled latents to start from (image to image). None starts every row from pure noise
            of the native size and runs all steps (text to image); `strength` and `schedule` then
            have no meaning.
        conditioning : array (n, n_tokens, width) or (1, ...), or None
            None for the empty prompt; guidance then has no effect.
        seeds : array of int (n,)
            One a row, and as many rows out as seeds in: several samples of one latent are one
            latent with several seeds. The same seed gives the same noise whatever the latents.
        strength : float
            In (0, 1]: the fraction of the schedule to run, and so the noise to start with. At 1
            latents are noised to the noisiest timestep, where a trace of them remains.
        steps : int
            Length of the whole schedule; ``int(steps * strength)`` of them are run.
        guidance : float
            Scale g; 1 is no guidance, at half the cost.
        schedule : {"diffusers", "takagi2023"}
            The noise level to start at, see :func:`vox2pix.diffusion.schedule.plan_denoising`:
            with Stable Diffusion's 50 steps at strength 0.8, t = 781 as diffusers does, or
            t = 801 as the published pictures of Takagi & Nishimoto; both denoise from t = 781.
        eta : float
            Noise added at each step, 0 (DDIM) to 1 (DDPM), from each row's own generator.
        batch_size : int
            Rows at a time (twice as many in the U-Net under guidance); changes memory and speed,
            not the result.
        callback : callable, optional
            ``callback(step, timestep, latents)`` after each step of each batch, batches in the
            order of rows; `step` counts from 0, `latents` (rows, channels, height, width) are
            those after the step.
        probe : Probe, optional
            Which modules of the U-Net to record, at which steps, and who receives it.

        Returns
        -------
        array (n, channels, height, width), float32
            Scaled latents, for :meth:`decode_latents`.

        Raises
        ------
        UserError
            For a module that the U-Net does not have.
        ValueError
            For NaN, rows that do not match, or settings outside their range.
        """
        if probe is not None:
            check_modules(self._unet, probe.modules)
        row_seeds = _as_seeds(seeds)
        n = len(row_seeds)
        start = None if latents is None else _repeat(self._check_latents(latents), n, "latents")
        text = None if conditioning is None else _repeat(self._check_text(conditioning), n, "c")
        shape = self.latent_shape if start is None else start.shape[1:]
        plan = self.plan(None if start is None else strength, steps, schedule)
        denoised = np.empty((n, *shape), np.float32)
        with torch.inference_mode():
            for rows in _batches(n, batch_size):
                generators = _generators(row_seeds[rows])
                noise = _draw(generators, shape).to(self.device)
                sampler = self._sampler(steps)
                z = noise
                if start is not None:
                    level = torch.tensor([plan.noise_timestep], device=self.device)
                    z = sampler.add_noise(self._to_device(start[rows]), noise, level)
                c = None if text is None else self._to_device(text[rows])
                for step, timestep in enumerate(plan.timesteps):
                    if probe is not None and step in probe.steps:
                        prediction, activations = self._watch(probe, z, timestep, c, guidance)
                        probe.receive(step, timestep, activations)
                    else:
                        prediction = self._predict(z, timestep, c, guidance)
                    extra = _draw(generators, shape).to(self.device) if eta > 0 else None
                    z = sampler.step(
                        prediction, timestep, z, eta=eta, variance_noise=extra, return_dict=False
                    )[0]
                    if callback is not None:
                        callback(step, timestep, z.cpu().numpy().copy())
                denoised[rows] = z.cpu().numpy()
        return denoised

    @property
    def _n_tokens(self) -> int:
        """Tokens a caption is padded or cut to."""
        # a tokenizer without a stated length says 1e30
        limit = int(self._text_encoder.config.max_position_embeddings)
        return min(int(self._tokenizer.model_max_length), limit)

    def _sampler(self, steps: int) -> Any:
        """Return a fresh DDIM sampler with its timesteps set."""
        n_train = int(self._scheduler_config["num_train_timesteps"])
        if not 1 <= steps <= n_train:
            raise ValueError(f"steps {steps} is outside 1 to {n_train}")
        sampler = DDIMScheduler.from_config(self._scheduler_config)
        sampler.set_timesteps(steps)
        return sampler

    def _embed(self, texts: list[str]) -> FloatArray:
        """Return the last hidden states (n, n_tokens, width) of texts."""
        tokens = self._tokenizer(
            texts,
            padding="max_length",
            max_length=self._n_tokens,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = self._text_encoder(tokens.to(self.device)).last_hidden_state
        embeddings: FloatArray = states.float().cpu().numpy()
        return embeddings

    def _predict(
        self, z: torch.Tensor, timestep: int, c: torch.Tensor | None, guidance: float
    ) -> torch.Tensor:
        """Return the U-Net's guided output for noisy latents."""
        empty = self._to_device(self.empty_prompt).expand(len(z), -1, -1)
        if c is None:
            return self._ask(z, timestep, empty)
        if guidance == 1:
            return self._ask(z, timestep, c)
        both = self._ask(torch.cat([z, z]), timestep, torch.cat([empty, c]))
        without, with_text = both.chunk(2)
        return without + guidance * (with_text - without)

    def _watch(
        self, probe: Probe, z: torch.Tensor, timestep: int, c: torch.Tensor | None, guidance: float
    ) -> tuple[torch.Tensor, dict[str, FloatArray]]:
        """Return the guided output, and what the probe's modules gave on the way."""

        def with_text(output: torch.Tensor) -> FloatArray:
            # under guidance these rows are the second half; a copy, for later layers may overwrite
            rows = output[-len(z) :].to("cpu", torch.float32, copy=True)
            array: FloatArray = rows.numpy()
            return array

        with recording(self._unet, probe.modules, with_text) as seen:
            prediction = self._predict(z, timestep, c, guidance)
        return prediction, seen

    def _ask(self, z: torch.Tensor, timestep: int, c: torch.Tensor) -> torch.Tensor:
        """Return the U-Net's output in float32."""
        output = self._unet(
            z.to(self.dtype),
            timestep,
            encoder_hidden_states=c.to(self.dtype),
            return_dict=False,
        )[0]
        return output.float()

    def _to_device(self, array: FloatArray) -> torch.Tensor:
        """Return a float32 tensor on the model's device."""
        # a copy: torch shares no memory with read-only, broadcast or reversed arrays
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def _check_sides(self, *sides: int) -> None:
        """Refuse picture sides that the autoencoder cannot halve down to latents."""
        for side in sides:
            if side < 1 or side % self.downsampling:
                raise ValueError(
                    f"picture side {side} is no multiple of {self.downsampling}, "
                    "the autoencoder's downsampling; resize the pictures"
                )

    def _check_latents(self, latents: ArrayLike) -> FloatArray:
        """Return latents as float32 (n, channels, height, width)."""
        z = _as_floats(latents, "latents", 4)
        channels = int(self._vae.config.latent_channels)
        if z.shape[1] != channels:
            raise ValueError(
                f"latents must have shape (n, {channels}, height, width), not {z.shape}"
            )
        return z

    def _check_text(self, conditioning: ArrayLike) -> FloatArray:
        """Return conditioning as float32 (n, n_tokens, width)."""
        c = _as_floats(conditioning, "conditioning", 3)
        if c.shape[1:] != self.conditioning_shape:
            n_tokens, width = self.conditioning_shape
            raise ValueError(
                f"conditioning must have shape (n, {n_tokens}, {width}), not {c.shape}"
            )
        return c


def _frozen(network: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a network to where it computes, for inference only."""
    # only where it is needed: diffusers warns of any cast
    if network.dtype != dtype:
        network = network.to(dtype)
    return network.to(device).eval().requires_grad_(False)


def _check_fit(vae: Any, unet: Any, text_encoder: Any, tokenizer: Any) -> None:
    """Refuse components of different models, and kinds of model that need other inputs."""
    remedy = "; use the components of one Stable Diffusion 1.x or 2.x text-to-image model"
    channels, inputs = vae.config.latent_channels, unet.config.in_channels
    if channels != inputs:
        raise UserError(
            f"the U-Net takes {inputs} channels and the autoencoder's latents have {channels}, as "
            f"in models for depth or inpainting{remedy}"
        )
    width, expected = text_encoder.config.hidden_size, unet.config.cross_attention_dim
    if width != expected:
        raise UserError(
            f"the U-Net attends to text of width {expected} and the text encoder's is "
            f"{width}{remedy}"
        )
    if unet.config.addition_embed_type is not None or not isinstance(unet.config.sample_size, int):
        raise UserError(f"the U-Net needs inputs beside latents and text, or no square{remedy}")
    if len(tokenizer) > text_encoder.config.vocab_size:
        raise UserError(
            f"the tokenizer knows {len(tokenizer)} tokens and the text encoder "
            f"{text_encoder.config.vocab_size}{remedy}"
        )


def _as_floats(array: ArrayLike, name: str, n_dimensions: int) -> FloatArray:
    """Return an array as float32, refusing other dimensions, NaN and infinite values."""
    floats = np.asarray(array, dtype=np.float32)
    if floats.ndim != n_dimensions:
        raise ValueError(f"{name} must have {n_dimensions} dimensions, not shape {floats.shape}")
    bad = np.flatnonzero([not np.isfinite(row).all() for row in floats])
    if len(bad):
        raise ValueError(f"{name} hold NaN or infinite values in rows {bad[:10].tolist()}")
    return floats


def _as_seeds(seeds: ArrayLike, n: int | None = None) -> NDArray[np.int64]:
    """Return seeds as one integer a row."""
    array = np.asarray(seeds)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"seeds must be a row of integers, not {array.dtype} {array.shape}")
    if n is not None and len(array) != n:
        raise ValueError(f"there are {len(array)} seeds for {n} pictures")
    return array.astype(np.int64)


def _repeat(array: FloatArray, n: int, name: str) -> FloatArray:
    """Return a view of n rows of an array that has n rows or one."""
    if len(array) not in (1, n):
        raise ValueError(f"{name} have {len(array)} rows for {n} seeds; give {n} rows or one")
    return np.broadcast_to(array, (n, *array.shape[1:]))


def _batches(n: int, size: int) -> Iterator[slice]:
    """Yield the rows of each batch."""
    if size < 1:
        raise ValueError(f"batch_size {size} is less than 1")
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _generators(seeds: NDArray[np.int64]) -> list[torch.Generator]:
    """Return one CPU generator a seed: the same numbers for any device and batch."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def _draw(generators: list[torch.Generator], shape: Sequence[int]) -> torch.Tensor:
    """Return standard normal noise (n, *shape), each row from its own generator."""
    return torch.stack([torch.randn(tuple(shape), generator=each) for each in generators])
