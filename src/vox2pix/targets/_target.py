"""What a target is: something decoded from the brain that a generator takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from vox2pix.data import Subject
    from vox2pix.diffusion import LatentDiffusion, ModelCost
    from vox2pix.diffusion.batches import BatchSize
    from vox2pix.targets._rows import FeatureRows
    from vox2pix.targets._stored import StoredFeatures

FloatArray = NDArray[np.float32]


class Sizes(Protocol):
    """What a target's shape depends on: of an architecture, with weights or without."""

    @property
    def image_size(self) -> int:
        """Side of the model's images in pixels."""

    @property
    def conditioning_shape(self) -> tuple[int, int]:
        """Shape (n_tokens, width) of the text conditioning."""

    @property
    def embedding_width(self) -> int | None:
        """Numbers of the embedding of an image that it takes, if it takes one."""

    def latent_shape_at(self, image_size: int) -> tuple[int, int, int]:
        """Return the shape (channels, height, width) of the latent of a square image."""


class FeatureModel(Protocol):
    """What of a :class:`~vox2pix.diffusion.LatentDiffusion` computes the rows of targets."""

    identity: dict[str, Any]

    @property
    def dtype(self) -> Any:
        """Precision of the networks."""

    @property
    def device(self) -> Any:
        """Where networks compute."""

    @property
    def image_size(self) -> int:
        """Side of the model's images in pixels."""

    def encode_images(
        self, images: FloatArray, seeds: ArrayLike | None = None, batch_size: BatchSize = "auto"
    ) -> FloatArray:
        """Return scaled latents (n, channels, height, width) of images."""

    def embed_captions(self, captions: Any, batch_size: BatchSize = "auto") -> FloatArray:
        """Return conditioning (n, n_tokens, width), a mean over each image's captions."""


@dataclass(frozen=True)
class StartSettings:
    """How the start of the denoising is made from a decoded image or latent.

    Attributes
    ----------
    through_image : bool
        Decode a latent to its image and encode that again, at the model's size; if False, a
        latent is the start as it is (z_c of the encoding analysis).
    quantize : bool
        Take the image through 8 bit, as an image file would.
    truncate : bool
        Cut off to 8 bit instead of rounding.
    sample : bool
        Encode by a draw from the posterior, one per stimulus, instead of its mode.
    """

    through_image: bool = True
    quantize: bool = True
    truncate: bool = False
    sample: bool = False


DEFAULT_START = StartSettings()


class Target(BaseModel, ABC):
    """A target: a class says what it is, an instance holds its settings.

    Fields of the class are the keys of ``[decode.NAME]`` in an experiment file. To add a target,
    derive from this class and :func:`register` it.

    Attributes
    ----------
    name : str
        As conditions and experiment files name it.
    port : str
        Where the generator takes it, one of :attr:`vox2pix.diffusion.LatentDiffusion.ports`.
    computed_from : {"image", "captions"}
        What of a stimulus it is computed from.
    carries : {"layout", "content"}
        What of an image it decides; the audit compares swapped images by that.
    description : str
        One plain sentence for reports.
    remedy : str
        What to do about a model that has no such port.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    name: ClassVar[str]
    port: ClassVar[str]
    computed_from: ClassVar[Literal["image", "captions"]]
    carries: ClassVar[Literal["layout", "content"]]
    description: ClassVar[str]
    remedy: ClassVar[str] = "Choose another model"

    @abstractmethod
    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the shape of one stimulus's values."""

    @abstractmethod
    def rows(
        self,
        model: FeatureModel,
        subject: Subject,
        cache: Path,
        *,
        seed: int = 0,
        batch_size: BatchSize = "auto",
    ) -> FeatureRows:
        """Return the values of a subject's stimuli: what is cached is read, the rest computed.

        The run's seed matters for random draws only.
        """

    def port_input(
        self,
        model: LatentDiffusion,
        values: FloatArray,
        *,
        seeds: NDArray[np.int64] | None = None,
        start: StartSettings = DEFAULT_START,
        batch_size: BatchSize = "auto",
    ) -> FloatArray:
        """Return what the port takes for values (n, ...), decoded or true: one row per stimulus.

        They are taken as they are, unless a target says otherwise. `start` holds how a start is
        made, without meaning for other ports; where it is drawn, `seeds` (n, samples) are those of
        the images.
        """
        return values

    def images(
        self, model: LatentDiffusion, values: FloatArray, batch_size: BatchSize = "auto"
    ) -> FloatArray:
        """Return the images (n, height, width, 3) that values give without any denoising.

        Only for targets that give one; the condition ``NAME-decode`` draws them.
        """
        raise NotImplementedError(f"{self.name} gives no image without denoising")

    def preview_size(self, sizes: Sizes) -> int:
        """Return the side in pixels of the square images of :meth:`images`."""
        return sizes.image_size

    def start_shape(self, sizes: Sizes) -> tuple[int, int, int]:
        """Return the shape of a start of the encoding analysis, which makes no image detour."""
        return sizes.latent_shape_at(sizes.image_size)

    def variant(self) -> str:
        """Return what tells this target from another of its name, in words for reports."""
        return ""

    def files(self) -> dict[str, Path]:
        """Return the files beside the diffusion model that decide its values, by their names."""
        return {}

    def training_statistics(self, rows: StoredFeatures) -> dict[str, NDArray[Any]]:
        """Return what :meth:`rescaled` takes, from the true values of the training stimuli."""
        return {}

    def rescaled(self, values: FloatArray, statistics: Mapping[str, NDArray[Any]]) -> FloatArray:
        """Return decoded values (n, ...) as they are drawn; regression shrinks towards the mean."""
        return values

    def flops(self, cost: ModelCost) -> float:
        """Return the operations of computing it for one stimulus."""
        return 0.0

    def memory(self) -> float:
        """Return the bytes of networks beside the diffusion model that compute it."""
        return 0.0

    @classmethod
    def has_preview(cls) -> bool:
        """Return whether values give an image without denoising."""
        return cls.images is not Target.images

    @classmethod
    def is_rescaled(cls) -> bool:
        """Return whether decoded values are drawn at another scale than they were decoded."""
        return cls.rescaled is not Target.rescaled
