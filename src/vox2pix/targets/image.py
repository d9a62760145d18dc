"""The target image: CLIP's embedding of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache as once
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.config import digest, without_place
from vox2pix.data.images import unit_image
from vox2pix.errors import UserError
from vox2pix.store import file_hash
from vox2pix.targets._rows import FeatureRows, content_key
from vox2pix.targets._target import (
    FeatureModel,
    FloatArray,
    Sizes,
    Target,
)
from vox2pix.vision import Encoder, encoder_files, encoder_size, image_encoder

if TYPE_CHECKING:
    from vox2pix.data import Subject
    from vox2pix.diffusion import ModelCost
    from vox2pix.diffusion.batches import BatchSize
    from vox2pix.targets._stored import StoredFeatures

_AT_ONCE = 64  # images in the encoder


class ImageEmbedding(Target):
    """image: the embedding (width,) of an image, which the U-Net attends to beside the text.

    It is the output of a CLIP image encoder behind its projection, not normalised, of the image
    at its own size, brought to the encoder's by the encoder's own image settings, in float32. The
    encoder must be the one that the generator was trained with: OpenCLIP's ViT-H/14 for most
    IP-Adapters, ViT-bigG/14 or ViT-L/14 for others. It needs no captions.

    Ridge has an intercept and, by default, a penalty of its own for each number of the embedding,
    so that standardising the numbers first would change nothing. But predictions are shrunk
    towards the mean, and the generator was trained on embeddings of full length. Before it is
    drawn, a decoded embedding is therefore brought to the mean Euclidean norm of the true
    embeddings of the training stimuli (:meth:`rescaled`); scores are of what was decoded, as it
    is. Nothing of the test stimuli enters, and true embeddings are drawn as they are.
    """

    name: ClassVar[str] = "image"
    port: ClassVar[str] = "image"
    computed_from: ClassVar[Literal["image", "captions"]] = "image"
    carries: ClassVar[Literal["layout", "content"]] = "content"
    description: ClassVar[str] = "the content (image), the CLIP embedding of the image"
    remedy: ClassVar[str] = (
        "Name an IP-Adapter for the model (generate.ip_adapter), take an unCLIP model"
    )

    encoder: str = Field(
        default="phantom",
        description="phantom, a folder with a CLIP image encoder, relative to the experiment file, "
        "or its Hugging Face name",
    )

    def variant(self) -> str:
        """Return the encoder's name."""
        return f"encoder {without_place(self.encoder)}"

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return (width,); a model that takes other embeddings is refused by a UserError."""
        width = encoder_size(self.encoder).width
        if sizes.embedding_width not in (None, width):
            raise UserError(
                f"decode.image.encoder is {without_place(self.encoder)!r}, whose embeddings have "
                f"{width:,} numbers, and the model takes {sizes.embedding_width:,}: choose the "
                "encoder that its image conditioning was trained with."
            )
        return (width,)

    def rows(
        self,
        model: FeatureModel,
        subject: Subject,
        cache: Path,
        *,
        seed: int = 0,
        batch_size: BatchSize = "auto",
    ) -> FeatureRows:
        """Return the embeddings of a subject's stimuli, each cached under its image's own bytes.

        They belong to the encoder alone: other diffusion models share them.
        """

        def read(ids: Sequence[str]) -> list[FloatArray]:
            return [unit_image(i) for i in subject.stimulus_source.iter_pictures(ids)]

        def key(stimulus_id: str, image: FloatArray) -> str:
            return content_key(image.tobytes(), str(image.shape))

        @once
        def encode() -> Encoder:
            at_once = _AT_ONCE if batch_size == "auto" else batch_size
            return image_encoder(self.encoder, str(model.device), at_once)

        def compute(ids: Sequence[str], images: list[FloatArray]) -> FloatArray:
            alike = [np.stack(list(group)) for _, group in groupby(images, key=np.shape)]
            return np.concatenate([encode()(group) for group in alike])

        return FeatureRows(cache / f"{self.name}-{self._key()}", read, key, compute)

    def files(self) -> dict[str, Path]:
        """Return the files of the encoder."""
        return encoder_files(self.encoder)

    def training_statistics(self, rows: StoredFeatures) -> dict[str, NDArray[Any]]:
        """Return ``mean_norm`` (1,), the mean Euclidean norm of true embeddings."""
        return {"mean_norm": np.linalg.norm(rows.read(), axis=1).mean(keepdims=True)}

    def rescaled(self, values: FloatArray, statistics: Mapping[str, NDArray[Any]]) -> FloatArray:
        """Return embeddings (n, width) of the mean norm; those of length 0 stay."""
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        scale = np.divide(statistics["mean_norm"], norms, out=np.ones_like(norms), where=norms > 0)
        return (values * scale).astype(np.float32)

    def flops(self, cost: ModelCost) -> float:
        """Return the operations of the encoder on one image."""
        return encoder_size(self.encoder).flops

    def memory(self) -> float:
        """Return the bytes of the encoder's weights."""
        return 4.0 * encoder_size(self.encoder).n_parameters

    def _key(self) -> str:
        """Return a short name for the encoder's files by their contents."""
        stats = ((name, path, path.stat()) for name, path in sorted(self.files().items()))
        return _key_of(tuple((name, path, s.st_size, s.st_mtime_ns) for name, path, s in stats))


@lru_cache(maxsize=8)
def _key_of(files: tuple[tuple[str, Path, int, int], ...]) -> str:
    """Hash the contents of files, gigabytes of them once per process."""
    return digest({name: file_hash(path) for name, path, _, _ in files})
