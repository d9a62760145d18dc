"""The target z: the autoencoder's latent of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.seeds import seed_for
from vox2pix.targets._rows import FeatureRows, content_key, feature_folder
from vox2pix.targets._start import encode_start
from vox2pix.targets._target import (
    DEFAULT_START,
    FeatureModel,
    FloatArray,
    Sizes,
    StartSettings,
    Target,
)

if TYPE_CHECKING:
    from vox2pix.data import Subject
    from vox2pix.diffusion import LatentDiffusion, ModelCost
    from vox2pix.diffusion.batches import BatchSize

_BLOCK = 64  # images that are resized together: 200 MB at 512 px


class ImageLatent(Target):
    """z: scaled latents (channels, height, width) of the image, where denoising starts."""

    name: ClassVar[str] = "z"
    port: ClassVar[str] = "start"
    computed_from: ClassVar[Literal["image", "captions"]] = "image"
    carries: ClassVar[Literal["layout", "content"]] = "layout"
    description: ClassVar[str] = "the layout (z), the autoencoder's latent of the image"

    image_size: int | None = Field(
        default=None, ge=8, description="pixels at which z is taken; the model's own if absent"
    )
    posterior: Literal["mode", "sample"] = Field(
        default="mode",
        description="z is the mode of the autoencoder's posterior, or one draw from it",
    )

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return (channels, height, width)."""
        return sizes.latent_shape_at(self.preview_size(sizes))

    def rows(
        self,
        model: FeatureModel,
        subject: Subject,
        cache: Path,
        *,
        seed: int = 0,
        batch_size: BatchSize = "auto",
    ) -> FeatureRows:
        """Return z of a subject's stimuli.

        A row's key is the hash of the image's own bytes, so that no two data sets can be mistaken
        for each other and subjects who saw the same image share its row. A draw from the posterior
        belongs to the stimulus, too.
        """
        size, is_drawn = self.image_size or model.image_size, self.posterior == "sample"

        def read(ids: Sequence[str]) -> FloatArray:
            return subject.images(ids, size=size)

        def key(stimulus_id: str, image: FloatArray) -> str:
            return content_key(image.tobytes(), stimulus_id if is_drawn else "")

        def compute(ids: Sequence[str], images: FloatArray) -> FloatArray:
            seeds = [seed_for(seed, "posterior", i) for i in ids] if is_drawn else None
            return model.encode_images(images, seeds=seeds, batch_size=batch_size)

        settings = {"size": size, "posterior": self.posterior, "seed": seed if is_drawn else None}
        return FeatureRows(feature_folder(cache, "z", model, settings), read, key, compute)

    def port_input(
        self,
        model: LatentDiffusion,
        values: FloatArray,
        *,
        seeds: NDArray[np.int64] | None = None,
        start: StartSettings = DEFAULT_START,
        batch_size: BatchSize = "auto",
    ) -> FloatArray:
        """Return the latents that denoising starts from: z drawn, resized and encoded again.

        z of Takagi & Nishimoto (CVPR 2023) belongs to 320 px and their diffusion runs at 512 px:
        z is decoded, made 8 bit, resized (bicubic, as their released code does) and encoded at
        512 px. Where both sizes agree nothing is resized, and the autoencoder still brings a
        decoded z back among the latents of images. By default values are rounded to 8 bit and
        the posterior's mode is taken; that code truncates, and takes a sample.
        """
        if not start.through_image:
            return values
        starts = np.empty((len(values), *model.latent_shape), np.float32)
        for first in range(0, len(values), _BLOCK):
            rows = slice(first, first + _BLOCK)
            coarse = self.images(model, values[rows], batch_size)
            own = None if seeds is None else seeds[rows]
            starts[rows] = encode_start(model, coarse, own, start, batch_size)
        return starts

    def images(
        self, model: LatentDiffusion, values: FloatArray, batch_size: BatchSize = "auto"
    ) -> FloatArray:
        """Return the autoencoder's images of z, at the size that z was taken at."""
        return model.decode_latents(values, batch_size=batch_size)

    def preview_size(self, sizes: Sizes) -> int:
        """Return the side in pixels at which z is taken."""
        return self.image_size or sizes.image_size

    def start_shape(self, sizes: Sizes) -> tuple[int, int, int]:
        """Return the shape of z itself."""
        return sizes.latent_shape_at(self.preview_size(sizes))

    def flops(self, cost: ModelCost) -> float:
        """Return the operations of encoding one image."""
        return cost.encode_flops_at(self.preview_size(cost.architecture))
