"""How large a model's arrays are, what its layers are called, and arrays that do not fit."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from vox2pix.diffusion.arrays import FloatArray, as_floats
from vox2pix.diffusion.networks import Networks
from vox2pix.diffusion.probe import activation_shapes, module_names


class ModelSizes:
    """The part of :class:`vox2pix.diffusion.LatentDiffusion` that asks networks for their sizes.

    Parameters
    ----------
    networks : Networks
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    @property
    def ports(self) -> tuple[str, ...]:
        """Where the model takes inputs: the start of the denoising, and text conditioning."""
        return ("start", "text")

    @property
    def latent_scale(self) -> float:
        """The number that the autoencoder's latents are multiplied by (0.18215 in SD 1.x)."""
        return self._networks.latent_scale

    @property
    def downsampling(self) -> int:
        """Image pixels to one latent pixel, along one side."""
        return self._networks.downsampling

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images that the U-Net was trained to draw."""
        return int(self._networks.unet.config.sample_size) * self.downsampling

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of the latent of an image of the native size."""
        return self.latent_shape_at(self.image_size)

    def latent_shape_at(self, image_size: int) -> tuple[int, int, int]:
        """Return the shape (channels, height, width) of the latent of a square image.

        Parameters
        ----------
        image_size : int
            Side in pixels.

        Raises
        ------
        ValueError
            When the side is no multiple of :attr:`downsampling`.
        """
        self._check_sides(image_size)
        side = image_size // self.downsampling
        return (self._networks.latent_channels, side, side)

    @property
    def conditioning_shape(self) -> tuple[int, int]:
        """Shape (n_tokens, width) of the conditioning of one image."""
        return (self._networks.n_tokens, int(self._networks.text_encoder.config.hidden_size))

    @property
    def module_names(self) -> tuple[str, ...]:
        """Dotted names of the U-Net's modules that can be recorded, in their own order."""
        return module_names(self._networks.unet)

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
        unet = self._networks.unet
        return activation_shapes(unet, modules, shape, self.conditioning_shape)

    def _check_sides(self, *sides: int) -> None:
        """Refuse image sides that the autoencoder cannot halve down to latents."""
        for side in sides:
            if side < 1 or side % self.downsampling:
                raise ValueError(
                    f"image side {side} is no multiple of {self.downsampling}, "
                    "the autoencoder's downsampling; resize the images"
                )

    def _check_latents(self, latents: ArrayLike) -> FloatArray:
        """Return latents as float32 (n, channels, height, width)."""
        z = as_floats(latents, "latents", 4)
        channels = self._networks.latent_channels
        if z.shape[1] != channels:
            raise ValueError(
                f"latents must have shape (n, {channels}, height, width), not {z.shape}"
            )
        return z

    def _check_text(self, conditioning: ArrayLike) -> FloatArray:
        """Return conditioning as float32 (n, n_tokens, width)."""
        c = as_floats(conditioning, "conditioning", 3)
        if c.shape[1:] != self.conditioning_shape:
            n_tokens, width = self.conditioning_shape
            raise ValueError(
                f"conditioning must have shape (n, {n_tokens}, {width}), not {c.shape}"
            )
        return c
