"""The target c: the text encoder's hidden states of an image's captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from vox2pix.targets._rows import FeatureRows, content_key, feature_folder
from vox2pix.targets._target import (
    FeatureModel,
    FloatArray,
    Sizes,
    Target,
)

if TYPE_CHECKING:
    from vox2pix.data import Subject
    from vox2pix.diffusion import ModelCost
    from vox2pix.diffusion.batches import BatchSize


_CAPTIONS = 5  # of an image in COCO, and so in NSD


class TextConditioning(Target):
    """c: hidden states (n_tokens, width), averaged over captions, that the U-Net attends to."""

    name: ClassVar[str] = "c"
    port: ClassVar[str] = "text"
    computed_from: ClassVar[Literal["image", "captions"]] = "captions"
    carries: ClassVar[Literal["layout", "content"]] = "content"
    description: ClassVar[str] = "the content (c), the text encoder's states of the captions"

    def shape(self, sizes: Sizes) -> tuple[int, ...]:
        """Return (n_tokens, width)."""
        return sizes.conditioning_shape

    def rows(
        self,
        model: FeatureModel,
        subject: Subject,
        cache: Path,
        *,
        seed: int = 0,
        batch_size: BatchSize = "auto",
    ) -> FeatureRows:
        """Return c of a subject's stimuli, each cached under its captions."""

        def key(stimulus_id: str, captions: tuple[str, ...]) -> str:
            return content_key("\x1f".join(captions).encode())

        def compute(ids: Sequence[str], captions: list[tuple[str, ...]]) -> FloatArray:
            return model.embed_captions(captions, batch_size=batch_size)

        return FeatureRows(feature_folder(cache, "c", model), subject.captions, key, compute)

    def flops(self, cost: ModelCost) -> float:
        """Return the operations of embedding the captions of one image."""
        return _CAPTIONS * cost.embed_flops
