"""From features, decoded or true, to images."""

from vox2pix.generation._reconstruct import (
    ReconstructionSettings,
    image_seeds,
    reconstruct,
)

__all__ = ["ReconstructionSettings", "image_seeds", "reconstruct"]
