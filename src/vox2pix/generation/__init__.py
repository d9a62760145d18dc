"""From the values of targets, decoded or true, to images."""

from vox2pix.generation._reconstruct import (
    ReconstructionSettings,
    image_seeds,
    port_inputs,
    reconstruct,
)

__all__ = ["ReconstructionSettings", "image_seeds", "port_inputs", "reconstruct"]
