"""From features, decoded or true, to pictures."""

from vox2pix.generation.reconstruct import (
    ReconstructionSettings,
    picture_seeds,
    reconstruct,
)

__all__ = ["ReconstructionSettings", "picture_seeds", "reconstruct"]
