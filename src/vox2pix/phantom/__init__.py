"""A phantom: simulated subjects who look at drawn scenes, written as NSD is.

The truth behind the data is known, so a decoder, a metric or a claim can be compared with it.
"""

from vox2pix.phantom._simulate import simulate

__all__ = ["simulate"]
