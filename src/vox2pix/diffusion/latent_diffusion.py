"""Stable Diffusion 1.x, 2.x and XL, and models of the same build, behind one small interface."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from vox2pix.compute import resolve_device, resolve_dtype
from vox2pix.diffusion._architecture import Architecture
from vox2pix.diffusion.arrays import FloatArray, as_pixels, as_rows, as_seeds
from vox2pix.diffusion.autoencoding import decode, encode
from vox2pix.diffusion.batches import Batches, BatchSize
from vox2pix.diffusion.denoising import (
    Callback,
    Denoising,
    Inputs,
    Watchers,
    denoise,
    suitable_batch,
)
from vox2pix.diffusion.image_port import image_conditioning
from vox2pix.diffusion.ip_adapter import IPAdapter
from vox2pix.diffusion.networks import Networks, Tuning
from vox2pix.diffusion.pipeline_folder import (
    find_pipeline,
    hash_files,
    hash_module,
    load_components,
)
from vox2pix.diffusion.probe import Probe, check_modules
from vox2pix.diffusion.sampling import make_sampler
from vox2pix.diffusion.schedule import Schedule
from vox2pix.diffusion.text import as_tuple
from vox2pix.diffusion.unclip import UnClip
from vox2pix.errors import UserError


class LatentDiffusion(Architecture):
    r"""A text-conditioned latent diffusion model: arrays in, arrays out.

    Three networks (Rombach et al., CVPR 2022): an autoencoder between images and latents z, a
    text encoder from captions to conditioning c, and a U-Net that denoises z given c, sampled by
    DDIM (Song et al., ICLR 2021). Images are float32 in [0, 1], shape (n, height, width, 3);
    latents and conditioning are float32 NumPy arrays; the networks' own normalisations
    ([-1, 1], the latent scale) stay inside.

    Use :meth:`from_pretrained`, or :meth:`from_components` for networks already in memory.

    Parameters
    ----------
    vae : diffusers.AutoencoderKL
    unet : diffusers.UNet2DConditionModel
    text_encoder : transformers.CLIPTextModel
        Of Stable Diffusion XL a pair, the second a ``CLIPTextModelWithProjection``.
    tokenizer : transformers.CLIPTokenizer
        Or a pair.
    scheduler_config : dict
        Configuration of any scheduler of the Stable Diffusion family (PNDM, DDIM, Euler ...):
        betas, prediction type and spacing are taken from it, the sampler is always DDIM. As in
        diffusers' own Stable Diffusion pipelines, ``clip_sample`` is False (latents are not
        confined to [-1, 1]) and ``steps_offset`` is 1, whatever an outdated file holds.
    identity : dict
        Name, revision and hashes; the sizes are added to it.
    device : torch.device
    dtype : torch.dtype
        Precision of the networks. Latents between steps and the sampler's arithmetic are float32
        in any case.
    tuning : Tuning
        How the networks compute; changes speed, not the result.
    image : IPAdapter or UnClip, optional
        How images condition the U-Net, at the port ``image``. No other input depends on an
        IP-Adapter, so that `identity` leaves it out.

    Attributes
    ----------
    identity : dict
        What the model is, ready for JSON: ``name``, ``revision`` (the hub's commit, or None),
        ``sha256`` of every file that decides what it computes (of the networks' tensors for
        :meth:`from_components`), ``latent_scale``, ``image_size``, ``latent_shape``,
        ``conditioning_shape``.
    device : torch.device
        Where the networks are.
    dtype : torch.dtype
        Their precision.

    Raises
    ------
    UserError
        When the components do not fit together, or belong to another kind of model (depth,
        inpainting).

    Notes
    -----
    A result belongs to its row: noise comes from a generator of its own seed, on the CPU for any
    device, so that neither the batch size nor the neighbours in a batch change it beyond
    floating-point rounding (about 1e-5 in float32; kernels sum in another order for another
    batch size).

    Every `batch_size` is a number of rows or ``"auto"``, see
    :meth:`vox2pix.diffusion.batches.Batches.size`. Where memory runs out, the work continues
    in batches of half the size, with a warning.
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
        tuning: Tuning | None = None,
        image: IPAdapter | UnClip | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        networks = Networks(
            vae, unet, text_encoder, tokenizer, device, dtype, tuning or Tuning(), image
        )
        super().__init__(networks, scheduler_config)
        self._batches = Batches(device)
        self.identity = {
            **identity,
            "latent_scale": self.latent_scale,
            "image_size": self.image_size,
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
        tuning: Tuning | None = None,
        ip_adapter: IPAdapter | None = None,
        noise_level: int = 0,
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
            Never contact the hub; use its cache on this machine.
        tuning : Tuning, optional
            As the class takes it.
        ip_adapter : IPAdapter, optional
            By which the model takes embeddings of images; unCLIP models do without.
        noise_level : int
            Of :class:`UnClip`, for an unCLIP model.

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
            tuning,
            image_conditioning(parts.unclip, ip_adapter, noise_level),
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
        tuning: Tuning | None = None,
        image: IPAdapter | UnClip | None = None,
    ) -> "LatentDiffusion":
        """Wrap networks that are in memory; they are brought to where and how they compute.

        Parameters
        ----------
        vae, unet, text_encoder, tokenizer
            As the class takes them.
        scheduler : diffusers scheduler
            Its configuration is used.
        name : str
            What :attr:`identity` calls the model.
        device, dtype, tuning
            As in :meth:`from_pretrained`.
        image : IPAdapter or UnClip, optional
            As the class takes it.

        Raises
        ------
        UserError
            When the components do not fit together.
        """
        networks = {"vae": vae, "unet": unet, "text_encoder": as_tuple(text_encoder)[0]}
        networks |= {f"text_encoder_{n}": e for n, e in enumerate(as_tuple(text_encoder)[1:], 2)}
        if isinstance(image, UnClip):
            networks["image_normalizer"] = image.normalizer
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
            tuning,
            image,
        )

    def batch_size(self, guidance: float = 5.0) -> int:
        """Choose how many images of the native size are best denoised at once.

        What ``batch_size="auto"`` means in :meth:`denoise`.

        Parameters
        ----------
        guidance : float
            At 1 an image is once, else twice in the U-Net's batch.
        """
        return suitable_batch(self._networks, self._batches, self.latent_shape, guidance != 1)

    def encode_images(
        self, images: ArrayLike, seeds: ArrayLike | None = None, batch_size: BatchSize = "auto"
    ) -> FloatArray:
        """Return the scaled latents of images.

        Parameters
        ----------
        images : array (n, height, width, 3), float in [0, 1]
            Sides must be multiples of :attr:`downsampling`.
        seeds : array of int (n,), optional
            Draw a sample of each image's posterior, mean + std * noise, from its own seed;
            without seeds the posterior's mode (its mean) is returned.
        batch_size : int or "auto"
            Images at a time; changes memory and speed, not the result.

        Returns
        -------
        array (n, channels, height / downsampling, width / downsampling), float32
            Times :attr:`latent_scale`.

        Raises
        ------
        ValueError
            For values outside [0, 1], NaN, wrong shapes, or seeds that do not match.
        """
        pixels = as_pixels(images)
        self._check_sides(*pixels.shape[1:3])
        row_seeds = None if seeds is None else as_seeds(seeds, len(pixels))
        return encode(self._networks, self._batches, pixels, row_seeds, batch_size)

    def decode_latents(self, latents: ArrayLike, batch_size: BatchSize = "auto") -> FloatArray:
        """Return the images that the autoencoder draws from scaled latents.

        Parameters
        ----------
        latents : array (n, channels, height, width)
            As :meth:`encode_images` or :meth:`denoise` returns them.
        batch_size : int or "auto"
            Images at a time; changes memory and speed, not the result.

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
        return decode(self._networks, self._batches, z, batch_size)

    def embed_captions(
        self, captions: Sequence[Sequence[str]], batch_size: BatchSize = "auto"
    ) -> FloatArray:
        """Return the conditioning of images: the mean over each one's captions.

        A caption is padded or cut to the tokenizer's length; its embedding is the text encoder's
        last hidden state behind the final layer norm, which is what the U-Net attends to.

        Parameters
        ----------
        captions : sequence of sequences of str
            One sequence per image, of one or more paraphrases.
        batch_size : int or "auto"
            Captions at a time; changes memory and speed, not the result.

        Returns
        -------
        array (n, n_tokens, width), float32

        Raises
        ------
        ValueError
            When a row is a bare string or has no caption.
        """
        flat: list[str] = []
        owners: list[int] = []
        for row, paraphrases in enumerate(captions):
            if isinstance(paraphrases, str) or not len(paraphrases):
                raise ValueError(
                    f"captions[{row}] must be a sequence of one or more texts, not {paraphrases!r}."
                )
            flat += paraphrases
            owners += [row] * len(paraphrases)
        means = np.zeros((len(captions), *self.conditioning_shape), np.float32)

        def embed(rows: slice) -> None:
            states = self._networks.text.embed(flat[rows]).cpu().numpy()
            for owner, embedding in zip(owners[rows], states, strict=True):
                means[owner] += embedding / np.float32(len(captions[owner]))

        self._batches.run("embed", len(flat), batch_size, embed)
        return means

    @cached_property
    def empty_prompt(self) -> FloatArray:
        """Conditioning (n_tokens, width) of the empty caption, read-only."""
        with torch.inference_mode():
            embedding: FloatArray = self._networks.empty_prompt.cpu().numpy().copy()
        embedding.setflags(write=False)
        return embedding

    def denoise(
        self,
        ports: Mapping[str, ArrayLike],
        seeds: ArrayLike,
        *,
        strength: float = 0.8,
        steps: int = 50,
        guidance: float = 5.0,
        schedule: Schedule = "diffusers",
        eta: float = 0.0,
        batch_size: BatchSize = "auto",
        callback: Callback | None = None,
        probe: Probe | None = None,
    ) -> FloatArray:
        r"""Denoise by DDIM from what the ports take; a port without input is neutral.

        Each step (eq. 12 of DDIM, Song et al., ICLR 2021) follows :math:`e_0 + g (e - e_0)`, with
        e the output under text and image, :math:`e_0` under the empty prompt and, where there is
        an image, an embedding of zeros (Ho & Salimans 2022).

        Parameters
        ----------
        ports : mapping of str to array
            Inputs by port, of n rows or one: ``"start"``, scaled latents (n, channels, height,
            width) that are noised to the strength, or else all rows start from pure noise of the
            native size and all steps are run; ``"text"``, conditioning (n, n_tokens, width), or
            else the empty prompt; ``"image"``, embeddings of images (n, width) as their encoder
            gives them, or else no image. Without text and image guidance has no effect, at half
            the cost.
        seeds : array of int (n,)
            One per row out. The same seed gives the same noise whatever the inputs.
        strength, steps
            ``int(steps * strength)`` steps are run; at 1 a trace of the start remains.
        guidance : float
            Scale g; 1 is no guidance, at half the cost.
        schedule
            The noise level to start at, see :func:`vox2pix.diffusion.schedule.plan_denoising`.
        eta : float
            Noise added at each step, 0 (DDIM) to 1 (DDPM), from each row's own generator.
        batch_size : int or "auto"
            Rows at a time; changes memory and speed, not the result.
        callback, probe
            ``callback(step, timestep, latents)`` after each step, counted from 0, of each batch;
            and what to record of the U-Net's modules.

        Returns
        -------
        array (n, channels, height, width), float32

        Raises
        ------
        UserError
            For an unknown port, or an unknown module of the U-Net.
        ValueError
            For NaN, rows that do not match, or settings outside their range.
        """
        if probe is not None:
            check_modules(self._networks.unet, probe.modules)
        inputs = self._inputs(ports, as_seeds(seeds))
        plan = self.plan(None if inputs.start is None else strength, steps, schedule)
        how = Denoising(lambda: make_sampler(self._sampler_config, steps), plan, guidance, eta)
        watchers = Watchers(callback, probe)
        return denoise(self._networks, self._batches, inputs, how, watchers, batch_size)

    def _inputs(self, ports: Mapping[str, ArrayLike], seeds: NDArray[np.int64]) -> Inputs:
        """Return checked inputs, one row per seed."""
        if unknown := sorted(set(ports) - set(self.ports)):
            raise UserError(
                f"The model {self.identity['name']!r} has no port {unknown[0]!r}; it takes "
                f"{' and '.join(self.ports)}."
            )
        start = text = image = None
        if "start" in ports:
            start = as_rows(self._check_latents(ports["start"]), len(seeds), "start")
        if "text" in ports:
            text = as_rows(self._check_text(ports["text"]), len(seeds), "text")
        if "image" in ports:
            image = as_rows(self._check_image(ports["image"]), len(seeds), "image")
        shape = self.latent_shape if start is None else start.shape[1:]
        return Inputs(seeds, shape, start, text, image)
